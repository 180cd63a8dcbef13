//! The step `verify`: the new archives are proved before older ones may go.

use super::Surroundings;
use super::report::StepOutcome;
use crate::archive::records::Depth;
use crate::archive::{ArchiveName, Repository};
use crate::config::{Job, VerifyDepth};
use crate::error::{Error, Result};
use crate::human;
use crate::manage::verify::{VerifyOptions, verify};

/// Findings that are told; the rest is counted.
const FINDINGS_TOLD: usize = 3;

pub(super) async fn prove(
    around: &Surroundings<'_>,
    job: &Job,
    repository: &Repository,
    names: &[ArchiveName],
) -> Result<(StepOutcome, String)> {
    let options = VerifyOptions {
        depth: match job.verify {
            VerifyDepth::Bytes => Depth::Bytes,
            VerifyDepth::Full => Depth::Full,
        },
        ..VerifyOptions::default()
    };
    let progress = around.progress.as_ref();
    let report = verify(repository, Some(names), &options, progress).await?;
    let damage: Vec<String> = report
        .findings
        .iter()
        .filter(|finding| finding.damage)
        .map(ToString::to_string)
        .collect();
    if report.is_damaged() {
        let more = damage.len().saturating_sub(FINDINGS_TOLD);
        let told: Vec<String> = damage.into_iter().take(FINDINGS_TOLD).collect();
        let more = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        return Err(Error::corrupt(
            format_args!("the new archive in {}", repository.location()),
            told.join("; "),
            format_args!("it is damaged as soon as it was written{more}"),
        ));
    }
    let n_chunks = report.archives.iter().map(|one| one.n_chunks).sum();
    let n_bytes = report.archives.iter().map(|one| one.stored_bytes).sum();
    let how = match job.verify {
        VerifyDepth::Bytes => "every stored byte hashed again",
        VerifyDepth::Full => "every stored byte hashed again, decoded and counted",
    };
    let message = format!(
        "{}, {}: {how}",
        human::things(n_chunks, "chunk"),
        human::bytes(n_bytes)
    );
    Ok((StepOutcome::Succeeded, message))
}
