//! Commits, finds and removes archives; also over a store that fails at any call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::*;
use crate::archive::chunks::trash_key;
use crate::archive::fixture::{self, dump, shop};
use crate::archive::lease::{Lease, LeaseKind};
use crate::archive::manifest::Scope;
use crate::archive::records::{Depth, Removed, Verified};
use crate::store::fault::{Fault, FaultStore};
use crate::store::{LocalStore, MemoryStore};

async fn in_memory() -> Repository {
    fixture::repository(Arc::new(MemoryStore::new())).await
}

fn name(text: &str) -> ArchiveName {
    text.parse().unwrap()
}

/// Commits an archive without contents; `change` says how it differs.
async fn commit(
    repository: &Repository,
    name: &str,
    change: impl FnOnce(&mut Manifest),
) -> Result<Archive> {
    let mut manifest = fixture::manifest(repository, name);
    change(&mut manifest);
    repository.commit(&manifest).await
}

#[tokio::test]
async fn what_was_dumped_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::create(folder.path()).await.unwrap());
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    let written = dump(&repository, "shop-1", &shop()).await.unwrap();

    let again = Repository::open(store).await.unwrap();
    assert_eq!(again.marker(), repository.marker());
    let archive = again.read(&name("shop-1")).await.unwrap();
    assert_eq!(archive.manifest(), written.manifest());
    assert_eq!(archive.seal(), written.seal());
    let entries = archive.entries().await.unwrap();
    assert_eq!(entries.len(), 8);
    let tables = archive.table_indexes().await.unwrap();
    for (table, index) in shop().iter().zip(&tables) {
        let mut rows = Vec::new();
        for piece in index.segments.iter().flat_map(|segment| &segment.pieces) {
            let chunk = again.chunks(1).get(&piece.chunk_ref()).await.unwrap();
            rows.extend_from_slice(&chunk[piece.range().unwrap()]);
        }
        let lines = table.rows.iter().flat_map(|row| [row.as_str(), "\n"]);
        let lines: String = lines.collect();
        assert_eq!(String::from_utf8(rows).unwrap(), lines);
    }
}

#[tokio::test]
async fn the_same_dump_again_stores_nothing_new() {
    let repository = in_memory().await;
    dump(&repository, "one", &shop()).await.unwrap();
    let n_chunks = repository.store().list("chunks").await.unwrap().len();
    let second = dump(&repository, "two", &shop()).await.unwrap();
    assert_eq!(second.manifest().totals.new_bytes, 0);
    let after = repository.store().list("chunks").await.unwrap().len();
    assert_eq!(after, n_chunks);
}

#[tokio::test]
async fn a_name_is_given_once() {
    let repository = in_memory().await;
    commit(&repository, "one", |_| {}).await.unwrap();
    // The very same again is a repeated try, not another archive.
    commit(&repository, "one", |_| {}).await.unwrap();
    let other = commit(&repository, "one", |manifest| {
        manifest.selection.push("-t x".into());
    });
    let error = other.await.unwrap_err();
    assert!(matches!(&error, Error::Usage(text) if text.contains("the name one is taken")));
    let free = repository.free_name(&name("one")).await.unwrap();
    assert_eq!(free.as_str(), "one-2");
    // Not even a removed archive's name comes back.
    repository.remove(&name("one"), "test").await.unwrap();
    assert_eq!(repository.free_name(&name("one")).await.unwrap(), free);
}

#[tokio::test]
async fn names_and_unique_prefixes_are_found() {
    let repository = in_memory().await;
    for one in ["shop-1", "shop-10", "crm-1"] {
        commit(&repository, one, |_| {}).await.unwrap();
    }
    for (text, found) in [("shop-1", "shop-1"), ("shop-10", "shop-10"), ("c", "crm-1")] {
        assert_eq!(repository.find(text).await.unwrap().as_str(), found);
    }
    let several = repository.find("shop").await.unwrap_err();
    assert!(several.to_string().contains("shop-1, shop-10"), "{several}");
    let none = repository.find("x").await.unwrap_err();
    assert!(matches!(none, Error::NotFound { .. }));
}

