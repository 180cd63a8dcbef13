//! Restores a set: everything is examined first, then the globals come, then each database. One report for all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::Excluded;
use super::existing::{Adapted, adapt, only};
use crate::archive::manifest::{ClusterSet, Scope};
use crate::archive::{Archive, GroupFilter, Repository};
use crate::dump::globals;
use crate::error::{Error, Result};
use crate::pg::ConnSettings;
use crate::progress::{Event, Progress};
use crate::restore::{self, Promised, RestoreOptions, RestoreReport, chain};
use crate::sql::Ident;
use crate::toc::{Entry, printable};

/// Databases that every new cluster has: they are filled, not made.
const OF_INITDB: [&str; 2] = ["postgres", "template1"];

/// Which globals are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GlobalsKind {
    /// All of them.
    #[default]
    All,
    /// Roles, their settings and memberships.
    Roles,
    /// Tablespaces.
    Tablespaces,
}

impl GlobalsKind {
    pub(super) fn has(self, entry: &Entry) -> bool {
        match self {
            GlobalsKind::All => true,
            GlobalsKind::Roles => entry.label.starts_with("role"),
            GlobalsKind::Tablespaces => entry.label == "tablespace",
        }
    }
}

/// How a set, or an archive of globals, is restored.
#[derive(Debug, Clone, Default)]
pub struct ClusterRestoreOptions {
    /// How each database is restored.
    pub restore: RestoreOptions,
    /// Patterns of databases to leave out.
    pub exclude_databases: Vec<String>,
    /// Give roles, settings and tablespaces that exist their archived attributes. Otherwise they are left as they are, and named.
    pub alter_existing: bool,
    /// Take a set of which databases are missing.
    pub allow_incomplete: bool,
    /// Which globals.
    pub kind: GlobalsKind,
}

/// What became of a set's restore.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClusterRestoreReport {
    /// The archive of the set's globals.
    pub archive: String,
    /// What became of the globals but the settings of roles.
    pub globals: RestoreReport,
    /// What became of those settings, which come after the databases.
    pub settings: RestoreReport,
    /// What exists and was left although the archive has it otherwise, with the statements that would change it.
    pub left: Vec<String>,
    /// What became of each database.
    pub databases: Vec<RestoredDatabase>,
}

/// What became of one database of a set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestoredDatabase {
    /// The database.
    pub database: String,
    /// The report, if the restore came to its end.
    pub report: Option<RestoreReport>,
    /// What ended it otherwise.
    pub error: Option<String>,
}

impl ClusterRestoreReport {
    /// True if nothing failed, was skipped, or differs.
    pub fn is_complete(&self) -> bool {
        let whole = |one: &RestoredDatabase| {
            let report = one.report.as_ref();
            report.is_some_and(RestoreReport::is_complete)
        };
        let shared = [&self.globals, &self.settings];
        shared.into_iter().all(RestoreReport::is_complete) && self.databases.iter().all(whole)
    }
}

/// The newest complete set, of the only cluster that has any; and a warning if a newer one is incomplete.
pub async fn newest_set(repository: &Repository) -> Result<(Archive, Option<String>)> {
    let mut of_cluster: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for listed in repository.archives().await? {
        let group = listed.group.as_ref();
        let Some(group) = group.filter(|group| group.scope == Scope::Globals) else {
            continue;
        };
        match listed.manifest {
            // Never silently an older one.
            Err(_) => {
                return repository
                    .read(&listed.name)
                    .await
                    .map(|archive| (archive, None));
            }
            Ok(manifest) => {
                if let Some(set) = manifest.closes() {
                    let sets = of_cluster
                        .entry(group.system_identifier.clone())
                        .or_default();
                    sets.push((listed.name, set.missing.len()));
                }
            }
        }
    }
    let remedy = "`pgark list` shows the archives; name the set's archive of globals";
    if of_cluster.len() > 1 {
        let newest = of_cluster.values().filter_map(|sets| sets.last());
        let names: Vec<String> = newest.map(|(name, _)| name.to_string()).collect();
        return Err(Error::Usage(format!(
            "{} has dumps of several clusters; name one of their sets: {}",
            repository.location(),
            names.join(", ")
        )));
    }
    let sets = of_cluster
        .pop_first()
        .map(|(_, sets)| sets)
        .unwrap_or_default();
    let Some((name, _)) = sets.iter().rev().find(|(_, n_missing)| *n_missing == 0) else {
        return Err(Error::NotFound {
            what: format!("no complete dump of a cluster in {}", repository.location()),
            remedy: format!("`pgark dump --all` makes one; {remedy}"),
        });
    };
    let newest = sets.last().filter(|(_, n_missing)| *n_missing > 0);
    let warning = newest.map(|(newest, n_missing)| {
        format!("set {newest} is newer, but {n_missing} of its databases are missing; set {name} is taken")
    });
    Ok((repository.read(name).await?, warning))
}

