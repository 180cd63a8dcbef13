//! Text search configurations with their mappings.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common, naming};
use crate::error::Result;
use crate::sql::{Ident, QualifiedName, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_ts_config`.
    pub struct TsConfigRow from "pg_catalog.pg_ts_config c" where "c.oid >= 16384" {
        oid: Oid = col("c.oid"),
        schema: Oid = col("c.cfgnamespace"),
        name: String = col("c.cfgname"),
        owner: Oid = col("c.cfgowner"),
        parser: Option<ServerSql> = by(|_| naming::ts_parser("c.cfgparser")),
    }
}

catalog_row! {
    /// The mappings of the configurations asked for, as parallel arrays in order. Only the parser knows its tokens' names.
    pub struct TsConfigText from
        "pg_catalog.pg_ts_config c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid \
         CROSS JOIN LATERAL (SELECT \
             pg_catalog.array_agg(t.alias ORDER BY m.maptokentype, m.mapseqno) AS tokens, \
             pg_catalog.array_agg(n.nspname::pg_catalog.text ORDER BY m.maptokentype, m.mapseqno) AS schemas, \
             pg_catalog.array_agg(d.dictname::pg_catalog.text ORDER BY m.maptokentype, m.mapseqno) AS names \
           FROM pg_catalog.pg_ts_config_map m \
           JOIN pg_catalog.ts_token_type(c.cfgparser) t ON t.tokid = m.maptokentype \
           JOIN pg_catalog.pg_ts_dict d ON d.oid = m.mapdict \
           JOIN pg_catalog.pg_namespace n ON n.oid = d.dictnamespace \
           WHERE m.mapcfg = c.oid) maps" {
        oid: Oid = col("c.oid"),
        tokens: Option<Vec<String>> = col("maps.tokens"),
        schemas: Option<Vec<String>> = col("maps.schemas"),
        names: Option<Vec<String>> = col("maps.names"),
    }
}

/// A text search configuration.
#[derive(Debug)]
pub struct TsConfig {
    row: TsConfigRow,
    /// Tokens and their dictionaries, in order.
    mappings: Vec<(String, Vec<QualifiedName>)>,
}

impl ObjectKind for TsConfig {
    const FACTS: KindFacts = KindFacts {
        label: "text search configuration",
        keyword: "TEXT SEARCH CONFIGURATION",
        stage: Stage::PreData,
        priority: 126,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_ts_config",
        class: class::TS_CONFIG,
    };
    type Row = TsConfigRow;
    type Text = TsConfigText;

    fn subject(row: &TsConfigRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::TS_CONFIG, row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &TsConfigText) -> Oid {
        text.oid
    }

    fn build(row: TsConfigRow, text: Option<TsConfigText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "text search configuration", &row.name)?;
        Ok(TsConfig {
            row,
            mappings: mappings(text),
        })
    }
}

fn mappings(text: TsConfigText) -> Vec<(String, Vec<QualifiedName>)> {
    let schemas = text.schemas.into_iter().flatten();
    let names = schemas.zip(text.names.into_iter().flatten());
    let mut out: Vec<(String, Vec<QualifiedName>)> = Vec::new();
    for (token, (schema, name)) in text.tokens.into_iter().flatten().zip(names) {
        let dictionary = QualifiedName::new(schema, name);
        match out.last_mut() {
            Some((last, dictionaries)) if *last == token => dictionaries.push(dictionary),
            _ => out.push((token, vec![dictionary])),
        }
    }
    out
}

impl Ddl for TsConfig {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::TS_CONFIG, self.row.oid)
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
        let mut out = vec![sql![
            "CREATE TEXT SEARCH CONFIGURATION ",
            self.address(cx),
            " (PARSER = ",
            &self.row.parser,
            ")"
        ]];
        out.extend(self.mappings.iter().map(|(token, dictionaries)| {
            sql![
                "ALTER TEXT SEARCH CONFIGURATION ",
                self.address(cx),
                " ADD MAPPING FOR ",
                Ident::new(&**token),
                " WITH ",
                Sql::list(dictionaries)
            ]
        }));
        out
    }
}
