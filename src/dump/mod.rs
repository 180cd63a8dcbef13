//! Dumping: a database becomes an archive.
//!
//! The order of things is the product (see `docs/architecture.md`): lock, look, compare afresh, export the snapshot, read with
//! workers, read sequence values, write TOC and data index, prove what is shared, commit the manifest.

mod catalog_phase;
mod entries;
mod large_objects;
mod links;
mod plan;
mod reading;
pub mod select;
mod sink;
mod source;
mod split;
mod table_locks;
mod values;
mod wide_rows;
mod worker;
mod writing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use postgres_types::{ToSql, Type};

use self::catalog_phase::{Looked, look};
use self::plan::{DataPlan, PlanInputs, SizeRow};
use self::reading::{Read, Reading};
use self::select::Selection;
use self::split::Method;
use self::writing::{ArchivePlace, Committed, Rows, write};
use crate::archive::buffer::BufferPool;
use crate::archive::chunks::ChunkStore;
use crate::archive::digest::Digest;
use crate::archive::lease::Lease;
use crate::archive::manifest::{Group, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::repository::{GroupFilter, Repository};
use crate::error::{Error, Result};
use crate::kinds::row::{CatalogRow, Oid};
use crate::pg::pin::{DumpPins, client_encoding, pin_dump_session};
use crate::pg::{ConnSettings, ServerVersion, Session, SnapshotId, SnapshotReader, connect};
use crate::progress::{Event, Progress};

/// Plain chunk buffers per worker: one being filled, one in waiting, one being compressed.
const BUFFERS_PER_JOB: usize = 3;

/// How long a lease lasts. It is not renewed while the dump runs, so it must outlast it; before the manifest is written the
/// dump proves that it still stands.
const LEASE_LASTS: Duration = Duration::from_secs(48 * 60 * 60);

/// How a database is dumped.
#[derive(Debug, Clone)]
pub struct DumpOptions {
    /// Connections that read rows, besides the coordinator's.
    pub jobs: usize,
    /// The archive's name; the database and the time otherwise.
    pub name: Option<ArchiveName>,
    /// What is dumped.
    pub selection: Selection,
    /// zstd's level.
    pub level: i32,
    /// The configured job that this dump belongs to.
    pub job: Option<String>,
    /// Remove older archives of the group after success, keeping so many.
    pub keep_last: Option<usize>,
    /// Wait for a snapshot that no serializable transaction can contradict.
    pub serializable_deferrable: bool,
    /// Give up waiting for a table lock after so long.
    pub lock_wait: Option<Duration>,
    /// Tests prove that consistency hangs on the snapshot by leaving its import out.
    #[doc(hidden)]
    pub without_snapshot: bool,
    /// Heap and TOAST bytes that a cell aims at; tests split small tables with it.
    #[doc(hidden)]
    pub cell_bytes: Option<u64>,
}

impl Default for DumpOptions {
    fn default() -> Self {
        DumpOptions {
            jobs: 2,
            name: None,
            selection: Selection::default(),
            level: 1,
            job: None,
            keep_last: None,
            serializable_deferrable: false,
            lock_wait: None,
            without_snapshot: false,
            cell_bytes: None,
        }
    }
}

/// What a dump did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DumpReport {
    /// The archive.
    pub name: ArchiveName,
    /// Where its manifest is.
    pub location: String,
    /// Tables with rows.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Stored bytes of its chunks.
    pub stored_bytes: u64,
    /// Of those, new to the repository.
    pub new_bytes: u64,
    /// What was left out, with reasons.
    pub skipped: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Archives that were removed because of `keep_last`.
    pub removed: Vec<ArchiveName>,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

/// A table as `--plan` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PlannedTable {
    /// Schema and name.
    pub table: String,
    /// `cells` or `whole`.
    pub method: &'static str,
    /// Pieces that are read on their own.
    pub segments: usize,
    /// Heap and TOAST bytes.
    pub bytes: u64,
    /// Why it is read in one piece.
    pub reason: Option<&'static str>,
}

