//! A store in a folder. Objects are files; a file is written elsewhere in the folder, made durable, then published under its name.

mod read;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use self::read::{read_bounded, read_range};
use super::{Key, Put, Store, Stored, check_size, is_segment, store_error};
use crate::error::{BoxError, Error, Result};
use crate::progress::{Progress, Silent};
use crate::retry::{Patience, Trying};

/// A folder may be on another machine: what its file system calls a hiccup is waited out, but no disk that fails for long.
const PATIENCE: Patience = Patience {
    tries_max: 8,
    lasts: Duration::from_secs(60),
    pause: Duration::from_millis(100),
    pause_max: Duration::from_secs(10),
};

/// Where files are written before they are published. No key begins with a dot, so nothing in here is an object.
const UNFINISHED: &str = ".unfinished";
/// An unfinished file as old as this was left by a crash: no put takes so long.
const LEFTOVER_AFTER: Duration = Duration::from_secs(48 * 60 * 60);

/// A folder.
///
/// An object's bytes are synced to the disk before it gets its name, so not even a power loss leaves one in part;
/// [`Store::flush`] then syncs the folders, which makes the names durable.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: Arc<Path>,
    /// Folders with names that the next flush has to make durable.
    dirty: Arc<Mutex<BTreeSet<PathBuf>>>,
    told: Arc<dyn Progress>,
}

impl LocalStore {
    /// Opens the folder `root`, which must exist.
    pub async fn open(root: impl Into<PathBuf>) -> Result<LocalStore> {
        LocalStore::at(root.into(), false).await
    }

    /// Opens the folder `root`; it and its parents are made where they are missing.
    pub async fn create(root: impl Into<PathBuf>) -> Result<LocalStore> {
        LocalStore::at(root.into(), true).await
    }

    async fn at(root: PathBuf, make: bool) -> Result<LocalStore> {
        let place = root.display().to_string();
        let opened = blocking(move || {
            if make {
                make_folders(&root)?;
            }
            // The absolute path stays right when the program changes its working directory.
            let root = fs::canonicalize(&root)?;
            if !root.is_dir() {
                return Err(io::Error::from(ErrorKind::NotADirectory));
            }
            remove_leftovers(&root.join(UNFINISHED));
            Ok(root)
        })
        .await;
        match opened {
            Ok(root) => Ok(LocalStore {
                root: root.into(),
                dirty: Arc::default(),
                told: Arc::new(Silent),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::NotFound {
                what: format!("there is no folder {place}"),
                remedy: "give the repository's folder with --repo; a dump makes a new one"
                    .to_owned(),
            }),
            Err(error) => Err(store_error(place, "open")(error)),
        }
    }

    /// The same store with somebody who hears of each call that is tried again.
    #[must_use]
    pub fn telling(mut self, told: Arc<dyn Progress>) -> LocalStore {
        self.told = told;
        self
    }

    /// The folder, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Runs file work on the blocking pool, again where its failure may pass; an error names the key and the action.
    /// Gives how often it was tried, too.
    async fn tried<T: Send + 'static>(
        &self,
        key: impl std::fmt::Display,
        action: &'static str,
        work: impl Fn(&LocalStore) -> io::Result<T> + Send + Sync + 'static,
    ) -> Result<(T, u32)> {
        let mut trying = Trying::new(PATIENCE, Arc::clone(&self.told));
        let work = Arc::new(work);
        loop {
            let (store, work) = (self.clone(), Arc::clone(&work));
            let error = match blocking(move || work(&store)).await {
                Ok(done) => return Ok((done, trying.tries())),
                Err(error) => error,
            };
            let what = format!("store {}/{key}: {action}", self.location());
            if !(may_pass(&error) && trying.again(what, &error).await) {
                return Err(Error::Store {
                    key: key.to_string(),
                    action,
                    tries: trying.tries(),
                    source: explained(error),
                });
            }
        }
    }

