//! Cuts rows into chunks by content, and computes their fingerprint on the way. Pure: no I/O, no waiting.
//!
//! A chunk ends after a row of `n` bytes whose XXH3-128 has a low part below `n` in its low `cut_bits` bits, so the chance of a cut
//! is proportional to the bytes, whatever the rows' width; and the same rows are cut alike wherever they stand.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use serde::{Deserialize, Serialize};

use super::buffer::Buffer;
use super::fingerprint::{Fingerprint, TupleWalk, Walked, head_bytes, tail_bytes};
use super::index::CopyFormat;

/// How rows are cut into chunks; one setting per repository, because other settings give other chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkSettings {
    /// No cut by content before so many raw bytes.
    pub bytes_min: u32,
    /// No chunk has more raw bytes.
    pub bytes_max: u32,
    /// A cut comes every 2^`cut_bits` bytes on average, once `bytes_min` is reached.
    pub cut_bits: u8,
}

impl Default for ChunkSettings {
    /// 2 to 12 MiB, about 6 MiB on average.
    fn default() -> ChunkSettings {
        ChunkSettings {
            bytes_min: 2 << 20,
            bytes_max: 12 << 20,
            cut_bits: 22,
        }
    }
}

impl ChunkSettings {
    /// No reader accepts a chunk with more raw bytes, whatever a repository says.
    pub const BYTES_LIMIT: u32 = 64 << 20;

    /// True if chunks can be cut so, and read by every reader of format 1.
    pub fn is_sound(&self) -> bool {
        (1..=self.bytes_max).contains(&self.bytes_min)
            && self.bytes_max <= ChunkSettings::BYTES_LIMIT
            && self.cut_bits <= 32
    }

    fn cuts_after(&self, hash: u128, row_bytes: u64) -> bool {
        let low = u64::try_from(hash & u128::from(u64::MAX)).expect("the low 64 bits");
        low & ((1 << self.cut_bits) - 1) < row_bytes
    }
}

/// The bytes of one part in one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The part: 0, 1, 2 … as [`Chunker::mark`] counts them.
    pub part: u32,
    /// Where they begin in the chunk's raw bytes.
    pub offset: u64,
    /// How many they are; never 0.
    pub n_bytes: u64,
}

/// A chunk's raw bytes, ready to be packed.
#[derive(Debug)]
pub struct Cut {
    /// 0, 1, 2 … in row order.
    pub number: u64,
    /// The bytes; never none.
    pub bytes: Buffer,
    /// Whose bytes they are; in order and without gaps.
    pub spans: Vec<Span>,
}

/// What a part held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEnd {
    /// Its number.
    pub part: u32,
    /// Raw bytes.
    pub n_bytes: u64,
    /// Its rows.
    pub fingerprint: Fingerprint,
}

/// Takes rows in fragments, gives chunks.
///
/// Holds one chunk; the row that is not whole yet is the end of it. The caller offers fragments with [`Chunker::row_fragment`]; when the chunker
/// is full it takes none until the chunk is taken with [`Chunker::take_chunk`], which needs the buffer for the next.
/// Rows belong to the current part (a cell, a table); [`Chunker::mark`] ends it and begins the next in the same chunk.
#[derive(Debug)]
pub struct Chunker {
    settings: ChunkSettings,
    format: CopyFormat,
    buffer: Buffer,
    /// Where the row that is not whole begins in the buffer.
    row_start: usize,
    /// The part of that row that is in earlier chunks already.
    spilled: Option<Box<Spilled>>,
    /// Where the chunk ends, when it is full.
    full_at: Option<usize>,
    binary: BinaryStream,
    problem: Option<&'static str>,
    n_cuts: u64,
    spans: Vec<Span>,
    part: PartEnd,
    /// Where the current part begins in the buffer.
    part_start: usize,
}

#[derive(Debug)]
struct Spilled {
    hash: HashState,
    n_bytes: u64,
}

struct HashState(Xxh3);

impl std::fmt::Debug for HashState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Xxh3")
    }
}

