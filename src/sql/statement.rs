//! `Sql`: statement text in pieces, so that role names stay facts which a restore may map.

use serde::de::{self, Deserializer};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use super::Ident;

/// What may stand in a [`Sql`]. Neither `String` nor a borrowed `&str` is one.
pub trait Fragment {
    /// Appends the fragment's text.
    fn append(&self, out: &mut Sql);
}

/// One piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    /// Finished SQL text.
    Text(String),
    /// A role, unquoted, which the reader may map before it is quoted.
    Role {
        /// The role's name as the source server had it.
        role: String,
    },
    /// The archived database, unquoted; a restore under another name puts that here.
    Database {
        /// The database's name at the source.
        database: String,
    },
}

/// One statement, or a part of one, without a trailing semicolon.
///
/// As JSON a statement without roles is a string, one with roles an array of pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Sql {
    pieces: Vec<Piece>,
}

impl Sql {
    /// True if nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces in order; adjacent text is one piece.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The role names in the statement.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Role { role } => Some(role.as_str()),
            Piece::Text(_) | Piece::Database { .. } => None,
        })
    }

    /// The same to be changed.
    pub fn roles_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.pieces.iter_mut().filter_map(|piece| match piece {
            Piece::Role { role } => Some(role),
            Piece::Text(_) | Piece::Database { .. } => None,
        })
    }

    /// The SQL text, each role name given to `map` first.
    pub fn text_with(&self, map: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Role { role } => out.push_str(&Ident::new(map(role)).quoted()),
                Piece::Database { database } => out.push_str(&Ident::new(database).quoted()),
            }
        }
        out
    }

    /// The same statement about the database `name` instead of the archived one.
    #[must_use]
    pub fn in_database(&self, name: &str) -> Sql {
        let mut out = self.clone();
        for piece in &mut out.pieces {
            if let Piece::Database { database } = piece {
                name.clone_into(database);
            }
        }
        out
    }

    /// The SQL text with the roles of the source.
    pub fn text(&self) -> String {
        self.text_with(str::to_owned)
    }

    /// Fragments separated by `separator`.
    pub fn join<F: Fragment>(parts: impl IntoIterator<Item = F>, separator: &'static str) -> Sql {
        let mut out = Sql::default();
        for (i, part) in parts.into_iter().enumerate() {
            if i > 0 {
                out.push_text(separator);
            }
            part.append(&mut out);
        }
        out
    }

    /// Fragments separated by a comma and a space.
    pub fn list<F: Fragment>(parts: impl IntoIterator<Item = F>) -> Sql {
        Sql::join(parts, ", ")
    }

    pub(super) fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Piece::Text(last)) = self.pieces.last_mut() {
            last.push_str(text);
        } else {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }

    /// Appends a word of SQL's own vocabulary that the caller has checked to be one.
    pub(crate) fn push_keyword(&mut self, word: &str) {
        self.push_text(word);
    }

    fn push_role(&mut self, role: &str) {
        self.pieces.push(Piece::Role {
            role: role.to_owned(),
        });
    }
}

impl Serialize for Sql {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.pieces.as_slice() {
            [] => serializer.serialize_str(""),
            [Piece::Text(text)] => serializer.serialize_str(text),
            pieces => {
                let mut seq = serializer.serialize_seq(Some(pieces.len()))?;
                for piece in pieces {
                    seq.serialize_element(piece)?;
                }
                seq.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Sql {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Text(String),
            Pieces(Vec<Piece>),
        }
        let stored = Stored::deserialize(deserializer)
            .map_err(|_| de::Error::custom("a statement is a string or an array of pieces"))?;
        let pieces = match stored {
            Stored::Text(text) => vec![Piece::Text(text)],
            Stored::Pieces(pieces) => pieces,
        };
        // Somebody else may have written it: empty and adjacent texts are joined as our own are.
        let mut sql = Sql::default();
        Sql { pieces }.append(&mut sql);
        Ok(sql)
    }
}

impl Fragment for Sql {
    fn append(&self, out: &mut Sql) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_text(text),
                Piece::Role { role } => out.push_role(role),
                Piece::Database { .. } => out.pieces.push(piece.clone()),
            }
        }
    }
}

impl Fragment for &'static str {
    fn append(&self, out: &mut Sql) {
        out.push_text(self);
    }
}

impl<T: Fragment> Fragment for &T {
    fn append(&self, out: &mut Sql) {
        (**self).append(out);
    }
}

impl<T: Fragment> Fragment for Option<T> {
    fn append(&self, out: &mut Sql) {
        if let Some(part) = self {
            part.append(out);
        }
    }
}

macro_rules! number_fragments {
    ($($number:ty),*) => {$(
        impl Fragment for $number {
            fn append(&self, out: &mut Sql) {
                out.push_text(&self.to_string());
            }
        }
    )*};
}
number_fragments!(i16, i32, i64, u16, u32, u64, usize);

/// A role name in a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(pub String);

impl Fragment for Role {
    fn append(&self, out: &mut Sql) {
        out.push_role(&self.0);
    }
}

/// The archived database's name in a statement about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseName<'a>(pub &'a str);

impl Fragment for DatabaseName<'_> {
    fn append(&self, out: &mut Sql) {
        out.pieces.push(Piece::Database {
            database: self.0.to_owned(),
        });
    }
}

/// To whom a privilege is given or a policy applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grantee {
    /// Everybody: the keyword `PUBLIC`, not an identifier.
    #[serde(rename = "public")]
    Public,
    /// One role.
    #[serde(rename = "role")]
    Role(Role),
}

impl Fragment for Grantee {
    fn append(&self, out: &mut Sql) {
        match self {
            Grantee::Public => out.push_text("PUBLIC"),
            Grantee::Role(role) => role.append(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{QualifiedName, sql};

    #[test]
    fn roles_stay_pieces_and_can_be_mapped() {
        let statement = sql![
            "GRANT x TO ",
            Role("a b".into()),
            None::<Sql>,
            " LIMIT ",
            5_i32
        ];
        assert_eq!(statement.text(), r#"GRANT x TO "a b" LIMIT 5"#);
        assert_eq!(
            statement.text_with(|_| "c".into()),
            r#"GRANT x TO "c" LIMIT 5"#
        );
        let json = serde_json::to_string(&statement).unwrap();
        assert_eq!(json, r#"["GRANT x TO ",{"role":"a b"}," LIMIT 5"]"#);
        assert_eq!(serde_json::from_str::<Sql>(&json).unwrap(), statement);
    }

    #[test]
    fn the_database_stays_a_piece_and_can_be_another() {
        let name = "a\"b";
        let statement = sql!["ALTER DATABASE ", DatabaseName(name), " RESET ALL"];
        assert_eq!(statement.text(), r#"ALTER DATABASE "a""b" RESET ALL"#);
        let other = statement.in_database("c");
        assert_eq!(other.text(), r#"ALTER DATABASE "c" RESET ALL"#);
        let json = serde_json::to_string(&other).unwrap();
        assert_eq!(json, r#"["ALTER DATABASE ",{"database":"c"}," RESET ALL"]"#);
        assert_eq!(serde_json::from_str::<Sql>(&json).unwrap(), other);
    }

    #[test]
    fn a_statement_without_roles_is_a_json_string() {
        let statement = sql!["DROP TABLE ", QualifiedName::new("s", "t")];
        assert_eq!(
            serde_json::to_string(&statement).unwrap(),
            r#""DROP TABLE \"s\".\"t\"""#
        );
    }
}
