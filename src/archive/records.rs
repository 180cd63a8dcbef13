//! Records: small sealed documents, written once, that tell what happened to archives.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::manifest::Group;
use super::name::ArchiveName;
use crate::store::Key;

/// Written before a manifest, so that a manifest that vanishes is missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The archive.
    pub name: ArchiveName,
    /// The seal of its manifest.
    pub manifest: Digest,
    /// When the archive was made.
    pub created: Timestamp,
    /// The archives it belongs with; known even if the manifest is damaged.
    pub group: Group,
}

/// Written before a manifest is removed: nobody misses it then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The archive.
    pub name: ArchiveName,
    /// The seal of its manifest; `None` if that was not to be read.
    pub manifest: Option<Digest>,
    /// Why it was removed, for people.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// How thoroughly an archive was verified. The order is that of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Every chunk is there with its size.
    Presence,
    /// Every stored byte was hashed.
    Bytes,
    /// Every stored byte was hashed, decoded and counted.
    Full,
}

/// Written after an archive was verified and found whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The archive.
    pub name: ArchiveName,
    /// The seal of its manifest.
    pub manifest: Digest,
    /// How thoroughly.
    pub depth: Depth,
    /// When the verification began.
    pub at: Timestamp,
}

/// Written after a drill, whatever became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drilled {
    /// The archive that was restored.
    pub name: ArchiveName,
    /// The seal of its manifest.
    pub manifest: Digest,
    /// The job whose drill it was; `None` for one by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// When it began.
    pub at: Timestamp,
    /// The server, without secrets: `db.example.com:5432`.
    pub server: String,
    /// The server's version, as people know it.
    #[serde(default)]
    pub server_version: String,
    /// The name of the scratch database.
    #[serde(default)]
    pub scratch: String,
    /// From the beginning to a database that could have gone into service, in milliseconds: what the RTO is about.
    pub restore_ms: u64,
    /// With comparison and checks, in milliseconds.
    pub total_ms: u64,
    /// The recovery time objective, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_ms: Option<u64>,
    /// How long each part took, in order.
    #[serde(default)]
    pub phases: Vec<DrilledPhase>,
    /// Objects restored.
    #[serde(default)]
    pub n_objects: u64,
    /// Tables restored.
    pub n_tables: u64,
    /// Rows restored.
    pub n_rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Tables whose contents were compared with the archive's fingerprints.
    pub n_compared: u64,
    /// The user's checks.
    #[serde(default)]
    pub checks: Vec<DrilledCheck>,
    /// What people should know and is no failure, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What went wrong, a sentence each; empty if the drill passed.
    #[serde(default)]
    pub problems: Vec<String>,
}

impl Drilled {
    /// True if nothing went wrong.
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }
}

/// How long a part of a drill took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledPhase {
    /// The part: `rows and indexes`.
    pub name: String,
    /// Wall time in milliseconds.
    pub ms: u64,
}

/// One of the user's checks in a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledCheck {
    /// Its name.
    pub name: String,
    /// The query.
    pub sql: String,
    /// What it should have given.
    pub expect: String,
    /// What it gave, or the server's message.
    pub got: String,
    /// True if that is the same.
    pub passed: bool,
}

/// Written after a run of a job, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The job.
    pub job: String,
    /// When it began.
    pub at: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What became of it.
    pub outcome: RunOutcome,
    /// The archives that it made.
    #[serde(default)]
    pub archives: Vec<ArchiveName>,
    /// What it did, in order.
    #[serde(default)]
    pub steps: Vec<RanStep>,
}

/// What became of a run or of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// All was done.
    Succeeded,
    /// There is an archive, but not all that was asked for was done.
    Incomplete,
    /// It was not done.
    Failed,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RanStep {
    /// `hook`, `dump`, `verify`, `prune`, `replicate cold`.
    pub step: String,
    /// What became of it.
    pub outcome: RunOutcome,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// What was done, or what went wrong, in a sentence.
    pub message: String,
}

