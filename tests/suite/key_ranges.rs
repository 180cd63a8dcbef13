//! Large tables that cannot be cut by blocks: on servers before 14, and, where there are blocks, of another access method. They
//! are read in ranges of a key, each row once, and the plan says so or says why not.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use pgark::archive::chunker::ChunkSettings;
use pgark::archive::index::{KeyRange, KeyType, Segment, TableIndex};
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, PlannedTable, dump, plan};
use pgark::progress::Silent;
use pgark::selection::Selection;
use pgark::store::MemoryStore;

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::{Database, Server, matrix, pgark};

/// Cells small enough for tables of a megabyte.
fn options() -> DumpOptions {
    DumpOptions {
        cell_bytes: Some(128 << 10),
        ..DumpOptions::default()
    }
}

/// Servers on which a new table of the database cannot be cut by blocks.
fn databases(hint: &str) -> Vec<(Server, Database)> {
    let prepared = |major| {
        let server = Server::shared(major);
        let database = server.create_database(hint);
        if major.number() >= 14 {
            database.psql(&format!(
                "CREATE ACCESS METHOD fake TYPE TABLE HANDLER heap_tableam_handler; \
                 ALTER DATABASE \"{}\" SET default_table_access_method = fake",
                database.name()
            ));
        }
        (server, database)
    };
    matrix().into_iter().map(prepared).collect()
}

/// Every type of key with its extremes, NULL where it may be, and values that many rows share. `wide` has two keys, the first
/// of which is scattered; `old` is the parent of `young`; nobody but ANALYZE looks at them, so that the plan is the same each time.
const SCHEMA: &str = r#"
CREATE TABLE "Big" ("I""d" int8 PRIMARY KEY, pad text) WITH (autovacuum_enabled = off);
INSERT INTO "Big" SELECT i, repeat('b', 300) FROM generate_series(-1000, 2000) i;
INSERT INTO "Big" VALUES (9223372036854775807, 'max'), (-9223372036854775808, 'min');
CREATE TABLE small (a int2 UNIQUE, b int, pad text) WITH (autovacuum_enabled = off);
INSERT INTO small SELECT i, i, repeat('s', 300) FROM generate_series(-1000, 2000) i;
INSERT INTO small SELECT NULL, i, 'null' FROM generate_series(1, 100) i;
INSERT INTO small VALUES (32767, 1, 'max'), (-32768, 2, 'min');
CREATE TABLE days (d date, pad text) WITH (autovacuum_enabled = off);
INSERT INTO days VALUES ('-infinity', 'first'), ('4714-11-24 BC', 'julian');
INSERT INTO days SELECT date '0044-03-15 BC' + i / 100, repeat('d', 300) FROM generate_series(1, 3000) i;
INSERT INTO days SELECT date '2024-02-29', repeat('d', 300) FROM generate_series(1, 1000) i;
INSERT INTO days VALUES ('infinity', 'last'), (NULL, 'null'), ('5874897-12-31', 'nearly last');
CREATE INDEX ON days (d DESC NULLS LAST, pad);
CREATE TABLE moments (t timestamptz, pad text) WITH (autovacuum_enabled = off);
INSERT INTO moments SELECT timestamptz '1999-12-31 23:00:00.000001+01' + i * interval '1.000001 s', repeat('m', 300) FROM generate_series(1, 3000) i;
INSERT INTO moments VALUES ('infinity', 'last'), ('-infinity', 'first'), (NULL, 'null'), ('0044-03-15 12:00:00 BC', 'ides'), ('294276-12-31 23:59:59.999999+00', 'end');
CREATE INDEX ON moments (t);
CREATE TABLE unanalyzed (t timestamp NOT NULL, pad text) WITH (autovacuum_enabled = off);
INSERT INTO unanalyzed SELECT timestamp '2024-01-01' + i * interval '1 min', repeat('u', 300) FROM generate_series(1, 3000) i;
CREATE INDEX ON unanalyzed (t);
CREATE TABLE unanalyzed_scattered (i int PRIMARY KEY, pad text) WITH (autovacuum_enabled = off);
INSERT INTO unanalyzed_scattered SELECT i * 7919 % 3001, repeat('u', 300) FROM generate_series(1, 3000) i;
CREATE TABLE wide (random int PRIMARY KEY, made int4 NOT NULL, pad text) WITH (autovacuum_enabled = off);
INSERT INTO wide SELECT i * 7919 % 3001, -i, repeat('w', 300) FROM generate_series(1, 3000) i;
CREATE INDEX ON wide (made);
CREATE TABLE scattered (i int PRIMARY KEY, pad text) WITH (autovacuum_enabled = off);
INSERT INTO scattered SELECT i * 7919 % 3001, repeat('x', 300) FROM generate_series(1, 3000) i;
CREATE TABLE keyless (i int, n numeric PRIMARY KEY, pad text) WITH (autovacuum_enabled = off);
INSERT INTO keyless SELECT i, i, repeat('k', 300) FROM generate_series(1, 3000) i;
CREATE TABLE partly (i int, pad text) WITH (autovacuum_enabled = off);
INSERT INTO partly SELECT i, repeat('p', 300) FROM generate_series(1, 3000) i;
CREATE INDEX ON partly (i) WHERE i > 10;
CREATE TABLE same (i int, pad text) WITH (autovacuum_enabled = off);
INSERT INTO same SELECT 7, repeat('p', 300) FROM generate_series(1, 3000) i;
CREATE INDEX ON same (i);
CREATE TABLE old (i int PRIMARY KEY, pad text) WITH (autovacuum_enabled = off);
INSERT INTO old SELECT i, repeat('o', 300) FROM generate_series(1, 2000) i;
CREATE TABLE young () INHERITS (old);
INSERT INTO young SELECT i, 'y' FROM generate_series(1, 2000) i;
ANALYZE "Big", small, days, moments, wide, scattered, keyless, partly, same, old, young;
"#;

