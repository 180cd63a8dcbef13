//! How long messages of a server may be. What is said to be longer is not waited for: whoever is at the other end would fill the memory.

/// Before the session is ready, and for messages that are short by their nature. libpq's limit (`fe-protocol3.c`, 18).
const SHORT: usize = 30_000;
/// Errors, notices and descriptions: as long as texts that people wrote, with room.
const TEXT: usize = 16 << 20;
/// Rows: the server makes none longer (`MaxAllocSize`).
const ROW: usize = 1 << 30;

/// The most bytes that a message may have, its length included and its tag not.
pub(super) fn longest(tag: u8, is_established: bool) -> usize {
    match tag {
        _ if !is_established => SHORT,
        b'D' | b'd' | b'V' => ROW,
        b'E' | b'N' | b'A' | b'T' | b't' => TEXT,
        _ => SHORT,
    }
}

/// What is told of a message that is longer.
pub(super) fn too_long(tag: u8, length: u32) -> String {
    let tag = char::from(tag);
    if tag.is_ascii_alphabetic() {
        format!(
            "the server announced a message of {length} bytes of type {tag:?}, longer than any may be"
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
}
