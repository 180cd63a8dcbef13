//! Text search dictionaries.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common, naming};
use crate::error::Result;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_ts_dict`.
    pub struct TsDictRow from "pg_catalog.pg_ts_dict d" where "d.oid >= 16384" {
        oid: Oid = col("d.oid"),
        schema: Oid = col("d.dictnamespace"),
        name: String = col("d.dictname"),
        owner: Oid = col("d.dictowner"),
        template: Option<ServerSql> = by(|_| naming::ts_template("d.dicttemplate")),
        /// Stored by the server as the SQL text of the options.
        options: Option<ServerSql> = col("d.dictinitoption"),
    }
}

/// A text search dictionary.
#[derive(Debug)]
pub struct TsDict {
    row: TsDictRow,
}

impl ObjectKind for TsDict {
    const FACTS: KindFacts = KindFacts {
        label: "text search dictionary",
        keyword: "TEXT SEARCH DICTIONARY",
        stage: Stage::PreData,
        priority: 124,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_ts_dict",
        class: class::TS_DICT,
    };
    type Row = TsDictRow;
    type Text = NoText;

    fn subject(row: &TsDictRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::TS_DICT, row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: TsDictRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(TsDict { row })
    }
}

impl Ddl for TsDict {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::TS_DICT, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![common::qualified(self.row.schema, &self.row.name, cx)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let options = self.row.options.as_ref();
        vec![sql![
            "CREATE TEXT SEARCH DICTIONARY ",
            self.address(cx),
            " (TEMPLATE = ",
            &self.row.template,
            options.map(|options| sql![", ", options]),
            ")"
        ]]
    }
}
