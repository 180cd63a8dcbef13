//! What is read and how: tables in cells, small tables in packs, large objects in ranges; largest first. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::cell::Cell;
use super::group::CutBefore;
use super::key_columns::{Found, Uncut};
use super::large_objects::ObjectsPlan;
use super::sizes::SizeRow;
use super::split::{self, Method, SMALL_BYTES_MAX, TableSize};
use crate::kinds::row::Oid;
use crate::kinds::toc_builder::DraftData;
use crate::pg::CopyOut;
use crate::pg::version::ServerVersion;
use crate::sql::{Condition, Ident, Literal, Sql, sql};
use crate::toc::{DataOf, EntryId, printable};

/// Length of the statements of one round trip, after which another begins.
const COPIES_BYTES_MAX: usize = 64 << 10;

/// One table to read.
#[derive(Debug, Clone)]
pub(super) struct TablePlan {
    /// The entry whose rows these are.
    pub entry: EntryId,
    /// Its OID.
    pub relation: Oid,
    /// For people.
    pub name: String,
    /// The quoted name.
    pub target: Sql,
    /// Columns to read.
    pub columns: Vec<String>,
    /// `WHERE …`, or empty.
    pub condition: Sql,
    /// The user's condition.
    pub filter: Option<String>,
    /// True if its rows are on another server: then nothing can be locked, and one connection must read them.
    pub is_foreign: bool,
    /// Storage.
    pub size: TableSize,
    /// How it is read.
    pub method: Method,
    /// Its cells, if it is read in several.
    pub cells: Vec<Cell>,
    /// May be read in binary if text cannot carry a row.
    pub binary_works: bool,
    /// The database's encoding, where rows would otherwise come in the session's.
    pub encoding: Option<String>,
}

/// One piece of work for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// One cell of a table.
    Cell {
        /// The table's place in [`DataPlan::tables`].
        table: usize,
        /// The cell.
        cell: usize,
    },
    /// A whole table.
    Whole {
        /// The table.
        table: usize,
    },
    /// Small tables one after another.
    Pack {
        /// The tables.
        tables: Vec<usize>,
    },
    /// Large objects, or a part of one.
    LargeObjects {
        /// The range's place in [`DataPlan::objects`].
        range: usize,
    },
}

/// Everything that is read.
#[derive(Debug, Default)]
pub(super) struct DataPlan {
    /// The tables, in TOC order.
    pub tables: Vec<TablePlan>,
    /// The entry of the large objects.
    pub large_objects: Option<EntryId>,
    /// How they are read.
    pub objects: ObjectsPlan,
    /// The work, largest first.
    pub jobs: Vec<Job>,
    /// Expected bytes.
    pub n_bytes: u64,
}

/// What a table's plan begins from.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanInputs<'a> {
    /// The source server.
    pub server: ServerVersion,
    /// The database's encoding.
    pub encoding: &'a str,
    /// Sizes by OID.
    pub sizes: &'a HashMap<Oid, SizeRow>,
    /// The user's conditions by OID.
    pub conditions: &'a BTreeMap<Oid, String>,
    /// How the group's previous dump cut tables, by qualified name.
    pub cuts_before: &'a HashMap<String, CutBefore>,
    /// Keys of tables that cannot be read in cells of blocks.
    pub keys: &'a HashMap<Oid, Found>,
    /// How large objects are read, where they are.
    pub objects: &'a ObjectsPlan,
    /// Heap and TOAST bytes that a cell aims at.
    pub cell_bytes: u64,
}

/// Plans the reading.
pub(super) fn plan(data: &[(EntryId, DraftData)], inputs: PlanInputs<'_>) -> DataPlan {
    let mut plan = DataPlan::default();
    for (entry, data) in data {
        match &data.of {
            DataOf::LargeObjects => plan.large_objects = Some(*entry),
            DataOf::Table { target, .. } => plan.tables.push(table(*entry, data, target, inputs)),
        }
    }
    let (mut sized, small) = jobs_of(&plan.tables);
    sized.sort_by_key(|(n_bytes, _)| std::cmp::Reverse(*n_bytes));
    plan.jobs = sized.into_iter().flat_map(|(_, jobs)| jobs).collect();
    if plan.large_objects.is_some() {
        let n_ranges = inputs.objects.ranges.len();
        plan.jobs
            .extend((0..n_ranges).map(|range| Job::LargeObjects { range }));
        plan.objects = inputs.objects.clone();
    }
    plan.jobs.extend(small);
    let n_bytes = plan.tables.iter().map(|table| table.size.n_bytes());
    plan.n_bytes = n_bytes.sum::<u64>() + plan.objects.n_bytes;
    plan
}

