//! `pgark replicate`: copies elsewhere, to one or several targets, of which a failing one does not stop the others.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::failure::Failure;
use super::output::diagnostic;
use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::{ArchiveName, GroupFilter, Repository};
use crate::config::{Keep, Period, Place};
use crate::error::Result;
use crate::manage::replicate::{
    CopyState, PresentCheck, ReplicateOptions, ReplicateReport, replicate,
};
use crate::store::Opening;

/// Copies archives into other repositories, proving every chunk on the way
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark replicate /mnt/second                    every archive that is not there yet
  pgark replicate s3://backups/shop @cold        to a bucket, and to a repository of the configuration
  pgark replicate @cold -d shop --only-monthly 12
                                                 the first archive of each month, for the newest twelve months
  pgark replicate /mnt/second --archive shop-20261122T020000Z

What a target has already is not sent again, so a copy that broke off is simply run again. How long copies are kept is the \
target's own affair: prune it with -r TARGET. Each target is tried; exit code 3 if something is missing at some, 1 if all failed.")]
pub(crate) struct Replicate {
    /// Where to: folders, URLs, or @NAME of the configuration; made if there is nothing
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
    /// Only this archive: its name or a unique beginning; may be given several times
    #[arg(long, value_name = "ARCHIVE")]
    archive: Vec<String>,
    /// Only archives of this database
    #[arg(short, long, value_name = "NAME")]
    dbname: Option<String>,
    /// Only archives of this job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    #[command(flatten)]
    only: Only,
    /// How to look at chunks that the target has already
    #[arg(long, value_name = "CHECK", default_value = "unproved")]
    present: Present,
    /// Chunks on their way at once
    #[arg(short, long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
}

/// Rules that choose archives.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Only some")]
#[group(multiple = true, conflicts_with = "archive")]
#[allow(
    clippy::struct_field_names,
    reason = "the fields are the options' names"
)]
struct Only {
    /// The newest N of each group
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    only_last: Option<u32>,
    /// The first of each of the newest N hours that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    only_hourly: Option<u32>,
    /// The first of each of the newest N days that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    only_daily: Option<u32>,
    /// The first of each of the newest N weeks that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    only_weekly: Option<u32>,
    /// The first of each of the newest N months that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    only_monthly: Option<u32>,
    /// The first of each of the newest N years that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    only_yearly: Option<u32>,
    /// Those younger than this, counted back from the newest: 30d, 26h
    #[arg(long, value_name = "TIME", value_parser = Period::parse)]
    only_within: Option<Period>,
    /// Those with this tag: KEY or KEY=VALUE
    #[arg(long, value_name = "TAG")]
    only_tag: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Present {
    /// Their size is enough
    Size,
    /// Read and hash them, but for those of verified archives
    Unproved,
    /// Read and hash them all
    All,
}

/// What became of one target, as `--json` gives it. The fields are API.
#[derive(Debug, Serialize)]
struct Reached {
    target: String,
    /// Why nothing was begun.
    error: Option<Failure>,
    report: Option<ReplicateReport>,
}

impl Reached {
    fn is_complete(&self) -> bool {
        self.report
            .as_ref()
            .is_some_and(ReplicateReport::is_complete)
    }

    /// True if the target has none of what it was to get.
    fn has_nothing(&self) -> bool {
        let has = |report: &ReplicateReport| {
            report
                .archives
                .iter()
                .any(|one| one.state != CopyState::Failed)
        };
        !self.is_complete() && !self.report.as_ref().is_some_and(has)
    }
}

impl Replicate {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let from = place::open(cx).await?;
        let options = self.options(&from).await?;
        // A slip in one of the names is found before the first copy.
        let mut places = Vec::new();
        for target in &self.targets {
            places.push(place::named(target, cx).await?);
        }
        let mut reached = Vec::new();
        for (target, place) in self.targets.iter().zip(&places) {
            let copied = copy_to(&from, place, &options, cx).await;
            let one = match copied {
                Ok(report) => Reached {
                    target: target.clone(),
                    error: None,
                    report: Some(report),
                },
                Err(error) if self.targets.len() == 1 => return Err(error),
                Err(error) => Reached {
                    target: target.clone(),
                    error: Some(Failure::new(&error)),
                    report: None,
                },
            };
            cx.shown.finish();
            if !cx.common.json {
                print(&one, cx)?;
            }
            reached.push(one);
        }
        if cx.common.json {
            cx.output.json(&reached)?;
        }
        Ok(outcome(&reached))
    }

