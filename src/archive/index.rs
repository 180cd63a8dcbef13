//! The data index: where each table's rows stand in which chunks. Plain data, one JSON line per table.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use crate::toc::EntryId;

/// How COPY wrote the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyFormat {
    /// COPY text: a line per row, the newline included.
    #[default]
    Text,
    /// COPY binary: a tuple per row, without the stream's header and trailer.
    Binary,
}

/// The rows of one entry of the TOC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableIndex {
    /// The entry whose rows these are.
    pub entry: EntryId,
    /// Column names in COPY order, unquoted.
    pub columns: Vec<String>,
    /// How the rows are written.
    pub format: CopyFormat,
    /// Number of rows; equals the sum over the segments and the server's command tags.
    pub n_rows: u64,
    /// Raw bytes: COPY text or tuples, uncompressed.
    pub n_bytes: u64,
    /// Sum of the rows' XXH3-128 modulo 2^128, 32 hexadecimal digits.
    pub fingerprint: String,
    /// Length of a cell in blocks, a power of two; `None` if the table was read in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_blocks: Option<u32>,
    /// The segments in block order. Format 1 writes one segment per cell.
    pub segments: Vec<Segment>,
}

/// The rows of one cell, or of a whole table read in one piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// First block, and the first block after; the last segment of a table ends open (`None`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<(u32, Option<u32>)>,
    /// Number of rows.
    pub n_rows: u64,
    /// The pieces in order; joined they are the segment's raw bytes.
    pub pieces: Vec<ChunkPiece>,
}

/// A byte range of a chunk's raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkPiece {
    /// The chunk, by the SHA-256 of its stored bytes.
    pub chunk: Digest,
    /// Stored bytes of the whole chunk.
    pub stored_bytes: u64,
    /// Raw bytes of the whole chunk.
    pub chunk_bytes: u64,
    /// Where the piece begins in the chunk's raw bytes.
    pub offset: u64,
    /// Its length in raw bytes.
    pub n_bytes: u64,
}
