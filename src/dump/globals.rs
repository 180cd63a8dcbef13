//! What all databases of a cluster share: reads it, and writes it as an archive of its own. Also reads what a database is to
//! its cluster, which every dump of the database carries.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::writing::{self, ArchivePlace, Committed, Contents, Naming};
use super::{DumpReport, source};
use crate::archive::lease::{Lease, LeaseKind};
use crate::archive::manifest::{ClusterSet, Group, Scope, Skipped, Source};
use crate::archive::name::ArchiveName;
use crate::archive::repository::Repository;
use crate::catalog::facts::rows;
use crate::error::{Error, Result};
use crate::kinds::cluster::{GlobalRows, SharedFacts, database};
use crate::kinds::row::catalog_row;
use crate::pg::pin::{DumpPins, pin_dump_session};
use crate::pg::version::V15;
use crate::pg::{ConnSettings, Session, connect};
use crate::progress::{Event, Progress, Silent};
use crate::selection::{Omit, Selection};
use crate::toc::{Entry, EntryId, Part, PartSet};

/// How the globals of a cluster are dumped.
#[derive(Debug, Clone)]
pub struct GlobalsOptions {
    /// The archive's name; `globals` and the time otherwise.
    pub name: Option<ArchiveName>,
    /// Leave the roles' password hashes out.
    pub no_role_passwords: bool,
    /// zstd's level.
    pub level: i32,
    /// The configured job that this dump belongs to.
    pub job: Option<String>,
    /// What the user attaches to the archive.
    pub tags: BTreeMap<String, String>,
    /// Remove older archives of the group after success, keeping so many.
    pub keep_last: Option<u32>,
}

impl Default for GlobalsOptions {
    fn default() -> GlobalsOptions {
        GlobalsOptions {
            name: None,
            no_role_passwords: false,
            level: 1,
            job: None,
            tags: BTreeMap::new(),
            keep_last: None,
        }
    }
}

/// The shared objects of a cluster at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// In the order of restoring, numbered.
    pub(crate) entries: Vec<Entry>,
    pub(crate) source: Source,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) warnings: Vec<String>,
}

/// A database of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedDatabase {
    pub(crate) name: String,
    /// Why nobody can connect to it, if so.
    pub(crate) closed: Option<&'static str>,
}

catalog_row! {
    /// `pg_database`, every database; `template1` first, because others may be made from it.
    struct ListedRow from "pg_catalog.pg_database d" order "d.datname <> 'template1', d.datname" {
        name: String = col("d.datname"),
        allows: bool = col("d.datallowconn"),
        /// -2 for one whose DROP was interrupted.
        connection_limit: i32 = col("d.datconnlimit"),
    }
}

catalog_row! {
    /// What may be read, and what is there that SQL cannot make.
    struct RightsRow from "(SELECT 1) AS one" {
        passwords: bool =
            col("pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT')"),
        n_slots: i64 = col("(SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots)"),
    }
}

/// Dumps what all databases of the cluster share: roles with their settings and memberships, privileges on parameters, and
/// tablespaces. The archive holds the password hashes of the roles, if the connecting role may read them.
pub async fn dump_globals(
    source: &ConnSettings,
    repository: &Repository,
    options: &GlobalsOptions,
    progress: Arc<dyn Progress>,
) -> Result<DumpReport> {
    progress.event(Event::Phase {
        name: "globals",
        bytes: 0,
        tasks: 0,
    });
    let globals = read(source, options.no_role_passwords).await?;
    write(repository, globals, options, None).await
}

/// Reads the globals in one snapshot.
pub(crate) async fn read(source: &ConnSettings, no_passwords: bool) -> Result<Globals> {
    let session = open(source).await?;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    session.batch("the globals", "BEGIN", begin).await?;
    let mut source = source::read(&session, Vec::new()).await?.source;
    let (rows, skipped) = read_rows(&session, no_passwords).await?;
    session.batch("the globals", "COMMIT", "COMMIT").await?;
    session.close().await;
    source.finished = Timestamp::now();
    let rendered = rows.entries()?;
    Ok(Globals {
        entries: rendered.entries,
        source,
        skipped,
        warnings: rendered.warnings,
    })
}

async fn open(source: &ConnSettings) -> Result<Session> {
    let session = connect(source, "dump").await?;
    crate::pg::pooler::require_own_backend(&session, source).await?;
    let pins = pin_dump_session(session.version(), &DumpPins::default());
    session.pin(&pins).await?;
    Ok(session)
}