    async fn options(&self, from: &Repository) -> Result<ReplicateOptions> {
        let mut names: Vec<ArchiveName> = Vec::new();
        for name in &self.archive {
            names.push(from.find(name).await?);
        }
        Ok(ReplicateOptions {
            filter: GroupFilter {
                job: self.job.clone().map(Some),
                ..choose::of_database(self.dbname.as_deref())
            },
            names,
            only: self.only.rules(),
            zone: TimeZone::system(),
            present: match self.present {
                Present::Size => PresentCheck::Size,
                Present::Unproved => PresentCheck::Unproved,
                Present::All => PresentCheck::All,
            },
            jobs: usize::from(self.jobs),
        })
    }
}

impl Only {
    fn rules(&self) -> Keep {
        Keep {
            last: self.only_last,
            hourly: self.only_hourly,
            daily: self.only_daily,
            weekly: self.only_weekly,
            monthly: self.only_monthly,
            yearly: self.only_yearly,
            within: self.only_within,
            tags: self.only_tag.clone(),
            min: None,
        }
    }
}

async fn copy_to(
    from: &Repository,
    place: &Place,
    options: &ReplicateOptions,
    cx: &Context,
) -> Result<ReplicateReport> {
    from.require_encrypted_as(place)?;
    let store = place::opened(place, Opening::Create, cx).await?;
    let to = from.copied_to(store).await?;
    replicate(from, &to, options, cx.shown.progress().as_ref()).await
}

fn outcome(reached: &[Reached]) -> Outcome {
    if reached.iter().all(Reached::is_complete) {
        Outcome::Done
    } else if reached.iter().all(Reached::has_nothing) {
        Outcome::Failed
    } else {
        Outcome::Incomplete
    }
}

fn print(reached: &Reached, cx: &Context) -> Result<()> {
    if let Some(error) = &reached.error {
        let text = error.text();
        let text = text.strip_prefix("pgark: ").unwrap_or(&text);
        diagnostic(format!("{}: failed: {text}", reached.target));
    }
    let Some(report) = &reached.report else {
        return Ok(());
    };
    for one in &report.archives {
        if let Some(problem) = &one.problem {
            diagnostic(format!("{}: {}: {problem}", reached.target, one.name));
        } else if one.state == CopyState::Copied {
            cx.output.line(format!(
                "{}: {} copied, {} with {} sent",
                reached.target,
                one.name,
                human::things(one.copied_chunks, "chunk"),
                human::bytes(one.copied_bytes)
            ))?;
        }
    }
    if report.n_untried > 0 {
        diagnostic(format!(
            "{}: {} not tried after that",
            reached.target,
            human::things(report.n_untried, "archive")
        ));
    }
    cx.output
        .line(format!("{}: {}", reached.target, summary(report)))
}

/// `2 copied, 5 there already, 1 failed; 3.1 MiB sent; up to date`
fn summary(report: &ReplicateReport) -> String {
    let mut parts = vec![format!("{} copied", report.count(CopyState::Copied))];
    for (state, words) in [
        (CopyState::Present, "there already"),
        (CopyState::Removed, "removed there earlier"),
        (CopyState::Failed, "failed"),
    ] {
        let n = report.count(state);
        if n > 0 {
            parts.push(format!("{n} {words}"));
        }
    }
    let lags = report.groups.iter().map(|group| group.lag_ms);
    let behind = match lags.clone().flatten().max() {
        _ if lags.clone().any(|lag| lag.is_none()) => "nothing of some groups is there".to_owned(),
        None | Some(0) => "up to date".to_owned(),
        Some(ms) => {
            let lag = std::time::Duration::from_millis(ms.unsigned_abs());
            format!(
                "newest copy {} older than the newest archive",
                human::duration(lag)
            )
        }
    };
    format!(
        "{}; {} sent; {behind}",
        parts.join(", "),
        human::bytes(report.copied_bytes())
    )
}
