//! Dumping: a database becomes an archive.
//!
//! The order of things is the product (see `docs/architecture.md`): lock, look, compare afresh, export the snapshot, read with
//! workers, read sequence values, write TOC and data index, prove what is shared, commit the manifest.

mod catalog_phase;
mod cell;
mod conditions;
mod entries;
pub mod globals;
mod group;
mod key_columns;
mod key_ranges;
mod large_objects;
mod links;
pub(crate) mod live;
mod needs;
mod options;
mod plan;
mod readers;
mod reading;
mod refusals;
mod report;
mod select;
mod sink;
mod sizes;
mod source;
mod spent;
mod split;
mod survey;
mod table_locks;
mod values;
mod wide_rows;
mod worker;
mod writing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

pub use self::options::DumpOptions;
pub use self::report::{DumpReport, Planned, PlannedTable};
pub use self::spent::Spent;
pub use self::survey::survey;

use self::catalog_phase::{Looked, look};
use self::group::{Before, CutBefore, group_of, previous};
use self::large_objects::ObjectsPlan;
use self::needs::Needed;
use self::plan::{DataPlan, PlanInputs};
use self::readers::Readers;
use self::reading::{Read, Reading};
use self::spent::{Stopwatch, milliseconds};
use self::split::Method;
use self::writing::{ArchivePlace, Committed, Naming, Rows, write};
use crate::archive::buffer::BufferPool;
use crate::archive::chunker::ChunkSettings;
use crate::archive::chunks::ChunkStore;
use crate::archive::lease::{Lease, LeaseKind};
use crate::archive::manifest::Group;
use crate::archive::name::ArchiveName;
use crate::archive::repository::Repository;
use crate::catalog::listing::Listing;
use crate::catalog::wanted::Wanted;
use crate::error::Result;
use crate::pg::pin::{DumpPins, client_encoding, pin_dump_session};
use crate::pg::{ConnSettings, ServerVersion, Session, connect};
use crate::progress::{Event, Progress};
use crate::selection::{Selection, Side};
use crate::toc::{DataOf, Entry, printable};

/// Plain chunk buffers per worker: one being filled, one in waiting, one being compressed.
const BUFFERS_PER_JOB: usize = 3;

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
    let source = &source.telling(Arc::clone(&progress));
    let (looked, created) = Box::pin(begin(source, options, progress.as_ref())).await?;
    let group = group_of(&looked, options);
    let mut before = previous(repository, &group).await?;
    let purpose = format!("dump of {}", looked.facts.database.name);
    let shared = before.archive.iter().cloned().collect();
    let lease = Lease::take(repository, LeaseKind::Dump, &purpose, shared).await?;
    before.forget_if_gone(repository).await?;
    let run = Run {
        source,
        repository,
        options,
        progress: &progress,
        lease: &lease,
        created,
    };
    let (facts, n_relations) = (looked.facts.clone(), looked.n_relations);
    let looking = started.elapsed();
    let written = Box::pin(run.read_and_write(looked, group, before)).await;
    let released = lease.release().await;
    let written = written.map_err(|error| refusals::explain(error, &facts, n_relations))?;
    let mut report = writing::report(&written, repository);
    // The archive stands, and the lease holds no longer than it says.
    if let Err(error) = released {
        report.warnings.push(format!(
            "the lease could not be removed and expires by itself: {error}"
        ));
    }
    report
        .rotate(repository, options.keep_last, progress.as_ref())
        .await?;
    report.took(looking, started.elapsed());
    Ok(report)
}

/// Looks at the source; gives what was found and when the look began.
async fn begin(
    source: &ConnSettings,
    options: &DumpOptions,
    progress: &dyn Progress,
) -> Result<(Looked, Timestamp)> {
    progress.event(Event::Phase {
        name: "catalog",
        bytes: 0,
        tasks: 0,
    });
    options.selection.check(Side::Dump)?;
    let (session, search_path) = open_coordinator(source, options).await?;
    let created = Timestamp::now();
    let mut looked = look(source, session, search_path, options, progress).await?;
    looked.facts.source.started = created;
    looked.facts.source.snapshot_lsn = source::lsn(looked.owner.session()).await.unwrap_or(None);
    Ok((looked, created))
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
        let plan = plan_data(
            &looked,
            looked.owner.session(),
            &before.cuts,
            self.options.cell_bytes,
        )
        .await?;
        let tables = plan.tables.clone();
        let n_ranges = plan.objects.ranges.len();
        let large_objects = plan.large_objects.map(|entry| (entry, n_ranges));
        let rows = RowsCx {
            source: self.source,
            options: self.options,
            progress: self.progress,
            settings,
        };
        let read = rows.read(&looked, plan, &chunks).await?;
        let mut stopwatch = Stopwatch::new();
        self.progress.event(Event::Phase {
            name: "archive",
            bytes: 0,
            tasks: 0,
        });
        values::fill_in(looked.owner.session(), &mut looked.toc).await?;
        looked.facts.source.finished = Timestamp::now();
        let name = match &self.options.name {
            Some(name) => Naming::Chosen(name.clone()),
            None => Naming::Like(ArchiveName::of_dump(&group.database, self.created)),
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
        };
        let mut committed = write(place, looked, rows, self.options).await?;
        committed.spent.archive_ms = milliseconds(stopwatch.lap());
        Ok(committed)
    }
}

/// Whose rows are read, how, and who is told.
struct RowsCx<'a> {
    source: &'a ConnSettings,
    options: &'a DumpOptions,
    progress: &'a Arc<dyn Progress>,
    settings: ChunkSettings,
}

