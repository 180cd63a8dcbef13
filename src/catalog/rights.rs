//! What a role may not read of a database, asked in a fixed number of queries before anything is locked, and the statements
//! that would cure it. Whether a dump fails of it or leaves it out is the dump's decision.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use postgres_types::{ToSql, Type};

use super::listing::Listing;
use super::wanted::Wanted;
use crate::error::{Error, Result};
use crate::kinds::arena::{CatalogId, class};
use crate::kinds::large_object::READABLE;
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::Session;
use crate::sql::QualifiedName;
use crate::toc::Part;

/// What a dump does with what its role cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unreadable {
    /// It fails and names everything.
    #[default]
    Refuse,
    /// It leaves the rows or objects out, and records them.
    LeaveOut,
}

/// How much is going to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Definitions, which include secrets of subscriptions and user mappings.
    pub definitions: bool,
    /// Row security may filter rows (`--enable-row-security`).
    pub row_security: bool,
}

catalog_row! {
    /// Who asks.
    struct RoleRow from "pg_catalog.pg_roles r" where "r.rolname = CURRENT_USER" {
        name: String = col("r.rolname"),
        superuser: bool = col("r.rolsuper"),
    }
}

catalog_row! {
    /// Of the relations `$1` those that the role cannot read whole. One that vanished counts as readable: locking will notice.
    struct RelationRightsRow from
        "(SELECT c.oid, c.relnamespace AS schema, \
            COALESCE(pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), true) AS enters, \
            COALESCE(pg_catalog.has_table_privilege(c.oid, 'SELECT'), true) AS reads, \
            COALESCE(pg_catalog.row_security_active(c.oid), false) AS filtered \
          FROM pg_catalog.pg_class c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid) r"
        where "NOT r.enters OR NOT r.reads OR r.filtered" order "r.oid" {
        oid: Oid = col("r.oid"),
        schema: Oid = col("r.schema"),
        enters: bool = col("r.enters"),
        reads: bool = col("r.reads"),
        filtered: bool = col("r.filtered"),
    }
}

catalog_row! {
    /// Subscriptions of the database whose connection string the role may not read.
    struct SubscriptionRightsRow from
        "pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid"
        where "d.datname = pg_catalog.current_database() \
               AND NOT pg_catalog.has_column_privilege('pg_catalog.pg_subscription', 'subconninfo', 'SELECT')"
        order "s.subname" {
        name: String = col("s.subname"),
    }
}

catalog_row! {
    /// User mappings whose options the view hides from the role (`pg_user_mappings` in `system_views.sql`, 18), without those
    /// on an extension's server.
    struct MappingRightsRow from
        "pg_catalog.pg_user_mappings m JOIN pg_catalog.pg_foreign_server f ON f.oid = m.srvid"
        where "m.umid >= 16384 AND m.umoptions IS NULL \
               AND NOT pg_catalog.has_table_privilege('pg_catalog.pg_user_mapping', 'SELECT') \
               AND NOT (m.umuser <> 0 AND m.usename = CURRENT_USER AND (pg_catalog.pg_has_role(f.srvowner, 'USAGE') \
                        OR pg_catalog.has_server_privilege(f.oid, 'USAGE'))) \
               AND NOT (m.umuser = 0 AND pg_catalog.pg_has_role(f.srvowner, 'USAGE')) \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 1417 AND e.objid = f.oid \
                               AND e.deptype = 'e')"
        order "m.umid" {
        oid: Oid = col("m.umid"),
        name: String = col("m.usename || ' on ' || m.srvname"),
    }
}

