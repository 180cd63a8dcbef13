//! Runs of configured jobs: hooks before, dump, verify, prune, replicate, notify, hooks after; one report, and a record of it.
//!
//! This file owns the order of the steps and what a step's failure means for the later ones. Each step is a file of its own and uses what
//! other modules do; how runs exclude each other is `archive::job_lock`'s. When jobs run is for `timetable` to say to others: nothing
//! here waits for a time.

mod copying;
mod hooks;
mod proving;
mod pruning;
mod report;
mod saving;
mod telling;
pub mod timetable;
pub mod words;

use std::sync::Arc;

use jiff::Timestamp;

pub use self::report::{JobReport, MadeArchive, Step, StepOutcome};

use self::report::Told;
use self::saving::Saved;
use crate::archive::chunker::ChunkSettings;
use crate::archive::job_lock::JobLock;
use crate::archive::records::{Ran, RanStep, RunOutcome};
use crate::archive::{Repository, Unlock};
use crate::config::{Config, Job, Place};
use crate::error::{Error, Result};
use crate::pg::{ConnSettings, Environment};
use crate::progress::{Event, Progress};
use crate::store::{self, Opening, Store};

/// What all runs of one invocation share.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// What the job's names mean.
    pub config: &'a Config,
    /// Where variables, password files and the user come from.
    pub environment: &'a Environment,
    /// Who hears of what is being done.
    pub progress: Arc<dyn Progress>,
}

impl Surroundings<'_> {
    /// The repository of that name; [`Config::parse`] has proved that there is one.
    fn place(&self, name: &str) -> Result<&Place> {
        let place = self.config.repository(name);
        place.ok_or_else(|| Error::Usage(format!("there is no repository {name:?}")))
    }

    /// The store of the repository of that name.
    async fn open(&self, name: &str) -> Result<(&Place, Arc<dyn Store>)> {
        let variables = |name: &str| self.environment.variable(name);
        let (place, told) = (self.place(name)?, Arc::clone(&self.progress));
        let store = store::open(place, Opening::Create, &variables, told).await?;
        Ok((place, store))
    }

    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String> {
        self.environment.vars.get(name).cloned()
    }
}

/// An error with its causes in one line, without passwords.
pub fn told(error: &Error) -> String {
    crate::sql::hide_passwords(&crate::restore::chain(error)).into_owned()
}

/// How `job` connects to its source, with its password.
pub fn source_of(job: &Job, environment: &Environment) -> Result<ConnSettings> {
    let settings = ConnSettings::resolve(environment, Some(&job.source), &[])?;
    let Some(secret) = &job.password else {
        return Ok(settings);
    };
    let password = secret.read(|name| environment.vars.get(name).cloned())?;
    Ok(settings.with_password(&password))
}

/// Opens the repository of that name, or makes it; with a passphrase a new one is encrypted.
pub async fn repository_of(around: &Surroundings<'_>, name: &str) -> Result<Repository> {
    let (place, store) = around.open(name).await?;
    let unlock = Unlock::of(place, |name| around.environment.variable(name))?;
    Repository::open_or_create_with(store, ChunkSettings::default(), &unlock).await
}

/// Opens the copy of `from` of that name, or makes it.
async fn copy_of(around: &Surroundings<'_>, from: &Repository, name: &str) -> Result<Repository> {
    from.require_encrypted_as(around.place(name)?)?;
    let (_, store) = around.open(name).await?;
    from.copied_to(store).await
}

