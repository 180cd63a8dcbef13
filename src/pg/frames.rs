//! What the header of a server's message may say. A length that cannot be is noticed at once: the bytes that it announces may never come.

use std::io;

/// PostgreSQL makes no larger message.
const BYTES_MAX: usize = (1 << 30) + 5;
/// libpq's limit for messages that have neither rows nor words.
const SHORT_BYTES_MAX: usize = 30_000;

/// Whether a message of this type may be so long, its length field included.
pub(super) fn is_plausible(tag: u8, length: usize) -> bool {
    match tag {
        b'T' | b'D' | b'd' | b'V' | b'E' | b'N' | b'A' => (4..=BYTES_MAX).contains(&length),
        _ => (4..=SHORT_BYTES_MAX).contains(&length),
    }
}

/// The error of a stream that is not the protocol any more.
pub(super) fn lost() -> io::Error {
    let text = "what came is no message of PostgreSQL: something on the way changes bytes, or it is another service";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_cannot_be_are_noticed() {
        let row = 1 << 30;
        for (tag, length) in [(b'Z', 5), (b'1', 4), (b'd', 4), (b'D', row), (b'R', 8)] {
            assert!(is_plausible(tag, length), "{}", char::from(tag));
        }
        let huge = 0xff00_0000;
        for (tag, length) in [
            (b'Z', 3),
            (b'1', 65_284),
            (b'd', 3),
            (b'D', huge),
            (b'?', 1 << 20),
        ] {
            assert!(!is_plausible(tag, length), "{}", char::from(tag));
        }
    }
}