async fn read_rows(session: &Session, no_passwords: bool) -> Result<(GlobalRows, Vec<Skipped>)> {
    let rights = rows::<RightsRow>(session, "what may be read").await?;
    let (may_read, n_slots) = rights
        .first()
        .map_or((false, 0), |row| (row.passwords, row.n_slots));
    let mut skipped = Vec::new();
    let mut skip = |what: &str, reason: &str| {
        skipped.push(Skipped {
            what: what.to_owned(),
            reason: reason.to_owned(),
        });
    };
    if no_passwords {
        skip("passwords of roles", "left out by --no-role-passwords");
    } else if !may_read {
        skip(
            "passwords of roles",
            "only a superuser may read their hashes",
        );
    }
    if n_slots > 0 {
        skip(
            "replication slots",
            "they belong to their consumers and to this server's WAL",
        );
    }
    let mut found = GlobalRows {
        shared: shared(session).await?,
        roles: rows(session, "roles").await?,
        settings: rows(session, "settings of roles").await?,
        memberships: rows(session, "role memberships").await?,
        tablespaces: rows(session, "tablespaces").await?,
        ..GlobalRows::default()
    };
    if may_read && !no_passwords {
        found.passwords = rows(session, "passwords of roles").await?;
    }
    if session.version() >= V15 {
        found.parameters = rows(session, "privileges on parameters").await?;
    }
    Ok((found, skipped))
}

async fn shared(session: &Session) -> Result<SharedFacts> {
    Ok(SharedFacts::new(
        session.version(),
        rows(session, "names of roles").await?,
        rows(session, "comments on shared objects").await?,
        rows(session, "labels of shared objects").await?,
    ))
}

/// The entries of the connected database as an object of its cluster, numbered from `first`.
pub(crate) async fn of_database(
    session: &Session,
    first: EntryId,
    selection: &Selection,
) -> Result<Vec<Entry>> {
    let mut found = rows::<database::DatabaseRow>(session, "the database").await?;
    let database = found
        .pop()
        .ok_or_else(|| Error::failed("the database", "it has vanished", ""))?;
    let found = database::DatabaseRows {
        shared: shared(session).await?,
        database,
        settings: rows(session, "settings of the database").await?,
    };
    let without = [
        (selection.omits(Omit::Owners), Part::Owner),
        (selection.omits(Omit::Comments), Part::Comment),
        (selection.omits(Omit::Privileges), Part::Acl),
    ];
    let without = without.into_iter().filter(|(leave_out, _)| *leave_out);
    let parts = without.fold(PartSet::ALL, |parts, (_, part)| parts.without(part));
    let mut entries = found.entries(first, parts)?;
    if selection.omits(Omit::Tablespaces) {
        for entry in &mut entries {
            entry.tablespace = None;
        }
    }
    Ok(entries)
}

/// The cluster's databases: `template1`, then by name.
pub(crate) async fn databases(source: &ConnSettings) -> Result<Vec<ListedDatabase>> {
    let session = open(source).await?;
    let found = rows::<ListedRow>(&session, "databases").await?;
    session.close().await;
    let listed = |row: ListedRow| ListedDatabase {
        closed: match (row.connection_limit, row.allows) {
            (-2, _) => Some("it is invalid: its DROP DATABASE was interrupted"),
            (_, false) if row.name == "template0" => Some("every cluster has it"),
            (_, false) => Some("it allows no connections"),
            _ => None,
        },
        name: row.name,
    };
    Ok(found.into_iter().map(listed).collect())
}

/// Writes an archive of globals, as the last of `set` if there is one.
pub(crate) async fn write(
    repository: &Repository,
    globals: Globals,
    options: &GlobalsOptions,
    set: Option<ClusterSet>,
) -> Result<DumpReport> {
    let started = Instant::now();
    let lease = Lease::take(repository, LeaseKind::Dump, "dump of globals", Vec::new()).await?;
    let written = put(repository, &lease, globals, options, set).await;
    let released = lease.release().await;
    let written = written?;
    released?;
    let mut report = writing::report(&written, repository);
    report
        .rotate(repository, options.keep_last, &Silent)
        .await?;
    report.took(started.elapsed(), started.elapsed());
    Ok(report)
}

async fn put(
    repository: &Repository,
    lease: &Lease,
    globals: Globals,
    options: &GlobalsOptions,
    set: Option<ClusterSet>,
) -> Result<Committed> {
    let name = match &options.name {
        Some(name) => Naming::Chosen(name.clone()),
        None => Naming::Like(ArchiveName::of_dump("globals", globals.source.started)),
    };
    let chunks = repository.chunks(options.level);
    let place = ArchivePlace {
        repository,
        chunks: &chunks,
        settings: repository.marker().chunks,
        lease,
        name,
        created: globals.source.started,
        group: Group {
            system_identifier: globals.source.system_identifier.clone(),
            database: String::new(),
            job: options.job.clone(),
            scope: Scope::Globals,
        },
    };
    let contents = Contents {
        entries: globals.entries,
        n_tables: 0,
        indexes: Vec::new(),
        chunks: HashMap::new(),
        source: globals.source,
        selection: Vec::new(),
        skipped: globals.skipped,
        set,
        tags: options.tags.clone(),
    };
    let archive = writing::commit(place, contents).await?;
    Ok(Committed::new(archive, globals.warnings))
}
