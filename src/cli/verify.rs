//! `pgark verify`: proves archives without a server.

use clap::ValueEnum;

use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::records::Depth;
use crate::archive::{ArchiveName, Repository};
use crate::error::Result;
use crate::manage::verify::{VerifyOptions, VerifyReport, verify};

/// Proves that archives are whole; needs no server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark verify                      the newest archive: every stored byte re-hashed, decoded and counted
  pgark verify --all                all archives, and that none has vanished
  pgark verify shop-2026 --depth bytes
  pgark verify --all --json | jq '.findings[].problem'

Damage ends with exit code 11 and names the file, the archive and the tables that suffer.")]
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
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Thoroughness {
    Presence,
    Bytes,
    Full,
}

impl Verify {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open(cx).await?;
        let names = self.names(&repository).await?;
        let options = VerifyOptions {
            depth: match self.depth {
                Thoroughness::Presence => Depth::Presence,
                Thoroughness::Bytes => Depth::Bytes,
                Thoroughness::Full => Depth::Full,
            },
            jobs: usize::from(self.jobs),
            ..VerifyOptions::default()
        };
        let progress = cx.shown.progress();
        let report = verify(&repository, names.as_deref(), &options, progress.as_ref()).await?;
        cx.shown.finish();
        if cx.common.json {
            cx.output.json(&report)?;
        } else {
            print_report(&report, cx)?;
        }
        Ok(if report.is_damaged() {
            Outcome::Damaged
        } else {
            Outcome::Done
        })
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

fn print_report(report: &VerifyReport, cx: &Context) -> Result<()> {
    for archive in &report.archives {
        let state = if archive.whole { "whole" } else { "DAMAGED" };
        cx.output.line(format!(
            "{}: {state}; {}, {}, {}, {}",
            archive.name,
            human::things(archive.n_tables, "table"),
            human::things(archive.n_rows, "row"),
            human::things(archive.n_chunks, "chunk"),
            human::bytes(archive.stored_bytes),
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
