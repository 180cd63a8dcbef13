//! Text that a server deparsed, and the few changes that an older or newer server needs in it. Pure.

use super::statement::Fragment;
use super::{ReadText, Sql};

/// Text that a server deparsed (`pg_get_…def`). Made only where rows are read, by `FromSql`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSql(String);

impl ServerSql {
    /// The text as the server gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text without a trailing semicolon and white space (`pg_get_viewdef` ends with one).
    #[must_use]
    pub fn without_semicolon(&self) -> ServerSql {
        ServerSql(self.0.trim_end().trim_end_matches(';').to_owned())
    }

    /// The text without the first ` clause` outside quotes and parentheses; unchanged if there is none.
    ///
    /// A clause that ends with `(` goes up to the parenthesis that closes it.
    #[must_use]
    pub fn without_clause(&self, clause: &str) -> ServerSql {
        let wanted = format!(" {clause}");
        let outside = plain_places(&self.0);
        let start = outside
            .iter()
            .find(|(at, depth)| *depth == 0 && self.0[*at..].starts_with(&wanted));
        let Some((start, _)) = start else {
            return self.clone();
        };
        let mut end = start + wanted.len();
        if clause.ends_with('(') {
            let mut closing = outside
                .iter()
                .filter(|(at, depth)| *at >= end && *depth == 0);
            end = closing.next().map_or(self.0.len(), |(at, _)| *at);
        }
        ServerSql(format!("{}{}", &self.0[..*start], &self.0[end..]))
    }

    /// The text with whole words outside quotes replaced: pairs of old and new.
    #[must_use]
    pub fn with_words(&self, words: &[(&str, &str)]) -> ServerSql {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let mut out = String::new();
        let mut rest = 0;
        for (at, _) in plain_places(&self.0) {
            let starts = at >= rest && !self.0[..at].ends_with(is_word);
            let found = words.iter().find(|(old, _)| {
                let after = self.0[at..].strip_prefix(old);
                starts && after.is_some_and(|after| !after.starts_with(is_word))
            });
            if let Some((old, new)) = found {
                out.push_str(&self.0[rest..at]);
                out.push_str(new);
                rest = at + old.len();
            }
        }
        out.push_str(&self.0[rest..]);
        ServerSql(out)
    }

    /// A body that was parsed when its function was made (`RETURN …`, `BEGIN ATOMIC … END`), as the text that means the same.
    pub fn body_as_text(&self) -> String {
        let body = self.0.trim();
        if let Some(expression) = body.strip_prefix("RETURN ") {
            return format!("SELECT {expression}");
        }
        let inner = body.strip_prefix("BEGIN ATOMIC").unwrap_or(body);
        let inner = inner.strip_suffix("END").unwrap_or(inner);
        inner.trim().to_owned()
    }
}

/// The places of a text outside quotes, each with the number of parentheses open before it.
fn plain_places(text: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let (mut quote, mut depth) = (None, 0_usize);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            // A doubled quote ends and begins again.
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, _) => {
                out.push((at, depth));
                match letter {
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
        }
    }
    out
}

impl Fragment for ServerSql {
    fn append(&self, out: &mut Sql) {
        out.push_text(&self.0);
    }
}

impl<'a> postgres_types::FromSql<'a> for ServerSql {
    fn from_sql(
        ty: &postgres_types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        ReadText::from_sql(ty, raw).map(|text| ServerSql(text.0))
    }

    fn accepts(ty: &postgres_types::Type) -> bool {
        <ReadText as postgres_types::FromSql>::accepts(ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ServerSql {
        ServerSql(text.to_owned())
    }

    #[test]
    fn a_clause_is_taken_out_where_it_is_one() {
        let index = "CREATE UNIQUE INDEX i ON t USING btree (f(' WITH (x)'), \" NULLS NOT DISTINCT\") NULLS NOT DISTINCT WITH (a='1(', b=2) WHERE (x)";
        assert_eq!(
            text(index).without_clause("NULLS NOT DISTINCT").as_str(),
            index.replace(") NULLS NOT DISTINCT WITH", ") WITH")
        );
        assert_eq!(
            text(index).without_clause("WITH (").as_str(),
            index.replace(" WITH (a='1(', b=2) WHERE", " WHERE")
        );
        assert_eq!(text("a").without_clause("WITH (").as_str(), "a");
        assert_eq!(text("a WITH (b)").without_clause("WITH (").as_str(), "a");
    }

    #[test]
    fn words_are_replaced_whole_and_outside_quotes() {
        let words = [
            ("anyarray", "anycompatiblearray"),
            ("anyelement", "anycompatible"),
        ];
        assert_eq!(
            text("anyelement, \"anyarray\" anyarray, s.anyarrays")
                .with_words(&words)
                .as_str(),
            "anycompatible, \"anyarray\" anycompatiblearray, s.anyarrays"
        );
    }

    #[test]
    fn a_parsed_body_becomes_text() {
        assert_eq!(text("RETURN (a + b)").body_as_text(), "SELECT (a + b)");
        let body = "BEGIN ATOMIC\n SELECT x;\n SELECT 2;\nEND";
        assert_eq!(text(body).body_as_text(), "SELECT x;\n SELECT 2;");
        assert_eq!(text("BEGIN ATOMIC\nEND").body_as_text(), "");
    }
}
