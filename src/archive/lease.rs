//! Leases: who is working in the repository, and which archives' chunks must stay because of it.
//!
//! A lease holds for a short time by the store's clock and is renewed while its holder lives, so that a killed holder blocks
//! nobody for long, and no clock but the store's matters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::marker::random_id;
use super::name::ArchiveName;
use super::repository::Repository;
use super::sealed;
use crate::error::{Error, Result};
use crate::store::Key;

/// What the holder of a lease does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseKind {
    /// It writes archives.
    #[default]
    Dump,
    /// It removes archives and sweeps chunks.
    Prune,
}

impl LeaseKind {
    /// How long a lease holds unless it is renewed: as long as a dump may stall without failing, and as long as a killed prune keeps
    /// the next one away.
    fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            LeaseKind::Dump => 60 * 60,
            LeaseKind::Prune => 15 * 60,
        })
    }
}

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// 128 random bits as hexadecimal digits.
    pub id: String,
    /// What the holder does.
    #[serde(default)]
    pub kind: LeaseKind,
    /// What for: `dump of shop`.
    pub purpose: String,
    /// The archives whose chunks the holder may name in a manifest of its own.
    pub archives: Vec<ArchiveName>,
    /// How long the lease holds after it was written, by the store's clock, in milliseconds.
    pub lasts_ms: i64,
    /// When the first lease of its holder was written, by the store's clock, in milliseconds since 1970; `None` in that one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
}

/// A lease somebody took, as a listing finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLease {
    /// Where it lies.
    pub key: Key,
    /// What it says; `None` if it cannot be read: then it protects everything.
    pub terms: Option<LeaseTerms>,
    /// When its holder began, by the store's clock, in milliseconds since 1970; the beginning of time if it cannot be read.
    pub since_ms: i64,
    /// When it expires, by the store's clock, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// How long an unreadable lease counts.
const UNREADABLE_LASTS_MS: i64 = 24 * 60 * 60 * 1000;

/// A lease that is held, and renewed from time to time. [`Lease::release`] ends it. Dropping it ends it too, in the background and
/// as far as the process lives on; else it expires.
#[derive(Debug)]
pub struct Lease {
    repository: Repository,
    held: Arc<Mutex<Held>>,
    since_ms: i64,
    renewing: AbortHandle,
    released: bool,
}

/// The newest lease of a holder, and the one before it.
#[derive(Debug)]
struct Held {
    key: Key,
    /// Left standing until the next renewal: a listing that is under way while a lease is renewed finds one of the two.
    before: Option<Key>,
    terms: LeaseTerms,
    written_ms: i64,
    /// When that was by this machine's clock, which only measures what has passed since.
    written_at: Instant,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        if self.released {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (repository, held) = (self.repository.clone(), Arc::clone(&self.held));
            runtime.spawn(async move {
                // What stays expires.
                let _ = remove(&repository, &*held.lock().await).await;
            });
        }
    }
}

async fn remove(repository: &Repository, held: &Held) -> Result<()> {
    let store = repository.store();
    for key in held.before.iter().chain([&held.key]) {
        store.delete(key).await?;
    }
    store.flush().await
}

impl Lease {
    /// Takes a lease on the chunks of `archives`, which is renewed until it is released or dropped.
    pub async fn take(
        repository: &Repository,
        kind: LeaseKind,
        purpose: &str,
        archives: Vec<ArchiveName>,
    ) -> Result<Lease> {
        Lease::lasting(repository, kind, purpose, archives, kind.lasts()).await
    }

