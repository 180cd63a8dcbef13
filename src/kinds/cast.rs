//! Casts. Those between a range and its multirange come with the range.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, naming};
use crate::error::Result;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_cast`, users' casts.
    pub struct CastRow from "pg_catalog.pg_cast c" where "c.oid >= 16384" {
        oid: Oid = col("c.oid"),
        /// a assignment, i implicit, e explicit.
        context: Letter = col("c.castcontext"),
        /// b binary coercible, i over text, f by function.
        method: Letter = col("c.castmethod"),
    }
}

catalog_row! {
    /// What casts name.
    pub struct CastText from
        "pg_catalog.pg_cast c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid" {
        oid: Oid = col("c.oid"),
        source: ServerSql = col("pg_catalog.format_type(c.castsource, NULL)"),
        target: ServerSql = col("pg_catalog.format_type(c.casttarget, NULL)"),
        function: Option<ServerSql> = by(|_| naming::signature("c.castfunc")),
    }
}

/// A cast.
#[derive(Debug)]
pub struct Cast {
    row: CastRow,
    text: CastText,
}

impl ObjectKind for Cast {
    const FACTS: KindFacts = KindFacts {
        label: "cast",
        keyword: "CAST",
        stage: Stage::PreData,
        priority: 70,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_cast",
        class: class::CAST,
    };
    type Row = CastRow;
    type Text = CastText;

    fn subject(row: &CastRow, cx: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::CAST, row.oid);
        let comes_with_a_range = cx.core.depends_of(id).any(|row| row.kind == 'i');
        (!comes_with_a_range).then_some(Subject {
            id,
            follows: Follows::Database,
        })
    }

    fn text_oid(text: &CastText) -> Oid {
        text.oid
    }

    fn build(row: CastRow, text: Option<CastText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "cast", &row.oid.to_string())?;
        Ok(Cast { row, text })
    }
}

impl Ddl for Cast {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::CAST, self.row.oid)
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        let name = format!(
            "({} AS {})",
            self.text.source.as_str(),
            self.text.target.as_str()
        );
        EntryName {
            name,
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql!["(", self.text.source, " AS ", self.text.target, ")"]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let function = self
            .text
            .function
            .as_ref()
            .map(|name| sql![" WITH FUNCTION ", name]);
        let by_method = match self.row.method.0 {
            'b' => Some(" WITHOUT FUNCTION"),
            'i' => Some(" WITH INOUT"),
            _ => None,
        };
        let context = match self.row.context.0 {
            'a' => " AS ASSIGNMENT",
            'i' => " AS IMPLICIT",
            _ => "",
        };
        vec![sql![
            "CREATE CAST ",
            self.address(cx),
            function,
            by_method,
            context
        ]]
    }
}
