//! What a replication did, for people and as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::archive::manifest::Group;
use crate::archive::name::ArchiveName;
use crate::archive::repository::{GroupFilter, Listed};

/// What became of one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// The target has it now.
    Copied,
    /// The target had it already.
    Present,
    /// The target had it once and removed it: a name is never used twice.
    Removed,
    /// The target does not have it, or has another archive under its name.
    Failed,
}

/// One archive that was to be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replicated {
    /// Its name.
    pub name: ArchiveName,
    /// What became of it.
    pub state: CopyState,
    /// Chunks that were sent.
    pub copied_chunks: u64,
    /// Their stored bytes.
    pub copied_bytes: u64,
    /// Since when every stored byte of the copy is proved; `None` where that was not found out, or the archive was not copied now.
    pub verified: Option<Timestamp>,
    /// Why it failed.
    pub problem: Option<String>,
}

impl Replicated {
    pub(super) fn new(name: &ArchiveName, state: CopyState) -> Replicated {
        Replicated {
            name: name.clone(),
            state,
            copied_chunks: 0,
            copied_bytes: 0,
            verified: None,
            problem: None,
        }
    }

    pub(super) fn failed(name: &ArchiveName, problem: String) -> Replicated {
        Replicated {
            problem: Some(problem),
            ..Replicated::new(name, CopyState::Failed)
        }
    }
}

/// How far the target is behind in one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupLag {
    /// The group in words.
    pub group: String,
    /// The source's newest archive.
    pub newest_source: Timestamp,
    /// The target's newest archive; `None` if it has none.
    pub newest_target: Option<Timestamp>,
    /// How much older the target's newest is, in milliseconds; 0 if it is not, `None` if it has none.
    pub lag_ms: Option<i64>,
}

/// The outcome of a replication to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplicateReport {
    /// The source.
    pub source: String,
    /// The target.
    pub target: String,
    /// The archives that were chosen, in the order in which they were copied.
    pub archives: Vec<Replicated>,
    /// How far the target is behind, by group.
    pub groups: Vec<GroupLag>,
    /// What ended the replication before its end.
    pub problem: Option<String>,
    /// Chosen archives that were not tried because of it.
    pub n_untried: u64,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

impl ReplicateReport {
    /// True if the target has every archive that was chosen, or has had it.
    pub fn is_complete(&self) -> bool {
        self.problem.is_none() && self.count(CopyState::Failed) == 0
    }

    /// How many archives ended so.
    pub fn count(&self, state: CopyState) -> u64 {
        let archives = self.archives.iter();
        archives.filter(|one| one.state == state).count() as u64
    }

    /// Chunks that were sent.
    pub fn copied_chunks(&self) -> u64 {
        self.archives.iter().map(|one| one.copied_chunks).sum()
    }

    /// Their stored bytes.
    pub fn copied_bytes(&self) -> u64 {
        self.archives.iter().map(|one| one.copied_bytes).sum()
    }
}

/// How far one repository is behind another in each of the groups that `filter` chooses.
pub fn lags(source: &[Listed], target: &[Listed], filter: &GroupFilter) -> Vec<GroupLag> {
    let there = newest(target, filter);
    let groups = newest(source, filter).into_iter();
    let lag = |(group, newest_source): (&Group, Timestamp)| {
        let newest_target = there.get(group).copied();
        let behind = |at: Timestamp| newest_source.duration_since(at).as_millis().max(0);
        GroupLag {
            group: group.to_string(),
            newest_source,
            newest_target,
            lag_ms: newest_target.map(|at| i64::try_from(behind(at)).unwrap_or(i64::MAX)),
        }
    };
    groups.map(lag).collect()
}

fn newest<'a>(listed: &'a [Listed], filter: &GroupFilter) -> BTreeMap<&'a Group, Timestamp> {
    let mut newest: BTreeMap<&Group, Timestamp> = BTreeMap::new();
    for one in listed.iter().filter(|one| one.manifest.is_ok()) {
        if let (Some(group), Some(created)) = (&one.group, one.created)
            && filter.fits(group)
        {
            let at = newest.entry(group).or_insert(created);
            *at = created.max(*at);
        }
    }
    newest
}
