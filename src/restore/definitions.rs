//! Runs what comes before the rows: in TOC order, many entries in one transaction, tables that need nothing of each other on
//! several connections.

use std::collections::BTreeSet;

use super::report::{Ledger, object_of};
use super::select::Selection;
use super::shared::Shared;
use super::spread;
use super::work::{Definition, Unit};
use super::worker::Worker;
use crate::error::{Error, Result};
use crate::progress::Event;
use crate::toc::EntryId;

/// Entries in one transaction: few enough for the lock table, many enough that commits do not count.
pub(super) const ENTRIES_AT_ONCE: usize = 100;

/// Runs the definitions. A failed entry goes to the ledger with those that need it; the others are done.
///
/// Errors: only if the connection is lost for good.
pub(super) async fn run(
    workers: &mut [Worker],
    shared: &Shared,
    selection: &Selection,
    definitions: &[Definition],
    ledger: &mut Ledger,
) -> Result<()> {
    let mut runner = Runner {
        workers,
        shared,
        selection,
        ledger,
        batch: Vec::new(),
        done: BTreeSet::new(),
    };
    for definition in definitions {
        if runner.has_stopped() {
            break;
        }
        let outside = definition.units.iter().any(|unit| unit.outside);
        let is_full = runner.batch.len() >= ENTRIES_AT_ONCE * runner.workers.len();
        if outside || is_full {
            runner.flush().await?;
        }
        if runner.is_skipped(definition) {
            continue;
        }
        if outside {
            runner.alone(0, definition).await?;
        } else {
            runner.batch.push(definition);
        }
    }
    runner.flush().await?;
    if runner.has_stopped() {
        let all = definitions.iter().map(|definition| definition.entry);
        for entry in all.filter(|entry| !runner.done.contains(entry)) {
            runner.ledger.leave(selection.entry(entry));
        }
    }
    Ok(())
}

struct Runner<'a> {
    /// At least one.
    workers: &'a mut [Worker],
    shared: &'a Shared,
    selection: &'a Selection,
    ledger: &'a mut Ledger,
    batch: Vec<&'a Definition>,
    /// What is there.
    done: BTreeSet<EntryId>,
}

impl Runner<'_> {
    /// True if something failed and nothing more is to be tried.
    fn has_stopped(&self) -> bool {
        self.shared.stops_at_first && self.ledger.has_failures()
    }

    fn is_skipped(&mut self, definition: &Definition) -> bool {
        let mut needs = definition.needs.iter();
        let cause = needs.find(|need| self.ledger.is_bad(**need));
        if let Some(cause) = cause {
            let entry = self.selection.entry(definition.entry);
            self.ledger.skip(entry, *cause);
        }
        self.ledger.is_bad(definition.entry)
    }

    /// Runs the batch in as few transactions as may be; if one fails, each entry of it by itself, so that only the guilty one
    /// is lost.
    async fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let entries = batch.iter().map(|definition| definition.entry);
        let mut entries = entries.map(|id| self.selection.entry(id));
        if entries.all(spread::is_self_contained) {
            let hands = spread::deal(&batch, self.workers.len());
            let longest = hands.iter().map(Vec::len).max().unwrap_or_default();
            for start in (0..longest).step_by(ENTRIES_AT_ONCE) {
                let some = hands.iter().map(|hand| {
                    let some = hand.iter().skip(start).take(ENTRIES_AT_ONCE);
                    some.map(|at| batch[*at]).collect()
                });
                self.side_by_side(some.collect()).await?;
            }
            return Ok(());
        }
        for some in batch.chunks(ENTRIES_AT_ONCE) {
            self.side_by_side(vec![some.to_vec()]).await?;
        }
        Ok(())
    }

    /// One transaction for each hand, each on a connection of its own.
    async fn side_by_side(&mut self, hands: Vec<Vec<&Definition>>) -> Result<()> {
        let shared = self.shared;
        let runs = self.workers.iter_mut().zip(&hands);
        let runs = runs.map(|(worker, hand)| run_together(worker, shared, hand));
        let are_done = futures::future::join_all(runs).await;
        for ((at, hand), is_done) in hands.into_iter().enumerate().zip(are_done) {
            if is_done {
                let entries = hand.iter().map(|definition| definition.entry);
                self.done.extend(entries);
                let event = Event::Task(format!("{} definitions", hand.len()));
                self.shared.progress.event(event);
                continue;
            }
            for definition in hand {
                if self.has_stopped() {
                    break;
                }
                if !self.is_skipped(definition) {
                    self.alone(at, definition).await?;
                }
            }
        }
        Ok(())
    }

    async fn alone(&mut self, at: usize, definition: &Definition) -> Result<()> {
        let entry = self.selection.entry(definition.entry);
        let object = object_of(entry);
        for unit in &definition.units {
            let outcome = self.workers[at].run_alone(self.shared, &object, unit).await;
            let refused = self.workers[at].take_refused();
            self.ledger.forbid_all(refused, self.selection);
            let Err(trouble) = outcome else { continue };
            if self.workers[at].session().is_closed() {
                return Err(lost(self.shared, trouble.error));
            }
            self.ledger.fail(entry, &trouble);
            return Ok(());
        }
        self.done.insert(definition.entry);
        self.shared.progress.event(Event::Task(object));
        Ok(())
    }
}

/// True if all were made.
async fn run_together(worker: &mut Worker, shared: &Shared, hand: &[&Definition]) -> bool {
    let units = hand.iter().flat_map(|definition| &definition.units);
    let units: Vec<&Unit> = units.collect();
    let object = format!("{} definitions", hand.len());
    units.is_empty() || worker.run_together(shared, &object, &units).await.is_ok()
}

/// The error that ends a restore when no connection is to be had.
pub(super) fn lost(shared: &Shared, error: Error) -> Error {
    match error {
        Error::Failed { .. } => error,
        other => Error::Failed {
            object: "the target".to_owned(),
            problem: "the connection was lost; the target is incomplete".to_owned(),
            remedy: shared.remedy_of_loss().to_owned(),
            source: Some(other.into()),
        },
    }
}
