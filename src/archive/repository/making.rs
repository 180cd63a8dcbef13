//! Makes repositories, encrypted ones and copies with the key of their source too. Opening them belongs to `keys`.

use std::sync::Arc;

use super::keys::{beside, put_slot};
use super::{Inner, Repository};
use crate::archive::chunker::ChunkSettings;
use crate::archive::crypt::{CIPHER, KeySlot, RepositoryKey, Unlock};
use crate::archive::marker::{Encryption, Marker};
use crate::archive::sealed;
use crate::config::Place;
use crate::error::{Error, Result};
use crate::store::{Put, Store};

impl Repository {
    /// # Errors
    /// [`Error::Key`] if `place`, where a copy is to be, has a passphrase in the configuration and this repository is not encrypted.
    pub fn require_encrypted_as(&self, place: &Place) -> Result<()> {
        if place.passphrase.is_some() && !self.is_encrypted() {
            return Err(self.not_encrypted());
        }
        Ok(())
    }

    /// Opens or makes the repository in `store` as a copy of this one: with the same id, and with its key where it is encrypted, so that
    /// chunks and manifests are copied as they are.
    ///
    /// # Errors
    /// [`Error::Key`] if one of the two is encrypted and the other is not, or with another key.
    pub async fn copied_to(&self, store: Arc<dyn Store>) -> Result<Repository> {
        let encryption = &self.marker().encryption;
        if encryption.is_none() {
            let to = Repository::at(store, self.marker().chunks).await?;
            self.require_same_key(&to)?;
            return Ok(to);
        }
        self.require_key()?;
        if let Some(problem) = self.marker_problem() {
            return Err(Error::corrupt(
                format_args!("repository {}", self.location()),
                Marker::key(),
                format_args!("is needed for a copy of an encrypted repository: {problem}"),
            ));
        }
        if store.head(&Marker::key()).await?.is_none() {
            must_be_empty(&store).await?;
            for slot in self.key_slots().await? {
                if let Ok(slot) = slot.slot.as_ref()
                    && self.counts(slot)
                {
                    put_slot(&store, slot).await?;
                }
            }
            let marker = sealed::seal(self.marker()).0;
            store.put_new(&Marker::key(), marker).await?;
            store.flush().await?;
        }
        let to = Repository::open(store).await?;
        self.require_same_key(&to)?;
        to.with_key_of(self)
    }

    /// The repository in `store`, locked if it is encrypted; a new one is not encrypted.
    async fn at(store: Arc<dyn Store>, settings: ChunkSettings) -> Result<Repository> {
        if store.head(&Marker::key()).await?.is_none() {
            return Repository::open_or_create(store, settings).await;
        }
        Repository::open(store).await
    }

    /// # Errors
    /// [`Error::Key`] unless both are encrypted with the same key, or neither is.
    pub(crate) fn require_same_key(&self, other: &Repository) -> Result<()> {
        let problem = match (&self.marker().encryption, &other.marker().encryption) {
            (None, None) => return Ok(()),
            (Some(own), Some(others)) if own == others => return Ok(()),
            (Some(_), Some(_)) => "is encrypted with another key than",
            (Some(_), None) => "is encrypted, unlike",
            (None, Some(_)) => "is not encrypted, unlike",
        };
        Err(Error::Key {
            what: format!(
                "repository {} {problem} {}: archives are copied as they are, between repositories of one key",
                self.location(),
                other.location()
            ),
            remedy: "copy to a new place: it gets marker and key slots of the source".to_owned(),
        })
    }

    fn with_key_of(self, other: &Repository) -> Result<Repository> {
        let inner = &*self.inner;
        if inner.marker.repository != other.marker().repository {
            return Err(Error::corrupt(
                format_args!("repository {}", self.location()),
                Marker::key(),
                "has the key of another repository, and an id of its own",
            ));
        }
        Ok(Repository {
            inner: Arc::new(Inner {
                store: Arc::clone(&inner.store),
                marker: inner.marker.clone(),
                marker_problem: None,
                sealing: other.inner.sealing.clone(),
                cpu: inner.cpu.clone(),
                memory: inner.memory.clone(),
            }),
        })
    }
}

/// Makes the repository that `marker` says, encrypted if there is a passphrase. If somebody else was quicker, his marker counts.
pub(super) async fn create(
    store: &Arc<dyn Store>,
    mut marker: Marker,
    unlock: &Unlock,
) -> Result<()> {
    must_be_empty(store).await?;
    let mut slot_key = None;
    if let Some(passphrase) = unlock.passphrase.clone() {
        let (repository, cost) = (marker.repository.clone(), unlock.cost);
        let make = move || {
            let key = RepositoryKey::random()?;
            let slot = KeySlot::seal(&key, &repository, &passphrase, ("first", cost))?;
            Ok::<_, Error>((key.check(), slot))
        };
        let (check, slot) = beside(make).await?;
        marker.encryption = Some(Encryption {
            cipher: CIPHER.to_owned(),
            check,
        });
        // Before the marker: whoever finds that finds a slot that opens.
        put_slot(store, &slot).await?;
        slot_key = Some(slot.key());
    }
    let put = store
        .put_new(&Marker::key(), sealed::seal(&marker).0)
        .await?;
    store.flush().await?;
    if let (Put::Exists, Some(slot)) = (put, slot_key)
        && !is_own(store, &marker).await?
    {
        // It is of a repository that never came to be.
        store.delete(&slot).await?;
    }
    Ok(())
}

/// True if the marker that stands is this one, put by a try whose answer was lost.
async fn is_own(store: &Arc<dyn Store>, marker: &Marker) -> Result<bool> {
    let there = store.get(&Marker::key()).await?;
    Ok(there.is_some_and(|there| there == sealed::seal(marker).0))
}

async fn must_be_empty(store: &Arc<dyn Store>) -> Result<()> {
    if store.list("archives").await?.is_empty() && store.list("chunks").await?.is_empty() {
        return Ok(());
    }
    Err(Error::corrupt(
        format_args!("repository {}", store.location()),
        Marker::key(),
        "is missing although there are archives or chunks; bring it back, or dump into another place",
    ))
}