/// Runs a job to its end. What goes wrong stands in the report; whatever became of the run is written into the repository, unless another
/// run holds the job's lock, so that nothing was begun, or the repository cannot be reached.
///
/// If the future is dropped, the lock is released and the record says that the run was interrupted, where the runtime lives on for a moment.
pub async fn run_job(around: &Surroundings<'_>, job: &Job) -> JobReport {
    let mut run = Run::new(around, job);
    let opened = repository_of(around, &job.repository).await;
    let Some(repository) = run.note_failure("repository", opened) else {
        run.end(None).await;
        return run.into_report();
    };
    run.location = repository.location();
    let taken = JobLock::take(&repository, &job.name, JobLock::LASTS).await;
    let busy = matches!(taken, Err(Error::Busy { .. }));
    let Some(mut lock) = run.note_failure("lock", taken) else {
        if !busy {
            run.end(Some(&repository)).await;
        }
        return run.into_report();
    };
    let mut interrupted = Interrupted::of(&repository, &run);
    for problem in telling::begin(around, job).await {
        run.warn(problem);
    }
    let lost = tokio::select! {
        () = run.steps(&repository) => None,
        lost = lock.keep() => Some(lost),
    };
    if let Some(lost) = lost {
        run.push(Step::failed("lock", lost));
    }
    interrupted.is_over = true;
    run.end(Some(&repository)).await;
    if let Err(error) = lock.release().await {
        run.warn(format!(
            "the job's lock could not be released, and will expire: {error}"
        ));
    }
    run.into_report()
}

/// A run under way.
struct Run<'a> {
    around: &'a Surroundings<'a>,
    job: &'a Job,
    started: Timestamp,
    location: String,
    steps: Vec<Step>,
    saved: Option<Saved>,
    /// What is strange about the new archives' sizes.
    strange: Vec<String>,
    warnings: Vec<String>,
    recorded: bool,
}