/// What stands between a role and the whole of what is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Barriers {
    /// The role that asks.
    pub role: String,
    /// Schemas without USAGE in which rows or sequence values are wanted.
    pub schemas: BTreeMap<Oid, String>,
    /// Tables whose rows are wanted, without SELECT.
    pub tables: BTreeMap<Oid, QualifiedName>,
    /// Sequences whose values are wanted, without SELECT.
    pub sequences: BTreeMap<Oid, QualifiedName>,
    /// Tables whose rows are wanted and which row security filters for the role.
    pub filtered: BTreeMap<Oid, QualifiedName>,
    /// The same, where the filter was asked for: no barrier, but the rows are not all.
    pub accepted: BTreeMap<Oid, QualifiedName>,
    /// Large objects that may not be read.
    pub large_objects: Vec<Oid>,
    /// Subscriptions whose connection string is hidden.
    pub subscriptions: Vec<String>,
    /// User mappings whose options are hidden.
    pub user_mappings: BTreeMap<Oid, String>,
    /// Relations with rows or values in a schema that the role may not enter.
    closed: BTreeMap<Oid, QualifiedName>,
    /// Tables that the role cannot lock, wanted rows or not.
    unlockable: BTreeSet<Oid>,
}

impl Barriers {
    /// Asks what the session's role may not read of what is wanted. At most five queries; one for a superuser.
    pub async fn find(
        session: &Session,
        listing: &Listing,
        wanted: &Wanted,
        reach: Reach,
    ) -> Result<Barriers> {
        let who: Vec<RoleRow> = rows(session, "the role", &[]).await?;
        let mut barriers = Barriers::default();
        for role in who {
            barriers.role = role.name;
            if role.superuser {
                return Ok(barriers);
            }
        }
        barriers
            .look_at_relations(session, listing, wanted, reach)
            .await?;
        if wanted.large_objects {
            barriers.large_objects = unreadable_objects(session).await?;
        }
        if wanted.everything && reach.definitions {
            let found: Vec<SubscriptionRightsRow> = rows(session, "subscriptions", &[]).await?;
            barriers.subscriptions = found.into_iter().map(|row| row.name).collect();
            let found: Vec<MappingRightsRow> = rows(session, "user mappings", &[]).await?;
            barriers.user_mappings = found.into_iter().map(|row| (row.oid, row.name)).collect();
        }
        Ok(barriers)
    }

    async fn look_at_relations(
        &mut self,
        session: &Session,
        listing: &Listing,
        wanted: &Wanted,
        reach: Reach,
    ) -> Result<()> {
        let asked: Vec<Oid> = listing
            .relations
            .values()
            .filter(|row| match row.kind.0 {
                'r' | 'p' => {
                    wanted.relations.contains_key(&row.oid) || wanted.rows.contains(&row.oid)
                }
                'S' => wanted.rows.contains(&row.oid),
                _ => false,
            })
            .map(|row| row.oid)
            .collect();
        let param: &(dyn ToSql + Sync) = &asked;
        let found: Vec<RelationRightsRow> =
            rows(session, "privileges on tables", &[(param, Type::OID_ARRAY)]).await?;
        for found in found {
            let Some(row) = listing.relations.get(&found.oid) else {
                continue;
            };
            let (oid, is_sequence) = (row.oid, row.kind == 'S');
            let whole = found.reads && found.enters;
            if !is_sequence && !whole {
                self.unlockable.insert(oid);
            }
            if !is_sequence && !wanted.rows.contains(&oid) {
                continue;
            }
            let name = row.qualified();
            if !found.enters {
                self.schemas.insert(found.schema, row.schema.clone());
                self.closed.insert(oid, name.clone());
            }
            if !found.reads {
                let of_kind = if is_sequence {
                    &mut self.sequences
                } else {
                    &mut self.tables
                };
                of_kind.insert(oid, name.clone());
            }
            if found.filtered {
                let filtered = if reach.row_security {
                    &mut self.accepted
                } else {
                    &mut self.filtered
                };
                filtered.insert(oid, name);
            }
        }
        Ok(())
    }

