//! Reads the catalogs named in `catalogs` into facts: every column, OIDs replaced by names.

use std::collections::BTreeMap;

use super::catalogs::{Catalog, Column, RELATION_CATALOGS};
use super::cross_version::keep;
use super::facts::Facts;
use super::names::Names;
use super::object_catalogs::{ELSEWHERE, OBJECT_CATALOGS};
use super::references::target;
use super::session::{Problem, Session, value};

/// Column names and types of each catalog of one server.
type ServerColumns = BTreeMap<String, Vec<(String, String)>>;

/// One output column of a catalog query.
struct Shown {
    property: String,
    sql: String,
    /// The catalog into which the value, OIDs between blanks, points.
    points_into: Option<&'static str>,
}

/// The columns of every catalog, or a complaint about one that nothing here knows of.
pub(super) async fn server_columns(session: &Session) -> Result<ServerColumns, Problem> {
    let sql = "SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, NULL) \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
               WHERE c.relnamespace = 11 AND c.relkind = 'r' AND c.oid < 16384 \
               AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum";
    let mut columns = ServerColumns::new();
    for row in session.rows(sql).await? {
        let [catalog, column, kind] = [0, 1, 2].map(|at| value(&row, at).unwrap_or_default());
        columns.entry(catalog).or_default().push((column, kind));
    }
    for catalog in columns.keys() {
        let mut known = RELATION_CATALOGS.iter().chain(OBJECT_CATALOGS);
        let read = known.any(|known| known.name == catalog);
        if !read && !ELSEWHERE.iter().any(|(name, _)| name == catalog) {
            return Err(format!("catalog {catalog} is not known to the comparison"));
        }
    }
    Ok(columns)
}

/// Reads the rows of `catalogs` that a user made.
pub(super) async fn read_catalogs(
    session: &Session,
    catalogs: &[Catalog],
    columns: &ServerColumns,
    names: &mut Names,
    cross_version: bool,
) -> Result<Facts, Problem> {
    let mut fetched = Vec::new();
    for catalog in catalogs {
        let Some(server) = columns.get(catalog.name) else {
            continue;
        };
        let key = key_columns(catalog, server)?;
        let shown = shown_columns(catalog, server)?;
        let outputs = key
            .iter()
            .chain(&shown)
            .map(|column| format!(", {}", column.sql));
        let sql = format!(
            "SELECT {}{} FROM pg_catalog.{} x WHERE ({}){}",
            catalog.label,
            outputs.collect::<String>(),
            catalog.name,
            catalog.keep,
            if cross_version {
                keep(catalog)
            } else {
                String::new()
            },
        );
        let rows = session.rows(&sql).await?;
        for row in &rows {
            for (at, column) in key.iter().chain(&shown).enumerate() {
                if let Some(into) = column.points_into {
                    names.want(into, row.get(at + 1));
                }
            }
        }
        fetched.push((catalog, key, shown, rows));
    }
    names.fetch(session).await?;
    let mut facts = Facts::default();
    for (catalog, key, shown, rows) in fetched {
        for row in rows {
            let text = |at: usize, column: &Shown| match column.points_into {
                Some(into) => names.resolve(into, row.get(at)),
                None => value(&row, at),
            };
            let mut name = catalog.key.to_owned();
            for (at, column) in key.iter().enumerate() {
                let part = text(at + 1, column).unwrap_or_default();
                name = name.replace(&format!("{{{}}}", column.property), &part);
            }
            let object = format!("{} {name}", row.get(0).unwrap_or_default());
            for (at, column) in shown.iter().enumerate() {
                facts.add(
                    object.trim_end(),
                    &column.property,
                    text(at + 1 + key.len(), column),
                );
            }
        }
    }
    Ok(facts)
}

