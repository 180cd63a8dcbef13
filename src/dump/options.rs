//! What a user may ask of a dump. Plain data; what is chosen is `selection`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::archive::name::ArchiveName;
use crate::selection::Selection;

/// How a database is dumped.
#[derive(Debug, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a thing that the user asks for or not, in any combination"
)]
pub struct DumpOptions {
    /// Connections that read rows, besides the coordinator's.
    pub jobs: usize,
    /// The archive's name; the database and the time otherwise.
    pub name: Option<ArchiveName>,
    /// What is dumped.
    pub selection: Selection,
    /// zstd's level.
    pub level: i32,
    /// The configured job that this dump belongs to.
    pub job: Option<String>,
    /// The dump of a whole cluster that this dump belongs to.
    pub set: Option<String>,
    /// What the user attaches to the archive.
    pub tags: BTreeMap<String, String>,
    /// After success verify the archive, then remove older ones of the group, keeping so many.
    pub keep_last: Option<u32>,
    /// Wait for a snapshot that no serializable transaction can contradict.
    pub serializable_deferrable: bool,
    /// Give up waiting for a table lock after so long.
    pub lock_wait: Option<Duration>,
    /// Leave out what the role may not read, and record it; without it the dump fails and names everything.
    pub skip_unreadable: bool,
    /// Save the rows that row security lets the role see; without it a table with filtered rows is unreadable.
    pub enable_row_security: bool,
    /// Tests prove that consistency hangs on the snapshot by leaving its import out.
    #[doc(hidden)]
    pub without_snapshot: bool,
    /// Heap and TOAST bytes that a cell aims at; tests split small tables with it.
    #[doc(hidden)]
    pub cell_bytes: Option<u64>,
}

impl Default for DumpOptions {
    fn default() -> Self {
        DumpOptions {
            jobs: 2,
            name: None,
            selection: Selection::default(),
            level: 1,
            job: None,
            set: None,
            tags: BTreeMap::new(),
            keep_last: None,
            serializable_deferrable: false,
            lock_wait: None,
            skip_unreadable: false,
            enable_row_security: false,
            without_snapshot: false,
            cell_bytes: None,
        }
    }
}

impl DumpOptions {
    /// The options that narrow the dump, as the user would type them.
    pub(super) fn narrowing(&self) -> Vec<String> {
        let switches = [
            ("--skip-unreadable", self.skip_unreadable),
            ("--enable-row-security", self.enable_row_security),
        ];
        let on = switches.iter().filter(|(_, on)| *on);
        let mut narrowing = self.selection.as_options();
        narrowing.extend(on.map(|(flag, _)| (*flag).to_owned()));
        narrowing
    }

    /// True if foreign servers are asked for rows, which a dump otherwise makes impossible.
    pub(super) fn reads_foreign_tables(&self) -> bool {
        !self.selection.foreign_data.is_empty()
    }
}
