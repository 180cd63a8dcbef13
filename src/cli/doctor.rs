//! `pgark doctor`: what stands in the way, said beforehand.

use super::connection::Connection;
use super::{Context, choose, exit::Outcome, place, secrets};
use crate::doctor::{Check, DoctorOptions, Level, doctor};
use crate::error::Result;
use crate::pg::{ConnSettings, Environment};

/// Says what stands in the way of a dump or a restore
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark doctor -d shop                     can shop be dumped into ./backups?
  pgark doctor -d 'postgres://backup@db.example.com/shop' -r /mnt/backups
  pgark doctor -d shop -r s3://backups/pg  is the bucket there, may it be written, does it overwrite?
  pgark doctor -d shop --target 'host=new dbname=shop'
                                           does the new server have the extensions that shop uses?
  pgark doctor -d shop --target 'host=new dbname=shop' --archive latest
                                           could the newest archive be restored there?

Nothing is changed; in a bucket a small object is written and removed. Each line is ok, a warning or a problem, with what can be done about it. The exit code is 0 without \
problems, 15 with one.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    connection: Connection,
    /// Look also at this database, to restore into: a name, a URL or key=value settings
    #[arg(long, value_name = "DATABASE")]
    target: Option<String>,
    /// Look whether this archive could be restored into the target: its name, a unique beginning of it, or latest
    #[arg(long, value_name = "ARCHIVE", requires = "target")]
    archive: Option<String>,
}

impl Doctor {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let source = self.connection.settings(cx).await?;
        let environment = Environment::of_process();
        let target = self.target.as_deref();
        let target = target.map(|text| ConnSettings::resolve(&environment, Some(text), &[]));
        let archive = match &self.archive {
            Some(name) => {
                let repository = place::open(cx).await?;
                let filter = choose::of_database(None);
                Some(choose::archive(&repository, Some(name), &filter).await?)
            }
            None => None,
        };
        let options = DoctorOptions {
            repository: Some((place::of(cx).await?, environment.clone())),
            target: target.transpose()?,
            archive,
        };
        let report = doctor(&source, &options).await;
        cx.shown.finish();
        if cx.common.json {
            cx.output.json_without_secrets(&report)?;
        } else {
            for check in &report.checks {
                cx.output.line(secrets::hidden(&lines(check)))?;
            }
        }
        Ok(if report.level == Level::Problem {
            Outcome::Problems
        } else {
            Outcome::Done
        })
    }
}

/// The line of a check, with what can be done about it below; statements stand alone on their lines.
fn lines(check: &Check) -> String {
    let level = match check.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Problem => "PROBLEM",
    };
    let mut text = format!("{level:<8} {:<13} {}", check.check, check.found);
    if let Some(remedy) = check.remedy.as_ref().filter(|text| !text.is_empty()) {
        text.push_str("\n         → ");
        text.push_str(remedy);
    }
    for cure in &check.cures {
        text.push('\n');
        text.push_str(cure);
    }
    text
}
