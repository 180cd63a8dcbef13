//! What is told: a message, and how one is made of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::archive::ArchiveName;
use crate::archive::records::{Ran, RunOutcome};
use crate::config::Occasion;
use crate::human;
use crate::sql::printable;

/// What is told. Whoever wants one of the occasions gets all of it, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Why it is told, gravest first; never empty.
    pub occasions: Vec<Occasion>,
    /// The job that it is about.
    pub job: Option<String>,
    /// The matter in one line.
    pub title: String,
    /// The rest in whole sentences, lines of their own.
    pub text: String,
    /// Values for programs, by names of lower-case letters and underscores.
    pub fields: BTreeMap<String, String>,
    /// When it happened.
    pub at: Timestamp,
    /// The machine that tells it.
    pub host: String,
}

impl Message {
    /// The message that tells of a finished run, with `findings` about its archive, a sentence each.
    pub fn of_run(
        ran: &Ran,
        occasions: Vec<Occasion>,
        findings: &[String],
        host: String,
    ) -> Message {
        let ended = match ran.outcome {
            RunOutcome::Succeeded if occasions.contains(&Occasion::Recovery) => "succeeds again",
            RunOutcome::Succeeded => "succeeded",
            RunOutcome::Incomplete => "is incomplete",
            RunOutcome::Failed => "failed",
        };
        let took_ms = ran.finished.duration_since(ran.at).as_millis().max(0);
        let took = std::time::Duration::from_millis(u64::try_from(took_ms).unwrap_or(u64::MAX));
        let archives: Vec<&str> = ran.archives.iter().map(ArchiveName::as_str).collect();
        let mut text = format!(
            "The run began at {} and took {}.",
            human::time(ran.at),
            human::duration(took)
        );
        for finding in findings {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{finding}");
        }
        for step in &ran.steps {
            let _ = write!(
                text,
                "\n{}: {}",
                step.step,
                worded(step.outcome, &step.message)
            );
        }
        let outcome = match ran.outcome {
            RunOutcome::Succeeded => "succeeded",
            RunOutcome::Incomplete => "incomplete",
            RunOutcome::Failed => "failed",
        };
        let mut fields: BTreeMap<String, String> = [
            ("outcome", outcome.to_owned()),
            ("began", ran.at.to_string()),
            ("duration_ms", took_ms.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if !archives.is_empty() {
            fields.insert("archive".to_owned(), archives.join(" "));
        }
        Message {
            occasions,
            job: Some(ran.job.clone()),
            title: format!("pgark: job {} {ended}", printable(&ran.job)),
            text,
            fields,
            at: ran.finished,
            host,
        }
    }
}

fn worded(outcome: RunOutcome, message: &str) -> String {
    match outcome {
        RunOutcome::Succeeded => message.to_owned(),
        RunOutcome::Incomplete => format!("INCOMPLETE: {message}"),
        RunOutcome::Failed => format!("FAILED: {message}"),
    }
}

/// The machine's name, for messages: the kernel's, else the variable `HOSTNAME`.
pub async fn host_name(lookup: impl Fn(&str) -> Option<String>) -> String {
    let kernels = tokio::fs::read_to_string("/proc/sys/kernel/hostname").await;
    let named = kernels.ok().map(|text| text.trim().to_owned());
    let known = named.filter(|name| !name.is_empty());
    known
        .or_else(|| lookup("HOSTNAME"))
        .unwrap_or_else(|| "unknown host".to_owned())
}