impl<'a> Run<'a> {
    fn new(around: &'a Surroundings<'a>, job: &'a Job) -> Run<'a> {
        Run {
            around,
            job,
            started: Timestamp::now(),
            location: String::new(),
            steps: Vec::new(),
            saved: None,
            strange: Vec::new(),
            warnings: Vec::new(),
            recorded: false,
        }
    }

    /// Everything between the lock and the end. A step that makes no sense after what happened is skipped, with the reason.
    async fn steps(&mut self, repository: &Repository) {
        if !self.hooks(&self.job.hooks.before, true).await {
            self.skip(&["dump", "verify", "prune"], "a hook before it failed");
            self.skip_replicas("there is no new archive");
            return;
        }
        let told = Told::begin("dump");
        let dumped = saving::save(self.around, self.job, repository).await;
        let dumped = dumped.map(|saved| {
            let step = saved.as_told();
            self.saved = Some(saved);
            step
        });
        self.take(told, dumped);
        let Some(saved) = &self.saved else {
            self.skip(&["verify", "prune"], "the dump failed");
            self.skip_replicas("there is no new archive");
            return;
        };
        let (names, is_complete) = (saved.names.clone(), saved.is_complete_set);
        let told = Told::begin("verify");
        let proved = proving::prove(self.around, self.job, repository, &names).await;
        if !self.take(told, proved) {
            self.skip(
                &["prune"],
                "the new archive could not be proved, so that older ones stay",
            );
            self.skip_replicas("the new archive could not be proved");
            return;
        }
        match telling::strange(self.job, repository, &names).await {
            Ok(strange) => {
                for sentence in &strange {
                    self.warn(sentence.clone());
                }
                self.strange = strange;
            }
            Err(error) => self.warn(format!(
                "the new sizes could not be compared: {}",
                crate::jobs::told(&error)
            )),
        }
        if !is_complete {
            self.skip(&["prune"], "the set is incomplete, so that older ones stay");
        } else if !self.job.keep.is_everything() {
            let told = Told::begin("prune");
            let pruned = pruning::clear(self.around, self.job, repository, &self.job.keep).await;
            self.take(told, pruned);
        }
        for replica in &self.job.replicas {
            let told = Told::begin(&format!("replicate {}", replica.repository));
            let copied = copying::copy(self.around, self.job, repository, replica).await;
            self.take(told, copied);
        }
    }

    /// Tells and runs what comes after the work, then writes the record.
    async fn end(&mut self, repository: Option<&Repository>) {
        if !self.job.notify.is_empty() {
            let told = Told::begin("notify");
            let ran = self.record();
            let ended =
                telling::end(self.around, self.job, repository, (&ran, &self.strange)).await;
            self.take(told, ended);
        }
        self.hooks(&self.job.hooks.after, false).await;
        let Some(repository) = repository else {
            return;
        };
        match repository.note_run(&self.record()).await {
            Ok(()) => self.recorded = true,
            Err(error) => self.warn(format!("the run could not be put on record: {error}")),
        }
    }

    /// True if all succeeded. Before the dump the first that fails is the last.
    async fn hooks(&mut self, commands: &[crate::config::Command], before: bool) -> bool {
        let archive = self.saved.as_ref().map(|saved| saved.title.clone());
        for command in commands {
            let when = if before {
                hooks::When::Before
            } else {
                hooks::When::After(self.outcome())
            };
            let told = Told::begin(when.step());
            let hook = hooks::Hook {
                command,
                job: &self.job.name,
                archive: archive.as_deref(),
                when,
                limit: self.job.hooks.timeout,
            };
            let ended = hooks::run(&hook, self.around).await;
            if !self.take(told, ended) && before {
                return false;
            }
        }
        true
    }

    /// Adds a step; true if it was done, in part at least.
    fn take(&mut self, told: Told, ended: Result<(StepOutcome, String)>) -> bool {
        let step = told.end(ended);
        let done = step.outcome == StepOutcome::Succeeded;
        // A partial archive is proved, copied and counted like any other.
        let goes_on = done || step.outcome == StepOutcome::Incomplete;
        self.push(step);
        goes_on
    }

    fn push(&mut self, step: Step) {
        let told = Event::Task(format!("{}: {}", self.job.name, step.step));
        self.around.progress.event(told);
        self.steps.push(step);
    }

    fn skip(&mut self, steps: &[&str], reason: &str) {
        for step in steps {
            // A job without rules removes nothing anyway.
            if *step != "prune" || !self.job.keep.is_everything() {
                self.steps.push(Step::skipped(step, reason));
            }
        }
    }

    fn skip_replicas(&mut self, reason: &str) {
        for replica in &self.job.replicas {
            let step = format!("replicate {}", replica.repository);
            self.steps.push(Step::skipped(&step, reason));
        }
    }

    /// The value, or a failed step.
    fn note_failure<T>(&mut self, step: &str, tried: Result<T>) -> Option<T> {
        tried
            .map_err(|error| self.push(Step::failed(step, error)))
            .ok()
    }

    fn warn(&mut self, text: String) {
        self.around.progress.event(Event::Warning(text.clone()));
        self.warnings.push(text);
    }

    /// There is a proved archive or there is none: what comes after it can only make the run incomplete.
    fn outcome(&self) -> RunOutcome {
        report::outcome(&self.steps)
    }

    fn record(&self) -> Ran {
        let steps = self.steps.iter().filter_map(Step::as_recorded);
        Ran {
            job: self.job.name.clone(),
            at: self.started,
            finished: Timestamp::now(),
            outcome: self.outcome(),
            archives: self
                .saved
                .as_ref()
                .map(|saved| saved.names.clone())
                .unwrap_or_default(),
            steps: steps.collect(),
        }
    }

    fn into_report(self) -> JobReport {
        let finished = Timestamp::now();
        let outcome = self.outcome();
        JobReport {
            job: self.job.name.clone(),
            outcome,
            location: self.location,
            started: self.started,
            duration_ms: report::milliseconds(self.started, finished),
            archives: self.saved.map(|saved| saved.made).unwrap_or_default(),
            steps: self.steps,
            warnings: self.warnings,
            recorded: self.recorded,
        }
    }
}

/// Puts on record that the run was broken off, if it is dropped before it is over.
struct Interrupted {
    repository: Repository,
    job: String,
    started: Timestamp,
    is_over: bool,
}

impl Interrupted {
    fn of(repository: &Repository, run: &Run<'_>) -> Interrupted {
        Interrupted {
            repository: repository.clone(),
            job: run.job.name.clone(),
            started: run.started,
            is_over: false,
        }
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let finished = Timestamp::now();
        let ran = Ran {
            job: self.job.clone(),
            at: self.started,
            finished,
            outcome: RunOutcome::Failed,
            archives: Vec::new(),
            steps: vec![RanStep {
                step: "run".to_owned(),
                outcome: RunOutcome::Failed,
                duration_ms: report::milliseconds(self.started, finished),
                message: "it was interrupted".to_owned(),
            }],
        };
        let repository = self.repository.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { repository.note_run(&ran).await });
        }
    }
}
