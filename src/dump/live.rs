//! A database that was looked at and stays open: its entries as an archive in memory, and its rows by segments, whenever somebody
//! wants them, all in the one snapshot. Nothing is stored. What a dump plans, locks and counts is planned, locked and counted here
//! by the same code.

mod lent;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;

pub(crate) use self::reading::Read;

use self::lent::{Coordinator, Reader};
use super::catalog_phase::Looked;
use super::large_objects::ObjectsPlan;
use super::plan::{DataPlan, TablePlan};
use super::readers::{RECONNECTS_MAX, Readers};
use super::source::SourceFacts;
use super::writing::{ArchivePlace, Contents, Naming, commit};
use super::{DumpOptions, begin, group, large_objects, plan_data, values};
use crate::archive::Archive;
use crate::archive::chunker::ChunkSettings;
use crate::archive::fingerprint::Fingerprint;
use crate::archive::index::{CopyFormat, Segment, TableIndex};
use crate::archive::lease::{Lease, LeaseKind};
use crate::archive::manifest::Group;
use crate::archive::name::ArchiveName;
use crate::archive::repository::Repository;
use crate::error::{Error, Result};
use crate::pg::ConnSettings;
use crate::progress::{Event, Progress};
use crate::selection::Brought;
use crate::store::MemoryStore;
use crate::toc::EntryId;

mod reading;

/// A database that is open for reading, and what is known of it.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Its entries, without rows; it lives in memory.
    pub(crate) archive: Archive,
    /// Its rows.
    pub(crate) live: Arc<Live>,
    /// What came along because something chosen needs it.
    pub(crate) brought: Vec<Brought>,
    /// How many objects are left out because the role may not read them.
    pub(crate) n_unreadable: u64,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
}

/// The rows of an open database. Locks and snapshot end with it.
#[derive(Debug)]
pub(crate) struct Live {
    coordinator: Coordinator,
    readers: Readers,
    idle: Mutex<Vec<Reader>>,
    sources: BTreeMap<EntryId, Source>,
    facts: SourceFacts,
    n_relations: usize,
    progress: Arc<dyn Progress>,
    n_reconnects: AtomicU32,
    reconnects_max: u32,
    /// Why nothing can be read any more.
    end: OnceLock<String>,
    /// Readings, by entry and first segment, that failed and may go better the next time.
    failed: Mutex<HashMap<(EntryId, usize), Failed>>,
}

/// What an entry's rows are.
#[derive(Debug)]
enum Source {
    Table {
        plan: Box<TablePlan>,
        /// True once text could not carry a row of it.
        binary: AtomicBool,
    },
    LargeObjects(ObjectsPlan),
}

/// Why a reading failed, where another may not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Failed {
    /// A row is too wide for text.
    TooWide,
    /// The connection broke.
    Broken(String),
}

/// Looks at a database and keeps it open, with a connection for each job.
pub(crate) async fn open(
    source: &ConnSettings,
    options: &DumpOptions,
    progress: Arc<dyn Progress>,
) -> Result<Opened> {
    let (mut looked, created) = begin(source, options, progress.as_ref()).await?;
    looked.facts.source.finished = created;
    let session = looked.owner.session();
    let cells = HashMap::new();
    let plan = plan_data(&looked, session, &cells, options.cell_bytes).await?;
    let readers = Readers {
        settings: source.clone(),
        version: session.version(),
        snapshot: looked.owner.export().await?,
        row_security: options.enable_row_security,
        without_snapshot: options.without_snapshot,
    };
    let archive = outline(&mut looked, &plan, options, created).await?;
    let n_jobs = options.jobs.clamp(1, plan.jobs.len().max(1));
    let idle = readers.open_all(n_jobs).await?;
    let live = Live {
        coordinator: Coordinator::new(looked.owner).await?,
        readers,
        idle: Mutex::new(idle.into_iter().map(Reader::new).collect()),
        sources: sources(plan),
        facts: looked.facts,
        n_relations: looked.n_relations,
        progress,
        n_reconnects: AtomicU32::new(0),
        reconnects_max: RECONNECTS_MAX * u32::try_from(n_jobs).unwrap_or(u32::MAX),
        end: OnceLock::new(),
        failed: Mutex::default(),
    };
    Ok(Opened {
        archive,
        live: Arc::new(live),
        brought: looked.brought,
        n_unreadable: looked.n_unreadable,
        warnings: looked.toc.warnings,
    })
}

/// The entries as an archive without rows.
async fn outline(
    looked: &mut Looked,
    plan: &DataPlan,
    options: &DumpOptions,
    created: Timestamp,
) -> Result<Archive> {
    let group = group::group_of(looked, options);
    // Values are not of the snapshot; read now, none is behind the rows of it.
    values::fill_in(looked.owner.session(), &mut looked.toc).await?;
    let contents = Contents {
        entries: std::mem::take(&mut looked.toc.entries),
        n_tables: plan.tables.len() as u64,
        indexes: Vec::new(),
        chunks: HashMap::new(),
        source: looked.facts.source.clone(),
        selection: options.narrowing(),
        skipped: std::mem::take(&mut looked.skipped),
        set: None,
        tags: BTreeMap::new(),
    };
    in_memory(contents, group, created).await
}

