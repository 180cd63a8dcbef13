//! What pgark does not know is named and never a reason to refuse: a newer server, catalogs and columns, letters in rows.
//! A server of today plays the part: its functions and catalogs are altered in the test's own database.

use std::sync::{Arc, Mutex};

use pgark::archive::Repository;
use pgark::archive::chunker::ChunkSettings;
use pgark::dump::{DumpOptions, dump};
use pgark::progress::{Event, Progress};
use pgark::store::MemoryStore;

use crate::round_trip::{restore_all, settings};
use crate::support::{Major, Server};

/// Keeps the warnings.
#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

const OBJECTS: &str = r#"
CREATE SCHEMA s;
CREATE TABLE s.known (id int PRIMARY KEY, v text);
INSERT INTO s.known VALUES (1, 'a'), (2, 'b');
CREATE TABLE s.kind (a int);
CREATE TYPE s.ty AS ENUM ('a');
CREATE FUNCTION s.fn() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE COLLATION s.co (LOCALE = 'C');
CREATE DOMAIN s.d AS int CONSTRAINT "d c" CHECK (VALUE > 0);
CREATE TABLE s.checked (a int CONSTRAINT "t c" CHECK (a > 0));
CREATE ACCESS METHOD am TYPE INDEX HANDLER gisthandler;
CREATE VIEW s.v AS SELECT id FROM s.known;
CREATE POLICY po ON s.known;
"#;

const NOVELTIES: &str = r"
SET allow_system_table_mods = on;
UPDATE pg_class SET relkind = 'z' WHERE oid = 's.kind'::regclass;
UPDATE pg_type SET typtype = 'z' WHERE typname = 'ty';
UPDATE pg_proc SET prokind = 'z' WHERE proname = 'fn';
UPDATE pg_collation SET collprovider = 'z' WHERE collname = 'co';
UPDATE pg_constraint SET contype = 'z' WHERE conname IN ('d c', 't c');
UPDATE pg_am SET amtype = 'z' WHERE amname = 'am';
UPDATE pg_policy SET polcmd = 'z' WHERE polname = 'po';
UPDATE pg_depend SET deptype = 'z' WHERE objid = (SELECT oid FROM pg_rewrite WHERE ev_class = 's.v'::regclass) AND deptype = 'n';
ALTER TABLE pg_catalog.pg_ts_template ADD COLUMN tmplnew int;
CREATE TABLE pg_catalog.pg_novelty (oid oid, novname name);
-- Not STRICT, so that it is inlined: by its OID the server would run its own.
CREATE OR REPLACE FUNCTION pg_catalog.current_setting(text) RETURNS text STABLE LANGUAGE sql
  AS $$ SELECT CASE $1 WHEN 'server_version_num' THEN '190001' ELSE pg_catalog.current_setting($1, false) END $$;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unknown_is_named_and_the_rest_is_saved() {
    let server = Server::start(Major::V18);
    let source = server.create_database("novel");
    source.batch(OBJECTS).await;
    source.batch(NOVELTIES).await;
    let repository =
        Repository::open_or_create(Arc::new(MemoryStore::new()), ChunkSettings::default());
    let repository = repository.await.unwrap();
    let warnings = Arc::new(Warnings::default());
    let progress = Arc::<Warnings>::clone(&warnings);
    let options = DumpOptions::default();
    let report = dump(
        &settings(&source.conninfo()),
        &repository,
        &options,
        progress,
    )
    .await
    .unwrap();
    let archive = repository.read(&report.name).await.unwrap();
    let manifest = archive.manifest();
    let skipped: Vec<String> = manifest
        .skipped
        .iter()
        .map(|s| format!("{}: {}", s.what, s.reason))
        .collect();
    let all = skipped.join("\n");
    assert_eq!(manifest.source.server_version.major(), 19);
    for named in [
        "whatever PostgreSQL 19.1 has beyond 18",
        "column tmplnew of pg_catalog.pg_ts_template",
        "catalog pg_catalog.pg_novelty",
        "relation s.kind: pg_class.relkind is \"z\"",
        "type s.ty: pg_type.typtype is \"z\"",
        "routine s.fn: pg_proc.prokind is \"z\"",
        "collation co: pg_collation.collprovider is \"z\"",
        "constraint d c: pg_constraint.contype is \"z\"",
        "constraint t c: pg_constraint.contype is \"z\"",
        "access method am: pg_am.amtype is \"z\"",
        "policy po: pg_policy.polcmd is \"z\"",
        "pg_depend.deptype is \"z\"",
    ] {
        assert!(all.contains(named), "{named} is not in\n{all}");
    }
    let told = warnings.0.lock().unwrap().join("\n");
    for line in &skipped {
        assert!(told.contains(line), "{line} was not told:\n{told}");
    }

    // What is known comes back.
    let target = server.create_database("copy");
    let restored = restore_all(&archive, &settings(&target.conninfo()), 2)
        .await
        .unwrap();
    assert!(
        restored.is_complete(),
        "{:#?} {:#?}",
        restored.failed,
        restored.skipped
    );
    let found = target.psql("SELECT (SELECT count(*) FROM s.known), (SELECT count(*) FROM s.v), to_regclass('s.kind'), to_regproc('s.fn')");
    assert_eq!(found.trim(), "2|2||");
}
