//! Publications. The tables and schemas in them are entries of their own.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::clauses::{self, Clause};
use super::row::{Letter, NoText, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{V13, V18};
use crate::sql::{Ident, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_publication`.
    pub struct PublicationRow from "pg_catalog.pg_publication p" where "p.oid >= 16384" {
        oid: Oid = col("p.oid"),
        name: String = col("p.pubname"),
        owner: Oid = col("p.pubowner"),
        all_tables: bool = col("p.puballtables"),
        inserts: bool = col("p.pubinsert"),
        updates: bool = col("p.pubupdate"),
        deletes: bool = col("p.pubdelete"),
        truncates: bool = col("p.pubtruncate"),
        via_root: bool = since(V13, "p.pubviaroot", "false"),
        /// n none, s stored generated columns.
        generated_columns: Letter = since(V18, "p.pubgencols", "'n'::pg_catalog.\"char\""),
    }
}

/// A publication.
#[derive(Debug)]
pub struct Publication {
    row: PublicationRow,
}

impl ObjectKind for Publication {
    const FACTS: KindFacts = KindFacts {
        label: "publication",
        keyword: "PUBLICATION",
        stage: Stage::PostData,
        priority: 190,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_publication",
        class: class::PUBLICATION,
    };
    type Row = PublicationRow;
    type Text = NoText;

    fn subject(row: &PublicationRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::PUBLICATION, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: PublicationRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(Publication { row })
    }
}

impl Publication {
    fn options(&self) -> Vec<Clause> {
        let operations = [
            ("insert", self.row.inserts),
            ("update", self.row.updates),
            ("delete", self.row.deletes),
            ("truncate", self.row.truncates),
        ];
        let operations = operations
            .iter()
            .filter(|(_, published)| *published)
            .map(|(word, _)| *word);
        // Always spelled out: an empty list is legal and differs from the default.
        let mut out = vec![Clause::new(sql!["publish = '", Sql::list(operations), "'"])];
        if self.row.via_root {
            let text = sql!["publish_via_partition_root = true"];
            let lost = "changes of partitions are published under their own names";
            out.push(Clause::since(V13, text, Some(lost)));
        }
        if self.row.generated_columns == 's' {
            let text = sql!["publish_generated_columns = stored"];
            let lost = "generated columns are not published";
            out.push(Clause::since(V18, text, Some(lost)));
        }
        out
    }

    fn statement(&self, options: &[&Sql], cx: &RenderCx<'_>) -> Sql {
        sql![
            "CREATE PUBLICATION ",
            self.address(cx),
            if self.row.all_tables {
                " FOR ALL TABLES"
            } else {
                ""
            },
            " WITH (",
            Sql::list(options),
            ")"
        ]
    }
}

impl Ddl for Publication {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::PUBLICATION, self.row.oid)
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
        let options = self.options();
        let options: Vec<&Sql> = options.iter().map(|option| &option.sql).collect();
        vec![self.statement(&options, cx)]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        clauses::forms(&self.options(), |options| {
            DraftForm::plain(vec![self.statement(options, cx)], Vec::new())
        })
    }
}
