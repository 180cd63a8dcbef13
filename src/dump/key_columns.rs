//! Which key a table is cut by: its indexed columns with their statistics, and what a look at the index tells where there are
//! none. How the ranges are planned is in `key_ranges`.

use std::collections::HashMap;

use postgres_types::{ToSql, Type};

use super::key_ranges::{Key, Spread, Statistics};
use crate::archive::index::{CellKey, KeyType};
use crate::error::{Error, Result};
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::Session;
use crate::sql::{Ident, Sql, sql};

/// How well the rows' order must follow the key's, 1 being perfectly.
///
/// The server's own cost model takes the share of pages that an index scan reads at random for 1 - correlation²
/// (`cost_index` in `costsize.c`, 18): a fifth at 0.9. Below that every range would read pages of all others again, and one
/// stream over the table reads each page once.
const CORRELATION_MIN: f64 = 0.9;

/// What a range is read with: by the index, in the key's order, whatever the planner thinks of it. A plan that changes from dump
/// to dump would change the order of the rows, and with it the chunks.
pub(super) const BY_INDEX: &str =
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";

/// Everything else is read as the planner likes.
pub(super) const AS_PLANNED: &str =
    "SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT";

/// A column's numbers, as text for `unnest`: the server's own representation of dates and times is a whole number.
macro_rules! numbers {
    ($bounds:literal) => {
        concat!(
            "CASE a.atttypid WHEN 1082 THEN (SELECT pg_catalog.array_agg((('x' || pg_catalog.encode(pg_catalog.date_send(v.value), 'hex'))",
            "::pg_catalog.bit(32)::pg_catalog.int4)::pg_catalog.int8 ORDER BY v.place) FROM pg_catalog.unnest(",
            $bounds, "::pg_catalog.text::pg_catalog.date[]) WITH ORDINALITY AS v(value, place)) ",
            "WHEN 1114 THEN (SELECT pg_catalog.array_agg(('x' || pg_catalog.encode(pg_catalog.timestamp_send(v.value), 'hex'))",
            "::pg_catalog.bit(64)::pg_catalog.int8 ORDER BY v.place) FROM pg_catalog.unnest(",
            $bounds, "::pg_catalog.text::pg_catalog.timestamp[]) WITH ORDINALITY AS v(value, place)) ",
            "WHEN 1184 THEN (SELECT pg_catalog.array_agg(('x' || pg_catalog.encode(pg_catalog.timestamptz_send(v.value), 'hex'))",
            "::pg_catalog.bit(64)::pg_catalog.int8 ORDER BY v.place) FROM pg_catalog.unnest(",
            $bounds, "::pg_catalog.text::pg_catalog.timestamptz[]) WITH ORDINALITY AS v(value, place)) ",
            "ELSE ", $bounds, "::pg_catalog.text::pg_catalog.int8[] END"
        )
    };
}

catalog_row! {
    /// Columns that lead an index over all rows of a table asked for (`$1`), the best first. What the role may not see of the
    /// statistics is missing.
    struct KeyRow from
        "pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid \
         JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree' \
         JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attnum > 0 \
         JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0] AND o.opcdefault AND o.opcintype = a.atttypid \
         LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname \
         AND s.attname = a.attname AND NOT s.inherited"
        where "i.indrelid = ANY ($1) AND i.indisvalid AND i.indisready AND i.indislive AND i.indpred IS NULL \
               AND a.atttypid IN (20, 21, 23, 1082, 1114, 1184)"
        order "i.indrelid, i.indisprimary DESC, (i.indisunique AND i.indnkeyatts = 1) DESC, a.attnotnull DESC, a.attnum" {
        relation: Oid = col("i.indrelid"),
        column: String = col("a.attname"),
        type_oid: Oid = col("a.atttypid"),
        /// Since 18 a column may be marked although the constraint is not proved yet.
        never_null: bool = col(
            "i.indisprimary OR a.attnotnull AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k \
              WHERE k.conrelid = i.indrelid AND k.contype = 'n' AND NOT k.convalidated)"
        ),
        histogram: Option<Vec<i64>> = col(numbers!("s.histogram_bounds")),
        common: Option<Vec<i64>> = col(numbers!("s.most_common_vals")),
        common_shares: Option<Vec<f32>> = col("s.most_common_freqs"),
        null_share: Option<f32> = col("s.null_frac"),
        correlation: Option<f32> = col("s.correlation"),
        /// When the statistics were collected, or a little later.
        n_blocks: i32 = col("c.relpages"),
    }
}

