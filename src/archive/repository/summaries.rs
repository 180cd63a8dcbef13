//! What a list shows of archives, and how much of it an earlier listing knew already. Keeping that between runs belongs to `manage`.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::listing::{Listed, READS_AT_ONCE, Stamps};
use super::{Repository, archive_of};
use crate::archive::digest::Digest;
use crate::archive::manifest::{Group, Manifest, Totals};
use crate::archive::name::ArchiveName;
use crate::archive::records::Verified;
use crate::error::{Error, Result};
use crate::store::Stored;

/// What a list shows of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub name: ArchiveName,
    /// The seal of its manifest.
    pub seal: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// The archives it belongs with.
    pub group: Group,
    /// The dump of a whole cluster that it is part of.
    pub set: Option<String>,
    /// Its sums.
    pub totals: Totals,
    /// Its newest verification.
    pub verified: Option<Verified>,
    /// What users or jobs attached.
    pub tags: BTreeMap<String, String>,
}

/// An archive in a list, or what is known of one whose manifest cannot be read.
#[derive(Debug, Clone)]
pub struct Summarized {
    /// Its name.
    pub name: ArchiveName,
    /// When it was made, where that is known.
    pub created: Option<Timestamp>,
    /// The archives it belongs with, where that is known.
    pub group: Option<Group>,
    /// The rest; what is wrong with the manifest where it cannot be read.
    pub summary: Result<Summary, Arc<Error>>,
}

/// What a store says of an object without giving it. Objects are never overwritten, so one that looks the same is the same, unless
/// somebody else works in the store by hand; a list may be wrong then, and nothing else reads summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sight {
    n_bytes: u64,
    written_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    manifest: Sight,
    /// The newest stamp.
    stamp: Option<(Timestamp, Sight)>,
    summary: Summary,
}

/// What an earlier listing found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known(Vec<Noted>);

impl From<&Stored> for Sight {
    fn from(stored: &Stored) -> Sight {
        Sight {
            n_bytes: stored.n_bytes,
            written_ms: stored.written_ms,
        }
    }
}

impl Repository {
    /// All archives, oldest first, and damaged ones of unknown age at the end. Of archives in `known` that the store shows
    /// unchanged nothing is read. Also gives what is known now.
    pub async fn summaries(&self, known: &Known) -> Result<(Vec<Summarized>, Known)> {
        let stamps = Arc::new(self.newest_stamps().await?);
        let known: BTreeMap<&ArchiveName, &Noted> =
            known.0.iter().map(|one| (&one.summary.name, one)).collect();
        let (mut found, mut unknown, mut now_known) = (Vec::new(), Vec::new(), Vec::new());
        for stored in self.store().list("archives").await? {
            let Some(name) = archive_of(&stored.key) else {
                continue;
            };
            let (manifest, stamp) = (Sight::from(&stored), sight_of_stamp(&stamps, &name));
            match known.get(&name) {
                Some(noted) if noted.manifest == manifest && noted.stamp == stamp => {
                    found.push(Summarized::from(noted.summary.clone()));
                    now_known.push((*noted).clone());
                }
                _ => unknown.push((name, manifest, stamp)),
            }
        }
        let mut read = stream::iter(unknown)
            .map(|(name, manifest, stamp)| {
                let looked = self.look_at_beside(name, &stamps);
                async move { Ok::<_, Error>((looked.await?, manifest, stamp)) }
            })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((listed, manifest, stamp)) = read.try_next().await? {
            // One that has gone since it was listed is no archive any more.
            let Some(listed) = listed else { continue };
            let summarized = Summarized::from(listed);
            if let Ok(summary) = &summarized.summary {
                now_known.push(Noted {
                    manifest,
                    stamp,
                    summary: summary.clone(),
                });
            }
            found.push(summarized);
        }
        drop(read);
        found.sort_by_key(|one| (one.created.is_none(), one.created, one.name.clone()));
        now_known.sort_by(|a, b| a.summary.name.cmp(&b.summary.name));
        Ok((found, Known(now_known)))
    }
}

fn sight_of_stamp(stamps: &Stamps, name: &ArchiveName) -> Option<(Timestamp, Sight)> {
    let (at, stored) = stamps.get(name)?;
    Some((*at, Sight::from(stored)))
}

impl From<Summary> for Summarized {
    fn from(summary: Summary) -> Summarized {
        Summarized {
            name: summary.name.clone(),
            created: Some(summary.created),
            group: Some(summary.group.clone()),
            summary: Ok(summary),
        }
    }
}

impl From<Listed> for Summarized {
    fn from(listed: Listed) -> Summarized {
        let summary = match (&listed.manifest, listed.seal) {
            (Ok(manifest), Some(seal)) => Ok(summary(manifest, seal, listed.verified)),
            (Err(error), _) => Err(Arc::clone(error)),
            (Ok(_), None) => unreachable!("a manifest that was read has a seal"),
        };
        Summarized {
            name: listed.name,
            created: listed.created,
            group: listed.group,
            summary,
        }
    }
}

fn summary(manifest: &Manifest, seal: Digest, verified: Option<Verified>) -> Summary {
    Summary {
        name: manifest.name.clone(),
        seal,
        created: manifest.created,
        group: manifest.group.clone(),
        set: manifest.set.as_ref().map(|set| set.name.clone()),
        totals: manifest.totals,
        verified,
        tags: manifest.tags.clone(),
    }
}
