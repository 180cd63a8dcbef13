//! Prunes of real repositories: what goes, what stays whole, crashes, clocks, and dumps at the same time.

use std::sync::Arc;

use futures::FutureExt as _;

use super::*;
use crate::archive::Archive;
use crate::archive::chunks::chunk_key;
use crate::archive::digest::Digest;
use crate::archive::fixture::{self, Table, shop};
use crate::archive::lease::SeenLease;
use crate::archive::manifest::{ClusterSet, Manifest, SetMember};
use crate::archive::records::Verified;
use crate::progress::Silent;
use crate::store::hooked::HookedStore;
use crate::store::{Key, LocalStore, Store};

const HOUR_MS: i64 = 60 * 60 * 1000;
/// The store's clock, far from everybody else's: nothing may depend on the machine's.
const STORE_CLOCK_MS: i64 = 400_000_000_000;

struct Place {
    store: Arc<HookedStore>,
    repository: Repository,
}

impl Place {
    async fn new(answer_lost: bool) -> Place {
        let store = Arc::new(HookedStore::new(STORE_CLOCK_MS, answer_lost));
        let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
        Place { store, repository }
    }

    /// Three archives, each with rows of its own and rows that all share, verified, an hour between them.
    async fn with_three(answer_lost: bool) -> Place {
        let place = Place::new(answer_lost).await;
        for name in ["a1", "a2", "a3"] {
            place.dump(name).await;
        }
        place
    }

    async fn dump(&self, name: &str) -> Archive {
        let archive = fixture::dump(&self.repository, name, &tables(name))
            .await
            .unwrap();
        stamp(&archive).await;
        self.store.pass(HOUR_MS);
        archive
    }

    async fn prune(&self, last: u32) -> Result<PruneReport> {
        prune(
            &self.repository,
            &GroupFilter::default(),
            &keep(last),
            &options(),
            &Silent,
        )
        .await
    }

    async fn keys(&self, folder: &str) -> Vec<String> {
        let listed = self.store.list(folder).await.unwrap();
        listed.iter().map(|one| one.key.to_string()).collect()
    }

    async fn names(&self) -> Vec<String> {
        let keys = self.keys("archives").await;
        let names = keys.iter();
        names
            .map(|key| key["archives/".len()..].replace(".json", ""))
            .collect()
    }

    /// Every archive reads back row by row; gives how many chunks none of them names.
    async fn verified(&self) -> u64 {
        let options = VerifyOptions {
            stamp: false,
            ..VerifyOptions::default()
        };
        let report = verify(&self.repository, None, &options, &Silent)
            .await
            .unwrap();
        assert_eq!(report.findings, []);
        report.unreferenced.unwrap().n_chunks
    }
}

fn keep(last: u32) -> Keep {
    Keep {
        last: Some(last),
        ..Keep::default()
    }
}

fn options() -> PruneOptions {
    PruneOptions {
        zone: TimeZone::UTC,
        now: "2026-11-23T00:00:00Z".parse().unwrap(),
        ..PruneOptions::default()
    }
}

fn at_once() -> PruneOptions {
    PruneOptions {
        grace: Duration::ZERO,
        ..options()
    }
}

/// The shop, with rows of one table that no other archive has.
fn tables(name: &str) -> Vec<Table> {
    let mut tables = shop();
    for (i, row) in tables[3].rows.iter_mut().enumerate() {
        *row = format!("{i}\t{name} only\tx");
    }
    tables
}

async fn stamp(archive: &Archive) {
    let verified = Verified {
        name: archive.name().clone(),
        manifest: archive.seal(),
        depth: Depth::Full,
        at: Timestamp::now(),
    };
    archive.repository().stamp(&verified).await.unwrap();
}

fn name(text: &str) -> ArchiveName {
    text.parse().unwrap()
}

fn removed(report: &PruneReport) -> Vec<&str> {
    report.removed.iter().map(ArchiveName::as_str).collect()
}

