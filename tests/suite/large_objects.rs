//! Large objects in bulk: what many small ones cost in statements, how a long one is cut and put together again, with its
//! holes and its end, by whoever dumps and restores, and what a page of a foreign object comes to.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::index::{CopyFormat, TableIndex};
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, DumpReport, dump, plan};
use pgark::pg::session::Interpose;
use pgark::pg::{ConnSettings, Environment};
use pgark::progress::Silent;
use pgark::restore::{Check, RestoreOptions, RestoreReport, restore};
use pgark::selection::Selection;
use pgark::store::MemoryStore;
use serde_json::json;

use crate::archives::HandMade;
use crate::support::{Database, Server, majors};

/// Whole contents, owners, privileges and comments, in one digest; and how many.
const STATE: &str = "
SELECT count(*), md5(string_agg(concat_ws('/', oid, md5(lo_get(oid)), lomowner::regrole, lomacl, obj_description(oid, 'pg_largeobject')), ' ' ORDER BY oid))
  FROM pg_largeobject_metadata";
/// Every page, so that holes are told from zeros.
const PAGES: &str = "
SELECT count(*), md5(string_agg(concat_ws('/', loid, pageno, length(data), md5(data)), ' ' ORDER BY loid, pageno)) FROM pg_largeobject";

/// 5 MiB and a bit that do not compress, an object with holes, one with nothing but an end, an empty one, and short ones.
const OBJECTS: &str = "
SELECT lo_from_bytea(5000, (SELECT string_agg(sha512(i::text::bytea), '') FROM generate_series(1, 82000) AS i));
SELECT lo_from_bytea(5001, 'begins'), lo_put(5001, 3000000, 'goes on'), lo_truncate64(lo_open(5001, 131072), 4194304);
SELECT lo_create(5002), lo_truncate64(lo_open(5002, 131072), 8192);
SELECT lo_create(5003);
SELECT lo_from_bytea(4294967295, 'the last number');
SELECT count(lo_from_bytea((6000 + i)::oid, repeat(i::text, 300)::bytea)) FROM generate_series(1, 500) AS i";

/// Keeps every statement.
#[derive(Default)]
struct Statements(Mutex<Vec<String>>);

#[async_trait]
impl Interpose for Statements {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        self.0.lock().unwrap().push(statement.to_owned());
        Ok(())
    }
}

fn settings(conninfo: &str) -> ConnSettings {
    ConnSettings::resolve(&Environment::of_process(), Some(conninfo), &[]).unwrap()
}

fn as_role(database: &Database, role: &str) -> ConnSettings {
    let conninfo = database.conninfo();
    settings(&conninfo.replace("user=postgres", &format!("user={role}")))
}

async fn repository() -> Repository {
    let store = Arc::new(MemoryStore::new());
    let made = Repository::open_or_create(store, ChunkSettings::default());
    made.await.unwrap()
}

/// Cells of a quarter of a megabyte, so that some megabytes make many.
fn cut_fine() -> DumpOptions {
    DumpOptions {
        jobs: 2,
        cell_bytes: Some(256 << 10),
        ..DumpOptions::default()
    }
}

async fn dumped(
    source: &ConnSettings,
    repository: &Repository,
    options: &DumpOptions,
) -> (Archive, DumpReport) {
    let report = dump(source, repository, options, Arc::new(Silent)).await;
    let report = report.unwrap();
    (repository.read(&report.name).await.unwrap(), report)
}

async fn restored(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
) -> RestoreReport {
    restore(archive, target, options, Arc::new(Silent))
        .await
        .unwrap()
}

fn compared() -> RestoreOptions {
    RestoreOptions {
        jobs: 2,
        check: Check::Content,
        ..RestoreOptions::default()
    }
}