#[tokio::test]
async fn latest_stays_in_its_group_and_never_steps_back_over_damage() {
    let repository = in_memory().await;
    let at = |hour: u32| format!("2026-11-22T{hour:02}:00:00Z").parse().unwrap();
    for (one, hour, database, job) in [
        ("b", 2, "shop", None),
        ("a", 3, "shop", None),
        ("c", 9, "crm", None),
        ("d", 9, "shop", Some("nightly")),
    ] {
        let change = |manifest: &mut Manifest| {
            manifest.created = at(hour);
            manifest.group.database = database.into();
            manifest.group.job = job.map(str::to_owned);
        };
        commit(&repository, one, change).await.unwrap();
    }
    let by_hand = GroupFilter {
        database: Some("shop".into()),
        job: Some(None),
        ..GroupFilter::default()
    };
    assert_eq!(repository.groups().await.unwrap().len(), 3);
    let latest = repository.latest(&by_hand).await.unwrap();
    assert_eq!(latest.name().as_str(), "a");
    // A whole archive is one, whoever made it.
    let whole = GroupFilter {
        database: Some("shop".into()),
        scope: Some(Scope::Full),
        ..GroupFilter::default()
    };
    let latest = repository.latest(&whole).await.unwrap();
    assert_eq!(latest.name().as_str(), "d");
    let several = repository
        .latest(&GroupFilter::default())
        .await
        .unwrap_err();
    assert!(
        several.to_string().contains("crm full of cluster"),
        "{several}"
    );

    let key = manifest_key(&name("a"));
    repository.store().delete(&key).await.unwrap();
    let damaged = Bytes::from_static(b"{}\n");
    repository.store().put_new(&key, damaged).await.unwrap();
    let listed = repository.archives().await.unwrap();
    let broken = listed.iter().find(|one| one.name == name("a")).unwrap();
    assert!(broken.manifest.is_err() && broken.group.as_ref().unwrap().database == "shop");
    let error = repository.latest(&by_hand).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn newer_archives_are_refused_by_the_features_name() {
    let repository = in_memory().await;
    let feature = |change: fn(&mut Manifest)| {
        let repository = repository.clone();
        async move {
            let mut manifest = fixture::manifest(&repository, "new");
            change(&mut manifest);
            let (bytes, _) = manifest.seal();
            match Manifest::read(&bytes, &name("new"), "archives/new.json") {
                Err(Error::Feature { feature, .. }) => feature,
                other => panic!("{other:?}"),
            }
        }
    };
    let sealed = feature(|manifest| manifest.features.push("sealed_payload".into())).await;
    assert_eq!(sealed, "sealed_payload");
    let format = feature(|manifest| manifest.read_version = 2).await;
    assert_eq!(format, "archive format 2");
    // A newer writer whose archives older readers understand is welcome.
    let mut manifest = fixture::manifest(&repository, "new");
    manifest.write_version = 9;
    let (bytes, _) = manifest.seal();
    assert!(Manifest::read(&bytes, &name("new"), "").is_ok());
    assert!(Manifest::read(&bytes, &name("other"), "").is_err());
}

#[tokio::test]
async fn a_removed_archive_leaves_record_and_trash() {
    let repository = in_memory().await;
    dump(&repository, "one", &shop()).await.unwrap();
    repository.remove(&name("one"), "retention").await.unwrap();
    assert!(repository.archives().await.unwrap().is_empty());
    let removed: Removed = repository
        .record(&RecordKey::Removed(name("one")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(removed.why, "retention");
    let trash = Key::new("trash/archives/one.json");
    assert!(repository.store().head(&trash).await.unwrap().is_some());
    let error = repository.remove(&name("two"), "").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
}

#[tokio::test]
async fn no_repository_is_made_over_a_lost_marker_but_reading_goes_on() {
    let repository = in_memory().await;
    let store = Arc::clone(repository.store());
    dump(&repository, "one", &shop()).await.unwrap();
    store.delete(&Marker::key()).await.unwrap();
    let error = Repository::open(Arc::clone(&store)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    let error = Repository::open_or_create(Arc::clone(&store), fixture::SMALL).await;
    assert!(matches!(error.unwrap_err(), Error::Corrupt { .. }));
    let reading = Repository::open_for_reading(store).await.unwrap();
    assert!(reading.marker_problem().is_some());
    let archive = reading.read(&name("one")).await.unwrap();
    assert_eq!(archive.entries().await.unwrap().len(), 8);
    let empty: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let error = Repository::open_for_reading(empty).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
}

#[tokio::test]
async fn the_list_has_the_promised_fields() {
    let repository = in_memory().await;
    let archive = dump(&repository, "one", &shop()).await.unwrap();
    let stamp = Verified {
        name: name("one"),
        manifest: archive.seal(),
        depth: Depth::Full,
        at: "2026-11-23T00:00:00.5Z".parse().unwrap(),
    };
    repository.stamp(&stamp).await.unwrap();
    let list = crate::manage::list::list(&repository, &GroupFilter::default()).await;
    let json = serde_json::to_string(&list.unwrap().archives[0]).unwrap();
    let expected = format!(
        r#"{{"name":"one","location":"memory/archives/one.json","group":"shop full of cluster 7301234567890123456","scope":"full","set":null,"created":"2026-11-22T02:00:00Z","database":"shop","tables":4,"rows":159,"raw_bytes":{0},"stored_bytes":{1},"new_bytes":{1},"verified":"2026-11-23T00:00:00.5Z","drilled":null,"tags":{{}}}}"#,
        archive.manifest().totals.raw_bytes,
        archive.manifest().totals.stored_bytes,
    );
    assert_eq!(json, expected);
}

#[tokio::test]
async fn leases_hold_expire_and_end() {
    let repository = in_memory().await;
    let lasts = Duration::from_secs(60);
    let lease = Lease::lasting(
        &repository,
        LeaseKind::Dump,
        "dump of shop",
        vec![name("one")],
        lasts,
    );
    let lease = lease.await.unwrap();
    let seen = repository.leases().await.unwrap();
    assert_eq!(seen[0].terms, Some(lease.terms().await));
    assert_eq!(seen[0].expires_ms, lease.expires_ms().await);
    assert!(!seen[0].is_expired(Timestamp::now()));
    assert!(seen[0].is_expired(Timestamp::now() + Duration::from_secs(61)));
    let first = lease.terms().await;
    for _ in 0..3 {
        lease.renew().await.unwrap();
    }
    assert_ne!(lease.terms().await.id, first.id);
    // The one before stays a while, for listings that are under way.
    let seen = repository.leases().await.unwrap();
    assert_eq!(seen.len(), 2);
    for one in &seen {
        assert!(lease.is(one).await && one.since_ms == lease.since_ms());
    }
    lease.prove().await.unwrap();
    lease.release().await.unwrap();
    assert!(repository.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_holder_lives_and_expires_soon_after() {
    let repository = in_memory().await;
    let lasts = Duration::from_millis(300);
    let take = || Lease::lasting(&repository, LeaseKind::Dump, "dump", Vec::new(), lasts);
    let lease = take().await.unwrap();
    tokio::time::sleep(4 * lasts).await;
    let now = Timestamp::now();
    let seen = repository.leases().await.unwrap();
    assert!(seen.iter().any(|one| !one.is_expired(now)), "{seen:?}");
    lease.prove().await.unwrap();
    // A killed holder renews no more.
    lease.kill();
    tokio::time::sleep(2 * lasts).await;
    let now = Timestamp::now();
    let seen = repository.leases().await.unwrap();
    assert!(
        !seen.is_empty() && seen.iter().all(|one| one.is_expired(now)),
        "{seen:?}"
    );
    for one in seen {
        repository.store().delete(&one.key).await.unwrap();
    }

    // One that is given up, by a signal for example, leaves nothing.
    drop(take().await.unwrap());
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while !repository.leases().await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < until, "the lease stands");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    // One that was swept away is not brought back by a renewal.
    let lease = take().await.unwrap();
    for one in repository.leases().await.unwrap() {
        repository.store().delete(&one.key).await.unwrap();
    }
    lease.renew().await.unwrap_err();
    let error = lease.prove().await.unwrap_err();
    assert!(error.to_string().contains("swept away"), "{error}");
    assert!(repository.leases().await.unwrap().is_empty());
}

/// Whatever call fails, and whether or not it was done: afterwards there is a whole archive or none, and the older one is untouched.
#[tokio::test]
async fn a_failing_store_leaves_a_whole_archive_or_none() {
    for fault in [Fault::Refused, Fault::AnswerLost] {
        for at in 0.. {
            let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let good = fixture::repository(Arc::clone(&memory)).await;
            let before = dump(&good, "before", &shop()).await.unwrap();
            let failing = Arc::new(FaultStore::new(Arc::clone(&memory), fault, at));
            let mut tables = shop();
            tables[0].rows[3] = "3\tchanged\tx".into();
            let outcome = async {
                let store = Arc::clone(&failing) as Arc<dyn Store>;
                let repository = Repository::open(store).await?;
                dump(&repository, "after", &tables).await
            };
            let outcome = outcome.await;
            let kept = good.read(&name("before")).await.unwrap();
            assert_eq!(kept.seal(), before.seal());
            let options = crate::manage::verify::VerifyOptions::default();
            let names: Vec<ArchiveName> = good
                .archives()
                .await
                .unwrap()
                .into_iter()
                .map(|listed| listed.name)
                .collect();
            let silent = crate::progress::Silent;
            let report = crate::manage::verify::verify(&good, Some(&names), &options, &silent);
            assert_eq!(report.await.unwrap().findings, [], "{fault:?} at call {at}");
            assert!(outcome.is_err() || names.contains(&name("after")));
            if outcome.is_ok() {
                assert!(failing.n_calls() <= at, "a fault went unnoticed");
                break;
            }
        }
    }
}

#[tokio::test]
async fn known_chunks_are_not_sent_again_but_proved() {
    let repository = in_memory().await;
    let chunks = repository.chunks(1);
    let first = chunks.put(b"rows of yesterday".to_vec()).await.unwrap();
    assert!(first.new);
    let known = repository.chunks(1).with_known([first.chunk.chunk].into());
    let again = known.put(b"rows of yesterday".to_vec()).await.unwrap();
    assert_eq!((again.chunk, again.new), (first.chunk, false));
    known.prove_reused().await.unwrap();
    repository.store().delete(&first.chunk.key()).await.unwrap();
    let error = known.prove_reused().await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }));
}

#[tokio::test]
async fn a_chunk_that_was_found_is_proved_too_and_comes_back_from_the_trash() {
    let repository = in_memory().await;
    let old = repository.chunks(1);
    let first = old.put(b"rows that nobody names".to_vec()).await.unwrap();
    let found = repository.chunks(1);
    let again = found.put(b"rows that nobody names".to_vec()).await.unwrap();
    assert_eq!((again.chunk, again.new), (first.chunk, false));
    let (store, key) = (repository.store(), first.chunk.key());
    // A prune takes it away meanwhile.
    store.copy_new(&key, &trash_key(&key)).await.unwrap();
    store.delete(&key).await.unwrap();
    found.prove_reused().await.unwrap();
    assert!(store.head(&key).await.unwrap().is_some());
    // What is damaged there does not come back.
    store.delete(&key).await.unwrap();
    store.delete(&trash_key(&key)).await.unwrap();
    store
        .put_new(&trash_key(&key), Bytes::from_static(b"rot"))
        .await
        .unwrap();
    found.prove_reused().await.unwrap_err();
    assert_eq!(store.head(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_damaged_chunk_is_not_taken_for_the_new_one() {
    let repository = in_memory().await;
    let chunks = repository.chunks(1);
    let stored = chunks.put(b"rows".to_vec()).await.unwrap();
    let key = stored.chunk.key();
    repository.store().delete(&key).await.unwrap();
    let damaged = Bytes::from_static(b"damaged");
    repository.store().put_new(&key, damaged).await.unwrap();
    let error = chunks.put(b"rows".to_vec()).await.unwrap_err();
    assert!(error.to_string().contains(key.as_str()), "{error}");
}

#[tokio::test]
async fn long_lines_and_damaged_lines_of_a_stream() {
    use crate::archive::jsonl::{JsonlReader, JsonlWriter};
    let repository = in_memory().await;
    let chunks = repository.chunks(1);
    let mut lines: Vec<String> = (0..200).map(|i| "x".repeat(i * i % 3001)).collect();
    lines[199] = "longer than two chunks".repeat(120);
    let mut writer = JsonlWriter::new(chunks.clone(), fixture::SMALL);
    for line in &lines {
        writer.push(line).await.unwrap();
    }
    let written = writer.finish().await.unwrap();
    assert_eq!(written.n_lines, 200);
    assert!(written.chunks.len() > 100);
    let read = |chunks: &ChunkStore, refs| {
        JsonlReader::<String>::new(chunks.clone(), refs, "archive a".into(), "TOC").collect()
    };
    let again = read(&chunks, written.refs()).await.unwrap();
    assert!(again == lines, "the lines differ");
    let mut short = written.refs();
    short.pop();
    let error = read(&chunks, short).await.unwrap_err().to_string();
    assert!(
        error.contains("archive a: TOC, line ") && error.contains("not whole"),
        "{error}"
    );
    let mut odd = written.refs();
    let odd_line = chunks.put(b"{]\n".to_vec()).await.unwrap();
    odd.insert(0, odd_line.chunk);
    let error = read(&chunks, odd).await.unwrap_err().to_string();
    assert!(
        error.starts_with("archive a: TOC, line 1: does not parse"),
        "{error}"
    );
}

#[tokio::test]
async fn a_list_that_names_its_chunks_again_is_refused_before_it_is_long() {
    let store = Arc::new(MemoryStore::new());
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    let archive = dump(&repository, "shop-1", &shop()).await.unwrap();
    let with_toc = async |name: &str, n_times: usize, n_entries: u64| {
        let mut manifest = archive.manifest().clone();
        manifest.name = name.parse().unwrap();
        manifest.toc = manifest.toc.repeat(n_times);
        manifest.totals.n_entries = n_entries;
        let archive = repository.commit(&manifest).await.unwrap();
        archive.entries().await.unwrap_err().to_string()
    };
    let n = archive.manifest().totals.n_entries;
    // A hundred thousand times the same: the first repetition is one too many.
    let again = with_toc("again", 100_000, n * 100_000).await;
    assert!(
        again.contains(&format!("has entry 0 where {n} belongs")),
        "{again}"
    );
    let fewer = with_toc("fewer", 1, n - 1).await;
    assert!(fewer.contains("has more than"), "{fewer}");
    let more = with_toc("more", 1, n + 1).await;
    assert!(
        more.contains(&format!("has {n} entries instead of {}", n + 1)),
        "{more}"
    );
}

#[tokio::test]
async fn a_chunk_that_would_unpack_to_more_than_it_says_is_refused_before_it_does() {
    let store = Arc::new(MemoryStore::new());
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    // 1 GiB of nothing in some ten kilobytes.
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    bomb.include_checksum(true).unwrap();
    bomb.include_contentsize(true).unwrap();
    bomb.set_pledged_src_size(Some(1 << 30)).unwrap();
    let nothing = vec![0; 1 << 20];
    for _ in 0..1024 {
        std::io::Write::write_all(&mut bomb, &nothing).unwrap();
    }
    let stored = bomb.finish().unwrap();
    assert!(stored.len() < 200_000, "{}", stored.len());
    let digest = crate::archive::Digest::of(&stored);
    for (said, problem) in [
        (1 << 30, "more than any chunk may"),
        (64 << 20, "are expected"),
        (5, "are expected"),
    ] {
        let chunk = crate::archive::ChunkRef {
            chunk: digest,
            stored_bytes: stored.len() as u64,
            chunk_bytes: said,
        };
        store
            .put_new(&chunk.key(), stored.clone().into())
            .await
            .unwrap();
        let error = repository
            .chunks(1)
            .get(&chunk)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(problem), "{said}: {error}");
    }
}
