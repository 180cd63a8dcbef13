//! Makes archives, removes them, and keeps the records of both.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{Archive, Repository, manifest_key};
use crate::archive::chunks::trash_key;
use crate::archive::digest::Digest;
use crate::archive::manifest::Manifest;
use crate::archive::name::ArchiveName;
use crate::archive::records::{Announced, Drilled, Ran, RecordKey, Removed, Verified};
use crate::archive::sealed;
use crate::error::{Error, Result};
use crate::store::{Key, OBJECT_BYTES_MAX, Put};

impl Repository {
    /// A name that no archive has and none had: `wanted`, or `wanted` with a number.
    pub async fn free_name(&self, wanted: &ArchiveName) -> Result<ArchiveName> {
        let mut name = wanted.clone();
        let mut n = 1;
        while self.is_taken(&name).await? {
            n += 1;
            name = wanted.with_suffix(n);
        }
        Ok(name)
    }

    async fn is_taken(&self, name: &ArchiveName) -> Result<bool> {
        let announced = RecordKey::Announced(name.clone()).key();
        let store = self.store();
        Ok(store.head(&manifest_key(name)).await?.is_some()
            || store.head(&announced).await?.is_some())
    }

    /// Makes the archive: from here on it is there. Every chunk that `manifest` names must have been put.
    ///
    /// The order is: everything put so far durable; the announcement; the manifest; both durable. If this fails, there is no archive,
    /// or a whole one (when only the store's answer was lost).
    pub async fn commit(&self, manifest: &Manifest) -> Result<Archive> {
        let (bytes, seal) = self.sealed_manifest(manifest)?;
        if bytes.len() as u64 > OBJECT_BYTES_MAX {
            return Err(Error::failed(
                format_args!("archive {}", manifest.name),
                format_args!(
                    "its manifest would have {} bytes, and no reader takes more than {OBJECT_BYTES_MAX}",
                    bytes.len()
                ),
                "leave out by a pattern what cannot be saved, so that it is not listed object by object",
            ));
        }
        let store = self.store();
        store.flush().await?;
        let announced = Announced {
            name: manifest.name.clone(),
            manifest: seal,
            created: manifest.created,
            group: manifest.group.clone(),
        };
        let announcement = RecordKey::Announced(manifest.name.clone()).key();
        self.put_own(&announcement, &announced, &manifest.name)
            .await?;
        store.flush().await?;
        let key = manifest_key(&manifest.name);
        if let Err(error) = self.put_same(&key, bytes, &manifest.name).await {
            self.withdraw(manifest, seal, &error).await;
            return Err(error);
        }
        if let Err(error) = store.flush().await {
            // It may be gone after a crash of the machine, so it is not called an archive. A store that is gone keeps it, whole.
            let why = format!("it could not be made durable: {error}");
            let _ = self.remove(&manifest.name, &why).await;
            return Err(error);
        }
        Ok(Archive {
            repository: self.clone(),
            manifest: Arc::new(manifest.clone()),
            seal,
        })
    }

    /// Takes in an archive of another repository, with exactly these bytes of its manifest, so that its seal stays what it is.
    /// Every chunk that it names must have been put. The order is that of [`Repository::commit`].
    ///
    /// After a failure in between the announcement may stand without a manifest; taking it in again mends that. No removal is put
    /// on record, because a name whose removal is on record never comes back.
    pub async fn adopt(&self, name: &ArchiveName, manifest: Bytes) -> Result<Archive> {
        let key = manifest_key(name);
        let (read, seal) = self.manifest_in(&manifest, name, key.as_str())?;
        let store = self.store();
        store.flush().await?;
        let announced = Announced {
            name: name.clone(),
            manifest: seal,
            created: read.created,
            group: read.group.clone(),
        };
        let record = RecordKey::Announced(name.clone());
        if let Err(error) = self.put_own(&record.key(), &announced, name).await {
            // An older version may have written the same in other words.
            let there = self.record::<Announced>(&record).await?;
            if there.is_none_or(|there| there.manifest != seal) {
                return Err(self.taken_meanwhile(name, error));
            }
        }
        store.flush().await?;
        let put = self.put_same(&key, manifest, name).await;
        put.map_err(|error| self.taken_meanwhile(name, error))?;
        store.flush().await?;
        Ok(Archive {
            repository: self.clone(),
            manifest: Arc::new(read),
            seal,
        })
    }

