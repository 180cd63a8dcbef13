//! Tables in publications, with their columns and row filters.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{V13, V15};
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Part, Stage};

catalog_row! {
    /// `pg_publication_rel` with the names of the publication and of the columns, where they are listed.
    pub struct PublicationRelRow from
        "pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid" {
        oid: Oid = col("r.oid"),
        publication: String = col("p.pubname"),
        table: Oid = col("r.prrelid"),
        columns: Option<Vec<String>> = since(
            V15,
            "CASE WHEN r.prattrs IS NOT NULL THEN ARRAY( \
               SELECT a.attname::pg_catalog.text \
               FROM pg_catalog.unnest(r.prattrs::pg_catalog.int2[]) WITH ORDINALITY AS listed(number, place) \
               JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = listed.number \
               ORDER BY listed.place) END",
            "NULL::pg_catalog.text[]"
        ),
    }
}

catalog_row! {
    /// The row filters of the tables asked for.
    pub struct PublicationRelText from
        "pg_catalog.pg_publication_rel r JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = r.oid" {
        oid: Oid = col("r.oid"),
        filter: Option<ServerSql> = since(
            V15,
            "pg_catalog.pg_get_expr(r.prqual, r.prrelid)",
            "NULL::pg_catalog.text"
        ),
    }
}

/// A table in a publication.
#[derive(Debug)]
pub struct PublicationRel {
    row: PublicationRelRow,
    filter: Option<ServerSql>,
}

impl ObjectKind for PublicationRel {
    const FACTS: KindFacts = KindFacts {
        label: "publication table",
        keyword: "PUBLICATION TABLE",
        stage: Stage::PostData,
        priority: 192,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_publication_rel",
        class: class::PUBLICATION_REL,
    };
    type Row = PublicationRelRow;
    type Text = PublicationRelText;

    /// Goes with its publication, unless the table is not in the dump.
    fn subject(row: &PublicationRelRow, cx: &LoadCx<'_>) -> Option<Subject> {
        let dumped = cx
            .relations
            .get(&row.table)
            .is_some_and(|parts| parts.has(Part::Define));
        let made_by_extension = cx.core.is_member(CatalogId::relation(row.table));
        (dumped || made_by_extension).then_some(Subject {
            id: CatalogId::new(class::PUBLICATION_REL, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(text: &PublicationRelText) -> Oid {
        text.oid
    }

    fn build(
        row: PublicationRelRow,
        text: Option<PublicationRelText>,
        _: &LoadCx<'_>,
    ) -> Result<Self> {
        let text = super::deparsed(text, "table in publication", &row.publication)?;
        Ok(PublicationRel {
            row,
            filter: text.filter,
        })
    }
}

impl Ddl for PublicationRel {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::PUBLICATION_REL, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_on(self.row.table, &self.row.publication)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let publication = Ident::new(&*self.row.publication);
        sql![publication, " TABLE ", cx.core().relation(self.row.table)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let columns = self.row.columns.as_ref().map(|columns| {
            let columns = columns.iter().map(|name| Ident::new(&**name));
            sql![" (", Sql::list(columns), ")"]
        });
        vec![sql![
            "ALTER PUBLICATION ",
            Ident::new(&*self.row.publication),
            " ADD TABLE ONLY ",
            cx.core().relation(self.row.table),
            columns,
            self.filter.as_ref().map(|e| sql![" WHERE (", e, ")"])
        ]]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut draft = DraftForm::plain(self.create(cx), self.locks());
        // An older server would publish what is held back here, so it gets nothing.
        let restricted = self.row.columns.is_some() || self.filter.is_some();
        let relation = cx.core().relations.get(&self.row.table);
        let partitioned = relation.is_some_and(|row| row.kind == 'p');
        draft.form.since = if restricted {
            Some(V15)
        } else {
            partitioned.then_some(V13)
        };
        vec![draft]
    }

    fn drop(&self, _: &RenderCx<'_>) -> Option<Sql> {
        None
    }

    fn locks(&self) -> Vec<(Oid, LockMode)> {
        vec![(self.row.table, LockMode::ShareUpdateExclusive)]
    }
}
