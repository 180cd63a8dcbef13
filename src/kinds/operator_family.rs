//! Operator families with their loose members; the others stand in [`super::operator_class`].

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::naming::MembersOf;
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, clauses, naming, versions};
use crate::error::Result;
use crate::pg::version::{ServerVersion, UNKNOWN};
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_opfamily`, with the members that are tied to no class in it.
    pub struct OperatorFamilyRow from "pg_catalog.pg_opfamily f JOIN pg_catalog.pg_am a ON a.oid = f.opfmethod"
        where "f.oid >= 16384" {
        oid: Oid = col("f.oid"),
        name: String = col("f.opfname"),
        schema: Oid = col("f.opfnamespace"),
        owner: Oid = col("f.opfowner"),
        access_method: String = col("a.amname"),
        loose_operators: Vec<Oid> = by(|_| naming::operator_members(MembersOf::Family)),
        loose_functions: Vec<Oid> = by(|_| naming::function_members(MembersOf::Family)),
    }
}

catalog_row! {
    /// The loose members as `ALTER OPERATOR FAMILY … ADD` takes them.
    pub struct OperatorFamilyText from
        "pg_catalog.pg_opfamily f JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = f.oid" {
        oid: Oid = col("f.oid"),
        operators: Vec<ServerSql> = by(|_| naming::operator_clauses(MembersOf::Family)),
        functions: Vec<ServerSql> = by(|_| naming::function_clauses(MembersOf::Family)),
    }
}

/// An operator family.
#[derive(Debug)]
pub struct OperatorFamily {
    row: OperatorFamilyRow,
    text: OperatorFamilyText,
}

impl ObjectKind for OperatorFamily {
    const FACTS: KindFacts = KindFacts {
        label: "operator family",
        keyword: "OPERATOR FAMILY",
        stage: Stage::PreData,
        priority: 110,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_opfamily",
        class: class::OPFAMILY,
    };
    type Row = OperatorFamilyRow;
    type Text = OperatorFamilyText;

    fn subject(row: &OperatorFamilyRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::OPFAMILY, row.oid);
        Some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &OperatorFamilyText) -> Oid {
        text.oid
    }

    fn build(
        row: OperatorFamilyRow,
        text: Option<OperatorFamilyText>,
        _: &LoadCx<'_>,
    ) -> Result<Self> {
        let text = super::deparsed(text, "operator family", &row.name)?;
        Ok(OperatorFamily { row, text })
    }
}

impl Ddl for OperatorFamily {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::OPFAMILY, self.row.oid)
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
        self.statements(UNKNOWN, cx).0
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        clauses::by_target(|target| {
            let (statements, all) = self.statements(target, cx);
            let mut form = DraftForm::plain(statements, self.locks());
            form.form.lost = (!all).then(|| versions::LOST_FUNCTIONS.to_owned());
            Some(form)
        })
    }

    fn absorbs(&self) -> Vec<CatalogId> {
        let operators = self
            .row
            .loose_operators
            .iter()
            .map(|oid| CatalogId::new(class::AMOP, *oid));
        let functions = self
            .row
            .loose_functions
            .iter()
            .map(|oid| CatalogId::new(class::AMPROC, *oid));
        operators.chain(functions).collect()
    }
}

impl OperatorFamily {
    /// The statements for a target, and whether they have all functions.
    fn statements(&self, target: ServerVersion, cx: &RenderCx<'_>) -> (Vec<Sql>, bool) {
        let address = self.address(cx);
        let (text, access_method) = (&self.text, self.row.access_method.as_str());
        let (functions, all) = versions::support_functions(&text.functions, access_method, target);
        let members: Vec<_> = text.operators.iter().chain(functions).collect();
        let mut statements = vec![sql!["CREATE OPERATOR FAMILY ", address]];
        if !members.is_empty() {
            statements.push(sql![
                "ALTER OPERATOR FAMILY ",
                address,
                " ADD ",
                Sql::list(members)
            ]);
        }
        (statements, all)
    }
}
