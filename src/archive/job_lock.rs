//! The lock of a job: two runs of it never overlap, on whichever machines they are. It lies under keys that count up, of which only one
//! run can create the next, and expires by the store's clock unless it is renewed. It protects no chunks: that is what a dump's `lease` does.
//! Who the holder is belongs to `holder`.

mod holder;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::holder::Holder;
use super::marker::random_id;
use super::repository::Repository;
use super::sealed;
use crate::error::{Error, Result};
use crate::store::{Key, Put};

/// What the lock says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LockTerms {
    /// 128 random bits as hexadecimal digits; the same in all locks of one run.
    id: String,
    job: String,
    /// How long the lock counts after it was written, by the store's clock, in milliseconds.
    lasts_ms: i64,
    /// When the run began, by its own clock.
    since: Timestamp,
    holder: Holder,
}

/// A lock as a listing finds it.
#[derive(Debug)]
struct SeenLock {
    key: Key,
    generation: u64,
    /// `None` if it cannot be read: it counts until it expires.
    terms: Option<LockTerms>,
    written_ms: i64,
}

/// Where locks lie.
const FOLDER: &str = "locks";
/// How long an unreadable lock counts.
const UNREADABLE_LASTS_MS: i64 = 60 * 60 * 1000;

/// The lock, held. [`JobLock::release`] ends it; dropped without that it is released behind the caller's back where there is
/// still a runtime, and expires otherwise.
#[derive(Debug)]
pub struct JobLock {
    repository: Repository,
    job: String,
    terms: LockTerms,
    generation: u64,
    released: bool,
}

impl JobLock {
    /// How long a lock counts after it was last renewed.
    pub const LASTS: Duration = Duration::from_secs(10 * 60);

    /// Takes the lock of `job`, a segment of a key, for `lasts`.
    ///
    /// # Errors
    /// [`Error::Busy`] names who holds it and since when. A holder that is proved dead, because it ran on this machine and is no more,
    /// or whose lock has expired by the store's clock, is no obstacle.
    pub async fn take(repository: &Repository, job: &str, lasts: Duration) -> Result<JobLock> {
        let seen = locks(repository, job).await?;
        if let Some(live) = first_live(repository, &seen, None).await? {
            return Err(busy(repository, job, live));
        }
        let last = seen.iter().map(|lock| lock.generation).max();
        let mut lock = JobLock {
            repository: repository.clone(),
            job: job.to_owned(),
            terms: LockTerms {
                id: random_id(),
                job: job.to_owned(),
                lasts_ms: i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 2),
                since: Timestamp::now(),
                holder: Holder::of_this_process().await,
            },
            generation: last.map_or(1, |last| last.saturating_add(1)),
            released: false,
        };
        if !lock.put().await? {
            lock.released = true;
            let now = locks(repository, job).await?;
            let quicker = now.iter().max_by_key(|lock| lock.generation);
            return Err(quicker.map_or_else(
                || busy_unknown(repository, job),
                |quicker| busy(repository, job, quicker),
            ));
        }
        // Who looked before an older holder's lock came and went may have chosen a number that was free again.
        if let Err(error) = lock.prove_alone().await {
            lock.release().await?;
            return Err(error);
        }
        for old in seen {
            repository.store().delete(&old.key).await?;
        }
        Ok(lock)
    }

    /// Renews the lock for ever; ends only when it was lost, with what to say then.
    pub async fn keep(&mut self) -> Error {
        let lasts = u64::try_from(self.terms.lasts_ms).unwrap_or(0);
        let every = Duration::from_millis(lasts / 4);
        loop {
            tokio::time::sleep(every).await;
            let mut tried = self.renew().await;
            // A store that does not answer for a moment is no reason to give up: half of the time is left then.
            if let Err(Error::Store { .. }) = tried {
                tokio::time::sleep(every).await;
                tried = self.renew().await;
            }
            if let Err(error) = tried {
                return error;
            }
        }
    }

    async fn renew(&mut self) -> Result<()> {
        let old = self.key();
        let store = self.repository.store().clone();
        if store.head(&old).await?.is_none() {
            return Err(self.lost());
        }
        // Counted up first: if this is broken off, the release removes both.
        self.generation = self.generation.saturating_add(1);
        if !self.put().await? {
            return Err(self.lost());
        }
        self.prove_alone().await?;
        store.delete(&old).await
    }

    /// Ends the lock.
    pub async fn release(mut self) -> Result<()> {
        self.released = true;
        remove(&self.repository, &self.job, &self.terms.id).await
    }

    fn key(&self) -> Key {
        Key::new(format!(
            "{FOLDER}/run-{}.{:06}.json",
            self.job, self.generation
        ))
    }

    /// True if the lock stands under its key now; false if another's does.
    async fn put(&self) -> Result<bool> {
        let (key, store) = (self.key(), self.repository.store());
        if store.put_new(&key, sealed::seal(&self.terms).0).await? == Put::Exists {
            // An answer that was lost may have made it our own.
            let there = store.get(&key).await?;
            let terms = there.and_then(|bytes| read(&bytes, &key));
            if terms.is_none_or(|terms| terms.id != self.terms.id) {
                return Ok(false);
            }
        }
        store.flush().await?;
        Ok(true)
    }

    async fn prove_alone(&self) -> Result<()> {
        let seen = locks(&self.repository, &self.job).await?;
        let own = self.terms.id.as_str();
        match first_live(&self.repository, &seen, Some(own)).await? {
            Some(other) => Err(busy(&self.repository, &self.job, other)),
            None => Ok(()),
        }
    }

    fn lost(&self) -> Error {
        Error::failed(
            format_args!("job {:?}", self.job),
            "its lock was lost: it was not renewed in time, and another run may have begun",
            "run it again; `pgark list` shows what was saved already",
        )
    }
}