async fn in_memory(contents: Contents, group: Group, created: Timestamp) -> Result<Archive> {
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::open_or_create(store, ChunkSettings::default()).await?;
    let lease = Lease::take(&repository, LeaseKind::Dump, "outline", Vec::new()).await?;
    let place = ArchivePlace {
        repository: &repository,
        chunks: &repository.chunks(1),
        settings: repository.marker().chunks,
        lease: &lease,
        name: Naming::Chosen(ArchiveName::of_dump(&group.database, created)),
        created,
        group,
    };
    let archive = commit(place, contents).await?;
    lease.release().await?;
    Ok(archive)
}

fn sources(plan: DataPlan) -> BTreeMap<EntryId, Source> {
    let mut sources = BTreeMap::new();
    if let Some(entry) = plan.large_objects {
        sources.insert(entry, Source::LargeObjects(plan.objects));
    }
    for plan in plan.tables {
        let (entry, plan) = (plan.entry, Box::new(plan));
        let binary = AtomicBool::new(false);
        sources.insert(entry, Source::Table { plan, binary });
    }
    sources
}

impl Live {
    /// What is known of the rows before they are read, by entry: columns and segments. Rows and fingerprints are unknown, bytes
    /// estimates. A table without a block has no segment.
    pub(crate) fn indexes(&self) -> Vec<TableIndex> {
        let sources = self.sources.iter();
        sources
            .map(|(entry, source)| {
                let format = self.format(*entry);
                let (columns, n_bytes, n_segments) = match source {
                    Source::Table { plan, .. } => {
                        let is_empty = plan.size.is_heap && plan.size.heap_bytes == 0;
                        let n_segments = plan.cells.len().max(1);
                        let n_segments = if is_empty { 0 } else { n_segments };
                        (plan.columns.clone(), plan.size.n_bytes(), n_segments)
                    }
                    Source::LargeObjects(objects) => {
                        let columns = large_objects::COLUMNS.map(str::to_owned);
                        (columns.to_vec(), objects.n_bytes, objects.ranges.len())
                    }
                };
                let unread = Segment {
                    blocks: None,
                    keys: None,
                    n_rows: 0,
                    pieces: Vec::new(),
                };
                TableIndex {
                    entry: *entry,
                    columns,
                    format,
                    n_rows: 0,
                    n_bytes,
                    fingerprint: Fingerprint::default().hex(),
                    cell_blocks: None,
                    cell_key: None,
                    segments: vec![unread; n_segments],
                }
            })
            .collect()
    }

    /// How an entry's rows come when they are read next.
    pub(crate) fn format(&self, entry: EntryId) -> CopyFormat {
        match self.sources.get(&entry) {
            Some(Source::Table { binary, .. }) if binary.load(Ordering::Acquire) => {
                CopyFormat::Binary
            }
            Some(Source::LargeObjects(_)) => CopyFormat::Binary,
            _ => CopyFormat::Text,
        }
    }

    /// After a reading that failed: true if another may succeed, in binary too if that is allowed.
    pub(crate) fn try_again(&self, entry: EntryId, first_segment: usize, binary: bool) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.remove(&(entry, first_segment));
        let warning = match (failed, self.sources.get(&entry)) {
            (
                Some(Failed::TooWide),
                Some(Source::Table {
                    plan,
                    binary: turned,
                }),
            ) if binary => {
                if turned.swap(true, Ordering::AcqRel) {
                    return true;
                }
                format!(
                    "table {}: COPY text cannot carry one of its rows; reading it in binary",
                    plan.name
                )
            }
            (Some(Failed::Broken(problem)), _) => {
                if self.n_reconnects.fetch_add(1, Ordering::AcqRel) >= self.reconnects_max {
                    return false;
                }
                format!("{problem}, because its connection broke; its rows are read again")
            }
            _ => return false,
        };
        self.progress.event(Event::Warning(warning));
        true
    }

    /// Why nothing can be read any more.
    pub(crate) fn end(&self) -> Option<Error> {
        let problem = self.end.get()?;
        Some(Error::failed(
            format_args!(
                "the source, database {}",
                crate::toc::printable(&self.facts.database.name)
            ),
            format_args!(
                "its connection was lost and cannot be made again in the same snapshot: {problem}"
            ),
            "see what ended it; the target is incomplete, so clone again into a new database",
        ))
    }

    /// Ends all connections.
    pub(crate) async fn close(&self) -> Result<()> {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        futures::future::join_all(idle.into_iter().map(Reader::close)).await;
        self.coordinator.close().await
    }
}
