//! From facts to a job's state and its problems. Pure; the clock is a parameter.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::facts::{Contents, Copies, Facts};
use super::{Clock, DrillStatus, JobStatus, LastDrill, LastRun, Problem, ReplicaStatus};
use crate::archive::manifest::Group;
use crate::archive::records::{Ran, RunOutcome};
use crate::config::{DRILL_EVERY, Drill, Job, Occasion, Period, Replica, Schedule};
use crate::human;

/// How long after its time a run may begin, and end if it is short, before it counts as missed.
const LATE: SignedDuration = SignedDuration::from_mins(15);

/// The state of a configured job.
pub(super) fn job(job: &Job, facts: &Facts, clock: &Clock) -> (JobStatus, Vec<Problem>) {
    let mut judge = Judge::new(&job.name, facts, clock);
    judge.state.rpo_ms = job.rpo.map(ms);
    judge.state.next_run = next(job.schedule.as_deref(), clock);
    if let Some(reason) = &facts.unreadable {
        judge.problem(
            Occasion::Absence,
            "repository",
            format!(
                "repository {} cannot be read, so nobody knows whether there are archives: {reason}",
                job.repository
            ),
            "check that the place is there and that the credentials are right",
        );
    } else {
        judge.run();
        judge.absence(job);
        judge.archives();
        if let Some(drill) = &job.drill {
            judge.drill(drill);
        }
    }
    for (replica, copies) in job.replicas.iter().zip(&facts.copies) {
        judge.replica(replica, copies);
    }
    (judge.state, judge.problems)
}

/// The state of a group of which nothing is expected.
pub(super) fn group(group: &Group, facts: &Facts, clock: &Clock) -> (JobStatus, Vec<Problem>) {
    let name = group.to_string();
    let mut judge = Judge::new(&name, facts, clock);
    judge.run();
    judge.archives();
    (judge.state, judge.problems)
}

/// Damaged archives of which not even the group is known.
pub(super) fn strays(contents: &Contents) -> Vec<Problem> {
    let unknown = contents.listed.iter().filter(|one| one.group.is_none());
    let damaged = unknown.filter_map(|one| {
        let error = one.manifest.as_ref().err()?;
        Some(Problem {
            job: "unknown group".to_owned(),
            occasion: Occasion::Verify,
            about: one.name.to_string(),
            text: format!("archive {} is damaged: {error}", one.name),
            remedy: "`pgark verify --all` names all that suffers".to_owned(),
            told_by_run: false,
        })
    });
    damaged.collect()
}

fn ms(period: Period) -> u64 {
    u64::try_from(period.duration().as_millis()).unwrap_or(u64::MAX)
}

fn next(schedule: Option<&str>, clock: &Clock) -> Option<Timestamp> {
    let schedule = Schedule::parse(schedule?).ok()?;
    schedule.next_after(clock.now, &clock.zone)
}