fn table(entry: EntryId, data: &DraftData, target: &Sql, inputs: PlanInputs<'_>) -> TablePlan {
    let row = inputs.sizes.get(&data.relation);
    let size = size_of(row);
    let (method, cells) = method(data, &size, target, inputs);
    let name = row.map_or_else(
        || format!("relation {}", data.relation),
        |row| format!("{}.{}", printable(&row.schema), printable(&row.name)),
    );
    TablePlan {
        entry,
        relation: data.relation,
        name,
        target: target.clone(),
        columns: data.columns.clone(),
        condition: data.condition.clone(),
        filter: inputs.conditions.get(&data.relation).cloned(),
        is_foreign: row.is_some_and(|row| row.is_foreign),
        size,
        method,
        cells,
        binary_works: row.is_some_and(|row| row.binary_works),
        encoding: (!matches!(inputs.encoding, "UTF8" | "SQL_ASCII"))
            .then(|| inputs.encoding.to_owned()),
    }
}

fn size_of(row: Option<&SizeRow>) -> TableSize {
    let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let heap_bytes = row.map_or(0, |row| bytes(row.heap_bytes));
    TableSize {
        n_blocks: u32::try_from(heap_bytes.div_ceil(split::BLOCK_BYTES)).unwrap_or(u32::MAX),
        heap_bytes,
        toast_bytes: row.map_or(0, |row| bytes(row.toast_bytes)),
        is_heap: row.is_some_and(|row| row.is_heap),
    }
}

/// How a table is read, and its cells.
fn method(
    data: &DraftData,
    size: &TableSize,
    target: &Sql,
    inputs: PlanInputs<'_>,
) -> (Method, Vec<Cell>) {
    let row = inputs.sizes.get(&data.relation);
    let before = inputs.cuts_before.get(&target.text());
    let whole = |why: String| (Method::Whole(why), Vec::new());
    if row.is_some_and(|row| row.is_foreign) {
        return whole("its rows are on a foreign server".to_owned());
    }
    if !data.condition.is_empty() {
        return whole("an extension chooses its rows by a condition".to_owned());
    }
    let Some(because) = split::without_blocks(size, inputs.server) else {
        let before = before.and_then(CutBefore::cell_blocks);
        let method = split::by_blocks(size, before, inputs.cell_bytes);
        let cells = match method {
            Method::Cells { cell_blocks } => split::cells(size.n_blocks, cell_blocks),
            _ => Vec::new(),
        };
        let blocks = cells.into_iter().map(|(from, to)| Cell::Blocks(from, to));
        return (method, blocks.collect());
    };
    if size.n_bytes() <= inputs.cell_bytes {
        return (Method::small(), Vec::new());
    }
    let key = match inputs.keys.get(&data.relation) {
        Some(Found::Key(key)) => key,
        Some(Found::Refused(why)) => return whole(format!("{because}, and {why}")),
        None => return whole(because.to_owned()),
    };
    let before = before.map_or(&[][..], |before| before.bounds_of(&key.cell_key()));
    let bounds = key.spread.bounds(before, size.n_bytes(), inputs.cell_bytes);
    if bounds.is_empty() {
        let column = Ident::new(&*key.column).quoted();
        return whole(format!(
            "{because}, and its key {column} has too few values"
        ));
    }
    let method = Method::Keys {
        key: key.cell_key(),
        because,
    };
    (method, Cell::of_key(key, &bounds))
}

/// The tables that need a key to be read in several pieces.
pub(super) fn uncut<'a>(
    data: &'a [(EntryId, DraftData)],
    inputs: PlanInputs<'a>,
) -> Vec<Uncut<'a>> {
    let mut uncut = Vec::new();
    for (_, data) in data {
        let row = inputs.sizes.get(&data.relation);
        let size = size_of(row);
        let is_whole = !data.condition.is_empty() || row.is_some_and(|row| row.is_foreign);
        let DataOf::Table { target, .. } = &data.of else {
            continue;
        };
        if is_whole
            || size.n_bytes() <= inputs.cell_bytes
            || split::without_blocks(&size, inputs.server).is_none()
        {
            continue;
        }
        let before = inputs.cuts_before.get(&target.text());
        uncut.push(Uncut {
            relation: data.relation,
            target,
            columns: &data.columns,
            n_blocks: size.n_blocks,
            before: before.and_then(CutBefore::key),
        });
    }
    uncut
}

