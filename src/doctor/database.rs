//! What the database holds, as far as it matters before a dump: rights, number of locks, size, and what is not in order.

use std::collections::BTreeMap;

use super::server::rows;
use super::{Check, size, some};
use crate::catalog::listing::Listing;
use crate::catalog::rights::{Barriers, Reach};
use crate::error::Result;
use crate::kinds::row::catalog_row;
use crate::pg::Session;

catalog_row! {
    /// Sizes in bytes. Parts are by the page counts of the last vacuum, which needs no lock on any table.
    struct SizeRow from
        "(SELECT pg_catalog.sum(c.relpages::pg_catalog.int8) FILTER (WHERE c.relkind IN ('r', 'm')) AS heap, \
                 pg_catalog.sum(c.relpages::pg_catalog.int8) FILTER (WHERE c.relkind = 't') AS toast, \
                 pg_catalog.sum(c.relpages::pg_catalog.int8) FILTER (WHERE c.relkind = 'i') AS indexes \
          FROM pg_catalog.pg_class c) p" {
        total: i64 = col("pg_catalog.pg_database_size(pg_catalog.current_database())"),
        heap: i64 = col("COALESCE(p.heap, 0)::pg_catalog.int8 * pg_catalog.current_setting('block_size')::pg_catalog.int8"),
        toast: i64 = col("COALESCE(p.toast, 0)::pg_catalog.int8 * pg_catalog.current_setting('block_size')::pg_catalog.int8"),
        indexes: i64 = col("COALESCE(p.indexes, 0)::pg_catalog.int8 * pg_catalog.current_setting('block_size')::pg_catalog.int8"),
    }
}

catalog_row! {
    /// The lock table: its size, and how much of it others use.
    struct LockTableRow from "(SELECT 1) AS one" {
        per_transaction: i32 = col("pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int4"),
        connections: i32 = col("pg_catalog.current_setting('max_connections')::pg_catalog.int4"),
        prepared: i32 = col("pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int4"),
        used: i64 = col("(SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks l WHERE NOT l.fastpath)"),
    }
}

catalog_row! {
    /// Things that are not in order: what it is, and its name.
    struct DisorderRow from
        "(SELECT 'index' AS kind, i.indexrelid::pg_catalog.regclass::pg_catalog.text AS name FROM pg_catalog.pg_index i \
            WHERE NOT i.indisvalid AND i.indexrelid >= 16384 \
          UNION ALL SELECT 'constraint', pg_catalog.format('%I on %s', k.conname, k.conrelid::pg_catalog.regclass::pg_catalog.text) \
            FROM pg_catalog.pg_constraint k WHERE NOT k.convalidated AND k.conrelid >= 16384 \
          UNION ALL SELECT 'unlogged', c.oid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_class c \
            WHERE c.relpersistence = 'u' AND c.relkind = 'r' \
          UNION ALL SELECT 'collation', c.collname::pg_catalog.text FROM pg_catalog.pg_collation c \
            WHERE c.collversion IS NOT NULL AND c.collversion <> pg_catalog.pg_collation_actual_version(c.oid)) d"
        order "d.kind, d.name" {
        kind: String = col("d.kind"),
        name: String = col("d.name"),
    }
}

catalog_row! {
    /// Extensions that somebody made.
    struct ExtensionRow from "pg_catalog.pg_extension e" where "e.oid >= 16384" order "e.extname" {
        name: String = col("e.extname"),
        version: String = col("e.extversion"),
    }
}

/// What later checks need to know of the source.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Bytes of tables and TOAST; `None` if they could not be seen.
    pub(super) bytes_to_save: Option<u64>,
    /// Extensions and their versions.
    pub(super) extensions: BTreeMap<String, String>,
}

/// Looks at the database. The session is pinned.
pub(super) async fn look(session: &Session, checks: &mut Vec<Check>) -> Seen {
    let mut seen = Seen::default();
    match rights_and_locks(session).await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::unseen("rights", &error)),
    }
    match rows::<SizeRow>(session, "sizes").await {
        Ok(found) => {
            for row in found {
                let [total, heap, toast, indexes] = [row.total, row.heap, row.toast, row.indexes]
                    .map(|n| u64::try_from(n).unwrap_or(0));
                seen.bytes_to_save = Some(total.saturating_sub(indexes));
                let text = format!(
                    "{} in all; at the last vacuum {} of tables, {} of TOAST, {} of indexes, which are not saved",
                    size(total),
                    size(heap),
                    size(toast),
                    size(indexes)
                );
                checks.push(Check::ok("size", text));
            }
        }
        Err(error) => checks.push(Check::unseen("size", &error)),
    }
    if session.server_encoding() == "SQL_ASCII" {
        checks.push(Check::warning(
            "encoding",
            "the database's encoding is SQL_ASCII: nobody knows what its characters mean",
            "restore into SQL_ASCII too, or convert it first",
        ));
    }
    match disorders(session).await {
        Ok(found) => checks.extend(disorder_checks(&found, session.in_recovery())),
        Err(error) => checks.push(Check::unseen("order", &error)),
    }
    match rows::<ExtensionRow>(session, "extensions").await {
        Ok(found) => {
            let pairs = found.into_iter().map(|row| (row.name, row.version));
            seen.extensions = pairs.collect();
        }
        Err(error) => checks.push(Check::unseen("extensions", &error)),
    }
    seen
}

