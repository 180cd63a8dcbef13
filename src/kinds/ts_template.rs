//! Text search templates. They have no owner.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common, naming};
use crate::error::Result;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_ts_template`.
    pub struct TsTemplateRow from "pg_catalog.pg_ts_template t" where "t.oid >= 16384" {
        oid: Oid = col("t.oid"),
        schema: Oid = col("t.tmplnamespace"),
        name: String = col("t.tmplname"),
        init: Option<ServerSql> = by(|_| naming::function("t.tmplinit")),
        lexize: Option<ServerSql> = by(|_| naming::function("t.tmpllexize")),
    }
}

/// A text search template.
#[derive(Debug)]
pub struct TsTemplate {
    row: TsTemplateRow,
}

impl ObjectKind for TsTemplate {
    const FACTS: KindFacts = KindFacts {
        label: "text search template",
        keyword: "TEXT SEARCH TEMPLATE",
        stage: Stage::PreData,
        priority: 122,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_ts_template",
        class: class::TS_TEMPLATE,
    };
    type Row = TsTemplateRow;
    type Text = NoText;

    fn subject(row: &TsTemplateRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::TS_TEMPLATE, row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: TsTemplateRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(TsTemplate { row })
    }
}

impl Ddl for TsTemplate {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::TS_TEMPLATE, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![common::qualified(self.row.schema, &self.row.name, cx)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let functions = [("INIT = ", &self.row.init), ("LEXIZE = ", &self.row.lexize)];
        let functions = functions
            .iter()
            .filter_map(|(word, function)| Some(sql![*word, function.as_ref()?]));
        vec![sql![
            "CREATE TEXT SEARCH TEMPLATE ",
            self.address(cx),
            " (",
            Sql::list(functions),
            ")"
        ]]
    }
}
