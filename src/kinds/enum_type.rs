//! Enum types.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Literal, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_type` of enums with their labels.
    pub struct EnumTypeRow from "pg_catalog.pg_type t" where "t.typtype = 'e' AND t.oid >= 16384" {
        oid: Oid = col("t.oid"),
        name: String = col("t.typname"),
        schema: Oid = col("t.typnamespace"),
        owner: Oid = col("t.typowner"),
        /// In sort order, which is not the order of creation once labels were added in between.
        labels: Vec<String> = col(
            "ARRAY(SELECT e.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum e \
             WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)"
        ),
    }
}

/// An enum type.
#[derive(Debug)]
pub struct EnumType {
    row: EnumTypeRow,
}

impl ObjectKind for EnumType {
    const FACTS: KindFacts = KindFacts {
        label: "enum type",
        keyword: "TYPE",
        stage: Stage::PreData,
        priority: 60,
        grant: Some("TYPE"),
        owned: true,
        postponable: false,
        catalog: "pg_type",
        class: class::TYPE,
    };
    type Row = EnumTypeRow;
    type Text = NoText;

    fn subject(row: &EnumTypeRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::ty(row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: EnumTypeRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(EnumType { row })
    }
}

impl Ddl for EnumType {
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
        let labels = Sql::list(self.row.labels.iter().map(|label| Literal(label)));
        vec![sql![
            "CREATE TYPE ",
            self.address(cx),
            " AS ENUM (",
            labels,
            ")"
        ]]
    }
}
