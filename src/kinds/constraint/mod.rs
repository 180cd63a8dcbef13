//! Constraints that are entries of their own: keys and exclusions, CHECKs that need more than their table, and what was
//! never validated (CHECK, NOT NULL of 18). Inline ones belong to the table, foreign keys to their own kind.

mod check;
mod key;

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::index::{self, Marks, PartitionIndex};
use super::row::{Letter, Oid, catalog_row};
use super::table::{aspects, inline};
use super::toc_builder::{DraftKey, TocBuilder};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::{Error, Result};
use crate::pg::version::{V15, V18};
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Part, Stage};

catalog_row! {
    /// `pg_constraint` of tables, with the index of keys and exclusions. Foreign keys are another kind's.
    pub struct TableConstraintRow from
        "pg_catalog.pg_constraint k JOIN pg_catalog.pg_class t ON t.oid = k.conrelid \
         LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x') \
         LEFT JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace"
        where "k.oid >= 16384 AND k.contype IN ('c', 'n', 'p', 'u', 'x') \
               AND (k.contype <> 'n' OR NOT k.convalidated OR NOT k.conislocal)" {
        oid: Oid = col("k.oid"),
        name: String = col("k.conname"),
        table: Oid = col("k.conrelid"),
        /// r table, p partitioned table, f foreign table.
        table_kind: Letter = col("t.relkind"),
        /// c check, n not null, p primary key, u unique, x exclusion.
        kind: Letter = col("k.contype"),
        index: Option<Oid> = col("i.indexrelid"),
        /// The partitioned table's constraint of which this is a part, or 0.
        parent: Oid = col("k.conparentid"),
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
    /// True if the constraint is inherited, not valid there, and only validated here.
    validates: bool,
    /// True if the constraint is a CHECK that may read other tables, so that it can only judge rows when all are there.
    reads_tables: bool,
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
        if row.kind == 'x' && comes_with_parent(row, cx) {
            return None;
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
        let mut known = cx.core.constraints_of(row.table).iter();
        let known = known.find(|known| known.oid == row.oid);
        let validates = known.is_some_and(|known| inline::is_validated_here(cx.core, known));
        let reads_tables = known.is_some_and(|known| inline::may_read_tables(cx.core, known));
        Ok(Constraint {
            row,
            definition,
            index_definition: text.index,
            columns,
            validates,
            reads_tables,
        })
    }
}

/// True if a partition's exclusion is made by its parent's: the server cannot attach it (`ALTER INDEX … ATTACH PARTITION`
/// refuses: "index definitions do not match", seen on 17.10 and 18.4).
fn comes_with_parent(row: &TableConstraintRow, cx: &LoadCx<'_>) -> bool {
    let link = cx
        .core
        .parents
        .get(&row.table)
        .and_then(|links| links.first());
    let parent = link.and_then(|link| cx.relations.get(&link.parent));
    row.parent != 0 && parent.is_some_and(|parts| parts.has(Part::Define))
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

    /// An exclusion reaches partitions from its parent; keys are made on each and attached.
    fn reaches_partitions(&self) -> bool {
        self.row.kind == 'x' && self.row.table_kind == 'p'
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
}

impl Ddl for Constraint {
    fn facts(&self) -> &'static KindFacts {
        let at_once = self.row.validated && !self.validates && !self.reads_tables;
        let in_load = self.row.kind == 'c' && at_once;
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
            return vec![self.check_statement(cx)];
        }
        self.key_steps(cx, self.is_adoptable(), V18)
            .into_iter()
            .flat_map(|(step, _)| step.sql)
            .collect()
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        if self.row.index.is_none() {
            self.check_forms(cx)
        } else {
            self.key_forms(cx)
        }
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        // The server refuses to drop a part of a parent's key.
        let attached = self
            .as_partition()
            .and_then(|child| index::attach_key(cx, child));
        let only = self.row.index.is_some();
        let name = Ident::new(&*self.row.name);
        // What is inherited goes with the parent's.
        (attached.is_none() && !self.validates)
            .then(|| sql![self.alter(cx, only), " DROP CONSTRAINT ", name])
    }

    fn hidden_needs(&self, cx: &RenderCx<'_>) -> Vec<CatalogId> {
        let table = CatalogId::relation(self.row.table);
        std::iter::once(table).chain(self.check_needs(cx)).collect()
    }

    fn hidden_aspects(&self, cx: &RenderCx<'_>) -> Vec<DraftKey> {
        let partitions = self
            .reaches_partitions()
            .then(|| cx.core().descendants(self.row.table));
        let partitions = partitions.into_iter().flatten();
        partitions
            .filter_map(|oid| aspects::attach_key(cx, oid))
            .collect()
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
