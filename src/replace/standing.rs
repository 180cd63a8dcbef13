//! What is shown of a database before it is changed: how large it is, who is connected, and by how many rows it and the archive
//! differ. Rows are counted where that costs little, else estimated from the server's statistics.

use std::collections::BTreeMap;

use serde::Serialize;

use super::examine::Ties;
use super::sessions;
use crate::archive::Archive;
use crate::error::Result;
use crate::pg::pooler::require_own_backend;
use crate::pg::{ConnSettings, Session, connect};
use crate::sql::{QualifiedName, ReadText, sql};
use crate::toc::{DataOf, EntryId};

/// Tables of together so many bytes are counted.
const COUNTED_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// And no more tables than this.
const COUNTED_TABLES_MAX: usize = 500;
/// How many tables are named that differ.
const DIFFERENCES_MAX: usize = 5;

/// A number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RowCount {
    /// How many.
    pub n_rows: u64,
    /// False if it is the server's estimate.
    pub is_exact: bool,
}

/// A table of which archive and database have different numbers of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableDifference {
    /// Schema and name.
    pub table: String,
    /// Rows in the database; absent where it has no such table.
    pub there: Option<u64>,
    /// Rows in the archive; absent where it has no such table.
    pub archived: Option<u64>,
}

/// A database as it stands, and the archive beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Standing {
    /// The server, as the user would name it.
    pub host: String,
    /// The database.
    pub database: String,
    /// Its size on disk.
    pub n_bytes: u64,
    /// Others who are connected to it.
    pub n_sessions: usize,
    /// False if nothing of a user's is in it.
    pub has_objects: bool,
    /// Its tables.
    pub n_tables: usize,
    /// Their rows.
    pub rows: RowCount,
    /// The archive's rows.
    pub archived_rows: u64,
    /// The tables that differ most, five at most.
    pub differences: Vec<TableDifference>,
    /// What hangs on the database, and would stay with it or stand in the way if it were replaced.
    pub ties: Vec<String>,
}

type Rows = BTreeMap<(String, String), u64>;

/// Looks at the database that `target` names, and compares it with the archive. Changes nothing.
///
/// # Errors
/// [`Error::Connect`](crate::Error::Connect), and those of reading the archive's lists.
pub async fn standing(target: &ConnSettings, archive: &Archive) -> Result<Standing> {
    look(target, &archived(archive).await?).await
}

/// Looks at the database that `target` names, with nothing to compare it with.
pub(crate) async fn standing_alone(target: &ConnSettings) -> Result<Standing> {
    look(target, &Rows::new()).await
}

async fn look(target: &ConnSettings, archived: &Rows) -> Result<Standing> {
    let session = connect(target, "look").await?;
    require_own_backend(&session, target).await?;
    session.pin(&[crate::pg::pin::client_encoding()]).await?;
    let (there, is_exact) = live(&session).await?;
    let sum = |rows: &Rows| rows.values().sum();
    let about = "SELECT pg_catalog.pg_database_size(d.oid), d.oid, EXISTS (SELECT FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid >= 16384 AND n.nspname !~ '^pg_') \
                 OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384) \
                 OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_') \
                 FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    let row = session.query("looking at the database", about, &[]).await?;
    let row = row
        .first()
        .expect("who is connected to a database finds it");
    let oid: u32 = row.get(1);
    let standing = Standing {
        host: target
            .hosts()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" or "),
        database: target.dbname().to_owned(),
        n_bytes: u64::try_from(row.get::<_, i64>(0)).unwrap_or_default(),
        n_sessions: sessions::connected(&session, oid).await?.len(),
        has_objects: row.get(2),
        n_tables: there.len(),
        rows: RowCount {
            n_rows: sum(&there),
            is_exact,
        },
        archived_rows: sum(archived),
        differences: differences(&there, archived),
        ties: Ties::read(&session, Some(&session), oid)
            .await?
            .texts(target.user()),
    };
    session.close().await;
    Ok(standing)
}

