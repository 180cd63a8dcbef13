//! Planner statistics: what ANALYZE found, as calls of the functions by which servers since 18 take it. One entry for each
//! relation that has some. Extended statistics' data cannot be handed over by any server; ANALYZE collects it anew.
//! Whether the statistics are wanted is selection's decision: they hold samples of the rows.

use std::collections::HashMap;

use super::DraftForm;
use super::arena::{CatalogId, RenderCx, class};
use super::core::Core;
use super::row::{Oid, catalog_row};
use super::toc_builder::{Aspect, Draft, DraftKey, TocBuilder};
use crate::pg::version::{ServerVersion, V14, V17, V18};
use crate::sql::{Literal, Sql, sql};
use crate::toc::{EntryName, Form, LockMode, Part, Stage};

/// The label of the entries.
pub const LABEL: &str = "planner statistics";

catalog_row! {
    /// Sizes of the relations asked for and of their indexes, as the planner knows them; `reltuples` is 0 before the first look on
    /// servers before 14, and -1 since.
    pub struct SizeStatisticsRow from
        "pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
         JOIN pg_catalog.unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = COALESCE(i.indrelid, c.oid)"
        where "c.relkind IN ('r', 'p', 'm', 'f', 'i', 'I')" order "c.oid" {
        relation: Oid = col("c.oid"),
        /// The table; the relation itself unless it is an index.
        table: Oid = col("COALESCE(i.indrelid, c.oid)"),
        pages: String = col("c.relpages::pg_catalog.text"),
        tuples: f32 = col("c.reltuples"),
        all_visible: String = col("c.relallvisible::pg_catalog.text"),
        all_frozen: Option<String> = since(V18, "c.relallfrozen::pg_catalog.text", "NULL::pg_catalog.text"),
    }
}

catalog_row! {
    /// `pg_stats` of the relations asked for and of their indexes: only what the dumping role may see. Every value as text, for
    /// most have types of the server's own.
    pub struct ColumnStatisticsRow from
        "pg_catalog.pg_stats s JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname \
         LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
         JOIN pg_catalog.unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = COALESCE(i.indrelid, c.oid)"
        where "a.attnum > 0 AND NOT a.attisdropped" order "c.oid, a.attnum, s.inherited" {
        relation: Oid = col("c.oid"),
        number: i16 = col("a.attnum"),
        name: String = col("s.attname"),
        inherited: bool = col("s.inherited"),
        null_frac: Option<String> = col("s.null_frac::pg_catalog.text"),
        avg_width: Option<String> = col("s.avg_width::pg_catalog.text"),
        n_distinct: Option<String> = col("s.n_distinct::pg_catalog.text"),
        most_common_vals: Option<String> = col("s.most_common_vals::pg_catalog.text"),
        most_common_freqs: Option<String> = col("s.most_common_freqs::pg_catalog.text"),
        histogram_bounds: Option<String> = col("s.histogram_bounds::pg_catalog.text"),
        correlation: Option<String> = col("s.correlation::pg_catalog.text"),
        most_common_elems: Option<String> = col("s.most_common_elems::pg_catalog.text"),
        most_common_elem_freqs: Option<String> = col("s.most_common_elem_freqs::pg_catalog.text"),
        elem_count_histogram: Option<String> = col("s.elem_count_histogram::pg_catalog.text"),
        range_length_histogram: Option<String> =
            since(V17, "s.range_length_histogram::pg_catalog.text", "NULL::pg_catalog.text"),
        range_empty_frac: Option<String> =
            since(V17, "s.range_empty_frac::pg_catalog.text", "NULL::pg_catalog.text"),
        range_bounds_histogram: Option<String> =
            since(V17, "s.range_bounds_histogram::pg_catalog.text", "NULL::pg_catalog.text"),
    }
}

