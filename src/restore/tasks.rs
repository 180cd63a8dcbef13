//! Everything after the definitions as tasks for the scheduler: rows, indexes, keys, and what waits for what. Pure; the statements of
//! an entry are in `plan`, the cutting of rows in `load`, what is small enough to share a transaction in `gather`.

use std::collections::{BTreeMap, BTreeSet};

use super::gather;
use super::journal::statistics_of;
use super::load;
use super::plan::{PlanCx, definition};
use super::prove::Indexes;
use super::report::Ledger;
use super::work::{Analyzed, PlannedTask, Work};
use crate::graph::scheduler::{RelationKey, Task, TaskId};
use crate::toc::{DataOf, Entry, EntryId, LockMode, Stage};

/// What a statement or an index of an empty table costs, in bytes of rows loaded in the same time.
const STATEMENT_COST: u64 = 64 << 10;
/// Small tables whose statistics are collected in one transaction.
const ANALYZED_AT_ONCE: usize = 100;
/// Entries whose grants run in one transaction.
const GRANTS_AT_ONCE: usize = 100;

/// Everything after the definitions. Entries that need one which `ledger` knows to be missing are skipped there.
pub(super) fn tasks(cx: &PlanCx<'_>, indexes: &Indexes, ledger: &mut Ledger) -> Vec<PlannedTask> {
    let mut builder = Builder::new(cx, indexes);
    let mut entries = Vec::new();
    for entry in cx.selection.iter() {
        let is_elsewhere = matches!(entry.stage, Stage::PreData | Stage::Database);
        if is_elsewhere || is_skipped(cx, entry, ledger) {
            continue;
        }
        entries.push(entry);
    }
    let imported = entries.iter().filter_map(|entry| cx.imports_for(entry));
    builder.imported = imported.collect();
    builder.rows(&entries, ledger);
    let wanted = entries
        .iter()
        .map(|entry| (entry.id, builder.wanted(entry)));
    let wanted = wanted.collect();
    builder.gather(&entries, &wanted);
    for entry in &entries {
        if !builder.ends.contains_key(&entry.id) {
            builder.statements(entry);
        }
    }
    builder.wire(&wanted);
    builder.privileges(ledger);
    builder.tasks
}

fn is_skipped(cx: &PlanCx<'_>, entry: &Entry, ledger: &mut Ledger) -> bool {
    let mut needs = cx.needs(entry).into_iter();
    let cause = needs.find(|need| ledger.is_bad(*need));
    if let Some(cause) = cause {
        ledger.skip(entry, cause);
    }
    ledger.is_bad(entry.id)
}

struct Builder<'a> {
    cx: &'a PlanCx<'a>,
    indexes: &'a Indexes,
    tasks: Vec<PlannedTask>,
    /// The tasks that must be done before an entry may be needed, and its first one.
    ends: BTreeMap<EntryId, Vec<TaskId>>,
    starts: BTreeMap<EntryId, Vec<TaskId>>,
    /// The entries with the rows of a table, and its raw bytes.
    rows_of: BTreeMap<EntryId, (Vec<EntryId>, u64)>,
    /// The tasks that collect the statistics of a table.
    analyzes: BTreeMap<EntryId, TaskId>,
    /// The tables whose statistics the archive brings.
    imported: BTreeSet<EntryId>,
    /// The tasks of entries that share one.
    gathered: Vec<(TaskId, EntryId)>,
    /// The last steps that look at several tables: they want statistics.
    joins: Vec<(TaskId, BTreeSet<EntryId>)>,
}