/// Jobs of large tables with their sizes, and the packs of small ones, in name order.
fn jobs_of(tables: &[TablePlan]) -> (Vec<(u64, Vec<Job>)>, Vec<Job>) {
    let mut large = Vec::new();
    let mut small: Vec<usize> = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        if !table.cells.is_empty() {
            let cells = (0..table.cells.len()).map(|cell| Job::Cell { table: i, cell });
            large.push((table.size.n_bytes(), cells.collect()));
        } else if table.size.n_bytes() > SMALL_BYTES_MAX || table.is_foreign {
            large.push((table.size.n_bytes(), vec![Job::Whole { table: i }]));
        } else {
            small.push(i);
        }
    }
    small.sort_by(|a, b| tables[*a].name.cmp(&tables[*b].name));
    let keys: Vec<(u64, u64)> = small
        .iter()
        .map(|i| {
            let table = &tables[*i];
            (
                xxhash_rust::xxh3::xxh3_64(table.name.as_bytes()),
                table.size.n_bytes(),
            )
        })
        .collect();
    let packs = split::packs(&keys);
    let pack = |members: Vec<usize>| Job::Pack {
        tables: members.iter().map(|i| small[*i]).collect(),
    };
    (large, packs.into_iter().map(pack).collect())
}

impl DataPlan {
    /// What one round trip reads of small tables that are left: the first of them, as many as fit.
    ///
    /// A table with a condition goes alone: its text is not ours, and a statement more or less would shift the others' rows.
    pub(super) fn copies_at_once(&self, left: &VecDeque<usize>) -> Vec<CopyOut> {
        let mut copies = Vec::new();
        let mut n_bytes = 0;
        for table in left {
            let plan = &self.tables[*table];
            let alone = plan.filter.is_some() || !plan.condition.is_empty();
            if !copies.is_empty() && (alone || n_bytes >= COPIES_BYTES_MAX) {
                break;
            }
            let sql = plan.copy_statement(None, false).text();
            n_bytes += sql.len();
            copies.push(CopyOut {
                object: format!("table {}", plan.name),
                sql,
            });
            if alone {
                break;
            }
        }
        copies
    }
}

impl TablePlan {
    /// The statement that reads a cell, or the whole table.
    pub(super) fn copy_statement(&self, cell: Option<usize>, binary: bool) -> Sql {
        let columns = Sql::list(self.columns.iter().map(|name| Ident::new(&**name)));
        // Text inside of binary rows follows the session, whatever the option says.
        let format = match &self.encoding {
            _ if binary => sql![" (FORMAT binary)"],
            Some(encoding) => sql![" (ENCODING ", Literal(encoding), ")"],
            None => Sql::default(),
        };
        let range = cell.map(|cell| self.cells[cell].condition());
        let filter = self.filter.as_ref().map(|text| sql![Condition(text)]);
        let conditions: Vec<Sql> = range.into_iter().chain(filter).collect();
        if conditions.is_empty() && self.condition.is_empty() && !self.is_foreign {
            let list = (!self.columns.is_empty()).then(|| sql![" (", columns, ")"]);
            return sql!["COPY ", &self.target, list, " TO STDOUT", format];
        }
        let only =
            (!conditions.is_empty()).then(|| sql![" WHERE ", Sql::join(&conditions, " AND ")]);
        let from = sql!["SELECT ", columns, " FROM ONLY ", &self.target];
        sql![
            "COPY (",
            from,
            only,
            " ",
            &self.condition,
            ") TO STDOUT",
            format
        ]
    }

