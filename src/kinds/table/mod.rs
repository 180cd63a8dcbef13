//! Tables, partitioned ones included. Columns come from the bulk facts; defaults and CHECKs that need more than the table
//! are entries of their own (`column_default`, `constraint`), keys and foreign keys always.

pub(crate) mod aspects;
pub(crate) mod column;
pub(crate) mod create;
pub(crate) mod inline;

use std::collections::HashMap;

use self::create::InlineCheck;
use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::core::{ConstraintRow, Core};
use super::row::{Letter, Oid, catalog_row};
use super::toc_builder::TocBuilder;
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::V18;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, Part, Stage};

catalog_row! {
    /// `pg_class`, tables and partitioned tables; the system's own only where their privileges were set.
    pub struct TableRow from
        "pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_class toast ON toast.oid = c.reltoastrelid \
         LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace \
         LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam"
        where "c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
               AND (c.oid >= 16384 OR c.relacl IS NOT NULL)" {
        oid: Oid = col("c.oid"),
        name: String = col("c.relname"),
        schema: Oid = col("c.relnamespace"),
        owner: Oid = col("c.relowner"),
        /// r table, p partitioned table.
        kind: Letter = col("c.relkind"),
        /// p permanent, u unlogged.
        persistence: Letter = col("c.relpersistence"),
        options: Option<Vec<String>> = col("c.reloptions"),
        toast_options: Option<Vec<String>> = col("toast.reloptions"),
        tablespace: Option<String> = col("s.spcname"),
        access_method: Option<String> = col("m.amname"),
        /// d default, n nothing, f full, i an index, which says so itself.
        replica_identity: Letter = col("c.relreplident"),
        row_security: bool = col("c.relrowsecurity"),
        force_row_security: bool = col("c.relforcerowsecurity"),
    }
}

catalog_row! {
    /// What the server deparses of the tables asked for. The CHECKs are two parallel arrays.
    pub struct TableText from
        "pg_catalog.pg_class c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid" {
        oid: Oid = col("c.oid"),
        partition_key: Option<ServerSql> =
            col("CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END"),
        bound: Option<ServerSql> = col("pg_catalog.pg_get_expr(c.relpartbound, c.oid)"),
        of_type: Option<ServerSql> =
            col("CASE WHEN c.reloftype <> 0 THEN pg_catalog.format_type(c.reloftype, NULL) END"),
        checks: Vec<Oid> = col("ARRAY(SELECT k.oid FROM pg_catalog.pg_constraint k \
            WHERE k.conrelid = c.oid AND k.contype = 'c' ORDER BY k.oid)"),
        definitions: Vec<Option<ServerSql>> =
            col("ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k \
            WHERE k.conrelid = c.oid AND k.contype = 'c' ORDER BY k.oid)"),
    }
}

/// A table.
#[derive(Debug)]
pub struct Table {
    row: TableRow,
    text: TableText,
    checks: Vec<InlineCheck>,
    absorbed: Vec<CatalogId>,
}

impl Table {
    fn is_partitioned(&self) -> bool {
        self.row.kind == 'p'
    }
}

impl ObjectKind for Table {
    const FACTS: KindFacts = KindFacts {
        label: "table",
        keyword: "TABLE",
        stage: Stage::PreData,
        priority: 140,
        grant: Some("TABLE"),
        owned: true,
        postponable: false,
        catalog: "pg_class",
        class: class::RELATION,
    };
    type Row = TableRow;
    type Text = TableText;

    fn subject(row: &TableRow, cx: &LoadCx<'_>) -> Option<Subject> {
        // The standard's own schema is nobody's to change; `pg_dump` leaves its privileges out too.
        if cx.core.schema_name(row.schema) == "information_schema" {
            return None;
        }
        let id = CatalogId::relation(row.oid);
        Some(Subject {
            id,
            follows: Follows::Itself,
        })
    }

