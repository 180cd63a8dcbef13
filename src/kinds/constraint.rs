//! Constraints that are entries of their own: keys and exclusions, CHECKs that need more than their table, and what was
//! never validated (CHECK, NOT NULL of 18). Inline ones belong to the table, foreign keys to their own kind.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::common;
use super::core::ConstraintRow;
use super::index::{self, Marks, PartitionIndex};
use super::row::{Letter, Oid, catalog_row};
use super::table::inline;
use super::toc_builder::TocBuilder;
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::{Error, Result};
use crate::pg::version::{V15, V18};
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage, Step};

catalog_row! {
    /// `pg_constraint` of tables, with the index of keys and exclusions. Foreign keys are another kind's.
    pub struct TableConstraintRow from
        "pg_catalog.pg_constraint k JOIN pg_catalog.pg_class t ON t.oid = k.conrelid \
         LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x') \
         LEFT JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace"
        where "k.oid >= 16384 AND k.contype IN ('c', 'n', 'p', 'u', 'x') \
               AND (k.contype <> 'n' OR NOT k.convalidated)" {
        oid: Oid = col("k.oid"),
        name: String = col("k.conname"),
        table: Oid = col("k.conrelid"),
        /// r table, p partitioned table, f foreign table.
        table_kind: Letter = col("t.relkind"),
        /// c check, n not null, p primary key, u unique, x exclusion.
        kind: Letter = col("k.contype"),
        index: Option<Oid> = col("i.indexrelid"),
        deferrable: bool = col("k.condeferrable"),
        deferred: bool = col("k.condeferred"),
        validated: bool = col("k.convalidated"),
        enforced: bool = since(V18, "k.conenforced", "true"),
        /// The last key column is WITHOUT OVERLAPS.
        period: bool = since(V18, "k.conperiod", "false"),
        nulls_not_distinct: bool = since(V15, "COALESCE(i.indnullsnotdistinct, false)", "false"),
        n_key_columns: i16 = col("COALESCE(i.indnkeyatts, 0::pg_catalog.int2)"),
        /// Key columns, then INCLUDE columns; 0 for an expression of an exclusion.
        columns: Option<Vec<i16>> = col("i.indkey::pg_catalog.int2[]"),
        options: Option<Vec<String>> = col("c.reloptions"),
        tablespace: Option<String> = col("s.spcname"),
        clustered: bool = col("COALESCE(i.indisclustered, false)"),
        replica_identity: bool = col("COALESCE(i.indisreplident, false)"),
        extensions: Vec<String> = col("ARRAY(SELECT e.extname FROM pg_catalog.pg_depend d \
            JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid WHERE d.classid = 1259 \
            AND d.objid = i.indexrelid AND d.refclassid = 3079 AND d.deptype = 'x' ORDER BY e.extname)"),
        /// Numbers of the index's columns that have a statistics target, and the targets.
        target_columns: Vec<i16> = col("ARRAY(SELECT a.attnum FROM pg_catalog.pg_attribute a \
            WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0 ORDER BY a.attnum)"),
        targets: Vec<i32> = col("ARRAY(SELECT a.attstattarget::pg_catalog.int4 FROM pg_catalog.pg_attribute a \
            WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0 ORDER BY a.attnum)"),
    }
}

catalog_row! {
    /// The definitions of the constraints asked for, and of the indexes behind keys.
    pub struct TableConstraintText from
        "pg_catalog.pg_constraint k JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = k.oid" {
        oid: Oid = col("k.oid"),
        definition: Option<ServerSql> = col("pg_catalog.pg_get_constraintdef(k.oid)"),
        index: Option<ServerSql> =
            col("CASE WHEN k.contype IN ('p', 'u') THEN pg_catalog.pg_get_indexdef(k.conindid) END"),
    }
}

/// A constraint of a table.
#[derive(Debug)]
pub struct Constraint {
    row: TableConstraintRow,
    definition: ServerSql,
    index_definition: Option<ServerSql>,
    /// Names of the index's columns, for keys.
    columns: Vec<Ident>,
}