    /// True if nothing stands in the way. Rows that an accepted filter hides do not.
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty()
            && self.tables.is_empty()
            && self.sequences.is_empty()
            && self.filtered.is_empty()
            && self.large_objects.is_empty()
            && self.subscriptions.is_empty()
            && self.user_mappings.is_empty()
    }

    /// True if everything that is wanted is read, without a filter.
    pub fn is_whole(&self) -> bool {
        self.is_empty() && self.accepted.is_empty()
    }

    /// Takes what cannot be read out of what is wanted. Definitions stay: they are everybody's to read, and need no lock
    /// because they are compared with a fresh look.
    pub fn leave_out(&self, wanted: &mut Wanted) {
        let relations = [&self.closed, &self.tables, &self.sequences, &self.filtered];
        for oid in relations.into_iter().flat_map(BTreeMap::keys) {
            wanted.rows.remove(oid);
            if let Some(parts) = wanted.relations.get_mut(oid) {
                *parts = parts.without(Part::Data);
            }
        }
        let mappings = self.user_mappings.keys();
        let ids = mappings.map(|oid| CatalogId::new(class::USER_MAPPING, *oid));
        wanted.left_out.extend(ids);
    }

    /// Notes the tables that cannot be locked; only those without wanted rows may stay among them.
    pub fn spare_locks(&self, wanted: &mut Wanted) {
        wanted.unlocked.clone_from(&self.unlockable);
    }
}

async fn unreadable_objects(session: &Session) -> Result<Vec<Oid>> {
    let what = "privileges on large objects";
    let query = format!(
        "SELECT l.oid FROM pg_catalog.pg_largeobject_metadata l WHERE NOT ({READABLE}) ORDER BY l.oid"
    );
    let rows = session.query(what, &query, &[]).await?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(Error::sql(what, "reading them")))
        .collect()
}

async fn rows<R: CatalogRow>(
    session: &Session,
    what: &str,
    params: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<R>> {
    let rows = session
        .query(what, &R::query(session.version()), params)
        .await?;
    rows.iter()
        .map(|row| R::from_row(row).map_err(Error::sql(what, "reading its rows")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::{V12, V15};

    fn barriers() -> Barriers {
        let name = |name: &str| QualifiedName::new("s", name);
        Barriers {
            role: "back\"up".into(),
            schemas: [(1, "s".to_owned())].into(),
            tables: [(10, name("t"))].into(),
            sequences: [(11, name("q"))].into(),
            filtered: [(12, name("p"))].into(),
            large_objects: (1..=201).collect(),
            subscriptions: vec!["sub".into()],
            user_mappings: [(13, "u on f".to_owned())].into(),
            closed: [(10, name("t")), (11, name("q"))].into(),
            unlockable: [10].into(),
            ..Barriers::default()
        }
    }

    #[test]
    fn every_barrier_has_a_finding_and_a_statement() {
        let barriers = barriers();
        assert_eq!(barriers.findings().len(), 7);
        let cures = barriers.cures();
        assert_eq!(cures.len(), 8, "{cures:#?}");
        for cure in [
            r#"GRANT USAGE ON SCHEMA "s" TO "back""up";"#,
            r#"GRANT SELECT ON TABLE "s"."t" TO "back""up";"#,
            r#"GRANT SELECT ON SEQUENCE "s"."q" TO "back""up";"#,
            r#"GRANT SELECT ON LARGE OBJECT 201 TO "back""up";"#,
            r#"GRANT SELECT ON TABLE pg_catalog.pg_subscription TO "back""up";"#,
            r#"GRANT SELECT ON TABLE pg_catalog.pg_user_mapping TO "back""up";"#,
            r#"ALTER ROLE "back""up" BYPASSRLS;"#,
        ] {
            assert!(cures.iter().any(|text| text == cure), "{cure} {cures:#?}");
        }
        assert!(barriers.remedy(V15).contains("pg_read_all_data"));
        assert!(!barriers.remedy(V12).contains("pg_read_all_data"));
        assert!(Barriers::default().is_whole());
    }

    #[test]
    fn what_is_left_out_is_named_once() {
        let barriers = barriers();
        let mut wanted = Wanted::default();
        wanted.rows.extend([10, 12, 14]);
        let all = crate::toc::PartSet::ALL;
        wanted
            .relations
            .extend([10, 11, 12, 14].map(|oid| (oid, all)));
        barriers.leave_out(&mut wanted);
        assert_eq!(wanted.rows, BTreeSet::from([14]));
        assert!(!wanted.relations[&11].has(Part::Data) && wanted.relations[&10].has(Part::Define));
        // A table without SELECT in a closed schema counts once.
        let missing = barriers.missing();
        assert_eq!(missing.len(), 3 + 201 + 2, "{missing:#?}");
    }
}
