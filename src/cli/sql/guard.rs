//! What psql would obey in a script although it is no SQL: its commands behind a backslash, which can run programs. Statements and rows
//! come out of an archive, so who made that could put them there. Pure; what is refused, and how, is the caller's.

use crate::sql::script::{Item, ScriptError, Splitter};

/// Ends what is looked at: if it does not come out as it went in, a quote, a comment or a parenthesis is open before it.
const SENTINEL: &str = "SELECT 'pgark'";

/// What is wrong with a text of statements, each of which must stand for itself: none is a command of psql's or begins rows.
pub(super) fn problem_of(statements: &[u8]) -> Option<String> {
    let mut splitter = Splitter::default();
    splitter.push(statements);
    splitter.push(format!(";\n{SENTINEL};").as_bytes());
    splitter.finish();
    let mut last = None;
    loop {
        match splitter.next_item() {
            Ok(Some(Item::Statement(statement))) if statement.copy.is_none() => {
                last = Some(statement.text);
            }
            Ok(Some(_)) => return Some("rows would begin in the middle of it".to_owned()),
            Ok(None) => break,
            Err(ScriptError { problem, .. }) => return Some(problem),
        }
    }
    if splitter.n_commands() > 0 {
        return Some("it holds a command of psql".to_owned());
    }
    let is_whole = last.as_deref() == Some(SENTINEL);
    (!is_whole).then(|| "it has no end: a quote, a comment or a parenthesis is open".to_owned())
}

/// Looks at rows of COPY text as they pass: `\.` on a line of its own would end them, and the rest would be read as script.
#[derive(Debug, Default)]
pub(super) struct RowGuard {
    at: At,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    /// Behind a backslash that begins a line.
    Backslash,
    Inside,
}

impl RowGuard {
    /// Takes the next bytes; false if a line in them begins with `\.`, which no row does.
    pub(super) fn passes(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((first, rest)) = bytes.split_first() {
            match (self.at, first) {
                (At::Backslash, b'.') => return false,
                (_, b'\n') => (self.at, bytes) = (At::LineStart, rest),
                (At::LineStart, b'\\') => (self.at, bytes) = (At::Backslash, rest),
                _ => {
                    let newline = bytes.iter().position(|byte| *byte == b'\n');
                    self.at = At::Inside;
                    bytes = newline.map_or(&[], |at| &bytes[at..]);
                }
            }
        }
        true
    }

    /// True if the last row has its newline.
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::LineStart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_every_form_pass() {
        for good in [
            "SELECT 1",
            "SELECT E'\\'; \\! x', $a$ \\! x $a$, '\\' /* \\! */",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
            "SET SESSION AUTHORIZATION \"a\\b\"; GRANT x TO y; RESET SESSION AUTHORIZATION",
            "COPY t TO '/tmp/x'",
            "",
        ] {
            assert_eq!(problem_of(good.as_bytes()), None, "{good}");
        }
    }

    #[test]
    fn what_psql_would_obey_is_refused() {
        for bad in [
            "SELECT 1\n\\! touch x",
            "SELECT 1 \\g |touch x",
            "\\! touch x",
            "SELECT 1; \\copy t to program 'touch x'",
            "COMMENT ON TABLE t IS 'it''s' \\gexec",
            "\\restrict x\nSELECT 1",
            "\\unrestrict x\nSELECT 1",
            "SELECT 'open",
            "SELECT $a$ open $b$",
            "SELECT (1",
            "SELECT 1 /* open",
            "SELECT 1 -- swallows the semicolon",
            "COPY t FROM stdin",
            "COPY t FROM stdin;\n1\n\\.\n\\! touch x",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1",
        ] {
            assert!(problem_of(bad.as_bytes()).is_some(), "{bad}");
        }
    }

    fn guarded(bytes: &[u8], step: usize) -> (bool, bool) {
        let mut guard = RowGuard::default();
        let passes = bytes.chunks(step).all(|part| guard.passes(part));
        (passes, guard.is_whole())
    }

    #[test]
    fn rows_never_end_early() {
        for (rows, expected) in [
            (&b""[..], (true, true)),
            (b"1\ta\n\\N\n\\\\.\n\n.\n x\\.\n", (true, true)),
            (b"1\ta", (true, false)),
            (b"1\n\\.\n\\! x\n", (false, true)),
            (b"\\.\n", (false, true)),
            (b"\\.\r\n", (false, true)),
        ] {
            for step in 1..=rows.len().max(1) {
                let (passes, is_whole) = guarded(rows, step);
                assert_eq!(passes, expected.0, "{rows:?} by {step}");
                assert!(!passes || is_whole == expected.1, "{rows:?} by {step}");
            }
        }
    }
}
