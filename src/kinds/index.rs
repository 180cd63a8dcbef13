//! Indexes that stand for themselves, and what they share with those behind keys: marks on them, and ATTACH PARTITION.

use std::collections::HashMap;

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::core::Core;
use super::row::{Oid, catalog_row};
use super::table::aspects::{self, is_defined};
use super::toc_builder::{Aspect, Draft, DraftKey, TocBuilder};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, clauses, versions};
use crate::error::Result;
use crate::pg::version::{ServerVersion, V15};
use crate::sql::{Ident, QualifiedName, ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Stage, Step};

catalog_row! {
    /// `pg_index` without those behind constraints. One that is not valid, or being made or dropped, is left out;
    /// that of a partitioned table is not valid until every partition has its own.
    pub struct IndexRow from
        "pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         JOIN pg_catalog.pg_class t ON t.oid = i.indrelid \
         LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace"
        where "i.indexrelid >= 16384 AND i.indislive AND i.indisready AND (i.indisvalid OR c.relkind = 'I') \
               AND t.relkind IN ('r', 'p', 'm') AND t.relpersistence <> 't' \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k \
                   WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))" {
        oid: Oid = col("i.indexrelid"),
        table: Oid = col("i.indrelid"),
        name: String = col("c.relname"),
        schema: Oid = col("c.relnamespace"),
        tablespace: Option<String> = col("s.spcname"),
        nulls_not_distinct: bool = since(V15, "i.indnullsnotdistinct", "false"),
        options: Option<Vec<String>> = col("c.reloptions"),
        clustered: bool = col("i.indisclustered"),
        replica_identity: bool = col("i.indisreplident"),
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
    /// The definitions of the indexes asked for: complete but for tablespace, marks and column statistics.
    pub struct IndexText from
        "pg_catalog.pg_index i JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = i.indexrelid" {
        oid: Oid = col("i.indexrelid"),
        definition: Option<ServerSql> = col("pg_catalog.pg_get_indexdef(i.indexrelid)"),
    }
}

/// An index that is not behind a constraint.
#[derive(Debug)]
pub struct Index {
    row: IndexRow,
    definition: ServerSql,
}

/// What is lost with NULLS NOT DISTINCT.
pub(crate) const LOST_NULLS: &str = "NULLS NOT DISTINCT, so that several NULLs are accepted";

/// What is set on an index after it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks<'a> {
    /// The table's CLUSTER mark is on it.
    pub(crate) clustered: bool,
    /// It is the table's replica identity.
    pub(crate) replica_identity: bool,
    /// The extensions whose removal removes it.
    pub(crate) extensions: &'a [String],
    /// Columns with a statistics target, and the targets.
    pub(crate) targets: (&'a [i16], &'a [i32]),
}

impl Marks<'_> {
    /// The statements that touch the index alone.
    pub(crate) fn on_index(&self, index: &QualifiedName) -> Vec<Sql> {
        let targets = self
            .targets
            .0
            .iter()
            .zip(self.targets.1)
            .map(|(column, target)| {
                sql![
                    "ALTER INDEX ",
                    index,
                    " ALTER COLUMN ",
                    *column,
                    " SET STATISTICS ",
                    *target
                ]
            });
        let extensions = self.extensions.iter().map(|name| {
            sql![
                "ALTER INDEX ",
                index,
                " DEPENDS ON EXTENSION ",
                Ident::new(&**name)
            ]
        });
        targets.chain(extensions).collect()
    }

    /// The statements that touch the table, with the lock that they take; `None` if there are none.
    pub(crate) fn on_table(
        &self,
        table: &QualifiedName,
        index: &Ident,
    ) -> Option<(Vec<Sql>, LockMode)> {
        let mut statements = Vec::new();
        let mut lock = LockMode::ShareUpdateExclusive;
        if self.clustered {
            statements.push(sql!["ALTER TABLE ", table, " CLUSTER ON ", index]);
        }
        if self.replica_identity {
            lock = LockMode::AccessExclusive;
            statements.push(sql![
                "ALTER TABLE ONLY ",
                table,
                " REPLICA IDENTITY USING INDEX ",
                index
            ]);
        }
        (!statements.is_empty()).then_some((statements, lock))
    }
}