/// The tables that differ most, most first.
fn differences(there: &Rows, archived: &Rows) -> Vec<TableDifference> {
    let mut names: Vec<&(String, String)> = there.keys().chain(archived.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut all: Vec<TableDifference> = names
        .into_iter()
        .map(|name| TableDifference {
            table: format!(
                "{}.{}",
                crate::toc::printable(&name.0),
                crate::toc::printable(&name.1)
            ),
            there: there.get(name).copied(),
            archived: archived.get(name).copied(),
        })
        .filter(|one| one.there != one.archived)
        .collect();
    let by = |one: &TableDifference| one.there.unwrap_or(0).abs_diff(one.archived.unwrap_or(0));
    all.sort_by_key(|one| std::cmp::Reverse(by(one)));
    all.truncate(DIFFERENCES_MAX);
    all
}

/// The archive's rows, table by table.
async fn archived(archive: &Archive) -> Result<Rows> {
    let entries = archive.entries().await?;
    let names: BTreeMap<EntryId, (String, String)> = entries
        .into_iter()
        .filter(|entry| matches!(entry.data, Some(DataOf::Table { .. })))
        .map(|entry| {
            (
                entry.id,
                (entry.name.schema.unwrap_or_default(), entry.name.name),
            )
        })
        .collect();
    let indexes = archive.table_indexes().await?;
    let rows = indexes
        .into_iter()
        .filter_map(|index| Some((names.get(&index.entry)?.clone(), index.n_rows)));
    Ok(rows.collect())
}

/// The database's rows, table by table, and whether they were counted.
async fn live(session: &Session) -> Result<(Rows, bool)> {
    let query = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
                 CASE WHEN s.n_live_tup > 0 THEN s.n_live_tup ELSE GREATEST(c.reltuples, 0)::pg_catalog.int8 END, \
                 pg_catalog.pg_relation_size(c.oid) FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid \
                 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                                 AND x.objid = c.oid AND x.deptype = 'e')";
    let found = session.query("looking at the tables", query, &[]).await?;
    let mut rows = Rows::new();
    let mut n_bytes = 0;
    for row in &found {
        let text = |at: usize| row.get::<_, ReadText>(at).0;
        let estimate = u64::try_from(row.get::<_, i64>(2)).unwrap_or_default();
        rows.insert((text(0), text(1)), estimate);
        // Somebody may have dropped it just now.
        n_bytes += row.get::<_, Option<i64>>(3).unwrap_or_default();
    }
    if n_bytes > COUNTED_BYTES_MAX || rows.len() > COUNTED_TABLES_MAX {
        return Ok((rows, false));
    }
    match count(session, &rows).await {
        Ok(counted) => Ok((counted, true)),
        // Somebody's lock, or no right to read: an estimate is as good for the question.
        Err(_) => Ok((rows, false)),
    }
}

async fn count(session: &Session, rows: &Rows) -> Result<Rows> {
    let mut counted = Rows::new();
    let limits = "SET statement_timeout = '5s'; SET lock_timeout = '1s'";
    session
        .batch("the session", "setting it up", limits)
        .await?;
    let names: Vec<&(String, String)> = rows.keys().collect();
    for some in names.chunks(100) {
        let each = some.iter().zip(0_i32..).map(|((schema, name), at)| {
            let table = QualifiedName::new(schema, name);
            sql!["SELECT ", at, ", pg_catalog.count(*) FROM ONLY ", table].text()
        });
        let query = each.collect::<Vec<String>>().join(" UNION ALL ");
        for row in session.query("counting rows", &query, &[]).await? {
            let at = usize::try_from(row.get::<_, i32>(0)).expect("counted from 0");
            let n = u64::try_from(row.get::<_, i64>(1)).unwrap_or_default();
            counted.insert(some[at].clone(), n);
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_differ_most_come_first() {
        let rows = |list: &[(&str, u64)]| -> Rows {
            let named = list
                .iter()
                .map(|(name, n)| (("s".to_owned(), (*name).to_owned()), *n));
            named.collect()
        };
        let there = rows(&[("same", 3), ("more", 10), ("gone", 2)]);
        let archived = rows(&[("same", 3), ("more", 90), ("new", 0)]);
        let texts: Vec<String> = differences(&there, &archived)
            .iter()
            .map(|one| format!("{} {:?} {:?}", one.table, one.there, one.archived))
            .collect();
        assert_eq!(
            texts,
            [
                "s.more Some(10) Some(90)",
                "s.gone Some(2) None",
                "s.new None Some(0)"
            ]
        );
    }
}
