//! From chosen entries to tasks: which statements, in which transaction, after what, under which locks. Pure.
//! Definitions before the rows are a plain list that one connection runs in order; everything after is for the scheduler.

use std::collections::{BTreeMap, BTreeSet};

use super::forbidden::{Extra, absences, part_name};
use super::load::{self, Load};
use super::options::RestoreOptions;
use super::prove::Indexes;
use super::report::{Ledger, Loss, object_of};
use super::select::Selection;
use super::wanted::form_for;
use crate::graph::scheduler::{RelationKey, Task, TaskId};
use crate::pg::ServerVersion;
use crate::sql::{Ident, Sql, sql};
use crate::toc::{DataOf, Entry, EntryId, LockMode, Part, Stage, Step};

/// What a statement or an index of an empty table costs, in bytes of rows loaded in the same time.
const STATEMENT_COST: u64 = 64 << 10;
/// Entries whose grants run in one transaction.
const GRANTS_AT_ONCE: usize = 100;

/// Statements of one entry that run in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) entry: EntryId,
    /// `default_tablespace` and `default_table_access_method` while the statements run; `None` leaves them.
    pub(super) tablespace: Option<String>,
    pub(super) access_method: Option<String>,
    pub(super) statements: Vec<String>,
    /// Run after the statements; one that the target forbids is reported and takes nothing else away.
    pub(super) extras: Vec<Extra>,
    /// True if the statements cannot run inside a transaction block.
    pub(super) outside: bool,
}

/// An entry before the rows.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) entry: EntryId,
    pub(super) needs: BTreeSet<EntryId>,
    pub(super) units: Vec<Unit>,
}

/// What a task does.
#[derive(Debug)]
pub(super) enum Work {
    /// Runs statements, together if possible, one entry at a time if not.
    Statements(Vec<Unit>),
    /// Loads rows, several small tables in one transaction if possible.
    Load(Vec<Load>),
    /// Stands for one load of a task with several, so that others can need just that.
    Verdict {
        /// The task.
        of: TaskId,
        /// Which of its loads.
        index: usize,
    },
    /// Collects statistics; a failure is only a warning.
    Analyze {
        /// The table, as SQL.
        target: String,
    },
}

/// A task and what the scheduler must know of it.
#[derive(Debug)]
pub(super) struct PlannedTask {
    pub(super) task: Task,
    /// The entry that fails with it.
    pub(super) entry: EntryId,
    pub(super) work: Work,
}

/// What decides over the shape of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanCx<'a> {
    pub(super) selection: &'a Selection,
    pub(super) options: &'a RestoreOptions,
    /// The target's version.
    pub(super) version: ServerVersion,
    /// The archive's encoding.
    pub(super) encoding: &'a str,
    /// False if the restoring role is a superuser.
    pub(super) is_ordinary: bool,
    /// Roles of providers or other versions that the target does not have: what they own or get is left out.
    pub(super) absent: &'a BTreeSet<String>,
    /// True if tables must be loaded one after another, in TOC order, because foreign keys watch them.
    pub(super) one_by_one: bool,
}