/// What is known of one relation.
#[derive(Debug)]
pub struct RelationStatistics {
    /// Its size.
    pub size: SizeStatisticsRow,
    /// Its columns.
    pub columns: Vec<ColumnStatisticsRow>,
}

/// Statistics by relation, from both queries' rows. A relation that was never looked at has none.
pub fn collect(
    sizes: Vec<SizeStatisticsRow>,
    columns: Vec<ColumnStatisticsRow>,
) -> HashMap<Oid, RelationStatistics> {
    let mut found: HashMap<Oid, RelationStatistics> = sizes
        .into_iter()
        .map(|size| {
            let columns = Vec::new();
            (size.relation, RelationStatistics { size, columns })
        })
        .collect();
    for row in columns {
        if let Some(relation) = found.get_mut(&row.relation) {
            relation.columns.push(row);
        }
    }
    found.retain(|_, relation| !relation.columns.is_empty() || relation.size.tuples > 0.0);
    found
}

/// Adds the entries of all relations that the dump creates.
pub fn add(cx: &RenderCx<'_>, toc: &mut TocBuilder<'_>) {
    let core = cx.core();
    let tables = core
        .planner_statistics
        .values()
        .map(|known| known.size.table);
    let keys = super::index::keys_of(core, tables.collect::<std::collections::BTreeSet<_>>());
    let mut relations: Vec<&RelationStatistics> = core.planner_statistics.values().collect();
    relations.sort_by_key(|known| known.size.relation);
    for known in relations {
        let relation = known.size.relation;
        let id = keys
            .get(&relation)
            .copied()
            .unwrap_or(CatalogId::relation(relation));
        if cx.catalog.parts_of(id).has(Part::Define) {
            toc.add(draft(core, known, id, cx.server));
        }
    }
}

fn draft(core: &Core, known: &RelationStatistics, id: CatalogId, source: ServerVersion) -> Draft {
    let (relation, table) = (known.size.relation, known.size.table);
    let name = core.relations.get(&relation);
    let name = name.map_or_else(EntryName::default, |row| core.name_on(table, &row.name));
    let is_matview = core
        .relations
        .get(&table)
        .is_some_and(|row| row.kind == 'm');
    // A refresh throws away what was known.
    let (stage, needs) = if is_matview {
        let refresh = DraftKey::aspect(CatalogId::relation(table), Aspect::Refresh);
        (Stage::Final, vec![refresh])
    } else {
        (Stage::PostData, Vec::new())
    };
    let locks = vec![(table, LockMode::ShareUpdateExclusive)];
    let mut import = DraftForm::plain(statements(core, known, id, source), locks);
    import.form.since = Some(V18);
    // Without a step and without a loss: an older server collects them itself.
    let collected = DraftForm {
        form: Form {
            until: Some(V18),
            ..Form::default()
        },
        locks: Vec::new(),
    };
    let key = DraftKey::aspect(id, Aspect::PlannerStatistics);
    Draft::new(key, LABEL, name, stage, 165)
        .form(import)
        .form(collected)
        .needs(needs)
}

/// Name and value pairs of a call.
struct Call(Sql);

impl Call {
    fn new(function: &'static str, core: &Core, relation: Oid, source: ServerVersion) -> Call {
        let row = core.relations.get(&relation);
        let (schema, name) = row.map_or_else(Default::default, |row| {
            (core.schema_name(row.schema), row.name.clone())
        });
        let mut call = Call(sql![
            "SELECT pg_catalog.",
            function,
            "('version', ",
            Literal(&source.0.to_string()),
            "::pg_catalog.int4"
        ]);
        call.text("schemaname", &schema);
        call.text("relname", &name);
        call
    }

    fn push(&mut self, name: &'static str, value: &str, ty: &'static str) {
        self.0 = sql![
            std::mem::take(&mut self.0),
            ", '",
            name,
            "', ",
            Literal(value),
            "::pg_catalog.",
            ty
        ];
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.push(name, value, "text");
    }

