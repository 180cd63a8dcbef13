//! Sequence values: read after the rows, so that a value is never behind the rows that used it.

use std::collections::HashMap;

use postgres_types::{ToSql, Type};

use crate::error::{Error, Result};
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::Session;
use crate::sql::{Literal, QualifiedName, Sql, sql};

catalog_row! {
    /// The sequences asked for (`$1`), all in one query: the server itself visits each, because their values are no catalog
    /// columns before 18 and only `last_value` knows what `setval(…, false)` left.
    struct ValueRow from
        "unnest($1::pg_catalog.oid[]) AS wanted(oid) \
         JOIN pg_catalog.pg_class c ON c.oid = wanted.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT pg_catalog.query_to_xml(pg_catalog.format( \
             'SELECT last_value, is_called FROM %I.%I', n.nspname, c.relname), true, false, '')::pg_catalog.text) \
             AS v(xml)"
        order "c.oid" {
        oid: Oid = col("c.oid"),
        schema: String = col("n.nspname"),
        name: String = col("c.relname"),
        last_value: Option<i64> =
            col("substring(v.xml FROM '<last_value>(-?[0-9]+)</last_value>')::pg_catalog.int8"),
        is_called: Option<bool> =
            col("substring(v.xml FROM '<is_called>([a-z]+)</is_called>')::pg_catalog.bool"),
    }
}

/// `setval` statements of the wanted sequences.
pub(super) async fn read(session: &Session, wanted: &[Oid]) -> Result<HashMap<Oid, Sql>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let what = "sequence values";
    let oids = wanted.to_vec();
    let param: &(dyn ToSql + Sync) = &oids;
    let query = ValueRow::query(session.version());
    let rows = session
        .query(what, &query, &[(param, Type::OID_ARRAY)])
        .await?;
    let mut values = HashMap::new();
    for row in &rows {
        let row = ValueRow::from_row(row).map_err(Error::sql(what, "reading its rows"))?;
        let name = QualifiedName::new(&*row.schema, &*row.name);
        let (Some(value), Some(called)) = (row.last_value, row.is_called) else {
            return Err(Error::failed(
                format!("sequence {}", name.quoted()),
                "its value could not be read",
                "grant SELECT on it to the dumping role, or leave it out with -T",
            ));
        };
        values.insert(row.oid, setval(&name, value, called));
    }
    Ok(values)
}

fn setval(name: &QualifiedName, value: i64, called: bool) -> Sql {
    let called = if called { "true" } else { "false" };
    sql![
        "SELECT pg_catalog.setval(",
        Literal(&name.quoted()),
        ", ",
        value,
        ", ",
        called,
        ")"
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quoted_name_stands_in_a_literal() {
        let name = QualifiedName::new("s", "it's \"q\"");
        assert_eq!(
            setval(&name, -5, false).text(),
            r#"SELECT pg_catalog.setval('"s"."it''s ""q"""', -5, false)"#
        );
    }
}
