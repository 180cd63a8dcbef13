//! Compares what was read with a fresh look. Deparse functions answer from the server's caches, which ignore the snapshot:
//! if no definition changed between the snapshot and a look taken after the last of them, they told the snapshot's truth.
//!
//! Two steps, because a digest of every definition takes the server longer than all else: which transactions wrote the catalog's rows
//! ([`Stamps`]) says where nothing can have changed, and only the rest is compared column by column ([`Definitions`]).

use std::collections::{BTreeMap, BTreeSet};

use postgres_types::{ToSql, Type};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::kinds::arena::CatalogId;
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::session::Session;

catalog_row! {
    /// Shape of one row of the stamps query.
    struct StampRow from "" {
        region: i64 = col(""),
        stamp: String = col(""),
    }
}

catalog_row! {
    /// Shape of one row of the digest query.
    struct DigestRow from "" {
        class: Oid = col(""),
        oid: Oid = col(""),
        digest: i64 = col(""),
    }
}

/// The transactions that wrote the catalogs' rows, as one sum for each region of OIDs.
///
/// Every change of a row but those that the server makes in place (statistics and flags, no definitions) leaves another transaction's
/// number in it; a frozen row keeps its number (since 9.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stamps(BTreeMap<i64, String>);

/// The definition of every catalog row of some regions, as one 64-bit digest per object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Definitions(BTreeMap<CatalogId, i64>);

/// A region has 2^8 OIDs: few enough to compare all their objects because of one, and new objects share a few.
const REGION_BITS: u8 = 8;

/// Rows of temporary and TOAST relations come and go with other sessions, so they are left out.
const OURS: &str =
    "ours AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast|temp)')";

/// Catalogs that hold definitions: OID, table, the object's OID, and the columns that are no part of a definition
/// (storage, statistics, transaction ids, flags that the server sets lazily).
const CATALOGS: [(&str, &str, &str, &[&str]); 31] = [
    (
        "1259",
        "pg_class",
        "oid",
        &[
            "relfilenode",
            "relpages",
            "reltuples",
            "relallvisible",
            "relallfrozen",
            "relfrozenxid",
            "relminmxid",
            "relhasindex",
            "relhasrules",
            "relhastriggers",
            "relhassubclass",
            "relrewrite",
            "relispopulated",
        ],
    ),
    (
        "1259",
        "pg_attribute",
        "attrelid",
        &[
            "attcacheoff",
            "atthasmissing",
            "attmissingval",
            "attoptions",
        ],
    ),
    ("2604", "pg_attrdef", "oid", &[]),
    ("2606", "pg_constraint", "oid", &[]),
    ("1259", "pg_index", "indexrelid", &["indcheckxmin"]),
    ("1259", "pg_inherits", "inhrelid", &[]),
    ("1259", "pg_sequence", "seqrelid", &[]),
    ("1259", "pg_partitioned_table", "partrelid", &[]),
    ("1259", "pg_foreign_table", "ftrelid", &[]),
    ("1255", "pg_proc", "oid", &[]),
    ("1255", "pg_aggregate", "aggfnoid::pg_catalog.oid", &[]),
    ("1247", "pg_type", "oid", &[]),
    ("1247", "pg_enum", "enumtypid", &[]),
    ("1247", "pg_range", "rngtypid", &[]),
    ("2615", "pg_namespace", "oid", &[]),
    ("2617", "pg_operator", "oid", &[]),
    ("2616", "pg_opclass", "oid", &[]),
    ("2753", "pg_opfamily", "oid", &[]),
    ("2618", "pg_rewrite", "oid", &[]),
    ("2620", "pg_trigger", "oid", &[]),
    ("3256", "pg_policy", "oid", &[]),
    ("3456", "pg_collation", "oid", &["collversion"]),
    ("2605", "pg_cast", "oid", &[]),
    ("2612", "pg_language", "oid", &[]),
    ("3079", "pg_extension", "oid", &[]),
    ("3381", "pg_statistic_ext", "oid", &[]),
    ("3600", "pg_ts_dict", "oid", &[]),
    ("3602", "pg_ts_config", "oid", &[]),
    ("1417", "pg_foreign_server", "oid", &[]),
    ("6104", "pg_publication", "oid", &[]),
    ("1260", "pg_roles", "oid", &[]),
];

/// The rows of a catalog that are looked at: those of objects that somebody made.
fn ours(table: &str, oid: &str) -> String {
    let shared = match table {
        "pg_class" => " AND relnamespace IN (SELECT oid FROM ours)",
        "pg_type" => " AND typnamespace IN (SELECT oid FROM ours)",
        "pg_attribute" => {
            " AND attnum > 0 AND attrelid IN (SELECT c.oid FROM pg_catalog.pg_class c \
             WHERE c.relnamespace IN (SELECT oid FROM ours))"
        }
        _ => "",
    };
    format!("FROM pg_catalog.{table} t WHERE {oid} >= 16384{shared}")
}

/// One query over all catalogs for the sums of [`Stamps`]. A view's rows have no transaction, so their contents stand for it.
fn stamps_query() -> String {
    let parts = CATALOGS.map(|(_, table, oid, _)| {
        let written_by = match table {
            "pg_roles" => "pg_catalog.to_jsonb(t)",
            _ => "t.xmin",
        };
        format!(
            "SELECT {oid}::pg_catalog.int8, {written_by}::pg_catalog.text {}",
            ours(table, oid)
        )
    });
    format!(
        "WITH {OURS}, written(oid, by) AS ({}) \
         SELECT oid >> {REGION_BITS}, pg_catalog.sum(pg_catalog.hashtextextended(by, oid))::pg_catalog.text \
         FROM written GROUP BY 1",
        parts.join(" UNION ALL ")
    )
}

