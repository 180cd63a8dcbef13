//! String literals for the DDL that is written out. Values in queries are parameters instead.

use super::{Fragment, Sql};

/// A string literal. Correct whether or not `standard_conforming_strings` is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal<'a>(pub &'a str);

impl Literal<'_> {
    /// The literal as SQL. Text with a backslash becomes `E'…'`, which reads the same under every setting.
    pub fn quoted(&self) -> String {
        let escape = self.0.contains('\\');
        let mut out = String::with_capacity(self.0.len() + 3);
        out.push_str(if escape { "E'" } else { "'" });
        for c in self.0.chars() {
            if c == '\'' || (escape && c == '\\') {
                out.push(c);
            }
            out.push(c);
        }
        out.push('\'');
        out
    }
}

impl Fragment for Literal<'_> {
    fn append(&self, out: &mut Sql) {
        out.push_text(&self.quoted());
    }
}

/// A program's text between dollar quotes, as people write function bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DollarQuoted<'a>(pub &'a str);

impl Fragment for DollarQuoted<'_> {
    fn append(&self, out: &mut Sql) {
        // A delimiter's beginning that nowhere occurs in the text cannot be completed by its end either.
        let mut delimiter = String::from("$");
        while self.0.contains(&delimiter) {
            delimiter.push(if delimiter.len() == 1 { '_' } else { 'x' });
        }
        delimiter.push('$');
        for part in [&delimiter, self.0, &delimiter] {
            out.push_text(part);
        }
    }
}

/// A condition in the user's own SQL, in parentheses on lines of its own, so that a comment cannot swallow what follows. That it
/// is a whole expression, and not the end of one and the beginning of another, must be proved by the server first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition<'a>(pub &'a str);

impl Condition<'_> {
    /// The same condition as the only element of an array: what closes the parentheses does not close these brackets, so a text
    /// that the server takes in both places is one whole expression.
    pub fn in_brackets(&self) -> Sql {
        let mut out = Sql::default();
        for part in ["(ARRAY[\n", self.0, "\n]::pg_catalog.bool[])[1]"] {
            out.push_text(part);
        }
        out
    }
}

impl Fragment for Condition<'_> {
    fn append(&self, out: &mut Sql) {
        for part in ["(\n", self.0, "\n)"] {
            out.push_text(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_doubled() {
        assert_eq!(Literal("it's").quoted(), "'it''s'");
        assert_eq!(Literal(r"a\'b").quoted(), r"E'a\\''b'");
    }

    #[test]
    fn no_text_can_end_its_dollar_quotes() {
        let quoted = |text| crate::sql::sql![DollarQuoted(text)].text();
        assert_eq!(quoted("SELECT 1"), "$$SELECT 1$$");
        assert_eq!(quoted("SELECT $1"), "$_$SELECT $1$_$");
        assert_eq!(quoted("ends with $_"), "$_x$ends with $_$_x$");
    }
}
