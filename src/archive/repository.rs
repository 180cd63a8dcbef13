//! A repository: finds archives, reads them, and commits new ones. Sweeping and verifying belong to `manage`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::chunker::ChunkSettings;
use super::chunks::{ChunkStore, trash_key};
use super::cpu::CpuPool;
use super::digest::Digest;
use super::index::TableIndex;
use super::jsonl::JsonlReader;
use super::manifest::{Group, Manifest, Scope};
use super::marker::Marker;
use super::name::ArchiveName;
use super::records::{Announced, RecordKey, Removed, Verified};
use super::sealed;
use crate::error::{Error, Result};
use crate::store::{Key, Put, Store};
use crate::toc::Entry;

/// Small documents that are read at once while listing.
const READS_AT_ONCE: usize = 16;

/// A store laid out to hold archives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    marker: Marker,
    marker_problem: Option<Error>,
    cpu: CpuPool,
}

/// What a listing knows of one archive.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: ArchiveName,
    /// Its manifest; the text says what is wrong with it where it cannot be read.
    pub manifest: Result<Arc<Manifest>, Arc<Error>>,
    /// The seal of the manifest, where that could be read.
    pub seal: Option<Digest>,
    /// When the archive was made; from its announcement where the manifest is damaged.
    pub created: Option<Timestamp>,
    /// The archives it belongs with; from its announcement where the manifest is damaged.
    pub group: Option<Group>,
    /// Its newest verification.
    pub verified: Option<Verified>,
}

/// Chooses groups; what is `None` fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// The source cluster.
    pub system_identifier: Option<String>,
    /// The source database.
    pub database: Option<String>,
    /// The job; `Some(None)` for dumps by hand.
    pub job: Option<Option<String>>,
    /// Whole databases or chosen objects.
    pub scope: Option<Scope>,
}

impl GroupFilter {
    /// True if `group` is chosen.
    pub fn fits(&self, group: &Group) -> bool {
        fn agrees<T: PartialEq>(wanted: Option<&T>, is: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == is)
        }
        agrees(self.system_identifier.as_ref(), &group.system_identifier)
            && agrees(self.database.as_ref(), &group.database)
            && agrees(self.job.as_ref(), &group.job)
            && agrees(self.scope.as_ref(), &group.scope)
    }
}

impl Repository {
    /// Opens the repository in `store`.
    pub async fn open(store: Arc<dyn Store>) -> Result<Repository> {
        match store.get(&Marker::key()).await? {
            Some(bytes) => {
                let marker = Marker::read(&bytes, &store.location())?;
                Ok(Repository::with_marker(store, marker, None))
            }
            None => Err(no_repository(&store.location())),
        }
    }

    /// Opens the repository for reading: a marker that is damaged or lost keeps nobody from his data, only from writing.
    pub async fn open_for_reading(store: Arc<dyn Store>) -> Result<Repository> {
        let problem = match Repository::open(Arc::clone(&store)).await {
            Err(error @ Error::Corrupt { .. }) => error,
            Err(error @ Error::NotFound { .. }) => {
                if store.list("archives").await?.is_empty() {
                    return Err(error);
                }
                Error::corrupt(
                    format_args!("repository {}", store.location()),
                    Marker::key(),
                    "is missing",
                )
            }
            other => return other,
        };
        let marker = Marker::new(ChunkSettings::default());
        Ok(Repository::with_marker(store, marker, Some(problem)))
    }

    /// Opens the repository in `store`, or makes one there if the store is empty.
    pub async fn open_or_create(
        store: Arc<dyn Store>,
        settings: ChunkSettings,
    ) -> Result<Repository> {
        assert!(settings.is_sound(), "{settings:?}");
        if store.head(&Marker::key()).await?.is_none() {
            if !store.list("archives").await?.is_empty() || !store.list("chunks").await?.is_empty()
            {
                return Err(Error::corrupt(
                    format_args!("repository {}", store.location()),
                    Marker::key(),
                    "is missing although there are archives or chunks; bring it back, or dump into another place",
                ));
            }
            let marker = Marker::new(settings);
            // If somebody else was quicker, his marker counts.
            store
                .put_new(&Marker::key(), sealed::seal(&marker).0)
                .await?;
            store.flush().await?;
        }
        Repository::open(store).await
    }