/// One query over all catalogs for the digests of the objects in regions (`$1`).
fn digests_query() -> String {
    let parts = CATALOGS.map(|(class, table, oid, skip)| {
        // One subtraction copies the row once, a chain of them once for each column.
        let skip = match skip {
            [] => String::new(),
            columns => format!(" - '{{{}}}'::pg_catalog.text[]", columns.join(",")),
        };
        format!(
            "SELECT {class}::pg_catalog.oid, {oid}, pg_catalog.sum(pg_catalog.hashtextextended(\
             (pg_catalog.to_jsonb(t){skip})::pg_catalog.text, 0))::pg_catalog.numeric {} \
             AND {oid}::pg_catalog.int8 >> {REGION_BITS} = ANY ($1) GROUP BY 2",
            ours(table, oid)
        )
    });
    format!(
        "WITH {OURS}, digests(class, oid, digest) AS ({}) \
         SELECT class, oid, (pg_catalog.hashtextextended(pg_catalog.string_agg(digest::pg_catalog.text, ',' ORDER BY digest), 0))\
         ::pg_catalog.int8 FROM digests GROUP BY 1, 2",
        parts.join(" UNION ALL ")
    )
}

impl Stamps {
    /// Reads the sums as the session sees them: in the snapshot, or afresh.
    async fn read(session: &Session) -> Result<Stamps> {
        let what = "who wrote the catalog";
        let rows = session.query(what, &stamps_query(), &[]).await?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let row = StampRow::from_row(row).map_err(Error::sql(what, "reading its rows"))?;
            found.insert(row.region, row.stamp);
        }
        Ok(Stamps(found))
    }

    /// The regions that the fresh look has otherwise or no longer: definitions may have changed there. New regions do not matter.
    fn changed_in(&self, fresh: &Stamps) -> Vec<i64> {
        let differs = |(region, stamp): &(&i64, &String)| fresh.0.get(region) != Some(stamp);
        self.0
            .iter()
            .filter(differs)
            .map(|(region, _)| *region)
            .collect()
    }
}

impl Definitions {
    /// Reads the digests of the regions as the session sees them: in the snapshot, or afresh.
    async fn read(session: &Session, regions: &[i64]) -> Result<Definitions> {
        let what = "the catalog's definitions";
        let regions = regions.to_vec();
        let param: &(dyn ToSql + Sync) = &regions;
        let rows = session
            .query(what, &digests_query(), &[(param, Type::INT8_ARRAY)])
            .await?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let row = DigestRow::from_row(row).map_err(Error::sql(what, "reading its rows"))?;
            found.insert(CatalogId::new(row.class, row.oid), row.digest);
        }
        Ok(Definitions(found))
    }

    /// The objects that the fresh look has otherwise or no longer. New objects do not matter.
    fn changed_in(&self, fresh: &Definitions) -> BTreeSet<CatalogId> {
        let differs = |(id, digest): &(&CatalogId, &i64)| fresh.0.get(id) != Some(digest);
        self.0.iter().filter(differs).map(|(id, _)| *id).collect()
    }
}

/// The objects of which the session's snapshot has another definition than a look that is taken now, through a connection of its own,
/// which `open` gives; and what came of `meanwhile`, which runs while the server looks.
pub async fn changed<T>(
    session: &Session,
    open: impl Future<Output = Result<Session>> + Send + 'static,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<(BTreeSet<CatalogId>, T)> {
    // A task, because what runs meanwhile may keep this one busy; it ends with the set.
    let mut looking = JoinSet::new();
    looking.spawn(look(open));
    let (seen, done) = tokio::try_join!(Stamps::read(session), meanwhile)?;
    let looked = looking.join_next().await.expect("one task was spawned");
    let (fresh, now) = match looked {
        Ok(looked) => looked?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let suspects = seen.changed_in(&now);
    let changed = if suspects.is_empty() {
        BTreeSet::new()
    } else {
        let (seen, now) = tokio::try_join!(
            Definitions::read(session, &suspects),
            Definitions::read(&fresh, &suspects)
        )?;
        seen.changed_in(&now)
    };
    fresh.close().await;
    Ok((changed, done))
}

async fn look(open: impl Future<Output = Result<Session>>) -> Result<(Session, Stamps)> {
    let fresh = open.await?;
    // Stamps and definitions must be of one moment.
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    fresh.batch("the fresh look", "BEGIN", begin).await?;
    let now = Stamps::read(&fresh).await?;
    Ok((fresh, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_suspect_if_it_is_otherwise_or_gone() {
        let stamps = |stamps: &[(i64, &str)]| {
            Stamps(
                stamps
                    .iter()
                    .map(|(region, stamp)| (*region, (*stamp).into()))
                    .collect(),
            )
        };
        let old = stamps(&[(1, "5"), (2, "6"), (3, "7")]);
        let new = stamps(&[(1, "5"), (2, "9"), (4, "1")]);
        assert_eq!(old.changed_in(&new), [2, 3]);
    }

    #[test]
    fn what_is_otherwise_or_gone_has_changed_and_what_is_new_has_not() {
        let id = CatalogId::relation;
        let old = Definitions([(id(1), 5), (id(2), 6), (id(3), 7)].into());
        let new = Definitions([(id(1), 5), (id(2), 9), (id(4), 1)].into());
        assert_eq!(old.changed_in(&new), BTreeSet::from([id(2), id(3)]));
    }
}