impl PlanCx<'_> {
    fn text(&self, statement: &Sql) -> String {
        let mut text = statement.text();
        // RESET SESSION AUTHORIZATION takes the role of the session back too (manual, SET SESSION AUTHORIZATION).
        if let Some(role) = &self.options.role
            && (text.contains("RESET SESSION AUTHORIZATION") || text.ends_with("; RESET ROLE"))
        {
            text.push_str(&sql!["; SET ROLE ", Ident::new(role)].text());
        }
        text
    }

    fn unit(&self, entry: &Entry, statements: &[Sql], outside: bool) -> Unit {
        let keep_tablespace = !self.options.no_tablespaces;
        Unit {
            entry: entry.id,
            tablespace: entry.tablespace.clone().filter(|_| keep_tablespace),
            access_method: entry.access_method.clone(),
            statements: statements.iter().map(|sql| self.text(sql)).collect(),
            extras: Vec::new(),
            outside,
        }
    }

    fn with_extras(&self, mut unit: Unit, extras: impl IntoIterator<Item = (Part, Sql)>) -> Unit {
        let extra = |(part, sql): (Part, Sql)| Extra {
            part: part_name(part),
            statement: self.text(&sql),
        };
        unit.extras.extend(extras.into_iter().map(extra));
        unit
    }

    /// True if a role that the statement names is not to be had.
    fn names_absent(&self, sql: &Sql) -> bool {
        sql.roles().any(|role| self.absent.contains(role))
    }

    /// What runs right after creation: owner, comments, labels.
    fn afterwards(&self, entry: &Entry) -> Vec<(Part, Sql)> {
        let owner = entry.owner.as_ref().filter(|_| !self.options.no_owner);
        let owner = owner.map(|owner| sql!["ALTER ", &owner.target, " OWNER TO ", &owner.role]);
        let owner = owner.map(|sql| (Part::Owner, sql));
        let keep = |part: Part| match part {
            Part::Comment => !self.options.no_comments,
            Part::Owner => !self.options.no_owner,
            Part::Acl => !self.options.no_privileges,
            _ => true,
        };
        let after = entry.after.iter().filter(|(part, _)| keep(*part));
        owner
            .into_iter()
            .chain(after.cloned())
            .filter(|(_, sql)| !self.names_absent(sql))
            .collect()
    }

    fn steps<'e>(&self, entry: &'e Entry) -> &'e [Step] {
        form_for(entry, self.version).map_or(&[], |form| &form.steps)
    }

    /// One unit per step; what follows creation goes with the last one.
    fn units(&self, entry: &Entry) -> Vec<Unit> {
        let mut units: Vec<Unit> = self
            .steps(entry)
            .iter()
            .map(|step| self.unit(entry, &step.sql, step.outside_transaction))
            .collect();
        let afterwards = self.afterwards(entry);
        match units.last_mut() {
            _ if afterwards.is_empty() => {}
            Some(last) if !last.outside => {
                let unit = units.pop().expect("it was just looked at");
                units.push(self.with_extras(unit, afterwards));
            }
            _ => units.push(self.with_extras(self.unit(entry, &[], false), afterwards)),
        }
        units
    }

    fn grants(&self, entry: &Entry) -> Option<Unit> {
        if self.options.no_privileges || entry.grants.is_empty() {
            return None;
        }
        let statement = if self.is_ordinary {
            crate::toc::Grant::statement_of_member
        } else {
            crate::toc::Grant::statement
        };
        let grants = entry.grants.iter().map(statement);
        let grants = grants.filter(|sql| !self.names_absent(sql));
        let unit = self.unit(entry, &[], false);
        Some(self.with_extras(unit, grants.map(|sql| (Part::Acl, sql))))
    }
}

/// The entries before the rows, in TOC order.
pub(super) fn definitions(cx: &PlanCx<'_>) -> Vec<Definition> {
    let entries = cx
        .selection
        .iter()
        .filter(|entry| entry.stage == Stage::PreData);
    entries
        .map(|entry| {
            let mut units = cx.units(entry);
            // Steps before the rows need no pause between them.
            units.dedup_by(|next, unit| {
                let joins = !unit.outside && !next.outside;
                if joins {
                    unit.statements.append(&mut next.statements);
                    unit.extras.append(&mut next.extras);
                }
                joins
            });
            Definition {
                entry: entry.id,
                needs: cx.selection.needs(entry.id),
                units,
            }
        })
        .collect()
}

/// What the target's version cannot have of the chosen entries, and what has to do without a provider's role.
pub(super) fn losses(cx: &PlanCx<'_>) -> Vec<Loss> {
    let lost = |entry: &Entry| {
        let what = form_for(entry, cx.version)?.lost.clone()?;
        Some(Loss {
            object: object_of(entry),
            what,
        })
    };
    let mut lost: Vec<Loss> = cx.selection.iter().filter_map(lost).collect();
    lost.extend(absences(cx));
    lost
}

