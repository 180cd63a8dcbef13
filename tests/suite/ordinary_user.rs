//! Roles without superuser: what a dump needs and says it needs, what it leaves out on request, and what a restore does where a
//! provider owns or forbids a part.

use std::collections::BTreeSet;
use std::sync::Arc;

use pgark::archive::chunker::ChunkSettings;
use pgark::archive::manifest::Scope;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, DumpReport, dump};
use pgark::error::Error;
use pgark::progress::Silent;
use pgark::restore::Forbidden;
use pgark::store::MemoryStore;

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::pair::Pair;
use crate::support::{Database, Major, Server, majors, matrix, pgark};

/// Everything that a role may be unable to read, each kind at least once, and something of each that it may.
const CLOSED: &str = r#"
CREATE ROLE "back up" LOGIN;
CREATE ROLE clerk;
CREATE SCHEMA "Closed";
CREATE SCHEMA ajar;
GRANT USAGE ON SCHEMA ajar TO "back up";
CREATE TABLE "Closed".vault (id serial PRIMARY KEY, word text);
INSERT INTO "Closed".vault (word) SELECT 'w' || i FROM generate_series(1, 50) AS i;
CREATE TABLE ajar.open (id int PRIMARY KEY, vault int REFERENCES "Closed".vault);
INSERT INTO ajar.open VALUES (1, 7), (2, NULL);
GRANT SELECT ON ajar.open TO "back up";
CREATE TABLE ajar.parts (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE ajar."parts 1" PARTITION OF ajar.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO ajar.parts VALUES (1, '2026-11-23');
CREATE SEQUENCE ajar.numbers START 41;
SELECT nextval('ajar.numbers');
CREATE TABLE ajar.policed (id int, who name);
INSERT INTO ajar.policed VALUES (1, 'clerk'), (2, 'back up'), (3, 'back up');
ALTER TABLE ajar.policed ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON ajar.policed USING (who = current_user);
GRANT SELECT ON ajar.policed TO "back up";
CREATE VIEW ajar.sums AS SELECT count(*) FROM "Closed".vault;
CREATE FUNCTION "Closed".f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM "Closed".vault';
SELECT lo_from_bytea(7001, 'mine to read'), lo_from_bytea(7002, 'not mine'), lo_from_bytea(7003, 'for all');
GRANT SELECT ON LARGE OBJECT 7001 TO "back up";
GRANT SELECT ON LARGE OBJECT 7003 TO PUBLIC;
CREATE FOREIGN DATA WRAPPER wrap;
CREATE SERVER remote FOREIGN DATA WRAPPER wrap OPTIONS (host 'example');
GRANT USAGE ON FOREIGN SERVER remote TO "back up";
CREATE USER MAPPING FOR clerk SERVER remote OPTIONS (user 'c', password 'p"w\ä & <x>');
CREATE USER MAPPING FOR "back up" SERVER remote OPTIONS (user 'b');
CREATE SUBSCRIPTION "sub 1" CONNECTION 'host=example password=pw' PUBLICATION p WITH (connect = false, slot_name = NONE);
"#;

/// What the whole database must have after it came back.
const STATE: &str = r#"
SELECT (SELECT count(*) FROM "Closed".vault), (SELECT count(*) FROM ajar.parts), (SELECT count(*) FROM ajar.policed),
       (SELECT last_value FROM ajar.numbers), (SELECT string_agg(oid || md5(lo_get(oid)), ' ' ORDER BY oid) FROM pg_largeobject_metadata),
       (SELECT string_agg(usename || o, ' ' ORDER BY usename, o) FROM pg_user_mappings, unnest(umoptions) AS o),
       (SELECT string_agg(subname || subconninfo, ' ') FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()))"#;

fn closed(major: Major) -> (Server, Database) {
    let server = Server::start(major);
    let database = server.create_database("closed");
    database.psql(&format!("SET client_min_messages = error; {CLOSED}"));
    (server, database)
}

/// The connection string of another role.
fn as_role(database: &Database, role: &str) -> String {
    let conninfo = database.conninfo();
    conninfo.replace("user=postgres", &format!("user='{role}'"))
}

async fn memory() -> Repository {
    let store = Arc::new(MemoryStore::new());
    Repository::open_or_create(store, ChunkSettings::default())
        .await
        .unwrap()
}