    /// A lease that holds for another time than such leases do.
    pub(crate) async fn lasting(
        repository: &Repository,
        kind: LeaseKind,
        purpose: &str,
        archives: Vec<ArchiveName>,
        lasts: Duration,
    ) -> Result<Lease> {
        // Whoever is going to change something fails here rather than half-way.
        repository.require_key()?;
        let terms = LeaseTerms {
            id: random_id(),
            kind,
            purpose: purpose.to_owned(),
            archives,
            lasts_ms: i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 2),
            since_ms: None,
        };
        let held = write(repository, terms).await?;
        let since_ms = held.written_ms;
        let held = Arc::new(Mutex::new(held));
        let renewing = tokio::spawn(keep_renewing(
            repository.clone(),
            Arc::clone(&held),
            lasts / 3,
        ));
        Ok(Lease {
            repository: repository.clone(),
            held,
            since_ms,
            renewing: renewing.abort_handle(),
            released: false,
        })
    }

    /// What the lease says.
    pub async fn terms(&self) -> LeaseTerms {
        self.held.lock().await.terms.clone()
    }

    /// When its holder began, by the store's clock, in milliseconds since 1970.
    pub fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// When it expires unless it is renewed, by the store's clock, in milliseconds since 1970.
    pub async fn expires_ms(&self) -> i64 {
        let held = self.held.lock().await;
        held.written_ms.saturating_add(held.terms.lasts_ms)
    }

    /// The store's clock now, in milliseconds since 1970.
    pub async fn store_now_ms(&self) -> i64 {
        let held = self.held.lock().await;
        let passed = i64::try_from(held.written_at.elapsed().as_millis()).unwrap_or(i64::MAX);
        held.written_ms.saturating_add(passed)
    }

    /// True if `seen` is this lease or one that it renewed.
    pub async fn is(&self, seen: &SeenLease) -> bool {
        let held = self.held.lock().await;
        held.key == seen.key || held.before.as_ref() == Some(&seen.key)
    }

    /// Renews the lease now.
    pub async fn renew(&self) -> Result<()> {
        renew(&self.repository, &mut *self.held.lock().await).await
    }

    /// Proves that the lease is still there: whoever sweeps removes expired ones first.
    pub async fn prove(&self) -> Result<()> {
        let held = self.held.lock().await;
        prove(&self.repository, &held).await
    }

    /// As if the process had been killed.
    #[cfg(test)]
    pub(crate) fn kill(mut self) {
        self.released = true;
    }

    /// Ends the lease.
    pub async fn release(mut self) -> Result<()> {
        self.released = true;
        // A renewal under way ends first, so that nothing of it is left.
        let held = self.held.lock().await;
        self.renewing.abort();
        remove(&self.repository, &held).await
    }
}

async fn keep_renewing(repository: Repository, held: Arc<Mutex<Held>>, every: Duration) {
    let mut wait = every;
    loop {
        tokio::time::sleep(wait).await;
        // What cannot be renewed now is tried again; that the lease is gone is noticed where it matters, by `prove`.
        let renewed = renew(&repository, &mut *held.lock().await).await;
        wait = if renewed.is_ok() { every } else { every / 10 };
    }
}

async fn prove(repository: &Repository, held: &Held) -> Result<()> {
    if repository.store().head(&held.key).await?.is_some() {
        return Ok(());
    }
    Err(Error::failed(
        format_args!("repository {}", repository.location()),
        format_args!(
            "the lease for the {} expired and was swept away",
            held.terms.purpose
        ),
        "run it again: what is stored already will be found again",
    ))
}

async fn renew(repository: &Repository, held: &mut Held) -> Result<()> {
    // One that was swept away protects nothing any more; a new one would only hide that.
    prove(repository, held).await?;
    let terms = LeaseTerms {
        id: random_id(),
        since_ms: held.terms.since_ms.or(Some(held.written_ms)),
        ..held.terms.clone()
    };
    let new = write(repository, terms).await?;
    let old = std::mem::replace(held, new);
    held.before = Some(old.key);
    match old.before {
        Some(key) => repository.store().delete(&key).await,
        None => Ok(()),
    }
}

async fn write(repository: &Repository, terms: LeaseTerms) -> Result<Held> {
    let key = Key::new(format!("leases/{}.json", terms.id));
    let store = repository.store();
    // The id is random, so what stands there already is this, put by a try whose answer was lost.
    store.put_new(&key, sealed::seal(&terms).0).await?;
    store.flush().await?;
    let written_at = Instant::now();
    let written = store.head(&key).await?.ok_or_else(|| {
        Error::failed(
            repository.location(),
            "a lease vanished as soon as it was written",
            "look for another program that removes files there",
        )
    })?;
    Ok(Held {
        key,
        before: None,
        terms,
        written_ms: written.written_ms,
        written_at,
    })
}

impl Repository {
    /// All leases, expired ones too.
    pub async fn leases(&self) -> Result<Vec<SeenLease>> {
        let mut seen = Vec::new();
        for stored in self.store().list("leases").await? {
            // Its holder may release it at any time.
            let Some(bytes) = self.store().get(&stored.key).await? else {
                continue;
            };
            let read = sealed::read::<LeaseTerms>(&bytes, "lease", stored.key.as_str());
            let terms = read.ok().map(|(terms, _)| terms);
            let (lasts_ms, since_ms) = match &terms {
                Some(terms) => (terms.lasts_ms, terms.since_ms.unwrap_or(stored.written_ms)),
                None => (UNREADABLE_LASTS_MS, i64::MIN),
            };
            seen.push(SeenLease {
                key: stored.key,
                terms,
                since_ms,
                expires_ms: stored.written_ms.saturating_add(lasts_ms),
            });
        }
        Ok(seen)
    }
}

impl SeenLease {
    /// True if the lease no longer counts at `now`, a time of the store's clock.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_ms <= now.as_millisecond()
    }
}
