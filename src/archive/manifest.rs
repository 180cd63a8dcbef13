//! The manifest: the small document that makes chunks an archive.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chunks::ChunkRef;
use super::digest::Digest;
use super::name::ArchiveName;
use super::sealed;
use crate::error::{Error, Result};
use crate::pg::version::ServerVersion;

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The features that this version knows. A manifest that needs another is refused by its name.
pub const FEATURES: &[&str] = &[ESCAPED_BYTES];
/// Some text holds bytes that are no UTF-8, each as one character; see [`crate::sql::escape`]. Archives without such have no
/// need of the feature.
pub const ESCAPED_BYTES: &str = "escaped_bytes";

/// What a dump saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A whole database.
    Full,
    /// Chosen objects, or not all parts of them.
    Partial,
    /// What all databases of a cluster share: roles, tablespaces, privileges on parameters.
    Globals,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Full => "full",
            Scope::Partial => "partial",
            Scope::Globals => "globals",
        })
    }
}

/// Archives that follow one another: `latest`, retention and drills never leave a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Group {
    /// The source cluster's system identifier, in decimal.
    pub system_identifier: String,
    /// The source database; empty for what all databases share, since no database is called so.
    pub database: String,
    /// The configured job that made the archive; `None` for a dump by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// What was saved.
    pub scope: Scope,
}

impl fmt::Display for Group {
    /// `shop full of cluster 7301234567890123456`, with the job where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.database.is_empty() {
            write!(f, "{} ", crate::toc::printable(&self.database))?;
        }
        write!(f, "{}", self.scope)?;
        if let Some(job) = &self.job {
            write!(f, " by job {}", crate::toc::printable(job))?;
        }
        write!(f, " of cluster {}", self.system_identifier)
    }
}

/// The member of [`Source::locale`] that tells the version of the default collation, where the server knows it.
pub const COLLATION_VERSION: &str = "collation_version";

/// Where the data comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `server_version_num`.
    pub server_version: ServerVersion,
    /// `server_version`, as people know it.
    pub server_version_text: String,
    /// The cluster's system identifier, in decimal.
    pub system_identifier: String,
    /// The database.
    pub database: String,
    /// The database's encoding, which is that of all rows: `UTF8`.
    pub encoding: String,
    /// The database's locale: `collate`, `ctype`, `provider`, `icu_locale`, … as far as the server has them.
    #[serde(default)]
    pub locale: BTreeMap<String, String>,
    /// The extensions, without those that every database has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, ExtensionPlace>,
    /// The WAL position when the snapshot was taken; `None` on a standby that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_lsn: Option<String>,
    /// When the snapshot was taken.
    pub started: Timestamp,
    /// When the last row was read.
    pub finished: Timestamp,
}

/// The dump of a whole cluster that an archive is part of: one archive of the globals, written last, and one of each database.
///
/// The archive of the globals alone says which archives belong to it, and with which manifests. Where it does not stand, the
/// others are archives like any, and no set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSet {
    /// The set's name, for people; that of its archive of globals, unless that was taken in the meantime.
    pub name: String,
    /// In the archive of globals: the archives of the databases, in the order in which they were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<SetMember>,
    /// In the archive of globals: databases that could not be saved, with reasons. Without any the set is complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Skipped>,
}

impl ClusterSet {
    /// The set as an archive of a database names it.
    pub fn named(name: String) -> ClusterSet {
        ClusterSet {
            name,
            members: Vec::new(),
            missing: Vec::new(),
        }
    }
}

/// One archive of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetMember {
    /// Its name.
    pub name: ArchiveName,
    /// The seal of its manifest.
    pub manifest: Digest,
    /// Its database.
    pub database: String,
}

/// Which extension the source had, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionPlace {
    /// Its version.
    pub version: String,
    /// Its schema.
    pub schema: String,
}

/// Something that was not saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The object, for people.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// How much an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tables whose rows were saved, empty ones included: the TOC's entries with the data of a table.
    pub n_tables: u64,
    /// Rows in the data index; pages of large objects count too.
    pub n_rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Stored bytes of all chunks, each counted once, those shared with other archives too.
    pub stored_bytes: u64,
    /// Stored bytes of the chunks that were new to the repository.
    pub new_bytes: u64,
    /// Different chunks.
    pub n_chunks: u64,
    /// Entries of the TOC.
    pub n_entries: u64,
}

