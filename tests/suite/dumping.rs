//! Dumps of real databases: what is chosen, what a waiting ALTER does, how many queries the catalog costs, and rows that
//! text cannot carry.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::index::CopyFormat;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, DumpReport, dump};
use pgark::pg::session::Interpose;
use pgark::pg::{ConnSettings, Environment};
use pgark::progress::{Event, Progress, Silent};
use pgark::restore::{Check, RestoreOptions, restore};
use pgark::selection::{Omit, Selection};
use pgark::store::MemoryStore;
use pgark::toc::Stage;

use crate::support::{Database, Server, majors};

fn settings(conninfo: &str) -> ConnSettings {
    ConnSettings::resolve(&Environment::of_process(), Some(conninfo), &[]).unwrap()
}

async fn repository() -> Repository {
    let store = Arc::new(MemoryStore::new());
    Repository::open_or_create(store, ChunkSettings::default())
        .await
        .unwrap()
}

async fn dumped(database: &Database, options: &DumpOptions) -> (Archive, DumpReport) {
    let repository = repository().await;
    let settings = settings(&database.conninfo());
    let report = dump(&settings, &repository, options, Arc::new(Silent))
        .await
        .unwrap();
    (repository.read(&report.name).await.unwrap(), report)
}

const TWO_SCHEMAS: &str = "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TYPE b.mood AS ENUM ('fine'); \
    CREATE TABLE a.kept (id serial PRIMARY KEY, note text); CREATE TABLE a.big (x int); CREATE TABLE b.other (m b.mood); \
    INSERT INTO a.kept (note) VALUES ('one'), (E'two\\ttabs'); INSERT INTO a.big VALUES (1), (2), (3); \
    INSERT INTO b.other VALUES ('fine'); CREATE VIEW b.v AS SELECT id FROM a.kept; \
    COMMENT ON TABLE a.kept IS 'kept'; GRANT SELECT ON a.kept TO PUBLIC; SELECT lo_from_bytea(4711, 'bytes')";

async fn labels(selection: Selection) -> Vec<String> {
    let major = *majors().last().unwrap();
    let database = Server::shared(major).create_database("selection");
    database.batch(TWO_SCHEMAS).await;
    let options = DumpOptions {
        selection,
        ..DumpOptions::default()
    };
    let (archive, _) = dumped(&database, &options).await;
    let entries = archive.entries().await.unwrap();
    entries
        .iter()
        .map(|entry| format!("{} {}", entry.label, entry.name))
        .collect()
}