async fn planned(database: &Database) -> BTreeMap<String, PlannedTable> {
    let planned = plan(&settings(&database.conninfo()), &options())
        .await
        .unwrap();
    let named = planned
        .tables
        .into_iter()
        .map(|table| (table.table.clone(), table));
    named.collect()
}

/// The data index by the table's name.
async fn indexes(archive: &Archive) -> BTreeMap<String, TableIndex> {
    let entries = archive.entries().await.unwrap();
    let named = archive.table_indexes().await.unwrap().into_iter();
    named
        .map(|index| (entries[index.entry.0 as usize].name.name.clone(), index))
        .collect()
}

fn lows(index: &TableIndex) -> Vec<i64> {
    let keys = index.segments.iter().filter_map(|segment| segment.keys);
    keys.filter_map(|keys| match keys {
        KeyRange::Values(low, _) => low,
        KeyRange::Null => None,
    })
    .collect()
}

/// The server counts scans: only the one that built the key's index went over the whole table.
async fn assert_read_by_index(database: &Database, table: &str) {
    let scans = format!(
        "SELECT idx_scan, seq_scan FROM pg_stat_user_tables WHERE relname = '{table}' AND idx_scan > 4"
    );
    for _ in 0..100 {
        // Servers before 15 learn of scans a little later.
        if let Some((_, n_whole)) = database.psql(&scans).trim().split_once('|') {
            assert_eq!(n_whole, "1", "scans of all of {table}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no scan of {table} was counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_in_one_range_of_a_key_and_comes_back() {
    for (server, source) in databases("keyed") {
        source.psql(SCHEMA);
        if server.major().number() >= 18 {
            // Marked as never NULL, though it is.
            source.psql(
                "CREATE TABLE unproved (i int, pad text) WITH (autovacuum_enabled = off); \
                 INSERT INTO unproved SELECT nullif(i, 5), repeat('n', 300) FROM generate_series(1, 3000) i; \
                 CREATE INDEX ON unproved (i); ALTER TABLE unproved ADD CONSTRAINT n NOT NULL i NOT VALID; ANALYZE unproved",
            );
        }
        let archive = dump_to_memory(&settings(&source.conninfo()), &options())
            .await
            .unwrap();
        assert_read_by_index(&source, "Big").await;
        let indexes = indexes(&archive).await;
        for (table, column, of, n_null) in [
            ("Big", "I\"d", KeyType::Int8, None),
            ("small", "a", KeyType::Int2, Some(100)),
            ("days", "d", KeyType::Date, Some(1)),
            ("moments", "t", KeyType::Timestamptz, Some(1)),
            ("unanalyzed", "t", KeyType::Timestamp, None),
            ("wide", "made", KeyType::Int4, None),
            ("old", "i", KeyType::Int4, None),
            ("unproved", "i", KeyType::Int4, Some(1)),
        ] {
            let Some(index) = indexes.get(table) else {
                assert_eq!(table, "unproved");
                continue;
            };
            let key = index.cell_key.as_ref().unwrap();
            assert_eq!((&*key.column, key.of), (column, of), "{table}");
            assert_eq!(index.cell_blocks, None);
            let lows = lows(index);
            assert!(lows.len() >= 4, "{table}: {lows:?}");
            assert!(lows.windows(2).all(|pair| pair[0] < pair[1]), "{lows:?}");
            let is_null = |segment: &&Segment| segment.keys == Some(KeyRange::Null);
            let null = index.segments.iter().find(is_null);
            assert_eq!(null.map(|segment| segment.n_rows), n_null, "{table}");
            // No range has the most of the rows: the bounds divide them.
            let most = index.segments.iter().map(|segment| segment.n_rows).max();
            assert!(most.unwrap() <= index.n_rows / 2, "{table}: {most:?}");
        }
        assert_eq!(indexes["old"].n_rows, 2000);
        let target = server.create_database("keyed_back");
        let report = restore_all(&archive, &settings(&target.conninfo()), 2)
            .await
            .unwrap();
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        for table in indexes.keys() {
            let sum = format!(
                "SELECT count(*), sum(hashtext(t::text)::int8), sum(hashtext(t::text || 'x')::int8) FROM ONLY \"{table}\" t"
            );
            assert_eq!(source.psql(&sum), target.psql(&sum), "{table}");
        }
    }
}

#[tokio::test]
async fn the_plan_names_the_key_or_says_why_there_is_none() {
    for (server, source) in databases("planned") {
        source.psql(SCHEMA);
        let planned = planned(&source).await;
        let because = if server.major().number() < 14 {
            "servers before 14 scan the whole table for a ctid range"
        } else {
            "its access method is not heap"
        };
        for (table, key) in [
            ("Big", "I\"d"),
            ("days", "d"),
            ("unanalyzed", "t"),
            ("wide", "made"),
        ] {
            let table = &planned[&format!("public.{table}")];
            assert_eq!(table.method, "keys", "{table:?}");
            assert_eq!(table.key.as_deref(), Some(key));
            assert_eq!(table.reason.as_deref(), Some(because));
            assert!(table.segments > 4, "{table:?}");
        }
        let no_key = "no integer, date or timestamp column leads an index of all its rows";
        for (table, why) in [
            (
                "scattered",
                r#"rows of a range of its key "i" lie scattered"#,
            ),
            (
                "unanalyzed_scattered",
                r#"rows of a range of its key "i" lie scattered"#,
            ),
            ("same", r#"nothing tells how the rows lie by its key "i""#),
            ("keyless", no_key),
            ("partly", no_key),
        ] {
            let table = &planned[&format!("public.{table}")];
            assert_eq!((table.method, table.segments), ("whole", 1));
            let reason = table.reason.as_deref().unwrap();
            assert_eq!(reason, format!("{because}, and {why}"));
        }
        let young = planned["public.young"].reason.as_deref();
        assert_eq!(young, Some("it fits in one cell"));
        // An index that was made over rows that older transactions see in another way: for them it is not there yet.
        let older = source.connect().await;
        older
            .batch_execute("BEGIN; SELECT pg_catalog.txid_current()")
            .await
            .unwrap();
        source.psql(
            "CREATE TABLE fresh (i int, pad text) WITH (autovacuum_enabled = off, fillfactor = 40); \
             INSERT INTO fresh SELECT i, repeat('f', 300) FROM generate_series(1, 1000) i; \
             UPDATE fresh SET i = i + 1; CREATE INDEX ON fresh (i); ANALYZE fresh",
        );
        let planned = self::planned(&source).await;
        let (method, reason) = (
            planned["public.fresh"].method,
            &planned["public.fresh"].reason,
        );
        let why = r#"the server would scan the whole table for a range of its key "i" too"#;
        let reason = reason.as_deref().unwrap();
        assert_eq!(
            (method, reason),
            ("whole", &*format!("{because}, and {why}"))
        );
    }
}

#[tokio::test]
async fn the_program_shows_how_tables_are_read() {
    let Some((_, source)) = databases("shown").pop() else {
        return;
    };
    source.psql(
        "CREATE TABLE large (id int PRIMARY KEY, pad text) WITH (autovacuum_enabled = off); \
         ALTER TABLE large ALTER pad SET STORAGE PLAIN; \
         INSERT INTO large SELECT i, repeat('l', 7000) FROM generate_series(1, 8800) i; \
         CREATE TABLE tiny (id int)",
    );
    let conninfo = source.conninfo();
    let shown = |more: &[&str]| {
        let output = pgark()
            .args(["dump", "--plan", "-d", &conninfo])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = shown(&[]);
    let large = text.lines().find(|line| line.contains("large")).unwrap();
    assert!(large.contains(r#"ranges of "id""#), "{text}");
    assert!(text.contains("it fits in one cell"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&shown(&["--json"])).unwrap();
    let large = &json["tables"][0];
    assert_eq!(large["method"], "keys");
    assert_eq!(large["key"], "id");
    assert!(large["segments"].as_u64().unwrap() > 1);
    assert!(large["reason"].is_string());
}

#[tokio::test]
async fn the_next_dump_cuts_at_the_same_values_and_opens_ranges_for_new_rows() {
    for (_, source) in databases("again") {
        source.psql(
            "CREATE TABLE t (id int PRIMARY KEY, made timestamptz NOT NULL, pad text) WITH (autovacuum_enabled = off); \
             CREATE FUNCTION add(a int, b int) RETURNS void LANGUAGE sql AS $$ INSERT INTO t \
             SELECT i, '2024-01-01'::timestamptz + i * interval '1 s', repeat(md5(i::text), 10) FROM generate_series(a, b) i $$; \
             SELECT add(1, 5000); ANALYZE t",
        );
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::open_or_create(store, ChunkSettings::default())
            .await
            .unwrap();
        let mut found = Vec::new();
        let changes = [
            "",
            "SELECT add(5001, 6000); UPDATE t SET pad = pad WHERE id % 50 = 0; ANALYZE t",
            "SELECT add(6001, 7000)",
        ];
        for change in changes {
            source.psql(change);
            let from = settings(&source.conninfo());
            let report = dump(&from, &repository, &options(), Arc::new(Silent))
                .await
                .unwrap();
            let archive = repository.read(&report.name).await.unwrap();
            found.push(indexes(&archive).await.remove("t").unwrap());
        }
        // Rows that no ANALYZE saw are at the end, between known values and the greatest.
        let unseen = lows(&found[2]);
        assert!(unseen.starts_with(&lows(&found[1])), "{unseen:?}");
        assert!(unseen.last().unwrap() > &6000, "{unseen:?}");
        let (first, second) = (&found[0], &found[1]);
        let (before, after) = (lows(first), lows(second));
        assert!(before.len() >= 10, "{before:?}");
        assert!(after.starts_with(&before), "{before:?} {after:?}");
        assert!(after.len() >= before.len() + 2, "{after:?}");
        // All but the last range's chunks are there already: rows that were written again stand at the same place by key.
        let chunks = |index: &TableIndex| -> HashSet<String> {
            let pieces = index.segments.iter().flat_map(|segment| &segment.pieces);
            pieces.map(|piece| piece.chunk.to_string()).collect()
        };
        let (known, now) = (chunks(first), chunks(second));
        let n_new = now.difference(&known).count();
        assert_eq!(n_new, 1 + after.len() - before.len());
    }
}

#[tokio::test]
async fn a_condition_and_ranges_of_a_key_choose_together() {
    for (_, source) in databases("both") {
        source.psql(
            "CREATE TABLE t (id int PRIMARY KEY, pad text) WITH (autovacuum_enabled = off); \
             INSERT INTO t SELECT i, repeat('c', 300) FROM generate_series(1, 3000) i; ANALYZE t",
        );
        let selection = Selection {
            conditions: vec!["public.t=id % 10 = 0 OR id < 5".parse().unwrap()],
            ..Selection::default()
        };
        let options = DumpOptions {
            selection,
            ..options()
        };
        let archive = dump_to_memory(&settings(&source.conninfo()), &options)
            .await
            .unwrap();
        let index = indexes(&archive).await.remove("t").unwrap();
        assert!(index.segments.len() > 4);
        assert_eq!(index.n_rows, 304);
    }
}