/// The newest archive of globals, of the only cluster that has any.
pub async fn newest_globals(repository: &Repository) -> Result<Archive> {
    let filter = GroupFilter {
        scope: Some(Scope::Globals),
        ..GroupFilter::default()
    };
    repository.latest(&filter).await
}

/// Restores what all databases share into the cluster that `target` connects to, and gives what exists there and was left.
///
/// # Errors
/// Those of [`restore::restore`]; [`Error::Usage`] if the archive holds no globals.
pub async fn restore_globals(
    archive: &Archive,
    target: &ConnSettings,
    options: &ClusterRestoreOptions,
    progress: Arc<dyn Progress>,
) -> Result<(RestoreReport, Vec<String>)> {
    let Adapted { entries, left } = adapted(archive, target, options).await?;
    let report = restore::restore_globals(archive, entries, target, progress).await?;
    Ok((report, left))
}

/// The archive's globals beside what the target has of them.
async fn adapted(
    archive: &Archive,
    target: &ConnSettings,
    options: &ClusterRestoreOptions,
) -> Result<Adapted> {
    if archive.manifest().group.scope != Scope::Globals {
        return Err(Error::Usage(format!(
            "archive {} is of a database and holds no roles and tablespaces",
            archive.name()
        )));
    }
    let there = globals::read(target, false).await?;
    let version = there.source.server_version;
    let how = (options.kind, options.alter_existing);
    Ok(adapt(
        archive.entries().await?,
        &there.entries,
        version,
        how,
    ))
}

/// Restores the set that `archive` of globals closes, over a connection to any database of the target cluster.
///
/// Everything is examined before the first change: the archives' bytes, roles, tablespaces and their directories, databases in the
/// way. `postgres` and `template1` are filled where they exist; every other database is made.
///
/// # Errors
/// Before the first change: [`Error::Refused`] with all findings, [`Error::Usage`] for an archive that closes no set. After it: only
/// if the globals' restore cannot go on; what ends the restore of one database stands in the report.
pub async fn restore_cluster(
    archive: &Archive,
    target: &ConnSettings,
    options: &ClusterRestoreOptions,
    progress: Arc<dyn Progress>,
) -> Result<ClusterRestoreReport> {
    let Some(set) = archive.manifest().closes() else {
        return Err(Error::Usage(format!(
            "archive {} is not that of a whole cluster's globals, as `pgark dump --all` writes it last",
            archive.name()
        )));
    };
    let globals = adapted(archive, target, options).await?;
    let (members, mut findings) = members(archive, set, options).await?;
    let there: BTreeSet<String> = globals::databases(target)
        .await?
        .into_iter()
        .map(|database| database.name)
        .collect();
    let run = Run {
        archive,
        target,
        options,
        promised: Promised::of(&archive.entries().await?),
        there,
        progress: &progress,
    };
    findings.extend(run.findings(&globals.entries, &members).await);
    if !findings.is_empty() {
        return Err(Error::Refused {
            what: format!("restore of set {}", archive.name()),
            findings,
        });
    }
    run.restore(globals, &members).await
}