impl Drop for JobLock {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        let (repository, job) = (self.repository.clone(), self.job.clone());
        let id = self.terms.id.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&repository, &job, &id).await });
        }
    }
}

/// Removes the locks of `job` that say `id`.
async fn remove(repository: &Repository, job: &str, id: &str) -> Result<()> {
    for lock in locks(repository, job).await? {
        let is_own = lock.terms.is_some_and(|terms| terms.id == id);
        if is_own {
            repository.store().delete(&lock.key).await?;
        }
    }
    Ok(())
}

/// The locks of `job` that lie there, those that no longer count too.
async fn locks(repository: &Repository, job: &str) -> Result<Vec<SeenLock>> {
    let mut seen = Vec::new();
    for stored in repository.store().list(FOLDER).await? {
        let Some(generation) = generation_of(&stored.key, job) else {
            continue;
        };
        // Its holder may release it at any time.
        let Some(bytes) = repository.store().get(&stored.key).await? else {
            continue;
        };
        seen.push(SeenLock {
            terms: read(&bytes, &stored.key),
            key: stored.key,
            generation,
            written_ms: stored.written_ms,
        });
    }
    Ok(seen)
}

fn read(bytes: &[u8], key: &Key) -> Option<LockTerms> {
    let read = sealed::read::<LockTerms>(bytes, "lock", key.as_str());
    read.ok().map(|(terms, _)| terms)
}

/// The number in `locks/run-JOB.NUMBER.json`.
fn generation_of(key: &Key, job: &str) -> Option<u64> {
    let rest = key.as_str().strip_prefix("locks/run-")?;
    let number = rest.strip_prefix(job)?.strip_prefix('.')?;
    let number = number.strip_suffix(".json")?;
    let is_number = number.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| number.parse().ok())?
}

/// The first lock that counts and is not `own`.
async fn first_live<'a>(
    repository: &Repository,
    seen: &'a [SeenLock],
    own: Option<&str>,
) -> Result<Option<&'a SeenLock>> {
    let mut now = None;
    for lock in seen {
        if let Some(terms) = &lock.terms
            && (own == Some(terms.id.as_str()) || terms.holder.is_dead().await)
        {
            continue;
        }
        let now = match now {
            Some(now) => now,
            None => *now.insert(store_clock(repository).await?),
        };
        let lasts = lock.terms.as_ref();
        let lasts = lasts.map_or(UNREADABLE_LASTS_MS, |terms| terms.lasts_ms);
        if lock.written_ms.saturating_add(lasts) > now {
            return Ok(Some(lock));
        }
    }
    Ok(None)
}

/// What the store's clock says: when it wrote a small document.
async fn store_clock(repository: &Repository) -> Result<i64> {
    let store = repository.store();
    let key = Key::new(format!("{FOLDER}/clock-{}.json", random_id()));
    store
        .put_new(&key, sealed::seal(&"what time is it").0)
        .await?;
    let written = store.head(&key).await?;
    store.delete(&key).await?;
    written.map(|stored| stored.written_ms).ok_or_else(|| {
        Error::failed(
            repository.location(),
            "a document vanished as soon as it was written",
            "look for another program that removes files there",
        )
    })
}

fn busy(repository: &Repository, job: &str, lock: &SeenLock) -> Error {
    let Some(terms) = &lock.terms else {
        return busy_unknown(repository, job);
    };
    Error::Busy {
        what: format!(
            "job {job:?} is being run by {} since {}",
            terms.holder,
            terms.since.strftime("%Y-%m-%d %H:%M:%S UTC")
        ),
        remedy: format!(
            "wait for it; if it is dead, its lock {} in {} expires {} minutes after its last sign of life",
            lock.key,
            repository.location(),
            (terms.lasts_ms + 59_999) / 60_000
        ),
    }
}

fn busy_unknown(repository: &Repository, job: &str) -> Error {
    Error::Busy {
        what: format!("job {job:?} is being run by somebody else"),
        remedy: format!(
            "wait for it; its lock lies in {}/{FOLDER}",
            repository.location()
        ),
    }
}

#[cfg(test)]
mod tests;
