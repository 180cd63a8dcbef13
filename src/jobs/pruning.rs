//! The step `prune`: what no rule of the job keeps goes, in the job's repository or in a replica.

use super::Surroundings;
use super::report::StepOutcome;
use crate::archive::{ArchiveName, GroupFilter, Repository};
use crate::config::{Job, Keep};
use crate::error::Result;
use crate::human;
use crate::manage::prune::{PruneOptions, PruneReport, prune};

/// Prunes the archives of `job` in `repository` by `keep`.
pub(super) async fn clear(
    around: &Surroundings<'_>,
    job: &Job,
    repository: &Repository,
    keep: &Keep,
) -> Result<(StepOutcome, String)> {
    let options = PruneOptions {
        zone: around.config.zone(),
        ..PruneOptions::default()
    };
    let progress = around.progress.as_ref();
    let report = prune(repository, &archives_of(job), keep, &options, progress).await?;
    Ok((StepOutcome::Succeeded, told(&report)))
}

/// The archives that `job` made, of whichever databases.
pub(super) fn archives_of(job: &Job) -> GroupFilter {
    GroupFilter {
        job: Some(Some(job.name.clone())),
        ..GroupFilter::default()
    }
}

fn told(report: &PruneReport) -> String {
    let n_kept = report.archives.iter().filter(|one| one.keep).count();
    let mut text = format!(
        "{} kept, {} removed",
        human::things(n_kept as u64, "archive"),
        report.removed.len()
    );
    if !report.removed.is_empty() {
        let names: Vec<&str> = report.removed.iter().map(ArchiveName::as_str).collect();
        text = format!("{text}: {}", names.join(", "));
    }
    if let Some(reason) = &report.not_swept {
        text = format!("{text}; nothing was swept: {reason}");
    }
    text
}
