//! The restore scheduler as a value: which task may start now. Pure; the executor owns connections and clocks.
//!
//! Needs and locks hold a task back; beside these privileges wait for everything before them, and the final stage for
//! everything before that. Of the tasks that may start, the one with the longest way to the end starts first: not the
//! largest, but the one that most is waiting behind.
//!
//! A blocked task waits at the one *gate* that stopped it, and is looked at again only when that gate opens, so
//! thousands of tasks that wait for one table cost nothing while others start.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

pub use super::tasks::{Limits, PlanProblem, RelationKey, Task, TaskId};
use super::tasks::{Plan, barrier};
use crate::toc::LockMode;

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its dependents may run.
    Done,
    /// Its dependents are skipped, and theirs.
    Failed,
}

/// What may hold a ready task back. Ordered only to be a map's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    /// As many heavy tasks as may run are running.
    Heavy,
    /// The lock on the relation (in dense numbers) conflicts with a running task's.
    Lock(u32, LockMode),
}

const MODES: [LockMode; 8] = [
    LockMode::AccessShare,
    LockMode::RowShare,
    LockMode::RowExclusive,
    LockMode::ShareUpdateExclusive,
    LockMode::Share,
    LockMode::ShareRowExclusive,
    LockMode::Exclusive,
    LockMode::AccessExclusive,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Settled,
}

/// A task's place in the order of priority; 0 starts first.
type Rank = u32;

/// Decides what starts next. See the module's text for the rules.
#[derive(Debug)]
pub struct Scheduler {
    tasks: Vec<Planned>,
    by_rank: Vec<TaskId>,
    heavy_max: usize,
    /// By dense relation number and mode: how many running tasks hold the lock.
    held: Vec<[u32; MODES.len()]>,
    heavy_running: usize,
    running: usize,
    /// Not yet done, failed or skipped: before privileges, privileges, final.
    remaining: [usize; 3],
    /// Tasks with all needs met, and the gate each was called from, if any.
    ready: BinaryHeap<Reverse<(Rank, Option<Gate>)>>,
    parked: BTreeMap<Gate, BinaryHeap<Reverse<Rank>>>,
    /// Tasks with all needs met that wait for the stages before theirs.
    behind_stages: [Vec<TaskId>; 3],
    skipped: Vec<(TaskId, TaskId)>,
}

/// A task as the scheduler keeps it.
#[derive(Debug)]
struct Planned {
    users: Vec<TaskId>,
    followers: Vec<TaskId>,
    /// In dense relation numbers, sorted, without repetition.
    locks: Vec<(u32, LockMode)>,
    /// Needs that are not done and followed tasks that are not over.
    needs_left: usize,
    rank: Rank,
    barrier: usize,
    heavy: bool,
    state: State,
}

impl Scheduler {
    /// Checks the plan and works out priorities.
    ///
    /// # Errors
    /// [`PlanProblem`] if the tasks could never all be run.
    pub fn new(tasks: Vec<Task>, limits: Limits) -> Result<Scheduler, PlanProblem> {
        let Plan {
            users,
            followers,
            by_rank,
        } = Plan::new(&tasks)?;
        let mut remaining = [0; 3];
        let mut relations = HashMap::new();
        let mut planned: Vec<Planned> = Vec::with_capacity(tasks.len());
        for (task, waiting) in tasks.into_iter().zip(users.into_iter().zip(followers)) {
            remaining[barrier(task.stage)] += 1;
            planned.push(Planned::new(&task, waiting, &mut relations));
        }
        for (rank, id) in (0..).zip(&by_rank) {
            planned[id.index()].rank = rank;
        }
        let mut scheduler = Scheduler {
            tasks: planned,
            by_rank,
            heavy_max: limits.heavy_max.max(1),
            held: vec![[0; MODES.len()]; relations.len()],
            heavy_running: 0,
            running: 0,
            remaining,
            ready: BinaryHeap::new(),
            parked: BTreeMap::new(),
            behind_stages: [const { Vec::new() }; 3],
            skipped: Vec::new(),
        };
        for id in scheduler.by_rank.clone() {
            if scheduler.tasks[id.index()].needs_left == 0 {
                scheduler.needs_met(id);
            }
        }
        Ok(scheduler)
    }

    /// Starts the most urgent task that may start now. `None` if nothing can until a running task ends.
    /// The caller must [`finish`](Scheduler::finish) every task that it started.
    pub fn start_next(&mut self) -> Option<TaskId> {
        while let Some(Reverse((rank, called_from))) = self.ready.pop() {
            let id = self.by_rank[rank as usize];
            let blocked_by = self.blocked_by(id);
            match blocked_by {
                Some(gate) => self.parked.entry(gate).or_default().push(Reverse(rank)),
                None => self.start(id),
            }
            // The gate may have room for another, whether this one went through or waits elsewhere.
            if let Some(gate) = called_from {
                self.call_from(gate);
            }
            if blocked_by.is_none() {
                return Some(id);
            }
        }
        None
    }

    /// Records how a started task ended. Returns the tasks that are skipped because of it, ascending.
    ///
    /// # Panics
    /// If the task is not running.
    pub fn finish(&mut self, id: TaskId, outcome: Outcome) -> Vec<TaskId> {
        let task = &self.tasks[id.index()];
        assert_eq!(task.state, State::Running, "task {} is not running", id.0);
        self.running -= 1;
        let heavy = task.heavy;
        let locks = task.locks.clone();
        for (relation, mode) in &locks {
            self.held[*relation as usize][*mode as usize] -= 1;
        }
        for (relation, _) in &locks {
            for mode in MODES {
                self.call_from(Gate::Lock(*relation, mode));
            }
        }
        if heavy {
            self.heavy_running -= 1;
            self.call_from(Gate::Heavy);
        }
        let mut skipped = Vec::new();
        match outcome {
            Outcome::Done => self.release(&self.tasks[id.index()].users.clone()),
            Outcome::Failed => skipped = self.skip_users(id),
        }
        self.settle(id);
        for over in std::iter::once(id).chain(skipped.iter().copied()) {
            self.release(&self.tasks[over.index()].followers.clone());
        }
        self.open_stages();
        skipped
    }