/// Dumps a database into a repository.
///
/// Nothing is reported as done before the manifest is durable. An error leaves no archive, only chunks that the next dump
/// finds again.
pub async fn dump(
    source: &ConnSettings,
    repository: &Repository,
    options: &DumpOptions,
    progress: Arc<dyn Progress>,
) -> Result<DumpReport> {
    let started = Instant::now();
    progress.event(Event::Phase {
        name: "catalog",
        bytes: 0,
        tasks: 0,
    });
    let (session, search_path) = open_coordinator(source, options).await?;
    let created = Timestamp::now();
    let mut looked = look(source, session, search_path, options, progress.as_ref()).await?;
    looked.facts.source.started = created;
    looked.facts.source.snapshot_lsn = source::lsn(looked.owner.session()).await.unwrap_or(None);
    let group = group_of(&looked, options);
    let before = previous(repository, &group).await?;
    let purpose = format!("dump of {}", looked.facts.database.name);
    let shared = before.archive.iter().cloned().collect();
    let lease = Lease::take(repository, &purpose, shared, LEASE_LASTS).await?;
    let run = Run {
        source,
        repository,
        options,
        progress: &progress,
        lease: &lease,
        created,
    };
    let written = run.read_and_write(looked, group, before).await;
    let released = lease.release().await;
    let written = written?;
    released?;
    let removed = match options.keep_last {
        Some(keep) => rotate(repository, written.manifest(), keep).await?,
        None => Vec::new(),
    };
    Ok(writing::report(
        &written,
        repository,
        removed,
        started.elapsed(),
    ))
}

/// What stays the same during one dump.
struct Run<'a> {
    source: &'a ConnSettings,
    repository: &'a Repository,
    options: &'a DumpOptions,
    progress: &'a Arc<dyn Progress>,
    lease: &'a Lease,
    created: Timestamp,
}

impl Run<'_> {
    async fn read_and_write(
        &self,
        mut looked: Looked,
        group: Group,
        before: Before,
    ) -> Result<Committed> {
        let chunks = self
            .repository
            .chunks(self.options.level)
            .with_known(before.chunks);
        let settings = self.repository.marker().chunks;
        let (plan, pages_readable) = plan_data(
            &looked,
            looked.owner.session(),
            &before.cells,
            self.options.cell_bytes,
        )
        .await?;
        let (tables, large_objects) = (plan.tables.clone(), plan.large_objects);
        let read = self
            .read_rows(&looked, plan, pages_readable, &chunks)
            .await?;
        self.progress.event(Event::Phase {
            name: "archive",
            bytes: 0,
            tasks: 0,
        });
        let sequences: Vec<Oid> = looked.toc.sequences.iter().map(|(_, oid)| *oid).collect();
        let values = values::read(looked.owner.session(), &sequences).await?;
        looked.facts.source.finished = Timestamp::now();
        let name = if let Some(name) = &self.options.name {
            name.clone()
        } else {
            let wanted = ArchiveName::of_dump(&group.database, self.created);
            self.repository.free_name(&wanted).await?
        };
        let place = ArchivePlace {
            repository: self.repository,
            chunks: &chunks,
            settings,
            lease: self.lease,
            name,
            created: self.created,
            group,
        };
        let rows = Rows {
            tables,
            large_objects,
            read,
            values,
        };
        write(place, looked, rows, self.options).await
    }

    async fn read_rows(
        &self,
        looked: &Looked,
        plan: DataPlan,
        pages_readable: bool,
        chunks: &ChunkStore,
    ) -> Result<Read> {
        let n_jobs = plan.jobs.len();
        let phase = Event::Phase {
            name: "data",
            bytes: plan.n_bytes,
            tasks: n_jobs as u64,
        };
        self.progress.event(phase);
        let snapshot = looked.owner.export().await?;
        let n_workers = self.options.jobs.clamp(1, n_jobs.max(1));
        let readers = open_readers(self.source, looked, &snapshot, n_workers, self.options).await?;
        let settings = self.repository.marker().chunks;
        let chunk_bytes = usize::try_from(settings.bytes_max).expect("a chunk fits in memory");
        let pool = BufferPool::new(BUFFERS_PER_JOB * n_workers + 1, chunk_bytes);
        let mut reading = Reading::new(
            plan,
            chunks.clone(),
            settings,
            pool,
            Arc::clone(self.progress),
        );
        reading.pages_readable = pages_readable;
        reading.run(looked.owner.session(), readers).await
    }
}