/// The time from `since` to now; none if the clock was put back in between.
fn age(since: Timestamp, clock: &Clock) -> Duration {
    Duration::try_from(clock.now.duration_since(since)).unwrap_or_default()
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct Judge<'a> {
    facts: &'a Facts,
    clock: &'a Clock,
    state: JobStatus,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    fn new<'a>(name: &str, facts: &'a Facts, clock: &'a Clock) -> Judge<'a> {
        let newest = facts.newest.clone();
        let newest_age = newest.as_ref().map(|newest| age(newest.created, clock));
        let last = facts.drills.first();
        let drilled = last.map(|last| DrillStatus {
            last: Some(LastDrill {
                at: last.at,
                archive: last.name.clone(),
                passed: last.passed(),
                restore_ms: last.restore_ms,
                rto_ms: last.rto_ms,
            }),
            last_passed: facts
                .drills
                .iter()
                .find(|one| one.passed())
                .map(|one| one.at),
            ..DrillStatus::default()
        });
        Judge {
            facts,
            clock,
            state: JobStatus {
                job: name.to_owned(),
                repository: facts.location.clone(),
                readable: facts.unreadable.is_none(),
                n_archives: facts.n_archives,
                newest,
                age_ms: newest_age.map(whole_ms),
                verified: facts.verified,
                drill: drilled,
                ..JobStatus::default()
            },
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, occasion: Occasion, about: &str, text: String, remedy: &str) {
        self.problems.push(Problem {
            job: self.state.job.clone(),
            occasion,
            about: about.to_owned(),
            text,
            remedy: remedy.to_owned(),
            told_by_run: false,
        });
    }

    /// The problem that was found last was told by `ran` itself, if it could. One that was interrupted or reached nobody did not.
    fn may_be_told_by(&mut self, ran: &Ran) {
        let mut steps = ran.steps.iter();
        let told = steps.any(|step| step.step == "notify" && step.outcome == RunOutcome::Succeeded);
        if let Some(last) = self.problems.last_mut() {
            last.told_by_run = told;
        }
    }

    fn run(&mut self) {
        let Some(last) = self.facts.runs.first() else {
            return;
        };
        let problem = why(last);
        self.state.last_run = Some(LastRun {
            at: last.at,
            finished: last.finished,
            outcome: last.outcome,
            problem: problem.clone(),
        });
        let word = match last.outcome {
            RunOutcome::Succeeded => return,
            RunOutcome::Incomplete => "is incomplete",
            RunOutcome::Failed => "failed",
        };
        let failures = self.facts.runs.iter();
        let in_a_row = failures
            .take_while(|ran| ran.outcome != RunOutcome::Succeeded)
            .count();
        let again = match in_a_row {
            1 => String::new(),
            n => format!(
                ", as {} before it did not succeed",
                human::things(n as u64 - 1, "run")
            ),
        };
        let reason = problem.map_or_else(String::new, |reason| format!(": {reason}"));
        self.problem(
            Occasion::Failure,
            "",
            format!("the run of {} {word}{again}{reason}", human::time(last.at)),
            &format!("`pgark run {}` tries again", last.job),
        );
        self.may_be_told_by(last);
    }

    fn absence(&mut self, job: &Job) {
        let remedy = format!("`pgark run {}` makes one now", job.name);
        let Some(newest) = self.facts.newest.clone() else {
            let text = "there is no archive yet".to_owned();
            return self.problem(Occasion::Absence, "", text, &remedy);
        };
        let last_run = self.facts.runs.first().map(|ran| ran.at);
        let schedule = job.schedule.as_deref().map(Schedule::parse);
        if let Some(Ok(schedule)) = schedule {
            // A run writes its record at its end.
            let took = SignedDuration::from_millis(
                i64::try_from(newest.duration_ms.saturating_mul(2)).unwrap_or(i64::MAX / 2),
            );
            let until = self.clock.now.checked_sub(LATE.saturating_add(took));
            let since = last_run.map_or(newest.created, |at| at.max(newest.created));
            let missed = until
                .ok()
                .and_then(|until| schedule.missed(&self.clock.zone, since, until));
            self.state.missed = missed.map(Into::into);
        }
        let old = age(newest.created, self.clock);
        let over = job.rpo.filter(|rpo| old > rpo.duration());
        if over.is_none() && self.state.missed.is_none() {
            return;
        }
        let mut text = format!(
            "the newest archive, {}, is {} old",
            newest.archive,
            human::duration(old)
        );
        if let Some(rpo) = over {
            text = format!(
                "{text}; it must never be older than {}",
                human::duration(rpo.duration())
            );
        }
        if let Some(missed) = self.state.missed {
            let n_runs = human::things(u64::from(missed.n_runs), "run");
            let since = human::time(missed.since);
            text = format!("{text}; {n_runs} since {since} did not begin");
        }
        self.problem(Occasion::Absence, "", text, &remedy);
    }

    fn archives(&mut self) {
        if let Some(reason) = &self.facts.marker {
            self.problem(
                Occasion::Verify,
                "repository",
                format!("{reason}; no run can use it"),
                "`pgark verify --all` names all that suffers",
            );
        }
        for (name, reason) in &self.facts.damaged {
            self.problem(
                Occasion::Verify,
                name.as_str(),
                format!("archive {name} is damaged: {reason}"),
                "`pgark verify --all` names all that suffers",
            );
        }
        let Some(newest) = &self.facts.newest else {
            return;
        };
        let mut runs = self.facts.runs.iter();
        let by_run = runs.find(|ran| ran.archives.contains(&newest.archive));
        for strange in &self.facts.strange {
            match strange {
                Ok(finding) => {
                    self.problem(
                        Occasion::Trend,
                        &finding.about,
                        format!("{}: {}", newest.archive, finding.text),
                        "if that is meant, nothing is to be done: after some archives it is the usual",
                    );
                    if let Some(ran) = by_run {
                        self.may_be_told_by(ran);
                    }
                }
                Err(reason) => self.problem(
                    Occasion::Verify,
                    newest.archive.as_str(),
                    format!("archive {} cannot be compared: {reason}", newest.archive),
                    "`pgark verify` names all that suffers",
                ),
            }
        }
    }

    fn drill(&mut self, drill: &Drill) {
        let every = drill.every.map_or(DRILL_EVERY, Period::duration);
        let mut state = self.state.drill.take().unwrap_or_default();
        state.next = next(drill.schedule.as_deref(), self.clock);
        state.due_by = state.last_passed.and_then(|passed| {
            passed
                .checked_add(SignedDuration::try_from(every).ok()?)
                .ok()
        });
        let remedy = format!("`pgark drill --job {}` tries a restore now", self.state.job);
        let last = self.facts.drills.first().filter(|last| !last.passed());
        if let Some(last) = last {
            let reason = last.problems.first().map_or("", String::as_str);
            self.problem(
                Occasion::Drill,
                "",
                format!("the drill of {} failed: {reason}", human::time(last.at)),
                &remedy,
            );
        }
        match state.last_passed {
            None if self.facts.newest.is_some() => self.problem(
                Occasion::Drill,
                "overdue",
                "no drill has ever passed: nobody knows whether the archives can be restored"
                    .to_owned(),
                &remedy,
            ),
            Some(passed) if age(passed, self.clock) > every => self.problem(
                Occasion::Drill,
                "overdue",
                format!(
                    "the last drill that passed is {} ago; one must pass every {}",
                    human::duration(age(passed, self.clock)),
                    human::duration(every)
                ),
                &remedy,
            ),
            _ => {}
        }
        self.state.drill = Some(state);
    }

    fn replica(&mut self, replica: &Replica, copies: &Copies) {
        let newest = self.facts.newest.as_ref();
        let created = copies.newest.as_ref().map(|(_, created)| *created);
        let lag = newest.zip(created).map(|(newest, copied)| {
            Duration::try_from(newest.created.duration_since(copied)).unwrap_or_default()
        });
        self.state.replicas.push(ReplicaStatus {
            replica: replica.repository.clone(),
            readable: copies.unreadable.is_none(),
            n_archives: copies.n_archives,
            newest: copies.newest.as_ref().map(|(name, _)| name.clone()),
            created,
            lag_ms: lag.map(whole_ms),
            rpo_ms: replica.rpo.map(ms),
        });
        let about = format!("replica {}", replica.repository);
        let remedy = format!("`pgark run {}` copies what is missing", self.state.job);
        if let Some(reason) = &copies.unreadable {
            let text = format!("{about} cannot be read: {reason}");
            let remedy = "check that the place is there and that the credentials are right";
            return self.problem(Occasion::Replica, &about, text, remedy);
        }
        match (created, replica.rpo) {
            (None, _) if newest.is_some() => {
                let text = format!("{about} has no copy");
                self.problem(Occasion::Replica, &about, text, &remedy);
            }
            (Some(created), Some(rpo)) if age(created, self.clock) > rpo.duration() => {
                let text = format!(
                    "the newest copy in {} is {} old; it must never be older than {}",
                    replica.repository,
                    human::duration(age(created, self.clock)),
                    human::duration(rpo.duration())
                );
                self.problem(Occasion::Replica, &about, text, &remedy);
            }
            _ => {}
        }
    }
}

/// The first step that was not done.
fn why(ran: &Ran) -> Option<String> {
    let mut steps = ran.steps.iter();
    let step = steps.find(|step| step.outcome != RunOutcome::Succeeded)?;
    Some(format!("{}: {}", step.step, step.message))
}
