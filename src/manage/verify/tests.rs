//! Damages a small archive in every way and looks whether it is found.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::archive::damaged::{every_case, two_archives};
use crate::archive::fixture::{self, Table, dump, shop};
use crate::progress::Silent;
use crate::store::{Key, MemoryStore, Put, Store};

const WITHOUT_STAMP: VerifyOptions = VerifyOptions {
    depth: Depth::Full,
    jobs: 4,
    subset: None,
    stamp: false,
};

async fn shop_in_memory() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    dump(&repository, "shop-1", &shop()).await.unwrap();
    (store, repository)
}

async fn check(repository: &Repository, options: &VerifyOptions) -> VerifyReport {
    verify(repository, None, options, &Silent).await.unwrap()
}

async fn replace(store: &MemoryStore, key: &Key, bytes: Bytes) {
    store.delete(key).await.unwrap();
    assert_eq!(store.put_new(key, bytes).await.unwrap(), Put::Stored);
}

fn depth(depth: Depth) -> VerifyOptions {
    VerifyOptions {
        depth,
        ..WITHOUT_STAMP
    }
}

#[tokio::test]
async fn a_whole_archive_is_whole_at_every_depth_and_stamped() {
    let (store, repository) = shop_in_memory().await;
    for depth in [Depth::Presence, Depth::Bytes, Depth::Full] {
        let options = VerifyOptions {
            depth,
            ..VerifyOptions::default()
        };
        // Stamps are told apart by the millisecond.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let report = check(&repository, &options).await;
        assert_eq!(report.findings, [], "{depth:?}");
        assert!(report.archives[0].whole && !report.is_damaged());
        let expected = if depth == Depth::Full { 159 } else { 0 };
        assert_eq!(report.archives[0].n_rows, expected);
        assert_eq!(report.archives[0].n_tables, 4);
        assert_eq!(report.unreferenced, Some(Unreferenced::default()));
    }
    let listed = repository.archives().await.unwrap();
    assert_eq!(listed[0].verified.as_ref().unwrap().depth, Depth::Full);
    // The fixture is only worth something with shared chunks and several cells.
    let chunks = store.list("chunks").await.unwrap();
    assert!(chunks.len() >= 10, "{}", chunks.len());
}

#[tokio::test]
async fn every_lost_or_shortened_file_is_found_at_every_depth() {
    let (store, repository) = shop_in_memory().await;
    for stored in store.list("").await.unwrap() {
        let key = stored.key;
        let whole = store.get(&key).await.unwrap().unwrap();
        for depth_of_check in [Depth::Presence, Depth::Bytes, Depth::Full] {
            store.delete(&key).await.unwrap();
            let report = check(&repository, &depth(depth_of_check)).await;
            let names_it = |report: &VerifyReport| {
                let findings = report.findings.iter();
                findings
                    .filter(|finding| finding.damage)
                    .any(|finding| finding.key == key.as_str())
            };
            assert!(names_it(&report), "{key} gone: {report:?}");
            let short = whole.slice(..whole.len() - 1);
            replace(&store, &key, short).await;
            let report = check(&repository, &depth(depth_of_check)).await;
            assert!(names_it(&report), "{key} short: {report:?}");
            replace(&store, &key, whole.clone()).await;
        }
    }
}

#[tokio::test]
async fn a_damaged_chunk_says_which_rows_it_took() {
    let (store, repository) = shop_in_memory().await;
    let archive = repository.read(&"shop-1".parse().unwrap()).await.unwrap();
    let tables = archive.table_indexes().await.unwrap();
    let orders = &tables[0];
    assert_eq!(orders.segments.len(), 3);
    let piece = &orders.segments[1].pieces[1];
    store.delete(&piece.chunk_ref().key()).await.unwrap();
    let report = check(&repository, &WITHOUT_STAMP).await;
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let finding = &report.findings[0];
    assert_eq!(finding.affected[0].what, "table data public.orders");
    let lost = finding.affected[0].n_rows_lost;
    assert!((1..50).contains(&lost), "{lost}");
    let text = finding.to_string();
    assert!(text.contains("is missing: archive shop-1: table data public.orders (up to "));

    // A chunk shared by small tables takes rows of each.
    let shared = &tables[1].segments[0].pieces[0];
    replace(&store, &shared.chunk_ref().key(), Bytes::from_static(b"x")).await;
    let report = check(&repository, &WITHOUT_STAMP).await;
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.key == shared.chunk_ref().key().as_str())
        .unwrap();
    let names: Vec<&str> = finding.affected.iter().map(|a| a.what.as_str()).collect();
    assert_eq!(
        names,
        ["table data public.countries", "table data public.units"]
    );
    assert_eq!(finding.affected[0].n_rows_lost, 9);
}

#[tokio::test]
async fn a_manifest_that_vanished_is_missed_until_its_removal_is_on_record() {
    let (store, repository) = shop_in_memory().await;
    let name = "shop-1".parse().unwrap();
    store
        .delete(&Key::new("archives/shop-1.json"))
        .await
        .unwrap();
    let report = check(&repository, &WITHOUT_STAMP).await;
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].key, "archives/shop-1.json");
    repository.remove(&name, "lost").await.unwrap();
    assert!(!check(&repository, &WITHOUT_STAMP).await.is_damaged());
}

