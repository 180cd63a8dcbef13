//! The steps `hook before` and `hook after`: programs of the user, without a shell, in a process group of their own, for a limited time.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command as Process};

use super::Surroundings;
use super::report::StepOutcome;
use crate::archive::records::RunOutcome;
use crate::config::{Command, Period, Secret};
use crate::error::{Error, Result};
use crate::sql::{hide_passwords, printable};

/// How long a hook may run if it is not said.
const LIMIT: Duration = Duration::from_secs(600);
/// How long a hook that was asked to end has for it.
const GRACE: Duration = Duration::from_secs(2);
/// What is kept of a hook's last words.
const WORDS_BYTES_MAX: usize = 2000;

/// When a hook runs, and what it can know.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Before,
    After(RunOutcome),
}

impl When {
    pub(super) fn step(self) -> &'static str {
        match self {
            When::Before => "hook before",
            When::After(_) => "hook after",
        }
    }
}

/// A hook to run.
pub(super) struct Hook<'a> {
    pub(super) command: &'a Command,
    pub(super) job: &'a str,
    pub(super) archive: Option<&'a str>,
    pub(super) when: When,
    pub(super) limit: Option<Period>,
}

/// Runs the hook to its end.
pub(super) async fn run(
    hook: &Hook<'_>,
    around: &Surroundings<'_>,
) -> Result<(StepOutcome, String)> {
    let program = printable(&hook.command.0[0]);
    let failed = |problem: String, remedy: &str| {
        Error::failed(format_args!("hook {program}"), problem, remedy)
    };
    let mut child = process(hook, around).spawn().map_err(|problem| {
        failed(
            format!("does not start: {problem}"),
            "a hook is a program's path and its arguments; there is no shell that would look further",
        )
    })?;
    let mut group = Group::of(&child);
    let limit = hook.limit.map_or(LIMIT, Period::duration);
    let mut words = (Vec::new(), Vec::new());
    let waited = tokio::time::timeout(limit, wait(&mut child, &mut words)).await;
    let said = shown(&[words.0, words.1].concat());
    match waited {
        Ok(Ok(status)) => {
            group.is_over = true;
            if status.success() {
                return Ok((StepOutcome::Succeeded, program));
            }
            Err(failed(format!("ended with {status}{said}"), ""))
        }
        Ok(Err(problem)) => Err(failed(problem.to_string(), "")),
        Err(_) => {
            group.end().await;
            Err(failed(
                format!(
                    "did not end within {} and was ended{said}",
                    crate::human::duration(limit)
                ),
                "hooks.timeout gives it longer",
            ))
        }
    }
}

fn process(hook: &Hook<'_>, around: &Surroundings<'_>) -> Process {
    let (program, arguments) = (&hook.command.0[0], &hook.command.0[1..]);
    let mut process = Process::new(program);
    process
        .args(arguments)
        .env("PGARK_JOB", hook.job)
        .env("PGARK_ARCHIVE", hook.archive.unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    match hook.when {
        When::Before => process.env("PGARK_OUTCOME", ""),
        When::After(outcome) => process.env("PGARK_OUTCOME", word(outcome)),
    };
    for variable in secret_variables(around) {
        process.env_remove(variable);
    }
    process
}

fn word(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Succeeded => "succeeded",
        RunOutcome::Incomplete => "incomplete",
        RunOutcome::Failed => "failed",
    }
}

/// The variables in which secrets are, as the configuration says: they are pgark's and no hook's business.
fn secret_variables<'a>(around: &'a Surroundings<'_>) -> Vec<&'a str> {
    let config = around.config;
    let of_places = config.repositories.iter().flat_map(|place| {
        [
            &place.access_key_id,
            &place.secret_access_key,
            &place.session_token,
            &place.service_account_key,
        ]
    });
    let of_jobs = config.jobs.iter().flat_map(|job| {
        let drill = job.drill.as_ref();
        [Some(&job.password), drill.map(|drill| &drill.password)]
    });
    let of_channels = config.channels.iter().map(|channel| &channel.url);
    let all = of_places.chain(of_jobs.flatten()).chain(of_channels);
    let named = all.filter_map(|secret| match secret {
        Some(Secret::Env(name)) => Some(name.as_str()),
        _ => None,
    });
    named.chain(["PGPASSWORD"]).collect()
}

/// Waits for the hook and keeps its last words of both outputs. What it left running may hold them open; nobody waits for that.
async fn wait(
    child: &mut Child,
    words: &mut (Vec<u8>, Vec<u8>),
) -> std::io::Result<std::process::ExitStatus> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = async {
        tokio::join!(keep(stdout, &mut words.0), keep(stderr, &mut words.1));
    };
    tokio::pin!(reading);
    let status = tokio::select! {
        status = child.wait() => status?,
        () = &mut reading => return child.wait().await,
    };
    let _ = tokio::time::timeout(Duration::from_millis(200), &mut reading).await;
    Ok(status)
}

/// Reads to the end, and keeps the last bytes.
async fn keep(from: Option<impl AsyncRead + Unpin>, last: &mut Vec<u8>) {
    let Some(mut from) = from else {
        return;
    };
    let mut piece = [0_u8; 4096];
    while let Ok(n @ 1..) = from.read(&mut piece).await {
        last.extend_from_slice(&piece[..n]);
        let n_old = last.len().saturating_sub(WORDS_BYTES_MAX);
        last.drain(..n_old);
    }
}

fn shown(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    format!("; it said: {}", hide_passwords(text))
}

/// The hook's process group: it goes when the hook is dropped before its end.
struct Group {
    pid: Option<Pid>,
    is_over: bool,
}

impl Group {
    fn of(child: &Child) -> Group {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Group {
            pid: number.and_then(Pid::from_raw),
            is_over: false,
        }
    }

    fn send(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // A group that is gone needs no signal.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Asks the group to end, then ends it.
    async fn end(&mut self) {
        self.send(Signal::TERM);
        tokio::time::sleep(GRACE).await;
        self.send(Signal::KILL);
        self.is_over = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_over {
            self.send(Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests;
