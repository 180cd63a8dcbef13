//! The enabled state of the triggers that enforce foreign keys and deferrable keys. The server makes and names them, so only a state
//! that somebody changed (`DISABLE TRIGGER ALL`) is an object; it is set again on the trigger that does the same work.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
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
         JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
         CROSS JOIN LATERAL ( \
           WITH RECURSIVE up(oid, parent) AS ( \
             SELECT k.oid, k.conparentid \
             UNION SELECT c.oid, c.conparentid FROM up JOIN pg_catalog.pg_constraint c ON c.oid = up.parent) \
           SELECT c.oid, c.conname, c.conrelid FROM up JOIN pg_catalog.pg_constraint c ON c.oid = up.oid \
           WHERE up.parent = 0) root"
        where "t.oid >= 16384 AND t.tgisinternal AND t.tgenabled <> 'O' AND k.contype IN ('f', 'p', 'u', 'x')" {
        oid: Oid = col("t.oid"),
        table: Oid = col("t.tgrelid"),
        /// The constraint that a user made; the trigger's own may be its copy on a partition.
        constraint: Oid = col("root.oid"),
        constraint_name: String = col("root.conname"),
        constraint_table: Oid = col("root.conrelid"),
        /// The function in `pg_catalog` that says which of a key's triggers it is.
        function: String = col("p.proname"),
        enabled: Letter = col("t.tgenabled"),
    }
}

/// A changed state.
#[derive(Debug)]
pub struct KeyTrigger {
    row: KeyTriggerRow,
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

    fn build(row: KeyTriggerRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(KeyTrigger { row })
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
        let name = format!("{} of {}", self.row.function, self.row.constraint_name);
        cx.core().name_on(self.row.table, &name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![cx.core().relation(self.row.table)]
    }

    /// The trigger is found by what it does for which constraint, because its name holds an OID.
    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let Some(verb) = state_verb(self.row.enabled) else {
            return Vec::new();
        };
        let regclass = |oid: Oid| {
            let name = cx.core().relation(oid).quoted();
            sql![Literal(&name), "::pg_catalog.regclass"]
        };
        let body = sql![
            "DECLARE\n  statement pg_catalog.text;\nBEGIN\n  FOR statement IN\n    WITH RECURSIVE tree(oid) AS (\n      \
             SELECT k.oid FROM pg_catalog.pg_constraint k WHERE k.conname = ",
            Literal(&self.row.constraint_name),
            " AND k.conrelid = ",
            regclass(self.row.constraint_table),
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
        vec![
            CatalogId::new(class::CONSTRAINT, self.row.constraint),
            CatalogId::relation(self.row.table),
        ]
    }

    /// The copies on partitions exist once these are attached.
    fn hidden_aspects(&self, _: &RenderCx<'_>) -> Vec<DraftKey> {
        let id = CatalogId::relation(self.row.table);
        vec![DraftKey::aspect(id, Aspect::Attach)]
    }
}