async fn dump_as(
    database: &Database,
    role: &str,
    options: &DumpOptions,
) -> pgark::Result<(DumpReport, Archive)> {
    let repository = memory().await;
    let source = settings(&as_role(database, role));
    let report = dump(&source, &repository, options, Arc::new(Silent)).await?;
    let archive = repository.read(&report.name).await?;
    Ok((report, archive))
}

#[tokio::test]
async fn the_statements_of_a_refusal_cure_the_dump() {
    for major in matrix() {
        let (server, database) = closed(major);
        let refused = dump_as(&database, "back up", &DumpOptions::default()).await;
        let Err(Error::Unreadable {
            findings, cures, ..
        }) = refused
        else {
            panic!("{major}: {refused:?}");
        };
        assert_eq!(findings.len(), 7, "{major}: {findings:#?}");
        assert_eq!(cures.len(), 9, "{major}: {cures:#?}");
        for cure in &cures {
            database.psql(cure);
        }
        let (report, archive) = dump_as(&database, "back up", &DumpOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{major}: {error:#?}"));
        assert_eq!((report.unreadable, report.skipped.len()), (0, 0), "{major}");
        assert_eq!(archive.manifest().group.scope, Scope::Full);
        let target = server.create_database("open");
        let restored = restore_all(&archive, &settings(&target.conninfo()), 2)
            .await
            .unwrap();
        assert!(restored.is_complete(), "{major}: {restored:#?}");
        assert_eq!(database.psql(STATE), target.psql(STATE), "{major}");
    }
}

#[tokio::test]
async fn a_part_of_the_rights_asks_for_the_rest_only() {
    let (_server, database) = closed(Major::V18);
    // What later versions make easy.
    database.psql(
        r#"GRANT pg_read_all_data TO "back up"; GRANT SELECT ON pg_catalog.pg_largeobject TO "back up""#,
    );
    let refused = dump_as(&database, "back up", &DumpOptions::default()).await;
    let Err(Error::Unreadable { cures, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(cures, [r#"ALTER ROLE "back up" BYPASSRLS;"#]);
    // Definitions of tables need no rights at all, secrets do.
    let schema_only = |tables: &[&str]| {
        let mut options = DumpOptions::default();
        options.selection.schema_only = true;
        options.selection.tables = tables.iter().map(|name| (*name).to_owned()).collect();
        options
    };
    let everything = dump_as(&database, "clerk", &schema_only(&[])).await;
    assert!(everything.is_err(), "clerk may not log in");
    database.psql("ALTER ROLE clerk LOGIN");
    let refused = dump_as(&database, "clerk", &schema_only(&[])).await;
    let Err(Error::Unreadable { findings, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(findings.len(), 2, "{findings:#?}");
    let (report, _) = dump_as(&database, "clerk", &schema_only(&["*.*"]))
        .await
        .unwrap();
    assert_eq!((report.tables, report.skipped.len()), (0, 0));
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_by_name() {
    for major in majors() {
        let (server, database) = closed(major);
        let options = DumpOptions {
            skip_unreadable: true,
            ..DumpOptions::default()
        };
        let (report, archive) = dump_as(&database, "back up", &options).await.unwrap();
        let manifest = archive.manifest();
        assert_eq!(manifest.group.scope, Scope::Partial);
        assert!(manifest.selection.contains(&"--skip-unreadable".to_owned()));
        let skipped: BTreeSet<&str> = manifest.skipped.iter().map(|s| s.what.as_str()).collect();
        let expected = [
            r#"rows of "Closed"."vault""#,
            r#"value of "Closed"."vault_id_seq""#,
            r#"rows of "ajar"."parts 1""#,
            r#"value of "ajar"."numbers""#,
            r#"rows of "ajar"."policed""#,
            "large object 7002",
            "subscription sub 1",
            "user mapping clerk on remote",
        ];
        assert_eq!(skipped, BTreeSet::from(expected), "{major}");
        assert_eq!(report.unreadable, 8);
        assert!(manifest.skipped.iter().all(|s| !s.reason.is_empty()));
        assert!(report.warnings.len() >= 7, "{:#?}", report.warnings);
        // All definitions are there, and what could be read.
        let target = server.create_database("part");
        let restored = restore_all(&archive, &settings(&target.conninfo()), 2)
            .await
            .unwrap();
        let failed: Vec<&str> = restored.failed.iter().map(|f| f.object.as_str()).collect();
        assert_eq!(failed, ["foreign key ajar.open open_vault_fkey"], "{major}");
        let there = r#"SELECT (SELECT count(*) FROM "Closed".vault), (SELECT count(*) FROM ajar.open),
            (SELECT string_agg(oid || convert_from(lo_get(oid), 'UTF8'), ',' ORDER BY oid) FROM pg_largeobject_metadata)"#;
        assert_eq!(target.psql(there), "0|2|7001mine to read,7003for all\n");

        let options = DumpOptions {
            enable_row_security: true,
            ..options
        };
        let (report, archive) = dump_as(&database, "back up", &options).await.unwrap();
        assert_eq!(report.unreadable, 7);
        let hidden = r#"some rows of "ajar"."policed""#;
        let named = archive.manifest().skipped.iter().any(|s| s.what == hidden);
        assert!(named, "{:#?}", archive.manifest().skipped);
        let indexes = archive.table_indexes().await.unwrap();
        // The open table, two of three policed rows, the pages of two large objects.
        assert_eq!(indexes.iter().map(|i| i.n_rows).collect::<Vec<_>>(), [2; 3]);
    }
}

#[test]
fn a_refusal_can_be_given_to_psql_as_it_is() {
    let (_server, database) = closed(*majors().last().unwrap());
    let place = tempfile::tempdir().unwrap();
    let dump = |more: &[&str]| {
        let mut command = pgark();
        command.args(["dump", "-d", &as_role(&database, "back up"), "-r"]);
        command.arg(place.path().join("repo")).args(more);
        let output = command.output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), texts)
    };
    let (code, [_, said]) = dump(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("pw") && !place.path().join("repo/archives").exists());
    let (code, [json, _]) = dump(&["--json"]);
    assert_eq!(code, Some(1));
    let failure: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(failure["error"]["cures"].as_array().unwrap().len(), 9);
    let (code, [_, said_of_part]) = dump(&["--skip-unreadable", "--name", "part"]);
    assert_eq!(code, Some(3), "{said_of_part}");
    assert!(
        said_of_part.contains("8 objects left out"),
        "{said_of_part}"
    );

    let statements = said.lines().filter(|line| line.ends_with(';'));
    let script: Vec<&str> = statements.collect();
    database.psql(&script.join("\n"));
    let (code, [_, said]) = dump(&["--name", "whole"]);
    assert_eq!(code, Some(0), "{said}");
}

/// A database as an application has it on a managed service, with what only the provider may make.
const MANAGED: &str = r#"
CREATE ROLE app LOGIN; CREATE ROLE other; CREATE ROLE giver; CREATE ROLE taker; CREATE ROLE friend; CREATE ROLE rds_superuser;
GRANT friend TO app;
CREATE SCHEMA app AUTHORIZATION app;
CREATE EXTENSION hstore;
COMMENT ON EXTENSION hstore IS 'ours';
CREATE EXTENSION pageinspect;
CREATE FUNCTION app.internal(int, int) RETURNS int LANGUAGE internal AS 'int4pl';
CREATE FUNCTION app.tight(int) RETURNS bool LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT true';
CREATE FUNCTION app.quiet() RETURNS int LANGUAGE sql SET session_replication_role = 'replica' AS 'SELECT 1';
CREATE FOREIGN DATA WRAPPER wrap;
GRANT USAGE ON FOREIGN DATA WRAPPER wrap TO app;
CREATE SERVER remote FOREIGN DATA WRAPPER wrap;
ALTER SERVER remote OWNER TO app;
ALTER FUNCTION app.quiet() OWNER TO app;
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE SUBSCRIPTION feed CONNECTION 'host=example password=pw' PUBLICATION p WITH (connect = false, slot_name = NONE);
SET ROLE app;
GRANT USAGE ON SCHEMA app TO giver, friend;
CREATE TABLE app.orders (id serial PRIMARY KEY, tags public.hstore, note text);
INSERT INTO app.orders (tags, note) SELECT public.hstore('a', i::text), 'n' || i FROM generate_series(1, 100) AS i;
CREATE INDEX ON app.orders USING gin (tags);
CREATE TABLE app.items (id int, "order" int REFERENCES app.orders);
INSERT INTO app.items VALUES (1, 1), (2, 2);
CREATE TYPE app.mood AS ENUM ('good', 'bad');
CREATE VIEW app.sums AS SELECT count(*) FROM app.items;
COMMENT ON TABLE app.orders IS 'all of them';
SELECT lo_from_bytea(4711, 'large');
GRANT SELECT ON app.orders TO giver WITH GRANT OPTION;
GRANT SELECT ON app.items TO friend WITH GRANT OPTION;
GRANT SELECT ON app.orders TO rds_superuser;
GRANT SELECT ON app.items TO other;
RESET ROLE;
SET ROLE giver; GRANT SELECT ON app.orders TO taker; RESET ROLE;
SET ROLE friend; GRANT SELECT ON app.items TO taker; RESET ROLE;
CREATE CAST (app.mood AS xml) WITH INOUT;
ALTER TYPE app.mood OWNER TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE other GRANT SELECT ON TABLES TO taker;
ALTER DEFAULT PRIVILEGES FOR ROLE app GRANT SELECT ON TABLES TO taker;
CREATE FUNCTION public.tell() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
ALTER FUNCTION public.tell() OWNER TO app;
CREATE EVENT TRIGGER told ON ddl_command_end EXECUTE FUNCTION public.tell();
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_waldir() TO taker;
"#;

/// A target where `app` owns an empty database and no more, on a server where the provider has made `hstore`.
fn managed_target(pair: &Pair) -> Database {
    let target = pair.target.create_database("managed");
    target.psql(&format!(
        "CREATE ROLE app LOGIN; CREATE ROLE other; CREATE ROLE giver; CREATE ROLE taker; CREATE ROLE friend; GRANT friend TO app;
           ALTER DATABASE {0} OWNER TO app; GRANT CREATE ON SCHEMA public TO app; CREATE EXTENSION hstore",
        target.name()
    ));
    target
}

#[tokio::test]
async fn what_a_provider_forbids_does_not_fail_the_rest() {
    for major in majors() {
        let pair = Pair::start(major);
        let source = pair.source.create_database("managed");
        source.psql(&format!("SET client_min_messages = error; {MANAGED}"));
        let archive = dump_to_memory(&settings(&source.conninfo()), &DumpOptions::default())
            .await
            .unwrap();
        let target = managed_target(&pair);
        let report = restore_all(&archive, &settings(&as_role(&target, "app")), 2)
            .await
            .unwrap_or_else(|error| panic!("{major}: {error}"));
        let parts = |one: &Forbidden| format!("{}: {}", one.object, one.part);
        let mut forbidden: Vec<String> = report.forbidden.iter().map(parts).collect();
        forbidden.sort();
        let expected = [
            "default privileges tables of other: privileges",
            "event trigger told: definition",
            "extension hstore: comment",
            "extension pageinspect: definition",
            "foreign data wrapper wrap: definition",
            "function app.internal(integer, integer): definition",
            "function app.quiet(): definition",
            "function app.tight(integer): definition",
            "function pg_catalog.pg_ls_waldir(): privileges",
            "publication everything: definition",
            "subscription feed: definition",
            "table app.orders: privileges",
        ];
        assert_eq!(forbidden, expected, "{major}: {report:#?}");
        assert!(report.forbidden.iter().all(|one| !one.reason.is_empty()));
        assert_eq!(report.failed, [], "{major}");
        let skipped: Vec<&str> = report.skipped.iter().map(|s| s.object.as_str()).collect();
        assert_eq!(skipped, ["foreign server remote"], "{major}");
        let lost: Vec<&str> = report.lost.iter().map(|l| l.what.as_str()).collect();
        assert_eq!(
            lost,
            [r#"privileges of role "rds_superuser" of Amazon RDS, which is not on this server"#],
            "{major}"
        );
        assert!(!report.is_complete());
        for words in [
            "only a superuser may create",
            "pageinspect",
            "granted by others",
        ] {
            let warned = report.warnings.iter().any(|text| text.contains(words));
            assert!(warned, "{major}: {words}: {:#?}", report.warnings);
        }
        let state = "SELECT (SELECT string_agg(md5(o::text), '' ORDER BY id) FROM app.orders o), (SELECT count(*) FROM app.items),
            (SELECT indexdef FROM pg_indexes WHERE indexname = 'orders_tags_idx'), md5(lo_get(4711)), obj_description('app.orders'::regclass),
            (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM pg_class, unnest(relacl) AS a WHERE oid = 'app.items'::regclass),
            (SELECT string_agg(relname || relowner::regrole, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'app'::regnamespace),
            (SELECT count(*) FROM pg_default_acl WHERE defaclrole = 'app'::regrole), (SELECT count(*) FROM pg_cast WHERE castsource = 'app.mood'::regtype)";
        assert_eq!(source.psql(state), target.psql(state), "{major}");
    }
}
