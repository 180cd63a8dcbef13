//! The way to the server breaks at each interaction of a small dump in turn: what is left is a whole archive, or a clear error
//! and nothing. Stores that fail and programs that are killed are in `stores`.

mod stores;

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::records::Depth;
use pgark::archive::{Archive, ArchiveName, Repository};
use pgark::dump::{DumpOptions, dump};
use pgark::manage::verify::{VerifyOptions, verify};
use pgark::progress::Silent;
use pgark::store::{MemoryStore, Store};

use crate::connections::{Authority, leaf, use_certificate};
use crate::round_trip::{restore_all, settings};
use crate::support::faulty::{At, Fault, FaultyProxy};
use crate::support::{Database, Server, majors, pgark};

/// Dumps at the same time.
const LANES: usize = 8;
/// How long a dump may take that is not stalled: a bound against hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long a dump that waits for an answer is given up, as by `--stall-timeout`.
const STALLED: Duration = Duration::from_secs(2);

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

/// A database, a repository with an archive of an earlier state of it, and an archive of its state now that nothing has disturbed.
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
            .batch(
                "INSERT INTO customer VALUES (0, 'new'); SELECT nextval('sale_id_seq');
                 UPDATE wide SET pad = repeat(md5(id::text || 'x'), 60) WHERE id % 2 = 0",
            )
            .await;
        let after = copy_of(&before).await;
        let undisturbed = dumped(&source.conninfo(), after).await.unwrap();
        Case {
            server,
            source,
            before,
            undisturbed,
        }
    }

    /// Interactions of a dump that nothing disturbs, by this way to the server.
    async fn n_interactions(&self, way: &Way) -> usize {
        let proxy = way.open(&self.server, None);
        let store = copy_of(&self.before).await;
        dumped(&way.conninfo(&proxy, &self.source), store)
            .await
            .unwrap();
        proxy.n_interactions()
    }

    /// One dump with a fault.
    async fn run(&self, way: &Way, at: At) -> Outcome {
        let proxy = way.open(&self.server, Some(at));
        let store = copy_of(&self.before).await;
        let from = way.conninfo(&proxy, &self.source);
        let limit = match at.fault {
            Fault::Stall | Fault::Garble(_) => STALLED,
            Fault::CutBefore | Fault::CutAfter => PATIENCE,
        };
        let dumping = dumped(&from, store.clone());
        let Ok(outcome) = tokio::time::timeout(limit, dumping).await else {
            assert_eq!(limit, STALLED, "{at:?}: the dump hangs");
            self.nothing_is_left(&at, &store, false).await;
            return Outcome::GivenUp;
        };
        self.nothing_is_left(&at, &store, outcome.is_ok()).await;
        match outcome {
            Ok(archive) if is_same(&archive, &self.undisturbed) => Outcome::Whole,
            Ok(_) => Outcome::Altered,
            Err(error) => {
                let told = told(&error);
                assert_eq!(proxy.n_faults(), 1, "{at:?}: {told}");
                assert!(is_clear(&error), "{at:?}: {told}");
                self.next_one_uses_what_is_there(&store).await;
                Outcome::Refused
            }
        }
    }

    /// The repository has its older archive, the new one only after success, no lease, and nothing damaged.
    async fn nothing_is_left(&self, at: &dyn fmt::Debug, store: &Arc<MemoryStore>, is_done: bool) {
        let n_archives = store.list("archives").await.unwrap().len();
        assert_eq!(n_archives, 1 + usize::from(is_done), "{at:?}");
        let until = Instant::now() + Duration::from_secs(10);
        while !store.list("leases").await.unwrap().is_empty() {
            assert!(Instant::now() < until, "{at:?}: the lease stands");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !is_done {
            assert_whole(store.clone(), at).await;
        }
    }

    /// What a dump that failed has stored of rows is not stored again by the next one.
    async fn next_one_uses_what_is_there(&self, store: &Arc<MemoryStore>) {
        let there = store.list("chunks").await.unwrap();
        if there.len() == self.before.list("chunks").await.unwrap().len() {
            return;
        }
        let archive = dumped(&self.source.conninfo(), store.clone())
            .await
            .unwrap();
        assert!(is_same(&archive, &self.undisturbed));
        let after = store.list("chunks").await.unwrap();
        let n_new: u64 = after
            .iter()
            .filter(|chunk| !there.iter().any(|one| one.key == chunk.key))
            .map(|chunk| chunk.n_bytes)
            .sum();
        assert_eq!(archive.manifest().totals.new_bytes, n_new);
        assert!(n_new < self.undisturbed.manifest().totals.new_bytes);
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

    /// Runs all faults, some at the same time.
    async fn run_all(&self, way: &Way, faults: impl IntoIterator<Item = At>) -> Outcomes {
        let outcomes: Vec<(At, Outcome)> = futures::stream::iter(faults)
            .map(|at| async move { (at, self.run(way, at).await) })
            .buffer_unordered(LANES)
            .collect()
            .await;
        self.no_session_is_left().await;
        Outcomes(outcomes)
    }
}

/// How the dump reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Clear,
    Tls,
}

impl Way {
    fn open(self, server: &Server, at: Option<At>) -> FaultyProxy {
        match self {
            Way::Clear => FaultyProxy::start(server, at),
            Way::Tls => FaultyProxy::start_tcp(server, at),
        }
    }

    fn conninfo(self, proxy: &FaultyProxy, database: &Database) -> String {
        let clear = proxy.conninfo(database);
        match self {
            Way::Clear => clear,
            Way::Tls => clear.replace("sslmode=disable", "sslmode=require"),
        }
    }
}

