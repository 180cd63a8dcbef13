//! Fingerprints: an order-free digest of rows. Recognises rows in COPY text and in COPY binary. No I/O.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::index::CopyFormat;

/// The XXH3-128 of each row, summed modulo 2^128, and the number of rows.
///
/// It does not depend on the rows' order, and the fingerprints of parts of a table merge into the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Fingerprint {
    sum: u128,
    n_rows: u64,
}

impl Fingerprint {
    /// From the form that archives keep: 32 lower-case hexadecimal digits and the number of rows.
    pub fn parse(hex: &str, n_rows: u64) -> Option<Fingerprint> {
        let digits = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let sum = u128::from_str_radix(hex, 16).ok().filter(|_| digits)?;
        Some(Fingerprint { sum, n_rows })
    }

    /// The sum as 32 lower-case hexadecimal digits, the highest first.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.sum)
    }

    /// Number of rows.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Adds one row: the text line without its newline, or the tuple without its field count.
    pub fn add_row(&mut self, row: &[u8]) {
        self.add_hash(xxh3_128(row));
    }

    /// Adds one row by its XXH3-128.
    pub fn add_hash(&mut self, hash: u128) {
        self.sum = self.sum.wrapping_add(hash);
        self.n_rows += 1;
    }

    /// Adds all rows of `other`.
    pub fn merge(&mut self, other: &Fingerprint) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.n_rows += other.n_rows;
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} over {} rows", self.sum, self.n_rows)
    }
}

/// Where a row ends in bytes that come in any split.
#[derive(Debug, Clone, Default)]
pub(super) struct TupleWalk {
    at: TupleAt,
}

#[derive(Debug, Clone, Copy)]
enum TupleAt {
    /// In a number of so many bytes of which `read` are in `value`.
    FieldCount {
        value: u16,
        read: u8,
    },
    FieldSize {
        left: u16,
        value: u32,
        read: u8,
    },
    Field {
        left: u16,
        n_bytes: u32,
    },
    /// The field count -1 was read: nothing may follow.
    Trailer,
}

impl Default for TupleAt {
    fn default() -> TupleAt {
        TupleAt::FieldCount { value: 0, read: 0 }
    }
}

/// What a [`TupleWalk`] found next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// So many bytes, the tuple goes on after them.
    Inside(usize),
    /// So many bytes, and the tuple ends with the last of them.
    RowEnd(usize),
    /// The trailer of the stream, in which the last of so many bytes stands.
    Trailer(usize),
    /// Bytes that COPY binary does not have.
    Malformed,
}

impl TupleWalk {
    /// Walks over `bytes`, which are not empty, at most to the end of a tuple (COPY's manual page, "Tuples").
    pub(super) fn walk(&mut self, bytes: &[u8]) -> Walked {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.at {
                TupleAt::FieldCount { value, read } => {
                    *value = *value << 8 | u16::from(bytes[at]);
                    *read += 1;
                    at += 1;
                    if *read == 2 {
                        match *value {
                            0xffff => {
                                self.at = TupleAt::Trailer;
                                return Walked::Trailer(at);
                            }
                            n if n > 0x7fff => return Walked::Malformed,
                            n => {
                                if self.field_after(n) {
                                    return Walked::RowEnd(at);
                                }
                            }
                        }
                    }
                }
                TupleAt::FieldSize { left, value, read } => {
                    *value = *value << 8 | u32::from(bytes[at]);
                    *read += 1;
                    at += 1;
                    if *read == 4 {
                        let (left, n_bytes) = (*left, *value);
                        match n_bytes {
                            0 | u32::MAX => {
                                if self.field_after(left) {
                                    return Walked::RowEnd(at);
                                }
                            }
                            n if n > 0x7fff_ffff => return Walked::Malformed,
                            _ => self.at = TupleAt::Field { left, n_bytes },
                        }
                    }
                }
                TupleAt::Field { left, n_bytes } => {
                    let here = bytes.len() - at;
                    let taken = usize::try_from(*n_bytes).map_or(here, |n| n.min(here));
                    at += taken;
                    *n_bytes -= u32::try_from(taken).expect("no more than the field has");
                    let (left, rest) = (*left, *n_bytes);
                    if rest == 0 && self.field_after(left) {
                        return Walked::RowEnd(at);
                    }
                }
                TupleAt::Trailer => return Walked::Malformed,
            }
        }
        Walked::Inside(at)
    }

    /// Goes on to the next of `left` fields; true if there is none, so that the tuple has ended.
    fn field_after(&mut self, left: u16) -> bool {
        self.at = match left.checked_sub(1) {
            None => TupleAt::default(),
            Some(left) => TupleAt::FieldSize {
                left,
                value: 0,
                read: 0,
            },
        };
        left == 0
    }
}