    fn with_marker(store: Arc<dyn Store>, marker: Marker, problem: Option<Error>) -> Repository {
        Repository {
            inner: Arc::new(Inner {
                store,
                marker,
                marker_problem: problem,
                cpu: CpuPool::of_this_machine(),
            }),
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The place as people know it.
    pub fn location(&self) -> String {
        self.inner.store.location()
    }

    /// The marker; one of defaults if [`Repository::marker_problem`] is there.
    pub fn marker(&self) -> &Marker {
        &self.inner.marker
    }

    /// What is wrong with the marker of a repository that was opened for reading.
    pub fn marker_problem(&self) -> Option<&Error> {
        self.inner.marker_problem.as_ref()
    }

    /// The pool for compression and hashing, one for all work in this repository.
    pub fn cpu(&self) -> &CpuPool {
        &self.inner.cpu
    }

    /// Chunks, compressed with zstd's `level` when they are put.
    pub fn chunks(&self, level: i32) -> ChunkStore {
        ChunkStore::new(Arc::clone(&self.inner.store), self.inner.cpu.clone(), level)
    }

    /// All archives, oldest first. Damaged manifests are listed as damaged; where they have no announcement they come last.
    pub async fn archives(&self) -> Result<Vec<Listed>> {
        let stamps = self.newest_stamps().await?;
        let keys = self.store().list("archives").await?;
        let names = keys.iter().filter_map(|stored| archive_of(&stored.key));
        let mut listed: Vec<Listed> = stream::iter(names)
            .map(|name| self.look_at(name, &stamps))
            .buffer_unordered(READS_AT_ONCE)
            .try_filter_map(|listed| async { Ok(listed) })
            .try_collect()
            .await?;
        listed.sort_by_key(|listed| {
            let unknown = listed.created.is_none();
            (unknown, listed.created, listed.name.clone())
        });
        Ok(listed)
    }

    /// The groups that have archives.
    pub async fn groups(&self) -> Result<BTreeSet<Group>> {
        let archives = self.archives().await?;
        Ok(archives.into_iter().filter_map(|one| one.group).collect())
    }

    /// The archive called `name`, or the only one whose name begins so.
    pub async fn find(&self, name: &str) -> Result<ArchiveName> {
        let keys = self.store().list("archives").await?;
        let names: Vec<ArchiveName> = keys
            .iter()
            .filter_map(|stored| archive_of(&stored.key))
            .filter(|found| found.as_str().starts_with(name))
            .collect();
        if let Some(exact) = names.iter().find(|found| found.as_str() == name) {
            return Ok(exact.clone());
        }
        match names.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Error::NotFound {
                what: format!("no archive {name:?} in {}", self.location()),
                remedy: "`pgark list` shows the archives".to_owned(),
            }),
            several => Err(Error::Usage(format!(
                "{name:?} is the beginning of {} archives: {}",
                several.len(),
                first_few(several)
            ))),
        }
    }

    /// The newest archive of the one group that `filter` chooses. Where it chooses several, they are named in the error.
    pub async fn latest(&self, filter: &GroupFilter) -> Result<Archive> {
        let mut newest: BTreeMap<Group, Listed> = BTreeMap::new();
        for listed in self.archives().await? {
            // Oldest first, so the newest of each group stays.
            if let Some(group) = listed.group.clone().filter(|group| filter.fits(group)) {
                newest.insert(group, listed);
            }
        }
        if newest.len() > 1 {
            let groups: Vec<&Group> = newest.keys().collect();
            return Err(Error::Usage(format!(
                "{} has archives of {} databases or jobs, and \"latest\" does not say of which: {}",
                self.location(),
                groups.len(),
                first_few(&groups)
            )));
        }
        let Some((_, listed)) = newest.pop_first() else {
            return Err(Error::NotFound {
                what: format!("no such archive in {}", self.location()),
                remedy: "`pgark list` shows the archives".to_owned(),
            });
        };
        // Never silently an older one: `read` gives the error that says what is wrong with the newest.
        self.read(&listed.name).await
    }

    /// Reads the archive's manifest.
    pub async fn read(&self, name: &ArchiveName) -> Result<Archive> {
        let key = manifest_key(name);
        let bytes = self
            .store()
            .get(&key)
            .await?
            .ok_or_else(|| Error::NotFound {
                what: format!("no archive {name} in {}", self.location()),
                remedy: "`pgark list` shows the archives".to_owned(),
            })?;
        let (manifest, seal) = Manifest::read(&bytes, name, key.as_str())?;
        Ok(Archive {
            repository: self.clone(),
            manifest: Arc::new(manifest),
            seal,
        })
    }

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
        let (bytes, seal) = manifest.seal();
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
        store.flush().await?;
        Ok(Archive {
            repository: self.clone(),
            manifest: Arc::new(manifest.clone()),
            seal,
        })
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

