//! Runs a plan's tasks: one loop owns the scheduler, workers do the tasks. What may run when is the scheduler's alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::careful::LeftOut;
use super::copy_in;
use super::definitions::lost;
use super::journal::{Line, statistics_of};
use super::report::{Ledger, Trouble, chain, object_of};
use super::select::Selection;
use super::share::{self, Moment, Shares, small};
use super::shared::Shared;
use super::work::{Analyzed, PlannedTask, Unit, Work};
use super::worker::Worker;
use crate::error::{Error, Result};
use crate::graph::scheduler::{Limits, Outcome, Scheduler, TaskId};
use crate::progress::Event;

/// What a worker brings back.
struct Done {
    id: TaskId,
    worker: Worker,
    /// One result per unit, load or entry that was tried, in order; fewer if the first failure ends the work.
    results: Vec<Result<LeftOut, Trouble>>,
    tried: Tried,
}

/// A task and who does it.
type Begun = (TaskId, Worker);

/// Which parts of a task were tried, ascending; all where nothing can be missing for just one of them.
type Tried = Vec<usize>;

/// Runs the tasks on `workers`, which it gives back. Failures and their consequences go to the ledger.
///
/// Errors: [`Error::Corrupt`] if the tasks need each other in a circle; [`Error::Failed`] if connections are lost for good.
pub(super) async fn run(
    shared: &Arc<Shared>,
    selection: &Selection,
    tasks: Vec<PlannedTask>,
    workers: Vec<Worker>,
    ledger: &mut Ledger,
) -> Result<Vec<Worker>> {
    let limits = Limits {
        heavy_max: workers.len(),
    };
    let is_heavy = tasks.iter().any(|planned| planned.task.heavy);
    let given = match workers.first() {
        Some(worker) if is_heavy => Some(Shares::new(
            share::means(shared, worker, workers.len()).await?,
        )),
        _ => None,
    };
    let planned = tasks.iter().map(|planned| planned.task.clone()).collect();
    let scheduler = Scheduler::new(planned, limits)
        .map_err(|problem| Error::corrupt("the archive", "TOC", problem))?;
    let n_tasks = tasks.len();
    let mut executor = Executor {
        shared,
        selection,
        tasks: Arc::new(tasks),
        scheduler,
        shares: given,
        idle: workers,
        running: JoinSet::new(),
        waiting: None,
        finished: vec![false; n_tasks],
        verdicts: HashMap::new(),
        ledger,
    };
    loop {
        executor.start_all();
        if executor.scheduler.is_done() {
            return Ok(executor.idle);
        }
        if executor.has_stopped() && executor.running.is_empty() {
            return Ok(executor.leave_the_rest());
        }
        let Some(done) = executor.running.join_next().await else {
            // The scheduler refuses plans that could come to this.
            return Err(Error::corrupt(
                "the archive",
                "TOC",
                "tasks wait for each other",
            ));
        };
        let done = done.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        executor.finish(done)?;
    }
}

struct Executor<'a> {
    shared: &'a Arc<Shared>,
    selection: &'a Selection,
    tasks: Arc<Vec<PlannedTask>>,
    scheduler: Scheduler,
    /// `None` if nothing wants more than everybody gets.
    shares: Option<Shares>,
    idle: Vec<Worker>,
    running: JoinSet<Done>,
    /// A task that was started when no worker was free.
    waiting: Option<TaskId>,
    /// Tasks that were settled.
    finished: Vec<bool>,
    /// Which loads or entries of a task with several are done.
    verdicts: HashMap<TaskId, Vec<bool>>,
    ledger: &'a mut Ledger,
}

