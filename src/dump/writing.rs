//! The end of a dump: what was read becomes data index, TOC and manifest, in that order, the manifest last.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::catalog_phase::Looked;
use super::cell::Cell;
use super::plan::TablePlan;
use super::reading::{Read, SegmentRead};
use super::split::Method;
use super::{DumpOptions, DumpReport, Spent, large_objects};
use crate::archive::chunker::ChunkSettings;
use crate::archive::chunks::{ChunkRef, ChunkStore};
use crate::archive::digest::Digest;
use crate::archive::fingerprint::Fingerprint;
use crate::archive::index::{CopyFormat, Segment, TableIndex};
use crate::archive::jsonl::{JsonlWriter, Written};
use crate::archive::lease::Lease;
use crate::archive::manifest::{
    ClusterSet, ESCAPED_BYTES, FORMAT, Group, Manifest, Skipped, Source, Totals,
};
use crate::archive::name::ArchiveName;
use crate::archive::repository::{Archive, Repository};
use crate::error::{Error, Result};
use crate::selection::Brought;
use crate::sql::has_escapes_in;
use crate::toc::{Entry, EntryId};

/// Where an archive is written and what it is called.
#[derive(Debug)]
pub(super) struct ArchivePlace<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// Its chunks, at the dump's level.
    pub chunks: &'a ChunkStore,
    /// How they are cut.
    pub settings: ChunkSettings,
    /// What keeps a prune away.
    pub lease: &'a Lease,
    /// The archive's name.
    pub name: Naming,
    /// When its snapshot was taken.
    pub created: Timestamp,
    /// Its group.
    pub group: Group,
}

/// How an archive comes to its name.
#[derive(Debug, Clone)]
pub(super) enum Naming {
    /// The user's choice.
    Chosen(ArchiveName),
    /// This one, with a number behind it if another archive has it.
    Like(ArchiveName),
}

/// What was read, with the plan that says whose it is.
#[derive(Debug)]
pub(super) struct Rows {
    /// The planned tables.
    pub tables: Vec<TablePlan>,
    /// The entry of the large objects.
    pub large_objects: Option<(EntryId, usize)>,
    /// Segments and chunks.
    pub read: Read,
}

/// A committed archive and what the report says of it beyond the manifest.
#[derive(Debug)]
pub(super) struct Committed {
    archive: Archive,
    brought: Vec<Brought>,
    warnings: Vec<String>,
    n_unreadable: u64,
    /// Where the time went, as far as is known yet.
    pub(super) spent: Spent,
}

impl Committed {
    /// A committed archive, and what the user should know of it.
    pub(super) fn new(archive: Archive, warnings: Vec<String>) -> Committed {
        Committed {
            archive,
            brought: Vec::new(),
            warnings,
            n_unreadable: 0,
            spent: Spent::default(),
        }
    }

    /// The manifest that was written.
    pub(super) fn manifest(&self) -> &Manifest {
        self.archive.manifest()
    }
}

/// Writes index, TOC and manifest. Chunks that are shared with earlier archives, and the lease that protects them, are
/// proved right before the manifest.
pub(super) async fn write(
    place: ArchivePlace<'_>,
    looked: Looked,
    rows: Rows,
    options: &DumpOptions,
) -> Result<Committed> {
    let Rows {
        tables,
        large_objects,
        mut read,
    } = rows;
    let indexes = gather(&tables, large_objects, std::mem::take(&mut read.segments))?;
    keep_named(&mut read.chunks, &indexes);
    let contents = Contents {
        entries: looked.toc.entries,
        n_tables: tables.len() as u64,
        indexes,
        chunks: read.chunks,
        source: looked.facts.source,
        selection: options.narrowing(),
        skipped: looked.skipped,
        set: options.set.clone().map(ClusterSet::named),
        tags: options.tags.clone(),
    };
    let archive = commit(place, contents).await?;
    looked.owner.end().await;
    Ok(Committed {
        archive,
        brought: looked.brought,
        warnings: looked.toc.warnings,
        n_unreadable: looked.n_unreadable,
        spent: read.spent,
    })
}

