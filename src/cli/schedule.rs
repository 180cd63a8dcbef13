//! `pgark schedule`: what starts the jobs at their times, for cron, systemd or Kubernetes, and when they run next.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use super::config_file::{self, Configured};
use super::output::diagnostic;
use super::run::{chosen, on_clock};
use super::{Context, exit::Outcome};
use crate::error::{Error, Result};
use crate::jobs::timetable::{
    Paths, Planned, Starter, Timetable, calendars, next_times, planned, timetable,
};

/// How many of the next times are shown.
const TIMES_SHOWN: usize = 3;

/// Prints what starts the jobs at their times: for cron, systemd or Kubernetes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark schedule                               lines for crontab, when they run next, and how to install them
  pgark schedule --format systemd --output units
                                               a service and a timer for each job, as files
  pgark schedule --format kubernetes           a CronJob for each
  pgark schedule shop --format systemd         those of one job

What is meant for the files is on standard output, what is meant for you on standard error. systemd makes up for runs that were \
missed while the machine was off, cron does not.")]
pub(crate) struct ScheduleVerb {
    /// Jobs [default: all of the configuration]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// For whom
    #[arg(long, value_name = "FORMAT", default_value = "cron")]
    format: Format,
    /// Write the files into this folder, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Cron,
    Systemd,
    Kubernetes,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    scheduled: Vec<Scheduled<'a>>,
    #[serde(flatten)]
    timetable: &'a Timetable,
}

#[derive(Debug, Serialize)]
struct Scheduled<'a> {
    job: &'a str,
    command: &'a [String],
    schedule: &'a str,
    calendars: Vec<String>,
    next: Vec<Timestamp>,
}

impl ScheduleVerb {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let configured = config_file::load(cx).await?;
        let jobs = chosen(&configured, &self.jobs)?;
        let planned = planned(&jobs)?;
        if planned.is_empty() {
            return Err(Error::Usage(format!(
                "{}: no job has a schedule; give one, such as schedule = \"0 2 * * *\"",
                configured.file.display()
            )));
        }
        let (program, config) = places(&configured).await?;
        let paths = Paths {
            program: &program,
            config: &config,
        };
        let starter = match self.format {
            Format::Cron => Starter::Cron,
            Format::Systemd => Starter::Systemd,
            Format::Kubernetes => Starter::Kubernetes,
        };
        let table = timetable(starter, &planned, &configured.config, paths);
        if let Some(folder) = &self.output {
            write_files(folder, &table).await?;
        }
        if cx.common.json {
            cx.output.json(&shown(&planned, &table, &configured))?;
        } else {
            self.print(&planned, &table, &configured, cx)?;
        }
        Ok(Outcome::Done)
    }

    fn print(
        &self,
        planned: &[Planned<'_>],
        table: &Timetable,
        configured: &Configured,
        cx: &Context,
    ) -> Result<()> {
        match &self.output {
            Some(folder) => {
                for file in &table.files {
                    cx.output
                        .line(folder.join(&file.name).display().to_string())?;
                }
            }
            None => cx.output.write(together(table).as_bytes())?,
        }
        cx.output.flush()?;
        diagnostic("next runs:");
        for one in planned {
            let times = next_times(
                one,
                &configured.config.zone(),
                Timestamp::now(),
                TIMES_SHOWN,
            );
            let times = times.into_iter().map(|time| on_clock(time, configured));
            diagnostic(format!(
                "  {} ({}): {}",
                one.name,
                one.schedule.as_str(),
                times.collect::<Vec<_>>().join(", ")
            ));
        }
        diagnostic("to install:");
        let folder = self.output.as_deref().map(Path::display);
        let folder = folder.map_or_else(|| "DIR".to_owned(), |folder| folder.to_string());
        if self.output.is_none() {
            diagnostic("  write the files into a folder DIR with --output DIR");
        }
        for (n, step) in table.steps.iter().enumerate() {
            diagnostic(format!("  {}. {}", n + 1, step.replace("DIR", &folder)));
        }
        Ok(())
    }
}

/// All files in one text. YAML's documents are parted as YAML does; the names of several others are said.
fn together(table: &Timetable) -> String {
    let mut text = String::new();
    for (n, file) in table.files.iter().enumerate() {
        if Path::new(&file.name)
            .extension()
            .is_some_and(|one| one == "yaml")
        {
            text.push_str("---\n");
        } else if table.files.len() > 1 {
            let gap = if n > 0 { "\n" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{gap}# ==> {} <==", file.name);
        }
        text.push_str(&file.text);
    }
    text
}

fn shown<'a>(
    planned: &'a [Planned<'_>],
    timetable: &'a Timetable,
    configured: &Configured,
) -> Shown<'a> {
    let config = &configured.config;
    let now = Timestamp::now();
    let scheduled = planned.iter().map(|one| Scheduled {
        job: &one.job.name,
        command: &one.arguments,
        schedule: one.schedule.as_str(),
        calendars: calendars(&one.fields, config.timezone.as_deref()),
        next: next_times(one, &config.zone(), now, TIMES_SHOWN),
    });
    Shown {
        scheduled: scheduled.collect(),
        timetable,
    }
}

/// The program and the configuration, by absolute paths: what starts them stands elsewhere.
async fn places(configured: &Configured) -> Result<(PathBuf, PathBuf)> {
    let program = std::env::current_exe()
        .map_err(|e| Error::failed("the program's own path", e, "start it by its path"))?;
    let config = tokio::fs::canonicalize(&configured.file)
        .await
        .map_err(|e| Error::failed(configured.file.display(), e, ""))?;
    Ok((program, config))
}

async fn write_files(folder: &Path, table: &Timetable) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |problem: std::io::Error| {
            Error::failed(path, problem, "give another folder with --output")
        }
    };
    tokio::fs::create_dir_all(folder)
        .await
        .map_err(failed(folder))?;
    for file in &table.files {
        let path = folder.join(&file.name);
        tokio::fs::write(&path, &file.text)
            .await
            .map_err(failed(&path))?;
    }
    Ok(())
}
