//! `pgark verify`: proves archives without a server.

use clap::ValueEnum;
use serde::Serialize;

use super::connection::Connection;
use super::diff::show;
use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::records::Depth;
use crate::archive::{ArchiveName, Repository};
use crate::dump::{DumpOptions, survey};
use crate::error::{Error, Result};
use crate::manage::diff::{Contents, diff};
use crate::manage::heal::{Healed, heal};
use crate::manage::verify::{Subset, VerifyJournal, VerifyOptions, VerifyReport, verify_with};
use crate::toc::printable;

/// Proves that archives are whole, without a server; or compares one with a database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark verify                      the newest archive: every stored byte re-hashed, decoded and counted
  pgark verify --all                all archives, and that none has vanished
  pgark verify shop-2026 --depth bytes
  pgark verify --all --subset 2/7   a seventh of the chunks, another each day of the week
  pgark verify --all --resume       on after an interruption
  pgark verify --all --heal --from s3://copies/pg
                                    and whole copies of what is damaged from there
  pgark verify --all --json | jq '.findings[].problem'
  pgark verify --against -d shop    the newest archive of shop beside the database itself

Damage ends with exit code 11 and names the file, the archive and the tables that suffer. --against reads the database as a \
dump would, stores nothing, and ends with exit code 17 if there are differences: what was written since the archive is one.")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Verify {
    /// Archives: names, or unique beginnings of names [default: the newest]
    #[arg(value_name = "ARCHIVE")]
    archives: Vec<String>,
    /// All archives of the repository
    #[arg(long, conflicts_with = "archives")]
    all: bool,
    /// How thoroughly: each chunk is there, each byte is right, each row decodes and counts
    #[arg(long, value_name = "DEPTH", default_value = "full")]
    depth: Thoroughness,
    /// Chunks that are read at once
    #[arg(short, long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Read only a part of the chunks: 2/7, or a share by chance such as 5%; the others are only looked for
    #[arg(long, value_name = "PART", conflicts_with = "against")]
    subset: Option<Subset>,
    /// Go on where an interrupted verification of this repository stopped, at most a week ago
    #[arg(long, conflicts_with_all = ["against", "subset"])]
    resume: bool,
    /// Mend what is damaged: put damaged chunks aside, so that the next dump stores them anew; nothing is thrown away
    #[arg(long, conflicts_with_all = ["against", "subset"])]
    heal: bool,
    /// With --heal: fetch whole copies from this repository
    #[arg(long, value_name = "PLACE", requires = "heal")]
    from: Option<String>,
    /// Compare the archive with a live database: which objects and which tables' rows differ, and where
    #[arg(long, conflicts_with_all = ["all", "depth"])]
    against: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Thoroughness {
    Presence,
    Bytes,
    Full,
}

/// What is behind a damaged manifest shows only when that is mended: manifest, lists, rows.
const HEALINGS_MAX: usize = 3;

/// `verify --json`. The fields are API.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a VerifyReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    healed: Option<&'a Healed>,
}

