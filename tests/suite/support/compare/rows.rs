//! Digests what a database holds besides definitions: rows, sequence values, large objects.
//!
//! A table's digest is its row count and two sums of 64 bits of each row's MD5: free of order, and
//! sums of leaves add up to their root's.

use std::collections::BTreeMap;

use tokio_postgres::SimpleQueryRow;

use super::facts::Facts;
use super::session::{Problem, Session, value};

/// How many relations one query reads.
const BATCH: usize = 60;

/// Tables and materialized views with rows of their own: name, the name their rows are counted
/// under, columns in name order. Leaves are counted under the root: rows of a hash on an enum
/// change leaf when loaded through the root, because the hash is of the label's OID.
const RELATIONS: &str = "\
    SELECT c.oid::pg_catalog.regclass::text, \
      CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid) ELSE c.oid END::pg_catalog.regclass::text, \
      (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE \"C\") \
       FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
       AND a.attgenerated <> 'v') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't' AND c.oid >= 16384 \
      AND c.relnamespace <> 99 ORDER BY 1";

const SEQUENCES: &str = "\
    SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
    WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND c.oid >= 16384 ORDER BY 1";

/// `lo_get` fills the holes of a sparse object, which differ between copies.
const LARGE_OBJECTS: &str = "\
    SELECT m.oid::text, pg_catalog.octet_length(b) || ' bytes, md5 ' || pg_catalog.md5(b) \
    FROM pg_catalog.pg_largeobject_metadata m, LATERAL pg_catalog.lo_get(m.oid) b";

#[derive(Default)]
struct Digest {
    n_rows: i128,
    high: i128,
    low: i128,
}

/// Reads the contents of every table, materialized view, sequence and large object.
pub(super) async fn read_rows(session: &Session) -> Result<Facts, Problem> {
    let mut facts = Facts::default();
    let mut digests: BTreeMap<String, Digest> = BTreeMap::new();
    for (root, row) in read_tables(session).await? {
        let sum = digests.entry(root).or_default();
        for (at, part) in [&mut sum.n_rows, &mut sum.high, &mut sum.low]
            .into_iter()
            .enumerate()
        {
            let text = row.get(at + 1).unwrap_or("0");
            *part += text
                .parse::<i128>()
                .map_err(|_| format!("digest {text:?}"))?;
        }
    }
    for (root, Digest { n_rows, high, low }) in digests {
        let object = format!("rows of {root}");
        facts.add(&object, "number", Some(n_rows.to_string()));
        facts.add(&object, "digest", Some(format!("{high:x}:{low:x}")));
    }
    let sequences = session.rows(SEQUENCES).await?;
    let names: Vec<String> = sequences.iter().filter_map(|row| value(row, 0)).collect();
    let query = |name: &String| {
        format!(
            "SELECT {}::text, last_value::text, is_called::text FROM {name}",
            quoted(name)
        )
    };
    for row in read_batches(session, &names, query).await? {
        let object = format!("sequence {}", row.get(0).unwrap_or_default());
        facts.add(&object, "last_value", value(&row, 1));
        facts.add(&object, "is_called", value(&row, 2));
    }
    for row in session.rows(LARGE_OBJECTS).await? {
        let object = format!("large object {}", row.get(0).unwrap_or_default());
        facts.add(&object, "content", value(&row, 1));
    }
    Ok(facts)
}

/// The digest row of each relation, with the name it is counted under.
async fn read_tables(session: &Session) -> Result<Vec<(String, SimpleQueryRow)>, Problem> {
    let relations = session.rows(RELATIONS).await?;
    let field = |row: &SimpleQueryRow, at| value(row, at).unwrap_or_default();
    let tables: Vec<[String; 3]> = relations
        .iter()
        .map(|row| [field(row, 0), field(row, 1), field(row, 2)])
        .collect();
    let query = |[name, root, columns]: &[String; 3]| {
        let half = |from: u8| {
            format!(
                "pg_catalog.sum(('x' || pg_catalog.substr(h, {from}, 16))::pg_catalog.bit(64)::pg_catalog.int8)::text"
            )
        };
        format!(
            "SELECT {}::text, pg_catalog.count(*)::text, {}, {} FROM \
             (SELECT pg_catalog.md5(ROW({columns})::text) AS h FROM ONLY {name}) q",
            quoted(root),
            half(1),
            half(17),
        )
    };
    let rows = read_batches(session, &tables, query).await?;
    Ok(rows.into_iter().map(|row| (field(&row, 0), row)).collect())
}

/// Runs one query per item, many in one statement. After an error they run one by one, so that
/// the complaint shows the one that failed.
async fn read_batches<T>(
    session: &Session,
    items: &[T],
    query: impl Fn(&T) -> String,
) -> Result<Vec<SimpleQueryRow>, Problem> {
    let mut rows = Vec::new();
    for batch in items.chunks(BATCH) {
        let queries: Vec<String> = batch.iter().map(&query).collect();
        match session.rows(&queries.join(" UNION ALL ")).await {
            Ok(more) => rows.extend(more),
            Err(problem) => {
                session.rows("ROLLBACK").await?;
                for query in &queries {
                    session.rows(query).await?;
                }
                return Err(problem);
            }
        }
    }
    Ok(rows)
}

fn quoted(name: &str) -> String {
    let backslash = if name.contains('\\') { " E" } else { "" };
    format!(
        "{backslash}'{}'",
        name.replace('\\', "\\\\").replace('\'', "''")
    )
}