    /// Reads the record at `key`; `None` if there is none.
    pub(crate) async fn record<T: DeserializeOwned>(&self, key: &RecordKey) -> Result<Option<T>> {
        let key = key.key();
        let Some(bytes) = self.store().get(&key).await? else {
            return Ok(None);
        };
        let (record, _) = sealed::read(&bytes, "record", key.as_str())?;
        Ok(Some(record))
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

    /// `None` if the manifest has gone since it was listed.
    async fn look_at(
        &self,
        name: ArchiveName,
        stamps: &BTreeMap<ArchiveName, RecordKey>,
    ) -> Result<Option<Listed>> {
        let (error, seal) = match self.read(&name).await {
            Ok(archive) => return Ok(Some(self.listed(archive, stamps).await)),
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error @ (Error::Corrupt { .. } | Error::Feature { .. })) => (error, None),
            Err(error) => return Err(error),
        };
        let announced = self
            .record::<Announced>(&RecordKey::Announced(name.clone()))
            .await
            .ok()
            .flatten()
            .filter(|announced| announced.name == name);
        Ok(Some(Listed {
            name,
            manifest: Err(Arc::new(error)),
            seal,
            created: announced.as_ref().map(|announced| announced.created),
            group: announced.map(|announced| announced.group),
            verified: None,
        }))
    }

    async fn listed(&self, archive: Archive, stamps: &BTreeMap<ArchiveName, RecordKey>) -> Listed {
        let manifest = archive.manifest;
        let verified = match stamps.get(&manifest.name) {
            // A damaged stamp proves nothing; `verify` names it.
            Some(key) => self.record::<Verified>(key).await.ok().flatten(),
            None => None,
        };
        Listed {
            name: manifest.name.clone(),
            seal: Some(archive.seal),
            created: Some(manifest.created),
            group: Some(manifest.group.clone()),
            verified: verified.filter(|verified| verified.manifest == archive.seal),
            manifest: Ok(manifest),
        }
    }

    async fn newest_stamps(&self) -> Result<BTreeMap<ArchiveName, RecordKey>> {
        let mut newest = BTreeMap::new();
        // Keys sort by time, so the newest comes last.
        for stored in self.store().list(RecordKey::FOLDER).await? {
            if let Some(key @ RecordKey::Verified(..)) = RecordKey::parse(&stored.key)
                && let RecordKey::Verified(name, _) = &key
            {
                newest.insert(name.clone(), key);
            }
        }
        Ok(newest)
    }
}

/// `archives/NAME.json`
pub fn manifest_key(name: &ArchiveName) -> Key {
    Key::new(format!("archives/{name}.json"))
}

/// The archive whose manifest lies under `key`; `None` for other files.
pub(crate) fn archive_of(key: &Key) -> Option<ArchiveName> {
    let name = key.as_str().strip_prefix("archives/")?;
    name.strip_suffix(".json")?.parse().ok()
}

fn no_repository(location: &str) -> Error {
    Error::NotFound {
        what: format!("{location} is no repository: it has no pgark.json"),
        remedy: "give the repository with --repo; a dump makes a new one".to_owned(),
    }
}

fn first_few(items: &[impl std::fmt::Display]) -> String {
    const SHOWN: usize = 10;
    let mut text: Vec<String> = items.iter().take(SHOWN).map(ToString::to_string).collect();
    if items.len() > SHOWN {
        text.push(format!("and {} more", items.len() - SHOWN));
    }
    text.join(", ")
}

/// An archive whose manifest was read and found right.
#[derive(Debug, Clone)]
pub struct Archive {
    repository: Repository,
    manifest: Arc<Manifest>,
    seal: Digest,
}

impl Archive {
    /// Its name.
    pub fn name(&self) -> &ArchiveName {
        &self.manifest.name
    }

    /// The repository it is in.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest's seal, which stands for everything in the archive.
    pub fn seal(&self) -> Digest {
        self.seal
    }

    /// The entries of the TOC, one after another.
    pub fn entry_reader(&self) -> JsonlReader<Entry> {
        self.lines(self.manifest.toc.clone(), "TOC")
    }

    /// The tables of the data index, one after another.
    pub fn table_index_reader(&self) -> JsonlReader<TableIndex> {
        self.lines(self.manifest.data_index.clone(), "data index")
    }

    /// All entries of the TOC. The number must be the manifest's.
    pub async fn entries(&self) -> Result<Vec<Entry>> {
        let entries = self.entry_reader().collect().await?;
        if entries.len() as u64 != self.manifest.totals.n_entries {
            return Err(Error::corrupt(
                format_args!("archive {}", self.name()),
                "TOC",
                format_args!(
                    "has {} entries instead of {}",
                    entries.len(),
                    self.manifest.totals.n_entries
                ),
            ));
        }
        Ok(entries)
    }

    /// All tables of the data index.
    pub async fn table_indexes(&self) -> Result<Vec<TableIndex>> {
        self.table_index_reader().collect().await
    }

    fn lines<T: DeserializeOwned + Send + 'static>(
        &self,
        chunks: Vec<super::chunks::ChunkRef>,
        stream: &'static str,
    ) -> JsonlReader<T> {
        // The level is that of writers only.
        let store = self.repository.chunks(1);
        JsonlReader::new(store, chunks, format!("archive {}", self.name()), stream)
    }
}

#[cfg(test)]
mod tests;
