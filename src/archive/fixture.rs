//! A small archive made by hand, for the tests of everything that reads archives.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::buffer::Buffer;
use super::chunker::{ChunkSettings, Chunker, PartEnd};
use super::chunks::{ChunkStore, Pieces, StoredChunk};
use super::crypt::{KdfCost, Passphrase, Unlock};
use super::index::{CopyFormat, Segment, TableIndex};
use super::jsonl::JsonlWriter;
use super::manifest::{FORMAT, Group, Manifest, Scope, Source, Totals};
use super::repository::{Archive, Repository};
use crate::error::Result;
use crate::pg::version::V15;
use crate::sql;
use crate::sql::QualifiedName;
use crate::store::Store;
use crate::toc::{DataOf, Entry, EntryId, EntryName, Form, Stage, Step};

/// Chunks of some hundred bytes, so that a few rows make several.
pub(crate) const SMALL: ChunkSettings = ChunkSettings {
    bytes_min: 200,
    bytes_max: 1200,
    cut_bits: 9,
};

/// A table with its rows, and how many rows each of its cells has.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<String>,
    /// Rows per cell; `None` for a small table that shares chunks with others.
    pub(crate) cell_rows: Option<usize>,
}

/// One table of several cells, and three small ones that share chunks, one of them empty.
pub(crate) fn shop() -> Vec<Table> {
    let table = |name, n_rows: u64, cell_rows| Table {
        name,
        rows: (0..n_rows)
            .map(|i| format!("{i}\t{name} {}\\t\t\\N", i * 7919 % 1000))
            .collect(),
        cell_rows,
    };
    vec![
        table("orders", 120, Some(50)),
        table("countries", 9, None),
        table("empty", 0, None),
        table("units", 30, None),
    ]
}

pub(crate) async fn repository(store: Arc<dyn Store>) -> Repository {
    Repository::open_or_create(store, SMALL).await.unwrap()
}

/// What opens with `passphrase`, by slots that cost next to nothing.
pub(crate) fn unlock(passphrase: &str) -> Unlock {
    Unlock {
        cost: KdfCost {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
        },
        ..Unlock::with(Passphrase::new(passphrase.to_owned()).unwrap())
    }
}

/// A new repository that opens with the passphrase `right`, or the one that is there.
pub(crate) async fn encrypted(store: Arc<dyn Store>) -> Repository {
    let right = unlock("right");
    let opened = Repository::open_or_create_with(store, SMALL, &right);
    opened.await.unwrap()
}

/// Dumps `tables` as archive `name`.
pub(crate) async fn dump(repository: &Repository, name: &str, tables: &[Table]) -> Result<Archive> {
    dump_with(repository, name, tables, |_| {}).await
}

/// Dumps `tables` as archive `name`, so many days after the others.
pub(crate) async fn dump_later(
    repository: &Repository,
    name: &str,
    tables: &[Table],
    days: i64,
) -> Result<Archive> {
    let later = jiff::SignedDuration::from_hours(24 * days);
    dump_with(repository, name, tables, |manifest| {
        manifest.created += later;
    })
    .await
}

/// Dumps `tables` as the archive that `manifest` says in everything but its contents.
pub(crate) async fn dump_as(
    repository: &Repository,
    tables: &[Table],
    manifest: Manifest,
) -> Result<Archive> {
    let name = manifest.name.to_string();
    dump_with(repository, &name, tables, |written| {
        *written = Manifest {
            toc: std::mem::take(&mut written.toc),
            data_index: std::mem::take(&mut written.data_index),
            inventory: std::mem::take(&mut written.inventory),
            totals: written.totals,
            ..manifest
        };
    })
    .await
}

/// The same as [`dump`]; `change` says how the manifest differs.
pub(crate) async fn dump_with(
    repository: &Repository,
    name: &str,
    tables: &[Table],
    change: impl FnOnce(&mut Manifest),
) -> Result<Archive> {
    let chunks = repository.chunks(1);
    let mut stored = Vec::new();
    let indexes = write_rows(&chunks, tables, &mut stored).await?;
    let entries = entries(tables);
    let mut toc = JsonlWriter::new(chunks.clone(), SMALL);
    for entry in &entries {
        toc.push(entry).await?;
    }
    let mut data_index = JsonlWriter::new(chunks.clone(), SMALL);
    for index in &indexes {
        data_index.push(index).await?;
    }
    let (toc, data_index) = (toc.finish().await?, data_index.finish().await?);
    stored.extend(toc.chunks.iter().chain(&data_index.chunks));
    let mut manifest = manifest(repository, name);
    manifest.toc = toc.refs();
    manifest.data_index = data_index.refs();
    manifest.totals = totals(&entries, &indexes, &stored);
    let in_chunks = stored
        .iter()
        .map(|one| (one.chunk.chunk, one.chunk.stored_bytes));
    manifest.inventory = repository.write_inventory(&chunks, in_chunks).await?;
    change(&mut manifest);
    repository.commit(&manifest).await
}

pub(crate) fn manifest(repository: &Repository, name: &str) -> Manifest {
    let created: Timestamp = "2026-11-22T02:00:00Z".parse().unwrap();
    Manifest {
        read_version: FORMAT,
        write_version: FORMAT,
        features: Vec::new(),
        name: name.parse().unwrap(),
        repository: repository.marker().repository.clone(),
        created,
        group: Group {
            system_identifier: "7301234567890123456".into(),
            database: "shop".into(),
            job: None,
            scope: Scope::Full,
        },
        source: Source {
            server_version: V15,
            server_version_text: "15.0".into(),
            system_identifier: "7301234567890123456".into(),
            database: "shop".into(),
            encoding: "UTF8".into(),
            locale: [("collate".to_owned(), "C".to_owned())].into(),
            extensions: [].into(),
            snapshot_lsn: Some("0/1".into()),
            started: created,
            finished: created,
        },
        selection: Vec::new(),
        skipped: Vec::new(),
        totals: Totals::default(),
        toc: Vec::new(),
        data_index: Vec::new(),
        tool: Manifest::this_tool(),
        tags: std::collections::BTreeMap::default(),
        set: None,
        inventory: Vec::new(),
    }
}

