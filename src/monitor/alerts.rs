//! Who is told of what a look at the state finds: each problem once, again each day while it lasts, and its end. What is due is
//! decided without I/O; the memory of what was told is a small file of the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::notify::{self, Message, Telling, Told};
use super::status::{Problem, StatusReport};
use super::trend;
use crate::config::{Config, Occasion};
use crate::human;

/// How long after it was told a lasting problem is told again.
pub const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What was told and has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// By job and problem.
    #[serde(default)]
    pub told: BTreeMap<String, Lasting>,
}

/// A problem that was told and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasting {
    /// The job.
    pub job: String,
    /// What sort of problem it is.
    pub occasion: Occasion,
    /// What it is about within the job.
    #[serde(default)]
    pub about: String,
    /// What was told of it.
    pub text: String,
    /// When it was first told.
    pub since: Timestamp,
    /// When it was last told.
    pub told: Timestamp,
}

impl Lasting {
    fn is_of_table(&self) -> bool {
        self.occasion == Occasion::Trend && self.about.starts_with(trend::TABLE)
    }
}

/// What one job's channels are to be told, and what is remembered if that succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The job.
    pub job: String,
    /// What is told.
    pub message: Message,
    /// Problems that are remembered from now on, by their keys.
    remember: Vec<(String, Lasting)>,
    /// Problems that have ended.
    forget: Vec<String>,
}

impl Memory {
    /// What is due: for each job one message with its new and lasting problems, and one with those that ended.
    pub fn due(&self, report: &StatusReport, host: &str) -> Vec<Due> {
        let looked_at = report.jobs.iter();
        let mut due = Vec::new();
        for state in looked_at {
            let of_job = report.problems.iter().filter(|one| one.job == state.job);
            let problems: Vec<&Problem> = of_job.collect();
            due.extend(self.problems_due(&state.job, &problems, report.at, host));
            // Of a repository that cannot be read nobody knows what has ended.
            if state.readable {
                due.extend(self.ends_due(&state.job, &problems, report, host));
            }
        }
        due
    }

    fn problems_due(
        &self,
        job: &str,
        problems: &[&Problem],
        now: Timestamp,
        host: &str,
    ) -> Option<Due> {
        let mut remember = Vec::new();
        let mut lines = Vec::new();
        for problem in problems.iter().filter(|one| !one.told_by_run) {
            let key = key(problem);
            let before = self.told.get(&key);
            // After a clock that was put back nothing is due for ever.
            let recently = |lasting: &Lasting| {
                let since = now.duration_since(lasting.told);
                since < AGAIN_AFTER && since > -AGAIN_AFTER
            };
            if before.is_some_and(recently) {
                continue;
            }
            let still = before.map_or_else(String::new, |lasting| {
                format!(" (since {})", human::time(lasting.since))
            });
            lines.push(format!("{}{still}. {}", problem.text, remedy(problem)));
            let lasting = Lasting {
                job: job.to_owned(),
                occasion: problem.occasion,
                about: problem.about.clone(),
                text: problem.text.clone(),
                since: before.map_or(now, |lasting| lasting.since),
                told: now,
            };
            remember.push((key, lasting));
        }
        let occasions: BTreeSet<Occasion> = remember
            .iter()
            .map(|(_, lasting)| lasting.occasion)
            .collect();
        let title = match remember.as_slice() {
            [] => return None,
            [(_, one)] => format!("pgark: job {job}: {}", headline(one.occasion)),
            several => format!("pgark: job {job}: {} problems", several.len()),
        };
        Some(Due {
            job: job.to_owned(),
            message: message(job, occasions, title, &lines, (now, host)),
            remember,
            forget: Vec::new(),
        })
    }

