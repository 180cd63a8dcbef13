//! Keys and exclusions: the index first, adopted as a constraint where the server can, or both at once.

use super::Constraint;
use crate::kinds::DraftForm;
use crate::kinds::arena::RenderCx;
use crate::kinds::row::Oid;
use crate::kinds::{clauses, common, index, versions};
use crate::pg::version::{ServerVersion, V12, V15, V17, V18};
use crate::sql::{Ident, Sql, sql};
use crate::toc::{LockMode, Step};

impl Constraint {
    fn deferral(&self) -> &'static str {
        match (self.row.deferrable, self.row.deferred) {
            (_, true) => " DEFERRABLE INITIALLY DEFERRED",
            (true, false) => " DEFERRABLE",
            (false, false) => "",
        }
    }

    fn key_word(&self) -> &'static str {
        if self.row.kind == 'p' {
            "PRIMARY KEY"
        } else {
            "UNIQUE"
        }
    }

    /// The constraint with its index. The server's own text of keys leaves out the index's options.
    fn whole(&self, cx: &RenderCx<'_>, target: ServerVersion) -> Sql {
        let name = Ident::new(&*self.row.name);
        let add = sql![
            self.alter(cx, !self.reaches_partitions()),
            " ADD CONSTRAINT ",
            name,
            " "
        ];
        if !self.is_key() {
            return sql![add, &self.definition];
        }
        let n_keys = usize::try_from(self.row.n_key_columns)
            .unwrap_or(0)
            .min(self.columns.len());
        let (keys, included) = self.columns.split_at(n_keys);
        let (options, _) = self.options(target);
        sql![
            add,
            self.key_word(),
            if self.keeps_nulls(target) {
                " NULLS NOT DISTINCT"
            } else {
                ""
            },
            " (",
            Sql::list(keys),
            if self.row.period {
                " WITHOUT OVERLAPS"
            } else {
                ""
            },
            ")",
            (!included.is_empty()).then(|| sql![" INCLUDE (", Sql::list(included), ")"]),
            common::with_options(&options, &[]),
            self.deferral(),
        ]
    }

    /// True if the index can be built first and then become the constraint.
    pub(super) fn is_adoptable(&self) -> bool {
        self.is_key() && self.row.table_kind == 'r' && !self.row.period
    }

    pub(super) fn key_forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        clauses::by_target(|target| self.key_form(cx, target))
    }

    fn key_form(&self, cx: &RenderCx<'_>, target: ServerVersion) -> Option<DraftForm> {
        let oldest = match self.row.kind.0 {
            _ if self.row.period => V18,
            'x' if self.reaches_partitions() => V17,
            _ => V12,
        };
        if target < oldest {
            return None;
        }
        let mut lost = Vec::new();
        if self.row.kind == 'u' && self.row.nulls_not_distinct && !self.keeps_nulls(target) {
            lost.push(index::LOST_NULLS);
        }
        if !self.options(target).1 {
            lost.push(versions::LOST_PARAMETERS);
        }
        // Since 18 adopting a primary key makes inherited NOT NULLs local too (seen on 18.4).
        let inherits = cx.core().parents.contains_key(&self.row.table);
        let localizes = target >= V18 && self.row.kind == 'p' && inherits;
        // The index's own text has all clauses; without some it is the constraint that is written.
        let adopt = self.is_adoptable() && !localizes && lost.is_empty();
        let steps = self.key_steps(cx, adopt, target).into_iter();
        let mut form = steps.fold(DraftForm::default(), |form, (step, locks)| {
            form.step(step, locks)
        });
        form.form.lost = clauses::joined(&lost);
        Some(form)
    }

    /// The index's storage parameters that a target knows; true if all. Those of exclusions stand in their definition.
    fn options(&self, target: ServerVersion) -> (Vec<String>, bool) {
        let options = self.row.options.as_deref().unwrap_or_default();
        versions::parameters(options, target)
    }

    fn keeps_nulls(&self, target: ServerVersion) -> bool {
        self.row.nulls_not_distinct && self.row.kind == 'u' && target >= V15
    }

    /// The steps of a key or exclusion: with `adopt` the index first, under a lock that lets other indexes be built.
    pub(super) fn key_steps(
        &self,
        cx: &RenderCx<'_>,
        adopt: bool,
        target: ServerVersion,
    ) -> Vec<(Step, Vec<(Oid, LockMode)>)> {
        let table = self.row.table;
        let reached = if self.reaches_partitions() {
            cx.core().descendants(table)
        } else {
            Vec::new()
        };
        let reached = std::iter::once(table).chain(reached);
        let exclusive: Vec<_> = reached
            .map(|oid| (oid, LockMode::AccessExclusive))
            .collect();
        let name = Ident::new(&*self.row.name);
        let mut steps = Vec::new();
        if let Some(definition) = self.index_definition.as_ref().filter(|_| adopt) {
            let build = building(sql![definition]);
            steps.push((build, vec![(table, LockMode::Share)]));
            let add = sql![
                self.alter(cx, true),
                " ADD CONSTRAINT ",
                &name,
                " ",
                self.key_word(),
                " USING INDEX ",
                &name,
                self.deferral(),
            ];
            let adopt = Step {
                sql: vec![add],
                ..Step::default()
            };
            steps.push((adopt, exclusive));
        } else {
            steps.push((building(self.whole(cx, target)), exclusive));
        }
        let (step, _) = steps.last_mut().expect("both branches push a step");
        if let Some(index) = self.row.index {
            step.sql
                .extend(self.marks().on_index(&cx.core().relation(index)));
        }
        let on_table = self.marks().on_table(&cx.core().relation(table), &name);
        step.sql
            .extend(on_table.into_iter().flat_map(|(statements, _)| statements));
        steps
    }
}

fn building(statement: Sql) -> Step {
    Step {
        sql: vec![statement],
        builds_index: true,
        ..Step::default()
    }
}
