//! Copies small archives between stores in memory, which fail, lose and damage what they can.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::chunks::chunks_of;
use super::*;
use crate::archive::fixture::{self, Table, dump, dump_with, shop};
use crate::archive::manifest::{ClusterSet, Scope, SetMember};
use crate::archive::records::Depth;
use crate::archive::repository::manifest_key;
use crate::manage::verify::{VerifyOptions, verify};
use crate::progress::Silent;
use crate::store::fault::{Fault, FaultStore};
use crate::store::{Key, MemoryStore, Put, Store};

async fn in_memory() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    (store, repository)
}

fn name(text: &str) -> ArchiveName {
    text.parse().unwrap()
}

/// The shop with one other row, so that most chunks are those of the shop.
fn changed() -> Vec<Table> {
    let mut tables = shop();
    tables[0].rows[3] = "3\tchanged\tx".into();
    tables
}

async fn copy(from: &Repository, to: &Repository) -> ReplicateReport {
    copy_with(from, to, |_| {}).await
}

async fn copy_with(
    from: &Repository,
    to: &Repository,
    change: impl FnOnce(&mut ReplicateOptions),
) -> ReplicateReport {
    let mut options = ReplicateOptions::default();
    change(&mut options);
    replicate(from, to, &options, &Silent).await.unwrap()
}

/// The state of each archive of a report, by name: `a copied`.
fn states(report: &ReplicateReport) -> Vec<String> {
    let state = |one: &Replicated| {
        let state = serde_json::to_value(one.state).unwrap();
        format!("{} {}", one.name, state.as_str().unwrap())
    };
    report.archives.iter().map(state).collect()
}

async fn keys(store: &dyn Store, folder: &str) -> Vec<String> {
    let stored = store.list(folder).await.unwrap();
    stored.into_iter().map(|one| one.key.to_string()).collect()
}

async fn replace(store: &dyn Store, key: &Key, bytes: Bytes) {
    store.delete(key).await.unwrap();
    assert_eq!(store.put_new(key, bytes).await.unwrap(), Put::Stored);
}

/// All archives are whole, and none is missed.
async fn assert_sound(repository: &Repository, when: &str) {
    let options = VerifyOptions {
        stamp: false,
        ..VerifyOptions::default()
    };
    let report = verify(repository, None, &options, &Silent).await.unwrap();
    assert_eq!(report.findings, [], "{when}");
}

#[tokio::test]
async fn a_copy_is_the_same_bytes_and_a_second_run_does_nothing() {
    let (source, from) = in_memory().await;
    let (target, to) = in_memory().await;
    let archive = dump(&from, "a", &shop()).await.unwrap();
    let report = copy(&from, &to).await;
    assert_eq!(states(&report), ["a copied"]);
    assert!(report.is_complete() && report.copied_chunks() > 10);
    for folder in ["archives", "chunks"] {
        let there = keys(&*target, folder).await;
        assert_eq!(there, keys(&*source, folder).await);
        for key in there {
            let key = Key::new(key);
            assert_eq!(
                target.get(&key).await.unwrap(),
                source.get(&key).await.unwrap()
            );
        }
    }
    let copied = to.read(&name("a")).await.unwrap();
    assert_eq!(copied.seal(), archive.seal());
    assert_ne!(to.marker().repository, archive.manifest().repository);
    assert_sound(&to, "after the copy").await;
    let listed = to.archives().await.unwrap();
    let stamp = listed[0].verified.clone().unwrap();
    assert_eq!(stamp.depth, Depth::Bytes);
    assert_eq!(report.archives[0].verified, Some(stamp.at));

    let before = target.list("").await.unwrap();
    let again = copy(&from, &to).await;
    assert_eq!(states(&again), ["a present"]);
    assert_eq!((again.copied_chunks(), again.copied_bytes()), (0, 0));
    assert_eq!(target.list("").await.unwrap(), before);
    for store in [&source, &target] {
        assert_eq!(keys(&**store, "leases").await, [""; 0]);
    }
}

#[tokio::test]
async fn only_new_chunks_are_sent_and_the_stamp_is_as_old_as_its_oldest_proof() {
    let (_, from) = in_memory().await;
    let (_, to) = in_memory().await;
    dump(&from, "a", &shop()).await.unwrap();
    let first = copy(&from, &to).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    dump(&from, "b", &changed()).await.unwrap();
    let second = copy(&from, &to).await;
    assert_eq!(states(&second), ["a present", "b copied"]);
    let sent = second.copied_chunks();
    assert!(
        (1..=4).contains(&sent),
        "{sent} of {}",
        first.copied_chunks()
    );
    assert_eq!(second.archives[1].verified, first.archives[0].verified);
    assert!(first.archives[0].verified.is_some());
    assert_sound(&to, "after two copies").await;

    // Where everything is read again, the proof is new.
    dump(&from, "c", &changed()).await.unwrap();
    let third = copy_with(&from, &to, |options| options.present = PresentCheck::All).await;
    assert_eq!(third.copied_chunks(), 0);
    assert!(third.archives[2].verified > second.archives[1].verified);
}

