//! Text search parsers. They have no owner.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common, naming};
use crate::error::Result;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_ts_parser`.
    pub struct TsParserRow from "pg_catalog.pg_ts_parser p" where "p.oid >= 16384" {
        oid: Oid = col("p.oid"),
        schema: Oid = col("p.prsnamespace"),
        name: String = col("p.prsname"),
        start: Option<ServerSql> = by(|_| naming::function("p.prsstart")),
        token: Option<ServerSql> = by(|_| naming::function("p.prstoken")),
        end: Option<ServerSql> = by(|_| naming::function("p.prsend")),
        headline: Option<ServerSql> = by(|_| naming::function("p.prsheadline")),
        lextypes: Option<ServerSql> = by(|_| naming::function("p.prslextype")),
    }
}

/// A text search parser.
#[derive(Debug)]
pub struct TsParser {
    row: TsParserRow,
}

impl ObjectKind for TsParser {
    const FACTS: KindFacts = KindFacts {
        label: "text search parser",
        keyword: "TEXT SEARCH PARSER",
        stage: Stage::PreData,
        priority: 120,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_ts_parser",
        class: class::TS_PARSER,
    };
    type Row = TsParserRow;
    type Text = NoText;

    fn subject(row: &TsParserRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::TS_PARSER, row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: TsParserRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(TsParser { row })
    }
}

impl Ddl for TsParser {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::TS_PARSER, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![common::qualified(self.row.schema, &self.row.name, cx)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let functions = [
            ("START = ", &self.row.start),
            ("GETTOKEN = ", &self.row.token),
            ("END = ", &self.row.end),
            ("HEADLINE = ", &self.row.headline),
            ("LEXTYPES = ", &self.row.lextypes),
        ];
        let functions = functions
            .iter()
            .filter_map(|(word, function)| Some(sql![*word, function.as_ref()?]));
        vec![sql![
            "CREATE TEXT SEARCH PARSER ",
            self.address(cx),
            " (",
            Sql::list(functions),
            ")"
        ]]
    }
}