/// A table that cannot be cut by blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uncut<'a> {
    /// Its OID.
    pub relation: Oid,
    /// Its quoted name.
    pub target: &'a Sql,
    /// The columns that are read.
    pub columns: &'a [String],
    /// Its blocks.
    pub n_blocks: u32,
    /// The key of the group's previous dump.
    pub before: Option<&'a CellKey>,
}

/// The key of a table, or why it has none that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It can be cut.
    Key(Key),
    /// It cannot, for this reason.
    Refused(String),
}

/// Looks for a key of each table: one query for all, and for each of them a few looks at an index.
pub(super) async fn find(session: &Session, tables: &[Uncut<'_>]) -> Result<HashMap<Oid, Found>> {
    let mut found = HashMap::new();
    if tables.is_empty() {
        return Ok(found);
    }
    let what = "keys of large tables";
    let oids: Vec<Oid> = tables.iter().map(|table| table.relation).collect();
    let param: &(dyn ToSql + Sync) = &oids;
    let query = KeyRow::query(session.version());
    let rows = session
        .query(what, &query, &[(param, Type::OID_ARRAY)])
        .await?;
    let mut columns: HashMap<Oid, Vec<Column>> = HashMap::new();
    for row in &rows {
        let row = KeyRow::from_row(row).map_err(Error::sql(what, "reading their rows"))?;
        let of_table = columns.entry(row.relation).or_default();
        of_table.extend(Column::new(row));
    }
    session
        .batch(what, "choosing the index scan", BY_INDEX)
        .await?;
    for table in tables {
        let mut columns = columns.remove(&table.relation).unwrap_or_default();
        columns.retain(|column| table.columns.contains(&column.key.column));
        // What cut the table before cuts it again, if it still serves.
        columns.sort_by_key(|column| Some(&column.cell_key()) != table.before);
        found.insert(table.relation, choose(session, table, columns).await?);
    }
    session
        .batch(what, "leaving the plan to the server", AS_PLANNED)
        .await?;
    Ok(found)
}

/// A column that may serve, and how well the rows' order follows it, if that is known.
#[derive(Debug)]
struct Column {
    key: Key,
    correlation: Option<f64>,
    /// Blocks of the table that the statistics are about.
    n_blocks: u32,
}

/// The type with this OID. Domains are others: their values may be compared by other operators one day.
fn key_type(oid: Oid) -> Option<KeyType> {
    Some(match oid {
        21 => KeyType::Int2,
        23 => KeyType::Int4,
        20 => KeyType::Int8,
        1082 => KeyType::Date,
        1114 => KeyType::Timestamp,
        1184 => KeyType::Timestamptz,
        _ => return None,
    })
}

impl Column {
    fn new(row: KeyRow) -> Option<Column> {
        let of = key_type(row.type_oid)?;
        let common = row.common.unwrap_or_default();
        let statistics = Statistics {
            histogram: row.histogram.unwrap_or_default(),
            common: common
                .into_iter()
                .zip(row.common_shares.unwrap_or_default())
                .collect(),
            null_share: row.null_share.unwrap_or_default(),
        };
        let key = Key {
            column: row.column,
            of,
            has_null: !row.never_null,
            spread: Spread::new(of, &statistics),
        };
        Some(Column {
            key,
            correlation: row.correlation.map(f64::from),
            n_blocks: u32::try_from(row.n_blocks).unwrap_or(0),
        })
    }

    fn cell_key(&self) -> CellKey {
        self.key.cell_key()
    }

    fn is_known(&self) -> bool {
        !self.key.spread.is_empty() && self.correlation.is_some()
    }

    /// True if the rows of a range lie together.
    fn is_in_order(&self) -> bool {
        self.correlation
            .is_some_and(|correlation| correlation.abs() >= CORRELATION_MIN)
    }
}

/// The first column that serves: one with statistics if there is any, else what a look at the index tells.
async fn choose(session: &Session, table: &Uncut<'_>, columns: Vec<Column>) -> Result<Found> {
    let mut why = "no integer, date or timestamp column leads an index of all its rows".to_owned();
    let (known, unknown): (Vec<Column>, Vec<Column>) =
        columns.into_iter().partition(Column::is_known);
    let mut is_first = true;
    for mut column in known.into_iter().chain(unknown) {
        if !column.is_known() {
            look(session, table, &mut column).await?;
        }
        let name = Ident::new(&*column.key.column).quoted();
        let refused = if !column.is_known() {
            format!("nothing tells how the rows lie by its key {name}")
        } else if !column.is_in_order() {
            format!("rows of a range of its key {name} lie scattered")
        } else if !is_by_index(session, table, &column.key).await? {
            format!("the server would scan the whole table for a range of its key {name} too")
        } else {
            extend(session, table, &mut column).await?;
            return Ok(Found::Key(column.key));
        };
        if std::mem::take(&mut is_first) {
            why = refused;
        }
    }
    Ok(Found::Refused(why))
}

/// Asks the index for both ends.
async fn ends(session: &Session, table: &Uncut<'_>, key: &Key) -> Result<Option<(i64, i64)>> {
    let what = format!("the ends of {}", table.target.text());
    let reading = || Error::sql(&what, "reading a row");
    let (name, of) = (Ident::new(&*key.column), key.of);
    let ends = sql![
        "SELECT ",
        number(of, &sql!["pg_catalog.min(", &name, ")"]),
        ", ",
        number(of, &sql!["pg_catalog.max(", &name, ")"]),
        " FROM ONLY ",
        table.target
    ];
    let rows = session.query(&what, &ends.text(), &[]).await?;
    let row = rows.first().expect("an aggregate gives one row");
    let min: Option<i64> = row.try_get(0).map_err(reading())?;
    let max: Option<i64> = row.try_get(1).map_err(reading())?;
    Ok(min.zip(max))
}

/// Rows that came after the statistics, at the end of a key that grows, are as many as the table's new blocks.
async fn extend(session: &Session, table: &Uncut<'_>, column: &mut Column) -> Result<()> {
    let n_new = table.n_blocks.saturating_sub(column.n_blocks);
    if n_new <= table.n_blocks / 100 || column.n_blocks == 0 {
        return Ok(());
    }
    if let Some((_, max)) = ends(session, table, &column.key).await? {
        let (n_new, n_all) = (u64::from(n_new), u64::from(table.n_blocks));
        column.key.spread.extend(max, n_new, n_all);
    }
    Ok(())
}

/// Asks the index for both ends, and for where the rows of some values between them lie.
async fn look(session: &Session, table: &Uncut<'_>, column: &mut Column) -> Result<()> {
    let Some((min, max)) = ends(session, table, &column.key).await? else {
        return Ok(());
    };
    let what = format!("the keys of {}", table.target.text());
    let (name, of) = (Ident::new(&*column.key.column), column.key.of);
    let spread = Spread::even(of, min, max);
    let values = Sql::list(spread.samples().into_iter().map(|value| of.literal(value)));
    let places = sql![
        "SELECT pg_catalog.corr(v.place::pg_catalog.float8, (r.place::pg_catalog.text::pg_catalog.point)[0]) \
         FROM pg_catalog.unnest(ARRAY[",
        values,
        "]) WITH ORDINALITY AS v(value, place) CROSS JOIN LATERAL (SELECT t.ctid AS place FROM ONLY ",
        table.target,
        " t WHERE t.",
        &name,
        " >= v.value ORDER BY t.",
        &name,
        " LIMIT 1) AS r"
    ];
    let rows = session.query(&what, &places.text(), &[]).await?;
    let row = rows.first().expect("an aggregate gives one row");
    column.correlation = row.try_get(0).map_err(Error::sql(&what, "reading a row"))?;
    column.key.spread = spread;
    Ok(())
}

/// True if the server reads a range by an index: one may be too new for the snapshot, or index scans switched off.
async fn is_by_index(session: &Session, table: &Uncut<'_>, key: &Key) -> Result<bool> {
    let what = format!("the plan for {}", table.target.text());
    let name = Ident::new(&*key.column);
    let samples = key.spread.samples();
    let Some(middle) = samples.get(samples.len() / 2) else {
        return Ok(false);
    };
    let explain = sql![
        "EXPLAIN (COSTS off) SELECT ",
        &name,
        " FROM ONLY ",
        table.target,
        " WHERE ",
        &name,
        " >= ",
        key.of.literal(*middle)
    ];
    let mut by_index = false;
    for row in &session.query(&what, &explain.text(), &[]).await? {
        let line: crate::sql::ReadText = row.try_get(0).map_err(Error::sql(&what, "reading it"))?;
        by_index |= line.0.contains("Index Scan") || line.0.contains("Index Only Scan");
    }
    Ok(by_index)
}

/// An expression of a key's type as its whole number.
fn number(of: KeyType, value: &Sql) -> Sql {
    let (send, bits, int) = match of {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
            return sql!["(", value, ")::pg_catalog.int8"];
        }
        KeyType::Date => ("date_send", "32", "int4"),
        KeyType::Timestamp => ("timestamp_send", "64", "int8"),
        KeyType::Timestamptz => ("timestamptz_send", "64", "int8"),
    };
    sql![
        "(('x' || pg_catalog.encode(pg_catalog.",
        send,
        "(",
        value,
        "), 'hex'))::pg_catalog.bit(",
        bits,
        ")::pg_catalog.",
        int,
        ")::pg_catalog.int8"
    ]
}
