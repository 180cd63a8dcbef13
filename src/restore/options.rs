//! What a user may ask of a restore. Plain data; what it means for entries is decided in `select` and `plan`.

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
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a thing that the user leaves out or does not, in any combination"
)]
pub struct RestoreOptions {
    /// Connections that work at once; 0 counts as 1.
    pub jobs: usize,
    /// Definitions only, no rows, sequence values or large objects (`-s`).
    pub schema_only: bool,
    /// Rows, sequence values and large objects only, into tables that exist (`-a`).
    pub data_only: bool,
    /// Leave all objects to the connecting user (`-O`).
    pub no_owner: bool,
    /// Run no `GRANT` and `REVOKE` (`-x`).
    pub no_privileges: bool,
    /// Run no `COMMENT ON`.
    pub no_comments: bool,
    /// Put everything into the target's default tablespace.
    pub no_tablespaces: bool,
    /// Patterns of the only schemas to restore (`-n`).
    pub schemas: Vec<String>,
    /// Patterns of schemas to leave out (`-N`).
    pub exclude_schemas: Vec<String>,
    /// Patterns of the only relations to restore, with their indexes, constraints, triggers, owned sequences and rows (`-t`).
    pub tables: Vec<String>,
    /// Patterns of relations to leave out (`-T`).
    pub exclude_tables: Vec<String>,
    /// Patterns of relations whose definition is restored without rows.
    pub exclude_table_data: Vec<String>,
    /// Make the database first; refused if it exists (`-C`).
    pub create: bool,
    /// The role to become after connecting.
    pub role: Option<String>,
    /// What the bytes of an archive without an encoding (`SQL_ASCII`) are, such as `LATIN1`: names, text and rows are turned
    /// into the target's encoding from it.
    pub text_encoding: Option<String>,
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
            schema_only: false,
            data_only: false,
            no_owner: false,
            no_privileges: false,
            no_comments: false,
            no_tablespaces: false,
            schemas: Vec::new(),
            exclude_schemas: Vec::new(),
            tables: Vec::new(),
            exclude_tables: Vec::new(),
            exclude_table_data: Vec::new(),
            create: false,
            role: None,
            text_encoding: None,
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
