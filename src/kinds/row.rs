//! `catalog_row!`: a row struct that *is* its query. Field, type and column stand in one place and cannot fall out of step.

use postgres_types::{FromSql, Type};
use tokio_postgres::Row;

use crate::pg::version::ServerVersion;
use crate::sql::{ReadText, ServerSql};

/// A PostgreSQL object identifier.
pub type Oid = u32;

/// A row of one catalog query.
pub trait CatalogRow: Sized + Send {
    /// The query's text for a server.
    ///
    /// A query of pass two (`…Text`) has one parameter `$1::pg_catalog.oid[]`, the objects to deparse; one of pass one has none.
    fn query(server: ServerVersion) -> String;

    /// Reads a row by position.
    fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error>;
}

/// A value of the type `"char"`, such as `relkind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Letter(pub char);

impl<'a> FromSql<'a> for Letter {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        // A zero byte is how the type spells "empty".
        Ok(Letter(raw.first().map_or('\0', |byte| char::from(*byte))))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::CHAR
    }
}

impl PartialEq<char> for Letter {
    fn eq(&self, other: &char) -> bool {
        self.0 == *other
    }
}

/// A type that a column of a query may have.
pub trait Column: Sized {
    /// How it is read; text is escaped, because the database may have no encoding.
    type Read: for<'a> FromSql<'a>;

    /// The value.
    fn of(read: Self::Read) -> Self;
}

/// Reads one column.
pub(crate) fn read<C: Column>(row: &Row, at: usize) -> Result<C, tokio_postgres::Error> {
    row.try_get::<usize, C::Read>(at).map(C::of)
}

impl Column for String {
    type Read = ReadText;

    fn of(read: ReadText) -> String {
        read.0
    }
}

impl Column for Option<String> {
    type Read = Option<ReadText>;

    fn of(read: Self::Read) -> Self {
        read.map(|text| text.0)
    }
}

impl Column for Vec<String> {
    type Read = Vec<ReadText>;

    fn of(read: Self::Read) -> Self {
        read.into_iter().map(|text| text.0).collect()
    }
}

impl Column for Option<Vec<String>> {
    type Read = Option<Vec<ReadText>>;

    fn of(read: Self::Read) -> Self {
        read.map(Vec::of)
    }
}

macro_rules! columns {
    ($($ty:ty),+ $(,)?) => {$(
        impl Column for $ty {
            type Read = $ty;

            fn of(read: $ty) -> $ty {
                read
            }
        }

        impl Column for Option<$ty> {
            type Read = Option<$ty>;

            fn of(read: Self) -> Self {
                read
            }
        }

        impl Column for Vec<$ty> {
            type Read = Vec<$ty>;

            fn of(read: Self) -> Self {
                read
            }
        }

        impl Column for Vec<Option<$ty>> {
            type Read = Vec<Option<$ty>>;

            fn of(read: Self) -> Self {
                read
            }
        }

        impl Column for Option<Vec<$ty>> {
            type Read = Option<Vec<$ty>>;

            fn of(read: Self) -> Self {
                read
            }
        }
    )+};
}
columns!(bool, i16, i32, i64, f32, f64, Oid, Letter, ServerSql);

/// Says nothing in pass two: for kinds whose raw row is enough.
#[derive(Debug)]
pub struct NoText;

impl CatalogRow for NoText {
    fn query(_: ServerVersion) -> String {
        String::new()
    }

    fn from_row(_: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(NoText)
    }
}

/// Declares a row struct with its query.
///
/// `col(sql)` is a column of every server; `since(version, sql, otherwise)` one that older servers lack, with what they get instead;
/// `by(|server| text)` anything else. `where "…"` is optional.
///
/// ```text
/// catalog_row! {
///     /// `pg_policy`, one row per policy.
///     pub struct PolicyRow from "pg_catalog.pg_policy p" where "p.polrelid >= 16384" {
///         oid: Oid = col("p.oid"),
///         permissive: bool = col("p.polpermissive"),
///     }
/// }
/// ```
macro_rules! catalog_row {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident from $from:literal $(where $filter:literal)? $(order $order:literal)? {
            $( $(#[$field_meta:meta])* $field:ident : $ty:ty = $how:ident ( $($arg:expr),+ $(,)? ) ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        #[allow(missing_docs, clippy::struct_excessive_bools)]
        $vis struct $name { $( $(#[$field_meta])* pub $field: $ty ),+ }

        impl $crate::kinds::row::CatalogRow for $name {
            fn query(server: $crate::pg::version::ServerVersion) -> String {
                let _ = server;
                let columns: Vec<String> =
                    vec![ $( $crate::kinds::row::column::$how(server, $($arg),+) ),+ ];
                #[allow(unused_mut)]
                let mut query = format!("SELECT {} FROM {}", columns.join(", "), $from);
                $( query.push_str(" WHERE "); query.push_str($filter); )?
                $( query.push_str(" ORDER BY "); query.push_str($order); )?
                query
            }

            fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
                let mut position = 0..;
                let mut next = || position.next().expect("an open range never ends");
                let _ = &mut next;
                Ok($name { $( $field: $crate::kinds::row::read::<$ty>(row, next())? ),+ })
            }
        }
    };
}
pub(crate) use catalog_row;

/// The column forms of [`catalog_row!`].
pub(crate) mod column {
    use crate::pg::version::ServerVersion;

    /// A column that every server has.
    pub(crate) fn col(_: ServerVersion, sql: &str) -> String {
        sql.to_owned()
    }

    /// A column since a version, and what older servers get instead.
    pub(crate) fn since(
        server: ServerVersion,
        version: ServerVersion,
        sql: &str,
        otherwise: &str,
    ) -> String {
        if server >= version { sql } else { otherwise }.to_owned()
    }

    /// A column whose text depends on the server in another way.
    #[allow(
        dead_code,
        reason = "one of the three column forms, whether or not a kind needs it today"
    )]
    pub(crate) fn by(server: ServerVersion, text: impl Fn(ServerVersion) -> String) -> String {
        text(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::{V14, V15};

    catalog_row! {
        /// Two columns, one of them new.
        #[allow(dead_code, reason = "only its query is looked at")]
        struct Sample from "pg_catalog.pg_index i" where "i.indisvalid" order "1" {
            oid: Oid = col("i.indexrelid"),
            nulls_not_distinct: bool = since(V15, "i.indnullsnotdistinct", "false"),
        }
    }

    #[test]
    fn the_struct_is_the_query() {
        assert_eq!(
            Sample::query(V14),
            "SELECT i.indexrelid, false FROM pg_catalog.pg_index i WHERE i.indisvalid ORDER BY 1"
        );
        assert!(Sample::query(V15).contains("i.indnullsnotdistinct"));
    }
}