fn patterns(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_schema_brings_its_contents_and_nothing_else() {
    let found = labels(Selection {
        schemas: patterns(&["a"]),
        ..Selection::default()
    })
    .await;
    assert!(
        found.contains(&"schema a".into()) && found.contains(&"table a.kept".into()),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .all(|label| !label.contains(" b.") && !label.starts_with("large")),
        "{found:?}"
    );
    let found = labels(Selection {
        exclude_schemas: patterns(&["a"]),
        ..Selection::default()
    })
    .await;
    assert!(found.contains(&"enum type b.mood".into()), "{found:?}");
    assert!(!found.contains(&"table a.kept".into()), "{found:?}");
}

#[tokio::test]
async fn a_table_brings_its_key_sequence_and_rows() {
    let found = labels(Selection {
        tables: patterns(&["a.k*"]),
        ..Selection::default()
    })
    .await;
    for label in [
        "table a.kept",
        "sequence a.kept_id_seq",
        "table data a.kept",
        "constraint a.kept kept_pkey",
    ] {
        assert!(found.contains(&label.into()), "{label}: {found:?}");
    }
    assert!(
        !found
            .iter()
            .any(|label| label.starts_with("schema") || label.contains("big")),
        "{found:?}"
    );
}

#[tokio::test]
async fn rows_can_be_left_out_and_the_manifest_says_so() {
    let major = *majors().last().unwrap();
    let database = Server::shared(major).create_database("rows");
    database.batch(TWO_SCHEMAS).await;
    let selection = Selection {
        exclude_table_data: patterns(&["a.big"]),
        ..Selection::default()
    };
    let options = DumpOptions {
        selection,
        ..DumpOptions::default()
    };
    let (archive, report) = dumped(&database, &options).await;
    assert_eq!(report.tables, 2);
    assert!(
        report.skipped[0].contains("\"a\".\"big\""),
        "{:?}",
        report.skipped
    );
    assert_eq!(archive.manifest().skipped.len(), 1);
    let schema_only = Selection {
        schema_only: true,
        ..Selection::default()
    };
    let (archive, report) = dumped(
        &database,
        &DumpOptions {
            selection: schema_only,
            ..DumpOptions::default()
        },
    )
    .await;
    assert_eq!((report.tables, report.rows), (0, 0));
    let entries = archive.entries().await.unwrap();
    assert!(
        entries.iter().all(|entry| entry.stage != Stage::Data),
        "no rows, values or large objects"
    );
    let data_only = Selection {
        data_only: true,
        ..Selection::default()
    };
    let (archive, report) = dumped(
        &database,
        &DumpOptions {
            selection: data_only,
            ..DumpOptions::default()
        },
    )
    .await;
    assert_eq!(report.rows, 7, "six rows and a page of a large object");
    let entries = archive.entries().await.unwrap();
    assert!(entries.iter().all(|entry| entry.stage == Stage::Data));
}

#[tokio::test]
async fn parts_can_be_left_out() {
    let major = *majors().last().unwrap();
    let database = Server::shared(major).create_database("parts");
    database.batch(TWO_SCHEMAS).await;
    let classes = [
        Omit::Owners,
        Omit::Privileges,
        Omit::Comments,
        Omit::Tablespaces,
        Omit::AccessMethods,
    ];
    let selection = Selection::default().without(classes);
    assert!(!selection.is_full());
    let (archive, _) = dumped(
        &database,
        &DumpOptions {
            selection,
            ..DumpOptions::default()
        },
    )
    .await;
    for entry in archive.entries().await.unwrap() {
        let bare = entry.owner.is_none() && entry.grants.is_empty() && entry.after.is_empty();
        let placed = entry.tablespace.is_some() || entry.access_method.is_some();
        assert!(bare && !placed, "{entry:?}");
    }
}

/// Before a worker's lock, makes another session wait for an exclusive one, once.
struct AlterFirst {
    conninfo: String,
    waiting: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

#[async_trait]
impl Interpose for AlterFirst {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        if !statement.contains("NOWAIT") || self.waiting.lock().unwrap().is_some() {
            return Ok(());
        }
        let conninfo = self.conninfo.clone();
        let (client, connection) = tokio_postgres::connect(&conninfo, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let task = tokio::spawn(async move {
            client
                .batch_execute("ALTER TABLE victim ADD COLUMN late int")
                .await
                .unwrap();
        });
        *self.waiting.lock().unwrap() = Some(task);
        let (watcher, connection) = tokio_postgres::connect(&conninfo, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let query =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'victim'::regclass";
        while watcher
            .query_one(query, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_alter_does_not_kill_the_dump_and_is_shown_with_its_pid() {
    for major in majors() {
        let database = Server::shared(major).create_database("waiting");
        database
            .batch(
                "CREATE TABLE before AS SELECT 1 AS x; CREATE TABLE victim AS SELECT generate_series(1, 1000) AS x; \
                 CREATE TABLE younger AS SELECT 1 AS x",
            )
            .await;
        let alter = Arc::new(AlterFirst {
            conninfo: database.conninfo(),
            waiting: Mutex::default(),
        });
        let settings = settings(&database.conninfo()).with_interpose(alter.clone());
        let (repository, warnings) = (repository().await, Arc::new(Warnings::default()));
        let report = dump(
            &settings,
            &repository,
            &DumpOptions::default(),
            warnings.clone(),
        )
        .await
        .unwrap();
        assert_eq!(report.rows, 1002);
        let told = warnings.0.lock().unwrap().join("\n");
        assert!(
            told.contains("pid ") && told.contains("ADD COLUMN late"),
            "{told}"
        );
        let waiting = alter
            .waiting
            .lock()
            .unwrap()
            .take()
            .expect("the ALTER was sent");
        waiting.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_text_cannot_carry_is_read_in_binary() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let database = server.create_database("wide");
    // 600 MB of bytea are 1.2 GB of text, more than one message of the server can be.
    database
        .batch(
            "CREATE TABLE wide (id int, b bytea); INSERT INTO wide VALUES (1, 'small'); \
             INSERT INTO wide SELECT 2, convert_to(repeat('x', 629145600), 'UTF8'); CREATE TABLE after (x int); \
             INSERT INTO after VALUES (7)",
        )
        .await;
    let (archive, report) = dumped(&database, &DumpOptions::default()).await;
    assert_eq!(report.rows, 3);
    let indexes = archive.table_indexes().await.unwrap();
    assert!(
        indexes
            .iter()
            .any(|index| index.format == CopyFormat::Binary && index.n_rows == 2)
    );
    let target = server.create_database("wide_copy");
    let options = RestoreOptions {
        check: Check::Content,
        ..RestoreOptions::default()
    };
    let report = restore(
        &archive,
        &settings(&target.conninfo()),
        &options,
        Arc::new(Silent),
    )
    .await
    .unwrap();
    assert!(report.is_complete(), "{report:?}");
    let length = target.psql("SELECT max(length(b)) FROM wide");
    assert_eq!(length.trim(), "629145600");
}

#[tokio::test]
async fn a_second_dump_of_the_same_rows_stores_next_to_nothing() {
    let major = *majors().last().unwrap();
    let database = Server::shared(major).create_database("again");
    database
        .batch("CREATE TABLE t AS SELECT i, md5(i::text) AS m, repeat(md5((i * 7)::text), 20) AS w FROM generate_series(1, 40000) i")
        .await;
    let (repository, settings) = (repository().await, settings(&database.conninfo()));
    let options = DumpOptions::default();
    let first = dump(&settings, &repository, &options, Arc::new(Silent))
        .await
        .unwrap();
    let second = dump(&settings, &repository, &options, Arc::new(Silent))
        .await
        .unwrap();
    assert!(first.new_bytes > 1_000_000, "{first:?}");
    // The data index and the TOC are the same too; only the manifest differs.
    assert_eq!(second.new_bytes, 0, "{second:?}");
    assert_eq!(second.stored_bytes, first.stored_bytes);
}

#[tokio::test]
async fn large_objects_of_an_ordinary_user_come_back_and_compare_equal() {
    let server = Server::start(*majors().last().unwrap());
    let database = server.create_database("objects");
    database
        .batch(
            "CREATE ROLE plain LOGIN; SELECT lo_from_bytea(5001, decode(repeat('00ff7f5c', 300000), 'hex')); \
             SELECT lo_create(5002); SELECT lo_from_bytea(5003, 'abc'); ALTER LARGE OBJECT 5001 OWNER TO plain; \
             ALTER LARGE OBJECT 5002 OWNER TO plain; ALTER LARGE OBJECT 5003 OWNER TO plain",
        )
        .await;
    let plain = settings(&database.conninfo().replace("user=postgres", "user=plain"));
    let repository = repository().await;
    let report = dump(
        &plain,
        &repository,
        &DumpOptions::default(),
        Arc::new(Silent),
    )
    .await
    .unwrap();
    let archive = repository.read(&report.name).await.unwrap();
    let target = server.create_database("objects_copy");
    let options = RestoreOptions {
        check: Check::Content,
        ..RestoreOptions::default()
    };
    let report = restore(
        &archive,
        &settings(&target.conninfo()),
        &options,
        Arc::new(Silent),
    )
    .await
    .unwrap();
    assert!(report.is_complete(), "{report:#?}");
    let contents = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1";
    assert_eq!(database.psql(contents), target.psql(contents));
}
