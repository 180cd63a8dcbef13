//! Which archives are kept: the rules as a user writes them. What they mean for given archives is `manage::retention`'s.

use serde::Deserialize;

use super::period::Period;

/// Rules of retention; an archive stays if any of them keeps it. Without rules everything stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The newest so many.
    pub last: Option<u32>,
    /// The newest of each of the newest so many hours that have one.
    pub hourly: Option<u32>,
    /// The newest of each of the newest so many days that have one.
    pub daily: Option<u32>,
    /// The newest of each of the newest so many weeks (Monday first) that have one.
    pub weekly: Option<u32>,
    /// The newest of each of the newest so many months that have one.
    pub monthly: Option<u32>,
    /// The newest of each of the newest so many years that have one.
    pub yearly: Option<u32>,
    /// All that are younger than this, counted back from the group's newest.
    pub within: Option<Period>,
    /// All with one of these tags, as `KEY` or `KEY=VALUE`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// A floor: never fewer than so many complete archives of a group, whatever the rules say.
    pub min: Option<u32>,
}

impl Keep {
    /// True if no rule is given, so that everything stays.
    pub fn is_everything(&self) -> bool {
        self.counts().iter().all(|(_, n)| n.is_none())
            && self.within.is_none()
            && self.tags.is_empty()
    }

    /// The counting rules with their names.
    pub fn counts(&self) -> [(&'static str, Option<u32>); 6] {
        [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ]
    }

    /// What cannot be meant.
    pub fn problems(&self) -> Vec<String> {
        let zero = self.counts().into_iter().chain([("min", self.min)]);
        zero.filter(|(_, n)| *n == Some(0))
            .map(|(rule, _)| {
                format!("keep: {rule} = 0 would keep none by that rule; leave the rule out instead")
            })
            .collect()
    }
}
