//! Compares what was read with a fresh look. Deparse functions answer from the server's caches, which ignore the snapshot:
//! if no definition changed between the snapshot and a look taken after the last of them, they told the snapshot's truth.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::kinds::arena::CatalogId;
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::session::Session;

catalog_row! {
    /// Shape of one row of the digest query.
    struct DigestRow from "" {
        class: Oid = col(""),
        oid: Oid = col(""),
        digest: i64 = col(""),
    }
}

/// The definition of every catalog row, as one 64-bit digest per object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definitions(BTreeMap<CatalogId, i64>);

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

/// One query over all catalogs. Rows of temporary and TOAST relations come and go with other sessions, so they are left out.
fn query() -> String {
    let parts = CATALOGS.map(|(class, table, oid, skip)| {
        // One subtraction copies the row once, a chain of them once for each column.
        let skip = match skip {
            [] => String::new(),
            columns => format!(" - '{{{}}}'::pg_catalog.text[]", columns.join(",")),
        };
        let session_local = match table {
            "pg_class" => " WHERE relnamespace IN (SELECT oid FROM ours)",
            "pg_type" => " WHERE typnamespace IN (SELECT oid FROM ours)",
            "pg_attribute" => {
                " WHERE attnum > 0 AND attrelid IN (SELECT c.oid FROM pg_catalog.pg_class c \
                 WHERE c.relnamespace IN (SELECT oid FROM ours))"
            }
            _ => "",
        };
        format!(
            "SELECT {class}::pg_catalog.oid, {oid}, pg_catalog.sum(pg_catalog.hashtextextended(\
             (pg_catalog.to_jsonb(t){skip})::pg_catalog.text, 0))::pg_catalog.numeric FROM pg_catalog.{table} t{session_local} \
             GROUP BY 2"
        )
    });
    format!(
        "WITH ours AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast|temp)'), \
         digests(class, oid, digest) AS ({}) \
         SELECT class, oid, (pg_catalog.hashtextextended(pg_catalog.string_agg(digest::pg_catalog.text, ',' ORDER BY digest), 0))\
         ::pg_catalog.int8 FROM digests WHERE oid >= 16384 GROUP BY 1, 2",
        parts.join(" UNION ALL ")
    )
}

impl Definitions {
    /// Reads the digests as the session sees them: in the snapshot, or afresh.
    pub async fn read(session: &Session) -> Result<Definitions> {
        let what = "the catalog's definitions";
        let rows = session.query(what, &query(), &[]).await?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let row = DigestRow::from_row(row).map_err(Error::sql(what, "reading its rows"))?;
            found.insert(CatalogId::new(row.class, row.oid), row.digest);
        }
        Ok(Definitions(found))
    }

    /// The objects among `relevant` that the fresh look has otherwise or no longer. New objects do not matter.
    pub fn changed_in(
        &self,
        fresh: &Definitions,
        relevant: &BTreeSet<CatalogId>,
    ) -> Vec<CatalogId> {
        let differs = |(id, digest): &(&CatalogId, &i64)| fresh.0.get(id) != Some(digest);
        let changed = self.0.iter().filter(differs).map(|(id, _)| *id);
        changed.filter(|id| relevant.contains(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relevant_changes_count() {
        let id = CatalogId::relation;
        let old = Definitions([(id(1), 5), (id(2), 6), (id(3), 7)].into());
        let new = Definitions([(id(1), 5), (id(2), 9), (id(4), 1)].into());
        let all = BTreeSet::from([id(1), id(2), id(3), id(4)]);
        assert_eq!(old.changed_in(&new, &all), [id(2), id(3)]);
        assert_eq!(
            old.changed_in(&new, &BTreeSet::from([id(1), id(3)])),
            [id(3)]
        );
    }
}