/// The constraints behind which indexes of some tables stand, by index.
pub(crate) fn keys_of(
    core: &Core,
    tables: impl IntoIterator<Item = Oid>,
) -> HashMap<Oid, CatalogId> {
    let rows = tables
        .into_iter()
        .flat_map(|table| core.constraints_of(table));
    rows.filter(|row| matches!(row.kind.0, 'p' | 'u' | 'x'))
        .map(|row| (row.index, CatalogId::new(class::CONSTRAINT, row.oid)))
        .collect()
}

/// An index of a partition, or the key that it stands behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartitionIndex {
    /// The object: the constraint, or the index itself.
    pub(crate) id: CatalogId,
    /// The index.
    pub(crate) index: Oid,
    /// Its table.
    pub(crate) table: Oid,
}

/// The key of the entry that attaches the index, and the parent's object; `None` if nothing is attached.
pub(crate) fn attach_key(
    cx: &RenderCx<'_>,
    child: PartitionIndex,
) -> Option<(DraftKey, CatalogId)> {
    let core = cx.core();
    let index = core.parents.get(&child.index)?.first()?.parent;
    let table = core.parents.get(&child.table)?.first()?.parent;
    aspects::attach_key(cx, child.table)?;
    let keys = keys_of(core, [table]);
    let parent = keys
        .get(&index)
        .copied()
        .unwrap_or(CatalogId::relation(index));
    let both = is_defined(cx, child.id) && is_defined(cx, parent);
    both.then(|| (DraftKey::aspect(child.id, Aspect::Attach), parent))
}

/// The keys of the entries that attach the parts of an index of a partitioned table, at all depths; `tables` are the table's
/// descendants.
pub(crate) fn attach_keys_below(
    cx: &RenderCx<'_>,
    index: Oid,
    tables: impl IntoIterator<Item = Oid>,
) -> Vec<DraftKey> {
    let core = cx.core();
    let keys = keys_of(core, tables);
    let is_table = |oid: Oid| {
        core.relations
            .get(&oid)
            .is_some_and(|row| matches!(row.kind.0, 'r' | 'p'))
    };
    let child = |index: Oid| {
        let id = keys
            .get(&index)
            .copied()
            .unwrap_or(CatalogId::relation(index));
        let mut needed = core
            .depends_of(id)
            .filter(|row| row.ref_class == class::RELATION);
        let table = needed.find(|row| is_table(row.ref_oid))?.ref_oid;
        Some(PartitionIndex { id, index, table })
    };
    let below = core.descendants(index).into_iter().filter_map(child);
    below
        .filter_map(|child| attach_key(cx, child))
        .map(|(key, _)| key)
        .collect()
}

/// The entry that makes the index a part of the parent's.
///
/// From the leaves up: the server makes an index valid when it finds all parts attached and valid, and does not see those that
/// another transaction attaches meanwhile. Parts of one index exclude each other by their lock; parts of parts come before.
pub(crate) fn attach(cx: &RenderCx<'_>, child: PartitionIndex, name: EntryName) -> Option<Draft> {
    let core = cx.core();
    let (key, parent) = attach_key(cx, child)?;
    let index = core.parents.get(&child.index)?.first()?.parent;
    let statement = sql![
        "ALTER INDEX ",
        core.relation(index),
        " ATTACH PARTITION ",
        core.relation(child.index)
    ];
    // The last part to come makes the index valid, and that above it: two at once in one tree would each wait for the other,
    // and leave the topmost invalid (seen on 18.4).
    let tree = core.ancestors(child.table).into_iter().chain([child.table]);
    let locks = tree
        .map(|oid| (oid, LockMode::ShareUpdateExclusive))
        .collect();
    let draft = Draft::new(key, "index attach", name, Stage::PostData, 173)
        .form(DraftForm::plain(vec![statement], locks))
        .needs([DraftKey::define(parent)])
        .needs(aspects::attach_key(cx, child.table))
        .needs(attach_keys_below(
            cx,
            child.index,
            core.descendants(child.table),
        ));
    Some(draft)
}

