//! Schema changes between any two statements of a dump: the archive holds the database as it was before or after the change,
//! never anything between, such as a table that reads as empty because it was truncated behind the snapshot.
//!
//! Each run injects one statement from a session of its own before the nth statement of the dump, whichever of the dump's
//! connections sends it, so that all gaps between the coordinator's statements are among them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use pgark::archive::Archive;
use pgark::dump::DumpOptions;
use pgark::pg::session::Interpose;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::{Database, Server, majors};

/// Databases that are dumped at the same time.
const LANES: usize = 3;
/// How long a change may wait for the dump's locks while the dump waits for it.
const LOCK_TIMEOUT: &str = "20ms";
/// How long a change may take that waits while the dump goes on.
const PATIENCE: Duration = Duration::from_secs(30);

const EMPTY: &str = "DROP SCHEMA IF EXISTS moving, moved, quiet CASCADE;";

/// The table that changes is read in several cells; its schema holds what deparse functions print with the schema's name.
const SCHEMA: &str = "
CREATE SCHEMA moving;
CREATE SCHEMA quiet;
CREATE FUNCTION moving.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE TABLE moving.victim (id int PRIMARY KEY, n int NOT NULL, note text DEFAULT 'x');
CREATE INDEX victim_f ON moving.victim (moving.f(id));
INSERT INTO moving.victim SELECT i, i, repeat('v', 500) FROM generate_series(1, 400) i;
CREATE VIEW moving.seen AS SELECT id, note FROM moving.victim;
CREATE TABLE moving.other (id int PRIMARY KEY DEFAULT moving.f(1));
INSERT INTO moving.other SELECT generate_series(1, 10);
CREATE TABLE quiet.keeper (id int PRIMARY KEY);
INSERT INTO quiet.keeper SELECT generate_series(1, 50);
";

/// Every table and view with its columns, number of rows, and the sum of the ids.
const STATE: &str = "
SELECT pg_catalog.format('%I.%I (%s): %s', n.nspname, c.relname,
        (SELECT pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
           FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        (pg_catalog.xpath('/row/n/text()', pg_catalog.query_to_xml(pg_catalog.format(
            'SELECT pg_catalog.count(*) || ''/'' || coalesce(pg_catalog.sum(id), 0) AS n FROM %I.%I', n.nspname, c.relname),
            false, true, '')))[1])
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v') AND n.nspname IN ('moving', 'moved', 'quiet') ORDER BY 1";

async fn state(client: &Client) -> Vec<String> {
    let messages = client.simple_query(STATE).await.unwrap();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect()
}

/// What became of an injected statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    /// The dump's locks kept it from running.
    Blocked,
}

/// Runs the change before the dump's statement number `at`.
struct Injector {
    at: usize,
    change: &'static str,
    /// The dump goes on while the change waits.
    in_background: bool,
    client: Arc<Client>,
    n_statements: AtomicUsize,
    /// Number of the last statement that locked tables.
    last_lock: AtomicUsize,
    fate: Arc<Mutex<Option<Fate>>>,
}

impl Injector {
    async fn change(client: Arc<Client>, change: &'static str) -> Fate {
        match client.batch_execute(change).await {
            Ok(()) => Fate::Committed,
            Err(error) => {
                let code = error.code().map(tokio_postgres::error::SqlState::code);
                assert_eq!(code, Some("55P03"), "{change}: {error:?}");
                Fate::Blocked
            }
        }
    }
}

#[async_trait]
impl Interpose for Injector {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        let number = self.n_statements.fetch_add(1, Ordering::SeqCst);
        if statement.starts_with("LOCK TABLE") {
            self.last_lock.store(number, Ordering::SeqCst);
        }
        if number == self.at {
            let change = Injector::change(Arc::clone(&self.client), self.change);
            if self.in_background {
                let fate = Arc::clone(&self.fate);
                tokio::spawn(async move { *fate.lock().unwrap() = Some(change.await) });
            } else {
                let fate = change.await;
                *self.fate.lock().unwrap() = Some(fate);
            }
        }
        Ok(())
    }
}

