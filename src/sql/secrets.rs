//! Keeps passwords out of what is shown: users put them into the wrong place, messages repeat what they were given, and the
//! statements of roles and subscriptions hold them.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// `postgres://user:password@host`
static IN_URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(://[^\s:/@]*):\S*@"));
/// `password=…` of connection settings, `PASSWORD '…'` of SQL
static NAMED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(password(?:\s*=\s*|\s+E?))('(?:[^'\\…]|\\.|'')*(?:'|…|$))"));
static PLAIN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(\bpassword\s*=\s*)([^\s'&]+)"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the patterns above are right")
}

/// The text with asterisks where passwords stand.
pub fn hide_passwords(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for (pattern, instead) in [(&IN_URL, "$1:***@"), (&NAMED, "$1***"), (&PLAIN, "$1***")] {
        if pattern.is_match(&text) {
            text = Cow::Owned(pattern.replace_all(&text, instead).into_owned());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_wherever_they_stand() {
        for (text, expected) in [
            (
                "no archive \"postgres://me:s3cret@h/x\"",
                "no archive \"postgres://me:***@h/x\"",
            ),
            (
                "'host=h password=s3cret dbname=x'",
                "'host=h password=*** dbname=x'",
            ),
            ("password = 's3 cr\\'et' x", "password = *** x"),
            (
                "postgres://h/x?password=s3cret&user=me",
                "postgres://h/x?password=***&user=me",
            ),
            (
                "ALTER ROLE a PASSWORD 's3cret' failed",
                "ALTER ROLE a PASSWORD *** failed",
            ),
            (
                "ALTER ROLE a PASSWORD 's3cr… failed",
                "ALTER ROLE a PASSWORD *** failed",
            ),
        ] {
            assert_eq!(hide_passwords(text), expected);
        }
        for harmless in [
            "postgres://me@h:5432/x",
            "no password supplied",
            "table s.t: failed",
        ] {
            assert!(
                matches!(hide_passwords(harmless), Cow::Borrowed(_)),
                "{harmless}"
            );
        }
    }
}