/// Where a COPY binary stream stands.
#[derive(Debug, Default)]
struct BinaryStream {
    header: HeaderWalk,
    walk: TupleWalk,
    /// Bytes that were walked over but not taken yet, and whether a row ends with them.
    walked: Option<(usize, bool)>,
    ended: bool,
}

impl Chunker {
    /// A chunker for rows of `format`; `buffer` takes the first chunk.
    pub fn new(settings: ChunkSettings, format: CopyFormat, mut buffer: Buffer) -> Chunker {
        buffer.clear();
        Chunker {
            settings,
            format,
            buffer,
            row_start: 0,
            spilled: None,
            full_at: None,
            binary: BinaryStream::default(),
            problem: None,
            n_cuts: 0,
            spans: Vec::new(),
            part: PartEnd {
                part: 0,
                n_bytes: 0,
                fingerprint: Fingerprint::default(),
            },
            part_start: 0,
        }
    }

    /// Takes bytes of the current row and gives how many it took: all, unless the chunk is full; then the rest is offered again
    /// after [`Chunker::take_chunk`].
    ///
    /// In COPY text `ends_row` says that the row ends with the last of the bytes, its newline; a row's last fragment is never empty.
    /// In COPY binary rows are found in the bytes themselves, `ends_row` says nothing, and the stream's header and trailer are left out.
    pub fn row_fragment(&mut self, bytes: &[u8], ends_row: bool) -> usize {
        match (self.full_at, self.format) {
            (Some(_), _) => 0,
            (None, CopyFormat::Text) => self.take(bytes, ends_row),
            (None, CopyFormat::Binary) => self.take_binary(bytes),
        }
    }

    /// True if a chunk is waiting to be taken.
    pub fn is_full(&self) -> bool {
        self.full_at.is_some()
    }

    /// The full chunk, if there is one; the next one is gathered in `next`, which otherwise returns to its pool.
    pub fn take_chunk(&mut self, mut next: Buffer) -> Option<Cut> {
        let end = self.full_at.take()?;
        next.clear();
        next.extend_from_slice(&self.buffer[end..]);
        let mut bytes = std::mem::replace(&mut self.buffer, next);
        bytes.truncate(end);
        self.close_span(end);
        self.row_start = 0;
        self.part_start = 0;
        let number = self.n_cuts;
        self.n_cuts += 1;
        Some(Cut {
            number,
            bytes,
            spans: std::mem::take(&mut self.spans),
        })
    }

