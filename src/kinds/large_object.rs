//! Large objects: their existence, owners and privileges, up to a thousand with the same owner and privileges per object.
//! Their pages are one entry of the data stage.

use super::acl::{self, GrantTarget};
use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::toc_builder::{Aspect, Draft, DraftData, DraftKey, TocBuilder};
use super::{Ddl, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Literal, Sql, sql};
use crate::toc::{After, DataOf, EntryName, Grant, Part, Stage};

/// True for a large object `l` (a row of `pg_largeobject_metadata`) that the role may read, by itself or because it may read the
/// pages of all. `has_largeobject_privilege` exists only since 18.
pub const READABLE: &str = "CASE WHEN pg_catalog.has_table_privilege(2613::pg_catalog.oid, 'SELECT') \
    OR pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool THEN true \
    ELSE EXISTS (SELECT FROM pg_catalog.aclexplode(COALESCE(l.lomacl, \
    pg_catalog.acldefault('L'::pg_catalog.\"char\", l.lomowner))) a WHERE a.privilege_type = 'SELECT' \
    AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) END";

catalog_row! {
    /// `pg_largeobject_metadata` in groups, without those that the role may not read: a dump has refused those, or named them. Large objects may have any OID, because `lo_create` takes one.
    pub struct LargeObjectRow from
        "(SELECT pg_catalog.min(m.oid) AS oid, m.owner, pg_catalog.array_agg(m.oid ORDER BY m.oid) AS oids \
          FROM (SELECT l.oid, l.lomowner AS owner, l.lomacl::pg_catalog.text AS acl, \
                  (pg_catalog.row_number() OVER (PARTITION BY l.lomowner, l.lomacl::pg_catalog.text ORDER BY l.oid) - 1) \
                    / 1000 AS page \
                FROM pg_catalog.pg_largeobject_metadata l WHERE \
                CASE WHEN pg_catalog.has_table_privilege(2613::pg_catalog.oid, 'SELECT') \
                OR pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool THEN true \
                ELSE EXISTS (SELECT FROM pg_catalog.aclexplode(COALESCE(l.lomacl, \
                pg_catalog.acldefault('L'::pg_catalog.\"char\", l.lomowner))) a WHERE a.privilege_type = 'SELECT' \
                AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) END) m \
          GROUP BY m.owner, m.acl, m.page) g"
        order "g.oid" {
        /// The group's first.
        oid: Oid = col("g.oid"),
        owner: Oid = col("g.owner"),
        oids: Vec<Oid> = col("g.oids"),
        /// True if no large object has a lower OID.
        lowest: bool = col("g.oid = pg_catalog.min(g.oid) OVER ()"),
    }
}

/// Large objects of one owner with equal privileges.
#[derive(Debug)]
pub struct LargeObject {
    row: LargeObjectRow,
}

impl ObjectKind for LargeObject {
    const FACTS: KindFacts = KindFacts {
        label: "large object",
        keyword: "LARGE OBJECT",
        stage: Stage::Data,
        priority: 163,
        grant: Some("LARGE OBJECT"),
        // Each has its own `ALTER … OWNER TO`, among the statements that create them.
        owned: false,
        postponable: false,
        catalog: "pg_largeobject_metadata",
        class: class::LARGE_OBJECT_METADATA,
    };
    type Row = LargeObjectRow;
    type Text = NoText;

    fn subject(row: &LargeObjectRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::LARGE_OBJECT_METADATA, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: LargeObjectRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(LargeObject { row })
    }
}

impl LargeObject {
    /// The OIDs as an SQL array.
    fn oid_array(&self) -> Sql {
        let oids: Vec<String> = self.row.oids.iter().map(Oid::to_string).collect();
        let list = format!("{{{}}}", oids.join(","));
        sql![Literal(&list), "::pg_catalog.oid[]"]
    }
}