impl ObjectKind for Index {
    const FACTS: KindFacts = KindFacts {
        label: "index",
        keyword: "INDEX",
        stage: Stage::PostData,
        priority: 172,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_index",
        class: class::RELATION,
    };
    type Row = IndexRow;
    type Text = IndexText;

    fn subject(row: &IndexRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::relation(row.oid);
        Some(Subject {
            id,
            follows: Follows::Relation(row.table),
        })
    }

    fn text_oid(text: &IndexText) -> Oid {
        text.oid
    }

    fn build(row: IndexRow, text: Option<IndexText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = text.and_then(|text| text.definition);
        let definition = super::deparsed(text, "index", &row.name)?;
        Ok(Index { row, definition })
    }
}

impl Index {
    fn marks(&self) -> Marks<'_> {
        Marks {
            clustered: self.row.clustered,
            replica_identity: self.row.replica_identity,
            extensions: &self.row.extensions,
            targets: (&self.row.target_columns, &self.row.targets),
        }
    }

    fn as_partition(&self) -> PartitionIndex {
        PartitionIndex {
            id: self.id(),
            index: self.row.oid,
            table: self.row.table,
        }
    }

    /// The definition for a target, and what is lost.
    fn definition(&self, target: ServerVersion) -> (ServerSql, Vec<&'static str>) {
        let mut definition = self.definition.clone();
        let mut lost = Vec::new();
        if self.row.nulls_not_distinct && target < V15 {
            definition = definition.without_clause("NULLS NOT DISTINCT");
            lost.push(LOST_NULLS);
        }
        let options = self.row.options.as_deref().unwrap_or_default();
        if !versions::parameters(options, target).1 {
            definition = definition.without_clause("WITH (");
            lost.push("its storage parameters");
        }
        (definition, lost)
    }

    fn steps(
        &self,
        definition: &ServerSql,
        cx: &RenderCx<'_>,
    ) -> Vec<(Step, Vec<(Oid, LockMode)>)> {
        let core = cx.core();
        let (table, index) = (
            core.relation(self.row.table),
            core.qualified(self.row.schema, &self.row.name),
        );
        let mut sql = vec![sql![definition]];
        sql.extend(self.marks().on_index(&index));
        let build = Step {
            sql,
            builds_index: true,
            ..Step::default()
        };
        let mut steps = vec![(build, vec![(self.row.table, LockMode::Share)])];
        // On its own, because these locks keep other indexes of the table from being built at the same time.
        if let Some((sql, lock)) = self.marks().on_table(&table, &index.name) {
            steps.push((
                Step {
                    sql,
                    ..Step::default()
                },
                vec![(self.row.table, lock)],
            ));
        }
        steps
    }
}

impl Ddl for Index {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::relation(self.row.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_on(self.row.table, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![cx.core().qualified(self.row.schema, &self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        self.steps(&self.definition, cx)
            .into_iter()
            .flat_map(|(step, _)| step.sql)
            .collect()
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        clauses::by_target(|target| {
            let (definition, lost) = self.definition(target);
            let steps = self.steps(&definition, cx).into_iter();
            let mut form = steps.fold(DraftForm::default(), |form, (step, locks)| {
                form.step(step, locks)
            });
            form.form.lost = clauses::joined(&lost);
            Some(form)
        })
    }

    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        // The server refuses to drop a part of a parent's index.
        let attached = attach_key(cx, self.as_partition()).is_some();
        (!attached).then(|| sql!["DROP INDEX ", self.address(cx)])
    }

    fn locks(&self) -> Vec<(Oid, LockMode)> {
        vec![(self.row.table, LockMode::Share)]
    }

    fn tablespace(&self, _: &RenderCx<'_>) -> Option<String> {
        Some(self.row.tablespace.clone().unwrap_or_default())
    }

    fn more(&self, cx: &RenderCx<'_>, builder: &mut TocBuilder<'_>) {
        if let Some(draft) = attach(cx, self.as_partition(), self.name(cx)) {
            builder.add(draft);
        }
    }
}
