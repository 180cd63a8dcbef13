//! Texts that say the same in other words: what servers write differently after a reload though
//! nothing was lost. Each case is narrow and has its reason.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// An alias that repeats the type of the cast before it.
static CAST_ALIAS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"::(\w+) AS (\w+)\b").expect("a valid pattern"));

/// Rewrites the text of a property so that texts with one meaning are equal.
///
/// Bodies written `BEGIN ATOMIC`: an unnamed column `'x'::text` is printed without an alias, gets
/// the name `text` when the printed body is read, and then prints as `'x'::text AS text`.
pub(super) fn unified(property: &str, text: &str) -> String {
    let is_body = matches!(property, "prosqlbody" | "definition" | "text");
    if !is_body || !text.contains("BEGIN ATOMIC") {
        return text.to_owned();
    }
    let without_repetition = |found: &Captures<'_>| {
        if found[1] == found[2] {
            format!("::{}", &found[1])
        } else {
            found[0].to_owned()
        }
    };
    CAST_ALIAS
        .replace_all(text, without_repetition)
        .into_owned()
}
