//! The way to the server breaks at each interaction of a small dump in turn: what is left is a whole archive, or a clear error
//! and nothing.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::records::Depth;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, dump};
use pgark::manage::verify::{VerifyOptions, verify};
use pgark::progress::Silent;
use pgark::store::{MemoryStore, Store};

use crate::round_trip::settings;
use crate::support::faulty::{At, Fault, FaultyProxy};
use crate::support::{Database, Server, majors};

/// Dumps at the same time.
const LANES: usize = 8;
/// How long a dump may take that is not stalled: a bound against hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);

const SCHEMA: &str = "
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO customer SELECT i, 'customer ' || i FROM generate_series(1, 300) i;
CREATE TABLE sale (id bigserial PRIMARY KEY, customer int REFERENCES customer, amount numeric);
INSERT INTO sale (customer, amount) SELECT 1 + i % 300, i / 100.0 FROM generate_series(1, 2000) i;
CREATE TABLE wide AS SELECT i AS id, repeat(md5(i::text), 60) AS pad FROM generate_series(1, 600) i;
ALTER TABLE wide ALTER pad SET STORAGE plain;
CREATE TABLE empty (id int);
CREATE VIEW total AS SELECT customer, sum(amount) FROM sale GROUP BY customer;
SELECT lo_from_bytea(0, decode(repeat('0badcafe', 4000), 'hex'));
";

/// Two workers with several jobs each.
fn options() -> DumpOptions {
    DumpOptions {
        jobs: 2,
        cell_bytes: Some(256 << 10),
        ..DumpOptions::default()
    }
}

/// A database, an archive of an earlier state of it, and one of its state now that nothing has disturbed.
struct Case {
    server: Server,
    source: Database,
    before: Arc<MemoryStore>,
    undisturbed: Archive,
}

impl Case {
    async fn new(server: Server) -> Case {
        let source = server.create_database("faults");
        source.batch(SCHEMA).await;
        let before = Arc::new(MemoryStore::new());
        dumped(&source.conninfo(), before.clone()).await.unwrap();
        source
            .batch("INSERT INTO customer VALUES (0, 'new'); SELECT nextval('sale_id_seq')")
            .await;
        let after = copy_of(&*before).await;
        let undisturbed = dumped(&source.conninfo(), after).await.unwrap();
        Case {
            server,
            source,
            before,
            undisturbed,
        }
    }

    /// Interactions of a dump that nothing disturbs.
    async fn n_interactions(&self) -> usize {
        let proxy = FaultyProxy::start(&self.server, None);
        let store = copy_of(&*self.before).await;
        dumped(&proxy.conninfo(&self.source), store).await.unwrap();
        proxy.n_interactions()
    }

    /// One dump with a fault.
    async fn run(&self, at: At) -> Outcome {
        let proxy = FaultyProxy::start(&self.server, Some(at));
        let store = copy_of(&*self.before).await;
        let from = proxy.conninfo(&self.source);
        let dumping = dumped(&from, store.clone());
        let outcome = tokio::time::timeout(PATIENCE, dumping).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("{at:?}: the dump hangs"));
        self.nothing_is_left(&at, &*store, outcome.is_ok()).await;
        match outcome {
            Ok(archive) => {
                let same = is_same(&archive, &self.undisturbed);
                assert!(same, "{at:?}: {:#?}", archive.manifest());
                Outcome::Whole
            }
            Err(error) => {
                let told = told(&error);
                println!("{at:?}: {told}");
                assert_eq!(proxy.n_faults(), 1, "{at:?}: {told}");
                assert!(is_clear(&error), "{at:?}: {told}");
                Outcome::Refused
            }
        }
    }

    /// The repository has its older archive, the new one only after success, no lease, and nothing damaged.
    async fn nothing_is_left(&self, at: &dyn fmt::Debug, store: &dyn Store, is_done: bool) {
        let n_archives = store.list("archives").await.unwrap().len();
        assert_eq!(n_archives, 1 + usize::from(is_done), "{at:?}");
        let until = Instant::now() + Duration::from_secs(10);
        while !store.list("leases").await.unwrap().is_empty() {
            assert!(Instant::now() < until, "{at:?}: the lease stands");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// No session of any dump is left on the server.
    async fn no_session_is_left(&self) {
        let client = self.server.connect("postgres").await;
        let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'pgark%'";
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let row = client
                .query_one(left, &[&self.source.name()])
                .await
                .unwrap();
            if row.get::<_, i64>(0) == 0 {
                return;
            }
            assert!(Instant::now() < until, "sessions are left");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What became of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Whole,
    Refused,
}

async fn dumped(from: &str, store: Arc<MemoryStore>) -> pgark::Result<Archive> {
    let repository = Repository::open_or_create(store, ChunkSettings::default()).await?;
    let report = dump(&settings(from), &repository, &options(), Arc::new(Silent)).await?;
    let archive = repository.read(&report.name).await?;
    let depth = VerifyOptions {
        depth: Depth::Full,
        ..VerifyOptions::default()
    };
    let found = verify(&repository, None, &depth, &Silent).await?;
    assert_eq!(found.findings, []);
    Ok(archive)
}

async fn copy_of(store: &MemoryStore) -> Arc<MemoryStore> {
    let copy = MemoryStore::new();
    for stored in store.list("").await.unwrap() {
        let bytes = store.get(&stored.key).await.unwrap().unwrap();
        copy.put_new(&stored.key, bytes).await.unwrap();
    }
    Arc::new(copy)
}

/// Both hold the same objects and rows, in the same chunks.
fn is_same(one: &Archive, other: &Archive) -> bool {
    let (one, other) = (one.manifest(), other.manifest());
    one.toc == other.toc && one.data_index == other.data_index
}

/// The error says whom it met and what was being done.
fn is_clear(error: &pgark::Error) -> bool {
    use pgark::Error;
    match error {
        Error::Sql { object, step, .. } => !object.is_empty() && !step.is_empty(),
        Error::Connect { target, remedy, .. } => !target.is_empty() && !remedy.is_empty(),
        Error::Failed {
            object, problem, ..
        } => !object.is_empty() && !problem.is_empty(),
        Error::Store { key, .. } => !key.is_empty(),
        _ => false,
    }
}

/// The error with its causes.
fn told(error: &pgark::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Runs all faults, some at the same time; gives how many dumps ended whole and how many in an error.
async fn run_all(case: &Case, faults: impl IntoIterator<Item = At>) -> (usize, usize) {
    let outcomes: Vec<Outcome> = futures::stream::iter(faults)
        .map(|at| case.run(at))
        .buffer_unordered(LANES)
        .collect()
        .await;
    case.no_session_is_left().await;
    let n_whole = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Whole)
        .count();
    (n_whole, outcomes.len() - n_whole)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_interaction_is_cut_a_dump_is_whole_or_an_error() {
    for major in majors() {
        let case = Case::new(Server::shared(major)).await;
        let n_interactions = case.n_interactions().await;
        for fault in [Fault::CutBefore, Fault::CutAfter] {
            let at = |n| At {
                n,
                fault,
                and_gone: false,
            };
            let (n_whole, n_refused) = run_all(&case, (0..n_interactions).map(at)).await;
            println!(
                "PostgreSQL {major}, {fault:?} at each of {n_interactions} interactions: {n_whole} whole, {n_refused} errors"
            );
            assert!(n_whole > 0 && n_refused > 0);
        }
    }
}
