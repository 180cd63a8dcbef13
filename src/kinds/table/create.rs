//! The statements that make a table, and the forms that older targets need. Columns are written by `column`.

use super::Table;
use super::column::Columns;
use super::inline;
use crate::kinds::DraftForm;
use crate::kinds::arena::RenderCx;
use crate::kinds::core::Core;
use crate::kinds::row::Oid;
use crate::kinds::{clauses, common, versions};
use crate::pg::version::{ServerVersion, V17};
use crate::sql::{Ident, ServerSql, Sql, sql};

/// Statements for one range of targets, and what is lost there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statements {
    pub(crate) sql: Vec<Sql>,
    pub(crate) lost: Vec<&'static str>,
}

/// One form per range of targets, neighbours with the same statements joined. None for targets that cannot hold the relation.
pub(crate) fn forms_by_target(
    write: impl Fn(ServerVersion) -> Option<Statements>,
) -> Vec<DraftForm> {
    clauses::by_target(|target| {
        let statements = write(target)?;
        let mut draft = DraftForm::plain(statements.sql, Vec::new());
        draft.form.lost = clauses::joined(&statements.lost);
        Some(draft)
    })
}

/// The inline CHECKs of a relation: name and text, in name order.
#[derive(Debug)]
pub(crate) struct InlineCheck {
    pub(crate) name: String,
    pub(crate) definition: ServerSql,
}

/// Column clauses, NOT NULLs and CHECKs between parentheses, one a line.
pub(crate) fn body(columns: &Columns<'_>, checks: &[InlineCheck]) -> Sql {
    let mut elements = columns.clauses();
    elements.extend(columns.table_not_nulls());
    let checks = checks.iter().map(|check| {
        sql![
            "CONSTRAINT ",
            Ident::new(&*check.name),
            " ",
            &check.definition
        ]
    });
    elements.extend(checks);
    match (elements.is_empty(), columns.typed) {
        (true, true) => Sql::default(),
        (true, false) => sql![" ()"],
        _ => sql![" (\n    ", Sql::join(elements, ",\n    "), "\n)"],
    }
}

/// `INHERITS (…)` in the order in which the columns were merged; nothing for a partition, which is attached.
pub(crate) fn inherits(core: &Core, relation: Oid) -> Option<Sql> {
    if inline::is_partition(core, relation) {
        return None;
    }
    let parents = core.parents.get(&relation)?;
    let names = parents.iter().map(|row| core.relation(row.parent));
    (!parents.is_empty()).then(|| sql![" INHERITS (", Sql::list(names), ")"])
}

impl Table {
    /// The statements for targets from `target` on; `None` if they cannot hold the table.
    pub(super) fn statements(
        &self,
        cx: &RenderCx<'_>,
        target: ServerVersion,
    ) -> Option<Statements> {
        let columns = Columns {
            cx: *cx,
            relation: self.row.oid,
            alter: "ALTER TABLE ONLY ",
            typed: self.text.of_type.is_some(),
            target,
        };
        if !columns.fit_target() {
            return None;
        }
        let (create, whole) = self.create_statement(cx, &columns);
        let mut out = vec![create];
        out.extend(columns.alterations());
        out.extend(self.settings(cx, target));
        let mut lost = columns.lost();
        if !whole {
            lost.push(versions::LOST_PARAMETERS);
        }
        if target < V17 && self.partitioned_access_method().is_some() {
            lost.push("the access method of the table's future partitions");
        }
        Some(Statements { sql: out, lost })
    }

    /// The statement, and whether it has all storage parameters.
    fn create_statement(&self, cx: &RenderCx<'_>, columns: &Columns<'_>) -> (Sql, bool) {
        // A partitioned table holds no rows; 18 refuses the word there.
        let unlogged = self.row.persistence == 'u' && !self.is_partitioned();
        let known = |options: &Option<Vec<String>>| {
            versions::parameters(options.as_deref().unwrap_or_default(), columns.target)
        };
        let (options, all) = known(&self.row.options);
        let (toast_options, all_toast) = known(&self.row.toast_options);
        let create = sql![
            if unlogged {
                "CREATE UNLOGGED TABLE "
            } else {
                "CREATE TABLE "
            },
            cx.core().relation(self.row.oid),
            self.text.of_type.as_ref().map(|name| sql![" OF ", name]),
            body(columns, &self.checks),
            if columns.typed {
                None
            } else {
                inherits(cx.core(), self.row.oid)
            },
            self.text
                .partition_key
                .as_ref()
                .map(|key| sql![" PARTITION BY ", key]),
            common::with_options(&options, &toast_options),
        ];
        (create, all && all_toast)
    }

    fn settings(&self, cx: &RenderCx<'_>, target: ServerVersion) -> Vec<Sql> {
        let mut actions = Vec::new();
        if let Some(name) = self.partitioned_access_method().filter(|_| target >= V17) {
            actions.push(sql!["SET ACCESS METHOD ", Ident::new(name)]);
        }
        match self.row.replica_identity.0 {
            'n' => actions.push(sql!["REPLICA IDENTITY NOTHING"]),
            'f' => actions.push(sql!["REPLICA IDENTITY FULL"]),
            _ => {}
        }
        if self.row.force_row_security {
            actions.push(sql!["FORCE ROW LEVEL SECURITY"]);
        }
        let table = cx.core().relation(self.row.oid);
        let alter = |action| sql!["ALTER TABLE ONLY ", &table, " ", action];
        actions.into_iter().map(alter).collect()
    }

    /// The access method that 17 and newer keep for future partitions; `default_table_access_method` does not set it.
    fn partitioned_access_method(&self) -> Option<&str> {
        self.row
            .access_method
            .as_deref()
            .filter(|_| self.is_partitioned())
    }
}
