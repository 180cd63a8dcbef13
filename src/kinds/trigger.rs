//! Triggers. A partition's clone of its parent's trigger is an object only where its enabled state differs.
//! Not here: triggers that enforce foreign keys and deferrable keys; see `key_trigger`.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::rule::state_verb;
use super::table::aspects::attach_key;
use super::toc_builder::{Aspect, DraftKey};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, common};
use crate::error::Result;
use crate::pg::version::V13;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage};

catalog_row! {
    /// `pg_trigger`: users' own, and clones whose state differs from their parent's.
    ///
    /// A clone's parent is read from `pg_depend`, because `tgparentid` came with 13 and `tgisinternal` means clones up to 14 only.
    pub struct TriggerRow from
        "pg_catalog.pg_trigger t \
         LEFT JOIN pg_catalog.pg_depend d ON d.classid = 2620 AND d.objid = t.oid AND d.refclassid = 2620 \
         LEFT JOIN pg_catalog.pg_trigger u ON u.oid = d.refobjid \
         LEFT JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint"
        where "t.oid >= 16384 AND CASE WHEN u.oid IS NULL THEN NOT t.tgisinternal \
               ELSE t.tgenabled <> u.tgenabled AND k.contype IS DISTINCT FROM 'f' END" {
        oid: Oid = col("t.oid"),
        table: Oid = col("t.tgrelid"),
        /// The table after FROM of a constraint trigger, or 0.
        from_table: Oid = col("t.tgconstrrelid"),
        name: String = col("t.tgname"),
        /// O as created, D disabled, R on replicas, A always.
        enabled: Letter = col("t.tgenabled"),
        per_row: bool = col("(t.tgtype::pg_catalog.int4 & 1) <> 0"),
        before: bool = col("(t.tgtype::pg_catalog.int4 & 2) <> 0"),
        /// For a clone: its parent, the parent's parent, … up to the trigger that a user made.
        ancestors: Vec<Oid> = col(
            "ARRAY(WITH RECURSIVE up(oid) AS ( \
               SELECT d.refobjid WHERE d.refobjid IS NOT NULL \
               UNION \
               SELECT x.refobjid FROM up JOIN pg_catalog.pg_depend x \
                 ON x.classid = 2620 AND x.objid = up.oid AND x.refclassid = 2620) \
             SELECT up.oid FROM up)"
        ),
    }
}

catalog_row! {
    /// The definitions of the triggers asked for.
    pub struct TriggerText from
        "pg_catalog.pg_trigger t JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = t.oid" {
        oid: Oid = col("t.oid"),
        definition: Option<ServerSql> = col("pg_catalog.pg_get_triggerdef(t.oid, false)"),
    }
}

/// A trigger, or the state of a clone.
#[derive(Debug)]
pub struct Trigger {
    row: TriggerRow,
    definition: ServerSql,
}

impl ObjectKind for Trigger {
    const FACTS: KindFacts = KindFacts {
        label: "trigger",
        keyword: "TRIGGER",
        stage: Stage::PostData,
        priority: 178,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_trigger",
        class: class::TRIGGER,
    };
    type Row = TriggerRow;
    type Text = TriggerText;

    fn subject(row: &TriggerRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::TRIGGER, row.oid),
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(text: &TriggerText) -> Oid {
        text.oid
    }

    fn build(row: TriggerRow, text: Option<TriggerText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = text.and_then(|text| text.definition);
        let definition = super::deparsed(text, "trigger", &row.name)?;
        Ok(Trigger { row, definition })
    }
}

impl Trigger {
    fn is_clone(&self) -> bool {
        !self.row.ancestors.is_empty()
    }

    /// `ALTER TABLE … DISABLE TRIGGER …`. Without ONLY: clones below that agree with this one are no objects of their own.
    fn state(&self, verb: &'static str, cx: &RenderCx<'_>) -> Sql {
        let relation = cx.core().relations.get(&self.row.table);
        let foreign = relation.is_some_and(|row| row.kind == 'f');
        sql![
            if foreign {
                "ALTER FOREIGN TABLE "
            } else {
                "ALTER TABLE "
            },
            cx.core().relation(self.row.table),
            " ",
            verb,
            " TRIGGER ",
            Ident::new(&*self.row.name)
        ]
    }

    /// The table, and its partitions, which get clones of a row trigger.
    fn locks_with_partitions(&self, cx: &RenderCx<'_>) -> Vec<(Oid, LockMode)> {
        let mut tables = vec![self.row.table];
        let relation = cx.core().relations.get(&self.row.table);
        if self.row.per_row && relation.is_some_and(|row| row.kind == 'p') {
            tables.extend(cx.core().descendants(self.row.table));
        }
        let mut locks: Vec<(Oid, LockMode)> = tables
            .into_iter()
            .map(|oid| (oid, LockMode::ShareRowExclusive))
            .collect();
        if self.row.from_table != 0 && self.row.from_table != self.row.table {
            locks.push((self.row.from_table, LockMode::AccessShare));
        }
        locks
    }
}

impl Ddl for Trigger {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::TRIGGER, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_on(self.row.table, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let name = Ident::new(&*self.row.name);
        sql![name, " ON ", cx.core().relation(self.row.table)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        if self.is_clone() {
            let verb = state_verb(self.row.enabled).unwrap_or("ENABLE");
            return vec![self.state(verb, cx)];
        }
        let mut out = vec![sql![&self.definition]];
        out.extend(state_verb(self.row.enabled).map(|verb| self.state(verb, cx)));
        let address = self.address(cx);
        out.extend(common::depends_on_extension(
            self.id(),
            "TRIGGER",
            &address,
            cx,
        ));
        out
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        // A partition that is dumped without its parent stands alone, and nothing clones a trigger for it.
        if self.is_clone() && attach_key(cx, self.row.table).is_none() {
            return Vec::new();
        }
        let mut form = DraftForm::plain(self.create(cx), self.locks_with_partitions(cx));
        let relation = cx.core().relations.get(&self.row.table);
        let partitioned = relation.is_some_and(|row| row.kind == 'p');
        let before_rows = self.row.before && self.row.per_row && partitioned;
        form.form.since = before_rows.then_some(V13);
        vec![form]
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        (!self.is_clone()).then(|| sql!["DROP TRIGGER ", self.address(cx)])
    }

    /// Between a clone and the trigger that a user made there may be clones that are no objects.
    fn hidden_needs(&self, _: &RenderCx<'_>) -> Vec<CatalogId> {
        let ancestors = self.row.ancestors.iter();
        ancestors
            .map(|oid| CatalogId::new(class::TRIGGER, *oid))
            .collect()
    }

    /// The clone exists once its table is a partition.
    fn hidden_aspects(&self, cx: &RenderCx<'_>) -> Vec<DraftKey> {
        let mut tables = Vec::new();
        let mut table = self.row.table;
        while self.is_clone() && !tables.contains(&table) {
            tables.push(table);
            let parents = cx.core().parents.get(&table);
            table = parents
                .and_then(|parents| parents.first())
                .map_or(table, |row| row.parent);
        }
        tables
            .into_iter()
            .map(|oid| DraftKey::aspect(CatalogId::relation(oid), Aspect::Attach))
            .collect()
    }
}