    /// The same, but for how often.
    async fn run<T: Send + 'static>(
        &self,
        key: impl std::fmt::Display,
        action: &'static str,
        work: impl Fn(&LocalStore) -> io::Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        self.tried(key, action, work).await.map(|(done, _)| done)
    }

    /// Puts by `work`. What an earlier try has published before it failed is this put's own.
    async fn put_by(
        &self,
        key: &Key,
        bytes: Bytes,
        work: impl Fn(&LocalStore, &Key, &[u8]) -> io::Result<Put> + Send + Sync + 'static,
    ) -> Result<Put> {
        let (wanted, body) = (key.clone(), bytes.clone());
        let put = self.tried(key, "put", move |store| work(store, &wanted, &body));
        match put.await? {
            (Put::Exists, 2..) if self.get(key).await?.as_ref() == Some(&bytes) => Ok(Put::Stored),
            (put, _) => Ok(put),
        }
    }

    fn put_now(&self, key: &Key, bytes: &[u8]) -> io::Result<Put> {
        let path = self.path(key);
        let folder = path.parent().expect("a key has at least one segment");
        let put = if path.symlink_metadata().is_ok() {
            Put::Exists
        } else {
            let file = self.write_unfinished(bytes)?;
            self.make_folders_in_repository(folder)?;
            match file.persist_noclobber(&path) {
                Ok(_) => Put::Stored,
                Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Put::Exists,
                Err(error) => return Err(error.error),
            }
        };
        // One that is there already may be the work of a process that has not flushed yet.
        self.mark_dirty(folder);
        Ok(put)
    }

    /// A file with `bytes`, durable but nameless; it goes away when it is dropped.
    fn write_unfinished(&self, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        let folder = self.root.join(UNFINISHED);
        let new_file = || new_temporary_file(&folder);
        let mut file = match new_file() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_folders_in_repository(&folder)?;
                new_file()?
            }
            other => other?,
        };
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        Ok(file)
    }

    fn make_folders_in_repository(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let parent = folder
            .parent()
            .expect("folders of keys stand below the root");
        self.make_folders_in_repository(parent)?;
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.mark_dirty(parent);
        Ok(())
    }

    fn mark_dirty(&self, folder: &Path) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if !dirty.contains(folder) {
            dirty.insert(folder.to_owned());
        }
    }

    fn flush_now(&self) -> io::Result<()> {
        let folders =
            std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        for folder in &folders {
            let synced = sync_folder(folder);
            if synced.is_err() {
                // Nothing may be called durable by a later flush that this one could not sync.
                for folder in &folders {
                    self.mark_dirty(folder);
                }
                return synced;
            }
        }
        Ok(())
    }

    fn list_now(&self, prefix: &str) -> io::Result<Vec<Stored>> {
        let mut found = Vec::new();
        let folder = if prefix.is_empty() {
            self.root.to_path_buf()
        } else {
            self.root.join(prefix)
        };
        collect(&folder, prefix, &mut found)?;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

#[async_trait]
impl Store for LocalStore {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put> {
        self.put_by(key, bytes, LocalStore::put_now).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        let wanted = key.clone();
        let read = self.run(key, "get", move |store| {
            absent_is_none(read_bounded(&store.path(&wanted)))
        });
        match read.await? {
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(n_bytes)) => check_size(self.location(), key, n_bytes).map(|()| None),
            None => Ok(None),
        }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        let wanted = key.clone();
        self.run(key, "get", move |store| {
            absent_is_none(read_range(&store.path(&wanted), &range))
        })
        .await
    }

    async fn head(&self, key: &Key) -> Result<Option<Stored>> {
        let wanted = key.clone();
        self.run(key, "head", move |store| {
            let path = store.path(&wanted);
            let stored = absent_is_none(fs::metadata(path))?.filter(fs::Metadata::is_file);
            Ok(stored.map(|metadata| describe(wanted.clone(), &metadata)))
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let wanted = prefix.to_owned();
        assert!(
            wanted.is_empty() || wanted.split('/').all(is_segment),
            "{wanted:?} is no prefix of keys"
        );
        self.run(prefix, "list", move |store| store.list_now(&wanted))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let wanted = key.clone();
        self.run(key, "delete", move |store| {
            let path = store.path(&wanted);
            if absent_is_none(fs::remove_file(&path))?.is_some() {
                store.mark_dirty(path.parent().expect("a key has at least one segment"));
            }
            Ok(())
        })
        .await
    }

    async fn flush(&self) -> Result<()> {
        // Once: after a folder could not be synced, the next attempt may succeed although names were lost.
        let store = self.clone();
        let flushed = blocking(move || store.flush_now()).await;
        flushed.map_err(|error| store_error(self.location(), "flush")(explained(error)))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// True if the same call may succeed a little later: interrupted, busy, or a file system of another machine that lost it for a moment.
fn may_pass(error: &io::Error) -> bool {
    /// Of Linux; a disk or its connection failed, and another try goes to other blocks or another path.
    const EIO: i32 = 5;
    let transient = matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::ResourceBusy
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
    );
    transient || error.raw_os_error() == Some(EIO)
}

/// The error with what the user can do, where the kind of the error says so.
fn explained(error: io::Error) -> BoxError {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space or give another folder; what is stored already will be found again"
        }
        ErrorKind::PermissionDenied => "let this user read and write the repository's folder",
        _ => return error.into(),
    };
    format!("{error} ({remedy})").into()
}

#[cfg(unix)]
fn new_temporary_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    // The process's umask still applies. Dumps are not for everybody, so others never get in.
    tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o660))
        .tempfile_in(folder)
}