    fn ends_due(
        &self,
        job: &str,
        problems: &[&Problem],
        report: &StatusReport,
        host: &str,
    ) -> Option<Due> {
        let now = report.at;
        let last: BTreeSet<String> = problems.iter().map(|problem| key(problem)).collect();
        let ended = self.told.iter();
        let ended: Vec<(&String, &Lasting)> = ended
            .filter(|(key, lasting)| lasting.job == job && !last.contains(*key))
            // Who did not look at the tables does not know what has ended of them.
            .filter(|(_, lasting)| report.compared_tables || !lasting.is_of_table())
            .collect();
        if ended.is_empty() {
            return None;
        }
        let lines = ended.iter().map(|(_, lasting)| {
            let lasted = Duration::try_from(now.duration_since(lasting.since));
            let lasted = human::duration(lasted.unwrap_or_default());
            format!("Over after {lasted}: {}.", lasting.text)
        });
        let lines: Vec<String> = lines.collect();
        let title = format!("pgark: job {job}: well again");
        Some(Due {
            job: job.to_owned(),
            message: message(job, [Occasion::Recovery].into(), title, &lines, (now, host)),
            remember: Vec::new(),
            forget: ended.into_iter().map(|(key, _)| key.clone()).collect(),
        })
    }

    fn apply(&mut self, due: Due) {
        self.told.extend(due.remember);
        for key in due.forget {
            self.told.remove(&key);
        }
    }

    /// Tells what is due to the channels of each job, and remembers what was told. What reached nobody although somebody wants
    /// to know is due again at the next look.
    pub async fn tell(
        &mut self,
        report: &StatusReport,
        config: &Config,
        host: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Vec<Told> {
        let mut all = Vec::new();
        for due in self.due(report, host) {
            let names = config.job(&due.job).map_or(&[][..], |job| &job.notify);
            let channels: Vec<_> = names.iter().filter_map(|one| config.channel(one)).collect();
            let told = notify::tell(&channels, &due.message, &lookup).await;
            let reached = told.iter().any(|one| one.outcome == Telling::Sent);
            let failed = told
                .iter()
                .any(|one| matches!(one.outcome, Telling::Failed(_)));
            if reached || !failed {
                self.apply(due);
            }
            all.extend(told);
        }
        // A job that is not configured any more has no problems.
        self.told
            .retain(|_, lasting| config.job(&lasting.job).is_some());
        all
    }
}

fn key(problem: &Problem) -> String {
    let word = problem.occasion.word();
    match problem.about.as_str() {
        "" => format!("{} {word}", problem.job),
        about => format!("{} {word} {about}", problem.job),
    }
}

fn remedy(problem: &Problem) -> String {
    let mut remedy = problem.remedy.clone();
    if let Some(first) = remedy.get(..1) {
        remedy.replace_range(..1, &first.to_uppercase());
        remedy.push('.');
    }
    remedy
}

fn headline(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Success => "succeeded",
        Occasion::Failure => "failed",
        Occasion::Recovery => "well again",
        Occasion::Absence => "a backup is missing",
        Occasion::Trend => "a strange size",
        Occasion::Verify => "a damaged archive",
        Occasion::Drill => "a drill is due",
        Occasion::Replica => "a copy is missing",
    }
}

