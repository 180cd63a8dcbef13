//! Domains with those of their constraints that can be written inside them; the others are [`super::domain_constraint`]'s.

use std::collections::HashMap;

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::core::{ConstraintRow, Core};
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, naming, versions};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_type` of domains. Of initdb's own only those whose privileges somebody may have changed.
    pub struct DomainRow from "pg_catalog.pg_type t"
        where "t.typtype = 'd' AND (t.oid >= 16384 OR t.typacl IS NOT NULL)" {
        oid: Oid = col("t.oid"),
        name: String = col("t.typname"),
        schema: Oid = col("t.typnamespace"),
        owner: Oid = col("t.typowner"),
        base: Oid = col("t.typbasetype"),
        not_null: bool = col("t.typnotnull"),
    }
}

catalog_row! {
    /// What the server deparses of domains.
    pub struct DomainText from
        "pg_catalog.pg_type t JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = t.oid \
         JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype" {
        oid: Oid = col("t.oid"),
        base: ServerSql = col("pg_catalog.format_type(t.typbasetype, t.typtypmod)"),
        /// The oldest major that has the base type.
        major: i32 = by(|_| versions::major_of_types("ARRAY[t.typbasetype]")),
        /// Where it is not the base type's.
        collation: Option<ServerSql> = by(|_| {
            let name = naming::collation("t.typcollation");
            format!("CASE WHEN t.typcollation <> b.typcollation THEN {name} END")
        }),
        default: Option<ServerSql> = col(
            "COALESCE(pg_catalog.pg_get_expr(t.typdefaultbin, 0), pg_catalog.quote_literal(t.typdefault))"
        ),
        constraints: Vec<Oid> = col(
            "ARRAY(SELECT c.oid FROM pg_catalog.pg_constraint c \
             WHERE c.contypid = t.oid AND c.contype IN ('c', 'n') ORDER BY c.oid)"
        ),
        /// In the same order.
        definitions: Vec<ServerSql> = col(
            "ARRAY(SELECT pg_catalog.pg_get_constraintdef(c.oid) FROM pg_catalog.pg_constraint c \
             WHERE c.contypid = t.oid AND c.contype IN ('c', 'n') ORDER BY c.oid)"
        ),
    }
}

/// A constraint inside a domain.
#[derive(Debug)]
struct Inline {
    oid: Oid,
    name: String,
    definition: ServerSql,
}

/// A domain.
#[derive(Debug)]
pub struct Domain {
    row: DomainRow,
    text: DomainText,
    inline: Vec<Inline>,
}

/// True if a constraint cannot stand inside `CREATE DOMAIN`: it was never validated, or it uses something of users that may
/// use the domain itself. What extensions bring cannot.
pub(super) fn stands_apart(constraint: &ConstraintRow, base: Oid, core: &Core) -> bool {
    let id = CatalogId::new(class::CONSTRAINT, constraint.oid);
    let known = [CatalogId::ty(constraint.domain), CatalogId::ty(base)];
    !constraint.validated
        || core
            .depends_of(id)
            .map(|row| CatalogId::new(row.ref_class, row.ref_oid))
            .filter(|used| {
                matches!(
                    used.class,
                    class::PROC | class::OPERATOR | class::RELATION | class::TYPE
                )
            })
            .any(|used| !known.contains(&used) && !core.is_member(used))
}

impl ObjectKind for Domain {
    const FACTS: KindFacts = KindFacts {
        label: "domain",
        keyword: "DOMAIN",
        stage: Stage::PreData,
        priority: 60,
        grant: Some("TYPE"),
        owned: true,
        postponable: false,
        catalog: "pg_type",
        class: class::TYPE,
    };
    type Row = DomainRow;
    type Text = DomainText;

    fn subject(row: &DomainRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::ty(row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &DomainText) -> Oid {
        text.oid
    }

    fn build(row: DomainRow, text: Option<DomainText>, cx: &LoadCx<'_>) -> Result<Self> {
        let mut text = super::deparsed(text, "domain", &row.name)?;
        let oids = std::mem::take(&mut text.constraints).into_iter();
        let mut definitions: HashMap<Oid, ServerSql> =
            oids.zip(std::mem::take(&mut text.definitions)).collect();
        let mut inline = Vec::new();
        for constraint in cx
            .core
            .domain_constraints
            .get(&row.oid)
            .into_iter()
            .flatten()
        {
            // Another kind of constraint is one that nobody knows yet: the dump names it and leaves it out.
            let known = matches!(constraint.kind.0, 'c' | 'n');
            if !known || stands_apart(constraint, row.base, cx.core) {
                continue;
            }
            let name = constraint.name.clone();
            let definition = definitions.remove(&constraint.oid);
            let definition = super::deparsed(definition, "domain constraint", &name)?;
            inline.push(Inline {
                oid: constraint.oid,
                name,
                definition,
            });
        }
        Ok(Domain { row, text, inline })
    }
}

impl Ddl for Domain {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::ty(self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![cx.core().qualified(self.row.schema, &self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let constraints = self.inline.iter().map(|constraint| {
            sql![
                " CONSTRAINT ",
                Ident::new(&*constraint.name),
                " ",
                constraint.definition
            ]
        });
        // Since 17 NOT NULL is a constraint with a name, and stands among the others.
        let named = |constraint: &Inline| constraint.definition.as_str().starts_with("NOT NULL");
        let unnamed = self.row.not_null && !self.inline.iter().any(named);
        vec![sql![
            "CREATE DOMAIN ",
            self.address(cx),
            " AS ",
            self.text.base,
            self.text
                .collation
                .as_ref()
                .map(|name| sql![" COLLATE ", name]),
            self.text
                .default
                .as_ref()
                .map(|text| sql![" DEFAULT ", text]),
            unnamed.then_some(" NOT NULL"),
            Sql::join(constraints, ""),
        ]]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut form = DraftForm::plain(self.create(cx), self.locks());
        form.form.since = versions::since_major(self.text.major);
        vec![form]
    }

    fn absorbs(&self) -> Vec<CatalogId> {
        self.inline
            .iter()
            .map(|row| CatalogId::new(class::CONSTRAINT, row.oid))
            .collect()
    }
}
