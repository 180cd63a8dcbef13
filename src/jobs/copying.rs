//! The steps `replicate NAME`: the job's archives are copied to a replica, which is pruned by its own rules.

use super::pruning::{archives_of, clear};
use super::report::StepOutcome;
use super::{Surroundings, copy_of};
use crate::archive::Repository;
use crate::config::{Job, Replica};
use crate::error::{Error, Result};
use crate::human;
use crate::manage::replicate::{CopyState, ReplicateOptions, ReplicateReport, replicate};

/// Problems that are told; the rest is counted.
const PROBLEMS_TOLD: usize = 3;

/// Copies what the replica lacks, also of earlier runs. The replica loses nothing before it has all that it should have.
pub(super) async fn copy(
    around: &Surroundings<'_>,
    job: &Job,
    from: &Repository,
    replica: &Replica,
) -> Result<(StepOutcome, String)> {
    let to = copy_of(around, from, &replica.repository).await?;
    let options = ReplicateOptions {
        filter: archives_of(job),
        only: replica.only.clone(),
        zone: around.config.zone(),
        ..ReplicateOptions::default()
    };
    let report = replicate(from, &to, &options, around.progress.as_ref()).await?;
    let mut text = told(&report);
    if !report.is_complete() {
        return Err(Error::failed(
            format_args!("replica {}", to.location()),
            text,
            "what was copied is there; the next run copies the rest",
        ));
    }
    if !replica.keep.is_everything() {
        let (_, pruned) = clear(around, job, &to, &replica.keep).await?;
        text = format!("{text}; {pruned}");
    }
    Ok((StepOutcome::Succeeded, text))
}

fn told(report: &ReplicateReport) -> String {
    let bytes = report.archives.iter().map(|one| one.copied_bytes).sum();
    let mut text = format!(
        "{} copied ({}), {} there already",
        human::things(report.count(CopyState::Copied), "archive"),
        human::bytes(bytes),
        report.count(CopyState::Present),
    );
    let of_archives = report.archives.iter().filter_map(|one| {
        let problem = one.problem.as_ref()?;
        Some(format!("{}: {problem}", one.name))
    });
    let problems: Vec<String> = of_archives.chain(report.problem.clone()).collect();
    for problem in problems.iter().take(PROBLEMS_TOLD) {
        text = format!("{text}; {problem}");
    }
    if problems.len() > PROBLEMS_TOLD {
        text = format!("{text}; and {} more", problems.len() - PROBLEMS_TOLD);
    }
    text
}