impl RowsCx<'_> {
    async fn read(&self, looked: &Looked, plan: DataPlan, chunks: &ChunkStore) -> Result<Read> {
        let n_jobs = plan.jobs.len();
        let phase = Event::Phase {
            name: "data",
            bytes: plan.n_bytes,
            tasks: n_jobs as u64,
        };
        self.progress.event(phase);
        let snapshot = looked.owner.export().await?;
        let n_workers = self.options.jobs.clamp(1, n_jobs.max(1));
        let readers = Readers {
            settings: self.source.clone(),
            version: looked.owner.session().version(),
            snapshot,
            row_security: self.options.enable_row_security,
            without_snapshot: self.options.without_snapshot,
        };
        let chunk_bytes = usize::try_from(self.settings.bytes_max).expect("a chunk fits in memory");
        let pool = BufferPool::new(BUFFERS_PER_JOB * n_workers + 1, chunk_bytes);
        let reading = Reading::new(
            plan,
            chunks.clone(),
            self.settings,
            pool,
            Arc::clone(self.progress),
        );
        reading
            .run(looked.owner.session(), Arc::new(readers), n_workers)
            .await
    }
}

/// Plans a dump without reading rows.
pub async fn plan(source: &ConnSettings, options: &DumpOptions) -> Result<Planned> {
    options.selection.check(Side::Dump)?;
    let (session, search_path) = open_coordinator(source, options).await?;
    let looked = look(
        source,
        session,
        search_path,
        options,
        &crate::progress::Silent,
    )
    .await?;
    let plan = plan_data(
        &looked,
        looked.owner.session(),
        &HashMap::new(),
        options.cell_bytes,
    )
    .await?;
    let mut tables: Vec<PlannedTable> = plan.tables.iter().map(planned).collect();
    tables.extend(plan.large_objects.map(|_| planned_objects(&plan.objects)));
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.table.cmp(&b.table)));
    looked.owner.end().await;
    let brought = looked.brought;
    Ok(Planned { tables, brought })
}

fn planned(table: &plan::TablePlan) -> PlannedTable {
    let (method, key, reason) = match &table.method {
        Method::Cells { .. } => ("cells", None, None),
        Method::Keys { key, because } => (
            "keys",
            Some(printable(&key.column)),
            Some((*because).to_owned()),
        ),
        Method::Whole(reason) => ("whole", None, Some(printable(reason))),
    };
    let (name, segments) = (table.name.clone(), table.cells.len().max(1));
    PlannedTable {
        table: name,
        method,
        key,
        segments,
        bytes: table.size.n_bytes(),
        reason,
    }
}

fn planned_objects(objects: &ObjectsPlan) -> PlannedTable {
    PlannedTable {
        table: "large objects".to_owned(),
        method: "pages",
        key: None,
        segments: objects.ranges.len(),
        bytes: objects.n_bytes,
        reason: None,
    }
}

async fn open_coordinator(
    source: &ConnSettings,
    options: &DumpOptions,
) -> Result<(Session, Vec<String>)> {
    let session = connect(source, "dump").await?;
    refusals::refuse_serializable(session.in_recovery(), options.serializable_deferrable)?;
    crate::pg::pooler::require_own_backend(&session, source).await?;
    session.pin(&[client_encoding()]).await?;
    let search_path = source::search_path(&session).await?;
    let pins = DumpPins {
        foreign_tables: options.reads_foreign_tables(),
        row_security: options.enable_row_security,
        ..DumpPins::default()
    };
    session
        .pin(&pin_dump_session(session.version(), &pins))
        .await?;
    if let Some(wait) = options.lock_wait {
        let set = format!("SET lock_timeout = {}", wait.as_millis());
        session
            .batch("the session", "SET lock_timeout", &set)
            .await?;
    }
    Ok((session, search_path))
}

/// A connection of its own, outside the snapshot, for a fresh look.
async fn open_fresh(settings: ConnSettings, version: ServerVersion) -> Result<Session> {
    let session = connect(&settings, "dump check").await?;
    session
        .pin(&pin_dump_session(version, &DumpPins::default()))
        .await?;
    Ok(session)
}

async fn plan_data(
    looked: &Looked,
    session: &Session,
    cuts_before: &HashMap<String, CutBefore>,
    cell_bytes: Option<u64>,
) -> Result<DataPlan> {
    let cell_bytes = cell_bytes.unwrap_or(split::CELL_BYTES);
    let mut data = looked.toc.data.iter();
    let objects = if data.any(|(_, data)| matches!(data.of, DataOf::LargeObjects)) {
        large_objects::plan(session, cell_bytes).await?
    } else {
        ObjectsPlan::default()
    };
    let inputs = PlanInputs {
        server: session.version(),
        encoding: session.server_encoding(),
        sizes: &looked.sizes,
        conditions: &looked.conditions,
        cuts_before,
        keys: &HashMap::new(),
        objects: &objects,
        cell_bytes,
    };
    let data = &looked.toc.data;
    let keys = key_columns::find(session, &plan::uncut(data, inputs)).await?;
    let inputs = PlanInputs {
        keys: &keys,
        ..inputs
    };
    Ok(plan::plan(data, inputs))
}

/// What a dump of everything wants of a listing.
pub(crate) fn wanted_of_all(listing: &Listing) -> Result<Wanted> {
    select::choose(&Selection::default(), listing, &Needed::default())
}

/// The entries that a dump would write, without reading rows, and the server's version.
pub(crate) async fn outline(
    source: &ConnSettings,
    options: &DumpOptions,
) -> Result<(Vec<Entry>, ServerVersion)> {
    let (session, search_path) = open_coordinator(source, options).await?;
    let silent = &crate::progress::Silent;
    let looked = look(source, session, search_path, options, silent).await?;
    looked.owner.end().await;
    Ok((looked.toc.entries, looked.facts.source.server_version))
}
