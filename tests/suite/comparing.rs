//! Archives compared with each other and with the database they came from: what is the same is not named, what differs is, with the
//! place.

use std::sync::Arc;

use pgark::archive::chunker::ChunkSettings;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, dump, survey};
use pgark::manage::diff::{Change, Contents, Diff, diff};
use pgark::progress::Silent;
use pgark::store::MemoryStore;
use serde_json::Value;

use crate::round_trip::settings;
use crate::support::{Database, Server, block_on, majors, pgark};

/// Cells of some blocks, so that a small table has many.
fn options(name: &str) -> DumpOptions {
    DumpOptions {
        name: Some(name.parse().unwrap()),
        cell_bytes: Some(128 << 10),
        ..DumpOptions::default()
    }
}

async fn repository() -> Repository {
    let store = Arc::new(MemoryStore::new());
    let settings = ChunkSettings {
        bytes_min: 8 << 10,
        bytes_max: 64 << 10,
        cut_bits: 14,
    };
    Repository::open_or_create(store, settings).await.unwrap()
}

async fn archive(repository: &Repository, database: &Database, name: &str) -> Archive {
    let source = settings(&database.conninfo());
    let report = dump(&source, repository, &options(name), Arc::new(Silent)).await;
    repository.read(&report.unwrap().name).await.unwrap()
}

async fn between(first: &Archive, second: &Archive) -> Diff {
    let first = Contents::of(first).await.unwrap();
    diff(&first, &Contents::of(second).await.unwrap())
}

async fn against(archive: &Archive, database: &Database) -> Diff {
    let source = settings(&database.conninfo());
    let live = survey(&source, archive, &options("none"), Arc::new(Silent)).await;
    diff(&Contents::of(archive).await.unwrap(), &live.unwrap())
}

fn objects(diff: &Diff) -> Vec<String> {
    let line = |object: &pgark::manage::diff::ObjectChange| {
        let aspects: Vec<String> = object.aspects.iter().map(ToString::to_string).collect();
        let sign = match object.change {
            Change::Added => "+",
            Change::Removed => "-",
            Change::Changed => "~",
        };
        format!(
            "{sign} {} {} {}",
            object.kind,
            object.name,
            aspects.join(", ")
        )
        .trim_end()
        .to_owned()
    };
    diff.objects.iter().map(line).collect()
}

const TABLES: &str = "
    CREATE SCHEMA sales;
    CREATE TYPE sales.state AS ENUM ('new', 'paid');
    CREATE TABLE sales.orders (id int PRIMARY KEY, state sales.state DEFAULT 'new', note text);
    INSERT INTO sales.orders SELECT i, 'new', md5(i::text) || md5((-i)::text) FROM generate_series(1, 20000) i;
    CREATE TABLE sales.items (order_id int REFERENCES sales.orders, line int);
    INSERT INTO sales.items SELECT i, 1 FROM generate_series(1, 500) i;
    CREATE TABLE sales.nothing (a int);
    CREATE VIEW sales.totals AS SELECT count(*) FROM sales.orders;
    CREATE SEQUENCE sales.tickets;
    SELECT lo_from_bytea(4711, 'a large object');";

const CHANGES: &str = "
    UPDATE sales.orders SET note = 'changed' WHERE id = 10000;
    DELETE FROM sales.items WHERE order_id = 1;
    CREATE INDEX orders_note ON sales.orders (note);
    DROP VIEW sales.totals;
    COMMENT ON TABLE sales.items IS 'one line of an order';
    GRANT SELECT ON sales.items TO PUBLIC;
    ALTER TABLE sales.nothing ADD b int;
    SELECT nextval('sales.tickets');
    SELECT lo_put(4711, 0, 'A');";

