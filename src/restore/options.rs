//! What a user may ask of a restore. Plain data; what it means for entries is decided in `select` and `plan`.

use crate::selection::Selection;

/// How thoroughly the restored rows are compared with the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// The server's count of the rows of each COPY must be the archive's. Always done.
    #[default]
    Counts,
    /// Each table is also streamed back, and its fingerprint compared.
    Content,
}

/// What to restore, and how. The default restores everything with as many connections as the machine has cores.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Connections that work at once; 0 counts as 1.
    pub jobs: usize,
    /// Which entries, and which of their parts.
    pub selection: Selection,
    /// Make the database first; refused if it exists (`-C`).
    pub create: bool,
    /// The role to become after connecting.
    pub role: Option<String>,
    /// Collect planner statistics.
    pub analyze: bool,
    /// How the result is compared with the archive.
    pub check: Check,
    /// Hash every stored byte of the chosen rows before the first change. Without it only presence and size are looked at.
    pub verify_chunks: bool,
    /// Memory in MiB for all index builds together, shared out by how many may run at once; `None` leaves the server's setting.
    pub index_memory_mib: Option<u32>,
    /// Parallel workers of the server for one index build; `None` leaves the server's setting.
    pub index_workers: Option<u32>,
}

impl Default for RestoreOptions {
    fn default() -> RestoreOptions {
        RestoreOptions {
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            selection: Selection::default(),
            create: false,
            role: None,
            analyze: true,
            check: Check::Counts,
            verify_chunks: true,
            index_memory_mib: None,
            index_workers: None,
        }
    }
}

impl RestoreOptions {
    /// Connections that work at once.
    pub(super) fn n_workers(&self) -> usize {
        self.jobs.max(1)
    }
}
