//! Schemas. `public` is never created: it stands in every database.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common};
use crate::error::Result;
use crate::pg::version::V15;
use crate::sql::{Grantee, Ident, Sql, sql};
use crate::toc::{EntryName, Grant, Stage, Targets};

catalog_row! {
    /// `pg_namespace`, users' schemas and `public`.
    pub struct SchemaRow from "pg_catalog.pg_namespace n"
        where "(n.oid >= 16384 AND n.nspname !~ '^pg_') OR n.nspname = 'public' OR n.nspacl IS NOT NULL" {
        oid: Oid = col("n.oid"),
        name: String = col("n.nspname"),
        owner: Oid = col("n.nspowner"),
    }
}

/// Who owns `public` after initdb: `pg_database_owner` since 15, the bootstrap superuser before.
const NATURAL_OWNERS: [Oid; 2] = [6171, 10];

/// A schema.
#[derive(Debug)]
pub struct Schema {
    /// The row.
    pub row: SchemaRow,
}

impl Schema {
    fn is_public(&self) -> bool {
        self.row.name == "public"
    }
}

impl ObjectKind for Schema {
    const FACTS: KindFacts = KindFacts {
        label: "schema",
        keyword: "SCHEMA",
        stage: Stage::PreData,
        priority: 10,
        grant: Some("SCHEMA"),
        owned: true,
        postponable: false,
        catalog: "pg_namespace",
        class: class::NAMESPACE,
    };
    type Row = SchemaRow;
    type Text = NoText;

    fn subject(row: &SchemaRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::NAMESPACE, row.oid);
        Some(Subject {
            id,
            follows: Follows::Schema(row.oid),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: SchemaRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(Schema { row })
    }
}

impl Ddl for Schema {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::NAMESPACE, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        let natural = self.is_public() && NATURAL_OWNERS.contains(&self.row.owner);
        (!natural).then_some(self.row.owner)
    }

    fn initial_comment(&self) -> Option<&str> {
        self.is_public().then_some("standard public schema")
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        EntryName {
            name: self.row.name.clone(),
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![Ident::new(&*self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        if self.is_public() {
            Vec::new()
        } else {
            vec![sql!["CREATE SCHEMA ", self.address(cx)]]
        }
    }

    /// Before 15 everybody may create in `public` from the start, so that what is not so at the source must be taken away.
    fn own_grants(&self, cx: &RenderCx<'_>) -> Option<Vec<Grant>> {
        if !self.is_public() {
            return None;
        }
        let create = "CREATE";
        let acl = cx.core().acls.get(&(self.id(), 0));
        let items = acl.into_iter().flat_map(|acl| &acl.items);
        let mut of_everybody = items.filter(|item| item.grantee == 0);
        let open = of_everybody.any(|item| item.privileges.contains_key(create));
        let revoke = Grant {
            grant: false,
            privileges: vec![sql![create]],
            target: sql!["SCHEMA ", self.address(cx)],
            grantee: Grantee::Public,
            with_grant_option: false,
            grantor: None,
            prefix: Sql::default(),
            targets: Targets {
                until: Some(V15),
                ..Targets::default()
            },
        };
        let own = common::grants_of(self, cx);
        Some((!open).then_some(revoke).into_iter().chain(own).collect())
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        (!self.is_public()).then(|| sql!["DROP SCHEMA ", self.address(cx)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::row::CatalogRow;

    #[test]
    fn the_query_reads_public_too() {
        assert!(SchemaRow::query(V15).contains("n.nspname = 'public'"));
    }
}