/// What a record's key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    /// The announcement of an archive.
    Announced(ArchiveName),
    /// The removal of an archive.
    Removed(ArchiveName),
    /// A verification of an archive.
    Verified(ArchiveName, Timestamp),
    /// A drill with an archive.
    Drilled(ArchiveName, Timestamp),
    /// A run of a job, whose name has the form of a key's segment.
    Ran(String, Timestamp),
}

/// `2026-11-22T02:00:00.123Z` as part of a key: fixed width, so keys sort by time.
const TIME: &str = "%Y%m%dT%H%M%S%3fZ";
/// The width of such a time.
const TIME_BYTES: usize = 19;

impl RecordKey {
    /// Where such records lie.
    pub const FOLDER: &str = "records";

    /// The key: `records/announced-NAME.json`, `records/removed-NAME.json`, `records/verified-TIME-NAME.json`,
    /// `records/drill-TIME-NAME.json`, `records/run-TIME-JOB.json`.
    pub fn key(&self) -> Key {
        Key::new(match self {
            RecordKey::Announced(name) => format!("records/announced-{name}.json"),
            RecordKey::Removed(name) => format!("records/removed-{name}.json"),
            RecordKey::Verified(name, at) => {
                format!("records/verified-{}-{name}.json", at.strftime(TIME))
            }
            RecordKey::Drilled(name, at) => {
                format!("records/drill-{}-{name}.json", at.strftime(TIME))
            }
            RecordKey::Ran(job, at) => format!("records/run-{}-{job}.json", at.strftime(TIME)),
        })
    }

    /// What `key` says; `None` for records of other kinds, which newer versions may write.
    pub fn parse(key: &Key) -> Option<RecordKey> {
        let name = key
            .as_str()
            .strip_prefix("records/")?
            .strip_suffix(".json")?;
        if let Some(name) = name.strip_prefix("announced-") {
            return Some(RecordKey::Announced(name.parse().ok()?));
        }
        if let Some(name) = name.strip_prefix("removed-") {
            return Some(RecordKey::Removed(name.parse().ok()?));
        }
        let (sort, rest) = name.split_once('-')?;
        let (time, rest) = rest.split_at_checked(TIME_BYTES)?;
        let (at, of) = (parse_time(time)?, rest.strip_prefix('-')?);
        match sort {
            "verified" => Some(RecordKey::Verified(of.parse().ok()?, at)),
            "drill" => Some(RecordKey::Drilled(of.parse().ok()?, at)),
            "run" if !of.is_empty() => Some(RecordKey::Ran(of.to_owned(), at)),
            _ => None,
        }
    }

    /// True if an encrypted repository seals the record: it may hold texts of servers and users.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, RecordKey::Drilled(..) | RecordKey::Ran(..))
    }

    /// The archive that the record is about, if it is about one.
    pub fn archive(&self) -> Option<&ArchiveName> {
        match self {
            RecordKey::Announced(name)
            | RecordKey::Removed(name)
            | RecordKey::Verified(name, _)
            | RecordKey::Drilled(name, _) => Some(name),
            RecordKey::Ran(..) => None,
        }
    }
}

/// Reads `20261122T020000123Z`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let (date, time) = (part(0..8), part(9..18));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(date) || !digits(time) {
        return None;
    }
    let iso = format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(9..11),
        part(11..13),
        part(13..15),
        part(15..18)
    );
    iso.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_records_read_back() {
        let name: ArchiveName = "verified-a-b.json".parse().unwrap();
        let at: Timestamp = "2026-11-22T02:00:00.123Z".parse().unwrap();
        for key in [
            RecordKey::Announced(name.clone()),
            RecordKey::Removed(name.clone()),
            RecordKey::Verified(name.clone(), at),
            RecordKey::Drilled(name, at),
            RecordKey::Ran("shop-nightly".to_owned(), at),
        ] {
            assert_eq!(RecordKey::parse(&key.key()), Some(key));
        }
        for other in [
            "records/drill-x.json",
            "records/run-20261122T020000123Z-.json",
            "records/walk-20261122T020000123Z-x.json",
            "records/verified-2026-x.json",
            "records/verified-aaaaaaaaTbbbbbbbbbZ-x.json",
            "records/announced-.json",
        ] {
            assert_eq!(RecordKey::parse(&Key::new(other)), None);
        }
    }
}
