//! How long messages of a server may be. What is said to be longer is not waited for: whoever is at the other end would fill the memory.

/// Before the session is ready, and for messages that are short by their nature. libpq's limit (`fe-protocol3.c`, 18).
const SHORT: usize = 30_000;
/// Errors, notices and descriptions: as long as texts that people wrote, with room.
const TEXT: usize = 16 << 20;
/// Rows: the server makes none longer (`MaxAllocSize`, and the message's own head).
const ROW: usize = (1 << 30) + 5;

/// The least bytes that a message has: its length.
const LEAST: usize = 4;

/// True if a message may have so many bytes, its length included and its tag not.
pub(super) fn is_possible(tag: u8, length: usize, is_established: bool) -> bool {
    (LEAST..=longest(tag, is_established)).contains(&length)
}

fn longest(tag: u8, is_established: bool) -> usize {
    match tag {
        _ if !is_established => SHORT,
        b'D' | b'd' | b'V' => ROW,
        b'E' | b'N' | b'A' | b'T' | b't' => TEXT,
        _ => SHORT,
    }
}

/// What is told of a message that cannot be.
pub(super) fn impossible(tag: u8, length: u32) -> String {
    let tag = char::from(tag);
    let than = if (length as usize) < LEAST {
        "shorter"
    } else {
        "longer"
    };
    if tag.is_ascii_alphanumeric() {
        format!(
            "the server announced a message of {length} bytes of type {tag:?}, {than} than any may be: something on the way changes bytes, or it is no PostgreSQL"
        )
    } else {
        "the other end does not speak PostgreSQL's protocol".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_believed_before_the_session_is_ready() {
        for tag in 0..=u8::MAX {
            assert_eq!(longest(tag, false), SHORT);
            assert!(longest(tag, true) <= ROW);
        }
        assert_eq!(longest(b'C', true), SHORT);
        assert_eq!(longest(b'E', true), TEXT);
    }

    #[test]
    fn lengths_that_cannot_be_are_noticed() {
        let row = 1 << 30;
        for (tag, length) in [(b'Z', 5), (b'1', 4), (b'd', 4), (b'D', row), (b'R', 8)] {
            assert!(is_possible(tag, length, true), "{}", char::from(tag));
        }
        let huge = 0xff00_0000;
        for (tag, length) in [
            (b'Z', 3),
            (b'1', 65_284),
            (b'd', 3),
            (b'D', huge),
            (b'?', 1 << 20),
        ] {
            assert!(!is_possible(tag, length, true), "{}", char::from(tag));
        }
    }
}
