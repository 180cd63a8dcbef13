//! Extensions, and the rows of their configuration tables. Members are left to their own kinds, which give only privileges.

use std::collections::BTreeSet;

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::core::Core;
use super::row::{NoText, Oid, catalog_row};
use super::toc_builder::{Aspect, Draft, DraftData, DraftKey, TocBuilder};
use super::{Ddl, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{DataOf, EntryName, Stage};

catalog_row! {
    /// `pg_extension`, without those that initdb made.
    pub struct ExtensionRow from "pg_catalog.pg_extension e" where "e.oid >= 16384" {
        oid: Oid = col("e.oid"),
        name: String = col("e.extname"),
        schema: Oid = col("e.extnamespace"),
        /// Tables and sequences registered as configuration.
        config: Option<Vec<Oid>> = col("e.extconfig"),
        /// One `WHERE …` for each of them, or an empty text.
        conditions: Option<Vec<ServerSql>> = col("e.extcondition"),
        /// The comment of its control file, which CREATE EXTENSION sets. Setting it again needs the extension's owner, whom a
        /// managed service does not lend out.
        control_comment: Option<String> = col(
            "(SELECT a.comment FROM pg_catalog.pg_available_extensions() a WHERE a.name = e.extname)"
        ),
    }
}

/// An extension.
#[derive(Debug)]
pub struct Extension {
    /// The row.
    pub row: ExtensionRow,
}

impl ObjectKind for Extension {
    const FACTS: KindFacts = KindFacts {
        label: "extension",
        keyword: "EXTENSION",
        stage: Stage::PreData,
        priority: 50,
        grant: None,
        // There is no ALTER EXTENSION … OWNER TO.
        owned: false,
        postponable: false,
        catalog: "pg_extension",
        class: class::EXTENSION,
    };
    type Row = ExtensionRow;
    type Text = NoText;

    fn subject(row: &ExtensionRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::EXTENSION, row.oid);
        Some(Subject {
            id,
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: ExtensionRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(Extension { row })
    }
}

impl Ddl for Extension {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::EXTENSION, self.row.oid)
    }

    fn initial_comment(&self) -> Option<&str> {
        self.row.control_comment.as_deref()
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        EntryName {
            name: self.row.name.clone(),
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![Ident::new(&*self.row.name)]
    }

    // No version: the target's own is the one that fits its server. A script that stood up the extension before is welcome.
    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let schema = Ident::new(cx.core().schema_name(self.row.schema));
        vec![sql![
            "CREATE EXTENSION IF NOT EXISTS ",
            self.address(cx),
            " WITH SCHEMA ",
            schema
        ]]
    }

    fn more(&self, cx: &RenderCx<'_>, toc: &mut TocBuilder<'_>) {
        let conditions = self.row.conditions.as_deref().unwrap_or_default();
        for (i, oid) in self.row.config.iter().flatten().enumerate() {
            let Some(relation) = cx.core().relations.get(oid) else {
                continue;
            };
            // A partitioned table has no rows of its own; its partitions are registered, if at all, by themselves.
            match relation.kind.0 {
                'r' => toc.add(self.rows(*oid, conditions.get(i), cx)),
                'S' => toc.add(self.draft(*oid, Aspect::SequenceValue, cx)),
                _ => {}
            }
        }
    }
}

impl Extension {
    fn draft(&self, relation: Oid, aspect: Aspect, cx: &RenderCx<'_>) -> Draft {
        let (label, priority) = match aspect {
            Aspect::SequenceValue => ("sequence value", 162),
            _ => ("table data", 160),
        };
        let own_name = cx
            .core()
            .relations
            .get(&relation)
            .map_or("", |row| &*row.name);
        let name = cx.core().name_on(relation, own_name);
        let key = DraftKey::aspect(CatalogId::relation(relation), aspect);
        Draft::new(key, label, name, Stage::Data, priority).needs([DraftKey::define(self.id())])
    }

    fn rows(&self, table: Oid, condition: Option<&ServerSql>, cx: &RenderCx<'_>) -> Draft {
        let core = cx.core();
        let read = core
            .columns_of(table)
            .iter()
            .filter(|column| column.generated == '\0');
        let mut draft = self.draft(table, Aspect::Data, cx);
        let condition = condition
            .map(|text| sql![text])
            .filter(|sql| !sql.is_empty());
        draft.data = Some(DraftData {
            relation: table,
            columns: read.map(|column| column.name.clone()).collect(),
            condition: condition.clone().unwrap_or_default(),
            of: DataOf::Table {
                target: sql![core.relation(table)],
                table: None,
                unlogged: false,
                keep_order: core.keep_order.contains(&table),
                via_root: None,
                root: None,
                by_collation: false,
                condition,
            },
        });
        // The foreign keys exist already when the rows are loaded.
        draft.needs(
            rows_before(table, core)
                .into_iter()
                .map(|referenced| DraftKey::aspect(CatalogId::relation(referenced), Aspect::Data)),
        )
    }
}

/// The configuration tables whose rows must stand before those of `table`; where foreign keys form a circle, one is ignored.
fn rows_before(table: Oid, core: &Core) -> Vec<Oid> {
    let in_circle = |referenced: Oid| reachable(referenced, core).contains(&table);
    referenced_by(table, core)
        .filter(|referenced| *referenced < table || !in_circle(*referenced))
        .collect()
}

fn reachable(table: Oid, core: &Core) -> BTreeSet<Oid> {
    let mut found = BTreeSet::new();
    let mut open = vec![table];
    while let Some(next) = open.pop() {
        open.extend(referenced_by(next, core).filter(|referenced| found.insert(*referenced)));
    }
    found
}

fn referenced_by(table: Oid, core: &Core) -> impl Iterator<Item = Oid> {
    let keys = core
        .constraints_of(table)
        .iter()
        .filter(|row| row.kind == 'f');
    keys.map(|row| row.ref_relation)
        .filter(move |referenced| *referenced != table && core.config_tables.contains(referenced))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::kinds::core::ConstraintRow;
    use crate::kinds::row::Letter;

    fn foreign_key(relation: Oid, ref_relation: Oid) -> ConstraintRow {
        ConstraintRow {
            oid: relation * 100 + ref_relation,
            name: "fk".into(),
            schema: 1,
            kind: Letter('f'),
            relation,
            domain: 0,
            index: 0,
            parent: 0,
            ref_relation,
            deferrable: false,
            deferred: false,
            validated: true,
            enforced: true,
            local: true,
            n_inherited: 0,
            no_inherit: false,
            period: false,
            columns: None,
            ref_columns: None,
            set_columns: None,
        }
    }

    fn core(keys: &[(Oid, Oid)]) -> Core {
        let mut core = Core {
            config_tables: HashSet::from([1, 2, 3]),
            ..Core::default()
        };
        for (relation, referenced) in keys {
            let key = foreign_key(*relation, *referenced);
            core.constraints.entry(*relation).or_default().push(key);
        }
        core
    }

    #[test]
    fn referenced_rows_come_first() {
        let core = core(&[(1, 2), (1, 1), (1, 9), (2, 3)]);
        assert_eq!(rows_before(1, &core), [2]);
        assert_eq!(rows_before(2, &core), [3]);
        assert!(rows_before(3, &core).is_empty());
    }

    #[test]
    fn a_circle_of_foreign_keys_is_cut_once() {
        let core = core(&[(1, 2), (2, 3), (3, 1)]);
        assert!(rows_before(1, &core).is_empty());
        assert!(rows_before(2, &core).is_empty());
        assert_eq!(rows_before(3, &core), [1]);
    }
}