    /// Ends the current part, which must be whole rows, and begins the next: what comes now belongs to that.
    /// The text of an error says what is wrong with the rows.
    pub fn mark(&mut self) -> Result<PartEnd, &'static str> {
        self.check_part()?;
        self.close_span(self.buffer.len());
        self.part_start = self.buffer.len();
        Ok(self.next_part())
    }

    /// Forgets the current part as far as it is in this chunk, and begins the next. Pieces of it in earlier chunks are the caller's to forget.
    /// For a COPY that broke off and is begun again.
    pub fn abandon(&mut self) -> PartEnd {
        self.buffer.truncate(self.part_start);
        self.row_start = self.part_start;
        // A chunk that was full because of the forgotten rows is not full any more.
        self.full_at = self.full_at.filter(|end| *end <= self.part_start);
        self.spilled = None;
        self.problem = None;
        self.next_part()
    }

    /// Sets the format of the current part, before its first row.
    pub fn set_format(&mut self, format: CopyFormat) {
        assert!(
            self.part.n_bytes == 0 && self.row_start == self.buffer.len(),
            "a part has one format"
        );
        self.format = format;
    }

    /// Ends the chunk here, between two rows: for the end of a cell, so that no chunk reaches into the next.
    pub fn cut(&mut self) {
        assert_eq!(self.row_start, self.buffer.len(), "a row is not whole");
        if self.full_at.is_none() && !self.buffer.is_empty() {
            self.full_at = Some(self.buffer.len());
        }
    }

    /// The last chunk, if anything is left; after the last [`Chunker::mark`].
    pub fn finish(mut self) -> Option<Cut> {
        self.cut();
        self.take_chunk(Buffer::from(Vec::new()))
    }

    fn take(&mut self, bytes: &[u8], ends_row: bool) -> usize {
        let bytes_max = self.settings.bytes_max as usize;
        let room = bytes_max - self.buffer.len();
        if bytes.len() > room {
            if self.row_start > 0 {
                self.full_at = Some(self.row_start);
                return 0;
            }
            self.buffer.extend_from_slice(&bytes[..room]);
            self.spill();
            self.full_at = Some(bytes_max);
            return room;
        }
        self.buffer.extend_from_slice(bytes);
        if ends_row {
            self.end_row();
        }
        bytes.len()
    }

    fn take_binary(&mut self, bytes: &[u8]) -> usize {
        let mut at = self.binary.header.skip(bytes);
        while at < bytes.len() && self.full_at.is_none() && self.problem.is_none() {
            let rest = &bytes[at..];
            let (n_bytes, ends_row) = match self.binary.walked.take() {
                Some(walked) => walked,
                None => match self.binary.walk.walk(rest) {
                    Walked::Inside(n) => (n, false),
                    Walked::RowEnd(n) => (n, true),
                    Walked::Trailer(n) => {
                        // The first byte of the trailer may have come alone and been taken for a field count.
                        self.buffer.truncate(self.row_start);
                        self.binary.ended = true;
                        at += n;
                        continue;
                    }
                    Walked::Malformed => {
                        self.problem = Some("the server sent something else than COPY binary");
                        continue;
                    }
                },
            };
            let taken = self.take(&rest[..n_bytes], ends_row);
            if taken < n_bytes {
                self.binary.walked = Some((n_bytes - taken, ends_row));
            }
            at += taken;
        }
        if self.problem.is_some() {
            bytes.len()
        } else {
            at
        }
    }

    fn end_row(&mut self) {
        let row = &self.buffer[self.row_start..];
        let n_here = row.len();
        if self.format == CopyFormat::Text && row.last() != Some(&b'\n') {
            self.problem = Some("the server sent a row without a newline at its end");
            return;
        }
        let hashed = &row[..n_here - tail_bytes(self.format)];
        let (hash, n_bytes) = match self.spilled.take() {
            None => (xxh3_128(&hashed[head_bytes(self.format)..]), 0),
            Some(mut spilled) => {
                spilled.hash.0.update(hashed);
                (spilled.hash.0.digest128(), spilled.n_bytes)
            }
        };
        self.row_start = self.buffer.len();
        self.part.fingerprint.add_hash(hash);
        if self.buffer.len() >= self.settings.bytes_min as usize
            && self.settings.cuts_after(hash, n_bytes + n_here as u64)
        {
            self.full_at = Some(self.buffer.len());
        }
    }

    /// Notes that all the buffer's bytes belong to a row that goes on in the next chunk.
    fn spill(&mut self) {
        let head = match self.spilled {
            None => head_bytes(self.format),
            Some(_) => 0,
        };
        let spilled = self.spilled.get_or_insert_with(|| {
            Box::new(Spilled {
                hash: HashState(Xxh3::new()),
                n_bytes: 0,
            })
        });
        spilled.hash.0.update(&self.buffer[head..]);
        spilled.n_bytes += self.buffer.len() as u64;
    }

    fn close_span(&mut self, end: usize) {
        if end > self.part_start {
            let n_bytes = (end - self.part_start) as u64;
            self.part.n_bytes += n_bytes;
            self.spans.push(Span {
                part: self.part.part,
                offset: self.part_start as u64,
                n_bytes,
            });
        }
    }

    fn check_part(&self) -> Result<(), &'static str> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if self.format == CopyFormat::Binary && !self.binary.ended {
            return Err("COPY binary ended without its trailer");
        }
        if self.row_start < self.buffer.len() || self.spilled.is_some() {
            return Err("COPY ended inside a row");
        }
        Ok(())
    }

    fn next_part(&mut self) -> PartEnd {
        self.binary = BinaryStream::default();
        let next = PartEnd {
            part: self.part.part + 1,
            n_bytes: 0,
            fingerprint: Fingerprint::default(),
        };
        std::mem::replace(&mut self.part, next)
    }
}

