//! The whole cluster: a dump of all databases with what they share, and its restore.
//!
//! Such a dump is a *set* of ordinary archives: one of each database, and last of all one of the globals, which names the others
//! with the seals of their manifests. Until that stands there is no set. This file owns which databases belong to one and the
//! order of dumping; restoring is in `restore`, what the target has already in `existing`. The single archives are the
//! business of `dump` and `restore`.

mod existing;
mod pristine;
mod restore;

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

pub use restore::{
    ClusterRestoreOptions, ClusterRestoreReport, GlobalsKind, RestoredDatabase, newest_globals,
    newest_set, restore_cluster, restore_globals,
};

use crate::archive::manifest::{ClusterSet, SetMember, Skipped};
use crate::archive::{Archive, ArchiveName, Repository};
use crate::dump::globals::{self, Globals, GlobalsOptions, ListedDatabase};
use crate::dump::{self, DumpOptions, DumpReport};
use crate::error::{Error, Result};
use crate::manage::prune::{self, PruneReport};
use crate::pg::ConnSettings;
use crate::progress::{Event, Progress};
use crate::sql::{Pattern, PatternScope};
use crate::toc::printable;

/// How often a name for the archive of globals is sought again when somebody else was quicker.
const NAMES_TRIED: u32 = 5;

/// How a whole cluster is dumped.
#[derive(Debug, Clone, Default)]
pub struct ClusterDumpOptions {
    /// How each database is dumped. The name is the set's, and older archives go only when the set is complete.
    pub dump: DumpOptions,
    /// Patterns of databases to leave out.
    pub exclude_databases: Vec<String>,
    /// Leave the roles' password hashes out.
    pub no_role_passwords: bool,
}

/// What a dump of a cluster did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterDumpReport {
    /// The set's name.
    pub set: String,
    /// The archive of what all databases share.
    pub globals: DumpReport,
    /// The archives of the databases.
    pub databases: Vec<DumpReport>,
    /// Databases that could not be dumped; the set is incomplete if there are any.
    pub failed: Vec<FailedDatabase>,
    /// Databases that do not belong to the set, with reasons.
    pub skipped: Vec<String>,
    /// Archives that were removed because of `keep_last`.
    pub removed: Vec<ArchiveName>,
    /// What the rotation because of `keep_last` decided and did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<PruneReport>,
}

/// A database that could not be dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedDatabase {
    /// The database.
    pub database: String,
    /// Why.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
}

impl ClusterDumpReport {
    /// True if every database of the set was dumped.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

/// Dumps all databases of the cluster that `source` connects to, one after another, then what they share.
///
/// A database that cannot be dumped does not stop the others; the set is incomplete then, and says so.
///
/// # Errors
/// [`Error::Usage`] for bad patterns and a taken name; the globals' own errors, and those of the store. The archives of databases
/// that were made before stand, without a set.
pub async fn dump_cluster(
    source: &ConnSettings,
    repository: &Repository,
    options: &ClusterDumpOptions,
    progress: Arc<dyn Progress>,
) -> Result<ClusterDumpReport> {
    let set = set_name(repository, options).await?;
    let (chosen, mut skipped) = choose(globals::databases(source).await?, options)?;
    let mut run = Run {
        source,
        repository,
        options,
        set: &set,
        progress: &progress,
        made: Vec::new(),
        reports: Vec::new(),
        failed: Vec::new(),
    };
    for database in chosen {
        if database == "template1" && run.is_pristine(&database).await {
            skipped.push(Skipped {
                what: "database template1".to_owned(),
                reason: "it is as initdb made it".to_owned(),
            });
            continue;
        }
        run.database(&database).await?;
    }
    run.close(skipped).await
}

/// The name for the set: the user's, which must be free, or one of this moment.
async fn set_name(repository: &Repository, options: &ClusterDumpOptions) -> Result<ArchiveName> {
    let wanted = match &options.dump.name {
        Some(name) => name.clone(),
        None => ArchiveName::of_dump("cluster", Timestamp::now()),
    };
    let free = repository.free_name(&wanted).await?;
    if options.dump.name.is_some() && free != wanted {
        return Err(Error::Usage(format!(
            "the name {wanted} is taken in {}: choose another with --name",
            repository.location()
        )));
    }
    Ok(free)
}

/// The databases to dump, and the others with reasons.
fn choose(
    listed: Vec<ListedDatabase>,
    options: &ClusterDumpOptions,
) -> Result<(Vec<String>, Vec<Skipped>)> {
    let excluded = Excluded::new(&options.exclude_databases)?;
    let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
    for database in listed {
        let reason = match database.closed {
            Some(reason) => reason,
            None if excluded.has(&database.name) => "left out by --exclude-database",
            None => {
                chosen.push(database.name);
                continue;
            }
        };
        skipped.push(Skipped {
            what: format!("database {}", printable(&database.name)),
            reason: reason.to_owned(),
        });
    }
    Ok((chosen, skipped))
}

/// Databases that the user leaves out.
struct Excluded(Vec<Pattern>);

impl Excluded {
    fn new(patterns: &[String]) -> Result<Excluded> {
        let parse = |text: &String| Pattern::parse(text, PatternScope::Name);
        Ok(Excluded(patterns.iter().map(parse).collect::<Result<_>>()?))
    }

