//! What makes a dump fast, as far as it can be counted: what is not done twice, what is told of the time. How fast it is, is
//! measured in `benches`.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pgark::Result;
use pgark::archive::Repository;
use pgark::archive::chunker::ChunkSettings;
use pgark::dump::{DumpOptions, DumpReport, dump};
use pgark::progress::Silent;
use pgark::store::{Key, MemoryStore, Put, Store, Stored};

use crate::round_trip::settings;
use crate::support::{Database, Server, majors};

/// A store whose chunks take their time, and are counted.
#[derive(Debug)]
struct SlowStore {
    inner: MemoryStore,
    pause: Duration,
    n_chunks_put: AtomicU64,
}

#[async_trait]
impl Store for SlowStore {
    fn location(&self) -> String {
        "slow memory".to_owned()
    }
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put> {
        if key.as_str().starts_with("chunks/") {
            self.n_chunks_put.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.pause).await;
        }
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &Key) -> Result<Option<Stored>> {
        self.inner.head(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.inner.list(prefix).await
    }
    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }
    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }
}

/// Chunks of some 4 KiB, so that little data makes many.
const SMALL_CHUNKS: ChunkSettings = ChunkSettings {
    bytes_min: 2 << 10,
    bytes_max: 12 << 10,
    cut_bits: 12,
};

async fn repository(pause: Duration) -> (Arc<SlowStore>, Repository) {
    let store = Arc::new(SlowStore {
        inner: MemoryStore::new(),
        pause,
        n_chunks_put: AtomicU64::new(0),
    });
    let repository = Repository::open_or_create(store.clone(), SMALL_CHUNKS);
    (store, repository.await.unwrap())
}

fn database() -> Database {
    let major = *majors().last().unwrap();
    let database = Server::shared(major).create_database("speed");
    database.psql(
        "CREATE TABLE t AS SELECT i, md5(i::text) AS m, repeat('x', 100) AS w FROM generate_series(1, 6000) i",
    );
    database
}

async fn dumped(database: &Database, repository: &Repository) -> DumpReport {
    let options = DumpOptions {
        jobs: 2,
        // The table's 800 KiB in several cells.
        cell_bytes: Some(64 << 10),
        ..DumpOptions::default()
    };
    let settings = settings(&database.conninfo());
    let report = dump(&settings, repository, &options, Arc::new(Silent)).await;
    report.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_tells_where_its_time_went() {
    let database = database();
    let pause = Duration::from_millis(5);
    let (store, slow) = repository(pause).await;
    let spent = dumped(&database, &slow).await.spent;
    let n_chunks = store.n_chunks_put.load(Ordering::SeqCst);
    assert!(n_chunks > 50, "{n_chunks}");
    assert_eq!(spent.busy_ms.len(), 2, "{spent:?}");
    assert!(
        spent.busy_ms.iter().all(|busy| *busy <= spent.rows_ms),
        "{spent:?}"
    );
    // Each chunk of rows took the pause, two at a time at most for each reader, and the readers had to wait for that.
    assert!(spent.storing_ms >= (n_chunks - 5) * 5, "{spent:?}");
    assert!(spent.rows_ms >= spent.storing_ms / 4, "{spent:?}");
    assert!(spent.stalled_ms > spent.rows_ms / 2, "{spent:?}");
    assert!(
        spent.stalled_ms <= spent.busy_ms.iter().sum::<u64>() + 2,
        "{spent:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_the_dump_before_are_not_sent_again() {
    let database = database();
    let (store, repository) = repository(Duration::ZERO).await;
    dumped(&database, &repository).await;
    let n_first = store.n_chunks_put.swap(0, Ordering::SeqCst);
    dumped(&database, &repository).await;
    let n_again = store.n_chunks_put.swap(0, Ordering::SeqCst);
    // Only the lists are offered again, and found.
    assert!(n_first > 50 && n_again <= 6, "{n_first}, {n_again}");
    database.psql("UPDATE t SET m = 'new' WHERE i BETWEEN 3000 AND 3009");
    let report = dumped(&database, &repository).await;
    let n_updated = store.n_chunks_put.load(Ordering::SeqCst);
    assert!((1..12).contains(&n_updated), "{n_updated}");
    assert!(report.new_bytes < report.stored_bytes / 3, "{report:?}");
}