    /// A copy keeps its name: where that is taken, the error says nothing of choosing another.
    fn taken_meanwhile(&self, name: &ArchiveName, error: Error) -> Error {
        if !matches!(error, Error::Usage(_)) {
            return error;
        }
        Error::failed(
            format_args!("archive {name}"),
            format_args!("{} has another one under this name", self.location()),
            "copy to another place",
        )
    }

    /// Removes an archive: a record says so first, then the manifest goes to the trash. Chunks stay until a prune sweeps them.
    /// Also takes note of an archive that was announced and is gone.
    pub async fn remove(&self, name: &ArchiveName, why: &str) -> Result<()> {
        let store = self.store();
        let key = manifest_key(name);
        let bytes = store.get(&key).await?;
        let announced = store
            .head(&RecordKey::Announced(name.clone()).key())
            .await?;
        if bytes.is_none() && announced.is_none() {
            return Err(Error::NotFound {
                what: format!("no archive {name} in {}", self.location()),
                remedy: "`pgark list` shows the archives".to_owned(),
            });
        }
        let sealed = bytes.as_deref().and_then(|bytes| sealed::open(bytes).ok());
        let removed = Removed {
            name: name.clone(),
            manifest: sealed.map(|sealed| sealed.seal),
            why: why.to_owned(),
            at: Timestamp::now(),
        };
        // An earlier removal that broke off has written the same already.
        let record = RecordKey::Removed(name.clone()).key();
        store.put_new(&record, sealed::seal(&removed).0).await?;
        if let Some(bytes) = bytes {
            store.put_new(&trash_key(&key), bytes).await?;
            store.flush().await?;
            store.delete(&key).await?;
        }
        store.flush().await
    }

    /// Writes down that an archive was verified and found whole.
    pub async fn stamp(&self, verified: &Verified) -> Result<()> {
        let key = RecordKey::Verified(verified.name.clone(), verified.at).key();
        self.store().put_new(&key, sealed::seal(verified).0).await?;
        self.store().flush().await
    }

    /// Writes down how a drill with an archive went.
    pub async fn note_drill(&self, drilled: &Drilled) -> Result<()> {
        let key = RecordKey::Drilled(drilled.name.clone(), drilled.at);
        let bytes = self.sealed_record(&key, drilled)?;
        self.store().put_new(&key.key(), bytes).await?;
        self.store().flush().await
    }

    /// Writes down how a run of a job went.
    pub async fn note_run(&self, ran: &Ran) -> Result<()> {
        let key = RecordKey::Ran(ran.job.clone(), ran.at);
        let bytes = self.sealed_record(&key, ran)?;
        self.store().put_new(&key.key(), bytes).await?;
        self.store().flush().await
    }

    /// Puts a record that must be this archive's own.
    async fn put_own(&self, key: &Key, record: &impl Serialize, name: &ArchiveName) -> Result<()> {
        let (bytes, _) = sealed::seal(record);
        self.put_same(key, bytes, name).await
    }

    /// Puts `bytes`; done as well if exactly they are there, so that a lost answer does no harm.
    async fn put_same(&self, key: &Key, bytes: Bytes, name: &ArchiveName) -> Result<()> {
        let store = self.store();
        let put = store.put_new(key, bytes.clone()).await;
        if matches!(put, Ok(Put::Stored)) {
            return Ok(());
        }
        match (put, store.get(key).await) {
            (_, Ok(Some(there))) if there == bytes => Ok(()),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(_)) => Err(Error::Usage(format!(
                "the name {name} is taken in {}: choose another with --name",
                self.location()
            ))),
        }
    }

    /// After a failed commit: says that the announced archive never came to be. If that fails too, `verify` will ask about it.
    async fn withdraw(&self, manifest: &Manifest, seal: Digest, error: &Error) {
        let store = self.store();
        let key = manifest_key(&manifest.name);
        // A store that cannot say whether the manifest is there may still have it.
        if !matches!(store.head(&key).await, Ok(None)) {
            return;
        }
        let removed = Removed {
            name: manifest.name.clone(),
            manifest: Some(seal),
            why: format!("never written: {error}"),
            at: Timestamp::now(),
        };
        let record = RecordKey::Removed(manifest.name.clone()).key();
        let _ = store.put_new(&record, sealed::seal(&removed).0).await;
    }
}
