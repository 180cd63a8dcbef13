//! Verifies rows: reads segments from their chunks, counts and fingerprints them.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};

use super::fetch::fetch;
use crate::archive::chunks::{ChunkRef, ChunkStore};
use crate::archive::digest::Digest;
use crate::archive::fingerprint::{Fingerprint, RowReader};
use crate::archive::index::{CopyFormat, Segment, TableIndex};
use crate::progress::{Event, Progress};

/// Chunks that one unit reads ahead.
const AHEAD: usize = 2;

/// One segment to read.
#[derive(Debug, Clone)]
pub(super) struct SegmentJob {
    /// The table's position in the data index.
    pub(super) table: usize,
    /// The segment's position in the table.
    pub(super) segment: usize,
    /// How its rows are written.
    pub(super) format: CopyFormat,
    /// Its pieces.
    pub(super) pieces: Vec<(ChunkRef, Range<usize>)>,
}

/// What reading a segment gave.
#[derive(Debug, Clone)]
pub(super) struct SegmentRows {
    pub(super) table: usize,
    pub(super) segment: usize,
    /// The rows that were read; all of them if nothing else is wrong.
    pub(super) read: Fingerprint,
    /// What is wrong with the rows themselves.
    pub(super) problem: Option<&'static str>,
    /// The chunks that could not be read, and why.
    pub(super) damaged: Vec<(ChunkRef, String)>,
}

impl SegmentJob {
    /// The job for a segment; an error says what is wrong with its pieces.
    pub(super) fn new(
        (table, index): (usize, &TableIndex),
        (segment, place): (usize, &Segment),
    ) -> Result<SegmentJob, &'static str> {
        let pieces = place.pieces.iter().map(|piece| {
            let range = piece.range().ok_or("a piece does not lie in its chunk")?;
            Ok((piece.chunk_ref(), range))
        });
        Ok(SegmentJob {
            table,
            segment,
            format: index.format,
            pieces: pieces.collect::<Result<_, &'static str>>()?,
        })
    }

    /// Stands for the segment's contents: the same pieces hold the same rows in every archive.
    pub(super) fn identity(&self) -> Digest {
        let pieces = self.pieces.iter();
        let text: Vec<String> = pieces
            .map(|(chunk, range)| format!("{} {}..{}", chunk.chunk, range.start, range.end))
            .collect();
        Digest::of(format!("{:?} {}", self.format, text.join(" ")).as_bytes())
    }
}

/// Sorts jobs into units that are read side by side. Segments that begin in the same chunk are one unit, in their order in it,
/// so that a chunk shared by a thousand small tables is read once or twice and not a thousand times.
pub(super) fn units(jobs: Vec<SegmentJob>) -> Vec<Vec<SegmentJob>> {
    let mut unit_of: HashMap<Digest, usize> = HashMap::new();
    let mut units: Vec<Vec<SegmentJob>> = Vec::new();
    for job in jobs {
        let Some((chunk, _)) = job.pieces.first() else {
            units.push(vec![job]);
            continue;
        };
        let unit = *unit_of.entry(chunk.chunk).or_insert_with(|| {
            units.push(Vec::new());
            units.len() - 1
        });
        units[unit].push(job);
    }
    for unit in &mut units {
        unit.sort_by_key(|job| job.pieces.first().map(|(_, range)| range.start));
    }
    units
}

/// The pieces of one chunk that follow each other in a unit.
struct Stretch {
    chunk: ChunkRef,
    /// The job and the range in the chunk.
    pieces: Vec<(usize, Range<usize>)>,
}

fn stretches(unit: &[SegmentJob]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (number, job) in unit.iter().enumerate() {
        for (chunk, range) in &job.pieces {
            let piece = (number, range.clone());
            match stretches.last_mut() {
                Some(last) if last.chunk == *chunk => last.pieces.push(piece),
                _ => stretches.push(Stretch {
                    chunk: *chunk,
                    pieces: vec![piece],
                }),
            }
        }
    }
    stretches
}

/// Reads all segments of a unit; gives what each held, in the unit's order.
pub(super) async fn read_unit(
    store: &ChunkStore,
    unit: &[SegmentJob],
    progress: &dyn Progress,
) -> Vec<SegmentRows> {
    let mut readers: Vec<RowReader> = unit.iter().map(|job| RowReader::new(job.format)).collect();
    let mut rows: Vec<SegmentRows> = unit.iter().map(SegmentRows::of).collect();
    let mut chunks = stream::iter(stretches(unit))
        .map(|stretch| async move { (fetch(store, &stretch.chunk).await, stretch) })
        .buffered(AHEAD);
    while let Some((fetched, stretch)) = chunks.next().await {
        match fetched {
            Ok(bytes) => {
                progress.event(Event::Bytes(bytes.len() as u64));
                readers = store
                    .cpu()
                    .run(move || push_all(readers, &bytes, &stretch.pieces))
                    .await;
            }
            Err(problem) => {
                for (number, _) in &stretch.pieces {
                    let outcome = &mut rows[*number];
                    outcome.damaged.push((stretch.chunk, problem.clone()));
                    // What follows is read as rows again, so that the report can say how many are left.
                    let format = unit[*number].format;
                    let reader = std::mem::replace(&mut readers[*number], RowReader::new(format));
                    outcome.read.merge(&reader.whole_rows());
                }
            }
        }
    }
    for (outcome, reader) in rows.iter_mut().zip(readers) {
        outcome.read.merge(&reader.whole_rows());
        outcome.problem = reader.finish().err();
        progress.event(Event::Rows(outcome.read.n_rows()));
    }
    rows
}

fn push_all(
    mut readers: Vec<RowReader>,
    bytes: &Bytes,
    pieces: &[(usize, Range<usize>)],
) -> Vec<RowReader> {
    for (number, range) in pieces {
        readers[*number].push(&bytes[range.clone()]);
    }
    readers
}
