//! Row-level security policies.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Grantee, Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage};

catalog_row! {
    /// `pg_policy`, one row per policy.
    pub struct PolicyRow from "pg_catalog.pg_policy p" {
        oid: Oid = col("p.oid"),
        table: Oid = col("p.polrelid"),
        name: String = col("p.polname"),
        permissive: bool = col("p.polpermissive"),
        /// r a w d, or * for all.
        command: Letter = col("p.polcmd"),
        /// 0 is PUBLIC.
        roles: Vec<Oid> = col("p.polroles"),
    }
}

catalog_row! {
    /// The expressions of the policies asked for.
    pub struct PolicyText from
        "pg_catalog.pg_policy p JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = p.oid" {
        oid: Oid = col("p.oid"),
        using: Option<ServerSql> = col("pg_catalog.pg_get_expr(p.polqual, p.polrelid)"),
        check: Option<ServerSql> = col("pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)"),
    }
}

/// A policy on a table.
#[derive(Debug)]
pub struct Policy {
    row: PolicyRow,
    roles: Vec<Grantee>,
    text: PolicyText,
}

impl ObjectKind for Policy {
    const FACTS: KindFacts = KindFacts {
        label: "policy",
        keyword: "POLICY",
        stage: Stage::PostData,
        priority: 180,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_policy",
        class: class::POLICY,
    };
    type Row = PolicyRow;
    type Text = PolicyText;

    fn subject(row: &PolicyRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::POLICY, row.oid);
        Some(Subject {
            id,
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(text: &PolicyText) -> Oid {
        text.oid
    }

    fn build(row: PolicyRow, text: Option<PolicyText>, cx: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "policy", &row.name)?;
        let roles = row.roles.iter().map(|oid| cx.core.grantee(*oid)).collect();
        Ok(Policy { row, roles, text })
    }
}

impl Ddl for Policy {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::POLICY, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_on(self.row.table, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![
            Ident::new(&*self.row.name),
            " ON ",
            cx.core().relation(self.row.table)
        ]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let command = match self.row.command.0 {
            'r' => " FOR SELECT",
            'a' => " FOR INSERT",
            'w' => " FOR UPDATE",
            'd' => " FOR DELETE",
            _ => "",
        };
        vec![sql![
            "CREATE POLICY ",
            self.address(cx),
            if self.row.permissive {
                ""
            } else {
                " AS RESTRICTIVE"
            },
            command,
            " TO ",
            Sql::list(&self.roles),
            self.text.using.as_ref().map(|e| sql![" USING (", e, ")"]),
            self.text
                .check
                .as_ref()
                .map(|e| sql![" WITH CHECK (", e, ")"]),
        ]]
    }

    fn locks(&self) -> Vec<(Oid, LockMode)> {
        vec![(self.row.table, LockMode::AccessExclusive)]
    }
}