impl Executor<'_> {
    /// True if something failed and nothing more is to be tried.
    fn has_stopped(&self) -> bool {
        self.shared.stops_at_first && self.ledger.has_failures()
    }

    /// Notes the entries whose work was not tried, and gives the workers back.
    fn leave_the_rest(self) -> Vec<Worker> {
        for (planned, finished) in self.tasks.iter().zip(self.finished) {
            let is_work = !matches!(planned.work, Work::Verdict { .. } | Work::Analyze(_));
            if is_work && !finished {
                for entry in planned.entries() {
                    self.ledger.leave(self.selection.entry(entry));
                }
            }
        }
        self.idle
    }

    /// Hands out tasks while there are workers, and settles those that need none.
    fn start_all(&mut self) {
        let mut begun: Vec<Begun> = Vec::new();
        while !self.has_stopped() {
            let Some(id) = self.waiting.take().or_else(|| self.scheduler.start_next()) else {
                break;
            };
            if let Work::Verdict { of, index } = self.tasks[id.0 as usize].work {
                let is_done = self.verdicts.get(&of).is_some_and(|done| done[index]);
                self.settle(
                    id,
                    if is_done {
                        Outcome::Done
                    } else {
                        Outcome::Failed
                    },
                );
                continue;
            }
            let Some(worker) = self.idle.pop() else {
                self.waiting = Some(id);
                break;
            };
            begun.push((id, worker));
        }
        self.share_out(&mut begun);
        for (id, worker) in begun {
            self.spawn(id, worker);
        }
    }

    /// Tells those that begin now what they may use.
    fn share_out(&mut self, begun: &mut [Begun]) {
        let Some(shares) = &mut self.shares else {
            return;
        };
        let is_build = |id: TaskId| self.tasks[id.0 as usize].task.heavy;
        let n_builds = begun.iter().filter(|(id, _)| is_build(*id)).count();
        let moment = Moment {
            n_busy: small(self.running.len() + begun.len()),
            n_builds: small(n_builds),
        };
        for (id, worker) in begun {
            let share = is_build(*id).then(|| shares.give(*id, moment));
            worker.set_share(share);
        }
    }

    fn spawn(&mut self, id: TaskId, mut worker: Worker) {
        let (shared, tasks) = (Arc::clone(self.shared), Arc::clone(&self.tasks));
        let tried = self.parts_to_try(&tasks[id.0 as usize].work);
        self.running.spawn(async move {
            let work = &tasks[id.0 as usize].work;
            let results = run_work(&mut worker, &shared, work, &tried).await;
            Done {
                id,
                worker,
                results,
                tried,
            }
        });
    }

    /// The parts of a task of which nothing is missing; the others go to the ledger.
    fn parts_to_try(&mut self, work: &Work) -> Tried {
        match work {
            Work::Statements(units) => (0..units.len()).collect(),
            Work::Load(loads) => (0..loads.len()).collect(),
            Work::Verdict { .. } => Vec::new(),
            Work::Analyze(tables) => (0..tables.len())
                .filter(|at| !self.ledger.is_bad(tables[*at].rows))
                .collect(),
            Work::Entries(list) => {
                let mut tried = Vec::with_capacity(list.len());
                for (at, definition) in list.iter().enumerate() {
                    let mut needs = definition.needs.iter();
                    match needs.find(|need| self.ledger.is_bad(**need)) {
                        Some(cause) => {
                            let entry = self.selection.entry(definition.entry);
                            self.ledger.skip(entry, *cause);
                        }
                        None => tried.push(at),
                    }
                }
                tried
            }
        }
    }

    fn finish(&mut self, done: Done) -> Result<()> {
        let Done {
            id,
            worker,
            mut results,
            tried,
        } = done;
        if worker.session().is_closed()
            && let Some(at) = results.iter().position(Result::is_err)
            && let Err(trouble) = results.swap_remove(at)
        {
            return Err(lost(self.shared, trouble.error));
        }
        if let Some(error) = self.shared.feeding.end() {
            return Err(error);
        }
        let mut worker = worker;
        self.ledger
            .forbid_all(worker.take_refused(), self.selection);
        self.idle.push(worker);
        let tasks = Arc::clone(&self.tasks);
        let planned = &tasks[id.0 as usize];
        let mut all_done = true;
        let mut verdicts = vec![false; planned.n_parts()];
        for at in &tried[results.len().min(tried.len())..] {
            // After a failure that ends the work the rest of its task was not tried.
            if let Some(entry) = planned.entries().get(*at) {
                self.ledger.leave(self.selection.entry(*entry));
            }
        }
        for (index, result) in tried.into_iter().zip(results) {
            verdicts[index] = result.is_ok();
            match (result, &planned.work) {
                (Err(trouble), _) => all_done &= self.note(planned, index, &trouble),
                (Ok(left_out), Work::Load(loads)) => {
                    let load = &loads[index];
                    let (n_rows, n_bytes) = self.shared.feeding.amount(load);
                    self.ledger.n_rows += n_rows - left_out.n_rows;
                    self.ledger.raw_bytes += n_bytes;
                    self.ledger
                        .leave_out(self.selection.entry(load.entry), left_out);
                }
                (Ok(_), _) => {}
            }
        }
        // Who needs one of several parts needs its verdict.
        let has_verdicts = planned.work.has_verdicts();
        if has_verdicts {
            self.verdicts.insert(id, verdicts);
        }
        let event = Event::Task(object_of(self.selection.entry(planned.entry)));
        self.shared.progress.event(event);
        let outcome = if all_done || has_verdicts {
            Outcome::Done
        } else {
            Outcome::Failed
        };
        self.settle(id, outcome);
        Ok(())
    }

    /// Notes what went wrong; true if the work counts as done all the same.
    fn note(&mut self, planned: &PlannedTask, index: usize, trouble: &Trouble) -> bool {
        let entry = match &planned.work {
            Work::Analyze(tables) => {
                let (target, problem) = (&tables[index].target, chain(&trouble.error));
                self.warn(format!("no statistics of {target}: {problem}"));
                return true;
            }
            Work::Statements(units) => units[index].entry,
            Work::Entries(list) => list[index].entry,
            Work::Load(loads) => loads[index].entry,
            Work::Verdict { .. } => planned.entry,
        };
        self.ledger.fail(self.selection.entry(entry), trouble);
        false
    }

    fn warn(&mut self, text: String) {
        self.shared.progress.event(Event::Warning(text.clone()));
        self.ledger.warnings.push(text);
    }

    fn settle(&mut self, id: TaskId, outcome: Outcome) {
        if let Some(shares) = &mut self.shares {
            shares.take_back(id);
        }
        self.finished[id.0 as usize] = true;
        let cause = self.tasks[id.0 as usize].entry;
        for skipped in self.scheduler.finish(id, outcome) {
            let planned = &self.tasks[skipped.0 as usize];
            if !matches!(planned.work, Work::Analyze(_)) && planned.entry != cause {
                let entry = self.selection.entry(planned.entry);
                self.ledger.skip(entry, cause);
            }
        }
    }
}

