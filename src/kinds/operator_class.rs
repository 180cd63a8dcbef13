//! Operator classes with the members that depend on them.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::naming::MembersOf;
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, clauses, naming, versions};
use crate::error::Result;
use crate::pg::version::{ServerVersion, UNKNOWN};
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_opclass`, users' classes.
    pub struct OperatorClassRow from "pg_catalog.pg_opclass o JOIN pg_catalog.pg_am a ON a.oid = o.opcmethod"
        where "o.oid >= 16384" {
        oid: Oid = col("o.oid"),
        name: String = col("o.opcname"),
        schema: Oid = col("o.opcnamespace"),
        owner: Oid = col("o.opcowner"),
        access_method: String = col("a.amname"),
        is_default: bool = col("o.opcdefault"),
    }
}

catalog_row! {
    /// What operator classes name.
    pub struct OperatorClassText from
        "pg_catalog.pg_opclass o JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = o.oid" {
        oid: Oid = col("o.oid"),
        ty: ServerSql = col("pg_catalog.format_type(o.opcintype, NULL)"),
        family: ServerSql = by(|_| naming::operator_family("o.opcfamily")),
        storage: Option<ServerSql> = col(
            "CASE WHEN o.opckeytype <> 0 THEN pg_catalog.format_type(o.opckeytype, NULL) END"
        ),
        operators: Vec<ServerSql> = by(|_| naming::operator_clauses(MembersOf::Class)),
        functions: Vec<ServerSql> = by(|_| naming::function_clauses(MembersOf::Class)),
    }
}

/// An operator class.
#[derive(Debug)]
pub struct OperatorClass {
    row: OperatorClassRow,
    text: OperatorClassText,
}

impl ObjectKind for OperatorClass {
    const FACTS: KindFacts = KindFacts {
        label: "operator class",
        keyword: "OPERATOR CLASS",
        stage: Stage::PreData,
        priority: 111,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_opclass",
        class: class::OPCLASS,
    };
    type Row = OperatorClassRow;
    type Text = OperatorClassText;

    fn subject(row: &OperatorClassRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::OPCLASS, row.oid);
        Some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &OperatorClassText) -> Oid {
        text.oid
    }

    fn build(
        row: OperatorClassRow,
        text: Option<OperatorClassText>,
        _: &LoadCx<'_>,
    ) -> Result<Self> {
        let text = super::deparsed(text, "operator class", &row.name)?;
        Ok(OperatorClass { row, text })
    }
}

impl Ddl for OperatorClass {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::OPCLASS, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let name = cx.core().qualified(self.row.schema, &self.row.name);
        sql![name, " USING ", Ident::new(&*self.row.access_method)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        vec![self.statement(UNKNOWN, cx).0]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        clauses::by_target(|target| {
            let (statement, all) = self.statement(target, cx);
            let mut form = DraftForm::plain(vec![statement], self.locks());
            form.form.lost = (!all).then(|| versions::LOST_FUNCTIONS.to_owned());
            Some(form)
        })
    }
}

impl OperatorClass {
    /// The statement for a target, and whether it has all functions.
    fn statement(&self, target: ServerVersion, cx: &RenderCx<'_>) -> (Sql, bool) {
        let text = &self.text;
        let access_method = self.row.access_method.as_str();
        let (functions, all) = versions::support_functions(&text.functions, access_method, target);
        let storage = text.storage.as_ref().map(|ty| sql!["STORAGE ", ty]);
        let members = text
            .operators
            .iter()
            .chain(functions)
            .map(|member| sql![member]);
        let mut members: Vec<Sql> = storage.into_iter().chain(members).collect();
        if members.is_empty() {
            // The list must not be empty; storing the type as itself says nothing.
            members.push(sql!["STORAGE ", text.ty]);
        }
        let statement = sql![
            "CREATE OPERATOR CLASS ",
            cx.core().qualified(self.row.schema, &self.row.name),
            self.row.is_default.then_some(" DEFAULT"),
            " FOR TYPE ",
            text.ty,
            " USING ",
            Ident::new(&*self.row.access_method),
            " FAMILY ",
            text.family,
            " AS ",
            Sql::list(members),
        ];
        (statement, all)
    }
}
