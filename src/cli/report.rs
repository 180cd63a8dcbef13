//! `pgark report`: what is known of a repository as one HTML page. What stands in it is the `page` module's.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::target::{Readers, Target};
use super::{Context, choose, config_file, exit::Outcome, human, place};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::page::{PageOptions, Weight, gather, render};

/// Writes one HTML page about the archives: problems, trends, drills, what is kept
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark report -o backups.html               all archives of ./backups
  pgark report -r @main --job nightly -o /var/www/html/backups.html
  pgark report -d shop > shop.html

The page needs nothing but itself: it loads nothing, and can be mailed. It judges what it shows by the configuration, if there \
is one, and its times are those of the configured time zone, else the machine's. Problems on the page do not change the exit code.")]
pub(crate) struct Report {
    /// Write to this file instead of standard output; it is replaced in one step
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only archives of this job; may be given several times
    #[arg(long, value_name = "NAME")]
    job: Vec<String>,
    /// Only archives of this database
    #[arg(short, long, value_name = "NAME")]
    dbname: Option<String>,
}

impl Report {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let file = self
            .output
            .as_deref()
            .filter(|path| path.as_os_str() != "-");
        if cx.common.json && file.is_none() {
            return Err(Error::Usage(
                "--json tells what was written, so the page itself needs a file: --output FILE"
                    .to_owned(),
            ));
        }
        let repository = place::open(cx).await?;
        let config = configuration(cx).await?;
        let options = PageOptions {
            jobs: self.job.clone(),
            filter: choose::of_database(self.dbname.as_deref()),
            zone: zone_of(config.as_ref()),
            config,
            now: Timestamp::now(),
        };
        let page = gather(&repository, &options).await?;
        let html = render(&page);
        let mut target = Target::open(file, Readers::Umask, &cx.output)?;
        target.write(html.as_bytes())?;
        target.finish()?;
        let Some(file) = file else {
            return Ok(Outcome::Done);
        };
        let problems = page.problems();
        let n_alarms = problems.iter().filter(|one| one.weight == Weight::Alarm);
        let (n_alarms, n_archives) = (n_alarms.count(), page.n_archives());
        if cx.common.json {
            let problems: Vec<_> = problems.iter().map(|one| {
                let group = one.group.map(|number| page.groups[number].group.to_string());
                json!({ "alarm": one.weight == Weight::Alarm, "group": group, "text": one.text, "remedy": one.remedy })
            }).collect();
            cx.output.json(&json!({ "file": file, "bytes": html.len(), "archives": n_archives, "problems": problems }))?;
        } else {
            cx.output.line(format!(
                "{}: {}, {}, {}",
                file.display(),
                human::things(n_archives, "archive"),
                human::things(n_alarms as u64, "alarm"),
                human::things((problems.len() - n_alarms) as u64, "notice"),
            ))?;
        }
        Ok(Outcome::Done)
    }
}

/// The configuration; none if there is none and none was named.
async fn configuration(cx: &Context) -> Result<Option<Config>> {
    match config_file::load(cx).await {
        Ok(configured) => Ok(Some(configured.config)),
        Err(Error::NotFound { .. }) if cx.common.config.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

fn zone_of(config: Option<&Config>) -> TimeZone {
    let named = config.and_then(|config| config.timezone.as_deref());
    named
        .and_then(|name| TimeZone::get(name).ok())
        .unwrap_or_else(TimeZone::system)
}
