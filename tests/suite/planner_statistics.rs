//! Planner statistics: saved on request from any major, and handed to servers since 18, where they are what they were.

use pgark::dump::DumpOptions;
use pgark::selection::Selection;

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::{Database, Major, Server, majors};

/// Nobody but the test looks at them: autovacuum would collect anew between dump and comparison.
const TABLES: &str = r#"
CREATE SCHEMA "St At";
SET search_path = "St At";
CREATE TABLE plain (id int PRIMARY KEY, kind text, "Odd ""col" numeric, tags text[], span int4range, tall text)
    WITH (autovacuum_enabled = false);
INSERT INTO plain SELECT i, CASE WHEN i % 7 = 0 THEN 'it''s\ ' || i % 3 ELSE NULL END, i / 3.0,
    ARRAY['a' || i % 5, 'b, "c"'], CASE WHEN i % 9 = 0 THEN 'empty' ELSE int4range(i, i + i % 50) END, repeat('x', i % 40)
    FROM generate_series(1, 3000) i;
CREATE INDEX by_lower ON plain (lower(kind));
CREATE TABLE parted (id int, half int) PARTITION BY LIST (half);
CREATE TABLE half_0 PARTITION OF parted FOR VALUES IN (0) WITH (autovacuum_enabled = false);
CREATE TABLE half_1 PARTITION OF parted FOR VALUES IN (1) WITH (autovacuum_enabled = false);
INSERT INTO parted SELECT i, i % 2 FROM generate_series(1, 2000) i;
CREATE TABLE parent (a int) WITH (autovacuum_enabled = false);
CREATE TABLE child (b int) INHERITS (parent) WITH (autovacuum_enabled = false);
INSERT INTO parent SELECT generate_series(1, 100);
INSERT INTO child SELECT i, i FROM generate_series(1, 900) i;
CREATE MATERIALIZED VIEW totals WITH (autovacuum_enabled = false) AS SELECT kind, count(*) AS n FROM plain GROUP BY kind;
CREATE TABLE never (x int) WITH (autovacuum_enabled = false);
ANALYZE plain; ANALYZE parted; ANALYZE parent; ANALYZE child; ANALYZE totals;
-- Worth knowing only to the planner: a fresh look would not find it again.
DELETE FROM plain WHERE id <= 1500;
"#;

/// Statistics as text, without what the servers count anew.
const SEEN: &str = r"
SELECT tablename, attname, inherited, null_frac, avg_width, n_distinct, most_common_vals::text, most_common_freqs::text,
       histogram_bounds::text, correlation, most_common_elems::text, elem_count_histogram::text
  FROM pg_stats WHERE schemaname = 'St At' ORDER BY 1, 2, 3";
const SIZES: &str = r#"
SELECT relname, relpages, reltuples FROM pg_class
 WHERE relnamespace = '"St At"'::regnamespace AND relkind IN ('r', 'm', 'p') AND reltuples > 0 ORDER BY 1"#;

fn with_statistics() -> DumpOptions {
    let selection = Selection {
        statistics: true,
        ..Selection::default()
    };
    DumpOptions {
        selection,
        ..DumpOptions::default()
    }
}

async fn taken_across(source: &Database, target: &Database, options: &DumpOptions) {
    let archive = dump_to_memory(&settings(&source.conninfo()), options)
        .await
        .unwrap();
    let restored = restore_all(&archive, &settings(&target.conninfo()), 3)
        .await
        .unwrap();
    assert!(restored.is_complete(), "{restored:#?}");
    assert_eq!(restored.warnings, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_come_back_as_they_were() {
    let newest = Server::shared(Major::V18);
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("statistics");
        source.psql(TABLES);
        let target = newest.create_database("statistics_back");
        taken_across(&source, &target, &with_statistics()).await;
        assert_eq!(source.psql(SEEN), target.psql(SEEN), "{major}");
        assert_eq!(source.psql(SIZES), target.psql(SIZES), "{major}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_option_and_on_older_servers_they_are_collected_anew() {
    let source = Server::shared(Major::V18).create_database("statistics");
    source.psql(TABLES);
    let n_rows = "SELECT reltuples FROM pg_class WHERE oid = '\"St At\".plain'::regclass";
    assert_eq!(source.psql(n_rows), "3000\n");
    for (major, options) in [
        (Major::V18, DumpOptions::default()),
        (majors()[0], with_statistics()),
    ] {
        let target = Server::shared(major).create_database("statistics_anew");
        taken_across(&source, &target, &options).await;
        assert_eq!(target.psql(n_rows), "1500\n", "{major}");
    }
}
