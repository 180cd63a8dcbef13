//! What a dump did, or would do. Plain data; printing it belongs to `cli`.

use std::time::Duration;

use super::spent::{Spent, milliseconds};
use crate::archive::name::ArchiveName;
use crate::archive::repository::Repository;
use crate::error::{Error, Result};
use crate::manage::prune::{PruneReport, rotate};
use crate::progress::Progress;
use crate::selection::Brought;

/// What a dump did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DumpReport {
    /// The archive.
    pub name: ArchiveName,
    /// Where its manifest is.
    pub location: String,
    /// Tables with rows.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Stored bytes of its chunks.
    pub stored_bytes: u64,
    /// Of those, new to the repository.
    pub new_bytes: u64,
    /// What was not chosen and came along because something chosen needs it.
    pub brought: Vec<Brought>,
    /// What was left out, with reasons.
    pub skipped: Vec<String>,
    /// Of those, what the role may not read (`skip_unreadable`).
    pub unreadable: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Archives that were removed because of `keep_last`.
    pub removed: Vec<ArchiveName>,
    /// What the rotation because of `keep_last` decided and did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<PruneReport>,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// Where it went.
    pub spent: Spent,
}

impl DumpReport {
    /// Verifies the new archive and removes older ones, if that was asked for.
    pub(super) async fn rotate(
        &mut self,
        repository: &Repository,
        keep_last: Option<u32>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(keep) = keep_last else {
            return Ok(());
        };
        match rotate(repository, std::slice::from_ref(&self.name), keep, progress).await {
            Ok(report) => {
                self.removed.clone_from(&report.removed);
                self.rotation = Some(report);
                Ok(())
            }
            // The archive stands, and the next dump rotates.
            Err(error @ Error::Busy { .. }) => {
                self.warnings
                    .push(format!("no older archive was removed: {error}"));
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Notes how long the look at the catalog took, and all of it.
    pub(super) fn took(&mut self, looking: Duration, took: Duration) {
        self.spent.catalog_ms = milliseconds(looking);
        self.duration_ms = milliseconds(took);
    }
}

/// What a dump would read.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Planned {
    /// The tables, largest first.
    pub tables: Vec<PlannedTable>,
    /// What was not chosen and would come along.
    pub brought: Vec<Brought>,
}

/// A table as `--plan` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PlannedTable {
    /// Schema and name.
    pub table: String,
    /// `cells` (of blocks), `keys` (ranges of a key) or `whole`.
    pub method: &'static str,
    /// The key, if it is read in ranges of one.
    pub key: Option<String>,
    /// Pieces that are read on their own.
    pub segments: usize,
    /// Heap and TOAST bytes.
    pub bytes: u64,
    /// Why it is not read in cells of blocks.
    pub reason: Option<String>,
}