/// Counts and hashes the rows of a segment's raw bytes, which come in any split. Holds no row.
#[derive(Debug, Clone)]
pub struct RowReader {
    format: CopyFormat,
    fingerprint: Fingerprint,
    walk: TupleWalk,
    /// The row that began in an earlier piece.
    begun: Option<Box<Begun>>,
    malformed: bool,
}

#[derive(Clone)]
struct Begun {
    hash: Xxh3,
    /// Bytes at the row's beginning that are not hashed and still to come.
    skip: usize,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun")
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

/// Bytes before a row's hashed part: a tuple's field count.
pub(super) fn head_bytes(format: CopyFormat) -> usize {
    match format {
        CopyFormat::Text => 0,
        CopyFormat::Binary => 2,
    }
}

/// Bytes after a row's hashed part: a line's newline.
pub(super) fn tail_bytes(format: CopyFormat) -> usize {
    match format {
        CopyFormat::Text => 1,
        CopyFormat::Binary => 0,
    }
}

impl RowReader {
    /// A reader for rows of `format`, without the stream's header and trailer.
    pub fn new(format: CopyFormat) -> RowReader {
        RowReader {
            format,
            fingerprint: Fingerprint::default(),
            walk: TupleWalk::default(),
            begun: None,
            malformed: false,
        }
    }

    /// Reads the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.malformed {
            let (n_bytes, ends) = match self.format {
                CopyFormat::Text => match find_newline(bytes) {
                    Some(at) => (at + 1, true),
                    None => (bytes.len(), false),
                },
                CopyFormat::Binary => match self.walk.walk(bytes) {
                    Walked::Inside(n) => (n, false),
                    Walked::RowEnd(n) => (n, true),
                    Walked::Trailer(_) | Walked::Malformed => {
                        self.malformed = true;
                        return;
                    }
                },
            };
            let (part, rest) = bytes.split_at(n_bytes);
            self.part(part, ends);
            bytes = rest;
        }
    }

    /// The rows that were whole so far.
    pub fn whole_rows(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The rows so far, if the bytes so far are whole rows; else what is wrong.
    pub fn finish(self) -> Result<Fingerprint, &'static str> {
        match (self.malformed, self.begun) {
            (true, _) => Err("the bytes are not rows of COPY binary"),
            (false, Some(_)) => Err("the last row is not whole"),
            (false, None) => Ok(self.fingerprint),
        }
    }

    fn part(&mut self, part: &[u8], ends: bool) {
        let tail = if ends { tail_bytes(self.format) } else { 0 };
        let hashed = &part[..part.len() - tail];
        match (&mut self.begun, ends) {
            (None, true) => self.fingerprint.add_row(&hashed[head_bytes(self.format)..]),
            (None, false) => {
                let mut begun = Box::new(Begun {
                    hash: Xxh3::new(),
                    skip: head_bytes(self.format),
                });
                begun.update(hashed);
                self.begun = Some(begun);
            }
            (Some(begun), ends) => {
                begun.update(hashed);
                if ends {
                    self.fingerprint.add_hash(begun.hash.digest128());
                    self.begun = None;
                }
            }
        }
    }
}

impl Begun {
    fn update(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.hash.update(&bytes[skipped..]);
    }
}

