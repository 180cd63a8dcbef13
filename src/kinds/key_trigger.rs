//! The enabled state of the triggers that enforce foreign keys and deferrable keys. The server makes and names them, so only a state
//! that somebody changed (`DISABLE TRIGGER ALL`) is an object; it is set again on the trigger that does the same work.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::core::ConstraintRow;
use super::row::{Letter, NoText, Oid, catalog_row};
use super::rule::state_verb;
use super::toc_builder::{Aspect, DraftKey};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{DollarQuoted, Literal, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage};

catalog_row! {
    /// `pg_trigger`: those that the server made for a constraint and that are not simply enabled.
    pub struct KeyTriggerRow from
        "pg_catalog.pg_trigger t JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint \
         JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
        where "t.oid >= 16384 AND t.tgisinternal AND t.tgenabled <> 'O' AND k.contype IN ('f', 'p', 'u', 'x')" {
        oid: Oid = col("t.oid"),
        table: Oid = col("t.tgrelid"),
        constraint: Oid = col("t.tgconstraint"),
        /// The function in `pg_catalog` that says which of a key's triggers it is.
        function: String = col("p.proname"),
        enabled: Letter = col("t.tgenabled"),
    }
}

/// A changed state.
#[derive(Debug)]
pub struct KeyTrigger {
    row: KeyTriggerRow,
    /// The constraint that a user made; the trigger's own may be its copy on a partition.
    constraint: Option<ConstraintRow>,
}

impl ObjectKind for KeyTrigger {
    const FACTS: KindFacts = KindFacts {
        label: "key trigger state",
        keyword: "TRIGGER",
        stage: Stage::PostData,
        priority: 181,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_trigger",
        class: class::TRIGGER,
    };
    type Row = KeyTriggerRow;
    type Text = NoText;

    fn subject(row: &KeyTriggerRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::TRIGGER, row.oid),
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: KeyTriggerRow, _: Option<NoText>, cx: &LoadCx<'_>) -> Result<Self> {
        let all = || cx.core.constraints.values().flatten();
        let mut constraint = all().find(|known| known.oid == row.constraint);
        while let Some(copy) = constraint.filter(|known| known.parent != 0) {
            constraint = all().find(|known| known.oid == copy.parent);
        }
        let constraint = constraint.cloned();
        Ok(KeyTrigger { row, constraint })
    }
}

impl Ddl for KeyTrigger {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::TRIGGER, self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        let constraint = self.constraint.as_ref();
        let constraint = constraint.map_or("", |known| known.name.as_str());
        let name = format!("{} of {constraint}", self.row.function);
        cx.core().name_on(self.row.table, &name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![cx.core().relation(self.row.table)]
    }

    /// The trigger is found by what it does for which constraint, because its name holds an OID.
    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let (Some(constraint), Some(verb)) = (&self.constraint, state_verb(self.row.enabled))
        else {
            return Vec::new();
        };
        let regclass = |oid: Oid| {
            let name = cx.core().relation(oid).quoted();
            sql![Literal(&name), "::pg_catalog.regclass"]
        };
        let body = sql![
            "DECLARE\n  statement pg_catalog.text;\nBEGIN\n  FOR statement IN\n    WITH RECURSIVE tree(oid) AS (\n      \
             SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conname = ",
            Literal(&constraint.name),
            " AND k.conrelid = ",
            regclass(constraint.relation),
            "\n      UNION SELECT k.oid FROM tree JOIN pg_catalog.pg_constraint k ON k.conparentid = tree.oid)\n    \
             SELECT pg_catalog.format('ALTER TABLE ONLY %s ",
            verb,
            " TRIGGER %I', t.tgrelid::pg_catalog.regclass, t.tgname)\n    \
             FROM tree JOIN pg_catalog.pg_trigger t ON t.tgconstraint = tree.oid\n    \
             JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid\n    WHERE t.tgisinternal AND t.tgrelid = ",
            regclass(self.row.table),
            " AND p.proname = ",
            Literal(&self.row.function),
            "\n  LOOP\n    EXECUTE statement;\n  END LOOP;\nEND"
        ];
        vec![sql!["DO ", DollarQuoted(&body.text())]]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let locks = vec![(self.row.table, LockMode::ShareRowExclusive)];
        vec![DraftForm::plain(self.create(cx), locks)]
    }

    fn drop(&self, _: &RenderCx<'_>) -> Option<Sql> {
        None
    }

    fn hidden_needs(&self, _: &RenderCx<'_>) -> Vec<CatalogId> {
        let constraint = self.constraint.as_ref();
        constraint
            .map(|known| CatalogId::new(class::CONSTRAINT, known.oid))
            .into_iter()
            .chain([CatalogId::relation(self.row.table)])
            .collect()
    }

    /// The copies on partitions exist once these are attached.
    fn hidden_aspects(&self, _: &RenderCx<'_>) -> Vec<DraftKey> {
        let id = CatalogId::relation(self.row.table);
        vec![DraftKey::aspect(id, Aspect::Attach)]
    }
}