#[tokio::test]
async fn what_goes_lies_in_the_trash_for_the_grace_time_and_what_is_shared_stays() {
    let place = Place::with_three(false).await;
    let report = place.prune(2).await.unwrap();
    assert_eq!(removed(&report), ["a1"]);
    assert_eq!(report.archives.len(), 3);
    assert_eq!(report.archives[2].reasons, ["last 2"]);
    let swept = report.swept.unwrap();
    assert!(
        swept.moved.n_chunks > 0 && swept.moved.stored_bytes > 0,
        "{swept:?}"
    );
    assert_eq!((swept.deleted.n_chunks, swept.n_passes), (0, 1));
    assert_eq!(place.verified().await, 0);
    assert_eq!(
        place.keys("trash/archives").await,
        ["trash/archives/a1.json"]
    );
    assert_eq!(place.keys("leases").await, [""; 0]);

    // The grace time counts from the move, by the store's clock.
    place.store.pass(23 * HOUR_MS);
    let waiting = place.prune(2).await.unwrap().swept.unwrap();
    assert_eq!(
        (waiting.waiting, waiting.deleted),
        (swept.moved, Amount::default())
    );
    place.store.pass(2 * HOUR_MS);
    let deleted = place.prune(2).await.unwrap().swept.unwrap();
    assert_eq!(
        (deleted.deleted, deleted.n_manifests_deleted),
        (swept.moved, 1)
    );
    assert_eq!(place.keys("trash").await, [""; 0]);
    assert_eq!(place.verified().await, 0);
    assert_eq!(place.names().await, ["a2", "a3"]);
}

