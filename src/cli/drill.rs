//! `pgark drill`: a restore that is tried, with its report.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::connection::Connection;
use super::{Context, choose, config_file, exit::Outcome, human, place, secrets};
use crate::archive::manifest::Scope;
use crate::archive::records::{Drilled, RecordKey};
use crate::archive::{Archive, GroupFilter};
use crate::config::{Job, Period, SqlCheck};
use crate::drill::{DrillOptions, drill};
use crate::error::{Error, Result};
use crate::pg::{ConnSettings, Environment};
use crate::toc::printable;

/// Tries a restore: into a scratch database, compared with the archive, measured, put on record
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark drill -d postgres                      the newest archive, on this machine's server
  pgark drill -d 'host=spare dbname=postgres' --from-database shop --rto 15min
                                               on a spare server, within the recovery time objective
  pgark drill -d postgres --check 'orders of the last day: SELECT count(*) > 0 FROM orders WHERE day = current_date = t'
  pgark drill --job shop                       as [job.drill] of the configuration has it

-d names any database of the server. The scratch database pgark_drill_ with random digits is made beside it and dropped afterwards, also after \
a failure or an interrupt; what a killed drill leaves is dropped by the next one on the same server. Nothing else is changed \
there. The result is put on record in the repository, where `pgark list` and `pgark show` find it. The exit code is 0 if the \
drill passed, 16 if it did not.")]
pub(crate) struct Drill {
    /// Archive: its name, a unique beginning of it, or latest [default: the newest whole archive]
    #[arg(value_name = "ARCHIVE")]
    archive: Option<String>,
    /// Take the newest whole archive of this database
    #[arg(long, value_name = "NAME", conflicts_with = "archive")]
    from_database: Option<String>,
    /// Take repository, server, objective and checks from this job of the configuration; options given here go before
    #[arg(long, value_name = "NAME", conflicts_with_all = ["host", "port", "username"])]
    job: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How")]
struct How {
    /// Connections that work at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// The recovery time objective, such as 15min: a restore that takes longer has not passed
    #[arg(long, value_name = "TIME")]
    rto: Option<Period>,
    /// A query for one value, and that value as text, as 'NAME: SQL = VALUE'; may be given several times
    #[arg(long = "check", value_name = "CHECK", value_parser = SqlCheck::parse)]
    checks: Vec<SqlCheck>,
    /// A file of such checks, each as in the configuration: [[check]] with name, sql and expect
    #[arg(long, value_name = "FILE")]
    check_file: Option<PathBuf>,
    /// How long a check may run
    #[arg(long, value_name = "TIME", default_value = "10min")]
    check_timeout: Period,
    /// Leave the scratch database there
    #[arg(long)]
    keep: bool,
}

/// `drill --json`: the record, and where it lies.
#[derive(Debug, Serialize)]
struct Report<'a> {
    passed: bool,
    #[serde(flatten)]
    drilled: &'a Drilled,
    record: &'a str,
}

