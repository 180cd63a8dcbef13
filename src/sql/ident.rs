//! Quoted identifiers. They have no `Display`, so they cannot leak into SQL unquoted.

use serde::{Deserialize, Serialize};

use super::{Fragment, Sql};

/// One identifier, exactly as it stands in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ident(String);

impl Ident {
    /// Takes the name as the catalog has it, unquoted.
    pub fn new(name: impl Into<String>) -> Self {
        Ident(name.into())
    }

    /// The unquoted name, for comparison and for people; never for SQL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as SQL: always in double quotes, because words that are free today are reserved in another version.
    pub fn quoted(&self) -> String {
        let mut out = String::with_capacity(self.0.len() + 2);
        push_quoted(&self.0, &mut out);
        out
    }
}

fn push_quoted(name: &str, out: &mut String) {
    out.push('"');
    for c in name.chars() {
        if c == '"' {
            out.push('"');
        }
        out.push(c);
    }
    out.push('"');
}

impl Fragment for Ident {
    fn append(&self, out: &mut Sql) {
        out.push_text(&self.quoted());
    }
}

/// A name in a schema, or a bare name where the schema is absent (casts, languages, extensions).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QualifiedName {
    /// The schema, if the object lives in one.
    pub schema: Option<Ident>,
    /// The object's own name.
    pub name: Ident,
}

impl QualifiedName {
    /// A name in a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        QualifiedName {
            schema: Some(Ident::new(schema)),
            name: Ident::new(name),
        }
    }

    /// A name outside any schema.
    pub fn bare(name: impl Into<String>) -> Self {
        QualifiedName {
            schema: None,
            name: Ident::new(name),
        }
    }

    /// The name as SQL, each part quoted.
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", schema.quoted(), self.name.quoted()),
            None => self.name.quoted(),
        }
    }
}

impl Fragment for QualifiedName {
    fn append(&self, out: &mut Sql) {
        out.push_text(&self.quoted());
    }
}

/// The identifier in double quotes at the beginning of a text, without its quotes, and what follows it.
pub fn leading_quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut name = String::new();
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(
            QualifiedName::new("S x", "a\"b").quoted(),
            r#""S x"."a""b""#
        );
    }
}
