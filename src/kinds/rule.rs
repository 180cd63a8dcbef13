//! Rewrite rules that users made. A view's body is also one, `_RETURN`; it is the view's own.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage};

catalog_row! {
    /// `pg_rewrite` without the bodies of views.
    pub struct RuleRow from "pg_catalog.pg_rewrite r" where "r.oid >= 16384 AND r.ev_type <> '1'" {
        oid: Oid = col("r.oid"),
        table: Oid = col("r.ev_class"),
        name: String = col("r.rulename"),
        /// O as created, D disabled, R on replicas, A always.
        enabled: Letter = col("r.ev_enabled"),
    }
}

catalog_row! {
    /// The definitions of the rules asked for.
    pub struct RuleText from
        "pg_catalog.pg_rewrite r JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = r.oid" {
        oid: Oid = col("r.oid"),
        definition: Option<ServerSql> = col("pg_catalog.pg_get_ruledef(r.oid)"),
    }
}

/// A rule on a table or view.
#[derive(Debug)]
pub struct Rule {
    row: RuleRow,
    definition: ServerSql,
}

impl ObjectKind for Rule {
    const FACTS: KindFacts = KindFacts {
        label: "rule",
        keyword: "RULE",
        stage: Stage::PostData,
        priority: 176,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_rewrite",
        class: class::REWRITE,
    };
    type Row = RuleRow;
    type Text = RuleText;

    fn subject(row: &RuleRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::REWRITE, row.oid),
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(text: &RuleText) -> Oid {
        text.oid
    }

    fn build(row: RuleRow, text: Option<RuleText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = text.and_then(|text| text.definition);
        let definition = super::deparsed(text, "rule", &row.name)?;
        Ok(Rule {
            definition: definition.without_semicolon(),
            row,
        })
    }
}

/// The verb that brings a rule or trigger into its state; `None` for the state after creation.
pub(super) fn state_verb(enabled: Letter) -> Option<&'static str> {
    match enabled.0 {
        'D' => Some("DISABLE"),
        'R' => Some("ENABLE REPLICA"),
        'A' => Some("ENABLE ALWAYS"),
        _ => None,
    }
}

impl Ddl for Rule {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::REWRITE, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_on(self.row.table, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let name = Ident::new(&*self.row.name);
        sql![name, " ON ", cx.core().relation(self.row.table)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let mut out = vec![sql![&self.definition]];
        let table = cx.core().relation(self.row.table);
        let name = Ident::new(&*self.row.name);
        let state = state_verb(self.row.enabled);
        out.extend(state.map(|verb| sql!["ALTER TABLE ", table, " ", verb, " RULE ", name]));
        out
    }

    fn locks(&self) -> Vec<(Oid, LockMode)> {
        vec![(self.row.table, LockMode::AccessExclusive)]
    }
}