    /// What a job reads, for messages.
    pub(super) fn step(&self, cell: Option<usize>) -> String {
        cell.map_or_else(
            || "COPY OUT".to_owned(),
            |cell| format!("COPY OUT of {}", self.cells[cell].describe()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::V18;
    use crate::sql::QualifiedName;

    fn data(relation: Oid, name: &str) -> DraftData {
        DraftData {
            relation,
            columns: vec!["a".into(), "B b".into()],
            condition: Sql::default(),
            of: DataOf::Table {
                target: sql![QualifiedName::new("s", name)],
                table: None,
                unlogged: false,
                keep_order: false,
                via_root: None,
                root: None,
                by_collation: false,
                condition: None,
            },
        }
    }

    fn size(oid: Oid, name: &str, mib: i64) -> SizeRow {
        SizeRow {
            oid,
            schema: "s".into(),
            name: name.into(),
            heap_bytes: Some(mib << 20),
            toast_bytes: Some(0),
            is_heap: true,
            is_foreign: false,
            binary_works: true,
        }
    }

    fn planned() -> DataPlan {
        let sizes = [
            size(1, "small", 0),
            size(2, "middle", 10),
            size(3, "large", 300),
            size(4, "also", 0),
        ];
        let sizes: HashMap<Oid, SizeRow> = sizes.into_iter().map(|row| (row.oid, row)).collect();
        let tables: Vec<(EntryId, DraftData)> =
            [(1, "small"), (2, "middle"), (3, "large"), (4, "also")]
                .iter()
                .map(|(oid, name)| (EntryId(oid * 10), data(*oid, name)))
                .collect();
        let inputs = PlanInputs {
            server: V18,
            encoding: "UTF8",
            sizes: &sizes,
            conditions: &BTreeMap::from([(4, "a > 5 -- new".to_owned())]),
            cuts_before: &HashMap::new(),
            keys: &HashMap::new(),
            objects: &ObjectsPlan::default(),
            cell_bytes: split::CELL_BYTES,
        };
        plan(&tables, inputs)
    }

    #[test]
    fn the_largest_comes_first_and_small_tables_share_a_job() {
        let plan = planned();
        assert_eq!(plan.jobs.len(), 5 + 1 + 1);
        assert_eq!(plan.jobs[0], Job::Cell { table: 2, cell: 0 });
        assert_eq!(plan.jobs[5], Job::Whole { table: 1 });
        let Job::Pack { tables } = &plan.jobs[6] else {
            panic!("a pack comes last")
        };
        assert_eq!(tables, &[3, 0], "in name order");
    }

    #[test]
    fn a_condition_stands_in_parentheses_beside_the_range() {
        let plan = planned();
        let whole = plan.tables[3].copy_statement(None, false).text();
        assert_eq!(
            whole,
            "COPY (SELECT \"a\", \"B b\" FROM ONLY \"s\".\"also\" WHERE (\na > 5 -- new\n) ) TO STDOUT"
        );
        let large = TablePlan {
            filter: Some("true".to_owned()),
            ..plan.tables[2].clone()
        };
        let cell = large.copy_statement(Some(4), false).text();
        assert!(
            cell.contains("WHERE ctid >= '(32768,0)' AND (\ntrue\n)"),
            "{cell}"
        );
    }

    #[test]
    fn a_cell_is_read_by_ctid_and_a_whole_table_by_name() {
        let plan = planned();
        let large = &plan.tables[2];
        assert_eq!(
            large.copy_statement(Some(0), false).text(),
            r#"COPY (SELECT "a", "B b" FROM ONLY "s"."large" WHERE ctid >= '(0,0)' AND ctid < '(8192,0)' ) TO STDOUT"#
        );
        assert!(
            large
                .copy_statement(Some(4), true)
                .text()
                .contains("ctid >= '(32768,0)' ) TO STDOUT (FORMAT binary)")
        );
        let small = &plan.tables[0];
        assert_eq!(
            small.copy_statement(None, false).text(),
            r#"COPY "s"."small" ("a", "B b") TO STDOUT"#
        );
        let latin1 = TablePlan {
            encoding: Some("LATIN1".into()),
            ..small.clone()
        };
        assert_eq!(
            latin1.copy_statement(None, false).text(),
            r#"COPY "s"."small" ("a", "B b") TO STDOUT (ENCODING 'LATIN1')"#
        );
        let nothing = TablePlan {
            columns: Vec::new(),
            ..small.clone()
        };
        assert_eq!(
            nothing.copy_statement(None, false).text(),
            r#"COPY "s"."small" TO STDOUT"#
        );
    }
}
