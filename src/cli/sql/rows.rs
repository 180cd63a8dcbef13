//! Rows of an archive in a script: COPY blocks, whose bytes pass untouched, or INSERT statements. Only one chunk and one row are held.

use super::guard::RowGuard;
use super::pages::first_row;
use crate::archive::Archive;
use crate::archive::index::{CopyFormat, TableIndex};
use crate::cli::row_text::{PieceReader, unescaped};
use crate::cli::target::Target;
use crate::error::{Error, Result};
use crate::sql::{Ident, Literal, Sql, sql, unescape};

const LARGE_OBJECTS: &str = "pg_temp.\"pgark_large_objects\"";

/// Reads rows from chunks and writes them as SQL.
pub(super) struct RowWriter {
    pieces: PieceReader,
}

/// A table's rows and where they go.
pub(super) struct Table<'a> {
    pub(super) target: &'a Sql,
    pub(super) index: &'a TableIndex,
    /// The encoding of the rows, where it is not the script's.
    pub(super) foreign: Option<&'a str>,
}

impl Table<'_> {
    /// The columns in parentheses; none for a table without.
    fn columns(&self) -> Option<Sql> {
        let names: Vec<Ident> = self.index.columns.iter().map(Ident::new).collect();
        (!names.is_empty()).then(|| sql![" (", Sql::list(&names), ")"])
    }
}

/// How rows are written.
enum Style<'a> {
    Copy,
    /// Each row between these two.
    Each(&'a [u8], &'a [u8]),
}

impl Style<'_> {
    /// One row of COPY text, given without its newline.
    fn write(&self, row: &[u8], out: &mut Target<'_>) -> Result<()> {
        match self {
            Style::Copy => {
                out.write(row)?;
                out.write(b"\n")
            }
            Style::Each(before, after) => {
                out.write(before)?;
                out.write(&values(row))?;
                out.write(after)
            }
        }
    }
}

impl RowWriter {
    pub(super) fn new(archive: &Archive) -> RowWriter {
        RowWriter {
            pieces: PieceReader::new(archive),
        }
    }

    /// Rows as a COPY block.
    pub(super) async fn copy(&mut self, table: &Table<'_>, out: &mut Target<'_>) -> Result<()> {
        let encoding = table
            .foreign
            .map(|encoding| sql![" WITH (ENCODING ", Literal(encoding), ")"]);
        let copy = sql![
            "COPY ",
            table.target,
            table.columns(),
            " FROM stdin",
            encoding,
            ";\n"
        ];
        out.write(&unescape(&copy.text()))?;
        self.rows(table.index, &Style::Copy, out).await?;
        out.write(b"\\.\n")
    }

    /// Rows as one statement each.
    pub(super) async fn inserts(&mut self, table: &Table<'_>, out: &mut Target<'_>) -> Result<()> {
        let Some(columns) = table.columns() else {
            // Each row is an empty line, so their number cannot be made up.
            if table.index.n_rows != table.index.n_bytes {
                let problem = "says more or fewer rows than there are bytes";
                return Err(Error::corrupt(
                    "the data index",
                    "a table without columns",
                    problem,
                ));
            }
            let insert = sql!["INSERT INTO ", table.target, " DEFAULT VALUES;\n"].text();
            for _ in 0..table.index.n_rows {
                out.write(&unescape(&insert))?;
            }
            return Ok(());
        };
        // The clause is needed for identity columns and harmless without them.
        let insert = sql![
            "INSERT INTO ",
            table.target,
            columns,
            " OVERRIDING SYSTEM VALUE VALUES ("
        ];
        let Some(encoding) = table.foreign else {
            let before = insert.text();
            let style = Style::Each(&unescape(&before), b");\n");
            return self.rows(table.index, &style, out).await;
        };
        // Names and values of one statement would be in two encodings.
        let places = (1..=table.index.columns.len()).map(|n| sql!["$", n]);
        let prepare = sql![
            "PREPARE pgark_row AS ",
            insert,
            Sql::list(places),
            ");\nSET client_encoding = ",
            Literal(encoding),
            ";\n"
        ];
        out.write(&unescape(&prepare.text()))?;
        let style = Style::Each(b"EXECUTE pgark_row(", b");\n");
        self.rows(table.index, &style, out).await?;
        out.write(b"SET client_encoding = 'UTF8';\nDEALLOCATE pgark_row;\n")
    }

