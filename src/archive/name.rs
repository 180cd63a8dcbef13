//! Names of archives: safe as part of a key, and told apart from words of the command line.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of an archive: 1 to 128 of `[A-Za-z0-9._-]`, beginning with a letter or digit, and not `latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ArchiveName(String);

impl ArchiveName {
    /// The longest name in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The name a dump gets when the user gives none: `shop-20261122T020000Z`. Characters of `database` that no name has become `_`.
    pub fn of_dump(database: &str, at: Timestamp) -> ArchiveName {
        let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut name: String = database
            .chars()
            .map(|c| if is_name_char(c) { c } else { '_' })
            .take(100)
            .collect();
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            name.insert_str(0, "db");
        }
        ArchiveName(format!("{name}-{time}"))
    }

    /// The name with a number behind it, for the case that the name is taken.
    #[must_use]
    pub fn with_suffix(&self, n: u32) -> ArchiveName {
        let suffix = format!("-{n}");
        let kept = self.0.len().min(ArchiveName::BYTES_MAX - suffix.len());
        ArchiveName(format!("{}{suffix}", &self.0[..kept]))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl FromStr for ArchiveName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ArchiveName> {
        let is_name = (1..=ArchiveName::BYTES_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(is_name_char)
            && text != "latest";
        if is_name {
            return Ok(ArchiveName(text.to_owned()));
        }
        Err(Error::Usage(format!(
            "{text:?} cannot name an archive: 1 to {} letters, digits, dots, underscores and hyphens, a letter or digit first, not \"latest\"",
            ArchiveName::BYTES_MAX
        )))
    }
}

impl<'de> Deserialize<'de> for ArchiveName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_mislead_are_refused() {
        for good in ["shop-20261122T020000Z", "a", "A.b_c-1"] {
            assert!(good.parse::<ArchiveName>().is_ok(), "{good}");
        }
        let long = "a".repeat(129);
        for bad in ["", "latest", "-a", ".a", "a/b", "a b", "ä", "a\n", &long] {
            assert!(bad.parse::<ArchiveName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_database_gives_a_name() {
        let at: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
        for (database, expected) in [
            ("shop", "shop-20261122T020000Z"),
            ("my shop/2", "my_shop_2-20261122T020000Z"),
            ("_x", "db_x-20261122T020000Z"),
            ("", "db-20261122T020000Z"),
        ] {
            let name = ArchiveName::of_dump(database, at);
            assert_eq!(name.as_str(), expected);
            assert_eq!(expected.parse::<ArchiveName>().unwrap(), name);
        }
        let longest = ArchiveName::of_dump(&"ü".repeat(200), at).with_suffix(u32::MAX);
        assert!(longest.as_str().parse::<ArchiveName>().is_ok());
    }
}
