//! What a clone did. Plain data; printing it belongs to `cli`.

use std::time::Duration;

use jiff::Timestamp;

use crate::dump::live::Opened;
use crate::pg::ServerVersion;
use crate::restore::RestoreReport;

/// What a clone did.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct CloneReport {
    /// The source database.
    pub source: String,
    /// The source server's version.
    pub source_version: ServerVersion,
    /// When its snapshot was taken: the clone is what it was then.
    pub snapshot: Timestamp,
    /// What was left out at the source, with reasons.
    pub not_read: Vec<String>,
    /// Of those, what the role may not read (`skip_unreadable`).
    pub unreadable: u64,
    /// What became of the target; it names no archive.
    #[serde(flatten)]
    pub restored: RestoreReport,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

impl CloneReport {
    pub(super) fn new(opened: &Opened, mut restored: RestoreReport) -> CloneReport {
        let manifest = opened.archive.manifest();
        restored.archive.clear();
        restored.brought.clone_from(&opened.brought);
        let warnings = std::mem::take(&mut restored.warnings);
        restored.warnings = opened.warnings.iter().cloned().chain(warnings).collect();
        let skipped = manifest.skipped.iter();
        CloneReport {
            source: manifest.source.database.clone(),
            source_version: manifest.source.server_version,
            snapshot: manifest.created,
            not_read: skipped
                .map(|one| format!("{}: {}", one.what, one.reason))
                .collect(),
            unreadable: opened.n_unreadable,
            restored,
            duration_ms: 0,
        }
    }

    /// True if all that was chosen is in the target, and nothing differs.
    pub fn is_complete(&self) -> bool {
        self.restored.is_complete() && self.unreadable == 0
    }

    pub(super) fn took(&mut self, took: Duration) {
        self.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }
}
