//! What a verification found, for people and as JSON.

use std::fmt;

use serde::Serialize;

use crate::archive::name::ArchiveName;
use crate::archive::records::Depth;
use crate::store::Key;

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The archive that suffers; `None` if it is the repository.
    pub archive: Option<ArchiveName>,
    /// The file, as a key of the store.
    pub key: String,
    /// What is wrong with it; follows the key in a sentence.
    pub problem: String,
    /// What was in it.
    pub affected: Vec<Affected>,
    /// True if something that was saved cannot be trusted any more.
    pub damage: bool,
}

/// What a damaged file took with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// A table, a stream, for people.
    pub what: String,
    /// How many rows at most are lost; 0 where it is no rows, or their number is unknown.
    pub n_rows_lost: u64,
}

impl Finding {
    /// Damage to an archive's file, or to a repository's where `archive` is `None`.
    pub(super) fn damage(
        archive: Option<&ArchiveName>,
        key: &Key,
        problem: impl fmt::Display,
    ) -> Finding {
        Finding {
            archive: archive.cloned(),
            key: key.to_string(),
            problem: problem.to_string(),
            affected: Vec::new(),
            damage: true,
        }
    }

    /// Adds what was in the file.
    pub(super) fn affecting(mut self, what: impl fmt::Display) -> Finding {
        self.affected.push(Affected {
            what: what.to_string(),
            n_rows_lost: 0,
        });
        self
    }
}

impl fmt::Display for Finding {
    /// `chunks/ab/ab34… is missing: archive shop-1: table data public.orders (up to 1200 rows)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        write!(f, "{} {}", self.key, self.problem)?;
        if let Some(archive) = &self.archive {
            write!(f, ": archive {archive}")?;
        }
        for (i, affected) in self.affected.iter().take(SHOWN).enumerate() {
            f.write_str(if i == 0 { ": " } else { ", " })?;
            f.write_str(&affected.what)?;
            if affected.n_rows_lost > 0 {
                write!(f, " (up to {} rows)", affected.n_rows_lost)?;
            }
        }
        match self.affected.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What was looked at in one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedArchive {
    /// Its name.
    pub name: ArchiveName,
    /// True if everything was as it was saved.
    pub whole: bool,
    /// Tables in its data index.
    pub n_tables: u64,
    /// Rows counted; those of tables or depths that were not read are not in it.
    pub n_rows: u64,
    /// Different chunks it names.
    pub n_chunks: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The repository.
    pub location: String,
    /// How thoroughly it was verified.
    pub depth: Depth,
    /// True if what the archives hold was not looked at because the repository is encrypted and no passphrase was given: tables and rows are unknown.
    pub sealed: bool,
    /// How many chunks were read, if it was not to be all of them.
    pub subset: Option<Portion>,
    /// Segments or chunks that an interrupted verification had found right, and that were not read again.
    pub n_known: u64,
    /// The archives that were looked at, oldest names first.
    pub archives: Vec<VerifiedArchive>,
    /// Everything found.
    pub findings: Vec<Finding>,
    /// Chunks that no archive names: left by interrupted dumps or removed archives, harmless. `None` if that could not be told.
    pub unreferenced: Option<Unreferenced>,
}

/// How many of the chunks with rows were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Portion {
    /// Hashed, and decoded where that was asked for.
    pub n_read: u64,
    /// All of them.
    pub n_chunks: u64,
}

/// Chunks that no archive names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unreferenced {
    /// How many.
    pub n_chunks: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
}

impl VerifyReport {
    /// True if something that was saved cannot be trusted any more.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.damage)
    }
}