/// Everything after the definitions. Entries that need one which `ledger` knows to be missing are skipped there.
pub(super) fn tasks(cx: &PlanCx<'_>, indexes: &Indexes, ledger: &mut Ledger) -> Vec<PlannedTask> {
    let mut builder = Builder::new(cx, indexes);
    let mut entries = Vec::new();
    for entry in cx.selection.iter() {
        if entry.stage == Stage::PreData || is_skipped(cx, entry, ledger) {
            continue;
        }
        entries.push(entry);
    }
    builder.rows(&entries, ledger);
    for entry in &entries {
        builder.statements(entry);
    }
    builder.wire(&entries);
    builder.privileges(ledger);
    builder.tasks
}

fn is_skipped(cx: &PlanCx<'_>, entry: &Entry, ledger: &mut Ledger) -> bool {
    let table = match &entry.data {
        Some(DataOf::Table { table, .. }) => *table,
        _ => None,
    };
    let mut needs = cx.selection.needs(entry.id);
    needs.extend(table);
    let cause = needs.into_iter().find(|need| ledger.is_bad(*need));
    if let Some(cause) = cause {
        ledger.skip(entry, cause);
    }
    cause.is_some()
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
        for entry in entries {
            self.note_table(entry);
        }
    }

    /// Remembers whose rows an entry has, and plans the table's ANALYZE.
    fn note_table(&mut self, entry: &Entry) {
        let Some(DataOf::Table { target, table, .. }) = &entry.data else {
            return;
        };
        let Some(index) = self.indexes.get(&entry.id) else {
            return;
        };
        if let Some(table) = table {
            let (rows, n_bytes) = self.rows_of.entry(*table).or_default();
            rows.push(entry.id);
            *n_bytes = n_bytes.saturating_add(index.n_bytes);
        }
        if !self.cx.options.analyze || index.n_rows == 0 {
            return;
        }
        // The sample is bounded, so are the costs.
        let cost = STATEMENT_COST + (index.n_bytes / 16).min(16 << 20);
        let mut task = Task::new(Stage::Data, cost);
        task.needs = self.ends.get(&entry.id).cloned().unwrap_or_default();
        let key = RelationKey(table.unwrap_or(entry.id).0);
        task.locks = vec![(key, LockMode::ShareUpdateExclusive)];
        let target = target.text();
        let id = self.push(entry.id, task, Work::Analyze { target });
        self.analyzes.insert(table.unwrap_or(entry.id), id);
    }

    /// A chain of one task per step.
    fn statements(&mut self, entry: &Entry) {
        let steps = self.cx.steps(entry);
        let units = self.cx.units(entry);
        let mut previous: Option<TaskId> = None;
        for (at, unit) in units.into_iter().enumerate() {
            let step = steps.get(at);
            let locks = step.map_or(&[][..], |step| &step.locks);
            let tables: BTreeSet<EntryId> = locks.iter().map(|(table, _)| *table).collect();
            let is_last = at + 1 == steps.len();
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
            task.heavy = heavy;
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
            previous = Some(id);
        }
        if let Some(last) = previous {
            self.ends.insert(entry.id, vec![last]);
        }
    }

    /// Needs between entries become needs between tasks.
    fn wire(&mut self, entries: &[&Entry]) {
        for entry in entries {
            let mut wanted = self.cx.selection.needs(entry.id);
            if entry.stage > Stage::Data {
                // After the rows, a table means its rows too.
                let locks = self.cx.steps(entry).iter().flat_map(|step| &step.locks);
                let tables = wanted.iter().copied().chain(locks.map(|(table, _)| *table));
                let rows = tables.filter_map(|table| self.rows_of.get(&table));
                let rows: Vec<EntryId> = rows.flat_map(|(rows, _)| rows.clone()).collect();
                wanted.extend(rows);
            }
            let ends = wanted.iter().filter_map(|need| self.ends.get(need));
            let ends: Vec<TaskId> = ends.flatten().copied().collect();
            for start in self.starts.get(&entry.id).into_iter().flatten() {
                add_needs(&mut self.tasks[start.0 as usize].task, *start, &ends);
            }
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
            .filter(|entry| !ledger.is_bad(entry.id))
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
