//! A database becomes another one without an archive between: the same in everything, of one moment, counted on both sides, in
//! bounded memory; and what goes wrong on either side is named.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pgark::dump::plan;
use pgark::pg::session::Interpose;
use pgark::progress::Silent;
use pgark::{Check, CloneOptions, CloneReport, Error, RestoreOptions, Selection, clone_database};

use crate::consistency::{SCHEMA, Writers, broken, calls, options as in_cells};
use crate::memory::Run;
use crate::oracle::OF_SHOP;
use crate::round_trip::settings;
use crate::support::compare::{CompareOptions, Excuse, report};
use crate::support::pair::{Pair, assert_same, assert_whole, snapshot};
use crate::support::{Database, Server, majors, pgark};

/// Four connections on each side, small cells, and the comparison of content.
fn options() -> CloneOptions {
    CloneOptions {
        dump: in_cells(false),
        restore: RestoreOptions {
            jobs: 4,
            check: Check::Content,
            ..RestoreOptions::default()
        },
    }
}

async fn clone_with(
    source: &Database,
    target: &Database,
    options: &CloneOptions,
) -> pgark::Result<CloneReport> {
    let (from, into) = (settings(&source.conninfo()), settings(&target.conninfo()));
    clone_database(&from, &into, options, Arc::new(Silent)).await
}

