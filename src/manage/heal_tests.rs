//! Every file of a small repository is damaged in turn, and mended from a copy.

use std::sync::Arc;

use super::*;
use crate::archive::fixture::{self, dump, shop};
use crate::archive::records::Depth;
use crate::manage::replicate::{ReplicateOptions, replicate};
use crate::manage::verify::{VerifyOptions, VerifyReport, verify};
use crate::progress::Silent;
use crate::store::{MemoryStore, Store};

async fn empty() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    (store, repository)
}

async fn check(repository: &Repository) -> VerifyReport {
    let options = VerifyOptions {
        depth: Depth::Full,
        stamp: false,
        ..VerifyOptions::default()
    };
    verify(repository, None, &options, &Silent).await.unwrap()
}

/// A repository and its replica.
async fn two() -> (Arc<MemoryStore>, Repository, Repository) {
    let (store, repository) = empty().await;
    dump(&repository, "shop-1", &shop()).await.unwrap();
    let (_, replica) = empty().await;
    let options = ReplicateOptions::default();
    let report = replicate(&repository, &replica, &options, &Silent).await;
    assert_eq!(report.unwrap().archives.len(), 1);
    (store, repository, replica)
}

async fn put(store: &MemoryStore, key: &Key, bytes: Bytes) {
    store.delete(key).await.unwrap();
    assert_eq!(store.put_new(key, bytes).await.unwrap(), Put::Stored);
}

fn is_own_file(key: &Key) -> bool {
    Kind::of(key).is_some()
}

#[tokio::test]
async fn every_damaged_or_lost_file_of_an_archive_is_mended_from_a_copy() {
    let (store, repository, replica) = two().await;
    let mut n_mended = 0;
    for stored in store.list("").await.unwrap() {
        let key = stored.key;
        if !is_own_file(&key) {
            continue;
        }
        let whole = store.get(&key).await.unwrap().unwrap();
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 2] ^= 4;
        for damaged in [Some(Bytes::from(flipped)), Some(whole.slice(1..)), None] {
            store.delete(&key).await.unwrap();
            let n_aside = store.list("quarantine").await.unwrap().len();
            if let Some(bytes) = &damaged {
                put(&store, &key, bytes.clone()).await;
            }
            let report = check(&repository).await;
            assert!(report.is_damaged(), "{key}");
            let healed = heal(&repository, &report.findings, Some(&replica)).await;
            let healed = healed.unwrap();
            assert_eq!(healed.fetched, [key.to_string()], "{healed:?}");
            assert_eq!(store.get(&key).await.unwrap().unwrap(), whole);
            assert!(!check(&repository).await.is_damaged(), "{key}");
            let aside = store.list("quarantine").await.unwrap().len() - n_aside;
            assert_eq!(
                aside,
                usize::from(damaged.is_some()),
                "{key}: what was there is kept"
            );
            n_mended += 1;
        }
    }
    assert!(n_mended >= 36, "{n_mended}");
}

#[tokio::test]
async fn without_a_copy_a_damaged_chunk_goes_aside_and_the_next_dump_stores_it_anew() {
    let (store, repository, _) = two().await;
    let archive = repository.read(&"shop-1".parse().unwrap()).await.unwrap();
    let tables = archive.table_indexes().await.unwrap();
    let piece = tables[0].segments[1].pieces[0].chunk_ref();
    let whole = store.get(&piece.key()).await.unwrap().unwrap();
    put(&store, &piece.key(), whole.slice(..whole.len() - 2)).await;
    assert!(
        dump(&repository, "shop-2", &shop()).await.is_err(),
        "a dump never builds on a damaged chunk"
    );
    let findings = check(&repository).await.findings;
    let healed = heal(&repository, &findings, None).await.unwrap();
    assert_eq!(healed.put_aside, [piece.key().to_string()]);
    assert_eq!(healed.not_healed, []);
    assert!(store.get(&piece.key()).await.unwrap().is_none());
    dump(&repository, "shop-3", &shop()).await.unwrap();
    let report = check(&repository).await;
    assert!(
        !report.is_damaged(),
        "the old archive is whole again too: {report:?}"
    );
}

#[tokio::test]
async fn what_no_copy_has_whole_is_left_as_it_is_and_named() {
    let (store, repository, replica) = two().await;
    let manifest = manifest_key(&"shop-1".parse().unwrap());
    let there = replica.store();
    there.delete(&manifest).await.unwrap();
    there
        .put_new(&manifest, Bytes::from_static(b"{}"))
        .await
        .unwrap();
    let whole = store.get(&manifest).await.unwrap().unwrap();
    let damaged = whole.slice(2..);
    put(&store, &manifest, damaged.clone()).await;
    for other in [None, Some(&replica)] {
        let findings = check(&repository).await.findings;
        let healed = heal(&repository, &findings, other).await.unwrap();
        assert_eq!(healed.not_healed[0].key, manifest.to_string());
        assert_eq!(healed.fetched, Vec::<String>::new());
        assert_eq!(store.get(&manifest).await.unwrap().unwrap(), damaged);
    }
}

#[tokio::test]
async fn another_archive_of_the_same_name_is_never_fetched() {
    let (store, repository, _) = two().await;
    let (_, stranger) = empty().await;
    let mut tables = shop();
    tables[0].rows[3] = "3\tanother\t\\N".to_owned();
    dump(&stranger, "shop-1", &tables).await.unwrap();
    let manifest = manifest_key(&"shop-1".parse().unwrap());
    store.delete(&manifest).await.unwrap();
    let findings = check(&repository).await.findings;
    let healed = heal(&repository, &findings, Some(&stranger)).await.unwrap();
    assert_eq!(healed.not_healed.len(), 1, "{healed:?}");
    assert!(store.get(&manifest).await.unwrap().is_none());
}

#[tokio::test]
async fn a_chunk_that_reads_right_is_not_touched_whatever_is_said_of_it() {
    let (store, repository, replica) = two().await;
    let chunk = store.list("chunks").await.unwrap()[0].key.clone();
    let before = store.list("").await.unwrap();
    let finding = Finding {
        archive: None,
        key: chunk.to_string(),
        problem: "looks odd".to_owned(),
        affected: Vec::new(),
        damage: true,
    };
    let healed = heal(&repository, &[finding], Some(&replica)).await.unwrap();
    assert_eq!(healed.not_healed.len(), 1);
    assert_eq!(store.list("").await.unwrap(), before);
}
