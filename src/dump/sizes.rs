//! How large tables are, which the plan goes by.

use std::collections::{BTreeSet, HashMap};

use postgres_types::{ToSql, Type};

use crate::error::{Error, Result};
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::Session;

catalog_row! {
    /// How large the tables asked for (`$1`) are now. Sizes ignore the snapshot; they only steer the plan.
    pub(super) struct SizeRow from
        "pg_catalog.pg_class c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam" {
        oid: Oid = col("c.oid"),
        schema: String = col("n.nspname"),
        name: String = col("c.relname"),
        heap_bytes: Option<i64> = col("pg_catalog.pg_relation_size(c.oid)"),
        toast_bytes: Option<i64> = col(
            "CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_catalog.pg_relation_size(c.reltoastrelid) END"
        ),
        is_heap: bool = col("a.amname IS NOT DISTINCT FROM 'heap'"),
        is_foreign: bool = col("c.relkind = 'f'"),
        /// True if text that is too wide may be read in binary instead: built-in scalars with both functions.
        binary_works: bool = col(
            "NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute b JOIN pg_catalog.pg_type t ON t.oid = b.atttypid \
              WHERE b.attrelid = c.oid AND b.attnum > 0 AND NOT b.attisdropped AND (t.oid >= 16384 \
              OR t.typtype <> 'b' OR t.typcategory = 'A' OR t.typsend = 0 OR t.typreceive = 0 \
              OR t.typname ~ '^reg'))"
        ),
    }
}

/// Reads the sizes of tables.
pub(super) async fn read(
    session: &Session,
    tables: &BTreeSet<Oid>,
) -> Result<HashMap<Oid, SizeRow>> {
    let what = "table sizes";
    let oids: Vec<Oid> = tables.iter().copied().collect();
    let param: &(dyn ToSql + Sync) = &oids;
    let query = SizeRow::query(session.version());
    let rows = session
        .query(what, &query, &[(param, Type::OID_ARRAY)])
        .await?;
    let mut sizes = HashMap::with_capacity(rows.len());
    for row in &rows {
        let row = SizeRow::from_row(row).map_err(Error::sql(what, "reading their rows"))?;
        sizes.insert(row.oid, row);
    }
    Ok(sizes)
}