    /// Pages of large objects: rows of (number, byte offset, data).
    pub(super) async fn large_objects(
        &mut self,
        index: &TableIndex,
        inserts: bool,
        out: &mut Target<'_>,
    ) -> Result<()> {
        if inserts {
            let style = Style::Each(b"SELECT pg_catalog.lo_put(", b");\n");
            return self.rows(index, &style, out).await;
        }
        let create = "CREATE TEMP TABLE \"pgark_large_objects\" (loid oid, byte_offset bigint, data bytea);\n";
        out.write(create.as_bytes())?;
        out.write(format!("COPY {LARGE_OBJECTS} FROM stdin;\n").as_bytes())?;
        self.rows(index, &Style::Copy, out).await?;
        // OFFSET 0 keeps the calls although nobody wants their results.
        let put = format!(
            "\\.\nSELECT pg_catalog.count(*) AS large_object_pages FROM (SELECT pg_catalog.lo_put(loid, byte_offset, data) \
             FROM {LARGE_OBJECTS} ORDER BY loid, byte_offset OFFSET 0) AS put;\nDROP TABLE {LARGE_OBJECTS};\n"
        );
        out.write(put.as_bytes())
    }

    async fn rows(
        &mut self,
        index: &TableIndex,
        style: &Style<'_>,
        out: &mut Target<'_>,
    ) -> Result<()> {
        let mut held = Vec::new();
        let mut guard = RowGuard::default();
        for piece in index.segments.iter().flat_map(|segment| &segment.pieces) {
            let bytes = self.pieces.read(piece).await?;
            match (index.format, style) {
                (CopyFormat::Binary, _) => {
                    held.extend_from_slice(&bytes);
                    let mut n_done = 0;
                    let broken =
                        |problem| Error::corrupt(piece.chunk_ref().key(), "its rows", problem);
                    while let Some((row, n_bytes)) = first_row(&held[n_done..]).map_err(broken)? {
                        style.write(&row, out)?;
                        n_done += n_bytes;
                    }
                    held.drain(..n_done);
                }
                (CopyFormat::Text, Style::Copy) if guard.passes(&bytes) => out.write(&bytes)?,
                (CopyFormat::Text, Style::Copy) => {
                    let problem =
                        "a line of them would end the rows of a script; no server writes such";
                    return Err(Error::corrupt(piece.chunk_ref().key(), "its rows", problem));
                }
                (CopyFormat::Text, Style::Each(..)) => {
                    for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                        held.extend_from_slice(part);
                        if let Some(row) = held.strip_suffix(b"\n") {
                            style.write(row, out)?;
                            held.clear();
                        }
                    }
                }
            }
            if out.is_closed() {
                return Ok(());
            }
        }
        if held.is_empty() && guard.is_whole() {
            Ok(())
        } else {
            Err(Error::corrupt(
                "the data index",
                "its last row",
                "it has no end",
            ))
        }
    }
}

/// A row of COPY text as literals (manual, COPY, text format). Bytes above ASCII pass in the database's own encoding.
fn values(row: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row.len() + 16);
    for (i, field) in row.split(|byte| *byte == b'\t').enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        if field == b"\\N" {
            out.extend_from_slice(b"NULL");
        } else {
            literal(&unescaped(field), &mut out);
        }
    }
    out
}

fn literal(text: &[u8], out: &mut Vec<u8>) {
    let escape = text.contains(&b'\\');
    out.extend_from_slice(if escape { b"E'" } else { b"'" });
    for byte in text {
        if *byte == b'\'' || (escape && *byte == b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_text_becomes_literals() {
        for (row, expected) in [
            ("1\t\\N\t", "'1', NULL, ''"),
            ("it's", "'it''s'"),
            (r"a\tb\nc", "'a\tb\nc'"),
            (r"\\N", r"E'\\N'"),
            (r"\\x00ff", r"E'\\x00ff'"),
            (r"\\'", r"E'\\'''"),
        ] {
            assert_eq!(
                String::from_utf8(values(row.as_bytes())).unwrap(),
                expected,
                "{row}"
            );
        }
        assert_eq!(values(b"\xff"), b"'\xff'");
    }
}