const FOUND: [&str; 4] = [
    "+ index sales.orders orders_note",
    "~ table sales.items comment, privileges",
    "~ table sales.nothing definition",
    "- view sales.totals",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_archives_and_an_archive_and_its_database_differ_in_what_was_changed_and_where() {
    for major in majors() {
        let database = Server::shared(major).create_database("comparing");
        database.batch(TABLES).await;
        let repository = repository().await;
        let first = archive(&repository, &database, "first").await;
        let same = archive(&repository, &database, "same").await;
        let found = between(&first, &same).await;
        assert!(found.is_empty(), "{major}: {found:?}");
        assert!(found.n_same_tables >= 4 && found.n_same_objects >= 10);
        let n_chunks = repository.store().list("chunks").await.unwrap().len();
        let live = against(&first, &database).await;
        assert!(live.is_empty(), "{major}: {live:?}");
        assert_eq!(live, found);

        database.batch(CHANGES).await;
        let live = against(&first, &database).await;
        let now = repository.store().list("chunks").await.unwrap().len();
        assert_eq!(now, n_chunks, "a comparison stores nothing");
        let second = archive(&repository, &database, "second").await;
        assert_eq!(live, between(&first, &second).await, "{major}");
        let lines = objects(&live);
        for line in FOUND {
            assert!(
                lines.iter().any(|found| found == line),
                "{major}: {line}\n{lines:#?}"
            );
        }
        assert_eq!(lines.len(), 5, "and the sequence's value: {lines:#?}");

        let tables: Vec<(&str, u64, u64)> = live
            .rows
            .iter()
            .map(|rows| {
                let n = |side: &Option<pgark::manage::diff::RowsOf>| side.as_ref().unwrap().rows;
                (rows.table.as_str(), n(&rows.first), n(&rows.second))
            })
            .collect();
        assert_eq!(
            tables,
            [
                ("large objects", 1, 1),
                ("sales.items", 500, 499),
                ("sales.orders", 20000, 20000)
            ]
        );
        // The old version of the row and the new one: at most two places of some dozen.
        let orders = &live.rows[2];
        assert!(orders.n_same_chunks >= 10, "{orders:?}");
        assert!((1..=2).contains(&orders.ranges.len()), "{orders:?}");
        assert!(
            orders
                .ranges
                .iter()
                .all(|range| range.range.contains("block"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restored_from_an_archive_is_the_same() {
    let server = Server::shared(*majors().last().unwrap());
    let database = server.create_database("comparing_source");
    database.batch(TABLES).await;
    let repository = repository().await;
    let archived = archive(&repository, &database, "one").await;
    let target = server.create_database("comparing_target");
    let restored =
        crate::round_trip::restore_all(&archived, &settings(&target.conninfo()), 2).await;
    assert!(restored.unwrap().is_complete());
    let found = against(&archived, &target).await;
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(found.n_same_tables, 4);
}

#[test]
fn the_program_names_differences_and_ends_with_their_code() {
    let database = Server::shared(majors()[0]).create_database("comparing_program");
    block_on(database.batch(TABLES));
    let folder = tempfile::tempdir().unwrap();
    let run = |code: i32, arguments: &[&str]| -> String {
        let mut command = pgark();
        command.args(arguments).arg("-r").arg(folder.path());
        let output = command.output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {texts:?}");
        texts[usize::from(code == 2)].clone()
    };
    let from = database.conninfo();
    run(0, &["dump", "-d", &from, "--name", "monday"]);
    let text = run(0, &["verify", "--against", "-d", &from]);
    assert!(text.contains("no difference in"), "{text}");
    block_on(database.batch(CHANGES));
    let text = run(17, &["verify", "monday", "--against", "-d", &from]);
    assert!(
        text.contains("~ rows of sales.items: 500 → 499\n"),
        "{text}"
    );
    assert!(
        text.contains("+ index sales.orders orders_note\n"),
        "{text}"
    );
    assert!(
        text.contains("~ table sales.items: comment, privileges\n"),
        "{text}"
    );
    run(0, &["dump", "-d", &from, "--name", "tuesday"]);
    let shown = run(17, &["diff", "monday"]);
    assert!(
        shown.contains("monday → tuesday: 1 object added, 1 removed"),
        "{shown}"
    );
    run(0, &["diff", "monday", "monday"]);
    let json: Value =
        serde_json::from_str(&run(17, &["diff", "monday", "tuesday", "--json"])).unwrap();
    assert_eq!(json["first"], "monday");
    let tables = json["rows"].as_array().unwrap().iter();
    let tables: Vec<&str> = tables.map(|rows| rows["table"].as_str().unwrap()).collect();
    assert_eq!(tables, ["large objects", "sales.items", "sales.orders"]);

    let text = run(2, &["verify", "-d", &from]);
    assert!(text.contains("--against"), "{text}");
    let text = run(
        2,
        &["verify", "monday", "tuesday", "--against", "-d", &from],
    );
    assert!(text.contains("one archive"), "{text}");
    let text = run(0, &["verify", "monday", "--subset", "1/2"]);
    assert!(text.contains("nothing wrong so far"), "{text}");
    run(2, &["verify", "--subset", "3/2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_archive_of_one_table_only_that_table_is_read_and_compared() {
    let database = Server::shared(majors()[0]).create_database("comparing_part");
    database.batch(TABLES).await;
    let repository = repository().await;
    let mut only = options("part");
    only.selection.tables = vec!["sales.items".to_owned()];
    let source = settings(&database.conninfo());
    let report = dump(&source, &repository, &only, Arc::new(Silent))
        .await
        .unwrap();
    let part = repository.read(&report.name).await.unwrap();
    database
        .batch("UPDATE sales.orders SET note = ''; CREATE TABLE sales.more (a int)")
        .await;
    let found = against(&part, &database).await;
    assert!(
        found.is_empty(),
        "what it does not have is no difference: {found:?}"
    );
    assert_eq!(found.n_same_tables, 1);
    database
        .batch("UPDATE sales.items SET line = 2 WHERE order_id = 7")
        .await;
    let found = against(&part, &database).await;
    assert_eq!(found.rows.len(), 1);
    assert_eq!(found.rows[0].table, "sales.items");
    database.batch("DROP TABLE sales.items").await;
    let lines = objects(&against(&part, &database).await);
    assert!(
        lines.contains(&"- table sales.items".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn the_program_mends_a_repository_from_its_copy() {
    let database = Server::shared(majors()[0]).create_database("healing_program");
    block_on(database.batch(TABLES));
    let folder = tempfile::tempdir().unwrap();
    let (here, copy) = (folder.path().join("here"), folder.path().join("copy"));
    let run = |code: i32, arguments: &[&str]| -> String {
        let output = pgark()
            .args(arguments)
            .arg("-r")
            .arg(&here)
            .output()
            .unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {texts:?}");
        texts[0].clone()
    };
    run(0, &["dump", "-d", &database.conninfo(), "--name", "monday"]);
    run(0, &["replicate", copy.to_str().unwrap()]);
    let files = || {
        let mut files: Vec<_> = crate::salvage::files(&here)
            .into_iter()
            .filter(|path| !path.ends_with("pgark.json"))
            .collect();
        files.sort();
        files
    };
    // The manifest and a chunk, which shows only when the manifest is whole again.
    for path in files() {
        let text = path.to_str().unwrap();
        if text.contains("archives/") || text.contains("chunks/") {
            std::fs::write(&path, "garbage").unwrap();
        }
    }
    run(11, &["verify"]);
    let text = run(0, &["verify", "--heal", "--from", copy.to_str().unwrap()]);
    assert!(text.contains("monday: whole"), "{text}");
    assert!(
        text.contains("fetched: archives/monday.json is whole again"),
        "{text}"
    );
    assert!(text.contains("fetched: chunks/"), "{text}");
    run(0, &["verify", "--all"]);
    let chunk = files()
        .into_iter()
        .find(|path| path.to_str().unwrap().contains("/chunks/"));
    std::fs::write(chunk.unwrap(), "garbage").unwrap();
    let text = run(11, &["verify", "--heal"]);
    assert!(text.contains("put aside: chunks/"), "{text}");
    run(2, &["verify", "--from", copy.to_str().unwrap()]);
}
