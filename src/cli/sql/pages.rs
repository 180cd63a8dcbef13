//! Pages of large objects out of binary rows: a tuple of (number, byte offset, data) becomes a row of COPY text.
//! Bytes come from outside: what is no such tuple is an error.

/// Fields of a tuple, and the sizes of the first two.
const FIELDS: [u8; 2] = [0, 3];
const OID_BYTES: [u8; 4] = [0, 0, 0, 4];
const OFFSET_BYTES: [u8; 4] = [0, 0, 0, 8];
/// What stands before the data: the number of fields, three sizes, two values.
const HEAD_BYTES: usize = 2 + 3 * 4 + 4 + 8;
/// Most bytes of a page, on servers with the largest blocks.
const PAGE_BYTES_MAX: usize = 32 << 10;

/// The first tuple of `bytes` as a row of COPY text without its newline, and its length; `None` if it is not all there yet.
///
/// Errors: what is wrong with the bytes.
pub(super) fn first_row(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Ok(None);
    };
    let is_page = head[..2] == FIELDS && head[2..6] == OID_BYTES && head[10..14] == OFFSET_BYTES;
    if !is_page {
        return Err("this is no page of a large object");
    }
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let offset = u64::from(number(14)) << 32 | u64::from(number(18));
    let n_bytes = number(22) as usize;
    if n_bytes > PAGE_BYTES_MAX {
        return Err("a page of a large object is longer than pages are");
    }
    let Some(data) = rest.get(..n_bytes) else {
        return Ok(None);
    };
    let mut row = format!("{}\t{}\t\\\\x", number(6), offset.cast_signed()).into_bytes();
    row.reserve(2 * n_bytes);
    for byte in data {
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
        row.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    Ok(Some((row, HEAD_BYTES + n_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(data: &[u8]) -> Vec<u8> {
        let mut tuple = [
            &FIELDS[..],
            &OID_BYTES,
            &4711_u32.to_be_bytes(),
            &OFFSET_BYTES,
        ]
        .concat();
        tuple.extend((1_i64 << 33).to_be_bytes());
        tuple.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        tuple.extend(data);
        tuple
    }

    #[test]
    fn a_tuple_becomes_a_row_when_it_is_there() {
        let tuple = tuple(&[0, 0xff, b'\\']);
        for n in 0..tuple.len() {
            assert_eq!(first_row(&tuple[..n]), Ok(None), "{n}");
        }
        let two = [tuple.clone(), tuple.clone()].concat();
        let (row, n_bytes) = first_row(&two).unwrap().unwrap();
        assert_eq!(
            (row.as_slice(), n_bytes),
            (&br"4711	8589934592	\\x00ff5c"[..], tuple.len())
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        let mut other = tuple(&[1]);
        other[1] = 2;
        assert!(first_row(&other).is_err());
        let mut long = tuple(&[1]);
        long[22] = 0x7f;
        assert!(first_row(&long).is_err());
    }
}
