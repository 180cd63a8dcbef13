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

/// What a record's key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    /// The announcement of an archive.
    Announced(ArchiveName),
    /// The removal of an archive.
    Removed(ArchiveName),
    /// A verification of an archive.
    Verified(ArchiveName, Timestamp),
}

/// `2026-11-22T02:00:00.123Z` as part of a key: fixed width, so keys sort by time.
const TIME: &str = "%Y%m%dT%H%M%S%3fZ";
/// The width of such a time.
const TIME_BYTES: usize = 19;

impl RecordKey {
    /// Where such records lie.
    pub const FOLDER: &str = "records";

    /// The key: `records/announced-NAME.json`, `records/removed-NAME.json`, `records/verified-TIME-NAME.json`.
    pub fn key(&self) -> Key {
        Key::new(match self {
            RecordKey::Announced(name) => format!("records/announced-{name}.json"),
            RecordKey::Removed(name) => format!("records/removed-{name}.json"),
            RecordKey::Verified(name, at) => {
                format!("records/verified-{}-{name}.json", at.strftime(TIME))
            }
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
        let rest = name.strip_prefix("verified-")?;
        let (time, rest) = rest.split_at_checked(TIME_BYTES)?;
        Some(RecordKey::Verified(
            rest.strip_prefix('-')?.parse().ok()?,
            parse_time(time)?,
        ))
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
            RecordKey::Verified(name, at),
        ] {
            assert_eq!(RecordKey::parse(&key.key()), Some(key));
        }
        for other in [
            "records/drill-x.json",
            "records/verified-2026-x.json",
            "records/verified-aaaaaaaaTbbbbbbbbbZ-x.json",
            "records/announced-.json",
        ] {
            assert_eq!(RecordKey::parse(&Key::new(other)), None);
        }
    }
}
