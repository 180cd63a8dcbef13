//! Leases: who is working in the repository, and which archives' chunks must stay because of it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::marker::random_id;
use super::name::ArchiveName;
use super::repository::Repository;
use super::sealed;
use crate::error::{Error, Result};
use crate::store::{Key, Put};

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// 128 random bits as hexadecimal digits.
    pub id: String,
    /// What for: `dump of shop`.
    pub purpose: String,
    /// The archives whose chunks the holder may name in a manifest of its own.
    pub archives: Vec<ArchiveName>,
    /// How long the lease holds after it was written, by the store's clock, in milliseconds.
    pub lasts_ms: i64,
}

/// A lease somebody took, as a listing finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenLease {
    /// Where it lies.
    pub key: Key,
    /// What it says; `None` if it cannot be read: then it protects everything.
    pub terms: Option<LeaseTerms>,
    /// When it expires, by the store's clock, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// How long an unreadable lease counts.
const UNREADABLE_LASTS_MS: i64 = 24 * 60 * 60 * 1000;

/// A lease that is held. Dropping it leaves it to expire; [`Lease::release`] ends it.
#[derive(Debug)]
pub struct Lease {
    repository: Repository,
    key: Key,
    terms: LeaseTerms,
    expires_ms: i64,
}

impl Lease {
    /// Takes a lease on the chunks of `archives`.
    pub async fn take(
        repository: &Repository,
        purpose: &str,
        archives: Vec<ArchiveName>,
        lasts: Duration,
    ) -> Result<Lease> {
        let terms = LeaseTerms {
            id: random_id(),
            purpose: purpose.to_owned(),
            archives,
            lasts_ms: i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 2),
        };
        let (key, expires_ms) = write(repository, &terms).await?;
        Ok(Lease {
            repository: repository.clone(),
            key,
            terms,
            expires_ms,
        })
    }

    /// What the lease says.
    pub fn terms(&self) -> &LeaseTerms {
        &self.terms
    }

    /// When it expires, by the store's clock, in milliseconds since 1970.
    pub fn expires_ms(&self) -> i64 {
        self.expires_ms
    }

    /// Takes a new lease with the same terms and releases the old one; there is no moment without one.
    pub async fn renew(&mut self) -> Result<()> {
        self.prove().await?;
        let terms = LeaseTerms {
            id: random_id(),
            ..self.terms.clone()
        };
        let (key, expires_ms) = write(&self.repository, &terms).await?;
        let old = std::mem::replace(&mut self.key, key);
        self.terms = terms;
        self.expires_ms = expires_ms;
        self.repository.store().delete(&old).await
    }

    /// Proves that the lease is still there: whoever sweeps removes expired ones first.
    pub async fn prove(&self) -> Result<()> {
        if self.repository.store().head(&self.key).await?.is_some() {
            return Ok(());
        }
        Err(Error::failed(
            format_args!("repository {}", self.repository.location()),
            format_args!(
                "the lease for the {} expired and was swept away",
                self.terms.purpose
            ),
            "run it again: what is stored already will be found again",
        ))
    }

    /// Ends the lease.
    pub async fn release(self) -> Result<()> {
        self.repository.store().delete(&self.key).await
    }
}

async fn write(repository: &Repository, terms: &LeaseTerms) -> Result<(Key, i64)> {
    let key = Key::new(format!("leases/{}.json", terms.id));
    let store = repository.store();
    let put = store.put_new(&key, sealed::seal(terms).0).await?;
    assert_eq!(put, Put::Stored, "the id is random");
    store.flush().await?;
    let written = store.head(&key).await?.ok_or_else(|| {
        Error::failed(
            repository.location(),
            "a lease vanished as soon as it was written",
            "look for another program that removes files there",
        )
    })?;
    Ok((key, written.written_ms.saturating_add(terms.lasts_ms)))
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
            let lasts_ms = terms
                .as_ref()
                .map_or(UNREADABLE_LASTS_MS, |terms| terms.lasts_ms);
            seen.push(SeenLease {
                key: stored.key,
                terms,
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
