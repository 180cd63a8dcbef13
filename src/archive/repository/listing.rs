//! Finds archives: lists them, by name, and the newest of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::{Archive, Repository, archive_of};
use crate::archive::digest::Digest;
use crate::archive::manifest::{Group, Manifest, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::records::{Announced, Drilled, Ran, RecordKey, Verified};
use crate::error::{Error, Result};
use crate::store::Stored;

/// Small documents that are read at once while listing.
pub(super) const READS_AT_ONCE: usize = 16;

/// The newest record of a sort of each archive, by its key: when it began, and what the store says of the record.
pub(super) type Newest = BTreeMap<ArchiveName, (Timestamp, Stored)>;

/// What records say of archives, by their keys alone.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Verifications.
    pub(super) stamps: Newest,
    /// Drills.
    pub(super) drills: Newest,
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
    /// Chooses this group alone.
    pub fn of(group: &Group) -> GroupFilter {
        GroupFilter {
            system_identifier: Some(group.system_identifier.clone()),
            database: Some(group.database.clone()),
            job: Some(group.job.clone()),
            scope: Some(group.scope),
        }
    }

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
    /// All archives, oldest first. Damaged manifests are listed as damaged; where they have no announcement they come last.
    pub async fn archives(&self) -> Result<Vec<Listed>> {
        let stamps = Arc::new(self.marks().await?.stamps);
        let keys = self.store().list("archives").await?;
        // Gathered first: a stream that borrows here would keep callers from spawning this.
        let names: Vec<ArchiveName> = keys
            .iter()
            .filter_map(|stored| archive_of(&stored.key))
            .collect();
        let mut listed: Vec<Listed> = stream::iter(names)
            .map(|name| self.look_at_beside(name, &stamps))
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

    /// The newest archive of the one group that `filter` chooses. Where it chooses several, they are named in the error; but whole
    /// archives of one database hold the same whichever job made them, so of those the newest is taken.
    pub async fn latest(&self, filter: &GroupFilter) -> Result<Archive> {
        let mut newest: BTreeMap<Group, Listed> = BTreeMap::new();
        for listed in self.archives().await? {
            // Oldest first, so the newest of each group stays.
            if let Some(group) = listed.group.clone().filter(|group| filter.fits(group)) {
                let job = group.job.filter(|_| group.scope == Scope::Partial);
                newest.insert(Group { job, ..group }, listed);
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

    /// Looks at an archive in a task of its own, so that several cores read manifests.
    /// `None` if the manifest has gone since it was listed.
    pub(super) fn look_at_beside(
        &self,
        name: ArchiveName,
        stamps: &Arc<Newest>,
    ) -> impl Future<Output = Result<Option<Listed>>> + use<> {
        let (repository, stamps) = (self.clone(), Arc::clone(stamps));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { repository.look_at(name, &stamps).await });
        async move {
            // A set ends its tasks when it is dropped.
            match tasks.join_next().await.expect("one was spawned") {
                Ok(looked) => looked,
                Err(failed) => std::panic::resume_unwind(failed.into_panic()),
            }
        }
    }

    async fn look_at(&self, name: ArchiveName, stamps: &Newest) -> Result<Option<Listed>> {
        let (error, seal) = match self.read(&name).await {
            Ok(archive) => return Ok(Some(self.listed(archive, stamps).await)),
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error @ (Error::Corrupt { .. } | Error::Feature { .. } | Error::Key { .. })) => {
                (error, None)
            }
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

    async fn listed(&self, archive: Archive, stamps: &Newest) -> Listed {
        let manifest = archive.manifest;
        let verified = match stamps.get(&manifest.name) {
            Some((at, _)) => {
                let key = RecordKey::Verified(manifest.name.clone(), *at);
                // A damaged stamp proves nothing; `verify` names it.
                self.record::<Verified>(&key).await.ok().flatten()
            }
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

    /// The newest `n_max` drills, newest first. Damaged records are left out; `verify` names them.
    pub async fn drills(&self, n_max: usize) -> Result<Vec<Drilled>> {
        self.newest_records(n_max, |key| matches!(key, RecordKey::Drilled(..)))
            .await
    }

    /// The newest `n_max` drills with one archive, newest first. Damaged records are left out; `verify` names them.
    pub async fn drills_of(&self, name: &ArchiveName, n_max: usize) -> Result<Vec<Drilled>> {
        self.newest_records(
            n_max,
            |key| matches!(key, RecordKey::Drilled(of, _) if of == name),
        )
        .await
    }

    /// The newest `n_max` runs of a job, newest first. Damaged records are left out; `verify` names them.
    pub async fn runs(&self, job: &str, n_max: usize) -> Result<Vec<Ran>> {
        self.newest_records(
            n_max,
            |key| matches!(key, RecordKey::Ran(name, _) if name == job),
        )
        .await
    }

    async fn newest_records<T: DeserializeOwned>(
        &self,
        n_max: usize,
        chosen: impl Fn(&RecordKey) -> bool,
    ) -> Result<Vec<T>> {
        let stored = self.store().list(RecordKey::FOLDER).await?;
        // Keys sort by time, so the newest come last.
        let keys = stored
            .iter()
            .rev()
            .filter_map(|one| RecordKey::parse(&one.key));
        let keys: Vec<RecordKey> = keys.filter(|key| chosen(key)).take(n_max).collect();
        let mut records = Vec::with_capacity(keys.len());
        for key in keys {
            match self.record(&key).await {
                Ok(record) => records.extend(record),
                Err(Error::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// The newest stamp and the newest drill of each archive, from one listing of the records.
    pub(super) async fn marks(&self) -> Result<Marks> {
        let mut marks = Marks::default();
        // Keys sort by time, so the newest comes last.
        for stored in self.store().list(RecordKey::FOLDER).await? {
            match RecordKey::parse(&stored.key) {
                Some(RecordKey::Verified(name, at)) => marks.stamps.insert(name, (at, stored)),
                Some(RecordKey::Drilled(name, at)) => marks.drills.insert(name, (at, stored)),
                _ => None,
            };
        }
        Ok(marks)
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
