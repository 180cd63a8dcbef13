//! Runs a plan's tasks: one loop owns the scheduler, workers do the tasks. What may run when is the scheduler's alone.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::careful::LeftOut;
use super::copy_in;
use super::definitions::lost;
use super::report::{Ledger, Trouble, chain, object_of};
use super::select::Selection;
use super::shared::Shared;
use super::work::{PlannedTask, Unit, Work};
use super::worker::Worker;
use crate::error::{Error, Result};
use crate::graph::scheduler::{Limits, Outcome, Scheduler, TaskId};
use crate::progress::Event;

/// What a worker brings back.
struct Done {
    id: TaskId,
    worker: Worker,
    /// One result per unit or load, in order.
    results: Vec<Result<LeftOut, Trouble>>,
}

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
    let planned = tasks.iter().map(|planned| planned.task.clone()).collect();
    let scheduler = Scheduler::new(planned, limits)
        .map_err(|problem| Error::corrupt("the archive", "TOC", problem))?;
    let n_tasks = tasks.len();
    let mut executor = Executor {
        shared,
        selection,
        tasks: Arc::new(tasks),
        scheduler,
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
    idle: Vec<Worker>,
    running: JoinSet<Done>,
    /// A task that was started when no worker was free.
    waiting: Option<TaskId>,
    /// Tasks that were settled.
    finished: Vec<bool>,
    /// Which loads of a task with several are done.
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
            let is_work = matches!(planned.work, Work::Statements(_) | Work::Load(_));
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
        while !self.has_stopped() {
            let Some(id) = self.waiting.take().or_else(|| self.scheduler.start_next()) else {
                return;
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
                return;
            };
            let (shared, tasks) = (Arc::clone(self.shared), Arc::clone(&self.tasks));
            self.running.spawn(async move {
                let mut worker = worker;
                let results = work(&mut worker, &shared, &tasks[id.0 as usize]).await;
                Done {
                    id,
                    worker,
                    results,
                }
            });
        }
    }

    fn finish(&mut self, done: Done) -> Result<()> {
        let Done {
            id,
            worker,
            mut results,
        } = done;
        if worker.session().is_closed()
            && let Some(at) = results.iter().position(Result::is_err)
            && let Err(trouble) = results.swap_remove(at)
        {
            return Err(lost(trouble.error));
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
        let n_units = results.len();
        let mut all_done = true;
        let mut verdicts = Vec::with_capacity(n_units);
        for (index, result) in results.into_iter().enumerate() {
            verdicts.push(result.is_ok());
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
        // Who needs one of several loads needs its verdict.
        let is_bundle = matches!(&planned.work, Work::Load(loads) if loads.len() > 1);
        if is_bundle {
            self.verdicts.insert(id, verdicts);
        }
        let event = Event::Task(object_of(self.selection.entry(planned.entry)));
        self.shared.progress.event(event);
        let outcome = if all_done || is_bundle {
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
            Work::Analyze { target } => {
                let problem = chain(&trouble.error);
                self.warn(format!("no statistics of {target}: {problem}"));
                return true;
            }
            Work::Statements(units) => units[index].entry,
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
        self.finished[id.0 as usize] = true;
        let cause = self.tasks[id.0 as usize].entry;
        for skipped in self.scheduler.finish(id, outcome) {
            let planned = &self.tasks[skipped.0 as usize];
            if !matches!(planned.work, Work::Analyze { .. }) && planned.entry != cause {
                let entry = self.selection.entry(planned.entry);
                self.ledger.skip(entry, cause);
            }
        }
    }
}

async fn work(
    worker: &mut Worker,
    shared: &Shared,
    planned: &PlannedTask,
) -> Vec<Result<LeftOut, Trouble>> {
    match &planned.work {
        Work::Statements(units) => statements(worker, shared, units).await,
        Work::Load(loads) => copy_in::load(worker, shared, loads).await,
        Work::Analyze { target } => {
            let unit = Unit::plain(planned.entry, vec![format!("ANALYZE {target}")]);
            let outcome = worker.run_alone(shared, target, &unit).await;
            vec![outcome.map(|()| LeftOut::default())]
        }
        Work::Verdict { .. } => vec![Ok(LeftOut::default())],
    }
}

/// Runs all together if that works, else one by one.
async fn statements(
    worker: &mut Worker,
    shared: &Shared,
    units: &[Unit],
) -> Vec<Result<LeftOut, Trouble>> {
    let object = "statement";
    if units.len() > 1 && worker.run_together(object, units).await.is_ok() {
        return units.iter().map(|_| Ok(LeftOut::default())).collect();
    }
    let mut results = Vec::with_capacity(units.len());
    for unit in units {
        let outcome = worker.run_alone(shared, object, unit).await;
        results.push(outcome.map(|()| LeftOut::default()));
    }
    results
}