    fn text_oid(text: &TableText) -> Oid {
        text.oid
    }

    fn build(row: TableRow, text: Option<TableText>, cx: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "table", &row.name)?;
        let checks = inline_checks(cx.core, row.oid, &text.checks, &text.definitions)?;
        let absorbed = absorbed(cx, row.oid);
        Ok(Table {
            row,
            text,
            checks,
            absorbed,
        })
    }
}

/// The CHECKs that stand in the CREATE of a relation, by name, with the definitions that the server gave for `oids`.
pub(crate) fn inline_checks(
    core: &Core,
    relation: Oid,
    oids: &[Oid],
    definitions: &[Option<ServerSql>],
) -> Result<Vec<InlineCheck>> {
    let texts: HashMap<Oid, &Option<ServerSql>> = oids.iter().copied().zip(definitions).collect();
    let inline = core.constraints_of(relation).iter();
    let inline = inline.filter(|row| inline::check_is_inline(core, row));
    let check = |row: &ConstraintRow| {
        let text = texts.get(&row.oid).and_then(|text| (*text).clone());
        let definition = super::deparsed(text, "check constraint", &row.name)?;
        Ok(InlineCheck {
            name: row.name.clone(),
            definition,
        })
    };
    inline.map(check).collect()
}

/// The defaults, CHECKs and NOT NULLs that come with a relation's CREATE, stated or inherited.
pub(crate) fn absorbed(cx: &LoadCx<'_>, relation: Oid) -> Vec<CatalogId> {
    let core = cx.core;
    let defaults = core.defaults.get(&relation).into_iter().flatten();
    let defaults = defaults
        .filter(|row| inline::default_is_inline(core, row.oid, relation, row.column))
        .map(|row| CatalogId::new(class::ATTRDEF, row.oid));
    let constraints = core.constraints_of(relation).iter();
    let constraints = constraints
        .filter(|row| comes_with_relation(core, row) && (row.kind != 'n' || cx.server >= V18))
        .map(|row| CatalogId::new(class::CONSTRAINT, row.oid));
    defaults.chain(constraints).collect()
}

/// True if a CHECK or NOT NULL exists once its relation is created: it is inline there, or inherited from where it is inline.
fn comes_with_relation(core: &Core, row: &ConstraintRow) -> bool {
    if !row.validated || !matches!(row.kind.0, 'c' | 'n') {
        return false;
    }
    if inline::is_stated(core, row) {
        return row.kind == 'n' || inline::check_is_inline(core, row);
    }
    let parents = core.parents.get(&row.relation).into_iter().flatten();
    let mut same = parents.flat_map(|link| inline::same_constraints(core, row, link.parent));
    same.any(|parent| comes_with_relation(core, parent))
}

impl Ddl for Table {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::relation(self.row.oid)
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
        self.statements(cx, V18)
            .map(|found| found.sql)
            .unwrap_or_default()
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        create::forms_by_target(|target| self.statements(cx, target))
    }

    fn absorbs(&self) -> Vec<CatalogId> {
        self.absorbed.clone()
    }

    fn tablespace(&self, _: &RenderCx<'_>) -> Option<String> {
        Some(self.row.tablespace.clone().unwrap_or_default())
    }

    fn access_method(&self) -> Option<String> {
        self.row
            .access_method
            .clone()
            .filter(|_| !self.is_partitioned())
    }

    fn more(&self, cx: &RenderCx<'_>, builder: &mut TocBuilder<'_>) {
        let parts = cx.catalog.parts_of(self.id());
        if let Some(draft) = aspects::attach(cx, self.row.oid, self.text.bound.as_ref()) {
            builder.add(draft);
        }
        if parts.has(Part::Data) && !self.is_partitioned() {
            builder.add(self.rows(cx));
        }
        if parts.has(Part::Define) && self.row.row_security {
            builder.add(self.row_security(cx));
        }
    }
}

#[cfg(test)]
mod tests;
