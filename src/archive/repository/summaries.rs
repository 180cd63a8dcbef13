//! What a list shows of archives, and how much of it an earlier listing knew already. Keeping that between runs belongs to `manage`.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::listing::{Listed, Marks, Newest, READS_AT_ONCE};
use super::{Repository, archive_of};
use crate::archive::digest::Digest;
use crate::archive::manifest::{Group, Manifest, Totals};
use crate::archive::name::ArchiveName;
use crate::archive::records::{Drilled, RecordKey, Verified};
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
    /// Its newest drill.
    pub drilled: Option<ListedDrill>,
    /// What users or jobs attached.
    pub tags: BTreeMap<String, String>,
}

/// What became of a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedDrill {
    /// When it began.
    pub at: Timestamp,
    /// True if nothing went wrong.
    pub passed: bool,
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

/// What a store says of an archive's manifest and newest records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sights {
    manifest: Sight,
    stamp: Option<(Timestamp, Sight)>,
    drill: Option<(Timestamp, Sight)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    sights: Sights,
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
        let Marks { stamps, drills } = self.marks().await?;
        let stamps = Arc::new(stamps);
        let known: BTreeMap<&ArchiveName, &Noted> =
            known.0.iter().map(|one| (&one.summary.name, one)).collect();
        let (mut found, mut unknown, mut now_known) = (Vec::new(), Vec::new(), Vec::new());
        for stored in self.store().list("archives").await? {
            let Some(name) = archive_of(&stored.key) else {
                continue;
            };
            let sights = Sights {
                manifest: Sight::from(&stored),
                stamp: sight_of_record(&stamps, &name),
                drill: sight_of_record(&drills, &name),
            };
            match known.get(&name) {
                Some(noted) if noted.sights == sights => {
                    found.push(Summarized::from(noted.summary.clone()));
                    now_known.push((*noted).clone());
                }
                _ => unknown.push((name, sights)),
            }
        }
        let mut read = stream::iter(unknown)
            .map(|(name, sights)| {
                let drill = sights
                    .drill
                    .map(|(at, _)| RecordKey::Drilled(name.clone(), at));
                let looked = self.look_at_beside(name, &stamps);
                async move {
                    let Some(listed) = looked.await? else {
                        return Ok::<_, Error>(None);
                    };
                    let drilled = match drill {
                        // A damaged record counts as none; `verify` names it.
                        Some(key) => self.record::<Drilled>(&key).await.ok().flatten(),
                        None => None,
                    };
                    Ok(Some((Summarized::of(listed, drilled), sights)))
                }
            })
            .buffer_unordered(READS_AT_ONCE);
        while let Some(looked) = read.try_next().await? {
            // One that has gone since it was listed is no archive any more.
            let Some((summarized, sights)) = looked else {
                continue;
            };
            if let Ok(summary) = &summarized.summary {
                now_known.push(Noted {
                    sights,
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

fn sight_of_record(newest: &Newest, name: &ArchiveName) -> Option<(Timestamp, Sight)> {
    let (at, stored) = newest.get(name)?;
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

impl Summarized {
    fn of(listed: Listed, drilled: Option<Drilled>) -> Summarized {
        let drilled = drilled.filter(|drilled| Some(drilled.manifest) == listed.seal);
        let drilled = drilled.map(|drilled| ListedDrill {
            at: drilled.at,
            passed: drilled.passed(),
        });
        let summary = match (&listed.manifest, listed.seal) {
            (Ok(manifest), Some(seal)) => {
                let summary = summary(manifest, seal, listed.verified);
                Ok(Summary { drilled, ..summary })
            }
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
        drilled: None,
        tags: manifest.tags.clone(),
    }
}