/// The root document of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The oldest format whose readers understand the archive.
    pub read_version: u32,
    /// The format of the writer.
    pub write_version: u32,
    /// What a reader must know beyond that, by name.
    #[serde(default)]
    pub features: Vec<String>,
    /// The archive's own name.
    pub name: ArchiveName,
    /// The id of the repository for which it was written.
    pub repository: String,
    /// When the archive was made: the time of its snapshot.
    pub created: Timestamp,
    /// The archives it belongs with.
    pub group: Group,
    /// Where the data comes from.
    pub source: Source,
    /// The options that chose objects, as the user gave them.
    #[serde(default)]
    pub selection: Vec<String>,
    /// What was left out, with reasons.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// How much it is.
    pub totals: Totals,
    /// The chunks of the TOC: JSON Lines, one entry per line.
    pub toc: Vec<ChunkRef>,
    /// The chunks of the data index: JSON Lines, one table per line.
    pub data_index: Vec<ChunkRef>,
    /// Name and version of the program that wrote it.
    pub tool: String,
    /// What users or jobs attach.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The dump of a whole cluster that the archive is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<ClusterSet>,
    /// In an encrypted repository the chunks of the inventory, which names all others and is not sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<ChunkRef>,
}

impl Manifest {
    /// The chunks that the manifest itself names: those of its lists.
    pub fn lists(&self) -> impl Iterator<Item = &ChunkRef> {
        let lists = self.toc.iter().chain(&self.data_index);
        lists.chain(&self.inventory)
    }

    /// The set that this archive closes, if it is one of globals that was written after those of the databases.
    pub fn closes(&self) -> Option<&ClusterSet> {
        let is_last = self.group.scope == Scope::Globals;
        self.set.as_ref().filter(|_| is_last)
    }

    /// The name and version of this program.
    pub fn this_tool() -> String {
        format!("pgark {}", env!("CARGO_PKG_VERSION"))
    }

    /// The manifest with its seal.
    pub fn seal(&self) -> (Bytes, Digest) {
        sealed::seal(self)
    }

    /// Reads a manifest that must be that of `name`; gives its seal too.
    /// Formats and features come first: what a newer version wrote is refused by name, before anything else of it is looked at.
    pub fn read(bytes: &[u8], name: &ArchiveName, place: &str) -> Result<(Manifest, Digest)> {
        let object = format!("archive {name}");
        let damaged = |problem| Error::corrupt(&object, place, problem);
        let sealed = sealed::open(bytes).map_err(damaged)?;
        let manifest = Manifest::parse(sealed.json, name, place)?;
        Ok((manifest, sealed.seal))
    }

    /// The same of its JSON, whose seal was looked at.
    pub(super) fn parse(json: &[u8], name: &ArchiveName, place: &str) -> Result<Manifest> {
        #[derive(Deserialize)]
        struct Gate {
            read_version: u32,
            #[serde(default)]
            features: Vec<String>,
        }
        let object = format!("archive {name}");
        let unparsed = |error: serde_json::Error| {
            Error::corrupt(&object, place, format_args!("does not parse: {error}"))
        };
        let gate: Gate = serde_json::from_slice(json).map_err(unparsed)?;
        let unknown = (gate.read_version > FORMAT)
            .then(|| format!("archive format {}", gate.read_version))
            .or_else(|| {
                let known = |feature: &String| FEATURES.contains(&feature.as_str());
                gate.features.into_iter().find(|feature| !known(feature))
            });
        if let Some(feature) = unknown {
            return Err(Error::Feature {
                what: object,
                feature,
            });
        }
        let manifest: Manifest = serde_json::from_slice(json).map_err(unparsed)?;
        if manifest.name != *name {
            return Err(Error::corrupt(
                object,
                place,
                format_args!("is the manifest of another archive, {}", manifest.name),
            ));
        }
        Ok(manifest)
    }
}
