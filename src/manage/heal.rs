//! Mends what a verification found: a damaged chunk is put aside, so that the next dump stores it anew, and whatever another
//! repository has whole is fetched from there. Nothing that reads right is ever touched, and nothing is thrown away: damaged files
//! lie in `quarantine/` afterwards.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;

use super::verify::Finding;
use crate::archive::digest::Digest;
use crate::archive::name::ArchiveName;
use crate::archive::records::{Announced, RecordKey};
use crate::archive::repository::{Repository, archive_of, manifest_key};
use crate::archive::sealed;
use crate::error::{Error, Result};
use crate::store::{Key, Put};

/// What became of damaged files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Healed {
    /// Files that are whole again, fetched from the other repository.
    pub fetched: Vec<String>,
    /// Damaged chunks that were put aside: the next dump that has their rows stores them anew.
    pub put_aside: Vec<String>,
    /// Files for which nothing could be done, and why.
    pub not_healed: Vec<NotHealed>,
}

/// A file for which nothing could be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotHealed {
    /// The file, as a key of the store.
    pub key: String,
    /// Why.
    pub why: String,
}

/// A file that can be recognised as whole by itself or by what announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Chunk(Digest),
    Manifest(ArchiveName),
    Announcement(ArchiveName),
}

impl Kind {
    fn of(key: &Key) -> Option<Kind> {
        let text = key.as_str();
        if text.starts_with("chunks/") || text.starts_with("trash/chunks/") {
            return Some(Kind::Chunk(key.name().parse().ok()?));
        }
        match RecordKey::parse(key) {
            Some(RecordKey::Announced(name)) => Some(Kind::Announcement(name)),
            Some(_) => None,
            None => archive_of(key).map(Kind::Manifest),
        }
    }

    /// Where a whole copy stands, here and elsewhere.
    fn key(&self) -> Key {
        match self {
            Kind::Chunk(digest) => crate::archive::chunks::chunk_key(digest),
            Kind::Manifest(name) => manifest_key(name),
            Kind::Announcement(name) => RecordKey::Announced(name.clone()).key(),
        }
    }
}

/// Where damaged files are kept.
fn quarantine_key(key: &Key, damaged: &[u8]) -> Key {
    let digest = Digest::of(damaged).to_string();
    Key::new(format!("quarantine/{key}-{}", &digest[..8]))
}

/// Mends the files that `findings` name as damaged, from `other` where there is one.
///
/// A chunk is judged anew before anything is done to it. A manifest or announcement is taken from `other` only if both together
/// are whole there and agree with what of them is whole here.
///
/// Errors: a store that cannot be read or written.
pub async fn heal(
    repository: &Repository,
    findings: &[Finding],
    other: Option<&Repository>,
) -> Result<Healed> {
    let damaged = findings.iter().filter(|finding| finding.damage);
    let keys: BTreeSet<&str> = damaged.map(|finding| finding.key.as_str()).collect();
    let mut healing = Healing {
        repository,
        other,
        healed: Healed::default(),
    };
    for key in keys {
        let Some(key) = Key::parse(key) else {
            continue;
        };
        match Kind::of(&key) {
            Some(kind) => healing.mend(&key, &kind).await?,
            None => healing.give_up(&key, "only the archives' own files can be fetched"),
        }
    }
    repository.store().flush().await?;
    Ok(healing.healed)
}

struct Healing<'a> {
    repository: &'a Repository,
    other: Option<&'a Repository>,
    healed: Healed,
}

