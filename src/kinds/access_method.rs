//! Access methods of indexes and tables.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, naming};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_am`, users' access methods.
    pub struct AccessMethodRow from "pg_catalog.pg_am a" where "a.oid >= 16384" {
        oid: Oid = col("a.oid"),
        name: String = col("a.amname"),
        /// i index, t table.
        kind: Letter = col("a.amtype"),
    }
}

catalog_row! {
    /// The handlers of the access methods asked for.
    pub struct AccessMethodText from
        "pg_catalog.pg_am a JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = a.oid" {
        oid: Oid = col("a.oid"),
        handler: ServerSql = by(|_| naming::function("a.amhandler")),
    }
}

/// An access method.
#[derive(Debug)]
pub struct AccessMethod {
    row: AccessMethodRow,
    text: AccessMethodText,
}

impl ObjectKind for AccessMethod {
    const FACTS: KindFacts = KindFacts {
        label: "access method",
        keyword: "ACCESS METHOD",
        stage: Stage::PreData,
        priority: 95,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_am",
        class: class::AM,
    };
    type Row = AccessMethodRow;
    type Text = AccessMethodText;

    fn subject(row: &AccessMethodRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::AM, row.oid);
        Some(Subject {
            id,
            follows: Follows::Database,
        })
    }

    fn text_oid(text: &AccessMethodText) -> Oid {
        text.oid
    }

    fn build(row: AccessMethodRow, text: Option<AccessMethodText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "access method", &row.name)?;
        Ok(AccessMethod { row, text })
    }
}

impl Ddl for AccessMethod {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::AM, self.row.oid)
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        EntryName {
            name: self.row.name.clone(),
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![Ident::new(&*self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let kind = if self.row.kind == 't' {
            "TABLE"
        } else {
            "INDEX"
        };
        vec![sql![
            "CREATE ACCESS METHOD ",
            self.address(cx),
            " TYPE ",
            kind,
            " HANDLER ",
            self.text.handler,
        ]]
    }
}
