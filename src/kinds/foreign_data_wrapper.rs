//! Foreign data wrappers.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common, naming};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_foreign_data_wrapper`.
    pub struct ForeignDataWrapperRow from "pg_catalog.pg_foreign_data_wrapper f" where "f.oid >= 16384" {
        oid: Oid = col("f.oid"),
        name: String = col("f.fdwname"),
        owner: Oid = col("f.fdwowner"),
        handler: Option<ServerSql> = by(|_| naming::function("f.fdwhandler")),
        validator: Option<ServerSql> = by(|_| naming::function("f.fdwvalidator")),
        options: Option<Vec<String>> = col("f.fdwoptions"),
    }
}

/// A foreign data wrapper.
#[derive(Debug)]
pub struct ForeignDataWrapper {
    row: ForeignDataWrapperRow,
}

impl ObjectKind for ForeignDataWrapper {
    const FACTS: KindFacts = KindFacts {
        label: "foreign data wrapper",
        keyword: "FOREIGN DATA WRAPPER",
        stage: Stage::PreData,
        priority: 130,
        grant: Some("FOREIGN DATA WRAPPER"),
        owned: true,
        postponable: false,
        catalog: "pg_foreign_data_wrapper",
        class: class::FOREIGN_DATA_WRAPPER,
    };
    type Row = ForeignDataWrapperRow;
    type Text = NoText;

    fn subject(row: &ForeignDataWrapperRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::FOREIGN_DATA_WRAPPER, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: ForeignDataWrapperRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(ForeignDataWrapper { row })
    }
}

impl Ddl for ForeignDataWrapper {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::FOREIGN_DATA_WRAPPER, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
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
        let options = self.row.options.as_deref().unwrap_or_default();
        let handler = self.row.handler.as_ref();
        let validator = self.row.validator.as_ref();
        vec![sql![
            "CREATE FOREIGN DATA WRAPPER ",
            self.address(cx),
            handler.map(|function| sql![" HANDLER ", function]),
            validator.map(|function| sql![" VALIDATOR ", function]),
            common::options_list(options).map(|list| sql![" OPTIONS ", list])
        ]]
    }
}