    /// True when every task is done, failed or skipped.
    pub fn is_done(&self) -> bool {
        self.remaining == [0; 3]
    }

    /// True if tasks are left, none runs and none can start. [`Scheduler::new`] refuses the plans that could
    /// come to this, so it is a defect if it ever happens; an executor checks it rather than wait for ever.
    pub fn is_stuck(&self) -> bool {
        !self.is_done() && self.running == 0 && self.ready.is_empty()
    }

    /// The skipped tasks, each with the failed task that is the cause, in the order in which they were skipped.
    pub fn skipped(&self) -> &[(TaskId, TaskId)] {
        &self.skipped
    }

    /// How many tasks run now.
    pub fn n_running(&self) -> usize {
        self.running
    }

    /// How many tasks are neither done nor failed nor skipped.
    pub fn n_remaining(&self) -> usize {
        self.remaining.iter().sum()
    }

    fn is_stage_open(&self, barrier: usize) -> bool {
        self.remaining[..barrier]
            .iter()
            .all(|n_tasks| *n_tasks == 0)
    }

    fn start(&mut self, id: TaskId) {
        let task = &mut self.tasks[id.index()];
        task.state = State::Running;
        for (relation, mode) in &task.locks {
            self.held[*relation as usize][*mode as usize] += 1;
        }
        self.heavy_running += usize::from(task.heavy);
        self.running += 1;
    }

    /// One of the tasks that each of these waits for is over.
    fn release(&mut self, waiting: &[TaskId]) {
        for id in waiting {
            let task = &mut self.tasks[id.index()];
            task.needs_left -= 1;
            if task.needs_left == 0 {
                self.needs_met(*id);
            }
        }
    }

    fn needs_met(&mut self, id: TaskId) {
        let task = &self.tasks[id.index()];
        if self.is_stage_open(task.barrier) {
            self.ready.push(Reverse((task.rank, None)));
        } else {
            self.behind_stages[task.barrier].push(id);
        }
    }

    fn open_stages(&mut self) {
        for barrier in 0..self.behind_stages.len() {
            if self.is_stage_open(barrier) {
                for id in std::mem::take(&mut self.behind_stages[barrier]) {
                    self.ready
                        .push(Reverse((self.tasks[id.index()].rank, None)));
                }
            }
        }
    }

    fn blocked_by(&self, id: TaskId) -> Option<Gate> {
        let task = &self.tasks[id.index()];
        let heavy = task.heavy.then_some(Gate::Heavy);
        let locks = task
            .locks
            .iter()
            .map(|(relation, mode)| Gate::Lock(*relation, *mode));
        heavy
            .into_iter()
            .chain(locks)
            .find(|gate| !self.is_open(*gate))
    }

    fn is_open(&self, gate: Gate) -> bool {
        match gate {
            Gate::Heavy => self.heavy_running < self.heavy_max,
            Gate::Lock(relation, wanted) => {
                let held = MODES.iter().zip(self.held[relation as usize]);
                held.filter(|(_, holders)| *holders > 0)
                    .all(|(mode, _)| !wanted.conflicts(*mode))
            }
        }
    }

    /// Calls the most urgent task that waits at the gate, if the gate is open. One at a time: when that one has
    /// passed or waits elsewhere, `start_next` calls again. So while a gate is open, either nobody waits at it or
    /// one of its tasks is in `ready`.
    fn call_from(&mut self, gate: Gate) {
        if !self.is_open(gate) {
            return;
        }
        let Some(waiting) = self.parked.get_mut(&gate) else {
            return;
        };
        if let Some(Reverse(rank)) = waiting.pop() {
            self.ready.push(Reverse((rank, Some(gate))));
        }
        if waiting.is_empty() {
            self.parked.remove(&gate);
        }
    }

    fn settle(&mut self, id: TaskId) {
        let task = &mut self.tasks[id.index()];
        task.state = State::Settled;
        self.remaining[task.barrier] -= 1;
    }

    fn skip_users(&mut self, cause: TaskId) -> Vec<TaskId> {
        let mut skipped = Vec::new();
        let mut open = vec![cause];
        while let Some(id) = open.pop() {
            for user in self.tasks[id.index()].users.clone() {
                // A task with a failed need never had all its needs met, so it stands in no queue.
                if self.tasks[user.index()].state == State::Waiting {
                    self.settle(user);
                    skipped.push(user);
                    open.push(user);
                }
            }
        }
        skipped.sort_unstable();
        self.skipped.extend(skipped.iter().map(|id| (*id, cause)));
        skipped
    }
}

impl Planned {
    fn new(
        task: &Task,
        (users, followers): (Vec<TaskId>, Vec<TaskId>),
        relations: &mut HashMap<RelationKey, u32>,
    ) -> Planned {
        let mut locks = Vec::with_capacity(task.locks.len());
        for (relation, mode) in &task.locks {
            let next = u32::try_from(relations.len()).expect("relation keys have 32 bits");
            locks.push((*relations.entry(*relation).or_insert(next), *mode));
        }
        locks.sort_unstable();
        locks.dedup();
        Planned {
            users,
            followers,
            locks,
            needs_left: task.needs.len() + task.follows.len(),
            rank: 0,
            barrier: barrier(task.stage),
            heavy: task.heavy,
            state: State::Waiting,
        }
    }
}
