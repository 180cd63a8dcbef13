//! What a restore consists of, as the scheduler sees it: tasks, the check that they can all be run, and their
//! priorities. Running them is up to `scheduler.rs`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::toc::{LockMode, Stage};

/// A task's index in the list that the scheduler was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u32);

impl TaskId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A relation in the caller's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationKey(pub u32);

/// One piece of work.
#[derive(Debug, Clone)]
pub struct Task {
    /// The tasks that must be done before; if one of them is not, neither is this.
    pub needs: Vec<TaskId>,
    /// The tasks that must be over before, however they ended.
    pub follows: Vec<TaskId>,
    /// The locks that it holds while it runs.
    pub locks: Vec<(RelationKey, LockMode)>,
    /// Orders ties; [`Stage::Privileges`] and [`Stage::Final`] wait for all tasks of earlier stages.
    pub stage: Stage,
    /// How long it takes, in any unit that is the same for all tasks (estimated microseconds or bytes).
    pub cost: u64,
    /// True if it wants much memory (index builds): no more than [`Limits::heavy_max`] of these run at once.
    pub heavy: bool,
}

impl Task {
    /// A task without needs and locks.
    pub fn new(stage: Stage, cost: u64) -> Task {
        Task {
            needs: Vec::new(),
            follows: Vec::new(),
            locks: Vec::new(),
            stage,
            cost,
            heavy: false,
        }
    }

    /// All that must be over before.
    fn before(&self) -> impl Iterator<Item = TaskId> {
        self.needs.iter().chain(&self.follows).copied()
    }
}

/// How much may run at once. The number of workers is the caller's: it asks for a task when a worker is free.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many heavy tasks may run at once; 0 counts as 1.
    pub heavy_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            heavy_max: usize::MAX,
        }
    }
}

/// Why a list of tasks can never be run to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanProblem {
    /// A need names no task.
    #[error("task {} needs task {}, which is not in the plan", .task.0, .need.0)]
    UnknownNeed {
        /// The task.
        task: TaskId,
        /// What it needs.
        need: TaskId,
    },
    /// Tasks need each other.
    #[error("tasks need each other: {}", numbers(.members))]
    Cycle {
        /// Each needs the next, the last needs the first.
        members: Vec<TaskId>,
    },
    /// A task needs one of [`Stage::Privileges`] or [`Stage::Final`], which waits for the task's own stage.
    #[error("task {} needs task {}, which waits for all tasks of earlier stages", .task.0, .need.0)]
    NeedsLaterStage {
        /// The task.
        task: TaskId,
        /// What it needs.
        need: TaskId,
    },
}

fn numbers(members: &[TaskId]) -> String {
    let numbers: Vec<String> = members.iter().map(|id| id.0.to_string()).collect();
    numbers.join(", ")
}

/// A checked list of tasks.
pub(super) struct Plan {
    /// By task: who needs it.
    pub(super) users: Vec<Vec<TaskId>>,
    /// By task: who follows it.
    pub(super) followers: Vec<Vec<TaskId>>,
    /// The order of urgency.
    pub(super) by_rank: Vec<TaskId>,
}

impl Plan {
    pub(super) fn new(tasks: &[Task]) -> Result<Plan, PlanProblem> {
        check_needs(tasks)?;
        let waiting = waiting_for(tasks, Task::before);
        let order = run_order(tasks, &waiting)?;
        let by_rank = by_priority(tasks, &waiting, &order);
        Ok(Plan {
            users: waiting_for(tasks, |task| task.needs.iter().copied()),
            followers: waiting_for(tasks, |task| task.follows.iter().copied()),
            by_rank,
        })
    }
}

/// Which of the three groups the stage belongs to; each group waits for those before it, the first for nothing.
pub(super) fn barrier(stage: Stage) -> usize {
    match stage {
        Stage::PreData | Stage::Data | Stage::PostData => 0,
        Stage::Privileges => 1,
        Stage::Final | Stage::Database => 2,
    }
}

fn check_needs(tasks: &[Task]) -> Result<(), PlanProblem> {
    for (number, task) in (0..).zip(tasks) {
        for need in task.before() {
            let id = TaskId(number);
            let needed = tasks.get(need.index());
            let needed = needed.ok_or(PlanProblem::UnknownNeed { task: id, need })?;
            if barrier(needed.stage) > barrier(task.stage) {
                return Err(PlanProblem::NeedsLaterStage { task: id, need });
            }
        }
    }
    Ok(())
}

/// By task: who waits for it, if each waits for those that `of` gives.
fn waiting_for<'a, I>(tasks: &'a [Task], of: impl Fn(&'a Task) -> I) -> Vec<Vec<TaskId>>
where
    I: Iterator<Item = TaskId>,
{
    let mut waiting = vec![Vec::new(); tasks.len()];
    for (number, task) in (0..).zip(tasks) {
        for awaited in of(task) {
            waiting[awaited.index()].push(TaskId(number));
        }
    }
    waiting
}

/// An order in which the tasks could be run one by one: by stage and number where needs leave it free.
fn run_order(tasks: &[Task], users: &[Vec<TaskId>]) -> Result<Vec<TaskId>, PlanProblem> {
    let mut left: Vec<usize> = tasks.iter().map(|task| task.before().count()).collect();
    let place = |id: TaskId| Reverse((tasks[id.index()].stage, id));
    let mut free: BinaryHeap<_> = (0..)
        .zip(&left)
        .filter(|(_, needs)| **needs == 0)
        .map(|(number, _)| place(TaskId(number)))
        .collect();
    let mut order = Vec::with_capacity(tasks.len());
    while let Some(Reverse((_, id))) = free.pop() {
        order.push(id);
        for user in &users[id.index()] {
            left[user.index()] -= 1;
            if left[user.index()] == 0 {
                free.push(place(*user));
            }
        }
    }
    match left.iter().position(|needs| *needs > 0) {
        None => Ok(order),
        Some(first) => Err(PlanProblem::Cycle {
            members: cycle_from(tasks, &left, first),
        }),
    }
}

/// Follows needs that were never met until a task comes again.
fn cycle_from(tasks: &[Task], left: &[usize], first: usize) -> Vec<TaskId> {
    let mut path: Vec<TaskId> = Vec::new();
    let mut seen_at = HashMap::new();
    let mut at = first;
    loop {
        if let Some(start) = seen_at.insert(at, path.len()) {
            return path.split_off(start);
        }
        let id = u32::try_from(at).expect("task numbers have 32 bits");
        path.push(TaskId(id));
        let unmet = tasks[at].before().filter(|need| left[need.index()] > 0);
        let next = unmet
            .min()
            .expect("a task is left over only if one of its needs is");
        at = next.index();
    }
}

/// All tasks, the longest way to the end first; ties by stage, then number.
fn by_priority(tasks: &[Task], users: &[Vec<TaskId>], run_order: &[TaskId]) -> Vec<TaskId> {
    let mut to_end = vec![0_u64; tasks.len()];
    for id in run_order.iter().rev() {
        let behind = users[id.index()].iter().map(|user| to_end[user.index()]);
        to_end[id.index()] = tasks[id.index()]
            .cost
            .saturating_add(behind.max().unwrap_or(0));
    }
    let mut order = run_order.to_vec();
    order.sort_by_key(|id| (Reverse(to_end[id.index()]), tasks[id.index()].stage, *id));
    order
}
