//! Schemas in publications (15).

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{CatalogRow, NoText, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{ServerVersion, V15};
use crate::sql::{Ident, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_publication_namespace`, which 15 brought.
    pub struct SchemaInPublication from
        "pg_catalog.pg_publication_namespace n JOIN pg_catalog.pg_publication p ON p.oid = n.pnpubid" {
        oid: Oid = col("n.oid"),
        publication: String = col("p.pubname"),
        schema: Oid = col("n.pnnspid"),
    }
}

/// The same row, of which older servers have none.
#[derive(Debug, Clone)]
pub struct PublicationNamespaceRow(SchemaInPublication);

impl CatalogRow for PublicationNamespaceRow {
    fn query(server: ServerVersion) -> String {
        if server >= V15 {
            SchemaInPublication::query(server)
        } else {
            "SELECT 0::pg_catalog.oid, ''::pg_catalog.name, 0::pg_catalog.oid WHERE false"
                .to_owned()
        }
    }

    fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        SchemaInPublication::from_row(row).map(PublicationNamespaceRow)
    }
}

/// A schema in a publication.
#[derive(Debug)]
pub struct PublicationNamespace {
    row: SchemaInPublication,
}

impl ObjectKind for PublicationNamespace {
    const FACTS: KindFacts = KindFacts {
        label: "publication schema",
        keyword: "PUBLICATION SCHEMA",
        stage: Stage::PostData,
        priority: 194,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_publication_namespace",
        class: class::PUBLICATION_NAMESPACE,
    };
    type Row = PublicationNamespaceRow;
    type Text = NoText;

    fn subject(row: &PublicationNamespaceRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::PUBLICATION_NAMESPACE, row.0.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: PublicationNamespaceRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(PublicationNamespace { row: row.0 })
    }
}

impl Ddl for PublicationNamespace {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::PUBLICATION_NAMESPACE, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        EntryName {
            schema: Some(cx.core().schema_name(self.row.schema)),
            relation: None,
            name: self.row.publication.clone(),
        }
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let schema = Ident::new(cx.core().schema_name(self.row.schema));
        let publication = Ident::new(&*self.row.publication);
        sql![publication, " TABLES IN SCHEMA ", schema]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        vec![sql![
            "ALTER PUBLICATION ",
            Ident::new(&*self.row.publication),
            " ADD TABLES IN SCHEMA ",
            Ident::new(cx.core().schema_name(self.row.schema))
        ]]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let schema = CatalogId::new(class::NAMESPACE, self.row.schema);
        if cx.catalog.get(schema).is_none() && !cx.core().is_member(schema) {
            // The schema was left out of the dump.
            return Vec::new();
        }
        let mut draft = DraftForm::plain(self.create(cx), Vec::new());
        draft.form.since = Some(V15);
        vec![draft]
    }

    fn drop(&self, _: &RenderCx<'_>) -> Option<Sql> {
        None
    }
}