    fn some(&mut self, name: &'static str, value: Option<&String>, ty: &'static str) {
        if let Some(value) = value {
            self.push(name, value, ty);
        }
    }

    fn end(self) -> Sql {
        sql![self.0, ")"]
    }
}

fn statements(
    core: &Core,
    known: &RelationStatistics,
    id: CatalogId,
    source: ServerVersion,
) -> Vec<Sql> {
    let RelationStatistics { size, columns } = known;
    let relation = size.relation;
    // Before 14 a count of 0 said that nobody had counted; that is -1 now.
    let tuples = if source < V14 && size.tuples == 0.0 {
        -1.0
    } else {
        size.tuples
    };
    let mut call = Call::new("pg_restore_relation_stats", core, relation, source);
    call.push("relpages", &size.pages, "int4");
    call.push("reltuples", &tuples.to_string(), "float4");
    call.push("relallvisible", &size.all_visible, "int4");
    call.some("relallfrozen", size.all_frozen.as_ref(), "int4");
    let is_index = id.class == class::CONSTRAINT
        || core
            .relations
            .get(&relation)
            .is_some_and(|row| matches!(row.kind.0, 'i' | 'I'));
    let columns = columns.iter().map(|row| {
        let mut call = Call::new("pg_restore_attribute_stats", core, relation, source);
        if is_index {
            // An index's columns have names that the server made up.
            call.push("attnum", &row.number.to_string(), "int2");
        } else {
            call.text("attname", &row.name);
        }
        call.push(
            "inherited",
            if row.inherited { "true" } else { "false" },
            "bool",
        );
        column_values(&mut call, row);
        call.end()
    });
    std::iter::once(call.end()).chain(columns).collect()
}

fn column_values(call: &mut Call, row: &ColumnStatisticsRow) {
    let values = [
        ("null_frac", &row.null_frac, "float4"),
        ("avg_width", &row.avg_width, "int4"),
        ("n_distinct", &row.n_distinct, "float4"),
        ("most_common_vals", &row.most_common_vals, "text"),
        ("most_common_freqs", &row.most_common_freqs, "_float4"),
        ("histogram_bounds", &row.histogram_bounds, "text"),
        ("correlation", &row.correlation, "float4"),
        ("most_common_elems", &row.most_common_elems, "text"),
        (
            "most_common_elem_freqs",
            &row.most_common_elem_freqs,
            "_float4",
        ),
        ("elem_count_histogram", &row.elem_count_histogram, "_float4"),
        (
            "range_length_histogram",
            &row.range_length_histogram,
            "text",
        ),
        ("range_empty_frac", &row.range_empty_frac, "float4"),
        (
            "range_bounds_histogram",
            &row.range_bounds_histogram,
            "text",
        ),
    ];
    for (name, value, ty) in values {
        call.some(name, value.as_ref(), ty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(relation: Oid, tuples: f32) -> SizeStatisticsRow {
        SizeStatisticsRow {
            relation,
            table: relation,
            pages: "7".into(),
            tuples,
            all_visible: "7".into(),
            all_frozen: None,
        }
    }

    #[test]
    fn relations_that_nobody_looked_at_have_no_statistics() {
        let found = collect(vec![size(1, -1.0), size(2, 0.0), size(3, 5.0)], Vec::new());
        assert_eq!(found.keys().collect::<Vec<_>>(), [&3]);
    }

    #[test]
    fn a_count_of_nothing_from_an_old_server_is_unknown() {
        let count = |source: ServerVersion| {
            let known = RelationStatistics {
                size: size(1, 0.0),
                columns: Vec::new(),
            };
            let found = statements(&Core::default(), &known, CatalogId::relation(1), source);
            found[0].text()
        };
        assert!(count(crate::pg::version::V13).contains("'reltuples', '-1'"));
        assert!(count(V17).contains("'reltuples', '0'"));
    }
}
