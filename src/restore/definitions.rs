//! Runs what comes before the rows: in TOC order on one connection, many entries in one transaction.

use super::plan::{Definition, Unit};
use super::report::{Ledger, object_of};
use super::select::Selection;
use super::worker::{Shared, Worker};
use crate::error::{Error, Result};
use crate::progress::Event;

/// Entries in one transaction: few enough for the lock table, many enough that commits do not count.
const ENTRIES_AT_ONCE: usize = 100;

/// Runs the definitions. A failed entry goes to the ledger with those that need it; the others are done.
///
/// Errors: only if the connection is lost for good.
pub(super) async fn run(
    worker: &mut Worker,
    shared: &Shared,
    selection: &Selection,
    definitions: &[Definition],
    ledger: &mut Ledger,
) -> Result<()> {
    let mut runner = Runner {
        worker,
        shared,
        selection,
        ledger,
        batch: Vec::new(),
    };
    for definition in definitions {
        let outside = definition.units.iter().any(|unit| unit.outside);
        let is_full = runner.batch.len() >= ENTRIES_AT_ONCE;
        if outside || is_full {
            runner.flush().await?;
        }
        if runner.is_skipped(definition) {
            continue;
        }
        if outside {
            runner.alone(definition).await?;
        } else {
            runner.batch.push(definition);
        }
    }
    runner.flush().await
}

struct Runner<'a> {
    worker: &'a mut Worker,
    shared: &'a Shared,
    selection: &'a Selection,
    ledger: &'a mut Ledger,
    batch: Vec<&'a Definition>,
}

impl Runner<'_> {
    fn is_skipped(&mut self, definition: &Definition) -> bool {
        let mut needs = definition.needs.iter();
        let cause = needs.find(|need| self.ledger.is_bad(**need));
        if let Some(cause) = cause {
            let entry = self.selection.entry(definition.entry);
            self.ledger.skip(entry, *cause);
        }
        cause.is_some()
    }

    /// Runs the batch in one transaction; if that fails, each entry by itself, so that only the guilty one is lost.
    async fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let units = batch.iter().flat_map(|definition| &definition.units);
        let units: Vec<Unit> = units.cloned().collect();
        if units.is_empty() {
            return Ok(());
        }
        let object = format!("{} definitions", batch.len());
        if self.worker.run_together(&object, &units).await.is_ok() {
            let done = Event::Task(object);
            self.shared.progress.event(done);
            return Ok(());
        }
        for definition in batch {
            if !self.is_skipped(definition) {
                self.alone(definition).await?;
            }
        }
        Ok(())
    }

    async fn alone(&mut self, definition: &Definition) -> Result<()> {
        let entry = self.selection.entry(definition.entry);
        let object = object_of(entry);
        for unit in &definition.units {
            let outcome = self.worker.run_without(self.shared, &object, unit).await;
            let trouble = match outcome {
                Ok(without) => {
                    self.ledger.go_without(entry, &without);
                    continue;
                }
                Err(trouble) => trouble,
            };
            if self.worker.session().is_closed() {
                return Err(lost(trouble.error));
            }
            self.ledger.fail(entry, &trouble);
            return Ok(());
        }
        self.shared.progress.event(Event::Task(object));
        Ok(())
    }
}

/// The error that ends a restore when no connection is to be had.
pub(super) fn lost(error: Error) -> Error {
    match error {
        Error::Failed { .. } => error,
        other => Error::Failed {
            object: "the target".to_owned(),
            problem: "the connection was lost; the target is incomplete".to_owned(),
            remedy: "see what ended the server, then restore into a new database".to_owned(),
            source: Some(other.into()),
        },
    }
}
