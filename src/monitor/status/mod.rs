//! The state of the jobs: when each last succeeded, how that compares with what was promised, and what of it is a problem.
//! `facts` reads, `judge` decides without reading; showing it belongs to `cli`, the numbers for Prometheus to `metrics`.

mod facts;
mod judge;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::archive::records::RunOutcome;
use crate::archive::{ArchiveName, Repository};
use crate::config::{Job, Missed, Occasion, Trend};
use crate::error::Result;

/// What time it is, and where.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Now.
    pub now: Timestamp,
    /// The zone in which schedules run.
    pub zone: TimeZone,
}

/// The repositories of a configuration by their names, or why one could not be opened.
pub type Opened = BTreeMap<String, Result<Repository>>;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusOptions {
    /// Compare the tables of the newest archive with those of the one before, which reads both lists of tables.
    pub tables: bool,
}

impl Default for StatusOptions {
    fn default() -> StatusOptions {
        StatusOptions { tables: true }
    }
}

/// The state of all jobs. The fields are API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusReport {
    /// When it was looked.
    pub at: Timestamp,
    /// What is wrong, job by job; empty if all is well.
    pub problems: Vec<Problem>,
    /// Each job, or, without a configuration, each group of archives.
    pub jobs: Vec<JobStatus>,
    /// True if tables were compared.
    #[serde(skip)]
    pub compared_tables: bool,
}

/// Something that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The job, or the group in words.
    pub job: String,
    /// What sort of problem it is.
    pub occasion: Occasion,
    /// What it is about within the job: a replica, a table; empty if it is about the job itself. With job and occasion it names
    /// the problem from one look to the next.
    pub about: String,
    /// A sentence without its full stop.
    pub text: String,
    /// What can be done; may be empty.
    pub remedy: String,
    /// True if a run tells it by itself, so that nobody has to be told by a look at the state.
    #[serde(skip)]
    pub told_by_run: bool,
}

/// The state of one job.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JobStatus {
    /// Its name, or the group in words.
    pub job: String,
    /// Where its repository is, or its name where that cannot be opened.
    pub repository: String,
    /// False if its repository could not be read: then nothing else is known.
    pub readable: bool,
    /// Complete archives.
    pub n_archives: u64,
    /// The last success.
    pub newest: Option<Saved>,
    /// How old that is.
    pub age_ms: Option<u64>,
    /// The recovery point objective.
    pub rpo_ms: Option<u64>,
    /// The last run.
    pub last_run: Option<LastRun>,
    /// When the next run is due.
    pub next_run: Option<Timestamp>,
    /// Runs that were due and did not begin.
    pub missed: Option<MissedRuns>,
    /// When an archive of the job was last verified and found whole.
    pub verified: Option<Timestamp>,
    /// Drills, if the job has any.
    pub drill: Option<DrillStatus>,
    /// Copies elsewhere.
    pub replicas: Vec<ReplicaStatus>,
}

/// A complete archive, or all archives of a complete set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Its name; of a set the archive that closes it.
    pub archive: ArchiveName,
    /// The time of its snapshot.
    pub created: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// Tables with rows.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Stored bytes, those shared with other archives included.
    pub stored_bytes: u64,
    /// Stored bytes that it added.
    pub new_bytes: u64,
    /// When it was last verified and found whole.
    pub verified: Option<Timestamp>,
}

/// The last run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastRun {
    /// When it began.
    pub at: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// What became of it.
    pub outcome: RunOutcome,
    /// The first step that was not done, with the reason.
    pub problem: Option<String>,
}

/// Runs that did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MissedRuns {
    /// The first of them.
    pub since: Timestamp,
    /// How many; a thousand means as many or more.
    pub n_runs: u32,
}

impl From<Missed> for MissedRuns {
    fn from(missed: Missed) -> MissedRuns {
        MissedRuns {
            since: missed.since,
            n_runs: missed.n_runs,
        }
    }
}

/// Drills of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DrillStatus {
    /// The last one.
    pub last: Option<LastDrill>,
    /// When the last one that passed began.
    pub last_passed: Option<Timestamp>,
    /// When the next must have passed; only for configured drills.
    pub due_by: Option<Timestamp>,
    /// When the next is to run.
    pub next: Option<Timestamp>,
}

/// The last drill of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastDrill {
    /// When it began.
    pub at: Timestamp,
    /// The archive that was restored.
    pub archive: ArchiveName,
    /// True if nothing went wrong.
    pub passed: bool,
    /// How long the restore took.
    pub restore_ms: u64,
    /// How long it may take.
    pub rto_ms: Option<u64>,
}

/// Copies of a job's archives in another repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplicaStatus {
    /// The repository's name.
    pub replica: String,
    /// False if it could not be read: then nothing else is known.
    pub readable: bool,
    /// Complete copies.
    pub n_archives: u64,
    /// The newest copy.
    pub newest: Option<ArchiveName>,
    /// The time of its snapshot.
    pub created: Option<Timestamp>,
    /// How much older it is than the newest archive.
    pub lag_ms: Option<u64>,
    /// How old the newest copy may be.
    pub rpo_ms: Option<u64>,
}

impl StatusReport {
    /// True if nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Looks at `jobs`, whose repositories and replicas must be in `opened`.
pub async fn status(
    jobs: &[&Job],
    opened: &Opened,
    clock: &Clock,
    options: StatusOptions,
) -> StatusReport {
    let mut contents = BTreeMap::new();
    for (name, repository) in opened {
        contents.insert(name.as_str(), facts::contents(repository).await);
    }
    let mut report = StatusReport {
        at: clock.now,
        problems: Vec::new(),
        jobs: Vec::new(),
        compared_tables: options.tables,
    };
    for job in jobs {
        let facts = facts::of_job(job, &contents, options).await;
        let (state, problems) = judge::job(job, &facts, clock);
        report.jobs.push(state);
        report.problems.extend(problems);
    }
    report
}

/// Looks at the groups of a repository, of which no configuration says what to expect.
pub async fn status_of_repository(
    repository: &Repository,
    clock: &Clock,
    options: StatusOptions,
) -> Result<StatusReport> {
    let contents = facts::read(repository).await?;
    let mut report = StatusReport {
        at: clock.now,
        problems: Vec::new(),
        jobs: Vec::new(),
        compared_tables: options.tables,
    };
    let trend = Trend::default();
    for group in contents.groups() {
        let facts = facts::of_group(&contents, &group, &trend, options).await;
        let (state, problems) = judge::group(&group, &facts, clock);
        report.jobs.push(state);
        report.problems.extend(problems);
    }
    report.problems.extend(judge::strays(&contents));
    Ok(report)
}

#[cfg(test)]
mod tests;
