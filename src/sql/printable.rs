//! Names and SQL as text for people. What goes to the server is quoted in `ident` and `literal`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::escape::{escaped_byte, has_escapes};

/// `text` with control characters escaped, so that a name can break neither a line nor a terminal, and with bytes that are
/// no UTF-8 as `\xE9`.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match escaped_byte(c) {
            Some(byte) => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\x{byte:02X}");
            }
            None if c.is_control() => out.extend(c.escape_default()),
            None => out.push(c),
        }
    }
    out
}

/// `text` with bytes that are no UTF-8 as `\xE9`, and everything else as it is: for texts of several lines.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !has_escapes(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match escaped_byte(c) {
            Some(_) => out.push_str(&printable(c.encode_utf8(&mut [0; 4]))),
            None => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_is_not_text() {
        assert_eq!(printable("é\u{10FFE9}\n"), "é\\xE9\\n");
        assert_eq!(shown("é\u{10FFE9}\n"), "é\\xE9\n");
    }
}
