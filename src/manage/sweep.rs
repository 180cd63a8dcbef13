//! Sweeping, in two phases: chunks that nobody needs move to the trash; what lay there for the grace time is deleted, or put back if
//! somebody needs it after all. Why this is safe beside running dumps is in `docs/format.md`.

use std::collections::{BTreeSet, HashMap};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::needed::{CHUNKS_MAX, Needed, gather};
use crate::archive::chunks::{chunk_key, trash_key};
use crate::archive::digest::Digest;
use crate::archive::lease::{Lease, LeaseKind, SeenLease};
use crate::archive::name::ArchiveName;
use crate::archive::records::RecordKey;
use crate::archive::repository::{Repository, archive_of};
use crate::error::{Error, Result};
use crate::store::{Key, Put, Stored};

/// Objects that are copied or deleted at once.
const AT_ONCE: usize = 8;
/// Objects between two proofs that the lease is still there.
const BATCH: usize = 256;
/// Object stores round the time of an object down to a second.
const ROUNDED_MS: i64 = 2000;
/// By so much the store's own clock may be set back while a dump runs.
const STORE_CLOCK_SET_MS: i64 = 60 * 60 * 1000;

/// How many, and how large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Chunks.
    pub n_chunks: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
}

impl Amount {
    fn add(&mut self, n_bytes: u64) {
        self.n_chunks += 1;
        self.stored_bytes += n_bytes;
    }
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Moved to the trash: no archive needs them.
    pub moved: Amount,
    /// Deleted from the trash after the grace time.
    pub deleted: Amount,
    /// Put back from the trash, because an archive needs them after all.
    pub put_back: Amount,
    /// In the trash, until the grace time is over.
    pub waiting: Amount,
    /// Left where they are because somebody at work may need them, or because they are that new.
    pub kept_for_leases: Amount,
    /// Manifests of removed archives that were deleted from the trash.
    pub n_manifests_deleted: u64,
    /// Leases of the dead that were removed.
    pub n_leases_expired: u64,
    /// How often the archives were read: once, unless there are very many chunks.
    pub n_passes: u64,
}

/// Who is at work, by leases that count.
#[derive(Debug)]
pub(super) struct AtWork {
    /// Dumps, and holders of leases that cannot be read.
    pub(super) dumps: Vec<SeenLease>,
    /// Another prune.
    pub(super) prune: Option<SeenLease>,
    pub(super) n_expired: u64,
}

/// Looks who is at work, and, with a lease of one's own, removes the leases that expired: their holders will notice.
pub(super) async fn at_work(
    repository: &Repository,
    own: Option<&Lease>,
    now_ms: i64,
) -> Result<AtWork> {
    let mut found = AtWork {
        dumps: Vec::new(),
        prune: None,
        n_expired: 0,
    };
    for seen in repository.leases().await? {
        let is_own = match own {
            Some(own) => own.is(&seen).await,
            None => false,
        };
        if is_own {
            continue;
        }
        if seen.expires_ms <= now_ms {
            if own.is_some() {
                repository.store().delete(&seen.key).await?;
                found.n_expired += 1;
            }
            continue;
        }
        match seen.terms.as_ref().map(|terms| terms.kind) {
            Some(LeaseKind::Prune) => found.prune = Some(seen),
            Some(LeaseKind::Dump) | None => found.dumps.push(seen),
        }
    }
    if found.n_expired > 0 {
        repository.store().flush().await?;
    }
    Ok(found)
}

/// A sweep under way.
#[derive(Debug)]
pub(super) struct Sweep<'a> {
    pub(super) repository: &'a Repository,
    /// Ours; `None` if nothing is to be changed.
    pub(super) lease: Option<&'a Lease>,
    pub(super) at_work: &'a AtWork,
    /// The store's clock.
    pub(super) now_ms: i64,
    pub(super) grace_ms: i64,
    /// Archives that stand but are about to go, as long as nothing is changed.
    pub(super) without: &'a BTreeSet<ArchiveName>,
    pub(super) done: Swept,
}

