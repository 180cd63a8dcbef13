//! Composite types that stand by themselves. The row types of tables and views belong to those.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::core::ColumnRow;
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, versions};
use crate::error::Result;
use crate::sql::{Ident, QualifiedName, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_type` with the relation that holds its attributes.
    pub struct CompositeTypeRow from
        "pg_catalog.pg_type t JOIN pg_catalog.pg_class c ON c.oid = t.typrelid"
        where "t.typtype = 'c' AND c.relkind = 'c' AND t.oid >= 16384" {
        oid: Oid = col("t.oid"),
        name: String = col("t.typname"),
        schema: Oid = col("t.typnamespace"),
        owner: Oid = col("t.typowner"),
        relation: Oid = col("t.typrelid"),
    }
}

/// A composite type.
#[derive(Debug)]
pub struct CompositeType {
    row: CompositeTypeRow,
}

impl ObjectKind for CompositeType {
    const FACTS: KindFacts = KindFacts {
        label: "composite type",
        keyword: "TYPE",
        stage: Stage::PreData,
        priority: 60,
        grant: Some("TYPE"),
        owned: true,
        postponable: false,
        catalog: "pg_type",
        class: class::TYPE,
    };
    type Row = CompositeTypeRow;
    type Text = NoText;

    fn subject(row: &CompositeTypeRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::ty(row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: CompositeTypeRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(CompositeType { row })
    }
}

impl Ddl for CompositeType {
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
        let attributes = cx
            .core()
            .columns_of(self.row.relation)
            .iter()
            .map(attribute);
        vec![sql![
            "CREATE TYPE ",
            self.address(cx),
            " AS (",
            Sql::list(attributes),
            ")"
        ]]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let attributes = cx.core().columns_of(self.row.relation).iter();
        let types = attributes.filter_map(|column| versions::since_major(column.ty_major));
        let mut form = DraftForm::plain(self.create(cx), self.locks());
        form.form.since = types.max();
        vec![form]
    }

    // Its attributes' needs and comments hang on the relation.
    fn absorbs(&self) -> Vec<CatalogId> {
        vec![CatalogId::relation(self.row.relation)]
    }
}

fn attribute(column: &ColumnRow) -> Sql {
    let collation = column
        .collation_schema
        .as_ref()
        .zip(column.collation_name.as_ref());
    sql![
        Ident::new(&*column.name),
        " ",
        column.ty,
        collation.map(|(schema, name)| sql![" COLLATE ", QualifiedName::new(schema, name)]),
    ]
}