#[tokio::test]
async fn damage_at_the_source_is_found_on_the_way_and_never_copied() {
    let (source, from) = in_memory().await;
    let a = dump(&from, "a", &shop()).await.unwrap();
    dump(&from, "b", &changed()).await.unwrap();
    let of_a: Vec<String> = chunks_of(&a)
        .await
        .unwrap()
        .iter()
        .map(|one| one.key().to_string())
        .collect();
    for key in keys(&*source, "chunks").await {
        let key = Key::new(key);
        let whole = source.get(&key).await.unwrap().unwrap();
        let mut flipped = whole.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for damage in [Some(Bytes::from(flipped)), Some(whole.slice(1..)), None] {
            source.delete(&key).await.unwrap();
            if let Some(damage) = damage {
                source.put_new(&key, damage).await.unwrap();
            }
            let (target, to) = in_memory().await;
            let report = copy(&from, &to).await;
            assert!(!report.is_complete() && report.problem.is_none());
            let failed: Vec<&Replicated> = report
                .archives
                .iter()
                .filter(|one| one.state == CopyState::Failed)
                .collect();
            assert!(!failed.is_empty(), "{key}: {report:?}");
            for one in &failed {
                let problem = one.problem.as_deref().unwrap();
                assert!(problem.contains(key.as_str()), "{key}: {problem}");
                assert!(to.read(&one.name).await.is_err());
            }
            if !of_a.contains(&key.to_string()) {
                assert_eq!(states(&report), ["a copied", "b failed"]);
            }
            assert_eq!(target.head(&key).await.unwrap(), None);
            assert_sound(&to, key.as_str()).await;
        }
        replace(&*source, &key, whole).await;
    }
    let (_, to) = in_memory().await;
    assert!(copy(&from, &to).await.is_complete());
}

#[tokio::test]
async fn a_manifest_that_is_damaged_or_not_the_announced_one_is_not_copied() {
    let (source, from) = in_memory().await;
    let archive = dump(&from, "a", &shop()).await.unwrap();
    dump(&from, "b", &changed()).await.unwrap();
    let key = manifest_key(&name("a"));
    let whole = source.get(&key).await.unwrap().unwrap();
    let mut forged = archive.manifest().clone();
    forged.tool = "another".to_owned();
    for (bytes, problem) in [
        (whole.slice(..whole.len() - 1), "is damaged"),
        (forged.seal().0, "is not the manifest that was announced"),
    ] {
        replace(&*source, &key, bytes).await;
        let (_, to) = in_memory().await;
        let report = copy(&from, &to).await;
        let failed = report.archives.iter().find(|one| one.name == name("a"));
        let failed = failed.unwrap().problem.clone().unwrap();
        assert!(failed.contains(problem), "{failed}");
        assert_eq!(
            (
                report.count(CopyState::Copied),
                report.count(CopyState::Failed)
            ),
            (1, 1)
        );
        assert_sound(&to, problem).await;
    }
}

