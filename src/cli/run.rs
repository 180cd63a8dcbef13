//! `pgark run`: configured jobs, one after another.

use std::time::Duration;

use jiff::Timestamp;

use super::config_file::{self, Configured};
use super::output::diagnostic;
use super::{Context, exit, exit::Outcome, human, secrets};
use crate::archive::records::RunOutcome;
use crate::config::Job;
use crate::error::{Error, Result};
use crate::jobs::words::{self, JobPlan};
use crate::jobs::{JobReport, Step, StepOutcome, Surroundings, run_job};
use crate::pg::Environment;

/// Runs configured jobs: dump, verify, prune, replicate, notify
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark run                  every job of the configuration, one after another
  pgark run shop             one of them
  pgark run --dry-run        what would be done, and when the next run is due
  pgark run shop --json      the report for programs

A job that fails does not stop the others. Older archives go only after the new one was proved. Runs of one job exclude each other, \
on all machines that use its repository: exit code 14 says that another one is under way.")]
pub(crate) struct Run {
    /// Jobs [default: all of the configuration]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Run {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let configured = config_file::load(cx).await?;
        let jobs = chosen(&configured, &self.jobs)?;
        if self.dry_run {
            let now = Timestamp::now();
            let plans = jobs
                .iter()
                .map(|job| words::plan(&configured.config, job, now));
            return print_plans(&plans.collect::<Vec<_>>(), &configured, cx);
        }
        let environment = Environment::of_process();
        let around = Surroundings {
            config: &configured.config,
            environment: &environment,
            progress: cx.shown.progress(),
        };
        let mut reports = Vec::new();
        for job in jobs {
            let report = Box::pin(run_job(&around, job)).await;
            if !cx.common.json {
                cx.shown.finish();
                print_report(&report, cx)?;
                cx.output.flush()?;
            }
            reports.push(report);
        }
        cx.shown.finish();
        let exit_code = reports.iter().map(exit_code_of).reduce(worse).unwrap_or(0);
        if cx.common.json {
            print_json(&reports, exit_code, cx)?;
        }
        Ok(Outcome::OfJobs(exit_code))
    }
}

/// The jobs called `names`, or all.
pub(crate) fn chosen<'a>(configured: &'a Configured, names: &[String]) -> Result<Vec<&'a Job>> {
    let (config, file) = (&configured.config, configured.file.display());
    if config.jobs.is_empty() {
        return Err(Error::Usage(format!("{file} has no [[job]]")));
    }
    if names.is_empty() {
        return Ok(config.jobs.iter().collect());
    }
    let mut jobs: Vec<&Job> = Vec::new();
    for name in names {
        let job = config.job(name).ok_or_else(|| {
            let known: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
            Error::Usage(format!(
                "{file} has no job {name:?}; it has {}",
                known.join(", ")
            ))
        })?;
        if !jobs.iter().any(|chosen| chosen.name == job.name) {
            jobs.push(job);
        }
    }
    Ok(jobs)
}

/// The code of a job that failed is that of the step that failed first.
fn exit_code_of(report: &JobReport) -> u8 {
    match report.outcome {
        RunOutcome::Succeeded => 0,
        RunOutcome::Incomplete => Outcome::Incomplete.exit_code(),
        RunOutcome::Failed => {
            let error = report.steps.iter().find_map(|step| step.error.as_ref());
            error.map_or(1, exit::code_of)
        }
    }
}

/// The worse of two jobs' codes; 1 where two failed for different reasons.
fn worse(one: u8, other: u8) -> u8 {
    let incomplete = Outcome::Incomplete.exit_code();
    match (one, other) {
        (0, code) | (code, 0) => code,
        (code, weak) | (weak, code) if weak == incomplete => code,
        (one, other) if one == other => one,
        _ => 1,
    }
}

fn print_json(reports: &[JobReport], exit_code: u8, cx: &Context) -> Result<()> {
    let value = serde_json::json!({ "jobs": reports, "exit_code": exit_code });
    cx.output.json_without_secrets(&value)
}

fn print_report(report: &JobReport, cx: &Context) -> Result<()> {
    let time = human::duration(Duration::from_millis(report.duration_ms));
    let ended = match report.outcome {
        RunOutcome::Succeeded => "succeeded",
        RunOutcome::Incomplete => "INCOMPLETE",
        RunOutcome::Failed => "FAILED",
    };
    let place = if report.location.is_empty() {
        String::new()
    } else {
        format!(" in {}", report.location)
    };
    cx.output
        .line(format!("job {}: {ended} after {time}{place}", report.job))?;
    for step in &report.steps {
        cx.output.line(format!("  {}", told(step)))?;
        if let Some(hint) = &step.hint {
            cx.output.line(format!("    hint: {hint}"))?;
        }
    }
    for archive in &report.archives {
        cx.output.line(format!("  saved: {}", archive.location))?;
    }
    // Also where cron and its like look, who throw the report away.
    for step in &report.steps {
        if matches!(step.outcome, StepOutcome::Failed | StepOutcome::Incomplete) {
            diagnostic(format!("job {}: {}", report.job, told(step)));
        }
    }
    if !report.recorded {
        diagnostic(format!(
            "job {}: there is no record of this run",
            report.job
        ));
    }
    Ok(())
}

fn told(step: &Step) -> String {
    let message = secrets::hidden(&step.message);
    let time = human::duration(Duration::from_millis(step.duration_ms));
    let name = &step.step;
    match step.outcome {
        StepOutcome::Succeeded => format!("{name}: {message}, {time}"),
        StepOutcome::Incomplete => format!("{name}: INCOMPLETE: {message}, {time}"),
        StepOutcome::Failed => format!("{name}: FAILED: {message}"),
        StepOutcome::Skipped => format!("{name}: skipped: {message}"),
    }
}

fn print_plans(plans: &[JobPlan], configured: &Configured, cx: &Context) -> Result<Outcome> {
    if cx.common.json {
        cx.output.json(&plans)?;
        return Ok(Outcome::Done);
    }
    for plan in plans {
        print_plan(plan, configured, cx)?;
    }
    cx.output.line("nothing was done")?;
    Ok(Outcome::Done)
}

/// A job in words.
pub(crate) fn print_plan(plan: &JobPlan, configured: &Configured, cx: &Context) -> Result<()> {
    cx.output.line(format!("job {}", plan.job))?;
    for step in &plan.steps {
        cx.output.line(format!("  {}: {}", step.step, step.does))?;
    }
    let next = plan.next.map_or_else(
        || "it has no schedule".to_owned(),
        |next| format!("next run: {}", on_clock(next, configured)),
    );
    cx.output.line(format!("  {next}"))
}

/// A time on the clock of the configuration's zone.
pub(crate) fn on_clock(moment: Timestamp, configured: &Configured) -> String {
    let zoned = moment.to_zoned(configured.config.zone());
    zoned.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_job_decides() {
        for (codes, expected) in [
            (vec![0, 0], 0),
            (vec![0, 3, 0], 3),
            (vec![3, 13], 13),
            (vec![13, 3, 13], 13),
            (vec![14, 13], 1),
            (vec![1, 0], 1),
        ] {
            let worst = codes.iter().copied().reduce(worse);
            assert_eq!(worst, Some(expected), "{codes:?}");
        }
    }
}
