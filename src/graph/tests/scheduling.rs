//! The scheduler: named examples, properties against a slow model of the rules, makespans, and its speed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use proptest::prelude::*;

use super::super::scheduler::{Limits, Outcome, PlanProblem, RelationKey, Scheduler, Task, TaskId};
use super::Dice;
use crate::toc::LockMode::{self, AccessExclusive, RowExclusive, Share, ShareRowExclusive};
use crate::toc::Stage::{self, Data, Final, PostData, PreData, Privileges};

fn task(stage: Stage, cost: u64, needs: &[u32]) -> Task {
    Task {
        needs: needs.iter().map(|need| TaskId(*need)).collect(),
        ..Task::new(stage, cost)
    }
}

fn locking(cost: u64, locks: &[(u32, LockMode)]) -> Task {
    Task {
        locks: locks
            .iter()
            .map(|(key, mode)| (RelationKey(*key), *mode))
            .collect(),
        ..Task::new(PostData, cost)
    }
}

fn scheduler(tasks: Vec<Task>) -> Scheduler {
    Scheduler::new(tasks, Limits::default()).expect("a plan that can be run")
}

fn start_all(scheduler: &mut Scheduler) -> Vec<u32> {
    std::iter::from_fn(|| scheduler.start_next())
        .map(|id| id.0)
        .collect()
}

#[test]
fn the_longest_way_to_the_end_starts_first() {
    // The small table 1 has a large index (2) and a foreign key (3) behind it; table 0 is larger but stands alone.
    let tasks = vec![
        task(Data, 50, &[]),
        task(Data, 10, &[]),
        task(PostData, 40, &[1]),
        task(PostData, 30, &[2]),
        task(Data, 50, &[]),
    ];
    let mut scheduler = scheduler(tasks);
    assert_eq!(start_all(&mut scheduler), [1, 0, 4]);
    scheduler.finish(TaskId(1), Outcome::Done);
    assert_eq!(start_all(&mut scheduler), [2]);
    assert_eq!((scheduler.n_running(), scheduler.n_remaining()), (3, 4));
}

#[test]
fn indexes_of_a_table_run_together_and_foreign_keys_do_not() {
    let tasks = vec![
        locking(9, &[(1, ShareRowExclusive), (2, ShareRowExclusive)]),
        locking(8, &[(1, Share)]),
        locking(7, &[(1, Share)]),
        locking(6, &[(3, ShareRowExclusive), (2, ShareRowExclusive)]),
        locking(5, &[(3, Share)]),
    ];
    let mut scheduler = scheduler(tasks);
    assert_eq!(start_all(&mut scheduler), [0, 4]);
    scheduler.finish(TaskId(0), Outcome::Done);
    assert_eq!(start_all(&mut scheduler), [1, 2]);
    scheduler.finish(TaskId(4), Outcome::Done);
    assert_eq!(start_all(&mut scheduler), [3]);
}

#[test]
fn both_modes_of_one_task_on_one_relation_count() {
    let both = locking(9, &[(1, Share), (1, RowExclusive), (1, Share)]);
    let mut scheduler = scheduler(vec![both, locking(1, &[(1, Share)]), locking(1, &[])]);
    assert_eq!(start_all(&mut scheduler), [0, 2]);
    scheduler.finish(TaskId(0), Outcome::Done);
    assert_eq!(start_all(&mut scheduler), [1]);
}

#[test]
fn only_so_many_heavy_tasks_run_at_once() {
    let heavy = |cost| Task {
        heavy: true,
        ..Task::new(PostData, cost)
    };
    let tasks = vec![heavy(9), heavy(8), heavy(7), Task::new(PostData, 1)];
    let mut scheduler = Scheduler::new(tasks, Limits { heavy_max: 2 }).unwrap();
    assert_eq!(start_all(&mut scheduler), [0, 1, 3]);
    scheduler.finish(TaskId(3), Outcome::Done);
    assert!(start_all(&mut scheduler).is_empty());
    scheduler.finish(TaskId(1), Outcome::Failed);
    assert_eq!(start_all(&mut scheduler), [2]);
}

#[test]
fn a_cap_of_no_heavy_task_lets_one_run() {
    let heavy = Task {
        heavy: true,
        ..Task::new(PostData, 1)
    };
    let mut scheduler =
        Scheduler::new(vec![heavy.clone(), heavy], Limits { heavy_max: 0 }).unwrap();
    assert_eq!(start_all(&mut scheduler), [0]);
}

