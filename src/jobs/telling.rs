//! The step `notify`: the job's channels are told what became of the run, and pings that it begins.

use super::Surroundings;
use super::report::StepOutcome;
use crate::archive::ArchiveName;
use crate::archive::Repository;
use crate::archive::records::{Ran, RecordKey};
use crate::config::{Channel, Job};
use crate::error::Result;
use crate::monitor::notify::{Message, Telling, Told, host_name, tell, tell_start};
use crate::monitor::{Besides, occasions, trend};

fn channels<'a>(around: &'a Surroundings<'_>, job: &Job) -> Vec<&'a Channel> {
    let names = job.notify.iter();
    names
        .filter_map(|name| around.config.channel(name))
        .collect()
}

/// Tells those that ping; gives what failed.
pub(super) async fn begin(around: &Surroundings<'_>, job: &Job) -> Vec<String> {
    let told = tell_start(&channels(around, job), |name| around.variable(name)).await;
    let failed = told
        .iter()
        .filter(|one| matches!(one.outcome, Telling::Failed(_)));
    failed.map(ToString::to_string).collect()
}

/// Tells what became of the run. `repository` knows of the run before it, if it can be reached.
pub(super) async fn end(
    around: &Surroundings<'_>,
    job: &Job,
    repository: Option<&Repository>,
    (ran, strange): (&Ran, &[String]),
) -> Result<(StepOutcome, String)> {
    let previous = match repository {
        // Who cannot be asked about the past shall not keep the present from being told.
        Some(repository) => before(repository, ran).await.unwrap_or(None),
        None => None,
    };
    let besides = Besides {
        left_trend: !strange.is_empty(),
    };
    let lookup = |name: &str| around.variable(name);
    let host = host_name(lookup).await;
    let occasions = occasions(previous.as_ref(), ran, besides);
    let message = Message::of_run(ran, occasions, strange, host);
    let told = tell(&channels(around, job), &message, lookup).await;
    let is_failed = |one: &Told| matches!(one.outcome, Telling::Failed(_));
    let outcome = if told.iter().any(is_failed) {
        StepOutcome::Incomplete
    } else {
        StepOutcome::Succeeded
    };
    let words: Vec<String> = told.iter().map(ToString::to_string).collect();
    Ok((outcome, words.join("; ")))
}

/// What is strange about the sizes of the new archives, a sentence each. To be asked before older ones go.
pub(super) async fn strange(
    job: &Job,
    repository: &Repository,
    names: &[ArchiveName],
) -> Result<Vec<String>> {
    let listed = repository.archives().await?;
    let mut sentences = Vec::new();
    for name in names {
        let archive = repository.read(name).await?;
        let findings = trend::of_archive(&archive, &listed, &job.trend, true).await?;
        let of_archive = findings.into_iter();
        sentences.extend(of_archive.map(|finding| format!("{name}: {}", finding.text)));
    }
    Ok(sentences)
}

/// The record of the job's run before this one.
async fn before(repository: &Repository, ran: &Ran) -> Result<Option<Ran>> {
    let stored = repository.store().list(RecordKey::FOLDER).await?;
    let keys = stored
        .iter()
        .filter_map(|stored| RecordKey::parse(&stored.key));
    let runs = keys
        .filter(|key| matches!(key, RecordKey::Ran(job, at) if *job == ran.job && *at < ran.at));
    // Keys sort by time.
    match runs.max_by_key(RecordKey::key) {
        Some(key) => repository.record(&key).await,
        None => Ok(None),
    }
}