#[tokio::test]
async fn an_archive_may_lie_about_its_rows_and_is_caught() {
    let (_, repository) = shop_in_memory().await;
    let name = "shop-1".parse().unwrap();
    let archive = repository.read(&name).await.unwrap();
    let chunks = repository.chunks(1);
    let change = async |new_name: &str, change: &dyn Fn(&mut crate::archive::index::TableIndex)| {
        let mut tables = archive.table_indexes().await.unwrap();
        change(&mut tables[0]);
        let mut writer = crate::archive::jsonl::JsonlWriter::new(chunks.clone(), fixture::SMALL);
        for table in &tables {
            writer.push(table).await.unwrap();
        }
        let mut manifest = archive.manifest().clone();
        manifest.name = new_name.parse().unwrap();
        manifest.data_index = writer.finish().await.unwrap().refs();
        repository.commit(&manifest).await.unwrap();
        let names = [manifest.name.clone()];
        let report = verify(&repository, Some(&names), &WITHOUT_STAMP, &Silent).await;
        report.unwrap().findings
    };
    let says = |findings: Vec<Finding>, text: &str| {
        let found = findings
            .iter()
            .any(|finding| finding.problem.contains(text));
        assert!(found, "{text}: {findings:?}");
    };
    let other = change("fingerprint", &|table| table.fingerprint = "0".repeat(32)).await;
    says(other, "the fingerprint of its rows is");
    let other = change("rows", &|table| table.segments[0].n_rows += 1).await;
    says(other, "its chunks hold 50");
    let other = change("range", &|table| {
        table.segments[0].pieces[0].offset = u64::MAX;
    })
    .await;
    says(other, "does not lie in its chunk");
    let other = change("cut", &|table| table.segments[0].pieces[0].n_bytes -= 1).await;
    says(other, "contradicts itself");
    let other = change("huge", &|table| {
        let piece = &mut table.segments[0].pieces[0];
        (piece.chunk_bytes, piece.n_bytes) = (u64::MAX, u64::MAX);
    })
    .await;
    says(other, "more than any chunk may");
    let other = change("entry", &|table| table.entry = crate::toc::EntryId(77)).await;
    says(other, "is not in the data index");
}

#[tokio::test]
async fn chunks_of_no_archive_are_only_counted() {
    let (_, repository) = shop_in_memory().await;
    repository
        .chunks(1)
        .put(b"left over".to_vec())
        .await
        .unwrap();
    let report = check(&repository, &WITHOUT_STAMP).await;
    assert!(!report.is_damaged());
    assert_eq!(report.unreferenced.unwrap().n_chunks, 1);
}

#[tokio::test]
async fn chunks_in_the_trash_are_still_read() {
    let (store, repository) = shop_in_memory().await;
    for stored in store.list("chunks").await.unwrap() {
        let bytes = store.get(&stored.key).await.unwrap().unwrap();
        let key = crate::archive::chunks::trash_key(&stored.key);
        store.put_new(&key, bytes).await.unwrap();
        store.delete(&stored.key).await.unwrap();
    }
    for depth_of_check in [Depth::Presence, Depth::Bytes, Depth::Full] {
        let report = check(&repository, &depth(depth_of_check)).await;
        assert_eq!(report.findings, [], "{depth_of_check:?}");
    }
}

#[tokio::test]
async fn a_second_archive_reads_only_what_is_new() {
    let (store, repository) = shop_in_memory().await;
    let n_before = store.list("chunks").await.unwrap().len();
    let mut tables = shop();
    tables[0].rows[60] = "60\tchanged\t\\N".to_owned();
    tables.push(Table {
        name: "zebra",
        rows: vec!["1\tz\t\\N".to_owned()],
        cell_rows: None,
    });
    let archive = dump(&repository, "shop-2", &tables).await.unwrap();
    let n_new = store.list("chunks").await.unwrap().len() - n_before;
    assert!(n_new < n_before, "{n_new} new beside {n_before}");
    let totals = archive.manifest().totals;
    assert!(totals.new_bytes < totals.stored_bytes);
    let report = check(&repository, &WITHOUT_STAMP).await;
    assert_eq!(report.findings, []);
    let rows: Vec<u64> = report.archives.iter().map(|one| one.n_rows).collect();
    assert_eq!(rows, [159, 160]);
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the numbers are what it shows")]
async fn no_damage_of_any_file_goes_unnoticed() {
    let (store, repository) = two_archives().await;
    assert_eq!(check(&repository, &WITHOUT_STAMP).await.findings, []);
    let cases = every_case(&store, &repository).await;
    let (mut n_found, mut n_stamps) = (0, 0);
    for case in &cases {
        let undo = case.apply(&store).await;
        // Chunks in one archive that has them, with their rows; the rest at the depth that every verification has.
        let is_chunk = case.key.is_below("chunks");
        let of = is_chunk.then(|| std::slice::from_ref(&case.archive));
        let options = if is_chunk {
            WITHOUT_STAMP
        } else {
            depth(Depth::Presence)
        };
        let report = verify(&repository, of, &options, &Silent).await;
        let report = report.unwrap();
        if case.takes_a_stamp {
            // It says less than it could, and nothing wrong.
            assert_eq!(report.findings, [], "{}", case.what);
            n_stamps += 1;
            undo.apply(&store).await;
            continue;
        }
        let named = |finding: &Finding| case.keys().any(|key| finding.key == key.as_str());
        assert!(
            report.is_damaged() && report.findings.iter().any(named),
            "{}: {:?}",
            case.what,
            report.findings
        );
        n_found += 1;
        undo.apply(&store).await;
    }
    assert_eq!(check(&repository, &WITHOUT_STAMP).await.findings, []);
    assert_eq!((n_found + n_stamps, n_stamps), (cases.len(), 2));
    println!(
        "{} damages: {n_found} found, {n_stamps} stamps gone without a harm",
        cases.len()
    );
}