#[test]
fn privileges_and_the_final_stage_wait_for_all_before() {
    let tasks = vec![
        task(Final, 99, &[]),
        task(Privileges, 99, &[]),
        task(PostData, 1, &[]),
        task(PreData, 1, &[]),
    ];
    let mut scheduler = scheduler(tasks);
    assert_eq!(start_all(&mut scheduler), [3, 2]);
    scheduler.finish(TaskId(2), Outcome::Failed);
    assert!(start_all(&mut scheduler).is_empty());
    scheduler.finish(TaskId(3), Outcome::Done);
    assert_eq!(start_all(&mut scheduler), [1]);
    scheduler.finish(TaskId(1), Outcome::Done);
    assert_eq!(start_all(&mut scheduler), [0]);
    scheduler.finish(TaskId(0), Outcome::Done);
    assert!(scheduler.is_done() && !scheduler.is_stuck());
}

#[test]
fn a_failure_skips_what_depends_on_it_and_says_why() {
    let tasks = vec![
        task(Data, 1, &[]),
        task(PostData, 1, &[0]),
        task(PostData, 1, &[1, 3]),
        task(Data, 1, &[]),
        task(Final, 1, &[]),
    ];
    let mut scheduler = scheduler(tasks);
    assert_eq!(start_all(&mut scheduler), [0, 3]);
    assert_eq!(
        scheduler.finish(TaskId(0), Outcome::Failed),
        [TaskId(1), TaskId(2)]
    );
    assert_eq!(scheduler.finish(TaskId(3), Outcome::Failed), []);
    let because = [(TaskId(1), TaskId(0)), (TaskId(2), TaskId(0))];
    assert_eq!(scheduler.skipped(), because);
    assert_eq!(start_all(&mut scheduler), [4]);
}

#[test]
fn plans_that_cannot_be_run_are_refused() {
    let refused = |tasks: Vec<Task>| Scheduler::new(tasks, Limits::default()).unwrap_err();
    let problem = refused(vec![task(Data, 1, &[7])]);
    assert_eq!(
        problem.to_string(),
        "task 0 needs task 7, which is not in the plan"
    );
    let problem = refused(vec![
        task(Data, 1, &[3]),
        task(Data, 1, &[2]),
        task(Data, 1, &[3]),
        task(Data, 1, &[4, 1]),
        task(Data, 1, &[]),
    ]);
    let members = vec![TaskId(3), TaskId(1), TaskId(2)];
    assert_eq!(problem, PlanProblem::Cycle { members });
    assert_eq!(problem.to_string(), "tasks need each other: 3, 1, 2");
    let itself = refused(vec![task(Data, 1, &[0])]);
    assert_eq!(
        itself,
        PlanProblem::Cycle {
            members: vec![TaskId(0)]
        }
    );
    let later = refused(vec![task(PostData, 1, &[1]), task(Privileges, 1, &[])]);
    let (task, need) = (TaskId(0), TaskId(1));
    assert_eq!(later, PlanProblem::NeedsLaterStage { task, need });
}

#[test]
fn an_empty_plan_is_done() {
    let mut scheduler = scheduler(Vec::new());
    assert!(scheduler.is_done() && scheduler.start_next().is_none());
}

/// The rules, word by word, by looking at every task each time.
struct Model {
    tasks: Vec<Task>,
    heavy_max: usize,
    to_end: Vec<u64>,
    running: BTreeSet<usize>,
    done: BTreeSet<usize>,
    gone: BTreeSet<usize>,
}

