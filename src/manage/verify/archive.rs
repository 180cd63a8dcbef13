//! Verifies what one archive holds: the two streams, the data index against the TOC, the rows of every table.

use std::collections::{BTreeMap, HashMap};

use super::Run;
use super::fetch::fetch;
use super::report::{Affected, Finding, VerifiedArchive};
use super::rows::{SegmentJob, SegmentRows};
use crate::archive::chunks::{ChunkRef, ChunkStore, chunk_key, trash_key};
use crate::archive::digest::Digest;
use crate::archive::fingerprint::Fingerprint;
use crate::archive::index::TableIndex;
use crate::archive::name::ArchiveName;
use crate::archive::records::Depth;
use crate::archive::repository::{Archive, manifest_key};
use crate::error::Error;
use crate::store::Key;
use crate::toc::{DataOf, Entry, EntryId};

/// A table of the data index and what people call it.
type Named<'a> = (&'a TableIndex, String);

impl Run<'_> {
    /// Checks all that the manifest names. False if the data index could not be read, so that the archive's chunks are not known.
    pub(super) async fn check_contents(
        &mut self,
        archive: &Archive,
        verified: &mut VerifiedArchive,
    ) -> bool {
        let store = self.repository.chunks(1);
        let manifest = archive.manifest();
        let toc_whole = self
            .check_stream(&store, archive.name(), "TOC", &manifest.toc)
            .await;
        let index_whole = self
            .check_stream(&store, archive.name(), "data index", &manifest.data_index)
            .await;
        let entries = if toc_whole {
            self.lines(archive, archive.entries().await)
        } else {
            None
        };
        let tables = if index_whole {
            self.lines(archive, archive.table_indexes().await)
        } else {
            None
        };
        if let Some(entries) = &entries {
            self.check_numbering(archive, entries);
        }
        let Some(tables) = tables else {
            return false;
        };
        let by_id = names_of(entries.as_deref().unwrap_or_default());
        let named: Vec<Named<'_>> = tables
            .iter()
            .map(|table| (table, name_of(&by_id, table.entry)))
            .collect();
        if let Some(entries) = &entries {
            self.check_owners(archive, &named, entries);
        }
        self.check_totals(archive, &tables, entries.as_deref(), verified);
        self.check_inventory(archive, &tables).await;
        self.check_rows(&store, archive, &named, verified).await;
        true
    }

    /// Every chunk of a stream. True if all can be read.
    pub(super) async fn check_stream(
        &mut self,
        store: &ChunkStore,
        archive: &ArchiveName,
        stream: &str,
        chunks: &[ChunkRef],
    ) -> bool {
        let mut whole = true;
        for chunk in chunks {
            self.referenced.insert(chunk.chunk);
            if let Err(problem) = fetch(store, chunk).await {
                whole = false;
                let lost = format!(
                    "the {stream}, which names {}",
                    match stream {
                        "TOC" => "every object",
                        "inventory" => "every chunk for those without the key",
                        _ => "the chunks of every table",
                    }
                );
                let key = self.key_of(&chunk.chunk);
                self.findings
                    .push(Finding::damage(Some(archive), &key, problem).affecting(lost));
            }
        }
        whole
    }

    /// The lines of a stream whose chunks are whole; a finding if they make no sense.
    fn lines<T>(&mut self, archive: &Archive, read: Result<Vec<T>, Error>) -> Option<Vec<T>> {
        match read {
            Ok(lines) => Some(lines),
            Err(error) => {
                self.inconsistent(archive, error);
                None
            }
        }
    }

    /// A finding about what the archive says rather than about damaged bytes.
    pub(super) fn inconsistent(&mut self, archive: &Archive, problem: impl std::fmt::Display) {
        let key = manifest_key(archive.name());
        let problem = format!("contradicts itself: {problem}");
        self.findings
            .push(Finding::damage(Some(archive.name()), &key, problem));
    }

    fn check_numbering(&mut self, archive: &Archive, entries: &[Entry]) {
        let wrong = entries
            .iter()
            .zip(0_u32..)
            .find(|(entry, number)| entry.id.0 != *number);
        if let Some((entry, number)) = wrong {
            let problem = format!("entry {} of the TOC has the number {}", number, entry.id.0);
            self.inconsistent(archive, problem);
        }
    }

    /// Every table's rows belong to an entry, and every entry with rows has some in the data index.
    fn check_owners(&mut self, archive: &Archive, named: &[Named<'_>], entries: &[Entry]) {
        let mut indexed: HashMap<EntryId, u32> = HashMap::new();
        for (table, _) in named {
            *indexed.entry(table.entry).or_default() += 1;
        }
        for entry in entries.iter().filter(|entry| entry.data.is_some()) {
            match indexed.remove(&entry.id) {
                Some(1) => {}
                Some(n) => self.inconsistent(
                    archive,
                    format_args!("{} is {n} times in the data index", entry_name(entry)),
                ),
                None => self.inconsistent(
                    archive,
                    format_args!("{} is not in the data index", entry_name(entry)),
                ),
            }
        }
        if let Some(stray) = indexed.keys().min() {
            let problem = format!(
                "the data index has rows for entry {}, which has none",
                stray.0
            );
            self.inconsistent(archive, problem);
        }
    }

    fn check_totals(
        &mut self,
        archive: &Archive,
        tables: &[TableIndex],
        entries: Option<&[Entry]>,
        verified: &mut VerifiedArchive,
    ) {
        let manifest = archive.manifest();
        let mut chunks: HashMap<Digest, u64> = HashMap::new();
        for chunk in manifest.toc.iter().chain(&manifest.data_index) {
            chunks.insert(chunk.chunk, chunk.stored_bytes);
        }
        for piece in pieces(tables) {
            chunks.insert(piece.chunk, piece.stored_bytes);
        }
        self.referenced.extend(chunks.keys());
        verified.n_chunks = chunks.len() as u64;
        verified.stored_bytes = total(chunks.values().copied());
        let totals = manifest.totals;
        let n_tables = entries.map_or(totals.n_tables, |entries| {
            let of_table = |entry: &&Entry| matches!(entry.data, Some(DataOf::Table { .. }));
            entries.iter().filter(of_table).count() as u64
        });
        verified.n_tables = n_tables;
        for (what, said, found) in [
            ("tables", totals.n_tables, n_tables),
            (
                "rows",
                totals.n_rows,
                total(tables.iter().map(|table| table.n_rows)),
            ),
            (
                "raw bytes",
                totals.raw_bytes,
                total(tables.iter().map(|table| table.n_bytes)),
            ),
            ("chunks", totals.n_chunks, verified.n_chunks),
            ("stored bytes", totals.stored_bytes, verified.stored_bytes),
        ] {
            if said != found {
                let problem = format!("the manifest says {said} {what}, the archive has {found}");
                self.inconsistent(archive, problem);
            }
        }
    }

    async fn check_rows(
        &mut self,
        store: &ChunkStore,
        archive: &Archive,
        named: &[Named<'_>],
        verified: &mut VerifiedArchive,
    ) {
        let (jobs, identities) = self.jobs(archive, named);
        let counts_rows = self.options.depth == Depth::Full && self.options.subset.is_none();
        let outcomes = if counts_rows {
            self.read_all(store, jobs, &identities).await
        } else {
            self.prove_all(store, jobs).await
        };
        self.report_damage(archive, named, &outcomes);
        if counts_rows {
            verified.n_rows = outcomes.iter().map(|rows| rows.read.n_rows()).sum();
            self.compare(archive, named, &outcomes);
        }
    }

    /// A job for every segment whose pieces make sense, and what each segment's contents are known by.
    fn jobs(
        &mut self,
        archive: &Archive,
        named: &[Named<'_>],
    ) -> (Vec<SegmentJob>, HashMap<(usize, usize), Digest>) {
        let mut jobs = Vec::new();
        let mut identities = HashMap::new();
        for (number, (table, name)) in named.iter().enumerate() {
            let segments = table.segments.iter().enumerate();
            for (i, segment) in segments {
                match SegmentJob::new((number, table), (i, segment)) {
                    Ok(job) => {
                        identities.insert((number, i), job.identity());
                        jobs.push(job);
                    }
                    Err(problem) => {
                        self.inconsistent(archive, format_args!("{name}, segment {i}: {problem}"));
                    }
                }
            }
            let n_rows = total(table.segments.iter().map(|segment| segment.n_rows));
            let n_bytes = sum_bytes(table);
            if (n_rows, n_bytes) != (table.n_rows, table.n_bytes) {
                let problem = format!(
                    "{name} has {} rows in {} bytes, its segments {n_rows} in {n_bytes}",
                    table.n_rows, table.n_bytes
                );
                self.inconsistent(archive, problem);
            }
        }
        (jobs, identities)
    }

    /// One finding per damaged chunk, with every table that has rows in it.
    fn report_damage(&mut self, archive: &Archive, named: &[Named<'_>], outcomes: &[SegmentRows]) {
        let mut by_chunk: BTreeMap<Digest, (String, BTreeMap<usize, u64>)> = BTreeMap::new();
        for rows in outcomes {
            let segment = &named[rows.table].0.segments[rows.segment];
            let lost = segment.n_rows.saturating_sub(rows.read.n_rows());
            for (chunk, problem) in &rows.damaged {
                let (_, tables) = by_chunk
                    .entry(chunk.chunk)
                    .or_insert_with(|| (problem.clone(), BTreeMap::new()));
                *tables.entry(rows.table).or_default() += lost;
            }
        }
        for (chunk, (problem, tables)) in by_chunk {
            let key = self.key_of(&chunk);
            let mut finding = Finding::damage(Some(archive.name()), &key, problem);
            finding.affected = tables
                .into_iter()
                .map(|(table, n_rows_lost)| Affected {
                    what: named[table].1.clone(),
                    n_rows_lost,
                })
                .collect();
            self.findings.push(finding);
        }
    }

    /// Compares what was read from whole chunks with what the data index says.
    fn compare(&mut self, archive: &Archive, named: &[Named<'_>], outcomes: &[SegmentRows]) {
        let mut read: Vec<(Fingerprint, usize)> = vec![(Fingerprint::default(), 0); named.len()];
        for rows in outcomes.iter().filter(|rows| rows.damaged.is_empty()) {
            let (table, name) = &named[rows.table];
            let said = table.segments[rows.segment].n_rows;
            let found = rows.read.n_rows();
            if let Some(problem) = rows.problem {
                let problem = format!("{name}, segment {}: {problem}", rows.segment);
                self.inconsistent(archive, problem);
            } else if said != found {
                let problem = format!(
                    "{name}, segment {}: {said} rows were saved, its chunks hold {found}",
                    rows.segment
                );
                self.inconsistent(archive, problem);
            }
            read[rows.table].0.merge(&rows.read);
            read[rows.table].1 += 1;
        }
        for ((table, name), (found, n_segments)) in named.iter().zip(read) {
            // A table with a damaged segment cannot agree, and the damage is a finding already.
            if n_segments == table.segments.len() && found.hex() != table.fingerprint {
                let problem = format!(
                    "{name}: the fingerprint of its rows is {} instead of {}",
                    found.hex(),
                    table.fingerprint
                );
                self.inconsistent(archive, problem);
            }
        }
    }

    /// Where the chunk lies, or should.
    pub(super) fn key_of(&self, chunk: &Digest) -> Key {
        let key = chunk_key(chunk);
        if self.in_trash.contains_key(chunk) {
            trash_key(&key)
        } else {
            key
        }
    }
}

impl SegmentRows {
    /// Nothing read and nothing wrong.
    pub(super) fn of(job: &SegmentJob) -> SegmentRows {
        SegmentRows {
            table: job.table,
            segment: job.segment,
            read: Fingerprint::default(),
            problem: None,
            damaged: Vec::new(),
        }
    }
}

fn names_of(entries: &[Entry]) -> HashMap<EntryId, &Entry> {
    entries.iter().map(|entry| (entry.id, entry)).collect()
}

fn name_of(names: &HashMap<EntryId, &Entry>, id: EntryId) -> String {
    names
        .get(&id)
        .map_or_else(|| format!("entry {}", id.0), |entry| entry_name(entry))
}

fn entry_name(entry: &Entry) -> String {
    format!("{} {}", crate::toc::printable(&entry.label), entry.name)
}

pub(super) fn pieces(
    tables: &[TableIndex],
) -> impl Iterator<Item = &crate::archive::index::ChunkPiece> {
    let segments = tables.iter().flat_map(|table| &table.segments);
    segments.flat_map(|segment| &segment.pieces)
}

fn sum_bytes(table: &TableIndex) -> u64 {
    total(pieces(std::slice::from_ref(table)).map(|piece| piece.n_bytes))
}

/// The sum; an archive that says more than fits is caught by the comparison.
fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
