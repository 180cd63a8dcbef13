//! What a restore does, piece by piece: statements of an entry, tasks. Plain data; `plan` makes it, others run it.

use std::collections::BTreeSet;

use super::forbidden::Extra;
use super::journal::Line;
use super::load::Load;
use crate::graph::scheduler::{Task, TaskId};
use crate::toc::EntryId;

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
    /// What the journal says when it is done.
    pub(super) lines: Vec<Line>,
}

impl Unit {
    /// Statements that take nothing from the session's settings.
    pub(super) fn plain(entry: EntryId, statements: Vec<String>) -> Unit {
        Unit {
            entry,
            tablespace: None,
            access_method: None,
            statements,
            extras: Vec::new(),
            outside: false,
            lines: Vec::new(),
        }
    }
}

/// An entry of many that are made together if possible: one before the rows, or a small one after them.
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
    /// Makes small entries, together if possible. Those of which a need is missing are left out.
    Entries(Vec<Definition>),
    /// Loads rows, several small tables in one transaction if possible.
    Load(Vec<Load>),
    /// Stands for one load or entry of a task with several, so that others can need just that.
    Verdict {
        /// The task.
        of: TaskId,
        /// Which of its loads or entries.
        index: usize,
    },
    /// Collects statistics of tables, together if possible; a failure is only a warning.
    Analyze(Vec<Analyzed>),
}

/// A table whose statistics are collected.
#[derive(Debug)]
pub(super) struct Analyzed {
    /// The entry with its rows.
    pub(super) rows: EntryId,
    /// The table, as SQL.
    pub(super) target: String,
}

impl Work {
    /// True if its parts end each for itself, and each has a verdict.
    pub(super) fn has_verdicts(&self) -> bool {
        match self {
            Work::Load(loads) => loads.len() > 1,
            Work::Entries(_) => true,
            Work::Statements(_) | Work::Verdict { .. } | Work::Analyze(_) => false,
        }
    }
}

/// A task and what the scheduler must know of it.
#[derive(Debug)]
pub(super) struct PlannedTask {
    pub(super) task: Task,
    /// The entry that fails with it.
    pub(super) entry: EntryId,
    pub(super) work: Work,
}

impl PlannedTask {
    /// How many parts have a result of their own.
    pub(super) fn n_parts(&self) -> usize {
        match &self.work {
            Work::Statements(units) => units.len(),
            Work::Entries(list) => list.len(),
            Work::Load(loads) => loads.len(),
            Work::Analyze(tables) => tables.len(),
            Work::Verdict { .. } => 0,
        }
    }

    /// The entries that the task does something for.
    pub(super) fn entries(&self) -> Vec<EntryId> {
        match &self.work {
            Work::Statements(units) => units.iter().map(|unit| unit.entry).collect(),
            Work::Load(loads) => loads.iter().map(|load| load.entry).collect(),
            Work::Entries(list) => list.iter().map(|definition| definition.entry).collect(),
            Work::Verdict { .. } | Work::Analyze(_) => vec![self.entry],
        }
    }
}