/// What became of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// An archive like the one that nothing has disturbed.
    Whole,
    /// A clear error.
    Refused,
    /// It waited for an answer until it was given up.
    GivenUp,
    /// A valid archive of other rows or objects: what the server never said was believed.
    Altered,
}

struct Outcomes(Vec<(At, Outcome)>);

impl Outcomes {
    fn n(&self, wanted: Outcome) -> usize {
        self.0
            .iter()
            .filter(|(_, outcome)| *outcome == wanted)
            .count()
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases: {} whole, {} errors, {} given up, {} altered",
            self.0.len(),
            self.n(Outcome::Whole),
            self.n(Outcome::Refused),
            self.n(Outcome::GivenUp),
            self.n(Outcome::Altered)
        )
    }
}

/// Dumps into a repository; gives the archive's name.
async fn dump_into(from: &str, store: Arc<dyn Store>) -> pgark::Result<ArchiveName> {
    let repository = Repository::open_or_create(store, ChunkSettings::default()).await?;
    let report = dump(&settings(from), &repository, &options(), Arc::new(Silent)).await?;
    Ok(report.name)
}

/// The same, and reads what came of it.
async fn dumped(from: &str, store: Arc<dyn Store>) -> pgark::Result<Archive> {
    let name = dump_into(from, Arc::clone(&store)).await?;
    Repository::open(store).await?.read(&name).await
}

/// Every archive that is there is whole, by what its chunks hold.
async fn assert_whole(store: Arc<dyn Store>, what: &dyn fmt::Debug) {
    let repository = Repository::open(store).await.unwrap();
    let listed = repository.archives().await.unwrap();
    let names: Vec<_> = listed.into_iter().map(|listed| listed.name).collect();
    let options = VerifyOptions {
        depth: Depth::Full,
        ..VerifyOptions::default()
    };
    let report = verify(&repository, Some(&names), &options, &Silent).await;
    assert_eq!(report.unwrap().findings, [], "{what:?}");
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
        Error::Store { key, action, .. } => !key.is_empty() || *action == "flush",
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_interaction_is_cut_a_dump_is_whole_or_an_error() {
    for major in majors().into_iter().rev().take(1) {
        let case = Case::new(Server::shared(major)).await;
        let n = case.n_interactions(&Way::Clear).await;
        for (fault, and_gone, every) in [
            (Fault::CutBefore, false, 1),
            (Fault::CutAfter, false, 1),
            (Fault::CutAfter, true, 5),
        ] {
            let at = |n| At { n, fault, and_gone };
            let done = case
                .run_all(&Way::Clear, (0..n).step_by(every).map(at))
                .await;
            println!("PostgreSQL {major}, {fault:?}, gone for good: {and_gone}: {done}");
            assert!(done.n(Outcome::Whole) > 0 || and_gone);
            assert!(done.n(Outcome::Refused) > 0);
            assert_eq!(done.n(Outcome::Altered), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_interaction_stalls_nothing_is_left_when_it_is_given_up() {
    for major in majors().into_iter().rev().take(1) {
        let case = Case::new(Server::shared(major)).await;
        let n = case.n_interactions(&Way::Clear).await;
        let at = |n| At {
            n,
            fault: Fault::Stall,
            and_gone: false,
        };
        let done = case.run_all(&Way::Clear, (0..n).step_by(11).map(at)).await;
        println!("PostgreSQL {major}, stalled: {done}");
        assert_eq!(done.n(Outcome::GivenUp), done.0.len());
        // By the program, which says where it stood.
        let proxy = FaultyProxy::start(&case.server, Some(at(n / 2)));
        let folder = tempfile::tempdir().unwrap();
        let output = pgark()
            .args(["dump", "--stall-timeout", "1s", "-d"])
            .arg(proxy.conninfo(&case.source))
            .arg("-r")
            .arg(folder.path())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("nothing has moved for 1.0 s: phase"), "{err}");
        // The server cannot know it sooner: for it the connection stands.
        drop(proxy);
        case.no_session_is_left().await;
    }
}

/// Flipped bits that break the protocol are noticed or waited for; those in texts and rows cannot be, without TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbled_answers_break_a_dump_or_are_believed_where_nothing_seals_them() {
    for major in majors().into_iter().rev().take(1) {
        let case = Case::new(Server::shared(major)).await;
        let n = case.n_interactions(&Way::Clear).await;
        for (place, what) in [(0, "type"), (3, "length"), (60, "body")] {
            let at = |n| At {
                n,
                fault: Fault::Garble(place),
                and_gone: false,
            };
            let done = case.run_all(&Way::Clear, (0..n).step_by(4).map(at)).await;
            println!("PostgreSQL {major}, garbled {what}: {done}");
            assert_eq!(done.n(Outcome::Altered) > 0, what == "body", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbled_answers_never_become_an_archive_over_tls() {
    let Some(major) = majors().pop() else { return };
    let server = Server::start(major);
    let authority = Authority::new();
    use_certificate(&server, &authority.sign(&mut leaf("localhost"))).await;
    let case = Case::new(server).await;
    let n = case.n_interactions(&Way::Tls).await;
    let at = |n| At {
        n,
        fault: Fault::Garble(60),
        and_gone: false,
    };
    let done = case.run_all(&Way::Tls, (0..n).step_by(3).map(at)).await;
    println!("PostgreSQL {major}, garbled under TLS: {done}");
    assert_eq!(done.n(Outcome::Altered), 0);
    assert!(done.n(Outcome::Refused) > 0);
}
