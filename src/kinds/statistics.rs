//! Extended statistics objects. Their contents cannot be transferred: ANALYZE makes them anew.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{V13, V14};
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage};

catalog_row! {
    /// `pg_statistic_ext`.
    pub struct StatisticsRow from "pg_catalog.pg_statistic_ext s" {
        oid: Oid = col("s.oid"),
        name: String = col("s.stxname"),
        schema: Oid = col("s.stxnamespace"),
        owner: Oid = col("s.stxowner"),
        table: Oid = col("s.stxrelid"),
        /// Negative: the default. 17 made the column nullable.
        target: i32 = since(V13, "COALESCE(s.stxstattarget, -1)::pg_catalog.int4", "-1"),
        expressions: bool = since(V14, "s.stxexprs IS NOT NULL", "false"),
    }
}

catalog_row! {
    /// The definitions of the statistics objects asked for, whole statements.
    pub struct StatisticsText from
        "pg_catalog.pg_statistic_ext s JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = s.oid" {
        oid: Oid = col("s.oid"),
        definition: Option<ServerSql> = col("pg_catalog.pg_get_statisticsobjdef(s.oid)"),
    }
}

/// An extended statistics object. It follows its table, wherever its own schema is.
#[derive(Debug)]
pub struct Statistics {
    row: StatisticsRow,
    definition: ServerSql,
}

impl ObjectKind for Statistics {
    const FACTS: KindFacts = KindFacts {
        label: "statistics",
        keyword: "STATISTICS",
        stage: Stage::PostData,
        priority: 174,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_statistic_ext",
        class: class::STATISTIC_EXT,
    };
    type Row = StatisticsRow;
    type Text = StatisticsText;

    fn subject(row: &StatisticsRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::STATISTIC_EXT, row.oid);
        Some(Subject {
            id,
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(text: &StatisticsText) -> Oid {
        text.oid
    }

    fn build(row: StatisticsRow, text: Option<StatisticsText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = text.and_then(|text| text.definition);
        let definition = super::deparsed(text, "statistics", &row.name)?;
        Ok(Statistics { row, definition })
    }
}

impl Ddl for Statistics {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::STATISTIC_EXT, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![cx.core().qualified(self.row.schema, &self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let target = (self.row.target >= 0).then(|| {
            sql![
                "ALTER STATISTICS ",
                self.address(cx),
                " SET STATISTICS ",
                self.row.target
            ]
        });
        std::iter::once(sql![&self.definition])
            .chain(target)
            .collect()
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut whole = DraftForm::plain(self.create(cx), self.locks());
        if self.row.expressions {
            // It serves the planner alone.
            let mut none = DraftForm::default();
            none.form.until = Some(V14);
            none.form.lost = Some("the statistics, because they are of expressions".to_owned());
            whole.form.since = Some(V14);
            return vec![whole, none];
        } else if self.row.target >= 0 {
            let mut plain = DraftForm::plain(vec![sql![&self.definition]], self.locks());
            plain.form.until = Some(V13);
            plain.form.lost = Some("the statistics target".to_owned());
            whole.form.since = Some(V13);
            return vec![whole, plain];
        }
        vec![whole]
    }

    fn locks(&self) -> Vec<(Oid, LockMode)> {
        vec![(self.row.table, LockMode::ShareUpdateExclusive)]
    }
}
