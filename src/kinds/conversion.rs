//! Encoding conversions.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, naming};
use crate::error::Result;
use crate::sql::{Literal, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_conversion`, users' conversions.
    pub struct ConversionRow from "pg_catalog.pg_conversion c" where "c.oid >= 16384" {
        oid: Oid = col("c.oid"),
        name: String = col("c.conname"),
        schema: Oid = col("c.connamespace"),
        owner: Oid = col("c.conowner"),
        from: String = col("pg_catalog.pg_encoding_to_char(c.conforencoding)"),
        to: String = col("pg_catalog.pg_encoding_to_char(c.contoencoding)"),
        is_default: bool = col("c.condefault"),
    }
}

catalog_row! {
    /// The functions of the conversions asked for.
    pub struct ConversionText from
        "pg_catalog.pg_conversion c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid" {
        oid: Oid = col("c.oid"),
        function: ServerSql = by(|_| naming::function("c.conproc")),
    }
}

/// A conversion.
#[derive(Debug)]
pub struct Conversion {
    row: ConversionRow,
    text: ConversionText,
}

impl ObjectKind for Conversion {
    const FACTS: KindFacts = KindFacts {
        label: "conversion",
        keyword: "CONVERSION",
        stage: Stage::PreData,
        priority: 115,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_conversion",
        class: class::CONVERSION,
    };
    type Row = ConversionRow;
    type Text = ConversionText;

    fn subject(row: &ConversionRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::CONVERSION, row.oid);
        Some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &ConversionText) -> Oid {
        text.oid
    }

    fn build(row: ConversionRow, text: Option<ConversionText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "conversion", &row.name)?;
        Ok(Conversion { row, text })
    }
}

impl Ddl for Conversion {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::CONVERSION, self.row.oid)
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
        vec![sql![
            "CREATE ",
            self.row.is_default.then_some("DEFAULT "),
            "CONVERSION ",
            self.address(cx),
            " FOR ",
            Literal(&self.row.from),
            " TO ",
            Literal(&self.row.to),
            " FROM ",
            self.text.function,
        ]]
    }
}
