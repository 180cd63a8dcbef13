//! A dump by several connections sees one moment, while clients move rows between the cells that the connections read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pgark::dump::{DumpOptions, plan};
use pgark::pg::session::Interpose;
use tokio::task::JoinHandle;

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::{Database, Server, majors};

/// Dumps of a moving database that must all be right.
const GOOD_DUMPS: usize = 3;
/// Dumps without a common snapshot, of which one must be wrong.
const BAD_DUMPS_MAX: usize = 12;
/// Clients that write.
const WRITERS: usize = 2;

/// Rows of about a kilobyte, so that a table of some ten megabytes has ten cells of one. A call of `churn` keeps three things
/// true at each commit: the sum over both tables is 0, every order has its account, and ids that are multiples of 10 never go away.
pub(crate) const SCHEMA: &str = r"
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, pad text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, account int NOT NULL REFERENCES accounts, amount bigint NOT NULL, pad text NOT NULL);
ALTER TABLE accounts ALTER pad SET STORAGE PLAIN;
ALTER TABLE orders ALTER pad SET STORAGE PLAIN;
CREATE SEQUENCE ids START 100000;
CREATE SEQUENCE calls;
INSERT INTO accounts SELECT i, 100, repeat('a', 900) FROM generate_series(1, 12000) i;
INSERT INTO orders SELECT i, i, -100, repeat('o', 900) FROM generate_series(1, 12000) i;
CREATE FUNCTION churn() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved int;
    made int;
BEGIN
    PERFORM nextval('calls');
    FOR i IN 1..5 LOOP
        moved := 10 * (1 + floor(random() * 1199)::int);
        UPDATE accounts SET balance = balance - i, pad = repeat('b', 700 + (random() * 400)::int) WHERE id = moved;
        moved := 10 * (1 + floor(random() * 1199)::int);
        UPDATE orders SET amount = amount + i, pad = repeat('p', 700 + (random() * 400)::int) WHERE id = moved;
    END LOOP;
    made := nextval('ids');
    INSERT INTO accounts VALUES (made, 7, repeat('n', 900));
    INSERT INTO orders VALUES (made, made, -7, repeat('n', 900));
    moved := 1 + floor(random() * 12000)::int;
    IF moved % 10 <> 0 AND EXISTS (SELECT FROM accounts WHERE id = moved AND balance = 100) THEN
        DELETE FROM orders WHERE id = moved;
        DELETE FROM accounts WHERE id = moved;
    END IF;
END
$$;
";

/// Clients that call `churn` until they are told to stop.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub(crate) async fn start(database: &Database) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..WRITERS {
            let client = database.connect().await;
            let stop = Arc::clone(&stop);
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Two writers that meet in opposite order end in a deadlock, which rolls one of them back.
                    let _ = client.batch_execute("SELECT churn()").await;
                }
            }));
        }
        Writers { stop, tasks }
    }

    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

pub(crate) fn options(without_snapshot: bool) -> DumpOptions {
    DumpOptions {
        jobs: 4,
        cell_bytes: Some(1 << 20),
        without_snapshot,
        ..DumpOptions::default()
    }
}

pub(crate) fn calls(database: &Database) -> u64 {
    let text = database.psql("SELECT last_value FROM calls");
    text.trim().parse().unwrap()
}

/// What is wrong with the restored database, or nothing.
pub(crate) fn broken(restored: &Database) -> Option<String> {
    let facts = restored.psql(
        "SELECT (SELECT sum(balance) FROM accounts) + (SELECT sum(amount) FROM orders);
         SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.id = o.account);
         SELECT (SELECT count(*) FROM accounts WHERE id <= 12000 AND id % 10 = 0) || ' ' || (SELECT count(*) FROM orders WHERE id <= 12000 AND id % 10 = 0);
         SELECT (SELECT count(*) FROM accounts) - (SELECT count(*) FROM orders);
         SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'f') AND convalidated AND connamespace = 'public'::regnamespace",
    );
    (facts != "0\n0\n1200 1200\n0\n3\n").then_some(facts)
}

/// Dumps while writers write, restores, and says what is wrong.
async fn round(server: &Server, source: &Database, without_snapshot: bool) -> Option<String> {
    let from = settings(&source.conninfo());
    let before = calls(source);
    let archive = match dump_to_memory(&from, &options(without_snapshot)).await {
        Ok(archive) => archive,
        Err(error) => return Some(format!("the dump failed: {error:?}")),
    };
    let meanwhile = calls(source) - before;
    assert!(
        meanwhile > 20,
        "only {meanwhile} transactions during the dump"
    );
    let target = server.create_database("moved");
    let report = match restore_all(&archive, &settings(&target.conninfo()), 4).await {
        Ok(report) => report,
        Err(error) => return Some(format!("the restore failed: {error:?}")),
    };
    if !report.is_complete() {
        return Some(format!("{:?} {:?}", report.failed, report.skipped));
    }
    broken(&target)
}

