//! Sequence values: read after the rows, so that a value is never behind the rows that used it.

use std::collections::HashMap;

use postgres_types::{ToSql, Type};

use super::entries::Toc;
use crate::error::{Error, Result};
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::Session;
use crate::sql::{Literal, QualifiedName, Sql, sql};
use crate::toc::{Form, Step};

/// Sequences of one query; the server plans each as a branch of a UNION.
const BATCH: usize = 500;

catalog_row! {
    /// Names of the sequences asked for (`$1`).
    struct NameRow from
        "unnest($1::pg_catalog.oid[]) AS wanted(oid) \
         JOIN pg_catalog.pg_class c ON c.oid = wanted.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        order "c.oid" {
        oid: Oid = col("c.oid"),
        schema: String = col("n.nspname"),
        name: String = col("c.relname"),
    }
}

catalog_row! {
    /// Shape of one row of [`values_query`].
    struct ValueRow from "" {
        oid: Oid = col(""),
        last_value: i64 = col(""),
        is_called: bool = col(""),
    }
}

/// Values are no catalog columns before 18, so every sequence is asked itself.
fn values_query(names: &[(Oid, QualifiedName)]) -> Sql {
    let each = names.iter().map(|(oid, name)| {
        sql![
            "SELECT ",
            *oid,
            "::pg_catalog.oid, last_value, is_called FROM ",
            name
        ]
    });
    Sql::join(each, " UNION ALL ")
}

/// Gives each entry of a sequence's value its one statement.
pub(super) async fn fill_in(session: &Session, toc: &mut Toc) -> Result<()> {
    let wanted: Vec<Oid> = toc.sequences.iter().map(|(_, oid)| *oid).collect();
    let mut values = read(session, &wanted).await?;
    for (id, oid) in &toc.sequences {
        if let Some(value) = values.remove(oid) {
            let step = Step {
                sql: vec![value],
                ..Step::default()
            };
            toc.entries[id.0 as usize].forms = vec![Form {
                steps: vec![step],
                ..Form::default()
            }];
        }
    }
    Ok(())
}

/// `setval` statements of the wanted sequences.
async fn read(session: &Session, wanted: &[Oid]) -> Result<HashMap<Oid, Sql>> {
    let what = "sequence values";
    let mut values = HashMap::new();
    for wanted in wanted.chunks(BATCH) {
        let oids = wanted.to_vec();
        let param: &(dyn ToSql + Sync) = &oids;
        let query = NameRow::query(session.version());
        let rows = session
            .query(what, &query, &[(param, Type::OID_ARRAY)])
            .await?;
        let mut names = Vec::new();
        for row in &rows {
            let row = NameRow::from_row(row).map_err(Error::sql(what, "reading their names"))?;
            names.push((row.oid, QualifiedName::new(&*row.schema, &*row.name)));
        }
        let query = values_query(&names).text();
        let rows = session.query(what, &query, &[]).await.map_err(explain)?;
        let names: HashMap<Oid, QualifiedName> = names.into_iter().collect();
        for row in &rows {
            let row = ValueRow::from_row(row).map_err(Error::sql(what, "reading its rows"))?;
            let name = names
                .get(&row.oid)
                .expect("the query gives the OIDs that it was made of");
            values.insert(row.oid, setval(name, row.last_value, row.is_called));
        }
    }
    Ok(values)
}

fn explain(error: Error) -> Error {
    if error.sqlstate() != Some("42501") {
        return error;
    }
    Error::Failed {
        object: "sequence values".into(),
        problem: "one could not be read".into(),
        remedy: "grant SELECT on the sequence to the dumping role, or leave it out with -T".into(),
        source: Some(Box::new(error)),
    }
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
    fn every_sequence_is_a_branch() {
        let names = [
            (7, QualifiedName::new("s", "a")),
            (8, QualifiedName::new("s", "B b")),
        ];
        assert_eq!(
            values_query(&names).text(),
            r#"SELECT 7::pg_catalog.oid, last_value, is_called FROM "s"."a" UNION ALL SELECT 8::pg_catalog.oid, last_value, is_called FROM "s"."B b""#
        );
    }

    #[test]
    fn the_quoted_name_stands_in_a_literal() {
        let name = QualifiedName::new("s", "it's \"q\"");
        assert_eq!(
            setval(&name, -5, false).text(),
            r#"SELECT pg_catalog.setval('"s"."it''s ""q"""', -5, false)"#
        );
    }
}