fn shop(server: &Server) -> Database {
    let source = server.create_database("shop");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shop");
    source.psql_file(&fixtures.join("01-schema.sql"));
    source.psql_file(&fixtures.join("02-generate.sql"));
    source.psql("CALL shop_admin.generate(10)");
    source
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_is_cloned_and_stays_the_same() {
    for major in majors().into_iter().filter(|major| major.number() >= 15) {
        let pair = Pair::start(major);
        let source = shop(&pair.source);
        let target = pair.target.create_database("target");
        pair.copy_globals(&source, &target);
        let cloned = clone_with(&source, &target, &options()).await.unwrap();
        assert_whole("the shop", &cloned.restored);
        let checked = cloned.restored.checked.as_ref().unwrap();
        assert!(checked.not_compared.is_empty(), "{checked:?}");
        assert!(checked.n_tables > 10 && cloned.restored.n_rows > 1000);
        assert_same("the shop", &source, &target, OF_SHOP).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_is_cloned_into_a_newer_server() {
    let majors = majors();
    let (Some(old), Some(new)) = (majors.first(), majors.last()) else {
        panic!("there is no server")
    };
    if old == new || old.number() < 15 {
        println!("left out: it takes two servers since 15");
        return;
    }
    let pair = Pair::across(*old, *new);
    let source = shop(&pair.source);
    let target = pair.target.create_database("target");
    pair.copy_globals(&source, &target);
    let cloned = clone_with(&source, &target, &options()).await.unwrap();
    assert_whole("the shop", &cloned.restored);
    let excuses = OF_SHOP
        .iter()
        .map(|excuse| Excuse::new(excuse.pattern, excuse.reason));
    let comparing = CompareOptions {
        cross_version: true,
        excuse: excuses.collect(),
        ..CompareOptions::default()
    };
    let (left, right) = (
        snapshot(&source, &comparing).await,
        snapshot(&target, &comparing).await,
    );
    let found = left.differences(&right, &comparing);
    assert!(found.is_empty(), "{}", report(&found));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_a_moving_database_is_of_one_moment() {
    for major in majors().into_iter().filter(|major| major.number() >= 14) {
        let server = Server::shared(major);
        let source = server.create_database("moving");
        source.batch(SCHEMA).await;
        let planned = plan(&settings(&source.conninfo()), &in_cells(false))
            .await
            .unwrap();
        assert!(planned.tables.iter().all(|table| table.segments >= 8));
        let writers = Writers::start(&source).await;
        let before = calls(&source);
        let target = server.create_database("moved");
        let cloned = clone_with(&source, &target, &options()).await.unwrap();
        assert!(calls(&source) > before, "nobody wrote meanwhile");
        writers.stop().await;
        assert!(cloned.is_complete(), "{cloned:?}");
        assert_eq!(broken(&target), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_stands_against_a_clone_is_said_and_nothing_changes() {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("refused");
    source
        .batch("CREATE TABLE t AS SELECT 1 AS id; CREATE TABLE here AS SELECT 1 AS id")
        .await;
    let target = server.create_database("not_empty");
    target
        .batch("CREATE TABLE here (id int); INSERT INTO here VALUES (7)")
        .await;
    let before = target.pg_dump(&[]);
    let mut wrong_role = options();
    wrong_role.restore.role = Some("nobody_has_this_name".to_owned());
    let refused = clone_with(&source, &target, &wrong_role).await.unwrap_err();
    let Error::Refused { what, findings } = &refused else {
        panic!("{refused:?}")
    };
    assert!(
        what.contains("clone of database") && what.contains(source.name()),
        "{what}"
    );
    let all = findings.join("\n");
    assert!(
        all.contains("nobody_has_this_name") && all.contains("not empty"),
        "{all}"
    );
    assert_eq!(target.pg_dump(&[]), before);
    let same = clone_with(&source, &source, &options()).await.unwrap_err();
    assert!(
        matches!(&same, Error::Usage(text) if text.contains("the same database")),
        "{same:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_objects_go_beside_what_is_there() {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("chosen");
    source
        .batch("CREATE TABLE one AS SELECT 1 AS id; CREATE TABLE two AS SELECT generate_series(1, 5) AS id; CREATE TABLE empty (id int)")
        .await;
    let target = server.create_database("beside");
    target.batch("CREATE TABLE other AS SELECT 9 AS id").await;
    let mut chosen = options();
    chosen.dump.selection = Selection {
        tables: vec!["two".to_owned(), "empty".to_owned()],
        ..Selection::default()
    };
    let cloned = clone_with(&source, &target, &chosen).await.unwrap();
    assert!(cloned.is_complete(), "{cloned:?}");
    assert_eq!((cloned.restored.n_tables, cloned.restored.n_rows), (2, 5));
    assert_eq!(
        target.psql("SELECT count(*) FROM two; SELECT count(*) FROM empty; TABLE other"),
        "5\n0\n9\n"
    );
    let refused = clone_with(&source, &target, &chosen).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_the_target_swallows_or_refuses_are_named_with_their_table() {
    let server = Server::shared(*majors().last().unwrap());
    let tables =
        "CREATE TABLE good (id int); CREATE TABLE greedy (id int); CREATE TABLE strict (id int);";
    let source = server.create_database("rows");
    source.batch(tables).await;
    source
        .batch("INSERT INTO good SELECT generate_series(1, 3); INSERT INTO greedy SELECT generate_series(1, 3); INSERT INTO strict VALUES (-1)")
        .await;
    let target = server.create_database("traps");
    target.batch(tables).await;
    target
        .batch(
            "ALTER TABLE strict ADD CHECK (id > 0);
             CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END';
             CREATE TRIGGER swallow BEFORE INSERT ON greedy FOR EACH ROW EXECUTE FUNCTION swallow()",
        )
        .await;
    let mut rows = options();
    rows.dump.selection.data_only = true;
    let cloned = clone_with(&source, &target, &rows).await.unwrap();
    assert!(!cloned.is_complete());
    let failed: Vec<String> = cloned
        .restored
        .failed
        .iter()
        .map(|one| format!("{}: {}", one.object, one.message))
        .collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(
        failed
            .iter()
            .any(|one| one.contains("greedy") && one.contains("took 2 rows of 3")),
        "{failed:?}"
    );
    assert!(
        failed
            .iter()
            .any(|one| one.contains("strict") && one.contains("check constraint")),
        "{failed:?}"
    );
    assert_eq!(
        target.psql("SELECT count(*) FROM good; SELECT count(*) FROM greedy"),
        "3\n0\n"
    );
}

/// What befalls the source before its n-th COPY.
struct Mishap {
    conninfo: String,
    n_copies: AtomicUsize,
    at: usize,
    /// Run on another connection; an error of it stands for the statement's.
    sql: &'static str,
}

#[async_trait]
impl Interpose for Mishap {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        let is_copy = statement.starts_with("COPY ");
        if !is_copy || self.n_copies.fetch_add(1, Ordering::SeqCst) != self.at {
            return Ok(());
        }
        let (client, connection) = tokio_postgres::connect(&self.conninfo, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let outcome = client.batch_execute(self.sql).await;
        outcome.map_err(|source| Error::Sql {
            object: "a table".to_owned(),
            step: "COPY OUT".to_owned(),
            source,
        })
    }
}

const END_A_WORKER: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'pgark dump worker'";
const END_ALL: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'pgark dump%'";
const SAY_TOO_WIDE: &str = "DO $$ BEGIN RAISE 'out of memory' USING ERRCODE = '54000'; END $$";

async fn after(sql: &'static str, jobs: usize) -> (pgark::Result<CloneReport>, Database, Database) {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("mishap");
    source
        .batch(
            "CREATE TABLE wide AS SELECT i AS id, repeat('w', 900) AS pad FROM generate_series(1, 6000) i;
             CREATE TABLE small AS SELECT i AS id FROM generate_series(1, 40) i",
        )
        .await;
    let target = server.create_database("spared");
    let mishap = Arc::new(Mishap {
        conninfo: source.conninfo(),
        n_copies: AtomicUsize::new(0),
        at: 2,
        sql,
    });
    let from = settings(&source.conninfo()).with_interpose(mishap);
    let mut options = options();
    options.restore.jobs = jobs;
    let into = settings(&target.conninfo());
    let outcome = clone_database(&from, &into, &options, Arc::new(Silent)).await;
    (outcome, source, target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_connection_that_breaks_is_replaced_in_the_same_snapshot() {
    let (outcome, _source, target) = after(END_A_WORKER, 1).await;
    let cloned = outcome.unwrap();
    assert!(cloned.is_complete(), "{cloned:?}");
    assert_eq!(
        target.psql("SELECT count(*), min(length(pad)) FROM wide; SELECT count(*) FROM small"),
        "6000|900\n40\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_lost_for_good_ends_the_clone_with_its_name() {
    let (outcome, source, _target) = after(END_ALL, 1).await;
    let error = outcome.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("the source") && text.contains(source.name()),
        "{text}"
    );
    assert!(
        error
            .remedy()
            .is_some_and(|remedy| remedy.contains("new database")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_a_row_too_wide_for_text_comes_in_binary_and_is_compared() {
    let (outcome, source, target) = after(SAY_TOO_WIDE, 2).await;
    let cloned = outcome.unwrap();
    assert!(cloned.is_complete(), "{cloned:?}");
    let checked = cloned.restored.checked.unwrap();
    assert!(
        checked.n_tables == 2 && checked.not_compared.is_empty(),
        "{checked:?}"
    );
    let sums = "SELECT count(*), sum(hashtext(pad)::bigint + id) FROM wide";
    assert_eq!(target.psql(sums), source.psql(sums));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_target_cannot_hold_is_left_out_by_name() {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("utf8");
    source
        .batch("CREATE TABLE names (id int, name text); INSERT INTO names VALUES (1, 'Zoë'), (2, '日本'), (3, 'Ann')")
        .await;
    let latin1 = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    let target = server.create_database_with("latin1", latin1);
    let cloned = clone_with(&source, &target, &options()).await.unwrap();
    let left: Vec<(u64, &str)> = cloned
        .restored
        .left_out
        .iter()
        .map(|table| (table.n_rows, &*table.rows[0].begins))
        .collect();
    assert_eq!(left, [(1, "2")], "{cloned:?}");
    assert_eq!(cloned.restored.n_rows, 2);
    assert_eq!(
        target.psql("SELECT id, length(name) FROM names ORDER BY id"),
        "1|3\n3|3\n"
    );
}

#[test]
fn wide_rows_and_large_objects_are_cloned_in_bounded_memory() {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("memory_clone");
    for number in 1..=4 {
        source.psql(&format!(
            "CREATE TABLE wide_{number} AS SELECT i AS id, convert_to(repeat('{number}', 60 * 1024 * 1024), 'UTF8') AS data
               FROM generate_series(1, 1) i"
        ));
    }
    source.psql("SELECT lo_from_bytea(70000, convert_to(repeat('lo', 10 * 1024 * 1024), 'UTF8'))");
    let target = server.create_database("memory_cloned");
    Run::new().peak(&[
        "clone",
        "-d",
        &source.conninfo(),
        "--to",
        &target.conninfo(),
    ]);
    let sums = "SELECT (SELECT sum(length(data)) FROM (TABLE wide_1 UNION ALL TABLE wide_4) AS wide), \
                (SELECT md5(lo_get(70000)))";
    assert_eq!(target.psql(sums), source.psql(sums));
}

#[test]
fn the_program_clones_beside_the_source_and_tells_what_it_did() {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("program");
    source.psql(
        "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id; COMMENT ON TABLE t IS 'rows'",
    );
    let target = server.create_database("program_copy");
    let run = |arguments: &[&str]| {
        let output = pgark()
            .args(["clone", "-d", &source.conninfo(), "--to", target.name()])
            .args(arguments)
            .output()
            .unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), out, err)
    };
    let (code, out, err) = run(&["--json", "--no-analyze"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["source"], source.name());
    assert_eq!(told["database"], target.name());
    assert_eq!(
        (&told["n_rows"], &told["n_tables"]),
        (&1000.into(), &1.into())
    );
    assert!(
        told.get("archive").is_none() && told["snapshot"].is_string(),
        "{told}"
    );
    // The second time the first is in the way, and its objects go first if that is asked for.
    let (code, _, err) = run(&[]);
    assert!(
        code == Some(1) && err.contains("not empty"),
        "{code:?} {err}"
    );
    let (code, _, err) = run(&["--clean"]);
    assert!(code == Some(2) && err.contains("--yes"), "{code:?} {err}");
    let (code, out, err) = run(&["--clean", "--yes", "--check", "content"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        out.contains("1,000 rows") && out.contains("compared and equal"),
        "{out}"
    );
}
