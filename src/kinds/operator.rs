//! Operators. Those that exist only because another named them (no function yet) are made again the same way.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, naming};
use crate::error::Result;
use crate::pg::version::V14;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_operator`, users' operators that have a function.
    pub struct OperatorRow from
        "pg_catalog.pg_operator o \
         LEFT JOIN pg_catalog.pg_operator c ON c.oid = o.oprcom \
         LEFT JOIN pg_catalog.pg_operator n ON n.oid = o.oprnegate"
        where "o.oid >= 16384 AND o.oprcode <> 0" {
        oid: Oid = col("o.oid"),
        name: String = col("o.oprname"),
        schema: Oid = col("o.oprnamespace"),
        owner: Oid = col("o.oprowner"),
        /// True for `operand !`, which 14 no longer knows.
        postfix: bool = col("o.oprright = 0"),
        merges: bool = col("o.oprcanmerge"),
        hashes: bool = col("o.oprcanhash"),
        commutator_schema: Option<Oid> = col("c.oprnamespace"),
        negator_schema: Option<Oid> = col("n.oprnamespace"),
    }
}

catalog_row! {
    /// What operators name.
    pub struct OperatorText from
        "pg_catalog.pg_operator o JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = o.oid" {
        oid: Oid = col("o.oid"),
        address: ServerSql = by(|_| naming::operator_signature("o.oid")),
        /// The name in its schema alone: `"s".+`.
        name: ServerSql = by(|_| naming::operator_name("o.oid")),
        function: ServerSql = by(|_| naming::function("o.oprcode")),
        left: Option<ServerSql> = col(
            "CASE WHEN o.oprleft <> 0 THEN pg_catalog.format_type(o.oprleft, NULL) END"
        ),
        right: Option<ServerSql> = col(
            "CASE WHEN o.oprright <> 0 THEN pg_catalog.format_type(o.oprright, NULL) END"
        ),
        commutator: Option<ServerSql> = by(|_| naming::operator("o.oprcom")),
        negator: Option<ServerSql> = by(|_| naming::operator("o.oprnegate")),
        restrict: Option<ServerSql> = by(|_| naming::function("o.oprrest")),
        join: Option<ServerSql> = by(|_| naming::function("o.oprjoin")),
    }
}

/// An operator.
#[derive(Debug)]
pub struct Operator {
    row: OperatorRow,
    text: OperatorText,
}

impl ObjectKind for Operator {
    const FACTS: KindFacts = KindFacts {
        label: "operator",
        keyword: "OPERATOR",
        stage: Stage::PreData,
        priority: 100,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_operator",
        class: class::OPERATOR,
    };
    type Row = OperatorRow;
    type Text = OperatorText;

    fn subject(row: &OperatorRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::OPERATOR, row.oid);
        Some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &OperatorText) -> Oid {
        text.oid
    }

    fn build(row: OperatorRow, text: Option<OperatorText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "operator", &row.name)?;
        Ok(Operator { row, text })
    }
}

impl Ddl for Operator {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::OPERATOR, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        let side =
            |ty: &Option<ServerSql>| ty.as_ref().map_or("NONE", ServerSql::as_str).to_owned();
        let (left, right) = (side(&self.text.left), side(&self.text.right));
        cx.core().name_in(
            self.row.schema,
            &format!("{} ({left}, {right})", self.row.name),
        )
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![self.text.address]
    }

    fn create(&self, _: &RenderCx<'_>) -> Vec<Sql> {
        let text = &self.text;
        let clause = |word: &'static str, name: &Option<ServerSql>| {
            name.as_ref().map(|name| sql![word, name])
        };
        vec![sql![
            "CREATE OPERATOR ",
            text.name,
            " (FUNCTION = ",
            text.function,
            clause(", LEFTARG = ", &text.left),
            clause(", RIGHTARG = ", &text.right),
            clause(", COMMUTATOR = ", &text.commutator),
            clause(", NEGATOR = ", &text.negator),
            clause(", RESTRICT = ", &text.restrict),
            clause(", JOIN = ", &text.join),
            self.row.hashes.then_some(", HASHES"),
            self.row.merges.then_some(", MERGES"),
            ")",
        ]]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut form = DraftForm::plain(self.create(cx), self.locks());
        form.form.until = self.row.postfix.then_some(V14);
        vec![form]
    }

    // The server makes a commutator or negator that is not there yet, in the schema that the statement names.
    fn hidden_needs(&self, _: &RenderCx<'_>) -> Vec<CatalogId> {
        let schemas = [self.row.commutator_schema, self.row.negator_schema];
        schemas
            .into_iter()
            .flatten()
            .map(|oid| CatalogId::new(class::NAMESPACE, oid))
            .collect()
    }
}
