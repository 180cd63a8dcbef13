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
    /// Length of a cell in blocks, a power of two; `None` unless the table was read in cells of blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_blocks: Option<u32>,
    /// The key by whose values the table was cut; `None` unless it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_key: Option<CellKey>,
    /// The segments in the order of blocks or keys. Format 1 writes one segment per cell.
    pub segments: Vec<Segment>,
}

/// The column by whose values a table was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellKey {
    /// Its name, unquoted.
    pub column: String,
    /// Its type.
    #[serde(rename = "type")]
    pub of: KeyType,
}

/// The types whose values can cut a table: each is a whole number on the server, ordered as numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// Days since 2000-01-01.
    Date,
    /// Microseconds since 2000-01-01 00:00:00.
    Timestamp,
    /// Microseconds since 2000-01-01 00:00:00 UTC.
    Timestamptz,
}

/// A range of a key's values, as whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRange {
    /// The first value, and the first after; `None` is open. No NULL is in it.
    Values(Option<i64>, Option<i64>),
    /// The rows whose key is NULL.
    Null,
}

/// The rows of one cell, or of a whole table read in one piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// First block, and the first block after; the last segment of a table ends open (`None`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<(u32, Option<u32>)>,
    /// The values of the table's `cell_key`. How rows were cut is for the next dump; no reader depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyRange>,
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