#[tokio::test]
async fn a_folder_is_pruned_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(LocalStore::create(folder.path()).await.unwrap());
    let repository = fixture::repository(store).await;
    for name in ["a1", "a2"] {
        let archive = fixture::dump(&repository, name, &tables(name))
            .await
            .unwrap();
        stamp(&archive).await;
    }
    // What is as new as this may be of a dump that began just now.
    let filter = GroupFilter::default();
    let report = prune(&repository, &filter, &keep(1), &at_once(), &Silent)
        .await
        .unwrap();
    assert!(report.swept.unwrap().kept_for_leases.n_chunks > 0);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let report = prune(&repository, &filter, &keep(1), &at_once(), &Silent)
        .await
        .unwrap();
    assert!(report.swept.unwrap().moved.n_chunks > 0);
    let report = prune(&repository, &filter, &keep(1), &at_once(), &Silent)
        .await
        .unwrap();
    assert!(report.swept.unwrap().deleted.n_chunks > 0);
    let report = verify(&repository, None, &VerifyOptions::default(), &Silent)
        .await
        .unwrap();
    assert_eq!(
        (report.findings.len(), report.unreferenced.unwrap().n_chunks),
        (0, 0)
    );
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_says_the_same() {
    let place = Place::with_three(false).await;
    let before = place.keys("").await;
    let dry = PruneOptions {
        dry_run: true,
        ..options()
    };
    let filter = GroupFilter::default();
    // Not even where nothing can be written.
    place.store.fail_after(0);
    let would = prune(&place.repository, &filter, &keep(1), &dry, &Silent).await;
    place.store.heal();
    let would = would.unwrap();
    assert_eq!(place.keys("").await, before);
    let did = place.prune(1).await.unwrap();
    assert_eq!((would.removed, would.archives), (did.removed, did.archives));
    assert_eq!(removed(&place.prune(1).await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn only_the_chosen_groups_are_rotated_and_rules_that_mean_nothing_are_refused() {
    let place = Place::with_three(false).await;
    let other = GroupFilter {
        database: Some("crm".into()),
        ..GroupFilter::default()
    };
    let report = prune(&place.repository, &other, &keep(1), &options(), &Silent)
        .await
        .unwrap();
    assert_eq!((report.archives.len(), report.removed.len()), (0, 0));
    let error = place.prune(0).await.unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
    assert_eq!(place.names().await.len(), 3);
}

/// A prune that breaks off after any of its changes loses nothing, and the next one finishes what it began.
#[tokio::test]
async fn a_prune_that_breaks_off_anywhere_loses_nothing_and_the_next_one_finishes() {
    for answer_lost in [false, true] {
        let mut n_broken = 0;
        for after in 0.. {
            let place = Place::with_three(answer_lost).await;
            // What a first prune left is deleted in the one that breaks off.
            place.prune(2).await.unwrap();
            place.store.pass(25 * HOUR_MS);
            place.store.fail_after(after);
            let outcome = place.prune(1).await;
            if !place.store.heal() {
                outcome.unwrap();
                break;
            }
            n_broken += 1;
            outcome.unwrap_err();
            place.verified().await;
            assert!(place.names().await.contains(&"a3".to_owned()));
            // The lease of the one that broke off has ended by then.
            place.store.pass(HOUR_MS);
            place.prune(1).await.unwrap();
            assert_eq!(place.names().await, ["a3"], "after {after}");
            for _ in 0..2 {
                place.store.pass(25 * HOUR_MS);
                place.prune(1).await.unwrap();
            }
            assert_eq!(place.verified().await, 0, "after {after}");
            assert_eq!(place.keys("trash").await, [""; 0], "after {after}");
            assert_eq!(place.keys("leases").await, [""; 0], "after {after}");
        }
        assert!(n_broken > 20, "only {n_broken} changes");
    }
}

#[tokio::test]
async fn prunes_exclude_each_other_and_a_killed_one_not_for_long() {
    let place = Place::with_three(false).await;
    let take = || Lease::take(&place.repository, LeaseKind::Prune, "prune", Vec::new());
    let other = take().await.unwrap();
    let error = place.prune(1).await.unwrap_err();
    assert!(matches!(&error, Error::Busy { .. }), "{error}");
    assert!(error.remedy().unwrap().contains("15 minutes"), "{error:?}");
    // Only the other's lease is left, and nothing was removed.
    assert_eq!(place.keys("leases").await.len(), 1);
    assert_eq!(place.names().await.len(), 3);
    drop(other);
    place.store.pass(HOUR_MS / 4);
    let report = place.prune(1).await.unwrap();
    assert_eq!(report.swept.unwrap().n_leases_expired, 1);
    assert_eq!(place.names().await, ["a3"]);
}

#[tokio::test]
async fn nothing_is_swept_while_an_archive_cannot_be_read() {
    let replace = |place: &Place, bytes: bytes::Bytes| {
        let (store, key) = (Arc::clone(&place.store), manifest_key(&name("a2")));
        async move {
            store.delete(&key).await.unwrap();
            store.put_new(&key, bytes).await.unwrap();
        }
    };
    let mut newer = fixture::manifest(&Place::new(false).await.repository, "a2");
    newer.features = vec!["time_travel".into()];
    for (bytes, said) in [
        (bytes::Bytes::from_static(b"torn"), "archives/a2.json"),
        (newer.seal().0, "time_travel"),
    ] {
        let place = Place::with_three(false).await;
        replace(&place, bytes).await;
        let before = place.keys("chunks").await;
        let report = place.prune(1).await.unwrap();
        // The rules still rotate what can be read.
        assert_eq!(removed(&report), ["a1"]);
        assert_eq!(report.swept, None);
        let why = report.not_swept.unwrap();
        assert!(why.contains(said) && why.contains("which chunks"), "{why}");
        assert_eq!(place.keys("chunks").await, before);
        // Removed by its name it is in nobody's way any more.
        let by_name = PruneOptions {
            remove: vec![name("a2")],
            ..options()
        };
        let all = GroupFilter::default();
        let report = prune(&place.repository, &all, &Keep::default(), &by_name, &Silent).await;
        let report = report.unwrap();
        assert_eq!(removed(&report), ["a2"]);
        assert!(report.swept.unwrap().moved.n_chunks > 0);
        assert_eq!(place.verified().await, 0);
    }
}

#[tokio::test]
async fn nothing_is_swept_while_an_archive_has_vanished_or_its_index_is_damaged() {
    let place = Place::with_three(false).await;
    let key = manifest_key(&name("a2"));
    let manifest = place.store.get(&key).await.unwrap().unwrap();
    place.store.delete(&key).await.unwrap();
    let report = place.prune(1).await.unwrap();
    assert!(
        report
            .not_swept
            .unwrap()
            .contains("neither there nor removed")
    );
    place.store.put_new(&key, manifest).await.unwrap();

    let archive = place.repository.read(&name("a2")).await.unwrap();
    let index = archive.manifest().data_index[0].key();
    let bytes = place.store.get(&index).await.unwrap().unwrap();
    place.store.delete(&index).await.unwrap();
    let report = place.prune(2).await.unwrap();
    let why = report.not_swept.unwrap();
    assert!(
        why.contains("archive a2: data index") && why.contains("is missing"),
        "{why}"
    );
    place.store.put_new(&index, bytes).await.unwrap();
    place.prune(2).await.unwrap().swept.unwrap();
    assert_eq!(place.verified().await, 0);
}

#[tokio::test]
async fn the_last_good_archive_never_goes_and_a_vanished_one_is_put_on_record() {
    let place = Place::with_three(false).await;
    let all = GroupFilter::default();
    let by_name = |names: &[&str]| PruneOptions {
        remove: names.iter().map(|text| name(text)).collect(),
        ..options()
    };
    let nothing = Keep::default();
    let three = by_name(&["a1", "a2", "a3"]);
    let error = prune(&place.repository, &all, &nothing, &three, &Silent)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the last good archive"),
        "{error}"
    );
    assert_eq!(place.names().await.len(), 3);
    place
        .store
        .delete(&manifest_key(&name("a1")))
        .await
        .unwrap();
    let report = prune(
        &place.repository,
        &all,
        &nothing,
        &by_name(&["a1", "a2"]),
        &Silent,
    )
    .await;
    let mut gone = report.unwrap().removed;
    gone.sort();
    assert_eq!(gone, [name("a1"), name("a2")]);
    assert_eq!(place.verified().await, 0);
    let none = prune(
        &place.repository,
        &all,
        &nothing,
        &by_name(&["a9"]),
        &Silent,
    )
    .await;
    assert!(matches!(none.unwrap_err(), Error::NotFound { .. }));
}

#[tokio::test]
async fn what_is_needed_after_all_is_put_back() {
    let place = Place::with_three(false).await;
    let mut moved = Vec::new();
    for key in place.keys("chunks").await {
        let key = Key::parse(&key).unwrap();
        place.store.copy_new(&key, &trash_key(&key)).await.unwrap();
        place.store.delete(&key).await.unwrap();
        moved.push(key);
    }
    // Readers find them meanwhile.
    place.verified().await;
    place.store.pass(25 * HOUR_MS);
    let report = place.prune(3).await.unwrap();
    assert_eq!(report.swept.unwrap().put_back.n_chunks, moved.len() as u64);
    assert_eq!(place.keys("trash").await, [""; 0]);
    assert_eq!(place.verified().await, 0);
}

/// A dump puts a chunk that is there already, of an archive long removed; two prunes come between its last look and its manifest. The
/// first moves the chunk to the trash, the second would delete it there. Gives whether the new archive is whole.
async fn race_for_a_chunk(with_lease: bool) -> bool {
    let place = Place::with_three(false).await;
    for one in ["a1", "a2"] {
        place.repository.remove(&name(one), "test").await.unwrap();
    }
    place.store.pass(3 * HOUR_MS);
    let take = Lease::take(&place.repository, LeaseKind::Dump, "dump", Vec::new());
    let lease = if with_lease {
        Some(take.await.unwrap())
    } else {
        None
    };
    let (store, repository) = (Arc::clone(&place.store), place.repository.clone());
    let n_left = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&n_left);
    let prunes = move || {
        let filter = GroupFilter::default();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for _ in 0..2 {
            let (rules, options) = (Keep::default(), at_once());
            let pruned = prune(&repository, &filter, &rules, &options, &Silent);
            let report = runtime.block_on(pruned).unwrap();
            noted.lock().unwrap().push(report.swept.unwrap());
            // The announcement is still so new that nobody asks where its manifest is.
            store.pass(1000);
        }
    };
    // On a thread of its own, as another process would.
    let elsewhere = async move { std::thread::spawn(prunes).join().unwrap() };
    place
        .store
        .before_put("archives/", move || elsewhere.boxed());
    // The same rows as the archive that was removed: every chunk is found.
    fixture::dump(&place.repository, "again", &tables("a1"))
        .await
        .unwrap();
    let swept = n_left.lock().unwrap().clone();
    assert!(swept[0].moved.n_chunks > 0, "{swept:?}");
    if let Some(lease) = lease {
        assert_eq!(swept[1].deleted, Amount::default());
        lease.release().await.unwrap();
    }
    let report = verify(&place.repository, None, &VerifyOptions::default(), &Silent)
        .await
        .unwrap();
    let whole = !report.is_damaged();
    if whole {
        // What the new archive needs comes back from the trash, and then stays.
        place.store.pass(25 * HOUR_MS);
        let swept = place.prune(9).await.unwrap().swept.unwrap();
        assert!(
            swept.put_back.n_chunks > 0 && place.verified().await == 0,
            "{swept:?}"
        );
    }
    whole
}

#[tokio::test]
async fn the_race_for_a_reused_chunk_is_won_by_the_lease_and_lost_without() {
    assert!(race_for_a_chunk(true).await);
    assert!(
        !race_for_a_chunk(false).await,
        "the lease would not be needed"
    );
}

#[tokio::test]
async fn what_a_lease_names_stays_where_it_is_though_its_archive_goes() {
    let place = Place::with_three(false).await;
    let shared = vec![name("a1")];
    let lease = Lease::take(&place.repository, LeaseKind::Dump, "dump", shared)
        .await
        .unwrap();
    let chunks = place.keys("chunks").await;
    let all = GroupFilter::default();
    for _ in 0..2 {
        let pruned = prune(&place.repository, &all, &keep(2), &at_once(), &Silent).await;
        let swept = pruned.unwrap().swept.unwrap();
        assert_eq!((swept.moved.n_chunks, swept.n_manifests_deleted), (0, 0));
        place.store.pass(HOUR_MS / 4);
        lease.renew().await.unwrap();
    }
    assert_eq!(
        (place.names().await.len(), place.keys("chunks").await),
        (2, chunks)
    );
    lease.release().await.unwrap();
    let swept = place.prune(2).await.unwrap().swept.unwrap();
    assert!(
        swept.moved.n_chunks > 0 && swept.n_manifests_deleted == 0,
        "{swept:?}"
    );
    assert_eq!(place.verified().await, 0);
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_protects_everything_for_a_day() {
    let place = Place::with_three(false).await;
    let key = Key::new("leases/torn.json");
    place
        .store
        .put_new(&key, bytes::Bytes::from_static(b"torn"))
        .await
        .unwrap();
    let seen: Vec<SeenLease> = place.repository.leases().await.unwrap();
    assert_eq!(
        (seen[0].since_ms, seen[0].expires_ms),
        (i64::MIN, STORE_CLOCK_MS + 27 * HOUR_MS)
    );
    let swept = place.prune(1).await.unwrap().swept.unwrap();
    assert_eq!(swept.moved.n_chunks, 0);
    place.store.pass(24 * HOUR_MS);
    let swept = place.prune(1).await.unwrap().swept.unwrap();
    assert!(
        swept.moved.n_chunks > 0 && swept.n_leases_expired == 1,
        "{swept:?}"
    );
}

/// A set of two archives and its list.
async fn dump_set(place: &Place, set: &str) {
    let mut members = Vec::new();
    for database in ["crm", "shop"] {
        let template = format!("x-{database}-{set}");
        let made = fixture::dump(&place.repository, &template, &tables(set)).await;
        let template = made.unwrap();
        let change = |manifest: &mut Manifest| {
            manifest.name = name(&format!("{database}-{set}"));
            manifest.group.database = database.into();
            manifest.set = Some(ClusterSet::named(set.into()));
        };
        let archive = commit_like(&template, change).await;
        place
            .repository
            .remove(template.name(), "only a template")
            .await
            .unwrap();
        members.push(SetMember {
            name: archive.name().clone(),
            manifest: archive.seal(),
            database: database.into(),
        });
    }
    let template = place.repository.read(&members[0].name).await.unwrap();
    let change = |manifest: &mut Manifest| {
        manifest.name = name(set);
        manifest.group.database = String::new();
        manifest.group.scope = Scope::Globals;
        manifest.set = Some(ClusterSet {
            members,
            ..ClusterSet::named(set.into())
        });
    };
    commit_like(&template, change).await;
    place.store.pass(HOUR_MS);
}

async fn commit_like(template: &Archive, change: impl FnOnce(&mut Manifest)) -> Archive {
    let mut manifest = template.manifest().clone();
    change(&mut manifest);
    let archive = template.repository().commit(&manifest).await.unwrap();
    stamp(&archive).await;
    archive
}

#[tokio::test]
async fn sets_go_whole_even_if_their_removal_breaks_off() {
    let of_two = ["crm-s2", "s2", "shop-s2"];
    let mut n_broken = 0;
    for after in 0.. {
        let place = Place::new(false).await;
        for set in ["s1", "s2"] {
            dump_set(&place, set).await;
        }
        place.store.fail_after(after);
        let outcome = place.prune(1).await;
        if !place.store.heal() {
            assert_eq!(outcome.unwrap().removed.len(), 3);
            assert_eq!(place.names().await, of_two);
            break;
        }
        n_broken += 1;
        // Where the list stands, all that it names stands.
        let left = place.names().await;
        assert!(
            !left.contains(&"s1".to_owned()) || left.len() == 6,
            "{left:?}"
        );
        place.store.pass(HOUR_MS);
        place.prune(1).await.unwrap();
        assert_eq!(place.names().await, of_two, "after {after}");
    }
    assert!(n_broken > 10, "only {n_broken} changes");

    // One archive of a set takes the others with it, and the last set never goes.
    let place = Place::new(false).await;
    for set in ["s1", "s2"] {
        dump_set(&place, set).await;
    }
    let by_name = |one| PruneOptions {
        remove: vec![name(one)],
        ..options()
    };
    let (all, nothing) = (GroupFilter::default(), Keep::default());
    let report = prune(
        &place.repository,
        &all,
        &nothing,
        &by_name("crm-s1"),
        &Silent,
    )
    .await;
    assert_eq!(report.unwrap().removed.len(), 3);
    let last = prune(
        &place.repository,
        &all,
        &nothing,
        &by_name("crm-s2"),
        &Silent,
    )
    .await;
    assert!(last.unwrap_err().to_string().contains("never goes"));
    // A filter that fits only a part of a set leaves it alone.
    let crm = GroupFilter {
        database: Some("crm".into()),
        ..GroupFilter::default()
    };
    dump_set(&place, "s3").await;
    let report = prune(&place.repository, &crm, &keep(1), &options(), &Silent)
        .await
        .unwrap();
    assert_eq!((report.removed.len(), place.names().await.len()), (0, 6));
}

#[tokio::test]
async fn a_rotation_verifies_the_new_archive_first() {
    let place = Place::with_three(false).await;
    let new = fixture::dump(&place.repository, "b", &tables("b"))
        .await
        .unwrap();
    let report = rotate(&place.repository, &[name("b")], 2, &Silent)
        .await
        .unwrap();
    assert_eq!(removed(&report), ["a1", "a2"]);
    let listed = place.repository.archives().await.unwrap();
    let stamp = listed.last().unwrap().verified.as_ref().unwrap();
    assert_eq!((stamp.name.as_str(), stamp.depth), ("b", Depth::Bytes));

    let chunk = new.table_indexes().await.unwrap()[3].segments[0].pieces[0].chunk;
    place.store.delete(&chunk_key(&chunk)).await.unwrap();
    let error = rotate(&place.repository, &[name("b")], 1, &Silent)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!(place.names().await, ["a3", "b"]);
}

#[tokio::test]
async fn records_older_than_four_hundred_days_go_but_for_those_that_count() {
    let place = Place::with_three(false).await;
    let archive = place.repository.read(&name("a3")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    stamp(&archive).await;
    place.prune(2).await.unwrap();
    let n_before = place.keys("records").await.len();
    place.store.pass(399 * 24 * HOUR_MS);
    assert_eq!(place.prune(2).await.unwrap().n_records_deleted, 0);
    place.store.pass(2 * 24 * HOUR_MS);
    // The stamp of the removed archive, and the older of two of one archive.
    assert_eq!(place.prune(2).await.unwrap().n_records_deleted, 2);
    let left = place.keys("records").await;
    assert_eq!(left.len(), n_before - 2);
    for one in ["announced-a1", "removed-a1"] {
        assert!(left.contains(&format!("records/{one}.json")), "{left:?}");
    }
    let listed = place.repository.archives().await.unwrap();
    assert!(listed.iter().all(|one| one.verified.is_some()));
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let place = Place::with_three(false).await;
    let digest = Digest::of(b"x");
    for key in [
        "chunks/ab/notes.txt",
        "trash/chunks/ab/notes.txt",
        &format!("chunks/00/{digest}"),
    ] {
        let key = Key::new(key);
        place
            .store
            .put_new(&key, bytes::Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    place.store.pass(100 * HOUR_MS);
    let options = at_once();
    for _ in 0..2 {
        let all = GroupFilter::default();
        prune(&place.repository, &all, &keep(1), &options, &Silent)
            .await
            .unwrap();
        place.store.pass(HOUR_MS);
    }
    let all = place.keys("").await;
    assert!(all.contains(&"chunks/ab/notes.txt".to_owned()));
    assert!(all.contains(&"trash/chunks/ab/notes.txt".to_owned()));
    assert!(all.contains(&format!("chunks/00/{digest}")));
}