/// The columns in braces in the catalog's key.
fn key_columns(catalog: &Catalog, server: &[(String, String)]) -> Result<Vec<Shown>, Problem> {
    let in_key = |column: &str| catalog.key.contains(&format!("{{{column}}}"));
    let columns = server.iter().filter(|(column, _)| in_key(column));
    columns
        .map(|(column, kind)| {
            let said = catalog.columns.iter().find(|(name, _)| name == column);
            match said {
                Some((_, Column::Sql(sql))) => Ok(Shown {
                    property: column.clone(),
                    sql: (*sql).to_owned(),
                    points_into: None,
                }),
                _ => plain_column(catalog, column, kind),
            }
        })
        .collect()
}

fn shown_columns(catalog: &Catalog, server: &[(String, String)]) -> Result<Vec<Shown>, Problem> {
    let mut shown = Vec::new();
    for (column, kind) in server {
        let said = catalog.columns.iter().find(|(name, _)| name == column);
        let sql = match said.map(|(_, said)| said) {
            Some(Column::Skip(_)) => continue,
            Some(Column::Sql(sql) | Column::Extra(sql)) => (*sql).to_owned(),
            Some(Column::Names(relation)) => attribute_names(column, relation),
            None if column == "oid" => continue,
            None => {
                shown.push(plain_column(catalog, column, kind)?);
                continue;
            }
        };
        shown.push(Shown {
            property: column.clone(),
            sql,
            points_into: None,
        });
    }
    for (property, said) in catalog.columns {
        if let Column::Extra(sql) = said {
            let sql = (*sql).to_owned();
            shown.push(Shown {
                property: (*property).to_owned(),
                sql,
                points_into: None,
            });
        }
    }
    Ok(shown)
}

/// A column shown by what its name and type tell.
fn plain_column(catalog: &Catalog, column: &str, kind: &str) -> Result<Shown, Problem> {
    let points_into = if column == "oid" {
        Some(catalog.name)
    } else {
        target(catalog.name, column)
    };
    let sql = match (points_into, kind) {
        (Some(_), "oid[]" | "oidvector") => {
            format!("pg_catalog.array_to_string(x.{column}::pg_catalog.oid[], ' ')")
        }
        (Some(_), _) => format!("x.{column}::pg_catalog.oid::text"),
        (None, "aclitem[]") => sorted_acl(&format!("x.{column}")),
        (None, "text[]") if column.ends_with("options") => sorted_options(column),
        (
            None,
            "oid" | "oid[]" | "oidvector" | "regproc" | "pg_node_tree" | "smallint[]"
            | "int2vector" | "xid",
        ) => {
            return Err(format!(
                "column {column} of {} ({kind}) is not known to the comparison",
                catalog.name
            ));
        }
        (None, _) => format!("x.{column}::text"),
    };
    Ok(Shown {
        property: column.to_owned(),
        sql,
        points_into,
    })
}

/// SQL of an access control list whose items are sorted; NULL, the default, and `{}` stay apart.
pub(super) fn sorted_acl(acl: &str) -> String {
    format!(
        "CASE WHEN {acl} IS NOT NULL THEN ARRAY(SELECT i::text FROM pg_catalog.unnest({acl}) i \
         ORDER BY i::text COLLATE \"C\")::text END"
    )
}

/// Options have no order, and none is the same as no list. `pg_attver` is written by servers since
/// the minor releases of November 2026 into every column's options, for their own use.
fn sorted_options(column: &str) -> String {
    format!(
        "NULLIF(ARRAY(SELECT o FROM pg_catalog.unnest(x.{column}) o WHERE o NOT LIKE 'pg\\_attver=%' \
         ORDER BY o COLLATE \"C\")::text, '{{}}')"
    )
}

fn attribute_names(column: &str, relation: &str) -> String {
    format!(
        "CASE WHEN x.{column} IS NOT NULL THEN ARRAY(SELECT COALESCE((SELECT a.attname::text \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.{relation} AND a.attnum = k.n), k.n::text) \
         FROM pg_catalog.unnest(x.{column}::pg_catalog.int2[]) WITH ORDINALITY k(n, place) ORDER BY k.place)::text END"
    )
}
