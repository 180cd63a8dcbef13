//! A repository: opens it, and reads archives. `listing` finds archives, `commit` makes and removes them, `making` makes repositories,
//! `keys` opens encrypted ones and keeps their slots, `documents` seals and opens what they hold; sweeping and verifying belong to `manage`.

mod commit;
mod documents;
mod keys;
mod listing;
mod making;
mod summaries;

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::chunk_memory::ChunkMemory;
use super::chunker::ChunkSettings;
use super::chunks::ChunkStore;
use super::codec::Codec;
use super::cpu::CpuPool;
use super::crypt::{InventoryLine, Sealing, Unlock};
use super::digest::Digest;
use super::index::TableIndex;
use super::jsonl::JsonlReader;
use super::manifest::Manifest;
use super::marker::Marker;
use super::name::ArchiveName;
use super::records::{Announced, RecordKey};
use crate::error::{Error, Result};
use crate::store::{Key, Store};
use crate::toc::Entry;

pub(crate) use documents::Envelope;
pub use keys::ListedSlot;
pub use listing::{GroupFilter, Listed};
pub use summaries::{Known, ListedDrill, Summarized, Summary};

/// A store laid out to hold archives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    marker: Marker,
    marker_problem: Option<Arc<Error>>,
    sealing: Sealing,
    cpu: CpuPool,
    memory: ChunkMemory,
}

impl Repository {
    /// Opens the repository in `store`. One that is encrypted is locked until [`Repository::unlock`]: its archives can be listed by name, and their
    /// stored bytes be verified.
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
        let mut marker = Marker::new(ChunkSettings::default());
        keys::recall(&store, &mut marker).await?;
        Ok(Repository::with_marker(
            store,
            marker,
            Some(Arc::new(problem)),
        ))
    }

    /// Opens the repository in `store`, or makes one there if the store is empty. One that is encrypted is refused.
    pub async fn open_or_create(
        store: Arc<dyn Store>,
        settings: ChunkSettings,
    ) -> Result<Repository> {
        Repository::open_or_create_with(store, settings, &Unlock::nothing()).await
    }

    /// The same with what opens it; with a passphrase a new repository is encrypted.
    pub async fn open_or_create_with(
        store: Arc<dyn Store>,
        settings: ChunkSettings,
        unlock: &Unlock,
    ) -> Result<Repository> {
        assert!(settings.is_sound(), "{settings:?}");
        if store.head(&Marker::key()).await?.is_none() {
            making::create(&store, Marker::new(settings), unlock).await?;
        }
        let repository = Repository::open(store).await?.unlock(unlock).await?;
        repository.require_key()?;
        Ok(repository)
    }

    fn with_marker(
        store: Arc<dyn Store>,
        marker: Marker,
        problem: Option<Arc<Error>>,
    ) -> Repository {
        let sealing = match marker.encryption {
            Some(_) => Sealing::Locked,
            None => Sealing::Plain,
        };
        Repository {
            inner: Arc::new(Inner {
                store,
                marker,
                marker_problem: problem,
                sealing,
                cpu: CpuPool::of_this_machine(),
                memory: ChunkMemory::default(),
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
        self.inner.marker_problem.as_deref()
    }

    /// The pool for compression and hashing, one for all work in this repository.
    pub fn cpu(&self) -> &CpuPool {
        &self.inner.cpu
    }

    /// Chunks, compressed with zstd's `level` when they are put.
    pub fn chunks(&self, level: i32) -> ChunkStore {
        let inner = &*self.inner;
        let codec = Codec::new(level, inner.memory.clone());
        ChunkStore::new(
            Arc::clone(&inner.store),
            inner.cpu.clone(),
            codec,
            &inner.sealing,
        )
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
        let (manifest, seal) = self.manifest_in(&bytes, name, key.as_str())?;
        Ok(Archive {
            repository: self.clone(),
            manifest: Arc::new(manifest),
            seal,
        })
    }

    /// Reads the record at `key`; `None` if there is none.
    pub(crate) async fn record<T: DeserializeOwned>(&self, key: &RecordKey) -> Result<Option<T>> {
        let Some(bytes) = self.store().get(&key.key()).await? else {
            return Ok(None);
        };
        self.record_in(&bytes, key).map(Some)
    }

    /// What the announcement of `name` says of the manifest with this seal.
    pub(crate) async fn announced_as(
        &self,
        name: &ArchiveName,
        seal: Digest,
    ) -> Result<AnnouncedAs> {
        let record = RecordKey::Announced(name.clone());
        let unknown = match self.record::<Announced>(&record).await {
            Ok(Some(announced)) if announced.name != *name => {
                format!("is a record of another, {}", announced.name)
            }
            Ok(Some(announced)) if announced.manifest == seal => return Ok(AnnouncedAs::This),
            Ok(Some(_)) => return Ok(AnnouncedAs::Another),
            Ok(None) => "is missing".to_owned(),
            Err(Error::Corrupt { problem, .. }) => problem,
            Err(other) => return Err(other),
        };
        Ok(AnnouncedAs::Unknown(unknown))
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

/// What an archive's announcement says of the manifest that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnnouncedAs {
    /// That it is the one that was written.
    This,
    /// That another one was written under this name.
    Another,
    /// Nothing: what is wrong with the record, in words that follow its key.
    Unknown(String),
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

    /// Compares the manifest with the announcement, which was written before it.
    pub(crate) async fn announced(&self) -> Result<AnnouncedAs> {
        self.repository.announced_as(self.name(), self.seal).await
    }

    /// The entries of the TOC, one after another.
    pub fn entry_reader(&self) -> JsonlReader<Entry> {
        self.lines(self.manifest.toc.clone(), "TOC")
    }

    /// The tables of the data index, one after another.
    pub fn table_index_reader(&self) -> JsonlReader<TableIndex> {
        self.lines(self.manifest.data_index.clone(), "data index")
    }

    /// All entries of the TOC. Their numbers must be 0, 1, 2 …, as many as the manifest says: reading stops at the first that is not, so
    /// that chunks which are named again and again do not fill the memory.
    pub async fn entries(&self) -> Result<Vec<Entry>> {
        let damaged = |problem: String| {
            Error::corrupt(format_args!("archive {}", self.name()), "TOC", problem)
        };
        let n_wanted = self.manifest.totals.n_entries;
        let mut entries = Vec::new();
        let mut reader = self.entry_reader();
        while let Some(entry) = reader.next().await? {
            let (number, place) = (u64::from(entry.id.0), entries.len() as u64);
            if number != place {
                return Err(damaged(format!("has entry {number} where {place} belongs")));
            }
            if place == n_wanted {
                return Err(damaged(format!("has more than {n_wanted} entries")));
            }
            entries.push(entry);
        }
        if entries.len() as u64 != n_wanted {
            let n = entries.len();
            return Err(damaged(format!("has {n} entries instead of {n_wanted}")));
        }
        Ok(entries)
    }

    /// All tables of the data index.
    pub async fn table_indexes(&self) -> Result<Vec<TableIndex>> {
        self.table_index_reader().collect().await
    }

    /// The chunks that the archive names, as its inventory has them; none in a repository that is not encrypted.
    pub(crate) fn inventory_reader(&self) -> JsonlReader<InventoryLine> {
        let object = format!("archive {}", self.name());
        self.repository
            .inventory(self.manifest.inventory.clone(), object)
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

#[cfg(test)]
mod crypt_tests;
