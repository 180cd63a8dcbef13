//! Transforms between a type and a procedural language.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, naming};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_transform`, users' transforms.
    pub struct TransformRow from
        "pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang" where "t.oid >= 16384" {
        oid: Oid = col("t.oid"),
        language: String = col("l.lanname"),
    }
}

catalog_row! {
    /// What transforms name.
    pub struct TransformText from
        "pg_catalog.pg_transform t JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = t.oid" {
        oid: Oid = col("t.oid"),
        ty: ServerSql = col("pg_catalog.format_type(t.trftype, NULL)"),
        from_sql: Option<ServerSql> = by(|_| naming::signature("t.trffromsql")),
        to_sql: Option<ServerSql> = by(|_| naming::signature("t.trftosql")),
    }
}

/// A transform.
#[derive(Debug)]
pub struct Transform {
    row: TransformRow,
    text: TransformText,
}

impl ObjectKind for Transform {
    const FACTS: KindFacts = KindFacts {
        label: "transform",
        keyword: "TRANSFORM",
        stage: Stage::PreData,
        priority: 40,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_transform",
        class: class::TRANSFORM,
    };
    type Row = TransformRow;
    type Text = TransformText;

    fn subject(row: &TransformRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::TRANSFORM, row.oid);
        Some(Subject {
            id,
            follows: Follows::Database,
        })
    }

    fn text_oid(text: &TransformText) -> Oid {
        text.oid
    }

    fn build(row: TransformRow, text: Option<TransformText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "transform", &row.oid.to_string())?;
        Ok(Transform { row, text })
    }
}

impl Ddl for Transform {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::TRANSFORM, self.row.oid)
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        let name = format!(
            "FOR {} LANGUAGE {}",
            self.text.ty.as_str(),
            self.row.language
        );
        EntryName {
            name,
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![
            "FOR ",
            self.text.ty,
            " LANGUAGE ",
            Ident::new(&*self.row.language)
        ]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let directions = [
            ("FROM SQL WITH FUNCTION ", &self.text.from_sql),
            ("TO SQL WITH FUNCTION ", &self.text.to_sql),
        ];
        let given = directions
            .iter()
            .filter_map(|(word, name)| Some(sql![*word, name.as_ref()?]));
        vec![sql![
            "CREATE TRANSFORM ",
            self.address(cx),
            " (",
            Sql::list(given),
            ")"
        ]]
    }
}
