//! What a dump did, or would do. Plain data; printing it belongs to `cli`.

use crate::archive::name::ArchiveName;
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
    /// Wall time in milliseconds.
    pub duration_ms: u64,
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
    /// `cells` or `whole`.
    pub method: &'static str,
    /// Pieces that are read on their own.
    pub segments: usize,
    /// Heap and TOAST bytes.
    pub bytes: u64,
    /// Why it is read in one piece.
    pub reason: Option<&'static str>,
}
