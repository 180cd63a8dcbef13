//! What a run did, as plain data, and what its steps mean for the whole. Printing and exit codes belong to `cli`.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::archive::ArchiveName;
use crate::archive::records::{RanStep, RunOutcome};
use crate::error::{Error, Result};

/// What a run of a job did. The fields are API.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct JobReport {
    /// The job.
    pub job: String,
    /// What became of it.
    pub outcome: RunOutcome,
    /// The repository; empty if it could not be opened.
    pub location: String,
    /// When it began.
    pub started: Timestamp,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// The archives that it made.
    pub archives: Vec<MadeArchive>,
    /// What it did, in order.
    pub steps: Vec<Step>,
    /// What the user should know besides.
    pub warnings: Vec<String>,
    /// True if a record of the run is in the repository.
    pub recorded: bool,
}

/// An archive that a run made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeArchive {
    /// Its name.
    pub name: ArchiveName,
    /// Where its manifest lies.
    pub location: String,
    /// Tables with rows.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Stored bytes of its chunks.
    pub stored_bytes: u64,
    /// Of those, new to the repository.
    pub new_bytes: u64,
}

/// A step of a run.
#[derive(Debug, Serialize)]
pub struct Step {
    /// `hook before`, `dump`, `verify`, `prune`, `replicate cold`, `hook after`.
    pub step: String,
    /// What became of it.
    pub outcome: StepOutcome,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// What was done, what went wrong, or why it was skipped.
    pub message: String,
    /// What may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What went wrong.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It was done.
    Succeeded,
    /// It was done in part.
    Incomplete,
    /// It was not done.
    Failed,
    /// It made no sense after what had happened.
    Skipped,
}

/// Steps after which there is no proved archive if they fail.
const DECISIVE: [&str; 6] = ["repository", "lock", "hook before", "dump", "verify", "run"];

/// What the steps make of the run.
pub(super) fn outcome(steps: &[Step]) -> RunOutcome {
    let is_decisive = |step: &Step| DECISIVE.contains(&step.step.as_str());
    let mut whole = RunOutcome::Succeeded;
    for step in steps {
        whole = whole.max(match step.outcome {
            StepOutcome::Failed if is_decisive(step) => RunOutcome::Failed,
            StepOutcome::Failed | StepOutcome::Incomplete => RunOutcome::Incomplete,
            StepOutcome::Succeeded | StepOutcome::Skipped => RunOutcome::Succeeded,
        });
    }
    whole
}

/// From `from` to `to` in milliseconds, none if the clock went back.
pub(super) fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

/// A step that began.
pub(super) struct Told {
    step: String,
    began: Instant,
}

impl Told {
    pub(super) fn begin(step: &str) -> Told {
        Told {
            step: step.to_owned(),
            began: Instant::now(),
        }
    }

    pub(super) fn end(self, ended: Result<(StepOutcome, String)>) -> Step {
        let mut step = match ended {
            Ok((outcome, message)) => Step {
                step: self.step,
                outcome,
                duration_ms: 0,
                message,
                hint: None,
                error: None,
            },
            Err(error) => Step::failed(&self.step, error),
        };
        step.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        step
    }
}

impl Step {
    pub(super) fn failed(step: &str, error: Error) -> Step {
        Step {
            step: step.to_owned(),
            outcome: StepOutcome::Failed,
            duration_ms: 0,
            message: super::told(&error),
            hint: error.remedy().map(str::to_owned),
            error: Some(error),
        }
    }

    pub(super) fn skipped(step: &str, reason: &str) -> Step {
        Step {
            step: step.to_owned(),
            outcome: StepOutcome::Skipped,
            duration_ms: 0,
            message: reason.to_owned(),
            hint: None,
            error: None,
        }
    }

    /// As it stands in the record; what was skipped was not done, and is none.
    pub(super) fn as_recorded(&self) -> Option<RanStep> {
        let outcome = match self.outcome {
            StepOutcome::Succeeded => RunOutcome::Succeeded,
            StepOutcome::Incomplete => RunOutcome::Incomplete,
            StepOutcome::Failed => RunOutcome::Failed,
            StepOutcome::Skipped => return None,
        };
        Some(RanStep {
            step: self.step.clone(),
            outcome,
            duration_ms: self.duration_ms,
            message: self.message.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_before_a_proved_archive_fails_a_run() {
        let failed = |step: &str| Step::failed(step, Error::failed("x", "y", "z"));
        let skipped = || Step::skipped("prune", "no reason");
        for (step, expected) in [
            ("dump", RunOutcome::Failed),
            ("verify", RunOutcome::Failed),
            ("hook before", RunOutcome::Failed),
            ("prune", RunOutcome::Incomplete),
            ("replicate cold", RunOutcome::Incomplete),
            ("hook after", RunOutcome::Incomplete),
        ] {
            assert_eq!(outcome(&[skipped(), failed(step)]), expected, "{step}");
        }
        assert_eq!(outcome(&[skipped()]), RunOutcome::Succeeded);
        let both = [failed("dump"), failed("prune")];
        assert_eq!(outcome(&both), RunOutcome::Failed);
    }
}