/// What the tables were before a change, and what they are after it.
struct States {
    before: Vec<String>,
    after: Vec<String>,
}

/// A database that is dumped again and again, and one that is restored into.
struct Lane {
    source: Database,
    target: Database,
    source_client: Client,
    target_client: Client,
    injector: Arc<Client>,
    /// What came of restoring an archive of these contents.
    restored: HashMap<String, Vec<String>>,
}

impl Lane {
    async fn new(server: &Server) -> Lane {
        let source = server.create_database("injected");
        let target = server.create_database("restored");
        let injector = source.connect().await;
        Lane {
            source_client: source.connect().await,
            target_client: target.connect().await,
            injector: Arc::new(injector),
            source,
            target,
            restored: HashMap::new(),
        }
    }

    async fn reset(&self) {
        let script = format!("SET client_min_messages = error; {EMPTY} {SCHEMA}");
        self.source_client.batch_execute(&script).await.unwrap();
    }

    async fn states(&self, change: &str) -> States {
        self.reset().await;
        let before = state(&self.source_client).await;
        self.source_client.batch_execute(change).await.unwrap();
        let after = state(&self.source_client).await;
        assert_ne!(before, after, "{change}");
        States { before, after }
    }

    async fn dump(
        &self,
        change: &'static str,
        at: usize,
        in_background: bool,
    ) -> (Arc<Injector>, pgark::Result<Archive>) {
        let timeout = if in_background { "0" } else { LOCK_TIMEOUT };
        let set = format!("SET lock_timeout = '{timeout}'");
        self.injector.batch_execute(&set).await.unwrap();
        let injector = Arc::new(Injector {
            at,
            change,
            in_background,
            client: Arc::clone(&self.injector),
            n_statements: AtomicUsize::new(0),
            last_lock: AtomicUsize::new(0),
            fate: Arc::default(),
        });
        let interpose = Arc::clone(&injector) as Arc<dyn Interpose>;
        let from = settings(&self.source.conninfo()).with_interpose(interpose);
        let options = DumpOptions {
            cell_bytes: Some(64 << 10),
            ..DumpOptions::default()
        };
        let archive = dump_to_memory(&from, &options).await;
        (injector, archive)
    }

    /// The tables that come out of an archive. Two archives of the same chunks are the same.
    async fn restore(&mut self, archive: &Archive) -> Vec<String> {
        let manifest = archive.manifest();
        let contents = format!("{:?} {:?}", manifest.toc, manifest.data_index);
        if let Some(known) = self.restored.get(&contents) {
            return known.clone();
        }
        let empty = format!("SET client_min_messages = error; {EMPTY}");
        self.target_client.batch_execute(&empty).await.unwrap();
        let report = restore_all(archive, &settings(&self.target.conninfo()), 1)
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:#?}");
        let found = state(&self.target_client).await;
        self.restored.insert(contents, found.clone());
        found
    }
}

/// How a change relates to the dump's locks on tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// No table lock, once it is held, lets it happen.
    ByTableLocks,
    /// Table locks do not concern it.
    ByNothing,
}

/// Counts of runs, to show that each case was met.
#[derive(Debug, Default)]
struct Seen {
    before: usize,
    after: usize,
    failed: Vec<String>,
}