impl Drill {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let job = self.job(cx).await?;
        let settings = self.settings(job.as_ref(), cx).await?;
        let options = self.options(job.as_ref()).await?;
        let place = match &job {
            Some(job) => place::named(&format!("@{}", job.repository), cx).await?,
            None => place::of(cx).await?,
        };
        let repository = place::for_reading(&place, cx).await?;
        let filter = self.filter();
        let archive = choose::archive(&repository, self.archive.as_deref(), &filter).await?;
        let drilled = Box::pin(drill(&archive, &settings, &options, cx.shown.progress())).await?;
        cx.shown.finish();
        let key = RecordKey::Drilled(drilled.name.clone(), drilled.at).key();
        let record = format!("{}/{key}", repository.location().trim_end_matches('/'));
        if cx.common.json {
            let report = Report {
                passed: drilled.passed(),
                drilled: &drilled,
                record: &record,
            };
            cx.output.json_without_secrets(&report)?;
        } else {
            let text = text(&drilled, &archive, &record);
            cx.output.line(secrets::hidden(&text))?;
        }
        Ok(if drilled.passed() {
            Outcome::Done
        } else {
            Outcome::NotPassed
        })
    }

    async fn job(&self, cx: &Context) -> Result<Option<Job>> {
        let Some(name) = &self.job else {
            return Ok(None);
        };
        let configured = config_file::load(cx).await?;
        let job = configured.config.job(name).cloned();
        let file = configured.file.display();
        match job {
            Some(job) if job.drill.is_some() => Ok(Some(job)),
            Some(_) => Err(Error::Usage(format!(
                "{file}: job {name:?} has no drill; write one as [job.drill] below it"
            ))),
            None => Err(Error::Usage(format!("{file} has no job {name:?}"))),
        }
    }

    /// The server: that of the command line, else the drill's, else the job's own.
    async fn settings(&self, job: Option<&Job>, cx: &Context) -> Result<ConnSettings> {
        let Some(job) = job.filter(|_| self.connection.dbname.is_none()) else {
            if self.connection.dbname.is_none() {
                return Err(Error::Usage(
                    "say with -d on which server to drill, by any of its databases, such as postgres"
                        .to_owned(),
                ));
            }
            return self.connection.settings(cx).await;
        };
        let drill = job.drill.as_ref();
        let (server, password) = match drill.and_then(|drill| drill.server.as_deref()) {
            Some(server) => (server, drill.and_then(|drill| drill.password.as_ref())),
            None => (job.source.as_str(), job.password.as_ref()),
        };
        let environment = Environment::of_process();
        let settings = ConnSettings::resolve(&environment, Some(server), &[])?;
        let Some(password) = password else {
            return Ok(settings);
        };
        let password = password.read(|name| environment.vars.get(name).cloned())?;
        Ok(settings.with_password(&password))
    }

    async fn options(&self, job: Option<&Job>) -> Result<DrillOptions> {
        let drill = job.and_then(|job| job.drill.as_ref());
        let how = &self.how;
        let mut checks = drill.map_or_else(Vec::new, |drill| drill.checks.clone());
        if let Some(file) = &how.check_file {
            checks.extend(read_checks(file).await?);
        }
        checks.extend(how.checks.iter().cloned());
        let defaults = DrillOptions::default();
        let jobs = how.jobs.or(drill.and_then(|drill| drill.jobs));
        let rto = how.rto.or(drill.and_then(|drill| drill.rto));
        Ok(DrillOptions {
            jobs: jobs.map_or(defaults.jobs, usize::from),
            rto: rto.map(Period::duration),
            checks,
            check_timeout: how.check_timeout.duration(),
            job: self.job.clone(),
            keep: how.keep,
        })
    }

    /// Which archives the newest is one of.
    fn filter(&self) -> GroupFilter {
        if self.archive.as_deref().is_some_and(|name| name != "latest") {
            return GroupFilter::default();
        }
        GroupFilter {
            database: self.from_database.clone(),
            job: self.job.clone().map(Some),
            scope: Some(Scope::Full),
            ..GroupFilter::default()
        }
    }
}

async fn read_checks(file: &Path) -> Result<Vec<SqlCheck>> {
    let name = file.display().to_string();
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|problem| Error::Usage(format!("checks {name}: {problem}")))?;
    SqlCheck::parse_file(&text, &name)
}

/// The report for people.
fn text(drilled: &Drilled, archive: &Archive, record: &str) -> String {
    let manifest = archive.manifest();
    let verdict = if drilled.passed() { "passed" } else { "FAILED" };
    let mut text = format!("drill of {} {verdict}", drilled.name);
    let mut say = |label: &str, line: &str| {
        let _ = write!(text, "\n  {label:<9} {line}");
    };
    say(
        "archive",
        &format!(
            "of {}, made at {} on PostgreSQL {}",
            manifest.group,
            human::time(manifest.created),
            printable(&manifest.source.server_version_text)
        ),
    );
    let server = match drilled.server_version.as_str() {
        "" => printable(&drilled.server),
        version => format!("{}, PostgreSQL {version}", printable(&drilled.server)),
    };
    say(
        "restored",
        &format!(
            "{}, {}, {}, {} on {server}",
            human::things(drilled.n_objects, "object"),
            human::things(drilled.n_tables, "table"),
            human::things(drilled.n_rows, "row"),
            human::bytes(drilled.raw_bytes),
        ),
    );
    say("time", &times(drilled));
    for phase in &drilled.phases {
        let time = human::duration(Duration::from_millis(phase.ms));
        say("", &format!("{:<17} {time:>10}", phase.name));
    }
    say(
        "compared",
        &format!(
            "{} with the archive's fingerprints",
            human::things(drilled.n_compared, "table")
        ),
    );
    for check in &drilled.checks {
        let answer = if check.passed {
            format!("{}, as expected", check.got)
        } else {
            format!("{}, expected {}: FAILED", check.got, check.expect)
        };
        say("check", &printable(&format!("{}: {answer}", check.name)));
    }
    for note in &drilled.notes {
        say("note", &printable(note));
    }
    for problem in &drilled.problems {
        say("PROBLEM", &printable(problem));
    }
    say("record", record);
    text
}

/// `2 min 5 s to a usable database (objective 15 min: met); 3 min 1 s with comparison and checks`
fn times(drilled: &Drilled) -> String {
    let time = |ms| human::duration(Duration::from_millis(ms));
    let objective = match drilled.rto_ms {
        None => "no objective".to_owned(),
        Some(rto) if drilled.restore_ms > rto => format!("objective {}: MISSED", time(rto)),
        Some(rto) => format!("objective {}: met", time(rto)),
    };
    format!(
        "{} to a usable database ({objective}); {} with comparison and checks",
        time(drilled.restore_ms),
        time(drilled.total_ms)
    )
}