async fn objects_of(archive: &Archive) -> TableIndex {
    let mut indexes = archive.table_indexes().await.unwrap();
    indexes.retain(|index| index.columns == ["loid", "offset", "data"]);
    indexes.pop().expect("large objects have a line")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_ones_cost_few_statements_both_ways() {
    let server = Server::start(majors()[0]);
    let database = server.create_database("many");
    database
        .batch(
            "CREATE ROLE keeper; CREATE ROLE reader;
             SELECT count(lo_from_bytea(i::oid, i::text::bytea)) FROM generate_series(20001, 23000) AS i;
             DO $$ BEGIN FOR i IN 20001..23000 LOOP
               IF i % 3 = 0 THEN EXECUTE format('ALTER LARGE OBJECT %s OWNER TO keeper', i); END IF;
               IF i % 5 = 0 THEN EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO reader', i); END IF;
               IF i % 7 = 0 THEN EXECUTE format('COMMENT ON LARGE OBJECT %s IS %L', i, 'scan ' || i); END IF;
             END LOOP; END $$",
        )
        .await;
    let repository = repository().await;
    let asked = Arc::new(Statements::default());
    let source = settings(&database.conninfo()).with_interpose(asked.clone());
    let (archive, report) = dumped(&source, &repository, &DumpOptions::default()).await;
    assert_eq!(report.rows, 3000);
    let n_asked = asked.0.lock().unwrap().len();
    assert!(n_asked < 400, "{n_asked} statements of the dump");

    let target = server.create_database("many_copy");
    let asked = Arc::new(Statements::default());
    let to = settings(&target.conninfo()).with_interpose(asked.clone());
    let report = restored(&archive, &to, &compared()).await;
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(database.psql(STATE), target.psql(STATE));
    let asked = asked.0.lock().unwrap();
    assert!(asked.len() < 200, "{} statements: {asked:#?}", asked.len());
    // The owner of two thirds is who restores them.
    let text = asked.concat();
    assert_eq!(text.matches("ALTER LARGE OBJECT").count(), 1000);
    assert_eq!(
        text.matches("lo_create").count(),
        5,
        "by owner and privileges, a thousand at most"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_one_is_cut_and_comes_back_with_its_holes_and_its_end() {
    for major in majors() {
        let server = Server::shared(major);
        let database = server.create_database("long");
        for one in OBJECTS.split(';') {
            database.batch(one).await;
        }
        let repository = repository().await;
        let source = settings(&database.conninfo());
        let (archive, _) = dumped(&source, &repository, &cut_fine()).await;
        let index = objects_of(&archive).await;
        assert_eq!(index.format, CopyFormat::Binary);
        assert!(index.segments.len() > 20, "{}", index.segments.len());
        let planned = plan(&source, &cut_fine()).await.unwrap();
        let objects = planned.tables.iter().find(|t| t.method == "pages").unwrap();
        assert_eq!(objects.segments, index.segments.len());

        for single_transaction in [false, true] {
            let target = server.create_database("long_copy");
            let options = RestoreOptions {
                single_transaction,
                ..compared()
            };
            let asked = Arc::new(Statements::default());
            let to = settings(&target.conninfo()).with_interpose(asked.clone());
            let report = restored(&archive, &to, &options).await;
            assert!(report.is_complete(), "{report:#?}");
            let checked = report.checked.unwrap();
            assert_eq!(checked.not_compared, [], "{major}");
            assert_eq!(database.psql(PAGES), target.psql(PAGES), "{major}");
            assert_eq!(database.psql(STATE), target.psql(STATE), "{major}");
            let asked = asked.0.lock().unwrap();
            let copies = asked.iter().filter(|s| s.contains("pgark_pages (")).count();
            assert!(copies > 2, "several loads of one object");
        }
        // Nothing changed, and one object more moves few boundaries.
        let (_, again) = dumped(&source, &repository, &cut_fine()).await;
        assert_eq!(again.new_bytes, 0);
        database.batch("SELECT lo_from_bytea(4000, 'first')").await;
        let (_, more) = dumped(&source, &repository, &cut_fine()).await;
        assert!(more.new_bytes * 10 < more.stored_bytes, "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_user_gets_the_same_pieces_and_restores_what_is_its_own() {
    let server = Server::start(majors()[0]);
    let database = server.create_database("own");
    database
        .batch("CREATE ROLE plain LOGIN; CREATE ROLE other")
        .await;
    for one in OBJECTS
        .split(';')
        .filter(|one| !one.contains("5001") && !one.contains("5002"))
    {
        database.batch(one).await;
    }
    database
        .batch(
            "DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP
               EXECUTE format('ALTER LARGE OBJECT %s OWNER TO plain', o); END LOOP; END $$",
        )
        .await;
    let repository = repository().await;
    let (whole, _) = dumped(&settings(&database.conninfo()), &repository, &cut_fine()).await;
    let plain = as_role(&database, "plain");
    let (archive, _) = dumped(&plain, &repository, &cut_fine()).await;
    let (by_pages, by_calls) = (objects_of(&whole).await, objects_of(&archive).await);
    assert!(by_pages.segments.len() > 20);
    assert_eq!(by_pages.segments, by_calls.segments);
    assert_eq!(by_pages.fingerprint, by_calls.fingerprint);

    let target = server.create_database("own_copy");
    target
        .batch(&format!(
            "ALTER DATABASE {} OWNER TO plain; ALTER SCHEMA public OWNER TO plain",
            target.name()
        ))
        .await;
    let to = as_role(&target, "plain");
    let report = restored(&archive, &to, &compared()).await;
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(database.psql(STATE), target.psql(STATE));
    assert_eq!(database.psql(PAGES), target.psql(PAGES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_may_not_be_given_is_named_among_a_thousand() {
    let server = Server::start(majors()[0]);
    let database = server.create_database("given");
    database
        .batch(
            "CREATE ROLE plain LOGIN; CREATE ROLE friend; CREATE ROLE stranger; GRANT friend TO plain;
             SELECT count(lo_from_bytea(i::oid, 'x')) FROM generate_series(20001, 20900) AS i;
             DO $$ BEGIN FOR i IN 20001..20900 LOOP
               EXECUTE format('ALTER LARGE OBJECT %s OWNER TO friend', i);
               IF i IN (20100, 20777) THEN EXECUTE format('COMMENT ON LARGE OBJECT %s IS ''kept''', i); END IF; END LOOP; END $$;
             ALTER LARGE OBJECT 20333 OWNER TO stranger",
        )
        .await;
    let repository = repository().await;
    let source = settings(&database.conninfo());
    let (archive, _) = dumped(&source, &repository, &DumpOptions::default()).await;
    let target = server.create_database("given_copy");
    target
        .batch(&format!(
            "ALTER DATABASE {} OWNER TO plain; ALTER SCHEMA public OWNER TO plain",
            target.name()
        ))
        .await;
    let report = restored(
        &archive,
        &as_role(&target, "plain"),
        &RestoreOptions::default(),
    )
    .await;
    assert_eq!(report.failed, [], "{report:#?}");
    let forbidden: Vec<(&str, Option<&str>)> = report
        .forbidden
        .iter()
        .map(|one| (&*one.part, one.statement.as_deref()))
        .collect();
    let owner = r#"ALTER LARGE OBJECT 20333 OWNER TO "stranger""#;
    assert_eq!(forbidden, [("owner", Some(owner))]);
    let state = "SELECT lomowner::regrole, count(*), count(obj_description(oid, 'pg_largeobject')), sum(length(lo_get(oid)))
                   FROM pg_largeobject_metadata GROUP BY 1 ORDER BY 1::text";
    assert_eq!(target.psql(state), "friend|899|2|899\nplain|1|0|1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_what_the_restore_did_not_make_is_refused() {
    for (number, rows) in [
        (
            "9001",
            ["9000\t0\t\\\\x61\n", "9001\t0\t\\\\x62\n"].concat(),
        ),
        ("NULL", ["\\N\t0\t\\\\x61\n", "9000\t0\t\\\\x62\n"].concat()),
    ] {
        let server = Server::shared(majors()[0]);
        let target = server.create_database("foreign");
        target.batch("SELECT lo_from_bytea(9001, 'mine')").await;
        let mut made = HandMade::new(Arc::new(MemoryStore::new())).await;
        let sql = "SELECT pg_catalog.lo_create(9000)";
        let form = json!({"forms": [{"steps": [{"sql": [sql]}]}]});
        let object = made.entry("large object", "9000", "data", &form);
        let data = json!({"data": {"of": "large_objects"}, "needs": [object]});
        let pages = made.entry("large objects", "large objects", "data", &data);
        made.rows(pages, &["loid", "offset", "data"], &[rows]).await;
        let archive = made.finish("tampered").await;
        let options = RestoreOptions {
            selection: Selection {
                large_objects: Some(true),
                data_only: true,
                ..Selection::default()
            },
            ..RestoreOptions::default()
        };
        let report = restored(&archive, &settings(&target.conninfo()), &options).await;
        let failed: Vec<&str> = report
            .failed
            .iter()
            .map(|one| one.object.as_str())
            .collect();
        assert_eq!(failed, ["large objects large objects"], "{report:#?}");
        let said = format!("a page of number {number}");
        assert!(report.failed[0].message.contains(&said), "{report:#?}");
        let contents =
            "SELECT oid, convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata ORDER BY 1";
        assert_eq!(target.psql(contents), "9000|\n9001|mine\n");
    }
}