fn totals(entries: &[Entry], indexes: &[TableIndex], stored: &[StoredChunk]) -> Totals {
    let mut sizes = HashMap::new();
    let mut new = HashSet::new();
    for one in stored {
        sizes.insert(one.chunk.chunk, one.chunk.stored_bytes);
        if one.new {
            new.insert(one.chunk.chunk);
        }
    }
    Totals {
        n_tables: indexes.len() as u64,
        n_rows: indexes.iter().map(|index| index.n_rows).sum(),
        raw_bytes: indexes.iter().map(|index| index.n_bytes).sum(),
        stored_bytes: sizes.values().sum(),
        new_bytes: new.iter().map(|digest| sizes[digest]).sum(),
        n_chunks: sizes.len() as u64,
        n_entries: entries.len() as u64,
    }
}

/// A table and its data, for each table in turn.
fn entries(tables: &[Table]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (table, number) in tables.iter().zip((0_u32..).step_by(2)) {
        let target = QualifiedName::new("public", table.name);
        let name = EntryName {
            schema: Some("public".into()),
            relation: None,
            name: table.name.into(),
        };
        let create = sql![
            "CREATE TABLE ",
            &target,
            " (id integer, label text, note text)"
        ];
        entries.push(Entry {
            forms: vec![Form {
                steps: vec![Step {
                    sql: vec![create],
                    ..Step::default()
                }],
                ..Form::default()
            }],
            ..entry(number, "table", name.clone(), Stage::PreData)
        });
        entries.push(Entry {
            needs: vec![EntryId(number)],
            data: Some(DataOf::Table {
                target: sql![&target],
                table: Some(EntryId(number)),
                unlogged: false,
                keep_order: false,
                via_root: None,
                root: None,
                by_collation: false,
                condition: None,
            }),
            ..entry(number + 1, "table data", name, Stage::Data)
        });
    }
    entries
}

pub(crate) fn entry(number: u32, label: &str, name: EntryName, stage: Stage) -> Entry {
    Entry::new(EntryId(number), label, name, stage)
}

/// Cells first, each with chunks of its own; then the small tables, through one chunker.
async fn write_rows(
    chunks: &ChunkStore,
    tables: &[Table],
    stored: &mut Vec<StoredChunk>,
) -> Result<Vec<TableIndex>> {
    let mut chunker = Chunker::new(SMALL, CopyFormat::Text, Buffer::from(Vec::new()));
    let mut pieces = Pieces::default();
    let mut parts: Vec<Vec<(Option<u32>, PartEnd)>> = tables.iter().map(|_| Vec::new()).collect();
    let mut cuts = Vec::new();
    let packed_last = (0..tables.len()).filter(|i| tables[*i].cell_rows.is_some());
    let packed_last =
        packed_last.chain((0..tables.len()).filter(|i| tables[*i].cell_rows.is_none()));
    for i in packed_last {
        let table = &tables[i];
        let cell_rows = table.cell_rows.unwrap_or(usize::MAX);
        for (cell, rows) in table.rows.chunks(cell_rows).enumerate() {
            for row in rows {
                let line = format!("{row}\n");
                let mut at = 0;
                while at < line.len() {
                    at += chunker.row_fragment(&line.as_bytes()[at..], true);
                    cuts.extend(chunker.take_chunk(Buffer::from(Vec::new())));
                }
            }
            let block = table.cell_rows.map(|_| u32::try_from(cell).unwrap() * 4);
            parts[i].push((block, chunker.mark().unwrap()));
            if table.cell_rows.is_some() {
                chunker.cut();
                cuts.extend(chunker.take_chunk(Buffer::from(Vec::new())));
            }
        }
    }
    cuts.extend(chunker.finish());
    for cut in cuts {
        let put = chunks.put(cut.bytes).await?;
        pieces.add(cut.number, &cut.spans, &put.chunk);
        stored.push(put);
    }
    let mut indexes = Vec::new();
    for ((table, parts), number) in tables.iter().zip(parts).zip(0..) {
        indexes.push(table_index(number, table, &parts, &mut pieces));
    }
    Ok(indexes)
}

fn table_index(
    number: u32,
    table: &Table,
    parts: &[(Option<u32>, PartEnd)],
    pieces: &mut Pieces,
) -> TableIndex {
    let mut fingerprint = super::Fingerprint::default();
    let last = parts.len().saturating_sub(1);
    let mut segments = Vec::new();
    for (i, (block, part)) in parts.iter().enumerate() {
        fingerprint.merge(&part.fingerprint);
        segments.push(Segment {
            blocks: block.map(|first| (first, (i < last).then_some(first + 4))),
            keys: None,
            n_rows: part.fingerprint.n_rows(),
            pieces: pieces.take(part.part),
        });
    }
    TableIndex {
        entry: EntryId(2 * number + 1),
        columns: ["id", "label", "note"].map(str::to_owned).to_vec(),
        format: CopyFormat::Text,
        n_rows: fingerprint.n_rows(),
        n_bytes: parts.iter().map(|(_, part)| part.n_bytes).sum(),
        fingerprint: fingerprint.hex(),
        cell_blocks: table.cell_rows.map(|_| 4),
        cell_key: None,
        segments,
    }
}