/// Plans a dump without reading rows.
pub async fn plan(source: &ConnSettings, options: &DumpOptions) -> Result<Vec<PlannedTable>> {
    let (session, search_path) = open_coordinator(source, options).await?;
    let looked = look(
        source,
        session,
        search_path,
        options,
        &crate::progress::Silent,
    )
    .await?;
    let (plan, _) = plan_data(
        &looked,
        looked.owner.session(),
        &HashMap::new(),
        options.cell_bytes,
    )
    .await?;
    let mut tables: Vec<PlannedTable> = plan.tables.iter().map(planned).collect();
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.table.cmp(&b.table)));
    looked.owner.finish().await?.close().await;
    Ok(tables)
}

fn planned(table: &plan::TablePlan) -> PlannedTable {
    let (method, reason) = match table.method {
        Method::Cells { .. } => ("cells", None),
        Method::Whole(reason) => ("whole", Some(reason)),
    };
    let (name, segments) = (table.name.clone(), table.cells.len().max(1));
    PlannedTable {
        table: name,
        method,
        segments,
        bytes: table.size.n_bytes(),
        reason,
    }
}

async fn open_coordinator(
    source: &ConnSettings,
    options: &DumpOptions,
) -> Result<(Session, Vec<String>)> {
    let session = connect(source, "dump").await?;
    crate::pg::pooler::require_own_backend(&session, source).await?;
    session.pin(&[client_encoding()]).await?;
    let search_path = source::search_path(&session).await?;
    session
        .pin(&pin_dump_session(session.version(), &DumpPins::default()))
        .await?;
    if let Some(wait) = options.lock_wait {
        let set = format!("SET lock_timeout = {}", wait.as_millis());
        session
            .batch("the session", "SET lock_timeout", &set)
            .await?;
    }
    Ok((session, search_path))
}

async fn open_readers(
    source: &ConnSettings,
    looked: &Looked,
    snapshot: &SnapshotId,
    n_workers: usize,
    options: &DumpOptions,
) -> Result<Vec<SnapshotReader>> {
    let version = looked.owner.session().version();
    let pins = DumpPins::default();
    let open = async || {
        let session = connect(source, "dump worker").await?;
        session.pin(&pin_dump_session(version, &pins)).await?;
        if options.without_snapshot {
            SnapshotReader::without_import(session).await
        } else {
            SnapshotReader::import(session, snapshot).await
        }
    };
    futures::future::try_join_all((0..n_workers).map(|_| open())).await
}

/// A connection of its own, outside the snapshot, for a fresh look.
async fn open_fresh(settings: &ConnSettings, version: ServerVersion) -> Result<Session> {
    let session = connect(settings, "dump check").await?;
    session
        .pin(&pin_dump_session(version, &DumpPins::default()))
        .await?;
    Ok(session)
}

fn group_of(looked: &Looked, options: &DumpOptions) -> Group {
    let scope = if options.selection.is_full() {
        Scope::Full
    } else {
        Scope::Partial
    };
    Group {
        system_identifier: looked.facts.source.system_identifier.clone(),
        database: looked.facts.database.name.clone(),
        job: options.job.clone(),
        scope,
    }
}

