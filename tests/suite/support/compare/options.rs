//! What may differ between two databases that are called the same, and why.

use regex::Regex;

use super::cross_version::{ACCEPTED, ALWAYS_ACCEPTED};
use super::facts::Difference;

/// A difference that is accepted, and the reason.
#[derive(Debug, Clone)]
pub(crate) struct Excuse {
    /// Matched against [`Difference::what`].
    pub(crate) pattern: Regex,
    /// Why the difference is no fault, for readers of the test.
    pub(crate) reason: &'static str,
}

impl Excuse {
    /// Accepts every difference whose `what` matches `pattern`.
    pub(crate) fn new(pattern: &str, reason: &'static str) -> Self {
        Self {
            pattern: Regex::new(pattern).expect("a valid pattern"),
            reason,
        }
    }

    pub(super) fn covers(&self, difference: &Difference) -> bool {
        self.pattern.is_match(&difference.what)
    }
}

/// How strictly two databases are compared. The default excuses only what no dump as SQL can keep.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompareOptions {
    /// Accepted differences besides the built-in ones.
    pub(crate) excuse: Vec<Excuse>,
    /// Also compares encoding, locale, privileges, comment and settings of the databases themselves.
    pub(crate) database: bool,
    /// The servers are of different major versions: what they cannot both have is left out.
    pub(crate) cross_version: bool,
    /// Leaves out nothing, not even what is lost by every dump as SQL.
    pub(crate) strict: bool,
}

/// Lost by every dump that recreates objects in SQL.
const LOST_IN_SQL: &[(&str, &str)] = &[
    (
        "^column .*: position among own and inherited columns$",
        "a column added to the parent of a plain inheritance child stands last in the child, but first in its copy",
    ),
    (
        "^dependencies of proc .*: on transform ",
        "recorded for every function of that type and language that is made after the transform",
    ),
];

impl CompareOptions {
    pub(super) fn built_in_excuses(&self, left: u32, right: u32) -> Vec<Excuse> {
        let mut lists = Vec::new();
        if !self.strict {
            lists.extend_from_slice(LOST_IN_SQL);
        }
        if self.cross_version {
            lists.extend_from_slice(ALWAYS_ACCEPTED);
            let between = |version: u32| (left < version) != (right < version);
            let of_version = ACCEPTED.iter().filter(|(version, ..)| between(*version));
            lists.extend(of_version.map(|(_, pattern, reason)| (*pattern, *reason)));
        }
        lists
            .into_iter()
            .map(|(pattern, reason)| Excuse::new(pattern, reason))
            .collect()
    }
}
