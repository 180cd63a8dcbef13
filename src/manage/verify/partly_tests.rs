//! Verifications of a part, and verifications that go on after an interruption.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::archive::fixture::{self, dump, shop};
use crate::progress::Silent;
use crate::store::{Key, MemoryStore, Put, Store, Stored};

/// Memory that counts the chunks that are read, and stops answering after some.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStore,
    n_read: AtomicI64,
    /// Chunks that are still answered; below zero: all.
    left: AtomicI64,
}

#[async_trait]
impl Store for Counting {
    fn location(&self) -> String {
        "counting memory".to_owned()
    }
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put> {
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        if key.as_str().starts_with("chunks/") {
            if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
                std::future::pending::<()>().await;
            }
            self.n_read.fetch_add(1, Ordering::SeqCst);
        }
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

async fn shop_that_counts() -> (Arc<Counting>, Repository) {
    let store = Arc::new(Counting {
        left: AtomicI64::new(-1),
        ..Counting::default()
    });
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    dump(&repository, "shop-1", &shop()).await.unwrap();
    (store, repository)
}

fn options(depth: Depth) -> VerifyOptions {
    VerifyOptions {
        depth,
        jobs: 1,
        ..VerifyOptions::default()
    }
}

#[tokio::test]
async fn all_parts_together_read_every_chunk_and_damage_is_found_by_the_part_that_has_it() {
    let (store, repository) = shop_that_counts().await;
    let archive = repository.read(&"shop-1".parse().unwrap()).await.unwrap();
    let tables = archive.table_indexes().await.unwrap();
    let damaged = tables[0].segments[1].pieces[0].chunk_ref();
    let whole = store.get(&damaged.key()).await.unwrap().unwrap();
    let mut flipped = whole.to_vec();
    flipped[10] ^= 1;
    store.delete(&damaged.key()).await.unwrap();
    store.put_new(&damaged.key(), flipped.into()).await.unwrap();

    for depth in [Depth::Bytes, Depth::Full] {
        let (mut n_read, mut n_chunks, mut found) = (0, 0, Vec::new());
        for part in 1..=3 {
            let subset = Subset::Part { part, of: 3 };
            let options = VerifyOptions {
                subset: Some(subset),
                ..options(depth)
            };
            let report = verify(&repository, None, &options, &Silent).await.unwrap();
            let portion = report.subset.unwrap();
            n_read += portion.n_read;
            n_chunks = portion.n_chunks;
            assert_eq!(report.is_damaged(), subset.has(&damaged.chunk), "{part}");
            found.extend(report.findings);
        }
        assert_eq!(n_read, n_chunks, "each chunk is in one part");
        assert!(n_chunks >= 8, "{n_chunks}");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].key, damaged.key().as_str());
    }
    let listed = repository.archives().await.unwrap();
    assert!(listed[0].verified.is_none(), "a part is no verification");
}

#[tokio::test]
async fn a_chunk_that_is_gone_is_found_by_every_part() {
    let (store, repository) = shop_that_counts().await;
    let archive = repository.read(&"shop-1".parse().unwrap()).await.unwrap();
    let tables = archive.table_indexes().await.unwrap();
    let gone = tables[0].segments[1].pieces[0].chunk_ref();
    store.delete(&gone.key()).await.unwrap();
    for part in 1..=3 {
        let options = VerifyOptions {
            subset: Some(Subset::Part { part, of: 3 }),
            ..VerifyOptions::default()
        };
        let report = verify(&repository, None, &options, &Silent).await.unwrap();
        assert!(report.is_damaged(), "{part}");
    }
}

#[tokio::test]
async fn an_interrupted_verification_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let journal = |resumes| VerifyJournal::in_folder(folder.path(), resumes).at_once();
    let (begins, resumes) = (journal(false), journal(true));
    for depth in [Depth::Bytes, Depth::Full] {
        let (store, repository) = shop_that_counts().await;
        let whole = verify(&repository, None, &options(depth), &Silent)
            .await
            .unwrap();
        let n_all = store.n_read.swap(0, Ordering::SeqCst);

        // The streams are three chunks or so; some rows come after them.
        store.left.store(n_all - 3, Ordering::SeqCst);
        let options = options(depth);
        let verification = verify_with(&repository, None, &options, Some(&begins), &Silent);
        let interrupted = tokio::time::timeout(std::time::Duration::from_millis(500), verification);
        assert!(interrupted.await.is_err(), "the store does not answer");
        store.left.store(-1, Ordering::SeqCst);
        store.n_read.store(0, Ordering::SeqCst);

        let again = verify_with(&repository, None, &options, Some(&resumes), &Silent);
        let again = again.await.unwrap();
        assert!(again.n_known > 0 && again.archives[0].whole, "{again:?}");
        assert_eq!(again.archives[0].n_rows, whole.archives[0].n_rows);
        let n_read = store.n_read.swap(0, Ordering::SeqCst);
        assert!(n_read < n_all, "{n_read} of {n_all}");

        // What went to its end is not believed the next time.
        let third = verify_with(&repository, None, &options, Some(&resumes), &Silent);
        assert_eq!(third.await.unwrap().n_known, 0);
        assert_eq!(store.n_read.load(Ordering::SeqCst), n_all);
    }
}

#[tokio::test]
async fn what_is_over_at_once_leaves_no_journal() {
    let (_, repository) = shop_that_counts().await;
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("cache");
    let journal = VerifyJournal::in_folder(&below, false);
    let options = VerifyOptions::default();
    let report = verify_with(&repository, None, &options, Some(&journal), &Silent).await;
    assert!(report.unwrap().archives[0].whole && !below.exists());
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_costs_only_itself() {
    let (_, repository) = shop_that_counts().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let journal = VerifyJournal::in_folder(file.path().join("below a file"), true).at_once();
    let options = VerifyOptions::default();
    let report = verify_with(&repository, None, &options, Some(&journal), &Silent).await;
    assert!(report.unwrap().archives[0].whole);
}