fn message(
    job: &str,
    occasions: BTreeSet<Occasion>,
    title: String,
    lines: &[String],
    (at, host): (Timestamp, &str),
) -> Message {
    Message {
        occasions: occasions.into_iter().collect(),
        job: Some(job.to_owned()),
        title,
        text: lines.join("\n"),
        fields: BTreeMap::new(),
        at,
        host: host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::JobStatus;
    use super::*;

    fn problem(occasion: Occasion, about: &str) -> Problem {
        Problem {
            job: "shop".to_owned(),
            occasion,
            about: about.to_owned(),
            text: format!("{} {about}", occasion.word()),
            remedy: "do it".to_owned(),
            told_by_run: false,
        }
    }

    fn report(at: &str, readable: bool, problems: &[Problem]) -> StatusReport {
        StatusReport {
            at: at.parse().unwrap(),
            problems: problems.to_vec(),
            compared_tables: true,
            jobs: vec![JobStatus {
                job: "shop".to_owned(),
                readable,
                ..JobStatus::default()
            }],
        }
    }

    /// What is said, and what is remembered after it was.
    fn look(memory: &mut Memory, report: &StatusReport) -> Vec<(Vec<Occasion>, String)> {
        let due = memory.due(report, "db1");
        let said = due
            .iter()
            .map(|due| (due.message.occasions.clone(), due.message.text.clone()))
            .collect();
        for one in due {
            memory.apply(one);
        }
        said
    }

    #[test]
    fn a_problem_is_told_once_then_daily_then_its_end() {
        let mut memory = Memory::default();
        let absent = problem(Occasion::Absence, "");
        let lag = problem(Occasion::Replica, "replica cold");
        let mut look = |at: &str, readable: bool, problems: &[Problem]| {
            look(&mut memory, &report(at, readable, problems))
        };
        let nothing: Vec<(Vec<Occasion>, String)> = Vec::new();
        assert_eq!(look("2026-11-22T02:00:00Z", true, &[]), nothing);
        assert_eq!(
            look("2026-11-22T03:00:00Z", true, std::slice::from_ref(&absent)),
            [(vec![Occasion::Absence], "absence . Do it.".to_owned())]
        );
        assert_eq!(
            look("2026-11-22T04:00:00Z", true, &[absent.clone(), lag.clone()]),
            [(
                vec![Occasion::Replica],
                "replica replica cold. Do it.".to_owned()
            )]
        );
        assert_eq!(
            look("2026-11-23T02:59:00Z", true, &[absent.clone(), lag.clone()]),
            nothing
        );
        assert_eq!(
            look("2026-11-23T03:00:00Z", true, &[absent.clone(), lag.clone()]),
            [(
                vec![Occasion::Absence],
                "absence  (since 2026-11-22 03:00:00 UTC). Do it.".to_owned()
            )]
        );
        // A repository that cannot be read says nothing of what has ended.
        assert_eq!(look("2026-11-23T03:10:00Z", false, &[]), nothing);
        assert_eq!(
            look("2026-11-23T03:20:00Z", true, &[lag]),
            [(
                vec![Occasion::Recovery],
                "Over after 1 d 0 h: absence .".to_owned()
            )]
        );
        assert_eq!(
            look("2026-11-23T03:20:00Z", true, &[])[0].1,
            "Over after 23 h 20 min: replica replica cold."
        );
        assert_eq!(look("2026-11-23T03:30:00Z", true, &[]), nothing);
        assert_eq!(
            look("2026-11-23T03:40:00Z", true, &[absent])[0].0,
            [Occasion::Absence]
        );
    }

    #[test]
    fn what_a_run_tells_is_not_told_twice() {
        let mut memory = Memory::default();
        let mut failed = problem(Occasion::Failure, "");
        failed.told_by_run = true;
        let report = report("2026-11-22T02:00:00Z", true, &[failed]);
        assert_eq!(look(&mut memory, &report), []);
    }

    #[test]
    fn a_quick_look_ends_nothing_that_it_does_not_see() {
        let mut memory = Memory::default();
        let table = problem(Occasion::Trend, "table public.orders");
        let rows = problem(Occasion::Trend, "rows");
        let full = |at: &str, problems: &[Problem]| report(at, true, problems);
        look(&mut memory, &full("2026-11-22T02:00:00Z", &[table, rows]));
        let quick = StatusReport {
            compared_tables: false,
            ..full("2026-11-22T03:00:00Z", &[])
        };
        let ended = look(&mut memory, &quick);
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].1, "Over after 1 h 0 min: trend rows.");
        let ended = look(&mut memory, &full("2026-11-22T04:00:00Z", &[]));
        assert_eq!(
            ended[0].1,
            "Over after 2 h 0 min: trend table public.orders."
        );
    }

    #[test]
    fn the_memory_reads_back() {
        let mut memory = Memory::default();
        let absent = problem(Occasion::Absence, "");
        look(
            &mut memory,
            &report("2026-11-22T02:00:00Z", true, &[absent]),
        );
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
        assert!(text.contains("\"shop absence\""), "{text}");
    }
}
