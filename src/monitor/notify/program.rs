//! Tells by a program, such as the system's mailer: no shell, the message on its standard input.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command as Process};

use super::{Message, body};
use crate::config::Command;
use crate::sql::{hide_passwords, printable};

/// What is kept of the program's complaints.
const COMPLAINT_BYTES_MAX: u64 = 4096;
/// What is shown of them.
const COMPLAINT_CHARS_MAX: usize = 200;
/// How long its pipes are read after it has ended.
const LINGER: Duration = Duration::from_millis(100);

/// Runs the program to its end; one that takes longer than `lasts` is ended.
pub(super) async fn run(
    command: &Command,
    message: &Message,
    lasts: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = command.0.as_slice() else {
        return Err("its command is empty".to_owned());
    };
    let mut process = Process::new(program);
    process
        .args(arguments)
        .envs(variables(message))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = process
        .spawn()
        .map_err(|problem| format!("{program} does not start: {problem}"))?;
    let text = body::plain(message);
    let Ok(ended) = tokio::time::timeout(lasts, feed(child, text)).await else {
        return Err(format!(
            "{program} did not end within {} s and was ended",
            lasts.as_secs_f64()
        ));
    };
    match ended {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, complaint)) => Err(format!(
            "{program} ended with {}{complaint}",
            code_of(status)
        )),
        Err(problem) => Err(format!("{program}: {problem}")),
    }
}

async fn feed(mut child: Child, text: String) -> std::io::Result<(ExitStatus, String)> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input may still do its work.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let mut complaint = Vec::new();
    let read = async {
        if let Some(mut stderr) = stderr {
            let mut first = (&mut stderr).take(COMPLAINT_BYTES_MAX);
            let _ = first.read_to_end(&mut complaint).await;
            // What nobody reads would stop the program.
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
    };
    let status = {
        let mut pipes = std::pin::pin!(async { tokio::join!(write, read) });
        tokio::select! {
            _ = &mut pipes => child.wait().await,
            status = child.wait() => {
                // What it left running may hold the pipes for ever.
                let _ = tokio::time::timeout(LINGER, &mut pipes).await;
                status
            }
        }
    };
    Ok((status?, shown(&complaint)))
}

/// The first line of what it said.
fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map_or_else(String::new, |line| {
        let line: String = line.chars().take(COMPLAINT_CHARS_MAX).collect();
        format!(": {}", printable(&hide_passwords(&line)))
    })
}

fn code_of(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// `PGARK_SUBJECT`, `PGARK_JOB`, …, and each field in capitals. Names and values are parts of no command line.
fn variables(message: &Message) -> Vec<(String, String)> {
    let occasions: Vec<&str> = message.occasions.iter().map(|one| one.word()).collect();
    let mut variables = vec![
        ("PGARK_SUBJECT".to_owned(), message.title.clone()),
        (
            "PGARK_OCCASION".to_owned(),
            occasions.first().copied().unwrap_or_default().to_owned(),
        ),
        ("PGARK_OCCASIONS".to_owned(), occasions.join(" ")),
        (
            "PGARK_JOB".to_owned(),
            message.job.clone().unwrap_or_default(),
        ),
        ("PGARK_AT".to_owned(), message.at.to_string()),
        ("PGARK_HOST".to_owned(), message.host.clone()),
    ];
    for (name, value) in &message.fields {
        variables.push((
            format!("PGARK_{}", name.to_ascii_uppercase()),
            value.clone(),
        ));
    }
    // A value with a zero byte would keep the program from starting.
    for (_, value) in &mut variables {
        value.retain(|c| c != '\0');
    }
    variables
}