impl Ddl for LargeObject {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::LARGE_OBJECT_METADATA, self.row.oid)
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        let name = match self.row.oids.as_slice() {
            [first, .., last] => format!("{first}..{last}"),
            _ => self.row.oid.to_string(),
        };
        EntryName {
            name,
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![self.row.oid]
    }

    fn create(&self, _: &RenderCx<'_>) -> Vec<Sql> {
        vec![sql![
            "SELECT pg_catalog.lo_create(o) FROM pg_catalog.unnest(",
            self.oid_array(),
            ") AS o"
        ]]
    }

    fn parts_after(&self, cx: &RenderCx<'_>) -> Vec<After> {
        let role = cx.core().role(self.row.owner);
        let alter = |oid: &Oid| sql!["ALTER LARGE OBJECT ", oid, " OWNER TO ", &role];
        self.row
            .oids
            .iter()
            .map(|oid| After::new(Part::Owner, alter(oid)))
            .collect()
    }

    fn drop(&self, _: &RenderCx<'_>) -> Option<Sql> {
        Some(sql![
            "SELECT pg_catalog.lo_unlink(l.oid) FROM pg_catalog.pg_largeobject_metadata l WHERE l.oid = ANY (",
            self.oid_array(),
            ")"
        ])
    }

    /// Comments and labels are filed under the catalog of the pages.
    fn absorbs(&self) -> Vec<CatalogId> {
        let oids = self.row.oids.iter();
        oids.map(|oid| CatalogId::new(class::LARGE_OBJECT, *oid))
            .collect()
    }

    fn own_grants(&self, cx: &RenderCx<'_>) -> Option<Vec<Grant>> {
        let mut out = Vec::new();
        for oid in &self.row.oids {
            let id = CatalogId::new(class::LARGE_OBJECT_METADATA, *oid);
            let Some(acl) = cx.core().acls.get(&(id, 0)) else {
                continue;
            };
            let target = GrantTarget {
                keyword: "LARGE OBJECT",
                address: &sql![*oid],
                column: None,
                prefix: &Sql::default(),
            };
            out.extend(acl::grants(
                acl,
                &target,
                |oid| cx.core().role(oid),
                cx.server,
            ));
        }
        Some(out)
    }

    /// The pages of all large objects are one entry, which the first group adds.
    fn more(&self, cx: &RenderCx<'_>, toc: &mut TocBuilder<'_>) {
        if !self.row.lowest {
            return;
        }
        let groups = cx.catalog.objects.iter().map(|object| object.ddl().id());
        let groups = groups.filter(|id| id.class == class::LARGE_OBJECT_METADATA);
        let key = DraftKey::aspect(self.id(), Aspect::Data);
        let name = EntryName {
            name: "large objects".to_owned(),
            ..EntryName::default()
        };
        let mut draft = Draft::new(key, "large objects", name, Stage::Data, 164)
            .needs(groups.map(DraftKey::define));
        draft.data = Some(DraftData {
            relation: 0,
            columns: Vec::new(),
            condition: Sql::default(),
            of: DataOf::LargeObjects,
        });
        toc.add(draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Object;
    use crate::kinds::arena::Catalog;
    use crate::kinds::common;
    use crate::kinds::core::CommentRow;
    use crate::kinds::row::CatalogRow as _;
    use crate::pg::version::V15;
    use crate::toc::PartSet;

    fn catalog(parts: PartSet) -> Catalog {
        let mut catalog = Catalog::default();
        catalog.core.roles.insert(5, "o".into());
        let comment = CommentRow {
            class: class::LARGE_OBJECT,
            oid: 43,
            column: 0,
            text: "it's".into(),
        };
        let described = CatalogId::new(class::LARGE_OBJECT, 43);
        catalog.core.comments.insert(described, vec![comment]);
        for (oids, lowest) in [(vec![42, 43], true), (vec![44], false)] {
            let row = LargeObjectRow {
                oid: oids[0],
                owner: 5,
                oids,
                lowest,
            };
            catalog.push(Object::LargeObject(Box::new(LargeObject { row })), parts);
        }
        catalog
    }

    #[test]
    fn a_group_is_created_at_once_and_comments_follow() {
        let catalog = catalog(PartSet::ALL);
        let cx = RenderCx {
            catalog: &catalog,
            server: V15,
        };
        let group = &catalog.objects[0];
        let text: Vec<String> = group.ddl().create(&cx).iter().map(Sql::text).collect();
        assert_eq!(
            text,
            [
                "SELECT pg_catalog.lo_create(o) FROM pg_catalog.unnest('{42,43}'::pg_catalog.oid[]) AS o"
            ]
        );
        let owners = group.ddl().parts_after(&cx);
        assert_eq!(
            owners
                .iter()
                .map(|owner| owner.sql.text())
                .collect::<Vec<_>>(),
            [
                r#"ALTER LARGE OBJECT 42 OWNER TO "o""#,
                r#"ALTER LARGE OBJECT 43 OWNER TO "o""#
            ]
        );
        let after = common::after(group, PartSet::ALL, &cx);
        let after: Vec<String> = after.iter().map(|after| after.sql.text()).collect();
        assert_eq!(after, ["COMMENT ON LARGE OBJECT 43 IS 'it''s'"]);
    }

    #[test]
    fn only_what_may_be_read_is_listed() {
        assert!(LargeObjectRow::query(V15).contains(READABLE));
    }

    #[test]
    fn one_entry_holds_the_pages_of_all_groups() {
        let catalog = catalog(PartSet::ALL);
        let cx = RenderCx {
            catalog: &catalog,
            server: V15,
        };
        let mut toc = TocBuilder::new(cx);
        for object in &catalog.objects {
            object.ddl().more(&cx, &mut toc);
        }
        let (drafts, _) = toc.finish();
        assert_eq!(drafts.len(), 1);
        let group = |oid| DraftKey::define(CatalogId::new(class::LARGE_OBJECT_METADATA, oid));
        assert!(
            [42, 44]
                .iter()
                .all(|oid| drafts[0].needs.contains(&group(*oid)))
        );
    }
}
