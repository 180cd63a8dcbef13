//! `pgark prune`: shows which archives the rules keep, removes the others on request, and sweeps.

use jiff::tz::TimeZone;

use super::output::{columns, diagnostic};
use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::{GroupFilter, Repository};
use crate::config::{Keep, Period};
use crate::error::{Error, Result};
use crate::manage::prune::{Amount, PruneOptions, PruneReport, Swept, prune};
use crate::manage::retention::Decision;
use crate::toc::printable;

/// Shows which archives stay and why; with --yes removes the others and sweeps what nobody needs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark prune --keep-last 10                  what would go, and why each archive stays; nothing is changed
  pgark prune --keep-last 10 --yes            removes it
  pgark prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 -d shop --yes
  pgark prune --keep-within 30d --keep-tag reason --min-keep 3 --timezone Europe/Berlin --yes
  pgark prune --yes                           no archive goes; only what no archive needs is swept
  pgark prune shop-20261122T020000Z --yes     this archive, whatever the rules; with the others of its set

An archive stays if any rule keeps it. Rules look at one database and job at a time, and at sets of `dump --all` as a whole. \
Only archives that were verified count, and only they go by a rule. What goes lies in trash/ for the grace time before it is \
deleted. Removing is safe beside running dumps and restores.")]
pub(crate) struct Prune {
    /// Archives to remove by name instead of by rules: names, or unique beginnings of names
    #[arg(value_name = "ARCHIVE", conflicts_with_all = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within", "keep_tag", "dbname", "job"])]
    archives: Vec<String>,
    #[command(flatten)]
    rules: Rules,
    /// Only archives of this database
    #[arg(short, long, value_name = "NAME")]
    dbname: Option<String>,
    /// Only archives of this configured job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Do it
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only show what would be done, as without --yes
    #[arg(long)]
    dry_run: bool,
    /// How long what goes stays in the trash before it is deleted: 24h, 7d
    #[arg(long, value_name = "PERIOD", default_value = "24h")]
    grace: Grace,
    /// Where days, weeks, months and years begin [default: this machine's zone]
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    timezone: Option<TimeZone>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Rules")]
struct Rules {
    /// Keep the newest N
    #[arg(long, value_name = "N", value_parser = count())]
    keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = count())]
    keep_hourly: Option<u32>,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", value_parser = count())]
    keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have one; a week begins on Monday
    #[arg(long, value_name = "N", value_parser = count())]
    keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have one
    #[arg(long, value_name = "N", value_parser = count())]
    keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N years that have one
    #[arg(long, value_name = "N", value_parser = count())]
    keep_yearly: Option<u32>,
    /// Keep all that are younger than this, counted back from the newest: 30d, 26h
    #[arg(long, value_name = "PERIOD")]
    keep_within: Option<Period>,
    /// Keep all with this tag; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    keep_tag: Vec<String>,
    /// Never leave fewer than N verified archives of a database [default: 1]
    #[arg(long, value_name = "N", value_parser = count())]
    min_keep: Option<u32>,
}

fn count() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

/// A grace time, which may be none.
#[derive(Debug, Clone, Copy)]
struct Grace(std::time::Duration);

impl std::str::FromStr for Grace {
    type Err = String;

    fn from_str(text: &str) -> Result<Grace, String> {
        match text {
            "0" | "0s" => Ok(Grace(std::time::Duration::ZERO)),
            _ => Ok(Grace(Period::parse(text)?.duration())),
        }
    }
}

fn parse_zone(text: &str) -> Result<TimeZone> {
    TimeZone::get(text).map_err(|_| {
        Error::Usage(format!(
            "{text:?} is no time zone; write it like Europe/Berlin"
        ))
    })
}

impl Rules {
    fn keep(&self) -> Keep {
        Keep {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            tags: self.keep_tag.clone(),
            min: self.min_keep,
        }
    }
}

impl Prune {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let keep = self.rules.keep();
        let repository = if self.yes {
            place::open_to_change(cx).await?
        } else {
            place::open(cx).await?
        };
        let options = self.options(&repository).await?;
        let filter = GroupFilter {
            job: self.job.clone().map(Some),
            ..choose::of_database(self.dbname.as_deref())
        };
        let progress = cx.shown.progress();
        let report = prune(&repository, &filter, &keep, &options, progress.as_ref()).await?;
        cx.shown.finish();
        if cx.common.json {
            cx.output.json(&report)?;
        } else {
            print_report(&report, cx)?;
        }
        Ok(match report.not_swept {
            Some(_) => Outcome::Incomplete,
            None => Outcome::Done,
        })
    }

    async fn options(&self, repository: &Repository) -> Result<PruneOptions> {
        let mut options = PruneOptions {
            dry_run: !self.yes,
            grace: self.grace.0,
            ..PruneOptions::default()
        };
        if let Some(zone) = &self.timezone {
            options.zone = zone.clone();
        }
        for text in &self.archives {
            let name = match repository.find(text).await {
                // One that vanished is on record by its whole name only.
                Err(Error::NotFound { .. }) => text.parse()?,
                found => found?,
            };
            if !options.remove.contains(&name) {
                options.remove.push(name);
            }
        }
        Ok(options)
    }
}

fn print_report(report: &PruneReport, cx: &Context) -> Result<()> {
    if report.archives.is_empty() {
        cx.output
            .line(format!("no such archives in {}", report.location))?;
    } else {
        let rows: Vec<Vec<String>> = report.archives.iter().map(row).collect();
        let head = ["ARCHIVE", "CREATED", "GROUP", "", "BECAUSE"];
        cx.output.line(columns(&head, &rows, &[false; 5]))?;
    }
    cx.output.line(summary(report))?;
    if let Some(why) = &report.not_swept {
        diagnostic(why);
    }
    Ok(())
}

fn row(one: &Decision) -> Vec<String> {
    vec![
        one.name.to_string(),
        one.created.map_or_else(|| "?".to_owned(), human::time),
        one.group.clone(),
        if one.keep { "stays" } else { "goes" }.to_owned(),
        printable(&one.reasons.join(", ")),
    ]
}

fn summary(report: &PruneReport) -> String {
    let n = human::things(report.removed.len() as u64, "archive");
    let done = if report.dry_run {
        format!("{n} would be removed")
    } else {
        format!("{n} removed")
    };
    let swept = report
        .swept
        .as_ref()
        .map(|swept| of_sweep(swept, report.dry_run));
    let advice = report
        .dry_run
        .then(|| "nothing was changed; --yes does it".to_owned());
    let parts: Vec<String> = [Some(done), swept, advice].into_iter().flatten().collect();
    parts.join("; ")
}

fn of_sweep(swept: &Swept, dry_run: bool) -> String {
    let amount = |of: &Amount| {
        let chunks = human::things(of.n_chunks, "chunk");
        format!("{chunks} ({})", human::bytes(of.stored_bytes))
    };
    let moved = if dry_run {
        "would move to the trash"
    } else {
        "moved to the trash"
    };
    let parts = [
        (&swept.moved, moved),
        (
            &swept.deleted,
            if dry_run {
                "would be deleted"
            } else {
                "deleted"
            },
        ),
        (
            &swept.put_back,
            if dry_run {
                "would be put back"
            } else {
                "put back"
            },
        ),
        (&swept.waiting, "in the trash until its grace time is over"),
        (&swept.kept_for_leases, "left for those at work"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(of, _)| of.n_chunks > 0)
        .map(|(of, what)| format!("{} {what}", amount(of)))
        .collect();
    if said.is_empty() {
        return "nothing to sweep".to_owned();
    }
    said.join(", ")
}
