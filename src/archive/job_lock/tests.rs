//! Takes, renews and loses locks in memory.

use std::sync::Arc;

use super::*;
use crate::archive::chunker::ChunkSettings;
use crate::store::MemoryStore;

async fn repository() -> Repository {
    let store = Arc::new(MemoryStore::new());
    Repository::open_or_create(store, ChunkSettings::default())
        .await
        .unwrap()
}

/// Puts a lock of somebody else, written now.
async fn put_foreign(repository: &Repository, generation: u64, lasts_ms: i64, holder: Holder) {
    let terms = LockTerms {
        id: random_id(),
        job: "shop".to_owned(),
        lasts_ms,
        since: "2026-11-22T02:00:00Z".parse().unwrap(),
        holder,
    };
    let key = Key::new(format!("locks/run-shop.{generation:06}.json"));
    let store = repository.store();
    store.put_new(&key, sealed::seal(&terms).0).await.unwrap();
}

async fn lying(repository: &Repository) -> Vec<Key> {
    let stored = repository.store().list("locks").await.unwrap();
    stored.into_iter().map(|stored| stored.key).collect()
}

async fn elsewhere() -> Holder {
    Holder {
        host: "db2".to_owned(),
        boot: "another".to_owned(),
        ..Holder::of_this_process().await
    }
}

#[tokio::test]
async fn a_job_runs_once_at_a_time_and_others_beside_it() {
    let repository = repository().await;
    let lock = JobLock::take(&repository, "shop", JobLock::LASTS)
        .await
        .unwrap();
    let refused = JobLock::take(&repository, "shop", JobLock::LASTS)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    let who = format!("process {}", std::process::id());
    assert!(refused.to_string().contains(&who), "{refused}");
    let other = JobLock::take(&repository, "shop.2", JobLock::LASTS)
        .await
        .unwrap();
    other.release().await.unwrap();
    lock.release().await.unwrap();
    assert!(lying(&repository).await.is_empty());
    let again = JobLock::take(&repository, "shop", JobLock::LASTS).await;
    again.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn of_many_that_begin_at_once_one_runs() {
    let repository = repository().await;
    let tries = (0..20).map(|_| JobLock::take(&repository, "shop", JobLock::LASTS));
    let taken = futures::future::join_all(tries).await;
    assert_eq!(taken.iter().filter(|one| one.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_holder_elsewhere_counts_until_its_lock_expires() {
    let repository = repository().await;
    put_foreign(&repository, 7, 600_000, elsewhere().await).await;
    let refused = JobLock::take(&repository, "shop", JobLock::LASTS)
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("on db2 since 2026-11-22 02:00:00"), "{text}");
    let key = Key::new("locks/run-shop.000007.json");
    repository.store().delete(&key).await.unwrap();
    put_foreign(&repository, 8, 0, elsewhere().await).await;
    let lock = JobLock::take(&repository, "shop", JobLock::LASTS)
        .await
        .unwrap();
    let left = lying(&repository).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].as_str().ends_with("000009.json"));
    drop(lock);
}

#[tokio::test]
async fn a_holder_that_is_dead_on_this_machine_is_no_obstacle() {
    let repository = repository().await;
    let dead = Holder {
        started: "1".to_owned(),
        ..Holder::of_this_process().await
    };
    put_foreign(&repository, 1, 600_000, dead).await;
    let lock = JobLock::take(&repository, "shop", JobLock::LASTS)
        .await
        .unwrap();
    lock.release().await.unwrap();
}

#[tokio::test]
async fn a_lock_is_renewed_and_its_loss_is_noticed() {
    let repository = repository().await;
    let mut lock = JobLock::take(&repository, "shop", Duration::from_secs(60))
        .await
        .unwrap();
    lock.renew().await.unwrap();
    lock.renew().await.unwrap();
    let locks = lying(&repository).await;
    assert_eq!(locks.len(), 1);
    repository.store().delete(&locks[0]).await.unwrap();
    let lost = lock.renew().await.unwrap_err();
    assert!(lost.to_string().contains("its lock was lost"), "{lost}");
}

#[tokio::test]
async fn who_finds_another_after_the_fact_steps_back() {
    let repository = repository().await;
    let mut lock = JobLock::take(&repository, "shop", Duration::from_secs(60))
        .await
        .unwrap();
    // Somebody took a higher number while this run was suspended.
    put_foreign(&repository, 40, 600_000, elsewhere().await).await;
    assert!(matches!(lock.renew().await, Err(Error::Busy { .. })));
}

#[tokio::test]
async fn a_dropped_lock_is_released() {
    let repository = repository().await;
    drop(
        JobLock::take(&repository, "shop", JobLock::LASTS)
            .await
            .unwrap(),
    );
    for _ in 0..100 {
        tokio::task::yield_now().await;
        if lying(&repository).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the lock is still there");
}