impl Healing<'_> {
    fn give_up(&mut self, key: &Key, why: impl Into<String>) {
        self.healed.not_healed.push(NotHealed {
            key: key.to_string(),
            why: why.into(),
        });
    }

    async fn mend(&mut self, key: &Key, kind: &Kind) -> Result<()> {
        let here = match self.repository.store().get(key).await {
            Ok(here) => here,
            Err(error) => {
                self.give_up(key, format!("it cannot be read: {error}"));
                return Ok(());
            }
        };
        if let (Some(bytes), Kind::Chunk(digest)) = (&here, kind)
            && Digest::of(bytes) == *digest
        {
            let why = "its bytes are those of its name: what an archive says of it is wrong";
            self.give_up(key, why);
            return Ok(());
        }
        let whole = match self.other {
            Some(other) => self.whole_copy(other, kind).await?,
            None => None,
        };
        match (whole, here) {
            (Some(whole), here) => self.replace(key, kind, here, whole).await,
            (None, Some(damaged)) if matches!(kind, Kind::Chunk(_)) => {
                self.put_aside(key, damaged).await?;
                self.healed.put_aside.push(key.to_string());
                Ok(())
            }
            (None, _) => {
                let why = match self.other {
                    Some(other) => format!("{} has no whole copy of it either", other.location()),
                    None => "only another repository can have a copy".to_owned(),
                };
                self.give_up(key, why);
                Ok(())
            }
        }
    }

    /// The other repository's copy, if it is what should stand here.
    async fn whole_copy(&self, other: &Repository, kind: &Kind) -> Result<Option<Bytes>> {
        match kind {
            Kind::Chunk(digest) => {
                let copy = other.chunks(1).get_stored(digest).await?;
                Ok(copy.filter(|bytes| Digest::of(bytes) == *digest))
            }
            Kind::Manifest(name) | Kind::Announcement(name) => {
                let Some((manifest, announced)) = pair(other, name).await? else {
                    return Ok(None);
                };
                let (text, seal) = announced;
                let agrees = match kind {
                    Kind::Manifest(_) => seal_announced(self.repository, name).await?,
                    _ => seal_of(self.repository, name).await?,
                };
                if agrees.is_some_and(|ours| ours != seal) {
                    return Ok(None);
                }
                Ok(Some(if matches!(kind, Kind::Manifest(_)) {
                    manifest
                } else {
                    text
                }))
            }
        }
    }

    async fn replace(
        &mut self,
        key: &Key,
        kind: &Kind,
        damaged: Option<Bytes>,
        whole: Bytes,
    ) -> Result<()> {
        if let Some(damaged) = damaged {
            self.put_aside(key, damaged).await?;
        }
        let key = kind.key();
        if self.repository.store().put_new(&key, whole).await? == Put::Exists {
            let why = "another run has put something there meanwhile; verify again";
            self.give_up(&key, why);
            return Ok(());
        }
        self.healed.fetched.push(key.to_string());
        Ok(())
    }

    /// First a durable copy, then the file itself.
    async fn put_aside(&self, key: &Key, damaged: Bytes) -> Result<()> {
        let store = self.repository.store();
        let aside = quarantine_key(key, &damaged);
        store.put_new(&aside, damaged).await?;
        store.flush().await?;
        store.delete(key).await
    }
}

/// A manifest and its announcement with its text, if both are whole and belong together.
async fn pair(
    repository: &Repository,
    name: &ArchiveName,
) -> Result<Option<(Bytes, (Bytes, Digest))>> {
    let (Some(seal), Some(announced)) = (
        seal_of(repository, name).await?,
        seal_announced(repository, name).await?,
    ) else {
        return Ok(None);
    };
    let store = repository.store();
    let manifest = store.get(&manifest_key(name)).await?;
    let record = store.get(&RecordKey::Announced(name.clone()).key()).await?;
    let both = manifest.zip(record).filter(|_| seal == announced);
    Ok(both.map(|(manifest, record)| (manifest, (record, seal))))
}

/// The seal of the manifest, if it is whole.
async fn seal_of(repository: &Repository, name: &ArchiveName) -> Result<Option<Digest>> {
    let seal = match repository.read(name).await {
        // Whoever has no key can tell a whole manifest as well.
        Err(Error::Key { .. }) => repository
            .envelope(name)
            .await
            .map(|envelope| envelope.seal),
        read => read.map(|archive| archive.seal()),
    };
    match seal {
        Ok(seal) => Ok(Some(seal)),
        Err(Error::Corrupt { .. } | Error::NotFound { .. } | Error::Feature { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The seal that is announced, if the announcement is whole.
async fn seal_announced(repository: &Repository, name: &ArchiveName) -> Result<Option<Digest>> {
    let key = RecordKey::Announced(name.clone());
    let Some(bytes) = repository.store().get(&key.key()).await? else {
        return Ok(None);
    };
    let read = sealed::read::<Announced>(&bytes, "", "");
    Ok(read.ok().map(|(announced, _)| announced.manifest))
}

#[cfg(test)]
#[path = "heal_tests.rs"]
mod tests;
