//! Rows as an archive holds them: reading the pieces of a table, and the escapes of COPY text (manual, COPY, text format).

use bytes::Bytes;

use crate::archive::digest::Digest;
use crate::archive::index::ChunkPiece;
use crate::archive::{Archive, ChunkStore};
use crate::error::{Error, Result};

/// Reads pieces; holds one chunk.
pub(crate) struct PieceReader {
    chunks: ChunkStore,
    archive: String,
    /// The chunk that was read last: small tables share chunks.
    last: Option<(Digest, Bytes)>,
}

impl PieceReader {
    pub(crate) fn new(archive: &Archive) -> PieceReader {
        PieceReader {
            // The level is that of writers only.
            chunks: archive.repository().chunks(1),
            archive: format!("archive {}", archive.name()),
            last: None,
        }
    }

    /// The bytes of a piece, after its chunk was proved.
    pub(crate) async fn read(&mut self, piece: &ChunkPiece) -> Result<Bytes> {
        let range = piece.range().ok_or_else(|| {
            let problem = "a piece reaches beyond its chunk";
            Error::corrupt(
                &self.archive,
                format_args!("chunk {}", piece.chunk),
                problem,
            )
        })?;
        if let Some((digest, bytes)) = &self.last
            && *digest == piece.chunk
            && range.end <= bytes.len()
        {
            return Ok(bytes.slice(range));
        }
        let bytes = self.chunks.get(&piece.chunk_ref()).await?;
        let part = bytes.slice(range);
        self.last = Some((piece.chunk, bytes));
        Ok(part)
    }
}

/// The value of a field that is not NULL.
pub(crate) fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        // The server itself writes no other escapes than these and the doubled backslash.
        out.extend(bytes.next().map(|escaped| match escaped {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => other,
        }));
    }
    out
}

/// A value as a field.
pub(crate) fn escaped(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        let letter = match byte {
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            other => {
                out.push(*other);
                continue;
            }
        };
        out.extend([b'\\', letter]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_comes_back() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&escaped(&every)), every);
        assert_eq!(escaped(b"a\tb\\N"), b"a\\tb\\\\N");
    }
}