/// Where the first newline stands. Compares eight bytes at a time, which the short lines of narrow tables like.
fn find_newline(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        // A byte that is zero after the exclusive or is the newline: Mycroft's test, lowest byte first.
        let differing = u64::from_le_bytes(*word) ^ (LOW * u64::from(b'\n'));
        let found = differing.wrapping_sub(LOW) & !differing & HIGH;
        if found != 0 {
            return Some(8 * i + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| *byte == b'\n')?;
    Some(8 * words.len() + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fingerprint_of(rows: &[&[u8]]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for row in rows {
            fingerprint.add_row(row);
        }
        fingerprint
    }

    #[test]
    fn order_does_not_matter_and_parts_merge() {
        let all = fingerprint_of(&[b"a", b"b", b"c"]);
        assert_eq!(all, fingerprint_of(&[b"c", b"a", b"b"]));
        let mut merged = fingerprint_of(&[b"b"]);
        merged.merge(&fingerprint_of(&[b"c", b"a"]));
        assert_eq!(all, merged);
        assert_ne!(all, fingerprint_of(&[b"a", b"b", b"b"]));
        assert_ne!(fingerprint_of(&[b""]), fingerprint_of(&[]));
    }

    #[test]
    fn the_written_form_reads_back() {
        let all = fingerprint_of(&[b"1\tone", b""]);
        assert_eq!(Fingerprint::parse(&all.hex(), 2), Some(all));
        assert_eq!(Fingerprint::default().hex(), "0".repeat(32));
        for bad in ["", "0", &"0".repeat(31), &"0".repeat(33), &"G".repeat(32)] {
            assert_eq!(Fingerprint::parse(bad, 0), None);
        }
        assert_eq!(Fingerprint::parse(&"A".repeat(32), 0), None);
        assert_eq!(
            Fingerprint::parse("+0000000000000000000000000000001", 0),
            None
        );
    }

    /// The vector that the specification gives: two rows of one column.
    #[test]
    fn the_specifications_example_holds() {
        let mut reader = RowReader::new(CopyFormat::Text);
        reader.push(b"1\tone\n2\t\\N\n");
        assert_eq!(
            reader.finish().unwrap().hex(),
            "66d46ba54ddb3079d301b40820c9b93f"
        );
    }

    fn tuple(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = u16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
        for field in fields {
            match field {
                None => out.extend(u32::MAX.to_be_bytes()),
                Some(bytes) => {
                    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                    out.extend_from_slice(bytes);
                }
            }
        }
        out
    }

    #[test]
    fn tuples_are_counted_and_hashed_after_their_field_count() {
        let rows = [
            tuple(&[Some(b"one"), None]),
            tuple(&[]),
            tuple(&[Some(b""), Some(b"x")]),
        ];
        let mut reader = RowReader::new(CopyFormat::Binary);
        reader.push(&rows.concat());
        let expected: Vec<&[u8]> = rows.iter().map(|row| &row[2..]).collect();
        assert_eq!(reader.finish().unwrap(), fingerprint_of(&expected));
    }

    #[test]
    fn what_is_not_whole_is_said() {
        let finish = |format, bytes: &[u8]| {
            let mut reader = RowReader::new(format);
            reader.push(bytes);
            reader.finish()
        };
        assert!(finish(CopyFormat::Text, b"a\nb").is_err());
        assert!(finish(CopyFormat::Binary, b"\0").is_err());
        assert!(finish(CopyFormat::Binary, b"\0\x01\0\0").is_err());
        assert!(finish(CopyFormat::Binary, b"\xff\xff").is_err());
        assert!(finish(CopyFormat::Binary, b"\x80\x00").is_err());
        assert!(finish(CopyFormat::Binary, b"\0\x01\x80\0\0\0").is_err());
    }

    proptest! {
        /// However rows are dealt out to segments, workers and chunks, and in whatever order these come back.
        #[test]
        fn sums_over_any_partition_are_equal(
            rows in proptest::collection::vec((any::<Vec<u8>>(), 0_usize..5, any::<u32>()), 0..40),
            order in Just([0_usize, 1, 2, 3, 4]).prop_shuffle(),
        ) {
            let mut parts = [Fingerprint::default(); 5];
            let mut whole = Fingerprint::default();
            for (row, part, _) in &rows {
                whole.add_row(row);
                parts[*part].add_row(row);
            }
            let mut sum = Fingerprint::default();
            for part in order {
                sum.merge(&parts[part]);
            }
            prop_assert_eq!(sum, whole);
            let mut shuffled: Vec<_> = rows.iter().collect();
            shuffled.sort_by_key(|(_, _, place)| place);
            let mut again = Fingerprint::default();
            for (row, ..) in shuffled {
                again.add_row(row);
            }
            prop_assert_eq!(again, whole);
            // One row more, or another in its place, is another sum.
            let mut more = whole;
            more.add_row(b"one more");
            prop_assert_ne!(more, whole);
        }

        #[test]
        fn newlines_are_found_where_they_are(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(0x0b), Just(0x8a), any::<u8>()], 0..40)) {
            prop_assert_eq!(find_newline(&bytes), bytes.iter().position(|b| *b == b'\n'));
        }

        #[test]
        fn any_split_gives_the_same_text_rows(text in "[a\n]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..6)) {
            let bytes = text.as_bytes();
            let mut whole = RowReader::new(CopyFormat::Text);
            whole.push(bytes);
            let mut split = RowReader::new(CopyFormat::Text);
            push_split(&mut split, bytes, cuts);
            prop_assert_eq!(split.finish(), whole.finish());
        }

        #[test]
        fn any_split_gives_the_same_tuples(
            rows in proptest::collection::vec(proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), 0..4), 0..6),
            cuts in proptest::collection::vec(0usize..120, 0..8),
        ) {
            let rows: Vec<Vec<u8>> = rows.iter().map(|row| tuple(&row.iter().map(Option::as_deref).collect::<Vec<_>>())).collect();
            let mut split = RowReader::new(CopyFormat::Binary);
            push_split(&mut split, &rows.concat(), cuts);
            let expected: Vec<&[u8]> = rows.iter().map(|row| &row[2..]).collect();
            prop_assert_eq!(split.finish(), Ok(fingerprint_of(&expected)));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut reader = RowReader::new(CopyFormat::Binary);
            reader.push(&bytes);
            let _ = reader.finish();
        }
    }

    fn push_split(reader: &mut RowReader, bytes: &[u8], mut cuts: Vec<usize>) {
        cuts.sort_unstable();
        let mut begin = 0;
        for cut in cuts.into_iter().map(|cut| cut.min(bytes.len())) {
            reader.push(&bytes[begin..cut]);
            begin = cut;
        }
        reader.push(&bytes[begin..]);
    }
}
