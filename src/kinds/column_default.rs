//! Defaults that need more than their table (functions, sequences), and those of views' columns. The others are part of the CREATE.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::table::inline;
use super::{Ddl, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage};

catalog_row! {
    /// `pg_attrdef` without generation expressions.
    pub struct ColumnDefaultRow from
        "pg_catalog.pg_attrdef d \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum \
         JOIN pg_catalog.pg_class c ON c.oid = d.adrelid"
        where "d.oid >= 16384 AND a.attgenerated = ''" {
        oid: Oid = col("d.oid"),
        relation: Oid = col("d.adrelid"),
        relation_kind: Letter = col("c.relkind"),
        column: i16 = col("d.adnum"),
        column_name: String = col("a.attname"),
    }
}

catalog_row! {
    /// The expressions of the defaults asked for.
    pub struct ColumnDefaultText from
        "pg_catalog.pg_attrdef d JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = d.oid" {
        oid: Oid = col("d.oid"),
        expression: ServerSql = col("pg_catalog.pg_get_expr(d.adbin, d.adrelid)"),
    }
}

/// A default that is set after its relation is made.
#[derive(Debug)]
pub struct ColumnDefault {
    row: ColumnDefaultRow,
    text: ColumnDefaultText,
}

impl ObjectKind for ColumnDefault {
    const FACTS: KindFacts = KindFacts {
        label: "column default",
        keyword: "DEFAULT",
        stage: Stage::PreData,
        priority: 150,
        grant: None,
        owned: false,
        postponable: true,
        catalog: "pg_attrdef",
        class: class::ATTRDEF,
    };
    type Row = ColumnDefaultRow;
    type Text = ColumnDefaultText;

    fn subject(row: &ColumnDefaultRow, cx: &LoadCx<'_>) -> Option<Subject> {
        if inline::default_is_inline(cx.core, row.oid, row.relation, row.column) {
            return None;
        }
        let id = CatalogId::new(class::ATTRDEF, row.oid);
        Some(Subject {
            id,
            follows: Follows::Relation(row.relation),
        })
    }

    fn text_oid(text: &ColumnDefaultText) -> Oid {
        text.oid
    }

    fn build(
        row: ColumnDefaultRow,
        text: Option<ColumnDefaultText>,
        _: &LoadCx<'_>,
    ) -> Result<Self> {
        let text = super::deparsed(text, "column default", &row.column_name)?;
        Ok(ColumnDefault { row, text })
    }
}

impl ColumnDefault {
    fn alter(&self, cx: &RenderCx<'_>) -> Sql {
        let foreign = self.row.relation_kind == 'f';
        sql![
            if foreign {
                "ALTER FOREIGN TABLE ONLY "
            } else {
                "ALTER TABLE ONLY "
            },
            cx.core().relation(self.row.relation),
            " ALTER COLUMN ",
            Ident::new(&*self.row.column_name),
        ]
    }
}

impl Ddl for ColumnDefault {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::ATTRDEF, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_on(self.row.relation, &self.row.column_name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![
            cx.core().relation(self.row.relation),
            ".",
            Ident::new(&*self.row.column_name)
        ]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        vec![sql![self.alter(cx), " SET DEFAULT ", &self.text.expression]]
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        Some(sql![self.alter(cx), " DROP DEFAULT"])
    }

    fn locks(&self) -> Vec<(Oid, LockMode)> {
        vec![(self.row.relation, LockMode::AccessExclusive)]
    }

    fn hidden_needs(&self, _: &RenderCx<'_>) -> Vec<CatalogId> {
        vec![CatalogId::relation(self.row.relation)]
    }
}
