//! The report page: everything that is known of a repository's archives as one HTML document, which needs nothing else to be read.
//!
//! [`gather()`] reads the repository into a [`PageData`]; [`render()`] is pure and makes the same page of the same data. What is judged
//! is in `problems`; writing the page to a file belongs to `cli`.

mod calendar;
mod chart;
mod drills;
mod gather;
mod group;
mod html;
mod overview;
mod problems;
mod series;
mod shell;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use self::gather::{PageOptions, gather};
pub use self::problems::{Problem, Weight};
pub use self::shell::render;
use crate::archive::manifest::Group;
use crate::archive::name::ArchiveName;
use crate::archive::records::{Depth, Drilled, Ran};
use crate::config::Job;

/// Groups that a page shows with all that is known of them; the others have a line of the overview.
pub const GROUPS_IN_DETAIL: usize = 16;
/// Tables that a group shows, the largest.
pub const TABLES_SHOWN: usize = 12;

/// What a page shows.
#[derive(Debug, Clone)]
pub struct PageData {
    /// The repository as people know it.
    pub location: String,
    /// The moment that ages are counted to.
    pub now: Timestamp,
    /// The zone in which times are shown and days begin.
    pub zone: TimeZone,
    /// Name and version of the program.
    pub tool: String,
    /// What is wrong with the repository itself, a sentence each.
    pub repository_problems: Vec<String>,
    /// Jobs that were asked for by name and have no archive.
    pub missing_jobs: Vec<String>,
    /// The groups, by name.
    pub groups: Vec<GroupData>,
    /// Archives that cannot be read and whose group is unknown.
    pub lost: Vec<DamagedArchive>,
    /// Drills with archives that belong to none of the groups any more, newest first.
    pub other_drills: Vec<Drilled>,
}

/// Archives that follow one another.
#[derive(Debug, Clone)]
pub struct GroupData {
    /// Which.
    pub group: Group,
    /// What the configuration asks of them.
    pub job: Option<Job>,
    /// Its archives, oldest first.
    pub archives: Vec<ArchiveFacts>,
    /// Those of its archives that cannot be read.
    pub damaged: Vec<DamagedArchive>,
    /// Its drills, newest first.
    pub drills: Vec<Drilled>,
    /// The runs of its job, newest first.
    pub runs: Vec<Ran>,
    /// The largest tables of its newest archive.
    pub tables: Vec<TableFacts>,
    /// Why there are none, if they could not be read.
    pub tables_problem: Option<String>,
}

/// What the page needs of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFacts {
    /// Its name.
    pub name: ArchiveName,
    /// When it was made.
    pub created: Timestamp,
    /// How long it took to make, in milliseconds.
    pub duration_ms: u64,
    /// Tables with rows saved.
    pub n_tables: u64,
    /// Their rows.
    pub n_rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Stored bytes of all its chunks, shared ones included.
    pub stored_bytes: u64,
    /// Stored bytes that it added to the repository.
    pub new_bytes: u64,
    /// When and how thoroughly it was last verified and found whole.
    pub verified: Option<(Timestamp, Depth)>,
}

/// An archive whose manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedArchive {
    /// Its name.
    pub name: ArchiveName,
    /// What is wrong.
    pub error: String,
}

/// A table of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Schema and name, unquoted.
    pub name: String,
    /// Its rows.
    pub n_rows: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
}

impl PageData {
    /// Archives that can be read.
    pub fn n_archives(&self) -> u64 {
        self.groups
            .iter()
            .map(|data| data.archives.len() as u64)
            .sum()
    }
}

impl PageData {
    /// What the repository holds, as far as its archives tell. Groups of one database share their chunks and are reckoned together.
    pub fn kept_bytes(&self) -> u64 {
        let mut by_database: BTreeMap<(&str, &str), Vec<&ArchiveFacts>> = BTreeMap::new();
        for data in &self.groups {
            let database = (
                data.group.system_identifier.as_str(),
                data.group.database.as_str(),
            );
            by_database
                .entry(database)
                .or_default()
                .extend(&data.archives);
        }
        let sums = by_database.into_values().map(|mut archives| {
            archives.sort_by_key(|one| one.created);
            kept_bytes(archives)
        });
        sums.fold(0, u64::saturating_add)
    }
}

/// Of archives in the order of their age: all that the oldest needs, and what each later one added.
fn kept_bytes<'a>(archives: impl IntoIterator<Item = &'a ArchiveFacts>) -> u64 {
    let mut sum = 0_u64;
    for (i, one) in archives.into_iter().enumerate() {
        let added = if i == 0 {
            one.stored_bytes
        } else {
            one.new_bytes
        };
        sum = sum.saturating_add(added);
    }
    sum
}

impl GroupData {
    /// The newest archive that can be read.
    pub fn newest(&self) -> Option<&ArchiveFacts> {
        self.archives.last()
    }

    /// What the repository holds for the group, as far as its archives tell: all that the oldest needs, and what each later one added.
    pub fn kept_bytes(&self) -> u64 {
        kept_bytes(&self.archives)
    }

    /// Raw bytes of all its archives.
    pub fn raw_bytes(&self) -> u64 {
        let sizes = self.archives.iter().map(|one| one.raw_bytes);
        sizes.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
