//! Foreign keys: added without a look at the rows, then validated under weaker locks where the server can.
//! The copies on partitions (`conparentid`) come with the partitioned table's.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::index;
use super::row::{Letter, Oid, catalog_row};
use super::table::inline;
use super::toc_builder::DraftKey;
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{ServerVersion, V15, V18};
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage, Step};

catalog_row! {
    /// `pg_constraint`, the foreign keys that users made.
    pub struct ForeignKeyRow from
        "pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
         JOIN pg_catalog.pg_class r ON r.oid = k.confrelid"
        where "k.oid >= 16384 AND k.contype = 'f' AND k.conparentid = 0" {
        oid: Oid = col("k.oid"),
        name: String = col("k.conname"),
        table: Oid = col("k.conrelid"),
        /// r table, p partitioned table.
        table_kind: Letter = col("c.relkind"),
        referenced: Oid = col("k.confrelid"),
        referenced_kind: Letter = col("r.relkind"),
        index: Oid = col("k.conindid"),
        validated: bool = col("k.convalidated"),
        enforced: bool = since(V18, "k.conenforced", "true"),
        period: bool = since(V18, "k.conperiod", "false"),
        /// `ON DELETE SET NULL (columns)`.
        sets_columns: bool = since(V15, "k.confdelsetcols IS NOT NULL", "false"),
    }
}

catalog_row! {
    /// The definitions of the foreign keys asked for, with NOT VALID or NOT ENFORCED where they are so.
    pub struct ForeignKeyText from
        "pg_catalog.pg_constraint k JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = k.oid" {
        oid: Oid = col("k.oid"),
        definition: Option<ServerSql> = col("pg_catalog.pg_get_constraintdef(k.oid)"),
    }
}

/// A foreign key.
#[derive(Debug)]
pub struct ForeignKey {
    row: ForeignKeyRow,
    definition: ServerSql,
}

impl ObjectKind for ForeignKey {
    const FACTS: KindFacts = KindFacts {
        label: "foreign key",
        keyword: "CONSTRAINT",
        stage: Stage::PostData,
        priority: 179,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_constraint",
        class: class::CONSTRAINT,
    };
    type Row = ForeignKeyRow;
    type Text = ForeignKeyText;

    fn subject(row: &ForeignKeyRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::CONSTRAINT, row.oid);
        Some(Subject {
            id,
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(text: &ForeignKeyText) -> Oid {
        text.oid
    }

    fn build(row: ForeignKeyRow, text: Option<ForeignKeyText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = text.and_then(|text| text.definition);
        let definition = super::deparsed(text, "foreign key", &row.name)?;
        Ok(ForeignKey { row, definition })
    }
}

impl ForeignKey {
    fn is_partitioned(&self) -> bool {
        self.row.table_kind == 'p'
    }

    /// `ALTER TABLE … ADD CONSTRAINT …`; without ONLY on a partitioned table, whose partitions must have it too.
    fn add(&self, cx: &RenderCx<'_>, suffix: &'static str) -> Sql {
        sql![
            if self.is_partitioned() {
                "ALTER TABLE "
            } else {
                "ALTER TABLE ONLY "
            },
            cx.core().relation(self.row.table),
            " ADD CONSTRAINT ",
            Ident::new(&*self.row.name),
            " ",
            &self.definition,
            suffix,
        ]
    }

    /// Locks on both tables and their partitions.
    fn locks_of(&self, cx: &RenderCx<'_>, own: LockMode, other: LockMode) -> Vec<(Oid, LockMode)> {
        let tree = |table: Oid, lock: LockMode| {
            let partitions = cx.core().descendants(table).into_iter();
            let partitions = partitions.filter(|oid| inline::is_partition(cx.core(), *oid));
            std::iter::once(table)
                .chain(partitions)
                .map(move |oid| (oid, lock))
        };
        let mut locks: Vec<_> = tree(self.row.table, own).collect();
        for (oid, lock) in tree(self.row.referenced, other) {
            if !locks.iter().any(|(known, _)| *known == oid) {
                locks.push((oid, lock));
            }
        }
        locks
    }

    fn one_step(&self, cx: &RenderCx<'_>) -> DraftForm {
        let locks = self.locks_of(cx, LockMode::ShareRowExclusive, LockMode::ShareRowExclusive);
        DraftForm::plain(vec![self.add(cx, "")], locks)
    }

    fn two_steps(&self, cx: &RenderCx<'_>) -> DraftForm {
        let locks = self.locks_of(cx, LockMode::ShareRowExclusive, LockMode::ShareRowExclusive);
        let validate = sql![
            "ALTER TABLE ",
            cx.core().relation(self.row.table),
            " VALIDATE CONSTRAINT ",
            Ident::new(&*self.row.name),
        ];
        let validate = Step {
            sql: vec![validate],
            ..Step::default()
        };
        let weaker = self.locks_of(cx, LockMode::ShareUpdateExclusive, LockMode::RowShare);
        DraftForm::plain(vec![self.add(cx, " NOT VALID")], locks).step(validate, weaker)
    }

    /// The oldest server that knows every clause of the definition.
    fn oldest(&self) -> Option<ServerVersion> {
        let not_valid = self.is_partitioned() && !self.row.validated;
        if self.row.period || !self.row.enforced || not_valid {
            Some(V18)
        } else {
            self.row.sets_columns.then_some(V15)
        }
    }
}

impl Ddl for ForeignKey {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::CONSTRAINT, self.row.oid)
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
        vec![self.add(cx, "")]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut forms = if !self.row.validated {
            vec![self.one_step(cx)]
        } else if !self.is_partitioned() && self.row.referenced_kind != 'p' {
            vec![self.two_steps(cx)]
        } else {
            // Before 18 a partitioned table takes no NOT VALID, and VALIDATE leaves out the copies for referenced partitions.
            let (mut new, mut old) = (self.two_steps(cx), self.one_step(cx));
            new.form.since = Some(V18);
            old.form.until = Some(V18);
            vec![new, old]
        };
        if let Some(oldest) = self.oldest() {
            forms.retain(|form| form.form.until.is_none_or(|until| until > oldest));
            for form in &mut forms {
                form.form.since = form.form.since.max(Some(oldest));
            }
        }
        if !self.row.enforced {
            let mut none = DraftForm::plain(Vec::new(), Vec::new());
            none.form.until = Some(V18);
            none.form.lost =
                Some("the foreign key: it is NOT ENFORCED, which 18 introduced".to_owned());
            forms.push(none);
        }
        forms
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        Some(sql![
            if self.is_partitioned() {
                "ALTER TABLE "
            } else {
                "ALTER TABLE ONLY "
            },
            cx.core().relation(self.row.table),
            " DROP CONSTRAINT ",
            Ident::new(&*self.row.name),
        ])
    }

    fn hidden_needs(&self, _: &RenderCx<'_>) -> Vec<CatalogId> {
        vec![
            CatalogId::relation(self.row.table),
            CatalogId::relation(self.row.referenced),
        ]
    }

    fn hidden_aspects(&self, cx: &RenderCx<'_>) -> Vec<DraftKey> {
        let tables = cx.core().descendants(self.row.referenced);
        index::attach_keys_below(cx, self.row.index, tables)
    }
}