/// What an archive is to hold.
#[derive(Debug)]
pub(super) struct Contents {
    /// Its entries, numbered.
    pub entries: Vec<Entry>,
    /// How many of them are rows of a table.
    pub n_tables: u64,
    /// Where the rows are.
    pub indexes: Vec<TableIndex>,
    /// The chunks of the rows: stored bytes, and whether they were new.
    pub chunks: HashMap<Digest, (u64, bool)>,
    /// Where all this comes from.
    pub source: Source,
    /// The options that chose it.
    pub selection: Vec<String>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// The dump of a whole cluster that it is part of.
    pub set: Option<ClusterSet>,
    /// What the user attaches.
    pub tags: BTreeMap<String, String>,
}

/// Writes the two streams and the manifest.
pub(super) async fn commit(place: ArchivePlace<'_>, contents: Contents) -> Result<Archive> {
    let mut chunks = contents.chunks;
    let mut index = JsonlWriter::new(place.chunks.clone(), place.settings);
    for table in &contents.indexes {
        index.push(table).await?;
    }
    let index = index.finish().await?;
    let mut toc = JsonlWriter::new(place.chunks.clone(), place.settings);
    for entry in &contents.entries {
        toc.push(entry).await?;
    }
    let toc = toc.finish().await?;
    note_chunks(&mut chunks, &[&index, &toc]);
    let totals = Totals {
        n_tables: contents.n_tables,
        n_entries: contents.entries.len() as u64,
        ..totals(&contents.indexes, &chunks)
    };
    let mut manifest = Manifest {
        read_version: FORMAT,
        write_version: FORMAT,
        features: Vec::new(),
        name: match &place.name {
            Naming::Chosen(name) => name.clone(),
            Naming::Like(wanted) => place.repository.free_name(wanted).await?,
        },
        repository: place.repository.marker().repository.clone(),
        created: place.created,
        group: place.group,
        source: contents.source,
        selection: contents.selection,
        skipped: contents.skipped,
        totals,
        toc: toc.refs(),
        data_index: index.refs(),
        tool: Manifest::this_tool(),
        tags: contents.tags,
        set: contents.set,
        inventory: Vec::new(),
    };
    let in_chunks = chunks
        .iter()
        .map(|(chunk, (n_bytes, _))| (*chunk, *n_bytes));
    let inventory = place.repository.write_inventory(place.chunks, in_chunks);
    manifest.inventory = inventory.await?;
    if index.has_escapes || toc.has_escapes || has_escapes_in(&manifest.seal().0) {
        manifest.features.push(ESCAPED_BYTES.to_owned());
    }
    place.chunks.prove_reused().await?;
    place.lease.prove().await?;
    let archive = loop {
        match (place.repository.commit(&manifest).await, &place.name) {
            // Another dump of the same second has announced it since it was found free. One of all that want it always gets it.
            (Err(Error::Usage(_)), Naming::Like(wanted)) => {
                manifest.name = place.repository.free_name(wanted).await?;
            }
            (committed, _) => break committed?,
        }
    };
    // A prune that did not see the lease any more may not have seen the manifest yet either, and delete what it names.
    if let Err(error) = place.lease.prove().await {
        let why = "its lease ended before it stood";
        place.repository.remove(archive.name(), why).await?;
        return Err(error);
    }
    Ok(archive)
}

/// Segments by table, in block order; a table that turned to binary on the way keeps only that.
pub(super) fn gather(
    tables: &[TablePlan],
    large_objects: Option<(EntryId, usize)>,
    segments: Vec<SegmentRead>,
) -> Result<Vec<TableIndex>> {
    let mut by_table: BTreeMap<Option<usize>, Vec<SegmentRead>> = BTreeMap::new();
    for segment in segments {
        by_table.entry(segment.table).or_default().push(segment);
    }
    let mut indexes = Vec::with_capacity(tables.len() + 1);
    for (i, table) in tables.iter().enumerate() {
        let found = by_table.remove(&Some(i)).unwrap_or_default();
        let format = found
            .iter()
            .map(|segment| segment.format)
            .max_by_key(|format| *format as u8);
        let format = format.unwrap_or_default();
        let kept: Vec<SegmentRead> = found
            .into_iter()
            .filter(|segment| segment.format == format)
            .collect();
        let n_expected = table.cells.len().max(1);
        if kept.len() != n_expected {
            return Err(Error::failed(
                format!("table {}", table.name),
                format!("{} of {n_expected} segments were read", kept.len()),
                "run the dump again",
            ));
        }
        let mut index = index_of(table.entry, table.columns.clone(), format, kept);
        match &table.method {
            Method::Cells { cell_blocks } => index.cell_blocks = Some(*cell_blocks),
            Method::Keys { key, .. } => index.cell_key = Some(key.clone()),
            Method::Whole(_) => {}
        }
        indexes.push(index);
    }
    if let Some((entry, n_ranges)) = large_objects {
        let found = by_table.remove(&None).unwrap_or_default();
        if found.len() != n_ranges {
            return Err(Error::failed(
                "large objects",
                format!("{} of {n_ranges} segments were read", found.len()),
                "run the dump again",
            ));
        }
        let columns = large_objects::COLUMNS.map(str::to_owned).to_vec();
        indexes.push(index_of(entry, columns, CopyFormat::Binary, found));
    }
    Ok(indexes)
}

