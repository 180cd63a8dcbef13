//! The whole cluster on the command line: `--all` and `--globals-only` of `dump` and `restore`, and what they print.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::output::diagnostic;
use super::{Context, dump, exit::Outcome, human, place, restore, secrets};
use crate::archive::{Archive, Repository};
use crate::cluster::{
    ClusterDumpOptions, ClusterDumpReport, ClusterRestoreOptions, ClusterRestoreReport,
    GlobalsKind, dump_cluster, newest_globals, newest_set, restore_cluster, restore_globals,
};
use crate::dump::DumpOptions;
use crate::dump::globals::{GlobalsOptions, dump_globals};
use crate::error::Result;
use crate::pg::ConnSettings;
use crate::restore::{RestoreOptions, RestoreReport};
use crate::toc::printable;

/// The database to which the globals' connections go where none is named.
const MAINTENANCE: &str = "postgres";

/// What `dump` has for whole clusters.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Whole cluster")]
pub(crate) struct ClusterDump {
    /// All databases, one after another, then roles and tablespaces, as a set
    #[arg(long, conflicts_with_all = ["schemas", "exclude_schemas", "tables", "exclude_tables", "data_only", "plan"])]
    all: bool,
    /// Only what all databases share: roles with their password hashes, tablespaces, privileges on parameters
    #[arg(short, long, conflicts_with_all = ["all", "plan"])]
    globals_only: bool,
    /// With --all: not databases that match
    #[arg(long, value_name = "PATTERN", requires = "all")]
    exclude_database: Vec<String>,
    /// Without the roles' password hashes
    #[arg(long)]
    no_role_passwords: bool,
}

impl ClusterDump {
    /// True if it is not one database that is dumped.
    pub(crate) fn is_asked(&self) -> bool {
        self.all || self.globals_only
    }

    pub(crate) async fn run(
        &self,
        repository: &Repository,
        options: DumpOptions,
        connection: &Connection,
        cx: &Context,
    ) -> Result<Outcome> {
        let settings = settings(connection, cx).await?;
        if self.globals_only {
            let options = GlobalsOptions {
                name: options.name,
                no_role_passwords: self.no_role_passwords,
                level: options.level,
                job: options.job,
                tags: options.tags,
                keep_last: options.keep_last,
            };
            let progress = cx.shown.progress();
            let report = dump_globals(&settings, repository, &options, progress).await?;
            cx.shown.finish();
            dump::print_report(&report, cx)?;
            return Ok(Outcome::Done);
        }
        let options = ClusterDumpOptions {
            dump: options,
            exclude_databases: self.exclude_database.clone(),
            no_role_passwords: self.no_role_passwords,
        };
        let started = Instant::now();
        let report = dump_cluster(&settings, repository, &options, cx.shown.progress()).await?;
        cx.shown.finish();
        print_dump(&report, started.elapsed(), cx)?;
        Ok(if report.is_complete() {
            Outcome::Done
        } else {
            Outcome::Incomplete
        })
    }
}

/// The settings, to a database that every cluster has unless one is named.
async fn settings(connection: &Connection, cx: &Context) -> Result<ConnSettings> {
    let settings = connection.settings(cx).await?;
    Ok(match connection.dbname {
        Some(_) => settings,
        None => settings.with_dbname(MAINTENANCE),
    })
}

fn print_dump(report: &ClusterDumpReport, time: Duration, cx: &Context) -> Result<()> {
    if cx.common.json {
        return cx.output.json(report);
    }
    for one in report.databases.iter().chain([&report.globals]) {
        dump::print_report(one, cx)?;
    }
    for skipped in &report.skipped {
        diagnostic(format!("not in the set: {skipped}"));
    }
    for name in &report.removed {
        cx.output.line(format!("removed {name}"))?;
    }
    for failed in &report.failed {
        diagnostic(secrets::hidden(&format!(
            "failed: database {}: {}",
            printable(&failed.database),
            failed.message
        )));
        if let Some(hint) = &failed.hint {
            diagnostic(format!("  hint: {hint}"));
        }
    }
    let state = match report.failed.len() {
        0 => "complete".to_owned(),
        n => format!(
            "incomplete, {} missing",
            human::things(n as u64, "database")
        ),
    };
    cx.output.line(format!(
        "set {}: {}, {state}, {}",
        report.set,
        human::things(report.databases.len() as u64, "database"),
        human::duration(time)
    ))
}

