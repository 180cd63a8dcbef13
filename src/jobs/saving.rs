//! The step `dump`: what the job says becomes options of a dump, of one database or of all.

use std::sync::Arc;

use super::report::{MadeArchive, StepOutcome};
use super::{Surroundings, source_of};
use crate::archive::{ArchiveName, Repository};
use crate::cluster::{ClusterDumpOptions, ClusterDumpReport, dump_cluster};
use crate::config::{Job, Tables};
use crate::dump::{DumpOptions, DumpReport, dump};
use crate::error::Result;
use crate::human;
use crate::selection::Selection;

/// What the dump made.
#[derive(Debug)]
pub(super) struct Saved {
    /// The archive's name, or the set's.
    pub(super) title: String,
    /// The archives.
    pub(super) names: Vec<ArchiveName>,
    pub(super) made: Vec<MadeArchive>,
    /// False if databases of a set are missing.
    pub(super) is_complete_set: bool,
    /// What is missing.
    lacks: Vec<String>,
}

pub(super) async fn save(
    around: &Surroundings<'_>,
    job: &Job,
    repository: &Repository,
) -> Result<Saved> {
    let source = source_of(job, around.environment)?;
    let options = options_of(job);
    let progress = Arc::clone(&around.progress);
    if !job.all_databases {
        let report = dump(&source, repository, &options, progress).await?;
        return Ok(Saved::of_one(&report));
    }
    let options = ClusterDumpOptions {
        dump: options,
        ..ClusterDumpOptions::default()
    };
    let report = dump_cluster(&source, repository, &options, progress).await?;
    Ok(Saved::of_set(&report))
}

fn options_of(job: &Job) -> DumpOptions {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    DumpOptions {
        jobs: job.jobs.map_or(cores, usize::from),
        selection: selection_of(&job.select),
        level: job.level.unwrap_or(1),
        job: Some(job.name.clone()),
        tags: job.tags.clone(),
        skip_unreadable: job.select.skip_unreadable,
        ..DumpOptions::default()
    }
}

fn selection_of(tables: &Tables) -> Selection {
    Selection {
        schemas: tables.schemas.clone(),
        exclude_schemas: tables.exclude_schemas.clone(),
        tables: tables.tables.clone(),
        exclude_tables: tables.exclude_tables.clone(),
        exclude_table_data: tables.exclude_table_data.clone(),
        ..Selection::default()
    }
}

impl Saved {
    fn of_one(report: &DumpReport) -> Saved {
        let unreadable = (report.unreadable > 0).then(|| {
            let n = human::things(report.unreadable, "object");
            format!("{n} left out that the role may not read")
        });
        Saved {
            title: report.name.to_string(),
            names: vec![report.name.clone()],
            made: vec![made(report)],
            is_complete_set: true,
            lacks: unreadable.into_iter().collect(),
        }
    }

    fn of_set(report: &ClusterDumpReport) -> Saved {
        let reports = || report.databases.iter().chain([&report.globals]);
        let missing = report.failed.iter().map(|failed| {
            format!(
                "database {}: {}",
                crate::toc::printable(&failed.database),
                failed.message
            )
        });
        Saved {
            title: report.set.clone(),
            names: reports().map(|one| one.name.clone()).collect(),
            made: reports().map(made).collect(),
            is_complete_set: report.is_complete(),
            lacks: missing.collect(),
        }
    }

    /// The step in words.
    pub(super) fn as_told(&self) -> (StepOutcome, String) {
        let sum = |of: fn(&MadeArchive) -> u64| self.made.iter().map(of).sum::<u64>();
        let mut message = format!(
            "{}: {}, {}, {} → {} ({} new)",
            self.title,
            human::things(sum(|one| one.tables), "table"),
            human::things(sum(|one| one.rows), "row"),
            human::bytes(sum(|one| one.raw_bytes)),
            human::bytes(sum(|one| one.stored_bytes)),
            human::bytes(sum(|one| one.new_bytes)),
        );
        if self.lacks.is_empty() {
            return (StepOutcome::Succeeded, message);
        }
        message.push_str("; ");
        message.push_str(&self.lacks.join("; "));
        (StepOutcome::Incomplete, message)
    }
}

fn made(report: &DumpReport) -> MadeArchive {
    MadeArchive {
        name: report.name.clone(),
        location: report.location.clone(),
        tables: report.tables,
        rows: report.rows,
        raw_bytes: report.raw_bytes,
        stored_bytes: report.stored_bytes,
        new_bytes: report.new_bytes,
    }
}
