//! What a user may ask of a restore. Plain data; what it means for entries is decided in `select` and `plan`.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::selection::Selection;

/// The longest name that a server takes (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

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
    reason = "each is a switch of the command line, in any combination"
)]
pub struct RestoreOptions {
    /// Connections that work at once; 0 counts as 1.
    pub jobs: usize,
    /// Which entries, and which of their parts.
    pub selection: Selection,
    /// Leave out, with all that needs them, objects that the target's version cannot hold, instead of refusing the restore.
    pub skip_unsupported: bool,
    /// Make the database first; refused if it exists (`-C`).
    pub create: bool,
    /// Drop the chosen objects that are on the target first, in one transaction (`-c`).
    pub clean: bool,
    /// Do everything in one transaction on one connection; nothing stays after a failure (`-1`).
    pub single_transaction: bool,
    /// Stop at the first object that fails (`-e`).
    pub exit_on_error: bool,
    /// Switch a table's triggers off while its rows are loaded; only with `data_only`.
    pub disable_triggers: bool,
    /// Load partitions' rows through the topmost partitioned table, which finds their place anew.
    pub load_via_partition_root: bool,
    /// Roles by another name: the archive's, the target's.
    pub map_roles: Vec<(String, String)>,
    /// Schemas by another name: the archive's, the target's.
    pub map_schemas: Vec<(String, String)>,
    /// Give the database the archived one's owner, settings, limits, comment and privileges; always so with `create`.
    pub database_properties: bool,
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
    /// Restore what is whole of a damaged archive; the rows that are lost are named in the report. The archive's lists must be whole.
    pub salvage: bool,
    /// Go on where an earlier restore of the same archive into the same database ended, by the journal that it left there. Begins anew
    /// where that had not begun.
    pub resume: bool,
    /// Somebody else may have made the archive: no planner statistics and no subscriptions are taken from it, and a user whose rights
    /// reach beyond the database is refused, because the archive's statements run with them.
    pub untrusted: bool,
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
            skip_unsupported: false,
            create: false,
            clean: false,
            single_transaction: false,
            exit_on_error: false,
            disable_triggers: false,
            load_via_partition_root: false,
            map_roles: Vec::new(),
            map_schemas: Vec::new(),
            database_properties: false,
            role: None,
            text_encoding: None,
            analyze: true,
            check: Check::Counts,
            verify_chunks: true,
            salvage: false,
            resume: false,
            untrusted: false,
            index_memory_mib: None,
            index_workers: None,
        }
    }
}

impl RestoreOptions {
    /// For what all databases of a cluster share: no rows, so nothing to do side by side.
    pub(super) fn of_globals() -> RestoreOptions {
        RestoreOptions {
            jobs: 1,
            analyze: false,
            ..RestoreOptions::default()
        }
    }

    /// Connections that work at once.
    pub(super) fn n_workers(&self) -> usize {
        if self.single_transaction {
            1
        } else {
            self.jobs.max(1)
        }
    }

    /// True if the first failure ends the work.
    pub(super) fn stops_at_first(&self) -> bool {
        self.exit_on_error || self.single_transaction
    }

    /// Finds what cannot be asked for together.
    ///
    /// Errors: [`Error::Usage`].
    pub(super) fn check(&self) -> Result<()> {
        let conflicts = [
            (
                self.selection.schema_only && self.selection.data_only,
                "only definitions and only rows exclude each other",
            ),
            (
                self.single_transaction && self.resume,
                "what is one transaction leaves nothing to go on with: leave out --resume or --single-transaction",
            ),
            (
                self.single_transaction && self.create,
                "a database cannot be made inside a transaction: leave out --create or --single-transaction",
            ),
            (
                self.clean && self.create,
                "a database that --create makes has nothing to drop: leave out --clean, or drop the database yourself first",
            ),
            (
                self.clean && self.selection.data_only,
                "--clean drops tables, which --data-only does not make again: leave one of them out",
            ),
            (
                self.clean && !self.map_schemas.is_empty(),
                "--clean drops what has the archive's names, and --map-schema restores under others: leave one of them out",
            ),
            (
                self.selection.data_only && !self.map_schemas.is_empty(),
                "--map-schema is for definitions and their rows: --data-only fills the tables that have the archive's names",
            ),
            (
                self.disable_triggers && !self.selection.data_only,
                "--disable-triggers is for --data-only: otherwise triggers are made after the rows",
            ),
        ];
        let found = conflicts.into_iter().find(|(is_asked, _)| *is_asked);
        match found {
            Some((_, problem)) => Err(Error::Usage(problem.to_owned())),
            None => check_schema_names(&self.map_schemas),
        }
    }
}

/// New names of schemas must be such that a server takes them.
fn check_schema_names(pairs: &[(String, String)]) -> Result<()> {
    let mut new = BTreeSet::new();
    let mut old = BTreeSet::new();
    for (from, to) in pairs {
        let problem = if !old.insert(from) {
            format!("schema {from:?} cannot get two new names")
        } else if !new.insert(to) {
            format!("two schemas cannot both become {to:?}")
        } else if from == to {
            format!("schema {from:?} has that name already")
        } else if to.is_empty() || to.len() > NAME_BYTES_MAX || to.starts_with("pg_") {
            format!(
                "{to:?} cannot be the name of a schema: 1 to {NAME_BYTES_MAX} bytes, not beginning with pg_"
            )
        } else {
            continue;
        };
        return Err(Error::Usage(problem));
    }
    Ok(())
}
