//! Keys and exclusions: the index first, adopted as a constraint where the server can, or both at once.

use super::Constraint;
use crate::kinds::arena::RenderCx;
use crate::kinds::common;
use crate::kinds::row::Oid;
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
    fn whole(&self, cx: &RenderCx<'_>) -> Sql {
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
        let options = self.row.options.as_deref().unwrap_or_default();
        sql![
            add,
            self.key_word(),
            if self.row.nulls_not_distinct && self.row.kind == 'u' {
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
            common::with_options(options, &[]),
            self.deferral(),
        ]
    }

    /// The steps of a key or exclusion: where possible the index first, under a lock that lets other indexes be built.
    pub(super) fn key_steps(&self, cx: &RenderCx<'_>) -> Vec<(Step, Vec<(Oid, LockMode)>)> {
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
        let adoptable = self.is_key() && self.row.table_kind == 'r' && !self.row.period;
        let mut steps = Vec::new();
        let name = Ident::new(&*self.row.name);
        match self.index_definition.as_ref().filter(|_| adoptable) {
            Some(definition) => {
                let build = Step {
                    sql: vec![sql![definition]],
                    builds_index: true,
                    ..Step::default()
                };
                steps.push((build, vec![(table, LockMode::Share)]));
                let adopt = sql![
                    self.alter(cx, true),
                    " ADD CONSTRAINT ",
                    &name,
                    " ",
                    self.key_word(),
                    " USING INDEX ",
                    &name,
                    self.deferral(),
                ];
                steps.push((
                    Step {
                        sql: vec![adopt],
                        ..Step::default()
                    },
                    exclusive,
                ));
            }
            None => {
                let whole = Step {
                    sql: vec![self.whole(cx)],
                    builds_index: true,
                    ..Step::default()
                };
                steps.push((whole, exclusive));
            }
        }
        let (step, _) = steps.last_mut().expect("both arms push a step");
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