/// What a dump of everything may not read, and whether its locks fit into the server's table.
async fn rights_and_locks(session: &Session) -> Result<Vec<Check>> {
    let listing = Listing::read(session, "", &[]).await?;
    let wanted = crate::dump::wanted_of_all(&listing)?;
    let reach = Reach {
        definitions: true,
        row_security: false,
    };
    let barriers = Barriers::find(session, &listing, &wanted, reach).await?;
    let mut checks = vec![rights(&barriers, session)];
    let tables = listing.relations.values();
    let n_tables = tables.filter(|row| matches!(row.kind.0, 'r' | 'p')).count();
    for row in rows::<LockTableRow>(session, "the lock table").await? {
        checks.push(lock_room(n_tables as u64, &row));
    }
    Ok(checks)
}

fn rights(barriers: &Barriers, session: &Session) -> Check {
    if barriers.is_empty() {
        return Check::ok("rights", "the role may read everything that a dump needs");
    }
    let refusal = barriers.refusal("", session.version());
    let found = format!("the role may not read: {}", barriers.findings().join("; "));
    Check {
        cures: barriers.cures(),
        ..Check::problem("rights", found, refusal.remedy().unwrap_or_default())
    }
}

fn lock_room(n_tables: u64, row: &LockTableRow) -> Check {
    let unsigned = |n: i32| u64::try_from(n).unwrap_or(0);
    let room = unsigned(row.per_transaction) * (unsigned(row.connections) + unsigned(row.prepared));
    let free = room.saturating_sub(u64::try_from(row.used).unwrap_or(0));
    let text = format!(
        "a dump locks {n_tables} tables; the server's table has room for {room} locks, {free} are free"
    );
    let needed = n_tables.div_ceil(unsigned(row.connections).max(1)).max(64) * 2;
    let remedy = format!(
        "ALTER SYSTEM SET max_locks_per_transaction = {needed} and restart, or dump in parts with -n or -t"
    );
    if n_tables > free {
        Check::problem("locks", text, remedy)
    } else if n_tables > free / 2 {
        Check::warning("locks", text, remedy)
    } else {
        Check::ok("locks", text)
    }
}

async fn disorders(session: &Session) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows::<DisorderRow>(session, "what is not in order").await? {
        let names = found.entry(row.kind).or_default();
        names.push(crate::sql::printable(&row.name));
    }
    Ok(found)
}

fn disorder_checks(found: &BTreeMap<String, Vec<String>>, in_recovery: bool) -> Vec<Check> {
    let names = |kind: &str| found.get(kind).map_or(&[][..], Vec::as_slice);
    let mut checks = Vec::new();
    let invalid = names("index");
    checks.push(if invalid.is_empty() {
        Check::ok("indexes", "all are valid")
    } else {
        Check::warning(
            "indexes",
            format!(
                "{} not valid: {}",
                are(invalid.len(), "index", "indexes"),
                some(invalid)
            ),
            "REINDEX INDEX CONCURRENTLY, or drop them; a CREATE INDEX CONCURRENTLY was broken off",
        )
    });
    let constraints = names("constraint");
    checks.push(if constraints.is_empty() {
        Check::ok("constraints", "all are validated")
    } else {
        let what = are(constraints.len(), "constraint", "constraints");
        let text = format!("{what} NOT VALID, and come back so: {}", some(constraints));
        Check::ok("constraints", text)
    });
    let collations = names("collation");
    checks.push(if collations.is_empty() {
        Check::ok("collations", "their versions are those of the system's libraries")
    } else {
        Check::warning(
            "collations",
            format!(
                "{} of another version than the system's library: {}",
                are(collations.len(), "collation", "collations"),
                some(collations)
            ),
            "REINDEX what uses them, then ALTER COLLATION … REFRESH VERSION; until then indexes may be wrong",
        )
    });
    let unlogged = names("unlogged");
    if in_recovery && !unlogged.is_empty() {
        checks.push(Check::problem(
            "unlogged",
            format!(
                "a standby has no rows of unlogged tables: {}",
                some(unlogged)
            ),
            "dump on the primary, or leave their rows out with --exclude-table-data",
        ));
    }
    checks
}

fn are(n: usize, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one} is"),
        n => format!("{n} {many} are"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn locks_must_fit() {
        let row = LockTableRow {
            per_transaction: 64,
            connections: 10,
            prepared: 0,
            used: 40,
        };
        for (n_tables, level) in [
            (10, Level::Ok),
            (400, Level::Warning),
            (601, Level::Problem),
        ] {
            let check = lock_room(n_tables, &row);
            assert_eq!(check.level, level, "{check:?}");
        }
        assert!(lock_room(10_000, &row).remedy.unwrap().contains("= 2000 "));
    }

    #[test]
    fn unlogged_tables_matter_on_a_standby_only() {
        let found = BTreeMap::from([("unlogged".to_owned(), vec!["u".to_owned()])]);
        let worst = |in_recovery| {
            let checks = disorder_checks(&found, in_recovery);
            checks.into_iter().map(|check| check.level).max().unwrap()
        };
        assert_eq!((worst(false), worst(true)), (Level::Ok, Level::Problem));
    }
}
