//! Damages an encrypted archive in every way, and looks who finds it: with the key, and without.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::archive::fixture::{self, dump, encrypted, shop};
use crate::archive::marker::Marker;
use crate::progress::Silent;
use crate::store::{Key, MemoryStore, Put, Store};

async fn shop_in_memory() -> (Arc<MemoryStore>, Repository, Repository) {
    let store = Arc::new(MemoryStore::new());
    let repository = encrypted(Arc::clone(&store) as Arc<dyn Store>).await;
    dump(&repository, "shop-1", &shop()).await.unwrap();
    let locked = Repository::open_for_reading(Arc::clone(&store) as Arc<dyn Store>);
    (store, repository, locked.await.unwrap())
}

async fn check(repository: &Repository, depth: Depth) -> VerifyReport {
    let options = VerifyOptions {
        depth,
        stamp: false,
        ..VerifyOptions::default()
    };
    verify(repository, None, &options, &Silent).await.unwrap()
}

async fn replace(store: &MemoryStore, key: &Key, bytes: Bytes) {
    store.delete(key).await.unwrap();
    assert_eq!(store.put_new(key, bytes).await.unwrap(), Put::Stored);
}

fn names(report: &VerifyReport, key: &Key) -> bool {
    let damage = report.findings.iter().filter(|finding| finding.damage);
    damage.clone().any(|finding| finding.key == key.as_str())
}

#[tokio::test]
async fn a_whole_archive_is_whole_with_the_key_and_without() {
    let (store, repository, locked) = shop_in_memory().await;
    let full = check(&repository, Depth::Full).await;
    assert_eq!(full.findings, []);
    assert_eq!((full.sealed, full.archives[0].n_rows), (false, 159));
    assert_eq!(full.unreferenced, Some(Unreferenced::default()));
    for depth in [Depth::Presence, Depth::Bytes] {
        let report = check(&locked, depth).await;
        assert_eq!(report.findings, [], "{depth:?}");
        let archive = &report.archives[0];
        assert!(report.sealed && archive.whole);
        assert_eq!(archive.n_chunks, full.archives[0].n_chunks);
        assert_eq!(archive.stored_bytes, full.archives[0].stored_bytes);
        // The inventory itself is a chunk too.
        let n_stored = store.list("chunks").await.unwrap().len() as u64;
        assert!(archive.n_chunks < n_stored);
        assert_eq!(report.unreferenced, Some(Unreferenced::default()));
    }
    let refused = verify(&locked, None, &VerifyOptions::default(), &Silent).await;
    let error = refused.unwrap_err();
    assert!(matches!(&error, Error::Key { .. }), "{error}");
    assert!(error.remedy().unwrap().contains("--depth bytes"));
}

#[tokio::test]
async fn every_flipped_byte_is_found_without_the_key_and_with_it() {
    let (store, repository, locked) = shop_in_memory().await;
    for stored in store.list("").await.unwrap() {
        let key = stored.key;
        let whole = store.get(&key).await.unwrap().unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 1 << (at % 8);
            replace(&store, &key, flipped.into()).await;
            let report = check(&locked, Depth::Bytes).await;
            assert!(names(&report, &key), "{key}, byte {at}: {report:?}");
            // Decoding everything each time would take long, and finds no more than hashing.
            if at % 64 == 0 {
                let report = check(&repository, Depth::Full).await;
                assert!(names(&report, &key), "{key}, byte {at}: {report:?}");
            }
        }
        replace(&store, &key, whole).await;
    }
    assert!(!check(&locked, Depth::Bytes).await.is_damaged());
}

#[tokio::test]
async fn every_lost_or_shortened_file_is_found_without_the_key() {
    let (store, _, locked) = shop_in_memory().await;
    for stored in store.list("").await.unwrap() {
        let key = stored.key;
        let whole = store.get(&key).await.unwrap().unwrap();
        let is_slot = key.as_str().starts_with("keys/");
        for depth in [Depth::Presence, Depth::Bytes] {
            store.delete(&key).await.unwrap();
            let report = check(&locked, depth).await;
            let lost = if is_slot {
                Key::new("keys")
            } else {
                key.clone()
            };
            assert!(names(&report, &lost), "{key} gone: {report:?}");
            replace(&store, &key, whole.slice(..whole.len() - 1)).await;
            let report = check(&locked, depth).await;
            assert!(names(&report, &key), "{key} short: {report:?}");
            replace(&store, &key, whole.clone()).await;
        }
    }
}

#[tokio::test]
async fn an_inventory_that_lies_is_caught_with_the_key() {
    let store = Arc::new(MemoryStore::new());
    let repository = encrypted(Arc::clone(&store) as Arc<dyn Store>).await;
    let chunks = repository.chunks(1);
    let extra = chunks.put(b"none of it".to_vec()).await.unwrap().chunk;
    let honest = dump(&repository, "honest", &shop()).await.unwrap();
    let lines = honest.inventory_reader().collect().await.unwrap();
    let mut named: Vec<(Digest, u64)> = lines
        .iter()
        .map(|line| (line.chunk, line.stored_bytes))
        .collect();
    named.pop();
    named.push((extra.chunk, extra.stored_bytes));
    let lie = repository.write_inventory(&chunks, named).await.unwrap();
    fixture::dump_with(&repository, "lying", &shop(), |manifest| {
        manifest.inventory = lie;
    })
    .await
    .unwrap();
    let report = check(&repository, Depth::Presence).await;
    let about: BTreeSet<&str> = report
        .findings
        .iter()
        .map(|finding| finding.key.as_str())
        .collect();
    assert_eq!(about, BTreeSet::from(["archives/lying.json"]));
    let problem = &report.findings[0].problem;
    assert!(
        problem.contains("lacks 1 of its chunks, and names 1 that"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_verification_keeps_no_counts_or_fingerprints_of_rows_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let journal = VerifyJournal::in_folder(folder.path(), true).at_once();
    let (store, repository, _) = shop_in_memory().await;
    for depth in [Depth::Full, Depth::Bytes] {
        let options = VerifyOptions {
            depth,
            ..VerifyOptions::default()
        };
        // Damage keeps the journal from being removed at the end.
        store.delete(&Marker::key()).await.unwrap();
        let done = verify_with(&repository, None, &options, Some(&journal), &Silent);
        done.await.unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains("segment"), "{text}");
        }
    }
}
