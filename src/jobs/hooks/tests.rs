//! Runs hooks that succeed, fail, hang and leave something behind.

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::config::Config;
use crate::pg::Environment;
use crate::progress::Silent;

/// Runs `/bin/sh -c TEXT`: the test's own shell, to have many programs in one.
async fn run_shell(text: &str, when: When, limit: &str) -> Result<(StepOutcome, String)> {
    run_command(&["/bin/sh", "-c", text], when, limit).await
}

async fn run_command(command: &[&str], when: When, limit: &str) -> Result<(StepOutcome, String)> {
    let config = Config::default();
    let environment = Environment::of_process();
    let around = Surroundings {
        config: &config,
        environment: &environment,
        progress: Arc::new(Silent),
    };
    let command = Command(command.iter().map(|&word| word.to_owned()).collect());
    let hook = Hook {
        command: &command,
        job: "shop",
        archive: Some("shop-1"),
        when,
        limit: Some(Period::parse(limit).unwrap()),
    };
    run(&hook, &around).await
}

#[tokio::test]
async fn a_hook_knows_of_the_run_and_no_shell_reads_its_arguments() {
    let when = When::After(RunOutcome::Incomplete);
    let text = r#"test "$PGARK_JOB $PGARK_ARCHIVE $PGARK_OUTCOME" = "shop shop-1 incomplete""#;
    run_shell(text, when, "10s").await.unwrap();
    let odd = ["/usr/bin/test", "$(exit 1); \"x\"", "=", "$(exit 1); \"x\""];
    run_command(&odd, When::Before, "10s").await.unwrap();
}

#[tokio::test]
async fn a_failing_hook_says_its_last_words() {
    let ended = run_shell(
        "yes | head -c 100000; echo out of paper >&2; exit 7",
        When::Before,
        "10s",
    )
    .await;
    let text = ended.unwrap_err().to_string();
    assert!(
        text.contains("exit status: 7") && text.contains("out of paper"),
        "{text}"
    );
    assert!(text.len() < 3 * WORDS_BYTES_MAX, "{}", text.len());
    let missing = run_command(&["/no/such/program"], When::Before, "10s").await;
    let text = missing.unwrap_err().to_string();
    assert!(text.contains("/no/such/program: does not start"), "{text}");
}

#[tokio::test]
async fn a_hook_that_hangs_is_ended_with_all_that_it_started() {
    let began = Instant::now();
    let ended = run_shell(
        "echo begun; sleep 300 & sleep 301 & echo $! ; wait",
        When::Before,
        "1s",
    )
    .await;
    let text = ended.unwrap_err().to_string();
    assert!(
        text.contains("did not end within 1.0 s") && text.contains("begun"),
        "{text}"
    );
    assert!(began.elapsed() < Duration::from_secs(20));
    let pid = text.lines().last().unwrap().trim();
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[tokio::test]
async fn what_a_hook_leaves_behind_is_not_waited_for() {
    let began = Instant::now();
    run_shell("sleep 30 & exit 0", When::Before, "20s")
        .await
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
}