/// A CHECK that rows must meet while they are loaded.
const CHECK_FACTS: KindFacts = KindFacts {
    stage: Stage::PreData,
    priority: 146,
    postponable: true,
    ..Constraint::FACTS
};

impl ObjectKind for Constraint {
    const FACTS: KindFacts = KindFacts {
        label: "constraint",
        keyword: "CONSTRAINT",
        stage: Stage::PostData,
        priority: 170,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_constraint",
        class: class::CONSTRAINT,
    };
    type Row = TableConstraintRow;
    type Text = TableConstraintText;

    fn subject(row: &TableConstraintRow, cx: &LoadCx<'_>) -> Option<Subject> {
        if matches!(row.kind.0, 'c' | 'n') {
            let constraints = cx.core.constraints_of(row.table);
            let known = constraints.iter().find(|known| known.oid == row.oid)?;
            if !inline::is_separate(cx.core, known) {
                return None;
            }
        }
        let id = CatalogId::new(class::CONSTRAINT, row.oid);
        Some(Subject {
            id,
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(text: &TableConstraintText) -> Oid {
        text.oid
    }

    fn build(
        row: TableConstraintRow,
        text: Option<TableConstraintText>,
        cx: &LoadCx<'_>,
    ) -> Result<Self> {
        let text = super::deparsed(text, "constraint", &row.name)?;
        let definition = super::deparsed(text.definition, "constraint", &row.name)?;
        let columns = if matches!(row.kind.0, 'p' | 'u') {
            column_names(&row, cx)?
        } else {
            Vec::new()
        };
        Ok(Constraint {
            row,
            definition,
            index_definition: text.index,
            columns,
        })
    }
}

fn column_names(row: &TableConstraintRow, cx: &LoadCx<'_>) -> Result<Vec<Ident>> {
    let numbers = row.columns.iter().flatten();
    let name = |number: &i16| {
        cx.core.column_name(row.table, *number).ok_or_else(|| {
            Error::failed(
                format!(
                    "constraint {:?} on {}",
                    row.name,
                    cx.core.relation(row.table).quoted()
                ),
                format!("column {number} is not among the table's columns"),
                "run the dump again when no schema change is under way",
            )
        })
    };
    numbers.map(name).collect()
}

impl Constraint {
    fn id(&self) -> CatalogId {
        CatalogId::new(class::CONSTRAINT, self.row.oid)
    }

    fn alter(&self, cx: &RenderCx<'_>, only: bool) -> Sql {
        let foreign = self.row.table_kind == 'f';
        sql![
            if foreign {
                "ALTER FOREIGN TABLE "
            } else {
                "ALTER TABLE "
            },
            if only { "ONLY " } else { "" },
            cx.core().relation(self.row.table),
        ]
    }

    fn is_key(&self) -> bool {
        matches!(self.row.kind.0, 'p' | 'u')
    }

    fn marks(&self) -> Marks<'_> {
        Marks {
            clustered: self.row.clustered,
            replica_identity: self.row.replica_identity,
            extensions: &self.row.extensions,
            targets: (&self.row.target_columns, &self.row.targets),
        }
    }

    fn as_partition(&self) -> Option<PartitionIndex> {
        let index = self.row.index?;
        Some(PartitionIndex {
            id: self.id(),
            index,
            table: self.row.table,
        })
    }

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
        let add = sql![self.alter(cx, true), " ADD CONSTRAINT ", name, " "];
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
    fn key_steps(&self, cx: &RenderCx<'_>) -> Vec<(Step, Vec<(Oid, LockMode)>)> {
        let table = self.row.table;
        let exclusive = vec![(table, LockMode::AccessExclusive)];
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

    /// A CHECK or NOT NULL: without ONLY, so that it reaches (and merges with) those of children.
    fn add_check(&self, cx: &RenderCx<'_>) -> Sql {
        let name = Ident::new(&*self.row.name);
        sql![
            self.alter(cx, false),
            " ADD CONSTRAINT ",
            name,
            " ",
            &self.definition
        ]
    }

    fn check_forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let core = cx.core();
        let tree = std::iter::once(self.row.table).chain(core.descendants(self.row.table));
        let locks: Vec<_> = tree.map(|oid| (oid, LockMode::AccessExclusive)).collect();
        let mut form = DraftForm::plain(vec![self.add_check(cx)], locks.clone());
        let is_new = self.row.kind == 'n' || !self.row.enforced;
        if !is_new {
            return vec![form];
        }
        form.form.since = Some(V18);
        let mut old = DraftForm::plain(Vec::new(), Vec::new());
        old.form.lost = Some("the constraint: it is NOT ENFORCED, which 18 introduced".to_owned());
        let column = self
            .known(cx)
            .and_then(|row| row.columns.as_ref()?.first().copied());
        let column = column.and_then(|number| core.column_name(self.row.table, number));
        if let Some(column) = column.filter(|_| self.row.kind == 'n') {
            let name = Ident::new(&*self.row.name);
            let check = sql![
                self.alter(cx, false),
                " ADD CONSTRAINT ",
                name,
                " CHECK (",
                column,
                " IS NOT NULL) NOT VALID"
            ];
            old = DraftForm::plain(vec![check], locks);
            old.form.lost = Some("a NOT NULL that is NOT VALID becomes a CHECK".to_owned());
        }
        old.form.until = Some(V18);
        vec![form, old]
    }

    fn known<'a>(&self, cx: &RenderCx<'a>) -> Option<&'a ConstraintRow> {
        let rows = cx.catalog.core.constraints_of(self.row.table);
        rows.iter().find(|row| row.oid == self.row.oid)
    }
}