fn index_of(
    entry: EntryId,
    columns: Vec<String>,
    format: CopyFormat,
    mut segments: Vec<SegmentRead>,
) -> TableIndex {
    segments.sort_by_key(|segment| segment.number);
    let mut sum = Fingerprint::default();
    let mut n_bytes = 0;
    for segment in &segments {
        sum.merge(&segment.end.fingerprint);
        n_bytes += segment.end.n_bytes;
    }
    let segments = segments
        .into_iter()
        .map(|segment| Segment {
            blocks: segment.cell.as_ref().and_then(Cell::blocks),
            keys: segment.cell.as_ref().and_then(Cell::keys),
            n_rows: segment.end.fingerprint.n_rows(),
            pieces: segment.pieces,
        })
        .collect();
    let (n_rows, fingerprint) = (sum.n_rows(), sum.hex());
    TableIndex {
        entry,
        columns,
        format,
        n_rows,
        n_bytes,
        fingerprint,
        cell_blocks: None,
        cell_key: None,
        segments,
    }
}

/// Chunks of text that turned to binary on the way were stored, but no segment names them.
fn keep_named(chunks: &mut HashMap<Digest, (u64, bool)>, indexes: &[TableIndex]) {
    let segments = indexes.iter().flat_map(|index| &index.segments);
    let named: HashSet<Digest> = segments
        .flat_map(|segment| &segment.pieces)
        .map(|piece| piece.chunk)
        .collect();
    chunks.retain(|chunk, _| named.contains(chunk));
}

fn note_chunks(chunks: &mut HashMap<Digest, (u64, bool)>, written: &[&Written]) {
    for stored in written.iter().flat_map(|written| &written.chunks) {
        let ChunkRef {
            chunk,
            stored_bytes,
            ..
        } = stored.chunk;
        let (_, new) = chunks.entry(chunk).or_insert((stored_bytes, false));
        *new |= stored.new;
    }
}

fn totals(indexes: &[TableIndex], chunks: &HashMap<Digest, (u64, bool)>) -> Totals {
    Totals {
        n_rows: indexes.iter().map(|index| index.n_rows).sum(),
        raw_bytes: indexes.iter().map(|index| index.n_bytes).sum(),
        stored_bytes: chunks.values().map(|(n_bytes, _)| n_bytes).sum(),
        new_bytes: chunks
            .values()
            .filter(|(_, new)| *new)
            .map(|(n_bytes, _)| n_bytes)
            .sum(),
        n_chunks: chunks.len() as u64,
        ..Totals::default()
    }
}

/// What the user is told.
pub(super) fn report(committed: &Committed, repository: &Repository) -> DumpReport {
    let manifest = committed.manifest();
    let totals = manifest.totals;
    DumpReport {
        name: manifest.name.clone(),
        location: format!("{}/archives/{}.json", repository.location(), manifest.name),
        tables: totals.n_tables,
        rows: totals.n_rows,
        raw_bytes: totals.raw_bytes,
        stored_bytes: totals.stored_bytes,
        new_bytes: totals.new_bytes,
        brought: committed.brought.clone(),
        skipped: manifest
            .skipped
            .iter()
            .map(|one| format!("{}: {}", one.what, one.reason))
            .collect(),
        unreadable: committed.n_unreadable,
        warnings: committed.warnings.clone(),
        removed: Vec::new(),
        rotation: None,
        duration_ms: 0,
        spent: committed.spent.clone(),
    }
}

#[cfg(test)]
#[path = "writing_tests.rs"]
mod tests;
