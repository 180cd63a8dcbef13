//! Many at once: 24 workers, 24 dumps into one repository, and dumps while other sessions write and change definitions all the time.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::records::Depth;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, dump};
use pgark::manage::verify::{VerifyOptions, verify};
use pgark::progress::Silent;
use pgark::store::{LocalStore, Store};
use tokio::task::JoinHandle;

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::{Database, Server, majors};

const AT_ONCE: usize = 24;

/// Sixty small tables, and one of twenty cells.
fn many() -> String {
    let small = (0..60).map(|i| {
        format!("CREATE TABLE small_{i} AS SELECT i AS id, md5((i * {i})::text) AS note FROM generate_series(1, 200) i;")
    });
    let large = "CREATE TABLE large AS SELECT i AS id, repeat(md5(i::text), 25) AS note FROM generate_series(1, 6000) i;";
    small.chain([large.to_owned()]).collect()
}

async fn dumped(from: &Database, folder: &std::path::Path, jobs: usize) -> Archive {
    let store = Arc::new(LocalStore::create(folder).await.unwrap());
    let repository = Repository::open_or_create(store, ChunkSettings::default())
        .await
        .unwrap();
    let options = DumpOptions {
        jobs,
        cell_bytes: Some(256 << 10),
        ..DumpOptions::default()
    };
    let from = settings(&from.conninfo());
    let report = dump(&from, &repository, &options, Arc::new(Silent))
        .await
        .unwrap();
    assert_eq!((report.tables, report.rows), (61, 60 * 200 + 6000));
    repository.read(&report.name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_four_workers_and_twenty_four_dumps_at_once_share_one_repository() {
    let Some(major) = majors().pop() else { return };
    let server = Server::start_with(major, &[("max_connections", "200")]);
    let database = server.create_database("load");
    database.batch(&many()).await;
    let folder = tempfile::tempdir().unwrap();
    // Into one place that is not there yet, so that all of them make it.
    let place = folder.path().join("repo");
    let archives = join_all((0..AT_ONCE).map(|_| dumped(&database, &place, 3))).await;
    let names: BTreeSet<String> = archives
        .iter()
        .map(|archive| archive.name().to_string())
        .collect();
    assert_eq!(names.len(), AT_ONCE);
    let store = LocalStore::open(&place).await.unwrap();
    let chunks = store.list("chunks").await.unwrap();
    let by_many = dumped(&database, &place, AT_ONCE).await;
    let manifest = by_many.manifest();
    assert_eq!(manifest.totals.new_bytes, 0);
    assert_eq!(store.list("chunks").await.unwrap(), chunks);
    for archive in &archives {
        let other = archive.manifest();
        assert_eq!(
            (&other.toc, &other.data_index),
            (&manifest.toc, &manifest.data_index)
        );
    }
    assert!(store.list("leases").await.unwrap().is_empty());
    let repository = Repository::open(Arc::new(store)).await.unwrap();
    let options = VerifyOptions {
        depth: Depth::Full,
        ..VerifyOptions::default()
    };
    let report = verify(&repository, None, &options, &Silent).await.unwrap();
    assert_eq!(report.findings, []);
    println!(
        "PostgreSQL {major}: {AT_ONCE} dumps at once and one of {AT_ONCE} workers share {} chunks",
        chunks.len()
    );
}

/// Dumps during the storm.
const ROUNDS: usize = 8;
/// Between two changes of one session.
const BETWEEN: Duration = Duration::from_millis(10);

/// Two tables of which transactions keep the sum, and those whose definitions change.
const SCHEMA: &str = "
CREATE TABLE debit (id int PRIMARY KEY, amount bigint NOT NULL);
CREATE TABLE credit (id int PRIMARY KEY, amount bigint NOT NULL);
INSERT INTO debit SELECT i, 0 FROM generate_series(1, 500) i;
INSERT INTO credit SELECT i, 0 FROM generate_series(1, 500) i;
CREATE TABLE storm_a (id int, note text);
INSERT INTO storm_a SELECT i, 'a' FROM generate_series(1, 500) i;
CREATE TABLE storm_b (id int, note text);
INSERT INTO storm_b SELECT i, 'b' FROM generate_series(1, 500) i;
";

/// What the sessions do, each in a loop, each line a transaction.
const STORM: [&[&str]; 5] = [
    &[
        "UPDATE debit SET amount = amount - 3 WHERE id % 50 = 7; UPDATE credit SET amount = amount + 3 WHERE id % 50 = 9",
        "UPDATE credit SET amount = amount + 5 WHERE id = 1; UPDATE debit SET amount = amount - 5 WHERE id = 2",
    ],
    &[
        "ALTER TABLE storm_a ADD COLUMN more int DEFAULT 7",
        "ALTER TABLE storm_a DROP COLUMN more",
    ],
    &[
        "CREATE TABLE storm_c AS SELECT 1 AS id; UPDATE credit SET amount = amount + 1 WHERE id = 3; UPDATE debit SET amount = amount - 1 WHERE id = 3",
        "DROP TABLE storm_c",
    ],
    &[
        "CREATE INDEX storm_b_note ON storm_b (note)",
        "DROP INDEX storm_b_note",
    ],
    &[
        "ALTER TABLE storm_b RENAME TO storm_d",
        "ALTER TABLE storm_d RENAME TO storm_b",
    ],
];

struct Storm {
    stop: Arc<AtomicBool>,
    n_done: Arc<AtomicUsize>,
    sessions: Vec<JoinHandle<()>>,
}

impl Storm {
    async fn start(database: &Database) -> Storm {
        let (stop, n_done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut sessions = Vec::new();
        for statements in STORM {
            let client = database.connect().await;
            client
                .batch_execute("SET lock_timeout = '500ms'")
                .await
                .unwrap();
            let (stop, n_done) = (Arc::clone(&stop), Arc::clone(&n_done));
            sessions.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    for statement in statements {
                        // What a dump's lock or another session keeps from running is left out this time.
                        if client.batch_execute(statement).await.is_ok() {
                            n_done.fetch_add(1, Ordering::Relaxed);
                        }
                        // While a dump's snapshot keeps old rows of the catalogs, each change makes them longer for everybody.
                        tokio::time::sleep(BETWEEN).await;
                    }
                }
            }));
        }
        Storm {
            stop,
            n_done,
            sessions,
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for session in self.sessions {
            session.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_amid_constant_changes_of_definitions_is_of_one_moment_or_names_what_changed() {
    for major in majors() {
        let server = Server::shared(major);
        let database = server.create_database("storm");
        database.batch(SCHEMA).await;
        let storm = Storm::start(&database).await;
        let (mut n_consistent, mut n_named) = (0, 0);
        for _ in 0..ROUNDS {
            let before = storm.n_done.load(Ordering::Relaxed);
            let options = DumpOptions {
                jobs: 3,
                ..DumpOptions::default()
            };
            let dumped = dump_to_memory(&settings(&database.conninfo()), &options).await;
            let meanwhile = storm.n_done.load(Ordering::Relaxed) - before;
            assert!(meanwhile > 0, "nothing was done during the dump");
            match dumped {
                Ok(archive) => {
                    assert_of_one_moment(&server, &archive).await;
                    n_consistent += 1;
                }
                Err(error) => {
                    let mut told = error.to_string();
                    let mut next = error.source();
                    while let Some(cause) = next {
                        told = format!("{told}: {cause}");
                        next = cause.source();
                    }
                    println!("PostgreSQL {major}: {told}");
                    assert!(told.contains("storm_"), "{told}");
                    n_named += 1;
                }
            }
        }
        let n_done = storm.n_done.load(Ordering::Relaxed);
        storm.end().await;
        println!(
            "PostgreSQL {major}: {n_done} changes; of {ROUNDS} dumps {n_consistent} were of one moment, {n_named} named what changed"
        );
        assert_eq!(n_consistent + n_named, ROUNDS);
    }
}

/// Restores it, and looks at what is true at each commit.
async fn assert_of_one_moment(server: &Server, archive: &Archive) {
    let target = server.create_database("calm");
    let report = restore_all(archive, &settings(&target.conninfo()), 2)
        .await
        .unwrap();
    assert!(
        report.is_complete(),
        "{:?} {:?}",
        report.failed,
        report.skipped
    );
    let facts = target.psql(
        "SELECT (SELECT sum(amount) FROM debit) + (SELECT sum(amount) FROM credit);
         SELECT count(*) FROM storm_a;
         SELECT count(*) FROM pg_class WHERE relname IN ('storm_b', 'storm_d') AND relnamespace = 'public'::regnamespace",
    );
    assert_eq!(facts, "0\n500\n1\n");
}