/// What the group's newest archive tells the next dump.
#[derive(Debug, Default)]
struct Before {
    archive: Option<ArchiveName>,
    /// Cell lengths by the quoted table name.
    cells: HashMap<String, u32>,
    /// Its chunks, which the lease protects: what they hold need not be sent again.
    chunks: HashSet<Digest>,
}

/// A damaged or unreadable predecessor is no reason not to dump: it only costs the chunk boundaries' continuity.
async fn previous(repository: &Repository, group: &Group) -> Result<Before> {
    let filter = GroupFilter {
        system_identifier: Some(group.system_identifier.clone()),
        database: Some(group.database.clone()),
        job: Some(group.job.clone()),
        scope: Some(group.scope),
    };
    let archive = match repository.latest(&filter).await {
        Ok(archive) => archive,
        Err(Error::NotFound { .. } | Error::Corrupt { .. } | Error::Feature { .. }) => {
            return Ok(Before::default());
        }
        Err(error) => return Err(error),
    };
    let (Ok(entries), Ok(indexes)) = (archive.entries().await, archive.table_indexes().await)
    else {
        return Ok(Before::default());
    };
    let mut cells = HashMap::new();
    let mut chunks = HashSet::new();
    for index in indexes {
        let pieces = index.segments.iter().flat_map(|segment| &segment.pieces);
        chunks.extend(pieces.map(|piece| piece.chunk));
        let entry = entries.get(index.entry.0 as usize);
        let Some(crate::toc::DataOf::Table { target, .. }) =
            entry.and_then(|entry| entry.data.as_ref())
        else {
            continue;
        };
        cells.extend(index.cell_blocks.map(|blocks| (target.text(), blocks)));
    }
    Ok(Before {
        archive: Some(archive.manifest().name.clone()),
        cells,
        chunks,
    })
}

async fn plan_data(
    looked: &Looked,
    session: &Session,
    cells_before: &HashMap<String, u32>,
    cell_bytes: Option<u64>,
) -> Result<(DataPlan, bool)> {
    let what = "table sizes";
    let oids: Vec<Oid> = looked
        .toc
        .data
        .iter()
        .map(|(_, data)| data.relation)
        .filter(|oid| *oid != 0)
        .collect();
    let param: &(dyn ToSql + Sync) = &oids;
    let query = SizeRow::query(session.version());
    let rows = session
        .query(what, &query, &[(param, Type::OID_ARRAY)])
        .await?;
    let mut sizes = HashMap::new();
    for row in &rows {
        let row = SizeRow::from_row(row).map_err(Error::sql(what, "reading their rows"))?;
        sizes.insert(row.oid, row);
    }
    let (lo_starts, pages_readable) = large_objects::ranges(session).await?;
    let inputs = PlanInputs {
        server: session.version(),
        encoding: session.server_encoding(),
        sizes: &sizes,
        cells_before,
        lo_starts: &lo_starts,
        cell_bytes: cell_bytes.unwrap_or(split::CELL_BYTES),
    };
    Ok((plan::plan(&looked.toc.data, inputs), pages_readable))
}

/// Removes the group's older archives, keeping `keep`, this one included. Only after its own success.
async fn rotate(
    repository: &Repository,
    newest: &crate::archive::manifest::Manifest,
    keep: usize,
) -> Result<Vec<ArchiveName>> {
    let archives = repository.archives().await?;
    let same: Vec<&ArchiveName> = archives
        .iter()
        .filter(|listed| listed.manifest.is_ok() && listed.group.as_ref() == Some(&newest.group))
        .map(|listed| &listed.name)
        .collect();
    let n_gone = same.len().saturating_sub(keep.max(1));
    let gone: Vec<ArchiveName> = same
        .into_iter()
        .filter(|name| **name != newest.name)
        .take(n_gone)
        .cloned()
        .collect();
    for name in &gone {
        let why = format!("rotated after {}: the newest {keep} are kept", newest.name);
        repository.remove(name, &why).await?;
    }
    Ok(gone)
}