/// A database in at least eight cells per table, on each server that reads cells.
async fn sources() -> Vec<(Server, Database)> {
    let mut sources = Vec::new();
    for major in majors().into_iter().filter(|major| major.number() >= 14) {
        let server = Server::shared(major);
        let source = server.create_database("moving");
        source.batch(SCHEMA).await;
        let planned = plan(&settings(&source.conninfo()), &options(false))
            .await
            .unwrap();
        for table in &planned.tables {
            assert!(table.method == "cells" && table.segments >= 8, "{table:?}");
        }
        assert_eq!(planned.tables.len(), 2);
        sources.push((server, source));
    }
    sources
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parallel_dump_of_a_moving_database_is_of_one_moment() {
    for (server, source) in sources().await {
        let writers = Writers::start(&source).await;
        for _ in 0..GOOD_DUMPS {
            assert_eq!(
                round(&server, &source, false).await,
                None,
                "PostgreSQL {}",
                source.major()
            );
        }
        writers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_common_snapshot_it_would_not_be() {
    for (server, source) in sources().await {
        let writers = Writers::start(&source).await;
        let mut noticed = None;
        for _ in 0..BAD_DUMPS_MAX {
            noticed = round(&server, &source, true).await;
            if noticed.is_some() {
                break;
            }
        }
        writers.stop().await;
        println!("PostgreSQL {}: {noticed:?}", source.major());
        assert!(
            noticed.is_some(),
            "{BAD_DUMPS_MAX} dumps without a common snapshot were right by chance"
        );
    }
}

/// Ends the dump's worker before a statement that reads a large table and before one that reads small ones, after new rows have come.
struct Breaker {
    conninfo: String,
    /// The statement on the large table, from 0.
    wide_at: usize,
    n_wide: AtomicUsize,
    n_small: AtomicUsize,
    n_broken: AtomicUsize,
}

#[async_trait]
impl Interpose for Breaker {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        if !statement.starts_with("COPY ") {
            return Ok(());
        }
        let (n_before, at) = if statement.contains("wide") {
            (&self.n_wide, self.wide_at)
        } else {
            (&self.n_small, 0)
        };
        if n_before.fetch_add(1, Ordering::SeqCst) != at {
            return Ok(());
        }
        let (client, connection) = tokio_postgres::connect(&self.conninfo, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let workers = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name = 'pgark dump worker'";
        client
            .batch_execute("INSERT INTO wide SELECT i, 'late' FROM generate_series(1, 50) i; INSERT INTO s3 VALUES (99)")
            .await
            .unwrap();
        let n_ended: i64 = client.query_one(workers, &[]).await.unwrap().get(0);
        assert_eq!(n_ended, 1);
        while client
            .query_one(workers, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.n_broken.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_whose_connection_breaks_is_replaced_in_the_same_snapshot() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("broken");
        let script = "CREATE TABLE wide AS SELECT i AS id, repeat('w', 900) AS pad FROM generate_series(1, 4000) i;";
        let small = (1..=40).map(|i| format!("CREATE TABLE s{i} AS SELECT {i} AS id;"));
        source
            .batch(
                &std::iter::once(script.to_owned())
                    .chain(small)
                    .collect::<String>(),
            )
            .await;
        let breaker = Arc::new(Breaker {
            conninfo: source.conninfo(),
            // Where nothing is read in cells, there is only one.
            wide_at: if major.number() >= 14 { 2 } else { 0 },
            n_wide: AtomicUsize::new(0),
            n_small: AtomicUsize::new(0),
            n_broken: AtomicUsize::new(0),
        });
        let from = settings(&source.conninfo()).with_interpose(breaker.clone());
        let one_worker = DumpOptions {
            jobs: 1,
            ..options(false)
        };
        let archive = dump_to_memory(&from, &one_worker).await.unwrap();
        assert_eq!(breaker.n_broken.load(Ordering::SeqCst), 2);
        let totals = archive.manifest().totals;
        assert_eq!((totals.n_tables, totals.n_rows), (41, 4040));
        let target = server.create_database("mended");
        let report = restore_all(&archive, &settings(&target.conninfo()), 2)
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(
            target.psql("SELECT count(*), min(length(pad)) FROM wide; TABLE s3"),
            "4000|900\n3\n"
        );
    }
}
