//! Constraints of domains that cannot stand inside [`super::domain`]: those whose functions may take the domain, and those
//! that rows of tables may break.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::domain::stands_apart;
use super::row::{Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_constraint` of domains.
    pub struct DomainConstraintRow from
        "pg_catalog.pg_constraint c JOIN pg_catalog.pg_type t ON t.oid = c.contypid" where "c.oid >= 16384" {
        oid: Oid = col("c.oid"),
        name: String = col("c.conname"),
        validated: bool = col("c.convalidated"),
        domain: Oid = col("t.oid"),
        domain_name: String = col("t.typname"),
        schema: Oid = col("t.typnamespace"),
        base: Oid = col("t.typbasetype"),
    }
}

catalog_row! {
    /// The definitions of the constraints asked for, `NOT VALID` included.
    pub struct DomainConstraintText from
        "pg_catalog.pg_constraint c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid" {
        oid: Oid = col("c.oid"),
        definition: ServerSql = col("pg_catalog.pg_get_constraintdef(c.oid)"),
    }
}

/// A domain's constraint that is added later.
#[derive(Debug)]
pub struct DomainConstraint {
    row: DomainConstraintRow,
    text: DomainConstraintText,
}

/// Rows that break a constraint which was never validated must be in place before it.
static NOT_VALID_FACTS: KindFacts = KindFacts {
    stage: Stage::PostData,
    priority: 170,
    ..DomainConstraint::FACTS
};

impl ObjectKind for DomainConstraint {
    const FACTS: KindFacts = KindFacts {
        label: "domain constraint",
        keyword: "CONSTRAINT",
        stage: Stage::PreData,
        // After functions and before tables: a domain that is used inside a column's type takes no new constraint.
        priority: 92,
        grant: None,
        owned: false,
        postponable: true,
        catalog: "pg_constraint",
        class: class::CONSTRAINT,
    };
    type Row = DomainConstraintRow;
    type Text = DomainConstraintText;

    fn subject(row: &DomainConstraintRow, cx: &LoadCx<'_>) -> Option<Subject> {
        let domain = CatalogId::ty(row.domain);
        let mut all = cx.core.domain_constraints.get(&row.domain)?.iter();
        let facts = all.find(|constraint| constraint.oid == row.oid)?;
        let apart = stands_apart(facts, row.base, cx.core) && !cx.core.is_member(domain);
        let id = CatalogId::new(class::CONSTRAINT, row.oid);
        apart.then_some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &DomainConstraintText) -> Oid {
        text.oid
    }

    fn build(
        row: DomainConstraintRow,
        text: Option<DomainConstraintText>,
        _: &LoadCx<'_>,
    ) -> Result<Self> {
        let text = super::deparsed(text, "domain constraint", &row.name)?;
        Ok(DomainConstraint { row, text })
    }
}

impl DomainConstraint {
    fn alter_domain(&self, cx: &RenderCx<'_>) -> Sql {
        sql![
            "ALTER DOMAIN ",
            cx.core().qualified(self.row.schema, &self.row.domain_name)
        ]
    }
}

impl Ddl for DomainConstraint {
    fn facts(&self) -> &'static KindFacts {
        if self.row.validated {
            &Self::FACTS
        } else {
            &NOT_VALID_FACTS
        }
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::CONSTRAINT, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        EntryName {
            schema: Some(cx.core().schema_name(self.row.schema)),
            relation: Some(self.row.domain_name.clone()),
            name: self.row.name.clone(),
        }
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let domain = cx.core().qualified(self.row.schema, &self.row.domain_name);
        sql![Ident::new(&*self.row.name), " ON DOMAIN ", domain]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let name = Ident::new(&*self.row.name);
        vec![sql![
            self.alter_domain(cx),
            " ADD CONSTRAINT ",
            name,
            " ",
            self.text.definition
        ]]
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        let name = Ident::new(&*self.row.name);
        Some(sql![self.alter_domain(cx), " DROP CONSTRAINT ", name])
    }
}