    fn has(&self, database: &str) -> bool {
        let mut patterns = self.0.iter();
        patterns.any(|pattern| pattern.matches_name(database))
    }
}

/// A dump of a cluster under way.
struct Run<'a> {
    source: &'a ConnSettings,
    repository: &'a Repository,
    options: &'a ClusterDumpOptions,
    set: &'a ArchiveName,
    progress: &'a Arc<dyn Progress>,
    made: Vec<Archive>,
    reports: Vec<DumpReport>,
    failed: Vec<FailedDatabase>,
}

impl Run<'_> {
    fn dump_options(&self) -> DumpOptions {
        DumpOptions {
            name: None,
            // An older set must not lose its archives before this one is complete.
            keep_last: None,
            set: Some(self.set.to_string()),
            ..self.options.dump.clone()
        }
    }

    /// What cannot be told is dumped.
    async fn is_pristine(&self, database: &str) -> bool {
        let source = self.source.with_dbname(database);
        let outline = dump::outline(&source, &self.dump_options()).await;
        outline.is_ok_and(|(entries, version)| pristine::is_template1(&entries, version))
    }

    async fn database(&mut self, database: &str) -> Result<()> {
        let source = self.source.with_dbname(database);
        let progress = Arc::clone(self.progress);
        let dumped = dump::dump(&source, self.repository, &self.dump_options(), progress).await;
        match dumped {
            Ok(report) => {
                let done = format!("database {}", printable(database));
                self.progress.event(Event::Task(done));
                self.made.push(self.repository.read(&report.name).await?);
                self.reports.push(report);
                Ok(())
            }
            // Nothing of this is the one database's.
            Err(error @ (Error::Store { .. } | Error::Cancelled | Error::Busy { .. })) => {
                Err(error)
            }
            Err(error) => {
                let message = crate::restore::chain(&error);
                let warning = format!("database {}: {message}", printable(database));
                self.progress.event(Event::Warning(warning));
                self.failed.push(FailedDatabase {
                    database: database.to_owned(),
                    message,
                    hint: error.remedy().map(str::to_owned),
                });
                Ok(())
            }
        }
    }

    /// Reads and writes the globals: last, so that they have every role that the archives name.
    async fn close(self, skipped: Vec<Skipped>) -> Result<ClusterDumpReport> {
        let mut read = globals::read(self.source, self.options.no_role_passwords).await?;
        read.skipped.extend(skipped.iter().cloned());
        let member = |archive: &Archive| SetMember {
            name: archive.name().clone(),
            manifest: archive.seal(),
            database: archive.manifest().group.database.clone(),
        };
        let missing = |failed: &FailedDatabase| Skipped {
            what: format!("database {}", printable(&failed.database)),
            reason: failed.message.clone(),
        };
        let set = ClusterSet {
            name: self.set.to_string(),
            members: self.made.iter().map(member).collect(),
            missing: self.failed.iter().map(missing).collect(),
        };
        let report = self.write(&read, set).await?;
        let rotation = self.rotate(&report.name).await?;
        let skipped = skipped
            .iter()
            .map(|one| format!("{}: {}", one.what, one.reason));
        Ok(ClusterDumpReport {
            set: self.set.to_string(),
            skipped: skipped.collect(),
            globals: report,
            databases: self.reports,
            failed: self.failed,
            removed: rotation
                .as_ref()
                .map_or_else(Vec::new, |rotation| rotation.removed.clone()),
            rotation,
        })
    }

    /// The name was free when the run began, hours ago perhaps.
    async fn write(&self, read: &Globals, set: ClusterSet) -> Result<DumpReport> {
        let mut tries = 1;
        loop {
            let options = GlobalsOptions {
                name: Some(self.repository.free_name(self.set).await?),
                no_role_passwords: self.options.no_role_passwords,
                level: self.options.dump.level,
                job: self.options.dump.job.clone(),
                tags: self.options.dump.tags.clone(),
                keep_last: None,
            };
            let set = Some(set.clone());
            match globals::write(self.repository, read.clone(), &options, set).await {
                Err(Error::Usage(_)) if tries < NAMES_TRIED => tries += 1,
                other => return other,
            }
        }
    }

    /// Verifies the set and removes older ones, when it is complete.
    async fn rotate(&self, globals: &ArchiveName) -> Result<Option<PruneReport>> {
        let keep_last = self.options.dump.keep_last;
        let Some(keep) = keep_last.filter(|_| self.failed.is_empty()) else {
            return Ok(None);
        };
        let names = self.made.iter().map(Archive::name);
        let made: Vec<ArchiveName> = names.chain([globals]).cloned().collect();
        let progress = self.progress.as_ref();
        match prune::rotate(self.repository, &made, keep, progress).await {
            // The set stands, and the next dump rotates.
            Err(error @ Error::Busy { .. }) => {
                let warning = format!("no older set was removed: {error}");
                progress.event(Event::Warning(warning));
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}
