//! Names and SQL as text for people. What goes to the server is quoted in `ident` and `literal`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::escape::escaped_byte;

/// `text` with control characters and those that turn its direction escaped, so that a name can break neither a line nor a
/// terminal, nor look like another, and with bytes that are no UTF-8 as `\xE9`.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_printable(c, &mut out);
    }
    out
}

/// The same for texts of several lines: newlines and tabs stay.
pub fn shown(text: &str) -> Cow<'_, str> {
    let stays = |c: char| matches!(c, '\n' | '\t') || !is_hidden(c);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if stays(c) {
            out.push(c);
        } else {
            push_printable(c, &mut out);
        }
    }
    Cow::Owned(out)
}

/// A document of JSON in which every character shows itself: the others stand in its strings only, where an escape means the same.
pub fn shown_json(json: &str) -> Cow<'_, str> {
    // Bytes that are no UTF-8 stay the characters of the private plane for which programs look.
    let hides = |c: char| c != '\n' && is_hidden(c) && escaped_byte(c).is_none();
    if !json.contains(hides) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if hides(c) {
            // Writing to a string does not fail. All of them are in the basic plane.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn push_printable(c: char, out: &mut String) {
    match escaped_byte(c) {
        Some(byte) => {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02X}");
        }
        None if is_hidden(c) => out.extend(c.escape_default()),
        None => out.push(c),
    }
}

/// True for what a terminal would obey or reorder instead of showing it, and for bytes that are no UTF-8.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || escaped_byte(c).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_is_not_text() {
        assert_eq!(printable("é\u{10FFE9}\n"), "é\\xE9\\n");
        assert_eq!(shown("é\u{10FFE9}\n"), "é\\xE9\n");
        let hostile = "\u{1b}[2J\u{9b}1m\r\u{7f}\u{202e}\u{7}a\tb";
        let told = r"\u{1b}[2J\u{9b}1m\r\u{7f}\u{202e}\u{7}a";
        assert_eq!(printable(hostile), format!("{told}\\tb"));
        assert_eq!(shown(hostile), format!("{told}\tb"));
    }

    #[test]
    fn json_says_the_same_in_characters_that_are_seen() {
        let value = serde_json::json!({ "a\u{9b}": "\u{1b}[2J\u{7f}\u{202e}é\u{10FFE9}\n" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = shown_json(&text);
        assert!(
            !shown.chars().any(|c| c != '\n' && c.is_control()) && !shown.contains('\u{202e}'),
            "{shown:?}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}