/// Whichever call to either store fails: the target has each archive whole or not at all, and the next run completes it.
#[tokio::test]
async fn a_failing_store_leaves_whole_archives_or_none_and_the_next_run_goes_on() {
    let (source, from) = in_memory().await;
    dump(&from, "a", &shop()).await.unwrap();
    dump(&from, "b", &changed()).await.unwrap();
    for (fault, at_target) in [
        (Fault::Refused, true),
        (Fault::AnswerLost, true),
        (Fault::Refused, false),
    ] {
        for at in 0.. {
            let target = Arc::new(MemoryStore::new());
            let inner: Arc<dyn Store> = if at_target {
                target.clone()
            } else {
                source.clone()
            };
            let failing = Arc::new(FaultStore::new(inner, fault, at));
            let outcome = async {
                let store = Arc::clone(&failing) as Arc<dyn Store>;
                let (from, to) = if at_target {
                    (
                        from.clone(),
                        Repository::open_or_create(store, fixture::SMALL).await?,
                    )
                } else {
                    (
                        Repository::open(store).await?,
                        fixture::repository(target.clone()).await,
                    )
                };
                let options = ReplicateOptions {
                    jobs: 1,
                    ..ReplicateOptions::default()
                };
                replicate(&from, &to, &options, &Silent).await
            };
            let outcome = outcome.await;
            let when = format!("{fault:?} at call {at}, target {at_target}");
            let to = fixture::repository(target.clone()).await;
            let names: Vec<ArchiveName> = to
                .archives()
                .await
                .unwrap()
                .into_iter()
                .map(|one| one.name)
                .collect();
            let thorough = VerifyOptions::default();
            let verified = verify(&to, Some(&names), &thorough, &Silent).await;
            assert_eq!(verified.unwrap().findings, [], "{when}");
            if let Ok(report) = &outcome {
                for one in &report.archives {
                    let is_there = names.contains(&one.name);
                    assert!(
                        is_there || one.state == CopyState::Failed,
                        "{when}: {report:?}"
                    );
                }
                let n_named = report.archives.len() as u64 + report.n_untried;
                assert_eq!(n_named, 2, "{when}");
                assert!(
                    report.is_complete() || report.problem.is_some() || names.len() < 2,
                    "{when}"
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            let again = copy(&from, &to).await;
            assert!(again.is_complete(), "{when}: {again:?}");
            assert_sound(&to, &when).await;
            if failing.n_calls() <= at {
                assert!(outcome.unwrap().is_complete(), "{when}");
                break;
            }
        }
        for lease in keys(&*source, "leases").await {
            source.delete(&Key::new(lease)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn another_archive_under_the_name_is_a_conflict_and_a_removed_one_stays_away() {
    let (_, from) = in_memory().await;
    let (target, to) = in_memory().await;
    for one in ["a", "b", "c"] {
        dump(&from, one, &shop()).await.unwrap();
    }
    let theirs = dump(&to, "a", &changed()).await.unwrap();
    copy_with(&from, &to, |options| options.names = vec![name("b")]).await;
    to.remove(&name("b"), "kept long enough").await.unwrap();
    let report = copy(&from, &to).await;
    assert_eq!(states(&report), ["a failed", "b removed", "c copied"]);
    assert!(!report.is_complete());
    let problem = report.archives[0].problem.as_deref().unwrap();
    assert!(
        problem.contains("another archive under this name"),
        "{problem}"
    );
    assert_eq!(to.read(&name("a")).await.unwrap().seal(), theirs.seal());
    assert_sound(&to, "beside a conflict").await;

    let key = manifest_key(&name("c"));
    let bytes = target.get(&key).await.unwrap().unwrap();
    replace(&*target, &key, bytes.slice(1..)).await;
    let report = copy(&from, &to).await;
    let problem = report.archives[2].problem.as_deref().unwrap();
    assert!(
        problem.contains("the target has an archive of this name, and it is damaged"),
        "{problem}"
    );
}

/// Commits archives that are a set: members first, then the one that closes it.
async fn set(from: &Repository) {
    let at = |second: i8| {
        format!("2026-11-22T02:00:{second:02}Z")
            .parse::<Timestamp>()
            .unwrap()
    };
    let mut members = Vec::new();
    for (second, database) in [(5, "x"), (1, "y")] {
        let member = dump_with(from, &format!("m-{database}"), &shop(), |manifest| {
            manifest.created = at(second);
            manifest.group.database = database.to_owned();
            manifest.set = Some(ClusterSet::named("a-set".to_owned()));
        })
        .await
        .unwrap();
        members.push(SetMember {
            name: member.name().clone(),
            manifest: member.seal(),
            database: database.to_owned(),
        });
    }
    let closing = dump_with(from, "a-set", &[], |manifest| {
        // A clock that went back must not bring the end before the members.
        manifest.created = at(0);
        manifest.group.database = String::new();
        manifest.group.scope = Scope::Globals;
        manifest.set = Some(ClusterSet {
            members,
            ..ClusterSet::named("a-set".to_owned())
        });
    });
    closing.await.unwrap();
}

#[tokio::test]
async fn a_set_is_closed_when_its_members_stand() {
    let (source, from) = in_memory().await;
    set(&from).await;
    let (_, to) = in_memory().await;
    let expected = ["m-y copied", "m-x copied", "a-set copied"];
    assert_eq!(states(&copy(&from, &to).await), expected);
    // Who names the set means all of it.
    let (_, to) = in_memory().await;
    let report = copy_with(&from, &to, |options| options.names = vec![name("a-set")]).await;
    assert_eq!(states(&report), expected);
    assert_sound(&to, "after the set").await;

    let (_, to) = in_memory().await;
    let key = manifest_key(&name("m-x"));
    let whole = source.get(&key).await.unwrap().unwrap();
    replace(&*source, &key, whole.slice(1..)).await;
    let report = copy(&from, &to).await;
    assert_eq!(report.count(CopyState::Copied), 1, "{report:?}");
    let closing = report.archives.iter().find(|one| one.name == name("a-set"));
    let problem = closing.unwrap().problem.as_deref().unwrap();
    assert!(
        problem.contains("m-x, which belongs to its set, is not in"),
        "{problem}"
    );
    assert_sound(&to, "without a member").await;

    // What the source itself has lost is no reason.
    source.delete(&key).await.unwrap();
    assert!(copy(&from, &to).await.is_complete());
}

#[tokio::test]
async fn rules_choose_the_first_of_a_month_and_go_on_choosing_it_when_the_source_has_removed_it() {
    let (_, from) = in_memory().await;
    let (_, to) = in_memory().await;
    let monthly = |options: &mut ReplicateOptions| options.only.monthly = Some(12);
    for day in 28..=34_i64 {
        let first: Timestamp = "2026-10-01T02:00:00Z".parse().unwrap();
        let created = first + jiff::SignedDuration::from_hours(24 * (day - 1));
        dump_with(&from, &format!("d{day}"), &shop(), |manifest| {
            manifest.created = created;
        })
        .await
        .unwrap();
        // The source keeps three days.
        if day > 30 {
            from.remove(&name(&format!("d{}", day - 3)), "rotated")
                .await
                .unwrap();
        }
        assert!(copy_with(&from, &to, monthly).await.is_complete());
    }
    let there: Vec<String> = to
        .archives()
        .await
        .unwrap()
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    assert_eq!(there, ["d28", "d32"]);
    let other_db =
        |options: &mut ReplicateOptions| options.filter.database = Some("other".to_owned());
    assert_eq!(copy_with(&from, &to, other_db).await.archives, []);
}

#[tokio::test]
async fn what_the_target_has_already_is_looked_at_as_asked() {
    let (source, from) = in_memory().await;
    let archive = dump(&from, "a", &shop()).await.unwrap();
    let chunk = chunks_of(&archive).await.unwrap()[0];
    let whole = source.get(&chunk.key()).await.unwrap().unwrap();
    let mut flipped = whole.to_vec();
    flipped[0] ^= 1;
    for (bytes, present, problem) in [
        (
            whole.slice(1..),
            PresentCheck::Size,
            Some("bytes instead of"),
        ),
        (
            flipped.clone().into(),
            PresentCheck::Unproved,
            Some("SHA-256 differs"),
        ),
        (flipped.into(), PresentCheck::Size, None),
        (whole, PresentCheck::Unproved, None),
    ] {
        let (target, to) = in_memory().await;
        target.put_new(&chunk.key(), bytes).await.unwrap();
        let report = copy_with(&from, &to, |options| options.present = present).await;
        let one = &report.archives[0];
        if let Some(problem) = problem {
            let said = one.problem.as_deref().unwrap();
            assert!(
                said.contains(problem) && said.contains(chunk.key().as_str()),
                "{said}"
            );
            assert_eq!(keys(&*target, "archives").await, [""; 0]);
            assert_eq!(keys(&*target, "records").await, [""; 0]);
        } else {
            assert_eq!(one.state, CopyState::Copied);
            // Only what was read is said to be verified.
            assert_eq!(one.verified.is_some(), present == PresentCheck::Unproved);
            let listed = to.archives().await.unwrap();
            assert_eq!(listed[0].verified.is_some(), one.verified.is_some());
        }
    }
}

#[tokio::test]
async fn a_repository_is_no_copy_of_itself() {
    let (store, from) = in_memory().await;
    dump(&from, "a", &shop()).await.unwrap();
    let same = Repository::open(store.clone()).await.unwrap();
    let refused = replicate(&from, &same, &ReplicateOptions::default(), &Silent).await;
    assert!(matches!(refused, Err(Error::Usage(_))), "{refused:?}");
    assert_eq!(keys(&*store, "leases").await, [""; 0]);
    let unknown = ReplicateOptions {
        names: vec![name("z")],
        ..ReplicateOptions::default()
    };
    let (_, to) = in_memory().await;
    let refused = replicate(&from, &to, &unknown, &Silent).await;
    assert!(
        matches!(refused, Err(Error::NotFound { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_report_says_how_far_the_target_is_behind() {
    let (source, from) = in_memory().await;
    let (_, to) = in_memory().await;
    for (one, day) in [("a", 20), ("b", 22)] {
        dump_with(&from, one, &shop(), |manifest| {
            manifest.created = format!("2026-11-{day}T02:00:00Z").parse().unwrap();
        })
        .await
        .unwrap();
    }
    let only_a = |options: &mut ReplicateOptions| options.names = vec![name("a")];
    let report = copy_with(&from, &to, only_a).await;
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.groups[0].lag_ms, Some(2 * 24 * 60 * 60 * 1000));
    assert_eq!(copy(&from, &to).await.groups[0].lag_ms, Some(0));
    let (_, empty) = in_memory().await;
    source
        .delete(
            &chunks_of(&from.read(&name("a")).await.unwrap())
                .await
                .unwrap()[0]
                .key(),
        )
        .await
        .unwrap();
    let report = copy_with(&from, &empty, only_a).await;
    assert_eq!(
        (report.groups[0].newest_target, report.groups[0].lag_ms),
        (None, None)
    );
}
