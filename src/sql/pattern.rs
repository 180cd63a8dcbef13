//! PostgreSQL's object name patterns, as `psql`'s `\d` reads them. Pure: matching is done here, not on the server.

use regex::Regex;

use crate::error::{Error, Result};

/// What a pattern names, which decides how many dots it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternScope {
    /// `[database.]schema.relation`
    Relation,
    /// `[database.]schema`
    Schema,
    /// One name (extensions, servers, databases, roles).
    Name,
}

/// One pattern, parsed. Matches as the manual's "Patterns" section under psql says.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    database: Option<String>,
    schema: Option<Regex>,
    name: Regex,
}

impl Pattern {
    /// Parses `text`. Unquoted letters fold to lower case, `*` and `?` are wild, quotes make text literal, dots separate.
    ///
    /// Errors: [`Error::Usage`] for too many dots, an open quote, or a regular expression that is not one.
    pub fn parse(text: &str, scope: PatternScope) -> Result<Pattern> {
        let mut parts = split_parts(text)?;
        let max_parts = match scope {
            PatternScope::Relation => 3,
            PatternScope::Schema => 2,
            PatternScope::Name => 1,
        };
        if parts.len() > max_parts {
            return Err(Error::Usage(format!(
                "pattern {text:?}: too many dotted names"
            )));
        }
        let name = regex_of(
            text,
            &parts.pop().expect("a pattern has at least one part").regex,
        )?;
        let (mut schema, mut database) = (None, None);
        if scope == PatternScope::Relation {
            schema = parts
                .pop()
                .map(|part| regex_of(text, &part.regex))
                .transpose()?;
        }
        if let Some(part) = parts.pop() {
            database = Some(part.literal);
        }
        Ok(Pattern {
            text: text.to_owned(),
            database,
            schema,
            name,
        })
    }

    /// The pattern as the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The database the pattern names, compared literally with the connected one.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// True if the pattern names a schema.
    pub fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    /// Matches a plain name (schema, extension, server).
    pub fn matches_name(&self, name: &str) -> bool {
        self.name.is_match(name)
    }

    /// Matches a relation. Without a schema part only relations `visible` in the user's search path match.
    pub fn matches_relation(&self, schema: &str, name: &str, visible: bool) -> bool {
        let schema_fits = match &self.schema {
            Some(pattern) => pattern.is_match(schema),
            None => visible,
        };
        schema_fits && self.name.is_match(name)
    }
}

#[derive(Default)]
struct PatternPart {
    regex: String,
    literal: String,
}

fn split_parts(text: &str) -> Result<Vec<PatternPart>> {
    let mut parts = vec![PatternPart::default()];
    let mut in_quotes = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let part = parts.last_mut().expect("starts with one part");
        match c {
            '"' if in_quotes && chars.peek() == Some(&'"') => {
                chars.next();
                part.regex.push('"');
                part.literal.push('"');
            }
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(PatternPart::default()),
            '*' if !in_quotes => {
                part.regex.push_str(".*");
                part.literal.push('*');
            }
            '?' if !in_quotes => {
                part.regex.push('.');
                part.literal.push('?');
            }
            // psql: a dollar is literal everywhere, and so is an empty bracket pair (array types).
            '$' => push_literal(part, '$'),
            '[' if chars.peek() == Some(&']') => {
                chars.next();
                part.regex.push_str("\\[\\]");
                part.literal.push_str("[]");
            }
            _ if in_quotes => push_literal(part, c),
            '|' | '+' | '(' | ')' | '{' | '}' | '[' | ']' | '^' | '\\' => {
                part.regex.push(c);
                part.literal.push(c);
            }
            _ => push_literal(part, c.to_ascii_lowercase()),
        }
    }
    if in_quotes {
        return Err(Error::Usage(format!(
            "pattern {text:?}: a double quote is not closed"
        )));
    }
    Ok(parts)
}

fn push_literal(part: &mut PatternPart, c: char) {
    part.regex
        .push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    part.literal.push(c);
}

fn regex_of(text: &str, part: &str) -> Result<Regex> {
    // (?s): in PostgreSQL's regular expressions a dot matches a newline, which names may hold.
    Regex::new(&format!("^(?s:{part})$")).map_err(|problem| {
        Error::Usage(format!(
            "pattern {text:?} is not a valid regular expression: {problem}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(pattern: &str, schema: &str, name: &str) -> bool {
        Pattern::parse(pattern, PatternScope::Relation)
            .unwrap()
            .matches_relation(schema, name, true)
    }

    #[test]
    fn letters_fold_and_wildcards_match() {
        assert!(relation("Sales.Ord*", "sales", "orders"));
        assert!(relation("order?", "x", "orders"));
        assert!(!relation("order", "x", "orders"));
        assert!(relation("(a|b)c", "x", "bc"));
    }

    #[test]
    fn quotes_make_text_literal() {
        assert!(relation(r#""Mixed*""#, "x", "Mixed*"));
        assert!(!relation(r#""Mixed*""#, "x", "Mixedness"));
        assert!(relation(r#""a.b"."c""d""#, "a.b", "c\"d"));
        assert!(relation(r#"Foo"Bar""#, "x", "fooBar"));
        assert!(relation("a$b", "x", "a$b"));
    }

    #[test]
    fn without_a_schema_only_visible_relations_match() {
        let pattern = Pattern::parse("t", PatternScope::Relation).unwrap();
        assert!(!pattern.matches_relation("hidden", "t", false));
        assert!(
            Pattern::parse("hidden.t", PatternScope::Relation)
                .unwrap()
                .matches_relation("hidden", "t", false)
        );
    }

    #[test]
    fn too_many_dots_and_open_quotes_are_errors() {
        assert!(Pattern::parse("a.b.c.d", PatternScope::Relation).is_err());
        assert!(Pattern::parse("a.b.c", PatternScope::Schema).is_err());
        assert!(Pattern::parse("a.b", PatternScope::Name).is_err());
        assert!(Pattern::parse("\"a", PatternScope::Name).is_err());
        assert_eq!(
            Pattern::parse("db.s.t", PatternScope::Relation)
                .unwrap()
                .database(),
            Some("db")
        );
    }
}
