//! What a configuration file says, as plain data: repositories, channels for notifications, jobs. Reads text and checks what can be
//! known from it alone; opening files, stores and connections belongs to those who use it.

mod channel;
mod job;
mod keep;
mod period;
mod place;
mod schedule;
mod secret;

use std::collections::BTreeSet;

use serde::Deserialize;

pub use self::channel::{Channel, ChannelKind, Occasion};
pub use self::job::{
    Command, DRILL_EVERY, Drill, Hooks, Job, Replica, SqlCheck, Tables, Trend, VerifyDepth,
};
pub use self::keep::Keep;
pub use self::period::Period;
pub use self::place::{ObjectLock, ObjectLockMode, Place};
pub use self::schedule::{Missed, Schedule};
pub use self::secret::Secret;
use crate::error::{Error, Result};

/// A configuration file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// IANA name of the zone in which schedules run and days begin: `Europe/Berlin`. The machine's if it is not said.
    pub timezone: Option<String>,
    /// Where archives are kept.
    #[serde(default, rename = "repository")]
    pub repositories: Vec<Place>,
    /// Who is told.
    #[serde(default, rename = "notify")]
    pub channels: Vec<Channel>,
    /// What is done regularly.
    #[serde(default, rename = "job")]
    pub jobs: Vec<Job>,
}

impl Config {
    /// Reads a configuration. `file` stands in errors, which name the line too.
    pub fn parse(text: &str, file: &str) -> Result<Config> {
        let config: Config = toml::from_str(text).map_err(|problem| {
            // Its own text shows the line, which may hold a secret that somebody wrote there.
            let start = problem.span().map_or(0, |span| span.start);
            let line = 1 + text[..start].bytes().filter(|b| *b == b'\n').count();
            Error::Usage(format!("{file}: line {line}: {}", problem.message()))
        })?;
        let problems = config.problems();
        if problems.is_empty() {
            return Ok(config);
        }
        Err(Error::Usage(format!(
            "{file}: {}",
            problems.join(&format!("\n{file}: "))
        )))
    }

    /// The repository called `name`.
    pub fn repository(&self, name: &str) -> Option<&Place> {
        self.repositories.iter().find(|one| one.name == name)
    }

    /// The channel called `name`.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|one| one.name == name)
    }

    /// The zone in which schedules run and days begin.
    pub fn zone(&self) -> jiff::tz::TimeZone {
        let named = self.timezone.as_deref();
        named
            .and_then(|name| jiff::tz::TimeZone::get(name).ok())
            .unwrap_or_else(jiff::tz::TimeZone::system)
    }

    /// The job called `name`.
    pub fn job(&self, name: &str) -> Option<&Job> {
        self.jobs.iter().find(|one| one.name == name)
    }

    /// What cannot be meant, all of it.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(zone) = &self.timezone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            problems.push(format!(
                "timezone: {zone:?} is no time zone; write it like Europe/Berlin"
            ));
        }
        let names: [(&str, Vec<&str>); 3] = [
            (
                "repository",
                self.repositories
                    .iter()
                    .map(|one| one.name.as_str())
                    .collect(),
            ),
            (
                "notify",
                self.channels.iter().map(|one| one.name.as_str()).collect(),
            ),
            (
                "job",
                self.jobs.iter().map(|one| one.name.as_str()).collect(),
            ),
        ];
        for (what, names) in &names {
            problems.extend(problems_of_names(what, names));
        }
        for channel in &self.channels {
            problems.extend(channel.problems());
        }
        for place in &self.repositories {
            problems.extend(place.problems());
        }
        for job in &self.jobs {
            problems.extend(job.problems());
            problems.extend(self.strangers_of(job));
        }
        problems
    }

    /// Names that the job uses and that nothing has.
    fn strangers_of(&self, job: &Job) -> Vec<String> {
        let mut strangers = Vec::new();
        let replicas = job.replicas.iter().map(|replica| &replica.repository);
        for name in replicas.chain([&job.repository]) {
            if self.repository(name).is_none() {
                strangers.push(format!(
                    "job {:?}: there is no repository {name:?}",
                    job.name
                ));
            }
        }
        for name in &job.notify {
            if self.channel(name).is_none() {
                strangers.push(format!(
                    "job {:?}: there is no [[notify]] {name:?}",
                    job.name
                ));
            }
        }
        strangers
    }
}

/// A name becomes part of file and unit names: letters, digits, `_`, `-` and `.`, no dot first, at most 63.
fn problems_of_names(what: &str, names: &[&str]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for name in names {
        let fits = name.len() <= 63
            && !name.starts_with(['.', '-'])
            && !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !fits {
            problems.push(format!(
                "{what} {name:?}: a name has letters, digits, _, - and ., begins with neither - nor ., and has at most 63 bytes"
            ));
        }
        if !seen.insert(*name) {
            problems.push(format!("{what} {name:?} is there twice"));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