async fn run_work(
    worker: &mut Worker,
    shared: &Shared,
    work: &Work,
    tried: &Tried,
) -> Vec<Result<LeftOut, Trouble>> {
    let groups: Vec<Cow<'_, [Unit]>> = match work {
        Work::Load(loads) => return copy_in::load(worker, shared, loads).await,
        Work::Verdict { .. } => return Vec::new(),
        Work::Statements(units) => units.chunks(1).map(Cow::Borrowed).collect(),
        Work::Entries(list) => {
            let some = tried.iter().map(|at| &list[*at]);
            some.map(|definition| Cow::Borrowed(definition.units.as_slice()))
                .collect()
        }
        Work::Analyze(tables) => {
            let some = tried.iter().map(|at| &tables[*at]);
            some.map(|table| Cow::Owned(vec![analysis(table)]))
                .collect()
        }
    };
    statements(worker, shared, &groups).await
}

fn analysis(table: &Analyzed) -> Unit {
    let statement = format!("ANALYZE {}", table.target);
    Unit {
        lines: vec![Line::lasting(statistics_of(table.rows))],
        ..Unit::plain(table.rows, vec![statement])
    }
}

/// Runs all together if that works, else one group by one. One result per group.
async fn statements(
    worker: &mut Worker,
    shared: &Shared,
    groups: &[Cow<'_, [Unit]>],
) -> Vec<Result<LeftOut, Trouble>> {
    let object = "statement";
    if groups.len() > 1 {
        let units: Vec<&Unit> = groups.iter().flat_map(|units| units.iter()).collect();
        if worker.run_together(shared, object, &units).await.is_ok() {
            return groups.iter().map(|_| Ok(LeftOut::default())).collect();
        }
    }
    let mut results = Vec::with_capacity(groups.len());
    for units in groups {
        let mut outcome = Ok(());
        for unit in units.iter() {
            outcome = worker.run_alone(shared, object, unit).await;
            if outcome.is_err() {
                break;
            }
        }
        let has_failed = outcome.is_err();
        results.push(outcome.map(|()| LeftOut::default()));
        if has_failed && shared.stops_at_first {
            break;
        }
    }
    results
}