/// Skips COPY binary's header: 11 bytes of signature, 4 of flags, 4 with the length of an extension, the extension.
#[derive(Debug, Default)]
struct HeaderWalk {
    n_read: u64,
    extension_bytes: u32,
}

impl HeaderWalk {
    const FIXED_BYTES: u64 = 19;

    /// How many of `bytes` belong to the header.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.n_read < HeaderWalk::FIXED_BYTES {
            if self.n_read >= HeaderWalk::FIXED_BYTES - 4 {
                self.extension_bytes = self.extension_bytes << 8 | u32::from(bytes[at]);
            }
            self.n_read += 1;
            at += 1;
        }
        let end = HeaderWalk::FIXED_BYTES + u64::from(self.extension_bytes);
        let left = (bytes.len() - at) as u64;
        let skipped = left.min(end.saturating_sub(self.n_read));
        self.n_read += skipped;
        at + usize::try_from(skipped).expect("no more than the bytes given")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::digest::Digest;
    use super::super::fingerprint::RowReader;
    use super::*;

    /// Limits as small as the tests' rows.
    const SMALL: ChunkSettings = ChunkSettings {
        bytes_min: 60,
        bytes_max: 360,
        cut_bits: 7,
    };

    fn buffer() -> Buffer {
        Buffer::from(Vec::new())
    }

    fn offer(chunker: &mut Chunker, mut bytes: &[u8], ends_row: bool, cuts: &mut Vec<Cut>) {
        loop {
            let taken = chunker.row_fragment(bytes, ends_row);
            assert!(taken == bytes.len() || chunker.is_full());
            bytes = &bytes[taken..];
            cuts.extend(chunker.take_chunk(buffer()));
            if bytes.is_empty() {
                return;
            }
        }
    }

    /// Cuts one part whose rows are given in fragments.
    fn cut_fragments(format: CopyFormat, fragments: &[(&[u8], bool)]) -> (Vec<Cut>, PartEnd) {
        let mut chunker = Chunker::new(SMALL, format, buffer());
        let mut cuts = Vec::new();
        for (bytes, ends_row) in fragments {
            offer(&mut chunker, bytes, *ends_row, &mut cuts);
        }
        let part = chunker.mark().unwrap();
        cuts.extend(chunker.finish());
        (cuts, part)
    }

    fn bytes_of(cuts: &[Cut]) -> Vec<Vec<u8>> {
        cuts.iter().map(|cut| cut.bytes.to_vec()).collect()
    }

    fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let line = prop_oneof![
            8 => "[a-z]{0,30}",
            1 => "[a-z]{100,500}",
            1 => "[a-z]{1000,1500}",
        ];
        vec(line, 0..60).prop_map(|lines| {
            let with_newline = |line: String| format!("{line}\n").into_bytes();
            lines.into_iter().map(with_newline).collect()
        })
    }

    /// `rows` in pieces of at most `step` bytes.
    fn fragments(rows: &[Vec<u8>], step: usize) -> Vec<(&[u8], bool)> {
        rows.iter()
            .flat_map(|row| {
                let last = row.len().div_ceil(step) - 1;
                row.chunks(step)
                    .enumerate()
                    .map(move |(i, piece)| (piece, i == last))
            })
            .collect()
    }

    proptest! {
        #[test]
        fn chunks_join_to_the_rows_however_they_come(rows in lines(), step in 1usize..700) {
            let (whole, part) = cut_fragments(CopyFormat::Text, &fragments(&rows, usize::MAX));
            prop_assert_eq!(bytes_of(&whole).concat(), rows.concat());
            let (split, same_part) = cut_fragments(CopyFormat::Text, &fragments(&rows, step));
            prop_assert_eq!(bytes_of(&split), bytes_of(&whole));
            prop_assert_eq!(same_part, part);

            let mut reader = RowReader::new(CopyFormat::Text);
            for cut in &whole {
                prop_assert!(!cut.bytes.is_empty() && cut.bytes.len() <= SMALL.bytes_max as usize);
                reader.push(&cut.bytes);
            }
            prop_assert_eq!(reader.finish(), Ok(part.fingerprint));
            prop_assert_eq!(part.n_bytes, rows.concat().len() as u64);
            prop_assert_eq!(part.fingerprint.n_rows(), rows.len() as u64);
        }

        #[test]
        fn rows_end_with_chunks_unless_they_do_not_fit_one(rows in lines()) {
            let (cuts, _) = cut_fragments(CopyFormat::Text, &fragments(&rows, usize::MAX));
            for cut in &cuts {
                prop_assert!(
                    cut.bytes.ends_with(b"\n") || cut.bytes.len() == SMALL.bytes_max as usize
                );
            }
        }

        #[test]
        fn tuples_lose_header_and_trailer_however_they_come(
            fields in vec(vec(proptest::option::of(vec(any::<u8>(), 0..80)), 0..5), 0..40),
            extension in vec(any::<u8>(), 0..5),
            step in 1usize..200,
        ) {
            let mut stream = b"PGCOPY\n\xff\r\n\0\0\0\0\0".to_vec();
            stream.extend(u32::try_from(extension.len()).unwrap().to_be_bytes());
            stream.extend(&extension);
            let mut tuples = Vec::new();
            for row in &fields {
                tuples.extend(u16::try_from(row.len()).unwrap().to_be_bytes());
                for field in row {
                    let n_bytes = field.as_ref().map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap());
                    tuples.extend(n_bytes.to_be_bytes());
                    tuples.extend(field.iter().flatten());
                }
            }
            stream.extend(&tuples);
            stream.extend(b"\xff\xff");
            let pieces: Vec<(&[u8], bool)> = stream.chunks(step).map(|piece| (piece, false)).collect();
            let (cuts, part) = cut_fragments(CopyFormat::Binary, &pieces);
            prop_assert_eq!(bytes_of(&cuts).concat(), tuples.clone());
            let (whole, _) = cut_fragments(CopyFormat::Binary, &[(&stream, false)]);
            prop_assert_eq!(bytes_of(&cuts), bytes_of(&whole));
            let mut reader = RowReader::new(CopyFormat::Binary);
            reader.push(&tuples);
            prop_assert_eq!(reader.finish(), Ok(part.fingerprint));
            prop_assert_eq!(part.fingerprint.n_rows(), fields.len() as u64);
        }

        #[test]
        fn spans_tell_whose_bytes_they_are(tables in vec(lines(), 0..8)) {
            let mut chunker = Chunker::new(SMALL, CopyFormat::Text, buffer());
            let mut cuts = Vec::new();
            let mut ends = Vec::new();
            for rows in &tables {
                for row in rows {
                    offer(&mut chunker, row, true, &mut cuts);
                }
                ends.push(chunker.mark().unwrap());
            }
            cuts.extend(chunker.finish());
            let mut by_part = vec![Vec::new(); tables.len()];
            for (number, cut) in cuts.iter().enumerate() {
                prop_assert_eq!(cut.number, number as u64);
                let mut at = 0;
                for span in &cut.spans {
                    prop_assert_eq!(span.offset, at);
                    at += span.n_bytes;
                    let begin = usize::try_from(span.offset).unwrap();
                    let end = usize::try_from(at).unwrap();
                    by_part[span.part as usize].extend_from_slice(&cut.bytes[begin..end]);
                }
                prop_assert_eq!(at, cut.bytes.len() as u64);
            }
            for ((rows, bytes), end) in tables.iter().zip(by_part).zip(ends) {
                prop_assert_eq!(rows.concat(), bytes);
                prop_assert_eq!(end.n_bytes, rows.concat().len() as u64);
                prop_assert_eq!(end.fingerprint.n_rows(), rows.len() as u64);
            }
        }
    }

    fn table(n_rows: u32) -> Vec<Vec<u8>> {
        (0..n_rows)
            .map(|i| format!("{i}\tcustomer {}\t{}\n", i * 7919, i % 13).into_bytes())
            .collect()
    }

    /// A cut that moves ends the next chunk elsewhere too, until both ways of cutting meet again.
    #[test]
    fn a_changed_row_changes_one_or_two_chunks() {
        let rows = table(3000);
        let names = |rows: &[Vec<u8>]| -> BTreeSet<Digest> {
            let (cuts, _) = cut_fragments(CopyFormat::Text, &fragments(rows, usize::MAX));
            cuts.iter().map(|cut| Digest::of(&cut.bytes)).collect()
        };
        let before = names(&rows);
        assert!(before.len() > 200, "{}", before.len());
        let gone: Vec<usize> = (0..rows.len())
            .step_by(17)
            .map(|changed| {
                let mut rows = rows.clone();
                rows[changed] = b"another row, and longer than it was before\n".to_vec();
                before.difference(&names(&rows)).count()
            })
            .collect();
        let few = gone.iter().filter(|n| (1..=2).contains(*n)).count();
        assert!(few * 100 >= gone.len() * 90, "{gone:?}");
        assert!(gone.iter().all(|n| (1..=6).contains(n)), "{gone:?}");
    }

    #[test]
    fn the_mean_size_does_not_depend_on_the_rows_width() {
        let settings = ChunkSettings {
            bytes_min: 2 << 10,
            bytes_max: 12 << 10,
            cut_bits: 12,
        };
        for width in [8, 120, 900] {
            let mut chunker = Chunker::new(settings, CopyFormat::Text, buffer());
            let (mut cuts, mut total) = (Vec::new(), 0);
            for i in 0_u32.. {
                let row = format!("{i:0>width$}\n");
                total += row.len();
                offer(&mut chunker, row.as_bytes(), true, &mut cuts);
                if total > 6 << 20 {
                    break;
                }
            }
            let mean = total / cuts.len();
            assert!((5 << 10..7 << 10).contains(&mean), "{width}: {mean}");
        }
    }

    #[test]
    fn a_part_that_broke_off_leaves_no_bytes() {
        let rows = table(4);
        let mut chunker = Chunker::new(SMALL, CopyFormat::Text, buffer());
        let mut cuts = Vec::new();
        offer(&mut chunker, &rows[0], true, &mut cuts);
        chunker.mark().unwrap();
        offer(&mut chunker, &rows[1], true, &mut cuts);
        offer(&mut chunker, b"half a ro", false, &mut cuts);
        assert_eq!(chunker.mark(), Err("COPY ended inside a row"));
        assert_eq!(chunker.abandon().part, 1);
        offer(&mut chunker, &rows[2], true, &mut cuts);
        let last = chunker.mark().unwrap();
        assert_eq!((last.part, last.fingerprint.n_rows()), (2, 1));
        cuts.extend(chunker.finish());
        let expected = [&rows[0][..], &rows[2]].concat();
        assert_eq!(bytes_of(&cuts).concat(), expected);
        let parts: Vec<u32> = cuts
            .iter()
            .flat_map(|cut| &cut.spans)
            .map(|span| span.part)
            .collect();
        assert_eq!(parts, [0, 2]);
    }

    #[test]
    fn what_is_no_copy_is_an_error() {
        let mut chunker = Chunker::new(SMALL, CopyFormat::Text, buffer());
        chunker.row_fragment(b"no newline", true);
        assert!(chunker.mark().is_err());
        let mut chunker = Chunker::new(SMALL, CopyFormat::Binary, buffer());
        assert!(chunker.mark().is_err(), "no header, no trailer");
        let header = [0; 19];
        assert_eq!(chunker.row_fragment(&header, false), 19);
        assert_eq!(chunker.row_fragment(b"\xff\xfe", false), 2);
        assert!(chunker.mark().is_err());
    }
}