impl Ddl for Constraint {
    fn facts(&self) -> &'static KindFacts {
        let in_load = self.row.kind == 'c' && self.row.validated;
        if in_load { &CHECK_FACTS } else { &Self::FACTS }
    }

    fn id(&self) -> CatalogId {
        self.id()
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
        if self.row.index.is_none() {
            return vec![self.add_check(cx)];
        }
        self.key_steps(cx)
            .into_iter()
            .flat_map(|(step, _)| step.sql)
            .collect()
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        if self.row.index.is_none() {
            return self.check_forms(cx);
        }
        let steps = self.key_steps(cx).into_iter();
        let mut form = steps.fold(DraftForm::default(), |form, (step, locks)| {
            form.step(step, locks)
        });
        let distinct = self.row.nulls_not_distinct.then_some(V15);
        form.form.since = if self.row.period { Some(V18) } else { distinct };
        vec![form]
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        // The server refuses to drop a part of a parent's key.
        let attached = self
            .as_partition()
            .and_then(|child| index::attach_key(cx, child));
        let only = self.row.index.is_some();
        let name = Ident::new(&*self.row.name);
        attached
            .is_none()
            .then(|| sql![self.alter(cx, only), " DROP CONSTRAINT ", name])
    }

    fn hidden_needs(&self, cx: &RenderCx<'_>) -> Vec<CatalogId> {
        let mut needs = vec![CatalogId::relation(self.row.table)];
        // Adding to a child what it inherited already fails, while adding to the parent merges: the children's come first.
        if let Some(row) = self.known(cx).filter(|_| self.row.index.is_none()) {
            let core = cx.core();
            let children = core.descendants(self.row.table).into_iter();
            let same = children.flat_map(|child| inline::same_constraints(core, row, child));
            let ids = same.map(|row| CatalogId::new(class::CONSTRAINT, row.oid));
            needs.extend(ids.filter(|id| cx.catalog.get(*id).is_some()));
        }
        needs
    }

    fn absorbs(&self) -> Vec<CatalogId> {
        self.row
            .index
            .map(CatalogId::relation)
            .into_iter()
            .collect()
    }

    fn tablespace(&self, _: &RenderCx<'_>) -> Option<String> {
        self.row
            .index
            .map(|_| self.row.tablespace.clone().unwrap_or_default())
    }

    fn more(&self, cx: &RenderCx<'_>, builder: &mut TocBuilder<'_>) {
        let draft = self
            .as_partition()
            .and_then(|child| index::attach(cx, child, self.name(cx)));
        if let Some(draft) = draft {
            builder.add(draft);
        }
    }
}