#[cfg(not(unix))]
fn new_temporary_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::NamedTempFile::new_in(folder)
}

/// Makes `folder` and its parents, each durable in its parent.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder and keep names durable by themselves.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Elsewhere a folder cannot be opened as a file; the file systems journal their names.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

fn remove_leftovers(folder: &Path) {
    // Only tidying: whatever cannot be removed stays, unseen by any listing.
    let Ok(files) = fs::read_dir(folder) else {
        return;
    };
    for file in files.flatten() {
        let age = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|modified| modified.elapsed().unwrap_or_default());
        if age.is_ok_and(|age| age > LEFTOVER_AFTER) {
            let _ = fs::remove_file(file.path());
        }
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn describe(key: Key, metadata: &fs::Metadata) -> Stored {
    let since_1970 = metadata
        .modified()
        .unwrap_or(SystemTime::UNIX_EPOCH)
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Stored {
        key,
        n_bytes: metadata.len(),
        written_ms: i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX),
    }
}

/// Adds the objects in `folder`, whose keys begin with `prefix`, and in the folders below.
fn collect(folder: &Path, prefix: &str, found: &mut Vec<Stored>) -> io::Result<()> {
    let Some(children) = absent_is_none(fs::read_dir(folder))? else {
        return Ok(());
    };
    for child in children {
        let child = child?;
        let file_name = child.file_name();
        let Some(name) = file_name.to_str().filter(|name| is_segment(name)) else {
            continue;
        };
        let path = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        // A file that somebody removes while the folder is read is no error.
        let Some(metadata) = absent_is_none(fs::metadata(child.path()))? else {
            continue;
        };
        if metadata.is_dir() {
            collect(&child.path(), &path, found)?;
        } else if let (true, Some(key)) = (metadata.is_file(), Key::parse(&path)) {
            found.push(describe(key, &metadata));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{OBJECT_BYTES_MAX, contract};

    #[tokio::test]
    async fn a_folder_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(folder.path().join("a/b")).await.unwrap();
        contract::check(&store).await;
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(folder.path()).await.unwrap();
        // Holes only: a file of 10 GB, and one that is too large by a byte.
        for n_bytes in [10 << 30, OBJECT_BYTES_MAX + 1] {
            File::create(folder.path().join("large"))
                .unwrap()
                .set_len(n_bytes)
                .unwrap();
            contract::refuses_what_is_too_large(&store, &Key::new("large")).await;
        }
    }

    #[tokio::test]
    async fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(folder.path()).await.unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless")).unwrap();
        for name in ["pipe", "endless"] {
            let key = Key::new(name);
            assert!(
                matches!(store.get(&key).await, Err(Error::Store { .. })),
                "{name}"
            );
            assert!(
                matches!(store.get_range(&key, 0..9).await, Err(Error::Store { .. })),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn a_missing_folder_is_named() {
        let error = LocalStore::open("/nowhere/at/all").await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
        assert!(error.to_string().contains("/nowhere/at/all"));
    }

    #[tokio::test]
    async fn unfinished_and_foreign_files_are_no_objects() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(folder.path()).await.unwrap();
        store
            .put_new(&Key::new("a/b"), Bytes::from_static(b"x"))
            .await
            .unwrap();
        fs::write(folder.path().join(UNFINISHED).join("left"), b"half").unwrap();
        fs::write(folder.path().join("a/with space"), b"?").unwrap();
        fs::write(folder.path().join(".hidden"), b"?").unwrap();
        let keys: Vec<_> = store.list("").await.unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].key, Key::new("a/b"));
        // What is younger than the limit may be another process's work.
        LocalStore::open(folder.path()).await.unwrap();
        assert!(folder.path().join(UNFINISHED).join("left").exists());
    }

    #[tokio::test]
    async fn a_put_that_fails_leaves_nothing_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(folder.path()).await.unwrap();
        fs::write(folder.path().join("a"), b"a file where a folder is wanted").unwrap();
        let key = Key::new("a/b");
        let error = store
            .put_new(&key, Bytes::from_static(b"x"))
            .await
            .unwrap_err();
        assert!(matches!(&error, Error::Store { key, action: "put", .. } if key == "a/b"));
        assert_eq!(store.get(&key).await.unwrap(), None);
        let left = fs::read_dir(folder.path().join(UNFINISHED)).unwrap();
        assert_eq!(left.count(), 0);
    }

    /// Fails the first `n` times with an error of the operating system.
    fn failing<T>(
        n: u32,
        code: i32,
        work: impl Fn(&LocalStore) -> io::Result<T> + Send + Sync,
    ) -> impl Fn(&LocalStore) -> io::Result<T> + Send + Sync {
        let tries = std::sync::atomic::AtomicU32::new(0);
        move |store| {
            if tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < n {
                return Err(io::Error::from_raw_os_error(code));
            }
            work(store)
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_what_cannot_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(folder.path()).await.unwrap();
        // EINTR, EIO, EAGAIN, EBUSY, ETIMEDOUT, ESTALE.
        for code in [4, 5, 11, 16, 110, 116] {
            let done = store.tried("k", "get", failing(1, code, |_| Ok(7))).await;
            assert_eq!(done.unwrap(), (7, 2), "{code}");
        }
        // EPERM, ENOENT, EACCES, ENOSPC, EROFS, EDQUOT.
        for code in [1, 2, 13, 28, 30, 122] {
            let done = store.tried("k", "get", failing(1, code, |_| Ok(7))).await;
            let error = done.unwrap_err();
            assert!(
                matches!(&error, Error::Store { key, tries: 1, .. } if key == "k"),
                "{code}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_put_that_failed_after_it_was_done_is_known_as_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::create(folder.path()).await.unwrap();
        let key = Key::new("chunks/ab");
        let lost = |tries: std::sync::atomic::AtomicU32| {
            move |store: &LocalStore, key: &Key, bytes: &[u8]| {
                let put = store.put_now(key, bytes)?;
                if tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                    return Err(io::Error::from_raw_os_error(5));
                }
                Ok(put)
            }
        };
        let body = Bytes::from_static(b"mine");
        let put = store.put_by(&key, body.clone(), lost(0.into())).await;
        assert_eq!(put.unwrap(), Put::Stored);
        let other = Bytes::from_static(b"another's");
        let put = store.put_by(&key, other, lost(0.into())).await;
        assert_eq!(put.unwrap(), Put::Exists);
        assert_eq!(store.get(&key).await.unwrap(), Some(body));
    }

    #[test]
    fn a_full_disk_is_explained() {
        let text = explained(io::Error::from(ErrorKind::StorageFull)).to_string();
        assert!(text.contains("free some space"), "{text}");
    }
}