/// Dumps with the change before statement `at`; false if the dump had no such statement.
async fn run(
    lane: &mut Lane,
    (change, held): (&'static str, Held),
    at: usize,
    states: &States,
    seen: &Mutex<Seen>,
) -> bool {
    lane.reset().await;
    let (injector, archive) = lane.dump(change, at, false).await;
    let fate = *injector.fate.lock().unwrap();
    let before_lock = at <= injector.last_lock.load(Ordering::SeqCst);
    let context =
        format!("{change} before statement {at}: {fate:?}, before the lock: {before_lock}");
    let archive = match archive {
        Ok(archive) => archive,
        Err(error) => {
            assert!(
                held == Held::ByNothing && !before_lock,
                "{context}: {error:?}"
            );
            let text = format!("{error:?} {error}");
            assert!(
                text.contains("moving"),
                "{context}: the error names no object: {text}"
            );
            seen.lock().unwrap().failed.push(error.to_string());
            return true;
        }
    };
    let found = lane.restore(&archive).await;
    match (fate, before_lock, held) {
        (Some(Fate::Committed), true, _) => assert_eq!(found, states.after, "{context}"),
        (Some(Fate::Committed), false, Held::ByNothing) => {
            assert!(
                found == states.before || found == states.after,
                "{context}: {found:?}"
            );
        }
        (Some(Fate::Committed), false, Held::ByTableLocks) => {
            panic!("the lock held nothing: {context}")
        }
        (Some(Fate::Blocked) | None, ..) => assert_eq!(found, states.before, "{context}"),
    }
    let mut seen = seen.lock().unwrap();
    if found == states.after {
        seen.after += 1;
    } else {
        seen.before += 1;
    }
    fate.is_some()
}

/// Dumps as often as a dump has statements, with the change before another of them each time; on the newest server, for time.
async fn before_each_statement(change: &'static str, held: Held) {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let mut lanes = join_all((0..LANES).map(|_| Lane::new(&server))).await;
    let states = lanes[0].states(change).await;
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Seen::default()));
    let work = lanes.iter_mut().map(async |lane| {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if !run(lane, (change, held), at, &states, &seen).await {
                break;
            }
        }
    });
    join_all(work).await;
    let seen = seen.into_inner().unwrap();
    println!("PostgreSQL {major}: {change}: {seen:?}");
    let n_not_after = seen.before + seen.failed.len();
    assert!(n_not_after > 10 && seen.after > 5, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncate_is_seen_whole_or_not_at_all() {
    before_each_statement("TRUNCATE moving.victim", Held::ByTableLocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrite_is_seen_whole_or_not_at_all() {
    let change = "ALTER TABLE moving.victim ALTER COLUMN n TYPE bigint";
    before_each_statement(change, Held::ByTableLocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_is_seen_whole_or_not_at_all() {
    let change = "SET client_min_messages = error; DROP TABLE moving.victim CASCADE";
    before_each_statement(change, Held::ByTableLocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_table_is_seen_whole_or_not_at_all() {
    let change = "ALTER TABLE moving.victim RENAME TO renamed";
    before_each_statement(change, Held::ByTableLocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_column_is_seen_whole_or_not_at_all() {
    let change = "ALTER TABLE moving.victim RENAME COLUMN note TO remark";
    before_each_statement(change, Held::ByTableLocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_schema_is_seen_whole_or_named_in_the_error() {
    before_each_statement("ALTER SCHEMA moving RENAME TO moved", Held::ByNothing).await;
}

/// Readers meet the lock that somebody waits for, and must not wait behind him: he waits for the dump.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_waits_for_the_dump_stops_nobody() {
    for major in majors() {
        let server = Server::shared(major);
        let mut lane = Lane::new(&server).await;
        for change in [
            "TRUNCATE moving.victim",
            "ALTER TABLE moving.victim RENAME TO renamed",
        ] {
            let states = lane.states(change).await;
            lane.reset().await;
            let (quiet, archive) = lane.dump(change, usize::MAX, false).await;
            archive.unwrap();
            let lock = quiet.last_lock.load(Ordering::SeqCst);
            let n_statements = quiet.n_statements.load(Ordering::SeqCst);
            for at in [lock + 1, usize::midpoint(lock, n_statements)] {
                lane.reset().await;
                let (injector, archive) =
                    tokio::time::timeout(PATIENCE, lane.dump(change, at, true))
                        .await
                        .unwrap_or_else(|_| {
                            panic!("{change} before statement {at} stops the dump")
                        });
                let archive =
                    archive.unwrap_or_else(|error| panic!("{change} before {at}: {error:?}"));
                assert_eq!(
                    lane.restore(&archive).await,
                    states.before,
                    "{change} before {at}"
                );
                while injector.fate.lock().unwrap().is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert_eq!(state(&lane.source_client).await, states.after);
            }
        }
    }
}
