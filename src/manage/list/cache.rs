//! Remembers summaries of archives between runs, a file for each repository. Only lists use it; whatever is wrong with it costs
//! time and nothing else.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::archive::digest::Digest;
use crate::archive::repository::{Known, Repository};
use crate::archive::sealed;

/// A larger file is neither read nor written: it would be that of some hundred thousand archives.
const BYTES_MAX: u64 = 128 << 20;
/// Another number is another form, which is not read.
const FORM: u32 = 1;

/// A folder with a file for each repository that was listed.
#[derive(Debug, Clone)]
pub struct ListCache {
    folder: PathBuf,
}

/// The file: a line of JSON and its SHA-256, as the documents of a repository are.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    form: u32,
    /// The repository's id, from its marker.
    repository: String,
    /// Its place: a copy has the same id.
    location: String,
    archives: Known,
}

impl ListCache {
    /// Remembers in `folder`, which is made when it is needed.
    pub fn in_folder(folder: impl Into<PathBuf>) -> ListCache {
        ListCache {
            folder: folder.into(),
        }
    }

    /// The repository's file. An id comes from outside and is no part of a path.
    fn file(&self, repository: &Repository) -> PathBuf {
        let id = &repository.marker().repository;
        let of = Digest::of(format!("{id}\n{}", repository.location()).as_bytes());
        self.folder.join(format!("list-{of}.json"))
    }

    /// What is remembered of `repository`: nothing if there is no file, or one that is damaged or another repository's.
    pub(super) async fn load(&self, repository: &Repository) -> Known {
        let file = self.file(repository);
        let (id, location) = (
            repository.marker().repository.clone(),
            repository.location(),
        );
        let read = tokio::task::spawn_blocking(move || {
            let remembered = read(&file)?;
            let own = remembered.form == FORM
                && remembered.repository == id
                && remembered.location == location;
            own.then_some(remembered.archives)
        });
        read.await.ok().flatten().unwrap_or_default()
    }

    /// Remembers `known`. A folder that cannot be written is no failure: the next list takes as long as this one.
    pub(super) async fn save(&self, repository: &Repository, known: Known) {
        let remembered = Remembered {
            form: FORM,
            repository: repository.marker().repository.clone(),
            location: repository.location(),
            archives: known,
        };
        let (folder, file) = (self.folder.clone(), self.file(repository));
        let write = move || {
            let (bytes, _) = sealed::seal(&remembered);
            if bytes.len() as u64 <= BYTES_MAX {
                let _ = write(&folder, &file, &bytes);
            }
        };
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

fn read(file: &Path) -> Option<Remembered> {
    if std::fs::metadata(file).ok()?.len() > BYTES_MAX {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let sealed = sealed::open(&bytes).ok()?;
    serde_json::from_slice(sealed.json).ok()
}

/// Puts the whole file in place or none. Its temporary form is readable by this user alone, and stays so.
fn write(folder: &Path, file: &Path, bytes: &Bytes) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut new, bytes)?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{ArchiveList, list_with};
    use super::*;
    use crate::archive::fixture;
    use crate::archive::name::ArchiveName;
    use crate::archive::records::{Depth, Verified};
    use crate::archive::repository::{GroupFilter, manifest_key};
    use crate::store::fault::{Fault, FaultStore};
    use crate::store::{MemoryStore, Store};

    /// A repository with some archives, in a store that counts its calls.
    async fn archives(n: usize) -> (Repository, Arc<FaultStore>) {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let counted = Arc::new(FaultStore::new(memory, Fault::Refused, u64::MAX));
        let repository = fixture::repository(Arc::clone(&counted) as Arc<dyn Store>).await;
        for i in 0..n {
            let manifest = fixture::manifest(&repository, &format!("shop-{i}"));
            repository.commit(&manifest).await.unwrap();
        }
        (repository, counted)
    }

    async fn listed(repository: &Repository, cache: &ListCache) -> ArchiveList {
        let all = GroupFilter::default();
        list_with(repository, &all, cache).await.unwrap()
    }

    fn name(text: &str) -> ArchiveName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn what_the_store_shows_unchanged_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ListCache::in_folder(folder.path().join("a/b"));
        let (repository, store) = archives(7).await;
        let mut before = store.n_calls();
        let mut calls = || {
            let now = store.n_calls();
            now - std::mem::replace(&mut before, now)
        };
        let cold = listed(&repository, &cache).await;
        assert_eq!((cold.archives.len(), calls()), (7, 9));
        let warm = listed(&repository, &cache).await;
        assert_eq!(warm.archives, cold.archives);
        assert_eq!(calls(), 2, "two listings, no archive");

        let archive = repository.read(&name("shop-3")).await.unwrap();
        let stamp = Verified {
            name: name("shop-3"),
            manifest: archive.seal(),
            depth: Depth::Full,
            at: "2026-11-23T00:00:00Z".parse().unwrap(),
        };
        repository.stamp(&stamp).await.unwrap();
        repository.remove(&name("shop-5"), "test").await.unwrap();
        calls();
        let changed = listed(&repository, &cache).await;
        assert_eq!(calls(), 4, "one manifest and its stamp");
        assert_eq!(changed.archives.len(), 6);
        assert_eq!(changed.archives[3].verified, Some(stamp.at));
        let again = listed(&repository, &cache).await;
        assert_eq!((again.archives, calls()), (changed.archives, 2));
    }

    #[tokio::test]
    async fn of_an_encrypted_repository_nothing_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ListCache::in_folder(folder.path().join("a"));
        let repository = fixture::encrypted(Arc::new(MemoryStore::new())).await;
        fixture::dump(&repository, "shop-1", &fixture::shop())
            .await
            .unwrap();
        let rows = listed(&repository, &cache).await.archives;
        assert_eq!((rows.len(), rows[0].rows), (1, 159));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_manifest_that_changed_is_read_whatever_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ListCache::in_folder(folder.path());
        let (repository, _) = archives(2).await;
        assert_eq!(listed(&repository, &cache).await.archives.len(), 2);
        let key = manifest_key(&name("shop-1"));
        repository.store().delete(&key).await.unwrap();
        let damaged = Bytes::from_static(b"{}\n");
        repository.store().put_new(&key, damaged).await.unwrap();
        let list = listed(&repository, &cache).await;
        assert_eq!((list.archives.len(), list.damaged.len()), (1, 1));
        // Damage is not remembered.
        assert_eq!(listed(&repository, &cache).await.damaged.len(), 1);
    }

    #[tokio::test]
    async fn a_damaged_foreign_or_unwritable_cache_costs_time_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ListCache::in_folder(folder.path());
        let (repository, store) = archives(3).await;
        let whole = listed(&repository, &cache).await.archives;
        let file = cache.file(&repository);
        let good = std::fs::read(&file).unwrap();

        let (other, _) = archives(1).await;
        listed(&other, &cache).await;
        let foreign = std::fs::read(cache.file(&other)).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for wrong in [&good[..good.len() / 2], &flipped, &foreign, b""] {
            std::fs::write(&file, wrong).unwrap();
            let before = store.n_calls();
            assert_eq!(listed(&repository, &cache).await.archives, whole);
            assert_eq!(store.n_calls() - before, 5, "all three were read");
            assert_eq!(std::fs::read(&file).unwrap(), good, "and it is right again");
        }
        let in_the_way = folder.path().join("file");
        std::fs::write(&in_the_way, "").unwrap();
        let nowhere = ListCache::in_folder(in_the_way.join("cache"));
        assert_eq!(listed(&repository, &nowhere).await.archives, whole);
    }
}