impl<'a> Builder<'a> {
    fn new(cx: &'a PlanCx<'a>, indexes: &'a Indexes) -> Builder<'a> {
        Builder {
            cx,
            indexes,
            tasks: Vec::new(),
            ends: BTreeMap::new(),
            starts: BTreeMap::new(),
            rows_of: BTreeMap::new(),
            analyzes: BTreeMap::new(),
            imported: BTreeSet::new(),
            gathered: Vec::new(),
            joins: Vec::new(),
        }
    }

    fn push(&mut self, entry: EntryId, task: Task, work: Work) -> TaskId {
        let id = TaskId(u32::try_from(self.tasks.len()).expect("fewer tasks than 2^32"));
        self.tasks.push(PlannedTask { task, entry, work });
        id
    }

    fn rows(&mut self, entries: &[&Entry], ledger: &Ledger) {
        let with_rows = entries.iter().filter_map(|entry| {
            let index = self.indexes.get(&entry.id)?;
            Some((*entry, index))
        });
        let plan = load::plan(self.cx, with_rows, ledger);
        for group in plan {
            let many = group.loads.len() > 1;
            let loaded: Vec<EntryId> = group.loads.iter().map(|load| load.entry).collect();
            let after = group
                .after_previous
                .then(|| self.ends.get(&loaded[0]).cloned());
            let mut task = group.task;
            task.needs = after.flatten().unwrap_or_default();
            let id = self.push(loaded[0], task, Work::Load(group.loads));
            for (index, entry) in loaded.into_iter().enumerate() {
                self.starts.entry(entry).or_default().push(id);
                let end = if many {
                    let mut verdict = Task::new(Stage::Data, 0);
                    verdict.needs = vec![id];
                    self.push(entry, verdict, Work::Verdict { of: id, index })
                } else {
                    id
                };
                self.ends.entry(entry).or_default().push(end);
            }
        }
        let mut small = Vec::new();
        for entry in entries {
            if let Some(n_bytes) = self.note_table(entry) {
                if n_bytes > load::SMALL_BYTES {
                    self.analyze(n_bytes, &[entry]);
                } else {
                    small.push(*entry);
                }
            }
        }
        for some in small.chunks(ANALYZED_AT_ONCE) {
            self.analyze(0, some);
        }
    }

    /// Remembers whose rows an entry has. Gives their bytes if the table's statistics are to be collected.
    fn note_table(&mut self, entry: &Entry) -> Option<u64> {
        let Some(DataOf::Table { table, .. }) = &entry.data else {
            return None;
        };
        let index = self.indexes.get(&entry.id)?;
        if let Some(table) = table {
            let (rows, n_bytes) = self.rows_of.entry(*table).or_default();
            rows.push(entry.id);
            *n_bytes = n_bytes.saturating_add(index.n_bytes);
        }
        let key = table.unwrap_or(entry.id);
        let is_wanted =
            self.cx.options.analyze && !self.cx.is_empty(index) && !self.imported.contains(&key);
        let is_left = !self.cx.journal.has(statistics_of(entry.id));
        (is_wanted && is_left).then_some(index.n_bytes)
    }

    /// Collects the statistics of tables in one transaction.
    fn analyze(&mut self, n_bytes: u64, entries: &[&Entry]) {
        // The sample is bounded, so are the costs.
        let cost = STATEMENT_COST * entries.len() as u64 + (n_bytes / 16).min(16 << 20);
        let mut task = Task::new(Stage::Data, cost);
        let mut tables = Vec::new();
        let mut list = Vec::new();
        for entry in entries {
            if let Some(DataOf::Table { target, table, .. }) = &entry.data {
                let ends = self.ends.get(&entry.id);
                task.follows.extend(ends.into_iter().flatten());
                tables.push(table.unwrap_or(entry.id));
                list.push(Analyzed {
                    rows: entry.id,
                    target: target.text(),
                });
            }
        }
        let lock = |table: &EntryId| (RelationKey(table.0), LockMode::ShareUpdateExclusive);
        task.locks = tables.iter().map(lock).collect();
        let id = self.push(entries[0].id, task, Work::Analyze(list));
        self.analyzes
            .extend(tables.into_iter().map(|table| (table, id)));
    }

    /// Statements that are over at once run many in one transaction.
    fn gather(&mut self, entries: &[&Entry], wanted: &gather::Wanted) {
        let rows = |table| self.rows_of.get(&table).map_or(0, |rows| rows.1);
        let small = entries.iter().filter_map(|entry| {
            let steps = self.cx.steps(entry);
            let (table, _) = steps.iter().flat_map(|step| &step.locks).next()?;
            gather::is_small(self.cx, entry, steps, rows).then_some((entry.id, *table))
        });
        let small = small.collect();
        let n_workers = self.cx.options.n_workers();
        for members in gather::groups(entries, &small, wanted, n_workers) {
            let cost = STATEMENT_COST * members.len() as u64;
            let mut task = Task::new(Stage::PostData, cost);
            let steps = members.iter().flat_map(|entry| self.cx.steps(entry));
            let locks = steps.flat_map(|step| &step.locks);
            task.locks = locks
                .map(|(table, mode)| (RelationKey(table.0), *mode))
                .collect();
            task.locks.sort_unstable();
            task.locks.dedup();
            let list = members
                .iter()
                .map(|entry| definition(self.cx, entry, wanted[&entry.id].clone()));
            let work = Work::Entries(list.collect());
            let id = self.push(members[0].id, task, work);
            for (index, entry) in members.iter().enumerate() {
                let mut verdict = Task::new(Stage::PostData, 0);
                verdict.needs = vec![id];
                let end = self.push(entry.id, verdict, Work::Verdict { of: id, index });
                self.ends.insert(entry.id, vec![end]);
                self.gathered.push((id, entry.id));
                if let Some(table) = self.cx.imports_for(entry) {
                    self.analyzes.insert(table, end);
                }
            }
        }
    }

    /// A chain of one task per step.
    fn statements(&mut self, entry: &Entry) {
        let steps = self.cx.steps(entry);
        let units = self.cx.units(entry);
        let mut previous: Option<TaskId> = None;
        for unit in units {
            let step = unit
                .lines
                .first()
                .and_then(|line| steps.get(line.item.n as usize));
            let locks = step.map_or(&[][..], |step| &step.locks);
            let tables: BTreeSet<EntryId> = locks.iter().map(|(table, _)| *table).collect();
            let is_last =
                step.is_some_and(|step| steps.last().is_some_and(|last| std::ptr::eq(step, last)));
            // A last step over several tables is a foreign key's: it joins them, which goes wrong without statistics.
            let joins = is_last && tables.len() > 1 && entry.stage == Stage::PostData;
            let heavy = step.is_some_and(|step| step.builds_index);
            let n_bytes: u64 = tables
                .iter()
                .filter_map(|t| self.rows_of.get(t))
                .map(|r| r.1)
                .sum();
            let weight = match (heavy, joins) {
                (true, _) => n_bytes / 2,
                (false, true) => n_bytes / 4,
                (false, false) => 0,
            };
            let mut task = Task::new(entry.stage, STATEMENT_COST + weight);
            // The server checks a foreign key with `maintenance_work_mem` too (`RI_Initial_Check`).
            task.heavy = heavy || joins;
            task.locks = locks
                .iter()
                .map(|(table, mode)| (RelationKey(table.0), *mode))
                .collect();
            task.needs.extend(previous);
            let id = self.push(entry.id, task, Work::Statements(vec![unit]));
            if previous.is_none() {
                self.starts.entry(entry.id).or_default().push(id);
            }
            if joins {
                self.joins.push((id, tables));
            }
            if let Some(table) = self.cx.imports_for(entry) {
                self.analyzes.insert(table, id);
            }
            previous = Some(id);
        }
        if let Some(last) = previous {
            self.ends.insert(entry.id, vec![last]);
        }
    }

    /// What must be there before an entry after the definitions.
    fn wanted(&self, entry: &Entry) -> BTreeSet<EntryId> {
        let mut wanted = self.cx.selection.needs(entry.id);
        wanted.extend(self.cx.order.before(entry.id));
        if entry.stage > Stage::Data {
            // After the rows, a table means its rows too.
            let locks = self.cx.steps(entry).iter().flat_map(|step| &step.locks);
            let tables = wanted.iter().copied().chain(locks.map(|(table, _)| *table));
            let rows = tables.filter_map(|table| self.rows_of.get(&table));
            let rows: Vec<EntryId> = rows.flat_map(|(rows, _)| rows.clone()).collect();
            wanted.extend(rows);
        }
        wanted
    }

    /// Needs between entries become needs between tasks.
    fn wire(&mut self, wanted: &gather::Wanted) {
        let ends_of = |ends: &BTreeMap<EntryId, Vec<TaskId>>, entry: &EntryId| -> Vec<TaskId> {
            let needs = wanted[entry].iter().filter(|need| *need != entry);
            let ends = needs.filter_map(|need| ends.get(need));
            ends.flatten().copied().collect()
        };
        for (entry, starts) in &self.starts {
            let ends = ends_of(&self.ends, entry);
            for start in starts {
                add_needs(&mut self.tasks[start.0 as usize].task, *start, &ends);
            }
        }
        for (id, entry) in &self.gathered {
            let ends = ends_of(&self.ends, entry);
            self.tasks[id.0 as usize].task.follows.extend(ends);
        }
        for (id, tables) in std::mem::take(&mut self.joins) {
            let analyzes: Vec<TaskId> = tables
                .iter()
                .filter_map(|table| self.analyzes.get(table).copied())
                .collect();
            add_needs(&mut self.tasks[id.0 as usize].task, id, &analyzes);
        }
    }

    /// Grants come after everything, many entries in one transaction; those of an entry that may still fail by themselves.
    fn privileges(&mut self, ledger: &Ledger) {
        let mut together = Vec::new();
        for entry in self
            .cx
            .selection
            .iter()
            .filter(|entry| entry.stage != Stage::Database && !ledger.is_bad(entry.id))
        {
            let Some(unit) = self.cx.grants(entry) else {
                continue;
            };
            match self.ends.get(&entry.id).cloned() {
                None => together.push(unit),
                Some(ends) => {
                    let mut task = Task::new(entry.stage.max(Stage::Privileges), STATEMENT_COST);
                    task.needs = ends;
                    self.push(entry.id, task, Work::Statements(vec![unit]));
                }
            }
        }
        for units in together.chunks(GRANTS_AT_ONCE) {
            let task = Task::new(Stage::Privileges, STATEMENT_COST * units.len() as u64);
            self.push(units[0].entry, task, Work::Statements(units.to_vec()));
        }
    }
}

fn add_needs(task: &mut Task, id: TaskId, needs: &[TaskId]) {
    task.needs.extend(needs.iter().filter(|need| **need != id));
    task.needs.sort_unstable();
    task.needs.dedup();
}
