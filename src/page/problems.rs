//! What is not as it should be: judged from what the page knows, the clock included. Pure; shows nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::series::median;
use super::{ArchiveFacts, GroupData, PageData};
use crate::archive::manifest::{Scope, Totals};
use crate::archive::records::RunOutcome;
use crate::config::DRILL_EVERY;
use crate::human;
use crate::monitor::trend::of_totals;

/// Archives that the usual time between two is taken from.
const INTERVALS: usize = 14;

/// How bad it is. The order is that of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something is lost, broken or late.
    Alarm,
    /// Somebody should look.
    Notice,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How bad it is.
    pub weight: Weight,
    /// The group's place in [`PageData::groups`]; `None` if it is the repository's.
    pub group: Option<usize>,
    /// What is wrong, in a sentence.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

impl PageData {
    /// All problems, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        for text in &self.repository_problems {
            problems.push(alarm(text.clone(), "`pgark verify --all` names all damage"));
        }
        for job in &self.missing_jobs {
            let text = format!("there is no archive of the job {job}");
            problems.push(alarm(text, "`pgark run` makes the first one"));
        }
        for lost in &self.lost {
            problems.push(alarm(
                format!("archive {} cannot be read: {}", lost.name, lost.error),
                "Take the file from a copy of the repository",
            ));
        }
        for (number, data) in self.groups.iter().enumerate() {
            let judged = data.problems(self.now).into_iter();
            problems.extend(judged.map(|one| Problem {
                group: Some(number),
                ..one
            }));
        }
        problems.sort();
        problems
    }
}

impl GroupData {
    fn problems(&self, now: Timestamp) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(self.damage());
        problems.extend(self.last_run());
        problems.extend(self.age(now));
        problems.extend(self.last_drill(now));
        problems.extend(self.unverified());
        problems.extend(self.trend());
        problems
    }

    fn damage(&self) -> Option<Problem> {
        let first = self.damaged.first()?;
        let others = match self.damaged.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        Some(alarm(
            format!(
                "archive {}{others} cannot be read: {}",
                first.name, first.error
            ),
            "`pgark verify --all` names all damage; take the files from a copy of the repository",
        ))
    }

    fn last_run(&self) -> Option<Problem> {
        let run = self.runs.first()?;
        let step = run
            .steps
            .iter()
            .find(|step| step.outcome != RunOutcome::Succeeded)
            .map(|step| format!(": {}: {}", step.step, step.message))
            .unwrap_or_default();
        let remedy = "The run's own report says more; `pgark run` repeats it";
        match run.outcome {
            RunOutcome::Succeeded => None,
            RunOutcome::Failed => Some(alarm(format!("the last run failed{step}"), remedy)),
            RunOutcome::Incomplete => {
                Some(notice(format!("the last run was incomplete{step}"), remedy))
            }
        }
    }

    /// Nothing newer than the recovery point objective; where none is configured, than what is usual.
    fn age(&self, now: Timestamp) -> Option<Problem> {
        let newest = self.newest()?;
        let age = elapsed(newest.created, now);
        let remedy = "See that the schedule runs: `pgark schedule` prints it";
        if let Some(rpo) = self.job.as_ref().and_then(|job| job.rpo) {
            return (age > rpo.duration()).then(|| {
                let text = format!(
                    "the newest archive is {} old; the recovery point objective is {rpo}",
                    human::duration(age)
                );
                alarm(text, remedy)
            });
        }
        let usual = self.usual_interval()?;
        (age > usual * 5 / 2).then(|| {
            let text = format!(
                "the newest archive is {} old; usually there is one every {}",
                human::duration(age),
                human::duration(usual)
            );
            notice(text, remedy)
        })
    }

    /// The usual time between two archives, if there are enough to tell.
    fn usual_interval(&self) -> Option<Duration> {
        let times: Vec<Timestamp> = self.archives.iter().map(|one| one.created).collect();
        let newest = &times[times.len().saturating_sub(INTERVALS + 1)..];
        if newest.len() < 4 {
            return None;
        }
        let between = newest.windows(2).map(|two| elapsed(two[0], two[1]));
        let seconds = median(between.map(|time| time.as_secs()).collect())?;
        // Archives made by hand within minutes tell nothing about a schedule.
        (seconds >= 1800).then(|| Duration::from_secs(seconds))
    }

    fn last_drill(&self, now: Timestamp) -> Option<Problem> {
        let asked = self.job.as_ref().and_then(|job| job.drill.as_ref());
        let remedy = "`pgark drill` restores the newest archive into a scratch database";
        let Some(drill) = self.drills.first() else {
            return asked.map(|_| alarm("no drill was ever made".to_owned(), remedy));
        };
        if let Some(problem) = drill.problems.first() {
            return Some(alarm(format!("the last drill failed: {problem}"), remedy));
        }
        if let Some(rto) = drill.rto_ms.filter(|rto| drill.restore_ms > *rto) {
            let ms = |ms| human::duration(Duration::from_millis(ms));
            let text = format!(
                "the last drill took {}; the recovery time objective is {}",
                ms(drill.restore_ms),
                ms(rto)
            );
            return Some(alarm(
                text,
                "Restore with more --jobs, or to a faster server",
            ));
        }
        let every = asked.and_then(|drill| drill.every);
        let every = every.map_or(DRILL_EVERY, crate::config::Period::duration);
        let age = elapsed(drill.at, now);
        (age > every).then(|| {
            let text = format!(
                "the last drill was {} ago; one is due every {}",
                human::duration(age),
                human::duration(every)
            );
            notice(text, remedy)
        })
    }

    fn unverified(&self) -> Option<Problem> {
        let newest = self.newest()?;
        let n = self.archives.iter().filter(|one| one.verified.is_none());
        let n = n.count() as u64;
        newest.verified.is_none().then(|| {
            let text = if n == 1 {
                "the newest archive was never verified".to_owned()
            } else {
                format!(
                    "the newest archive was never verified, nor were {}",
                    human::things(n - 1, "other")
                )
            };
            notice(text, "`pgark verify --all` reads every stored byte")
        })
    }

    /// The newest archive against the median of those before it.
    fn trend(&self) -> Option<Problem> {
        if self.group.scope == Scope::Globals {
            return None;
        }
        let trend = self.job.as_ref().map(|job| job.trend.clone());
        let trend = trend.unwrap_or_default();
        let (newest, before) = self.archives.split_last()?;
        let before: Vec<Totals> = before.iter().rev().map(totals).collect();
        let finding = of_totals(&totals(newest), &before, &trend).pop()?;
        Some(notice(
            finding.text,
            "Compare the largest tables with what you expect; keep an older archive until it is explained",
        ))
    }
}

fn totals(one: &ArchiveFacts) -> Totals {
    Totals {
        n_rows: one.n_rows,
        raw_bytes: one.raw_bytes,
        ..Totals::default()
    }
}

/// From one moment to another; nothing if the second is earlier, as with clocks that disagree.
pub(super) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn alarm(text: String, remedy: &str) -> Problem {
    of(Weight::Alarm, text, remedy)
}

fn notice(text: String, remedy: &str) -> Problem {
    of(Weight::Notice, text, remedy)
}

fn of(weight: Weight, text: String, remedy: &str) -> Problem {
    Problem {
        weight,
        group: None,
        text,
        remedy: remedy.to_owned(),
    }
}
