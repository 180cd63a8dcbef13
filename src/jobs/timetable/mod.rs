//! What starts jobs at their times: lines for cron, units for systemd, a `CronJob` for Kubernetes, as text. Pure.
//!
//! This file owns what is started when; how each of the three writes it is a file of its own, and what the five fields say for
//! them is in `fields`.

mod cron;
mod fields;
mod kubernetes;
mod systemd;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::{Config, Job, Schedule, Secret};
use crate::error::{Error, Result};

pub use self::fields::{Fields, calendars};

/// What starts the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starter {
    /// Lines of a crontab.
    Cron,
    /// A service and a timer for each.
    Systemd,
    /// A `CronJob` for each.
    Kubernetes,
}

/// Something that is started regularly.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned<'a> {
    /// The job that it belongs to.
    pub job: &'a Job,
    /// Its name among files and units: the job's, or that with `-drill`.
    pub name: String,
    /// The arguments of `pgark`.
    pub arguments: Vec<String>,
    /// When.
    pub schedule: Schedule,
    /// The same for programs.
    pub fields: Fields,
}

/// A file that starts something, with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StarterFile {
    /// The file's name.
    pub name: String,
    /// Its contents.
    pub text: String,
}

/// Files, and how they are installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timetable {
    /// The files.
    pub files: Vec<StarterFile>,
    /// What to do with them, a line each; `DIR` stands for where they are.
    pub steps: Vec<String>,
}

/// Where things are on the machine that runs the jobs.
#[derive(Debug, Clone, Copy)]
pub struct Paths<'a> {
    /// The program.
    pub program: &'a Path,
    /// The configuration.
    pub config: &'a Path,
}

impl Paths<'_> {
    /// The command that starts a job or a drill, each word as `quoted` writes it.
    fn command(&self, one: &Planned<'_>, quoted: impl Fn(&str) -> String) -> String {
        let (program, config) = (
            self.program.to_string_lossy(),
            self.config.to_string_lossy(),
        );
        let words = [&*program, "--config", &*config].into_iter();
        let words = words.chain(one.arguments.iter().map(AsRef::as_ref));
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }
}

/// Everything of `jobs` that has a schedule: the jobs, and their drills.
///
/// # Errors
/// [`Error::Usage`] names the jobs whose schedule not every starter would take for the same.
pub fn planned<'a>(jobs: &[&'a Job]) -> Result<Vec<Planned<'a>>> {
    let mut planned = Vec::new();
    let mut problems = Vec::new();
    for &job in jobs {
        let drill = job.drill.as_ref();
        let of_drill = drill.and_then(|drill| drill.schedule.as_deref());
        let both = [
            (
                job.schedule.as_deref(),
                job.name.clone(),
                vec!["run".to_owned(), job.name.clone()],
                "schedule",
            ),
            (
                of_drill,
                format!("{}-drill", job.name),
                vec!["drill".to_owned(), "--job".to_owned(), job.name.clone()],
                "drill: schedule",
            ),
        ];
        for (text, name, arguments, what) in both {
            let Some(text) = text else {
                continue;
            };
            let read = Schedule::parse(text).and_then(|schedule| {
                let fields = Fields::of(&schedule)?;
                Ok((schedule, fields))
            });
            match read {
                Ok((schedule, fields)) => planned.push(Planned {
                    job,
                    name,
                    arguments,
                    schedule,
                    fields,
                }),
                Err(problem) => problems.push(format!("job {:?}: {what}: {problem}", job.name)),
            }
        }
    }
    problems.extend(doubles(&planned));
    if problems.is_empty() {
        return Ok(planned);
    }
    Err(Error::Usage(problems.join("\n")))
}

/// Names that would be the same as those of objects: job `a-drill` and the drill of job `a`, or `A` and `a`.
fn doubles(planned: &[Planned<'_>]) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut problems = Vec::new();
    for one in planned {
        if let Some(other) = seen.insert(kubernetes::object_name(one), &one.name) {
            problems.push(format!(
                "{other:?} and {:?} would have the same file or object: give one of the jobs another name",
                one.name
            ));
        }
    }
    problems
}

/// What `starter` needs to start `planned` at their times.
pub fn timetable(
    starter: Starter,
    planned: &[Planned<'_>],
    config: &Config,
    paths: Paths<'_>,
) -> Timetable {
    match starter {
        Starter::Cron => cron::timetable(planned, config, paths),
        Starter::Systemd => systemd::timetable(planned, config, paths),
        Starter::Kubernetes => kubernetes::timetable(planned, config),
    }
}

/// The next `n` times of `planned` after `now`.
pub fn next_times(
    planned: &Planned<'_>,
    zone: &TimeZone,
    now: Timestamp,
    n: usize,
) -> Vec<Timestamp> {
    let next = |after: &Timestamp| planned.schedule.next_after(*after, zone);
    let first = next(&now);
    std::iter::successors(first, next).take(n).collect()
}

/// The secrets that a run of `job` reads, without those of other jobs; each once.
fn secrets_of<'a>(config: &'a Config, planned: &Planned<'a>) -> Vec<&'a Secret> {
    let job = planned.job;
    let repositories = job.replicas.iter().map(|one| &one.repository);
    let places = repositories
        .chain([&job.repository])
        .filter_map(|name| config.repository(name));
    let of_places = places.flat_map(|place| {
        [
            &place.access_key_id,
            &place.secret_access_key,
            &place.session_token,
            &place.service_account_key,
        ]
    });
    let channels = job.notify.iter().filter_map(|name| config.channel(name));
    let drill = job.drill.as_ref().map(|drill| &drill.password);
    let all = [&job.password]
        .into_iter()
        .chain(drill)
        .chain(of_places)
        .chain(channels.map(|channel| &channel.url));
    let mut secrets: Vec<&Secret> = Vec::new();
    for secret in all.flatten() {
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }
    secrets
}

/// The folders that a run of `planned` writes, if its repositories are folders.
fn folders_of<'a>(config: &'a Config, planned: &Planned<'a>) -> Vec<&'a str> {
    let job = planned.job;
    let names = [&job.repository]
        .into_iter()
        .chain(job.replicas.iter().map(|one| &one.repository));
    let mut folders: Vec<&str> = Vec::new();
    for place in names.filter_map(|name| config.repository(name)) {
        let folder = match place.place.split_once("://") {
            Some(("file", path)) => path,
            Some(_) => continue,
            None => &place.place,
        };
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

#[cfg(test)]
mod tests;
