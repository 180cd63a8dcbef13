//! Range types. Their multiranges and constructor functions come with them.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, Split, naming};
use crate::error::Result;
use crate::pg::version::V14;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_type` of ranges. Of initdb's own only those whose privileges somebody may have changed.
    pub struct RangeTypeRow from "pg_catalog.pg_type t JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid"
        where "t.oid >= 16384 OR t.typacl IS NOT NULL" {
        oid: Oid = col("t.oid"),
        name: String = col("t.typname"),
        schema: Oid = col("t.typnamespace"),
        owner: Oid = col("t.typowner"),
    }
}

catalog_row! {
    /// What ranges name: types, an operator class and a collation where they are not the subtype's own, functions.
    pub struct RangeTypeText from
        "pg_catalog.pg_range r JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = r.rngtypid \
         JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype \
         JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc" {
        oid: Oid = col("r.rngtypid"),
        subtype: ServerSql = col("pg_catalog.format_type(r.rngsubtype, NULL)"),
        operator_class: Option<ServerSql> = by(|_| {
            format!("CASE WHEN NOT o.opcdefault THEN {} END", naming::operator_class("o.oid"))
        }),
        collation: Option<ServerSql> = by(|_| {
            let name = naming::collation("r.rngcollation");
            format!("CASE WHEN r.rngcollation <> s.typcollation THEN {name} END")
        }),
        canonical: Option<ServerSql> = by(|_| naming::function("r.rngcanonical")),
        difference: Option<ServerSql> = by(|_| naming::function("r.rngsubdiff")),
        multirange: Option<ServerSql> = by(|server| {
            if server >= V14 { naming::type_name("r.rngmultitypid") } else { "NULL::pg_catalog.text".into() }
        }),
    }
}

/// A range type.
#[derive(Debug)]
pub struct RangeType {
    row: RangeTypeRow,
    text: RangeTypeText,
}

impl ObjectKind for RangeType {
    const FACTS: KindFacts = KindFacts {
        label: "range type",
        keyword: "TYPE",
        stage: Stage::PreData,
        priority: 60,
        grant: Some("TYPE"),
        owned: true,
        postponable: false,
        catalog: "pg_type",
        class: class::TYPE,
    };
    type Row = RangeTypeRow;
    type Text = RangeTypeText;

    fn subject(row: &RangeTypeRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::ty(row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &RangeTypeText) -> Oid {
        text.oid
    }

    fn build(row: RangeTypeRow, text: Option<RangeTypeText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "range type", &row.name)?;
        Ok(RangeType { row, text })
    }
}

impl RangeType {
    fn definition(&self, with_multirange: bool, cx: &RenderCx<'_>) -> Sql {
        let text = &self.text;
        let multirange = text.multirange.as_ref().filter(|_| with_multirange);
        let clause =
            |word: &'static str, name: Option<&ServerSql>| name.map(|name| sql![word, name]);
        sql![
            "CREATE TYPE ",
            self.address(cx),
            " AS RANGE (SUBTYPE = ",
            text.subtype,
            clause(", SUBTYPE_OPCLASS = ", text.operator_class.as_ref()),
            clause(", COLLATION = ", text.collation.as_ref()),
            clause(", CANONICAL = ", text.canonical.as_ref()),
            clause(", SUBTYPE_DIFF = ", text.difference.as_ref()),
            clause(", MULTIRANGE_TYPE_NAME = ", multirange),
            ")",
        ]
    }
}

impl Ddl for RangeType {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::ty(self.row.oid)
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
        vec![self.definition(true, cx)]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut whole = DraftForm::plain(self.create(cx), Vec::new());
        if self.text.multirange.is_none() {
            return vec![whole];
        }
        whole.form.since = Some(V14);
        let mut older = DraftForm::plain(vec![self.definition(false, cx)], Vec::new());
        older.form.until = Some(V14);
        older.form.lost = Some("the multirange type".into());
        vec![whole, older]
    }

    // A canonical function takes the type, so that the two go only together.
    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        let cascade = self.text.canonical.is_some().then_some(" CASCADE");
        Some(sql!["DROP TYPE ", self.address(cx), cascade])
    }

    fn split(&self, cx: &RenderCx<'_>) -> Option<Split> {
        Some(Split {
            stub: vec![sql!["CREATE TYPE ", self.address(cx)]],
            stub_needs: vec![CatalogId::new(class::NAMESPACE, self.row.schema)],
            rest: self.forms(cx),
            cost: 1,
        })
    }
}