impl Sweep<'_> {
    /// Sweeps everything.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Feature`] if an archive cannot be read: which chunks it needs is not known. Nothing of what it may
    /// need was touched then.
    pub(super) async fn run(mut self) -> Result<Swept> {
        self.refuse_if_one_vanished().await?;
        self.done.n_leases_expired = self.at_work.n_expired;
        let mut from = 0;
        while from < 256 {
            let needed = self.pass(from, CHUNKS_MAX).await?;
            from = needed.covers().end;
        }
        self.manifests().await?;
        if self.lease.is_some() {
            self.repository.store().flush().await?;
        }
        Ok(self.done)
    }

    async fn pass(&mut self, from: u16, n_max: usize) -> Result<Needed> {
        let mut names = standing(self.repository).await?;
        names.retain(|name| !self.without.contains(name));
        names.extend(self.leased());
        let needed = gather(self.repository, names, (from, n_max)).await?;
        self.done.n_passes += 1;
        for first in needed.covers() {
            self.folder(first, &needed).await?;
        }
        Ok(needed)
    }

    /// The archives whose chunks a dump at work may name again.
    fn leased(&self) -> impl Iterator<Item = ArchiveName> {
        let terms = self
            .at_work
            .dumps
            .iter()
            .filter_map(|seen| seen.terms.as_ref());
        terms.flat_map(|terms| terms.archives.iter().cloned())
    }

    /// When the first of the dumps at work began.
    fn oldest_dump_ms(&self) -> Option<i64> {
        self.at_work.dumps.iter().map(|seen| seen.since_ms).min()
    }

    /// True if a dump at work may have found in `chunks/` what entered the trash then.
    fn is_protected(&self, in_trash: &Stored) -> bool {
        self.oldest_dump_ms().is_some_and(|since_ms| {
            in_trash.written_ms.saturating_add(STORE_CLOCK_SET_MS) >= since_ms
        })
    }

    /// True if a dump at work may have written the chunk, which no manifest names yet. Dumps that began after we looked count too.
    fn is_new(&self, chunk: &Stored) -> bool {
        let own_ms = self.lease.map_or(self.now_ms, Lease::since_ms);
        let since_ms = self
            .oldest_dump_ms()
            .map_or(own_ms, |dump| dump.min(own_ms));
        chunk.written_ms.saturating_add(ROUNDED_MS) >= since_ms
    }

    /// The trash first: what moves there now is not looked at again in this sweep.
    async fn folder(&mut self, first: u16, needed: &Needed) -> Result<()> {
        let store = self.repository.store();
        let folder = format!("chunks/{first:02x}");
        let in_trash = chunks_in(
            &format!("trash/{folder}"),
            store.list(&format!("trash/{folder}")).await?,
        );
        let standing = chunks_in(&folder, store.list(&folder).await?);
        let mut go = Vec::new();
        let mut come_back = Vec::new();
        for (digest, stored) in &in_trash {
            if let Some(stands) = standing.get(digest) {
                // Put back by a dump or a sweep that broke off. Where they differ one is damaged, which is not ours to judge.
                if stands.n_bytes == stored.n_bytes {
                    go.push(stored.key.clone());
                }
            } else if needed.has(digest) {
                come_back.push(*digest);
                self.done.put_back.add(stored.n_bytes);
            } else if self.is_protected(stored) {
                self.done.kept_for_leases.add(stored.n_bytes);
            } else if stored.written_ms.saturating_add(self.grace_ms) <= self.now_ms {
                go.push(stored.key.clone());
                self.done.deleted.add(stored.n_bytes);
            } else {
                self.done.waiting.add(stored.n_bytes);
            }
        }
        let mut leave = Vec::new();
        for (digest, stored) in &standing {
            if needed.has(digest) || in_trash.contains_key(digest) {
                continue;
            }
            if self.is_new(stored) {
                self.done.kept_for_leases.add(stored.n_bytes);
            } else {
                leave.push(*digest);
                self.done.moved.add(stored.n_bytes);
            }
        }
        self.relocate(&come_back, |key| (trash_key(key), key.clone()))
            .await?;
        self.delete(&go).await?;
        self.relocate(&leave, |key| (key.clone(), trash_key(key)))
            .await
    }

    /// Copies chunks, makes the copies durable, then deletes the originals.
    async fn relocate(&self, chunks: &[Digest], way: impl Fn(&Key) -> (Key, Key)) -> Result<()> {
        if self.lease.is_none() {
            return Ok(());
        }
        let store = self.repository.store();
        for batch in chunks.chunks(BATCH) {
            let ways = batch.iter().map(|chunk| way(&chunk_key(chunk)));
            let copied: Vec<Option<Key>> = stream::iter(ways)
                .map(|(from, to)| async move {
                    let put = store.copy_new(&from, &to).await?;
                    // What stands there was put by somebody else meanwhile, or its time is not of today: the next sweep looks again.
                    Ok::<_, Error>((put == Some(Put::Stored)).then_some(from))
                })
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            store.flush().await?;
            let copied: Vec<Key> = copied.into_iter().flatten().collect();
            self.delete(&copied).await?;
        }
        Ok(())
    }

    /// Deletes, while nobody else can have taken over.
    async fn delete(&self, keys: &[Key]) -> Result<()> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        let store = self.repository.store();
        for batch in keys.chunks(BATCH) {
            lease.prove().await?;
            let deletions: Vec<_> = batch.iter().map(|key| store.delete(key)).collect();
            stream::iter(deletions)
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }

    /// Manifests in the trash: after the grace time they go, unless a dump at work builds on them.
    async fn manifests(&mut self) -> Result<()> {
        let leased: BTreeSet<ArchiveName> = self.leased().collect();
        let mut go = Vec::new();
        for stored in self.repository.store().list("trash/archives").await? {
            let key = stored
                .key
                .as_str()
                .strip_prefix("trash/")
                .and_then(Key::parse);
            let name = key.as_ref().and_then(archive_of);
            let is_old = stored.written_ms.saturating_add(self.grace_ms) <= self.now_ms;
            let unreadable_lease = self.at_work.dumps.iter().any(|seen| seen.terms.is_none());
            if is_old && !unreadable_lease && name.is_some_and(|name| !leased.contains(&name)) {
                go.push(stored.key);
            }
        }
        self.done.n_manifests_deleted = go.len() as u64;
        self.delete(&go).await
    }

    /// An archive that was announced and is neither there nor removed: its manifest may yet come back from a copy.
    async fn refuse_if_one_vanished(&self) -> Result<()> {
        let store = self.repository.store();
        let (mut announced, mut removed) = (HashMap::new(), BTreeSet::new());
        for stored in store.list(RecordKey::FOLDER).await? {
            match RecordKey::parse(&stored.key) {
                Some(RecordKey::Announced(name)) => _ = announced.insert(name, stored),
                Some(RecordKey::Removed(name)) => _ = removed.insert(name),
                _ => {}
            }
        }
        let standing = standing(self.repository).await?;
        // One that is being written right now is announced already.
        let vanished = announced.iter().filter(|(name, record)| {
            !removed.contains(name) && !standing.contains(name) && !self.is_new(record)
        });
        match vanished.map(|(name, _)| name).min() {
            None => Ok(()),
            Some(name) => Err(Error::corrupt(
                format_args!("archive {name}"),
                format_args!("archives/{name}.json"),
                format_args!(
                    "was announced and is neither there nor removed: bring it back, or put its removal on record with pgark prune {name} --yes"
                ),
            )),
        }
    }
}

/// The names of the archives that stand.
pub(super) async fn standing(repository: &Repository) -> Result<BTreeSet<ArchiveName>> {
    let mut names = BTreeSet::new();
    for stored in repository.store().list("archives").await? {
        names.extend(archive_of(&stored.key));
    }
    Ok(names)
}

/// The chunks below `folder`; other files are nobody's business.
fn chunks_in(folder: &str, stored: Vec<Stored>) -> HashMap<Digest, Stored> {
    let chunks = stored.into_iter().filter_map(|stored| {
        let digest: Digest = stored.key.name().parse().ok()?;
        let key = chunk_key(&digest);
        let lies_right = [key.clone(), trash_key(&key)].contains(&stored.key);
        (lies_right && stored.key.is_below(folder)).then_some((digest, stored))
    });
    chunks.collect()
}