impl Model {
    fn new(tasks: Vec<Task>, heavy_max: usize) -> Model {
        Model {
            to_end: (0..tasks.len()).map(|at| way_to_end(&tasks, at)).collect(),
            tasks,
            heavy_max,
            running: BTreeSet::new(),
            done: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    fn is_settled(&self, at: usize) -> bool {
        self.done.contains(&at) || self.gone.contains(&at)
    }

    fn is_ready(&self, at: usize) -> bool {
        let task = &self.tasks[at];
        let before = |other: &usize| {
            let stage = self.tasks[*other].stage;
            task.stage >= Privileges && stage < task.stage
        };
        !self.is_settled(at)
            && !self.running.contains(&at)
            && task
                .needs
                .iter()
                .all(|need| self.done.contains(&(need.0 as usize)))
            && (0..self.tasks.len())
                .filter(before)
                .all(|other| self.is_settled(other))
    }

    fn conflicts(&self, at: usize) -> bool {
        let locks = |at: usize| self.tasks[at].locks.iter();
        self.running.iter().any(|other| {
            locks(*other).any(|(relation, held)| {
                locks(at).any(|(key, wanted)| key == relation && wanted.conflicts(*held))
            })
        })
    }

    fn next(&self) -> Option<usize> {
        let heavy = self
            .running
            .iter()
            .filter(|at| self.tasks[**at].heavy)
            .count();
        let all = 0..self.tasks.len();
        all.filter(|at| self.is_ready(*at) && !self.conflicts(*at))
            .filter(|at| !self.tasks[*at].heavy || heavy < self.heavy_max)
            .min_by_key(|at| (Reverse(self.to_end[*at]), self.tasks[*at].stage, *at))
    }

    fn skip_users(&mut self, cause: usize) -> Vec<usize> {
        let mut skipped = BTreeSet::from([cause]);
        for at in one_by_one(&self.tasks) {
            if self.tasks[at]
                .needs
                .iter()
                .any(|need| skipped.contains(&(need.0 as usize)))
            {
                skipped.insert(at);
            }
        }
        skipped.remove(&cause);
        skipped.retain(|at| self.gone.insert(*at));
        skipped.into_iter().collect()
    }
}

/// In generated plans needs have smaller numbers.
fn way_to_end(tasks: &[Task], at: usize) -> u64 {
    let users = (at + 1..tasks.len())
        .filter(|user| tasks[*user].needs.iter().any(|need| need.0 as usize == at));
    tasks[at].cost + users.map(|user| way_to_end(tasks, user)).max().unwrap_or(0)
}

fn one_by_one(tasks: &[Task]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < tasks.len() {
        let free = (0..tasks.len()).filter(|at| {
            let mut needs = tasks[*at].needs.iter();
            !order.contains(at) && needs.all(|need| order.contains(&(need.0 as usize)))
        });
        order.push(
            free.min_by_key(|at| (tasks[*at].stage, *at))
                .expect("no cycle"),
        );
    }
    order
}

const MODES: [LockMode; 5] = [
    LockMode::AccessShare,
    RowExclusive,
    Share,
    ShareRowExclusive,
    AccessExclusive,
];
const STAGES: [Stage; 5] = [PreData, Data, PostData, Privileges, Final];

fn any_tasks() -> impl Strategy<Value = Vec<Task>> {
    let draw = (
        0_usize..8,
        0_u64..6,
        proptest::collection::vec(0_u32..64, 0..3),
        proptest::collection::vec((0_u32..4, 0_usize..MODES.len()), 0..3),
        0_u8..3,
    );
    proptest::collection::vec(draw, 0..16).prop_map(|draws| {
        let mut tasks: Vec<Task> = Vec::new();
        for (at, (stage, cost, needs, locks, heavy)) in (0..).zip(draws) {
            let stage = STAGES[stage.saturating_sub(3)];
            let needs = needs
                .into_iter()
                .filter(|_| at > 0)
                .map(|need| TaskId(need % at));
            let locks = locks
                .into_iter()
                .map(|(key, mode)| (RelationKey(key * 1000), MODES[mode]));
            let in_time = |need: &TaskId| {
                let needed = tasks[need.0 as usize].stage;
                needed <= stage.max(PostData)
            };
            tasks.push(Task {
                needs: needs.filter(in_time).collect(),
                locks: locks.collect(),
                heavy: heavy == 0,
                ..Task::new(stage, cost)
            });
        }
        tasks
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every choice is the model's: so no conflict ever runs, needs hold, and the most urgent goes first.
    /// In the end all were run or skipped for a reason.
    #[test]
    fn the_scheduler_does_what_the_rules_say(
        tasks in any_tasks(), heavy_max in 1_usize..3, workers in 1_usize..5, seed: u64,
    ) {
        let mut dice = Dice(seed);
        let mut model = Model::new(tasks.clone(), heavy_max);
        let mut scheduler = Scheduler::new(tasks.clone(), Limits { heavy_max }).unwrap();
        let mut failed = BTreeMap::new();
        while !scheduler.is_done() {
            while model.running.len() < workers {
                prop_assert!(!scheduler.is_stuck());
                let started = scheduler.start_next();
                prop_assert_eq!(started.map(|id| id.0 as usize), model.next());
                let Some(id) = started else { break };
                model.running.insert(id.0 as usize);
            }
            prop_assert!(!model.running.is_empty(), "something runs until all is done");
            prop_assert_eq!(scheduler.n_running(), model.running.len());
            let at = dice.below(model.running.len());
            let at = *model.running.iter().nth(at).unwrap();
            model.running.remove(&at);
            let id = TaskId(u32::try_from(at).unwrap());
            if dice.below(6) == 0 {
                model.gone.insert(at);
                let skipped = scheduler.finish(id, Outcome::Failed);
                let skipped: Vec<usize> = skipped.iter().map(|id| id.0 as usize).collect();
                prop_assert_eq!(&skipped, &model.skip_users(at));
                failed.insert(at, skipped);
            } else {
                model.done.insert(at);
                prop_assert_eq!(scheduler.finish(id, Outcome::Done), vec![]);
            }
        }
        prop_assert!((0..tasks.len()).all(|at| model.is_settled(at)));
        prop_assert_eq!(scheduler.n_remaining(), 0);
        for (id, because) in scheduler.skipped() {
            prop_assert!(failed[&(because.0 as usize)].contains(&(id.0 as usize)));
        }
    }
}

/// Runs the plan on two workers in simulated time.
fn makespan(tasks: &[Task], mut next: impl FnMut(Option<usize>) -> Option<usize>) -> u64 {
    let (mut now, mut running) = (0, BTreeSet::new());
    let mut ended = None;
    loop {
        while running.len() < 2
            && let Some(at) = next(ended.take())
        {
            running.insert((now + tasks[at].cost, at));
        }
        let Some((end, at)) = running.pop_first() else {
            return now;
        };
        (now, ended) = (end, Some(at));
    }
}

fn largest_first(tasks: &[Task]) -> impl FnMut(Option<usize>) -> Option<usize> {
    let (mut started, mut done) = (BTreeSet::new(), BTreeSet::new());
    move |ended| {
        done.extend(ended);
        let ready = (0..tasks.len()).filter(|at| {
            let mut needs = tasks[*at].needs.iter();
            !started.contains(at) && needs.all(|need| done.contains(&(need.0 as usize)))
        });
        let next = ready.max_by_key(|at| (tasks[*at].cost, Reverse(*at)))?;
        started.insert(next);
        Some(next)
    }
}

fn longest_way_first(tasks: &[Task]) -> impl FnMut(Option<usize>) -> Option<usize> {
    let mut scheduler = scheduler(tasks.to_vec());
    move |ended| {
        if let Some(at) = ended {
            let id = u32::try_from(at).expect("a small plan");
            scheduler.finish(TaskId(id), Outcome::Done);
        }
        scheduler.start_next().map(|id| id.0 as usize)
    }
}

#[test]
fn the_longest_way_beats_the_largest_task_in_the_mean() {
    let mut dice = Dice(42);
    let (mut largest, mut longest) = (0, 0);
    for _ in 0..400 {
        let n_tasks = 10 + dice.below(40);
        let mut tasks: Vec<Task> = Vec::new();
        for at in 0..n_tasks {
            let mut needs = BTreeSet::new();
            for _ in 0..dice.below(3).min(at) {
                needs.insert(u32::try_from(dice.below(at)).expect("small"));
            }
            let needs: Vec<u32> = needs.into_iter().collect();
            let cost = 1 + dice.below(10) * dice.below(10);
            tasks.push(task(PostData, cost as u64, &needs));
        }
        largest += makespan(&tasks, largest_first(&tasks));
        longest += makespan(&tasks, longest_way_first(&tasks));
    }
    assert!(longest < largest, "{longest} against {largest}");
}

/// 200,000 tasks of which nearly all wait for one relation: each start must not look at all of them.
#[test]
fn tasks_that_wait_for_a_lock_cost_nothing() {
    const TASKS: u32 = 200_000;
    let mut tasks = Vec::new();
    for at in 0..TASKS {
        let other = 1 + at % 5000;
        let mut task = match at % 4 {
            0 => locking(1, &[(0, ShareRowExclusive), (other, ShareRowExclusive)]),
            1 => locking(2, &[(0, AccessExclusive)]),
            2 => locking(3, &[(other, Share)]),
            _ => locking(1, &[(0, Share)]),
        };
        task.cost += u64::from(at % 97);
        task.heavy = at % 3 == 0;
        tasks.push(task);
    }
    let start = Instant::now();
    let mut scheduler = Scheduler::new(tasks, Limits { heavy_max: 4 }).unwrap();
    let mut running = std::collections::VecDeque::new();
    let mut n_run = 0;
    while !scheduler.is_done() {
        while running.len() < 8
            && let Some(id) = scheduler.start_next()
        {
            running.push_back(id);
        }
        scheduler.finish(running.pop_front().expect("not stuck"), Outcome::Done);
        n_run += 1;
    }
    assert_eq!(n_run, TASKS);
    // Generous: a build without optimisation on a busy machine; quadratic work would take hours.
    assert!(start.elapsed().as_secs() < 60);
}