/// The set's archives, and what is wrong with them.
async fn members(
    archive: &Archive,
    set: &ClusterSet,
    options: &ClusterRestoreOptions,
) -> Result<(Vec<Archive>, Vec<String>)> {
    let excluded = Excluded::new(&options.exclude_databases)?;
    let (mut members, mut findings) = (Vec::new(), Vec::new());
    if !options.allow_incomplete {
        findings.extend(set.missing.iter().map(|missing| {
            format!(
                "{} is missing from the set ({}); take another set, or restore without it by --allow-incomplete",
                missing.what, missing.reason
            )
        }));
    }
    let chosen = set.members.iter();
    for member in chosen.filter(|member| !excluded.has(&member.database)) {
        match archive.repository().read(&member.name).await {
            Ok(found) if found.seal() == member.manifest => members.push(found),
            Ok(_) => findings.push(format!(
                "archive {} is not the one that belongs to the set",
                member.name
            )),
            Err(error) => findings.push(format!(
                "archive {} of database {}: {}; leave it out with --exclude-database",
                member.name,
                printable(&member.database),
                chain(&error)
            )),
        }
    }
    Ok((members, findings))
}

struct Run<'a> {
    archive: &'a Archive,
    target: &'a ConnSettings,
    options: &'a ClusterRestoreOptions,
    promised: Promised,
    /// The databases that the target has.
    there: BTreeSet<String>,
    progress: &'a Arc<dyn Progress>,
}

impl Run<'_> {
    /// Made, or filled if it is one that every cluster has.
    fn options_for(&self, database: &str) -> RestoreOptions {
        let fill = OF_INITDB.contains(&database) && self.there.contains(database);
        RestoreOptions {
            create: !fill,
            database_properties: true,
            ..self.options.restore.clone()
        }
    }

    /// What stands against the restore, of the globals and of each database.
    async fn findings(&self, globals: &[Entry], members: &[Archive]) -> Vec<String> {
        let (target, progress) = (self.target, self.progress);
        let found =
            restore::findings_of_globals(self.archive, globals.to_vec(), target, progress).await;
        let mut findings = found.unwrap_or_else(|error| vec![chain(&error)]);
        for member in members {
            let database = member.manifest().group.database.as_str();
            let (options, target) = (self.options_for(database), target.with_dbname(database));
            let found =
                restore::findings(member, &target, &options, &self.promised, progress).await;
            let found = found.unwrap_or_else(|error| vec![chain(&error)]);
            let name = Ident::new(database).quoted();
            let found = found.into_iter();
            findings.extend(found.map(|finding| format!("database {name}: {finding}")));
        }
        findings
    }

    async fn restore(self, globals: Adapted, members: &[Archive]) -> Result<ClusterRestoreReport> {
        let (target, progress) = (self.target, Arc::clone(self.progress));
        let Adapted { entries, left } = globals;
        let is_setting = |entry: &Entry| entry.label == "role setting";
        let objects = only(entries.clone(), |entry| !is_setting(entry));
        let globals =
            restore::restore_globals(self.archive, objects, target, Arc::clone(&progress)).await?;
        let mut databases = Vec::new();
        for member in members {
            let database = member.manifest().group.database.as_str();
            databases.push(self.database(database, member).await);
        }
        // They would meet the restore's own connections: a library to load that the server lacks lets nobody in.
        let settings = only(entries, is_setting);
        let settings = restore::restore_globals(self.archive, settings, target, progress).await?;
        Ok(ClusterRestoreReport {
            archive: self.archive.name().to_string(),
            globals,
            settings,
            left,
            databases,
        })
    }

    async fn database(&self, database: &str, member: &Archive) -> RestoredDatabase {
        let options = RestoreOptions {
            // Every byte was hashed a moment ago.
            verify_chunks: false,
            ..self.options_for(database)
        };
        let (target, progress) = (self.target.with_dbname(database), Arc::clone(self.progress));
        let done = restore::restore(member, &target, &options, progress).await;
        let name = format!("database {}", printable(database));
        let (report, error) = match done {
            Ok(report) => {
                self.progress.event(Event::Task(name));
                (Some(report), None)
            }
            Err(error) => {
                let problem = chain(&error);
                self.progress
                    .event(Event::Warning(format!("{name}: {problem}")));
                (None, Some(problem))
            }
        };
        RestoredDatabase {
            database: database.to_owned(),
            report,
            error,
        }
    }
}
