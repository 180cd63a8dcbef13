//! Foreign servers.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common};
use crate::error::Result;
use crate::sql::{Ident, Literal, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_foreign_server`.
    pub struct ForeignServerRow from
        "pg_catalog.pg_foreign_server s JOIN pg_catalog.pg_foreign_data_wrapper f ON f.oid = s.srvfdw"
        where "s.oid >= 16384" {
        oid: Oid = col("s.oid"),
        name: String = col("s.srvname"),
        owner: Oid = col("s.srvowner"),
        wrapper: String = col("f.fdwname"),
        server_type: Option<String> = col("s.srvtype"),
        version: Option<String> = col("s.srvversion"),
        options: Option<Vec<String>> = col("s.srvoptions"),
    }
}

/// A foreign server.
#[derive(Debug)]
pub struct ForeignServer {
    row: ForeignServerRow,
}

impl ObjectKind for ForeignServer {
    const FACTS: KindFacts = KindFacts {
        label: "foreign server",
        keyword: "SERVER",
        stage: Stage::PreData,
        priority: 132,
        grant: Some("FOREIGN SERVER"),
        owned: true,
        postponable: false,
        catalog: "pg_foreign_server",
        class: class::FOREIGN_SERVER,
    };
    type Row = ForeignServerRow;
    type Text = NoText;

    fn subject(row: &ForeignServerRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::FOREIGN_SERVER, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: ForeignServerRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(ForeignServer { row })
    }
}

impl Ddl for ForeignServer {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::FOREIGN_SERVER, self.row.oid)
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
        let server_type = self.row.server_type.as_ref();
        let version = self.row.version.as_ref();
        vec![sql![
            "CREATE SERVER ",
            self.address(cx),
            server_type.map(|text| sql![" TYPE ", Literal(text)]),
            version.map(|text| sql![" VERSION ", Literal(text)]),
            " FOREIGN DATA WRAPPER ",
            Ident::new(&*self.row.wrapper),
            common::options_list(options).map(|list| sql![" OPTIONS ", list])
        ]]
    }
}