impl Verify {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open_maybe_locked(cx).await?;
        if self.against {
            return self.run_against(&repository, cx).await;
        }
        if self.connection.is_given() {
            return Err(Error::Usage(
                "verify needs no server; --against compares an archive with one".to_owned(),
            ));
        }
        let names = self.names(&repository).await?;
        let options = VerifyOptions {
            depth: match self.depth {
                Thoroughness::Presence => Depth::Presence,
                Thoroughness::Bytes => Depth::Bytes,
                Thoroughness::Full => Depth::Full,
            },
            jobs: usize::from(self.jobs),
            subset: self.subset.map(|subset| subset.seeded(now())),
            ..VerifyOptions::default()
        };
        let (report, healed) = self
            .verify(&repository, names.as_deref(), &options, cx)
            .await?;
        cx.shown.finish();
        if cx.common.json {
            cx.output.json(&Shown {
                report: &report,
                healed: healed.as_ref(),
            })?;
        } else {
            print_report(&report, cx)?;
            healed.map_or(Ok(()), |healed| print_healed(&healed, cx))?;
        }
        Ok(if report.is_damaged() {
            Outcome::Damaged
        } else {
            Outcome::Done
        })
    }

    /// Verifies, and mends and verifies again where that is wanted. The report is the last one.
    async fn verify(
        &self,
        repository: &Repository,
        names: Option<&[ArchiveName]>,
        options: &VerifyOptions,
        cx: &Context,
    ) -> Result<(VerifyReport, Option<Healed>)> {
        let progress = cx.shown.progress();
        let journal = place::cache_folder();
        let journal = journal.map(|folder| VerifyJournal::in_folder(folder, self.resume));
        let verify = || verify_with(repository, names, options, journal.as_ref(), &*progress);
        let mut report = verify().await?;
        if !self.heal {
            return Ok((report, None));
        }
        let other = match &self.from {
            Some(place) => Some(place::open_other(place, cx).await?),
            None => None,
        };
        let mut all = Healed::default();
        for _ in 0..HEALINGS_MAX {
            if !report.is_damaged() {
                break;
            }
            let healed = heal(repository, &report.findings, other.as_ref()).await?;
            let has_changed = !healed.fetched.is_empty();
            all.fetched.extend(healed.fetched);
            all.put_aside.extend(healed.put_aside);
            all.not_healed = healed.not_healed;
            report = verify().await?;
            if !has_changed {
                break;
            }
        }
        Ok((report, Some(all)))
    }

    /// Compares one archive with a database.
    async fn run_against(&self, repository: &Repository, cx: &Context) -> Result<Outcome> {
        let settings = self.connection.settings(cx).await?;
        let filter = choose::of_database(Some(settings.dbname()));
        let name = match self.archives.as_slice() {
            [] => None,
            [one] => Some(one.as_str()),
            _ => {
                return Err(Error::Usage(
                    "--against compares one archive; name one".to_owned(),
                ));
            }
        };
        let archive = choose::archive(repository, name, &filter).await?;
        let options = DumpOptions {
            jobs: usize::from(self.jobs),
            ..DumpOptions::default()
        };
        let archived = Contents::of(&archive).await?;
        let live = survey(&settings, &archive, &options, cx.shown.progress()).await?;
        let database = format!("database {}", printable(settings.dbname()));
        let found = diff(&archived, &live);
        show((archive.name().as_str(), &database), &found, cx)
    }

    async fn names(&self, repository: &Repository) -> Result<Option<Vec<ArchiveName>>> {
        if self.all {
            return Ok(None);
        }
        if self.archives.is_empty() {
            // A damaged manifest is what `verify` is there to report, so the newest is chosen without reading it.
            let listed = repository.archives().await?;
            let newest = choose::newest_name(&listed, &repository.location())?;
            return Ok(Some(vec![newest]));
        }
        let mut names = Vec::new();
        for name in &self.archives {
            let found = if name == "latest" {
                choose::newest_name(&repository.archives().await?, &repository.location())?
            } else {
                repository.find(name).await?
            };
            if !names.contains(&found) {
                names.push(found);
            }
        }
        Ok(Some(names))
    }
}

/// What makes each sample another.
fn now() -> u64 {
    jiff::Timestamp::now().as_millisecond().unsigned_abs()
}

fn print_healed(healed: &Healed, cx: &Context) -> Result<()> {
    for key in &healed.fetched {
        cx.output.line(format!("fetched: {key} is whole again"))?;
    }
    for key in &healed.put_aside {
        cx.output.line(format!(
            "put aside: {key}; the next dump that has its rows stores it anew"
        ))?;
    }
    for file in &healed.not_healed {
        cx.output
            .line(format!("not mended: {}: {}", file.key, file.why))?;
    }
    Ok(())
}

fn print_report(report: &VerifyReport, cx: &Context) -> Result<()> {
    for archive in &report.archives {
        let state = match (archive.whole, report.subset) {
            (true, None) => "whole",
            (true, Some(_)) => "nothing wrong so far",
            (false, _) => "DAMAGED",
        };
        let contents = if report.sealed {
            "tables and rows are sealed".to_owned()
        } else {
            format!(
                "{}, {}",
                human::things(archive.n_tables, "table"),
                human::things(archive.n_rows, "row")
            )
        };
        cx.output.line(format!(
            "{}: {state}; {contents}, {}, {}",
            archive.name,
            human::things(archive.n_chunks, "chunk"),
            human::bytes(archive.stored_bytes),
        ))?;
    }
    if let Some(portion) = &report.subset {
        cx.output.line(format!(
            "read {} of {} with rows; the others were only looked for",
            human::exact(portion.n_read),
            human::things(portion.n_chunks, "chunk"),
        ))?;
    }
    if report.n_known > 0 {
        cx.output.line(format!(
            "{} were found right before the interruption and not read again",
            human::things(report.n_known, "part"),
        ))?;
    }
    for finding in &report.findings {
        let word = if finding.damage { "damage" } else { "note" };
        cx.output.line(format!("{word}: {finding}"))?;
    }
    let strays = report.unreferenced.filter(|strays| strays.n_chunks > 0);
    if let Some(strays) = strays {
        cx.output.line(format!(
            "{} with {} belong to no archive: left by interrupted dumps or removed archives, harmless",
            human::things(strays.n_chunks, "chunk"),
            human::bytes(strays.stored_bytes),
        ))?;
    }
    if report.archives.is_empty() {
        cx.output
            .line(format!("no archives in {}", report.location))?;
    }
    Ok(())
}
