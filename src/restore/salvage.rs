//! Takes out of a damaged archive what is whole of its rows, and says what is lost: chunk by chunk, and where a row runs from one
//! chunk into the next, all chunks of that row. Reads the store, never the target.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::prove::Indexes;
use super::report::object_of;
use super::select::Selection;
use crate::archive::fingerprint::RowReader;
use crate::archive::index::{ChunkPiece, CopyFormat, Segment, TableIndex};
use crate::archive::rows_at::RowsAt;
use crate::archive::{Archive, ChunkStore, Digest, Fingerprint};
use crate::error::{Error, Result};

/// Rows that are lost with damaged chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostRows {
    /// Kind and name: `table data public.orders`.
    pub object: String,
    /// Where they were in the source's table: `blocks 8192 to 16383`.
    pub range: String,
    /// How many are lost.
    pub n_rows: u64,
    /// How many of the range are whole.
    pub n_kept: u64,
    /// The damaged chunks, as keys of the store, each with what is wrong.
    pub chunks: Vec<String>,
}

/// What is wrong with chunks.
pub(super) type Bad = HashMap<Digest, String>;

/// Leaves what cannot be read out of `indexes`, whose tables then say what is left: rows, bytes, fingerprint. Gives what is lost.
///
/// Errors: a store that fails; chunks that turn out to be damaged only now are lost too.
pub(super) async fn salvage(
    archive: &Archive,
    selection: &Selection,
    indexes: &mut Indexes,
    bad: &Bad,
) -> Result<Vec<LostRows>> {
    let bytes_max = archive.repository().marker().chunks.bytes_max;
    let store = archive.repository().chunks(1);
    let mut lost = Vec::new();
    for index in indexes.values_mut() {
        let mut pieces = index.segments.iter().flat_map(|segment| &segment.pieces);
        if !pieces.any(|piece| bad.contains_key(&piece.chunk)) {
            continue;
        }
        let object = object_of(selection.entry(index.entry));
        let reader = Reader {
            store: &store,
            format: index.format,
            bytes_max: u64::from(bytes_max),
        };
        let mut whole = Fingerprint::default();
        for (number, segment) in index.segments.iter_mut().enumerate() {
            let (read, damages) = reader.what_is_left(segment, bad).await?;
            if !damages.is_empty() {
                let range = RowsAt::of(segment, number).words(index.cell_key.as_ref());
                lost.push(LostRows {
                    object: object.clone(),
                    range: range.to_string(),
                    n_rows: segment.n_rows.saturating_sub(read.n_rows()),
                    n_kept: read.n_rows(),
                    chunks: damages,
                });
            }
            segment.n_rows = read.n_rows();
            whole.merge(&read);
        }
        sum_up(index, &whole);
    }
    Ok(lost)
}

fn sum_up(index: &mut TableIndex, whole: &Fingerprint) {
    let pieces = index.segments.iter().flat_map(|segment| &segment.pieces);
    index.n_bytes = pieces.map(|piece| piece.n_bytes).sum();
    index.n_rows = whole.n_rows();
    index.fingerprint = whole.hex();
}

/// Reads what is left of one table.
struct Reader<'a> {
    store: &'a ChunkStore,
    format: CopyFormat,
    bytes_max: u64,
}

impl Reader<'_> {
    /// Takes the runs that cannot be read out of a segment; gives the rows of the others, and the damages.
    async fn what_is_left(
        &self,
        segment: &mut Segment,
        bad: &Bad,
    ) -> Result<(Fingerprint, Vec<String>)> {
        let mut read = Fingerprint::default();
        let mut damages = Vec::new();
        let mut named = HashSet::new();
        let mut left = Vec::new();
        for run in runs(std::mem::take(&mut segment.pieces), self.bytes_max) {
            match self.rows_of(&run, bad).await? {
                Ok(rows) => {
                    read.merge(&rows);
                    left.extend(run);
                }
                Err((chunk, problem)) if named.insert(chunk.chunk) => {
                    damages.push(format!("{}: {problem}", chunk.chunk_ref().key()));
                }
                Err(_) => {}
            }
        }
        segment.pieces = left;
        Ok((read, damages))
    }

    /// The rows of a run; the piece that cannot be read, and why.
    async fn rows_of(
        &self,
        run: &[ChunkPiece],
        bad: &Bad,
    ) -> Result<Result<Fingerprint, (ChunkPiece, String)>> {
        for piece in run {
            if let Some(problem) = bad.get(&piece.chunk) {
                return Ok(Err((piece.clone(), problem.clone())));
            }
        }
        let mut reader = RowReader::new(self.format);
        for piece in run {
            let bytes = match self.store.get(&piece.chunk_ref()).await {
                Ok(bytes) => bytes,
                Err(Error::Corrupt { problem, .. }) => return Ok(Err((piece.clone(), problem))),
                Err(error) => return Err(error),
            };
            let range = piece.range().expect("the data index was found sound");
            let Some(bytes) = bytes.get(range) else {
                let problem = "the piece lies outside its chunk".to_owned();
                return Ok(Err((piece.clone(), problem)));
            };
            reader.push(bytes);
        }
        let rows = reader.whole_rows();
        Ok(match (reader.finish(), run.last()) {
            (Err(problem), Some(last)) => Err((last.clone(), problem.to_owned())),
            _ => Ok(rows),
        })
    }
}

/// Pieces that hold whole rows together. A chunk ends with a row unless it is as long as a chunk may be.
fn runs(pieces: Vec<ChunkPiece>, bytes_max: u64) -> Vec<Vec<ChunkPiece>> {
    let mut runs: Vec<Vec<ChunkPiece>> = Vec::new();
    let mut goes_on = false;
    for piece in pieces {
        let is_to_the_end = piece.offset + piece.n_bytes == piece.chunk_bytes;
        let may_end_inside = is_to_the_end && piece.chunk_bytes >= bytes_max;
        match runs.last_mut() {
            Some(run) if goes_on => run.push(piece),
            _ => runs.push(vec![piece]),
        }
        goes_on = may_end_inside;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(chunk: u8, chunk_bytes: u64, n_bytes: u64) -> ChunkPiece {
        ChunkPiece {
            chunk: Digest::of(&[chunk]),
            stored_bytes: 1,
            chunk_bytes,
            offset: 0,
            n_bytes,
        }
    }

    #[test]
    fn chunks_that_may_end_inside_a_row_go_with_the_next() {
        let lengths = |pieces: Vec<ChunkPiece>| -> Vec<usize> {
            runs(pieces, 100).iter().map(Vec::len).collect()
        };
        let all = vec![
            piece(1, 60, 60),
            piece(2, 100, 100),
            piece(3, 100, 100),
            piece(4, 70, 70),
            // A part of a chunk that others share ends with a row.
            piece(5, 100, 40),
            piece(6, 10, 10),
        ];
        assert_eq!(lengths(all), [1, 3, 1, 1]);
        assert_eq!(lengths(vec![piece(1, 100, 100)]), [1]);
        assert!(lengths(Vec::new()).is_empty());
    }
}