/// What `restore` has for whole clusters.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Whole cluster")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct ClusterRestore {
    /// A whole set: roles and tablespaces, then every database, which is made first [ARCHIVE default: the newest complete set's]
    #[arg(long, conflicts_with_all = ["schemas", "exclude_schemas", "tables", "exclude_tables", "data_only", "create", "from_database"])]
    all: bool,
    /// Only what all databases share [ARCHIVE default: the newest of globals]
    #[arg(short, long, conflicts_with_all = ["all", "create", "from_database"])]
    globals_only: bool,
    /// Of it only roles, their settings and memberships
    #[arg(long, conflicts_with_all = ["all", "tablespaces_only"])]
    roles_only: bool,
    /// Of it only tablespaces
    #[arg(long, conflicts_with = "all")]
    tablespaces_only: bool,
    /// With --all: not databases that match
    #[arg(long, value_name = "PATTERN", requires = "all")]
    exclude_database: Vec<String>,
    /// Give roles, settings and tablespaces that exist their archived attributes and passwords; otherwise they are left and named
    #[arg(long)]
    alter_existing: bool,
    /// With --all: take a set of which databases are missing
    #[arg(long, requires = "all")]
    allow_incomplete: bool,
}

impl ClusterRestore {
    /// True if it is not one database that is restored.
    pub(crate) fn is_asked(&self) -> bool {
        self.all || self.globals_only || self.roles_only || self.tablespaces_only
    }

    fn options(&self, restore: RestoreOptions) -> ClusterRestoreOptions {
        ClusterRestoreOptions {
            restore,
            exclude_databases: self.exclude_database.clone(),
            alter_existing: self.alter_existing,
            allow_incomplete: self.allow_incomplete,
            kind: match (self.roles_only, self.tablespaces_only) {
                (true, _) => GlobalsKind::Roles,
                (_, true) => GlobalsKind::Tablespaces,
                _ => GlobalsKind::All,
            },
        }
    }

    pub(crate) async fn run(
        &self,
        archive: Option<&str>,
        options: RestoreOptions,
        connection: &Connection,
        cx: &Context,
    ) -> Result<Outcome> {
        let repository = place::open(cx).await?;
        let settings = settings(connection, cx).await?;
        let archive = self.archive(&repository, archive).await?;
        let options = self.options(options);
        let started = Instant::now();
        let progress = cx.shown.progress();
        let is_complete = if self.all {
            let report = Box::pin(restore_cluster(&archive, &settings, &options, progress)).await?;
            cx.shown.finish();
            print_set(&report, started.elapsed(), cx)?;
            report.is_complete()
        } else {
            let (report, left) = restore_globals(&archive, &settings, &options, progress).await?;
            cx.shown.finish();
            if cx.common.json {
                let value = serde_json::json!({ "globals": report, "left": left });
                cx.output.json(&value)?;
            } else {
                print_globals(&report, &left, cx)?;
            }
            report.is_complete()
        };
        Ok(if is_complete {
            Outcome::Done
        } else {
            Outcome::Incomplete
        })
    }

    async fn archive(&self, repository: &Repository, name: Option<&str>) -> Result<Archive> {
        match name {
            Some(name) if name != "latest" => {
                let name = repository.find(name).await?;
                repository.read(&name).await
            }
            _ if self.all => {
                let (archive, warning) = newest_set(repository).await?;
                if let Some(warning) = warning {
                    diagnostic(format!("warning: {warning}"));
                }
                Ok(archive)
            }
            _ => newest_globals(repository).await,
        }
    }
}

fn print_set(report: &ClusterRestoreReport, time: Duration, cx: &Context) -> Result<()> {
    if cx.common.json {
        return cx.output.json_without_secrets(report);
    }
    print_globals(&report.globals, &report.left, cx)?;
    for one in &report.databases {
        if let Some(report) = &one.report {
            let seconds: f64 = report.phases.iter().map(|phase| phase.seconds).sum();
            restore::print_report(report, Duration::from_secs_f64(seconds), cx)?;
        }
        if let Some(error) = &one.error {
            let database = printable(&one.database);
            diagnostic(secrets::hidden(&format!(
                "failed: database {database}: {error}"
            )));
        }
    }
    if report.settings.n_entries > 0 || !report.settings.is_complete() {
        print_globals(&report.settings, &[], cx)?;
    }
    let whole = report.databases.iter().filter(|one| {
        let report = one.report.as_ref();
        report.is_some_and(RestoreReport::is_complete)
    });
    cx.output.line(format!(
        "set {}: {} of {} whole, {}",
        report.archive,
        whole.count(),
        human::things(report.databases.len() as u64, "database"),
        human::duration(time)
    ))
}

fn print_globals(report: &RestoreReport, left: &[String], cx: &Context) -> Result<()> {
    for left in left {
        diagnostic(format!(
            "left as it is, --alter-existing would change it: {left}"
        ));
    }
    restore::print_problems(report, cx);
    cx.output.line(format!(
        "{} → cluster: {}",
        report.archive,
        human::things(report.n_entries, "shared object")
    ))
}
