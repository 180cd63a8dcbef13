//! A restore that was found possible, from its first change to its report: definitions, rows and the rest, the comparison.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::check::{self, CheckCx};
use super::journal::{self, Journal, Note};
use super::options::{Check, RestoreOptions};
use super::plan::{self, PlanCx, RowsFrom};
use super::prove::Indexes;
use super::rename::{self, Beforehand, Renaming};
use super::report::{Checked, Ledger, Mention, Renamed, RestoreReport, Resumed, chain};
use super::row_order::RowOrder;
use super::select::Selection;
use super::shared::Shared;
use super::target::TargetFacts;
use super::wanted::Wanted;
use super::worker::Worker;
use super::{Clock, definitions, executor, globals, leftover, losses, pages, preflight, tasks};
use crate::archive::Archive;
use crate::error::Result;
use crate::pg::Session;
use crate::progress::Event;
use crate::toc::{DataOf, EntryId, Stage};

/// What is UNLOGGED before there is anything.
static NO_NAMES: BTreeSet<(String, String)> = BTreeSet::new();

/// A restore that was found possible.
pub(super) struct Run<'a> {
    pub(super) archive: &'a Archive,
    /// The encoding of the archive's rows.
    pub(super) encoding: &'a str,
    pub(super) options: &'a RestoreOptions,
    pub(super) selection: &'a Selection,
    pub(super) indexes: &'a Indexes,
    pub(super) facts: &'a TargetFacts,
    pub(super) order: &'a RowOrder,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) absent_roles: BTreeSet<String>,
}

/// What became of the work beside the ledger.
#[derive(Default)]
struct Outcome {
    checked: Option<Checked>,
    renamed: Vec<Renamed>,
    mentions: Vec<Mention>,
    rolled_back: bool,
    resumable: bool,
}

impl Run<'_> {
    fn cx(&self) -> PlanCx<'_> {
        PlanCx {
            selection: self.selection,
            options: self.options,
            version: self.facts.version,
            encoding: self.encoding,
            absent_roles: &self.absent_roles,
            is_ordinary: !self.facts.is_superuser,
            order: self.order,
            rows: self.rows_from(),
            role: &self.facts.role,
            foreign_objects: &[],
            journal: self.journal(),
            unlogged: &NO_NAMES,
        }
    }

    /// What earlier runs have done.
    fn journal(&self) -> &Journal {
        self.shared.journal.get().unwrap_or(&journal::NOTHING)
    }

    fn rows_from(&self) -> RowsFrom {
        let encodings = (self.encoding, self.facts.encoding.as_str());
        let unreadable = preflight::unreadable_in_binary(encodings, self.options);
        match self.shared.feeding.feed() {
            Some(_) => RowsFrom::Feed {
                binary: unreadable.is_none(),
            },
            None => RowsFrom::Chunks,
        }
    }

    /// Tells before the first change what the target will not have; objects that are left out stand in the ledger.
    pub(super) fn foresee(&self, warnings: Vec<String>) -> Ledger {
        let progress = self.shared.progress.as_ref();
        let mut ledger = Ledger::default();
        ledger.is_ordinary = !self.facts.is_superuser;
        for warning in &warnings {
            progress.event(Event::Warning(warning.clone()));
        }
        ledger.warnings = warnings;
        let cx = self.cx();
        if self.options.skip_unsupported {
            losses::leave_out(&cx, &mut ledger);
        }
        for skip in &ledger.skipped {
            let text = format!("left out: {}: {}", skip.object, skip.reason);
            progress.event(Event::Warning(text));
        }
        for loss in losses::losses(&cx, &ledger) {
            let text = format!("not as before: {}: {}", loss.object, loss.what);
            progress.event(Event::Warning(text));
        }
        ledger
    }

    pub(super) async fn all(
        &self,
        first: Option<Session>,
        mut ledger: Ledger,
        clock: &mut Clock,
    ) -> Result<RestoreReport> {
        self.recall(&mut ledger);
        let cx = self.cx();
        let mut first = match first {
            Some(session) => Worker::adopt(self.shared, session).await?,
            None => Worker::open(self.shared).await?,
        };
        let wanted = Wanted::new(self.selection, self.options, self.facts.version);
        let beforehand = Beforehand::new(&wanted, self.facts, self.options);
        let pairs = &self.options.map_schemas;
        let renaming = Renaming::prepare(&mut first, self.shared, pairs, beforehand).await?;
        let mut first = self.work(&cx, first, &mut ledger, clock).await?;
        let mut outcome;
        (outcome, first) = self.end(first, &renaming, &mut ledger, clock).await?;
        let is_kept = !outcome.rolled_back && !self.has_stopped(&ledger);
        if is_kept && globals::properties(self.shared, &cx, &mut ledger).await? {
            clock.lap("database");
        }
        outcome.resumable = self.end_journal(&mut first, &mut ledger).await;
        first.close().await;
        Ok(self.report(ledger, &cx, outcome))
    }

    /// Counts what is there already, and tells of it what an earlier run had to tell.
    fn recall(&self, ledger: &mut Ledger) {
        let journal = self.journal();
        for index in self.indexes.values() {
            let (n_rows, n_bytes) = journal.amount(index);
            ledger.n_rows += n_rows;
            ledger.raw_bytes += n_bytes;
        }
        ledger.recall(&journal.notes, self.selection);
    }

    /// Drops the journal if nothing is left to try again; true if it stays. Where it cannot be dropped that is a warning.
    async fn end_journal(&self, worker: &mut Worker, ledger: &mut Ledger) -> bool {
        if !self.shared.journals() {
            return false;
        }
        if ledger.has_failures() || ledger.not_tried > 0 {
            // It stays all the same; the next restore is only asked what to do with it.
            if let Err(error) = journal::close(worker.session()).await {
                ledger.warnings.push(chain(&error));
            }
            return true;
        }
        let names: Vec<&str> = self.selection.event_triggers().map(|made| made.1).collect();
        let mut outcome = journal::end(worker.session(), &names).await;
        if outcome.is_err() && worker.session().is_closed() {
            outcome = match worker.mend(self.shared).await {
                Ok(()) => journal::end(worker.session(), &names).await,
                Err(error) => Err(error),
            };
        }
        let Err(error) = outcome else {
            return false;
        };
        let text = format!(
            "the journal, schema pgark_restore, could not be dropped: {}",
            chain(&error)
        );
        self.shared.progress.event(Event::Warning(text.clone()));
        ledger.warnings.push(text);
        true
    }

    /// True if something failed and nothing more is to be tried.
    fn has_stopped(&self, ledger: &Ledger) -> bool {
        self.shared.stops_at_first && ledger.has_failures()
    }

    /// Definitions, then rows and the rest on several connections. The first one comes back.
    async fn work(
        &self,
        cx: &PlanCx<'_>,
        first: Worker,
        ledger: &mut Ledger,
        clock: &mut Clock,
    ) -> Result<Worker> {
        let shared = self.shared;
        let foreign_objects = &self.foreign_objects(&first).await?;
        let cx = PlanCx {
            foreign_objects,
            ..*cx
        };
        let cx = &cx;
        let mut workers = vec![first];
        let definitions = plan::definitions(cx);
        phase(shared, "definitions", 0, definitions.len());
        // The first failure ends the work only if nothing else runs beside it.
        if definitions.len() > definitions::ENTRIES_AT_ONCE && !shared.stops_at_first {
            while workers.len() < self.options.n_workers() {
                workers.push(Worker::open(shared).await?);
            }
        }
        definitions::run(&mut workers, shared, self.selection, &definitions, ledger).await?;
        clock.lap("definitions");

        if self.has_stopped(ledger) {
            let later = |entry: &&crate::toc::Entry| entry.stage != Stage::PreData;
            for entry in self.selection.iter().filter(later) {
                ledger.leave(entry);
            }
        } else {
            let unlogged = self.unlogged(&workers[0]).await?;
            let unlogged = &unlogged;
            let tasks = tasks::tasks(&PlanCx { unlogged, ..*cx }, self.indexes, ledger);
            let n_bytes: u64 = self.indexes.values().map(|index| index.n_bytes).sum();
            let n_bytes = n_bytes.saturating_sub(ledger.raw_bytes);
            phase(shared, "rows and indexes", n_bytes, tasks.len());
            while workers.len() < self.options.n_workers().min(tasks.len()) {
                workers.push(Worker::open(shared).await?);
            }
            workers = executor::run(shared, self.selection, tasks, workers, ledger).await?;
            clock.lap("rows and indexes");
        }

        let analyzes = self.options.analyze && self.options.selection.wants_rows();
        if analyzes && !self.has_stopped(ledger) {
            leftover::analyze(&mut workers, shared, self.selection, ledger).await?;
            clock.lap("statistics");
        }
        let first = workers.pop().expect("there is a worker from the beginning");
        futures::future::join_all(workers.into_iter().map(Worker::close)).await;
        Ok(first)
    }

    /// The tables and sequences that a crash of the server would empty; nobody asks where nothing is noted.
    async fn unlogged(&self, worker: &Worker) -> Result<BTreeSet<(String, String)>> {
        if self.shared.journals() {
            journal::unlogged(worker.session()).await
        } else {
            Ok(BTreeSet::new())
        }
    }

    /// The target's own large objects, where contents of others are restored.
    async fn foreign_objects(&self, worker: &Worker) -> Result<Vec<u32>> {
        let is_pages =
            |id: &EntryId| matches!(self.selection.entry(*id).data, Some(DataOf::LargeObjects));
        if !self.indexes.keys().any(is_pages) {
            return Ok(Vec::new());
        }
        let noted = self
            .journal()
            .notes
            .iter()
            .find_map(|(_, note)| match note {
                Note::Foreign(objects) => Some(objects.clone()),
                _ => None,
            });
        if let Some(objects) = noted {
            return Ok(objects);
        }
        let objects = pages::foreign(worker.session()).await?;
        if self.shared.journals() {
            let note = Note::Foreign(objects.clone()).insert(EntryId(0));
            let session = worker.session();
            session.batch("large objects", "the journal", &note).await?;
        }
        Ok(objects)
    }

    /// Compares, renames, and ends the one transaction where there is one.
    async fn end(
        &self,
        mut first: Worker,
        renaming: &Renaming<'_>,
        ledger: &mut Ledger,
        clock: &mut Clock,
    ) -> Result<(Outcome, Worker)> {
        let mut outcome = Outcome::default();
        let in_one = self.options.single_transaction;
        if self.options.check == Check::Content && !self.has_stopped(ledger) {
            (outcome.checked, first) = self.compare(first, ledger).await?;
            clock.lap("check");
        }
        let differs = outcome
            .checked
            .as_ref()
            .is_some_and(|checked| !checked.different.is_empty());
        if in_one && (differs || ledger.has_failures()) {
            first.end(false).await?;
            outcome.rolled_back = true;
        } else {
            outcome.renamed = renaming.finish(&mut first, self.shared, ledger).await?;
            if in_one {
                outcome.rolled_back = ledger.has_failures();
                first.end(!outcome.rolled_back).await?;
            }
        }
        if outcome.rolled_back {
            outcome.renamed.clear();
        }
        outcome.mentions = rename::mentions(&first, &outcome.renamed, ledger).await;
        Ok((outcome, first))
    }

    /// Compares the content, inside the one transaction where there is one.
    async fn compare(&self, first: Worker, ledger: &Ledger) -> Result<(Option<Checked>, Worker)> {
        let seen = self.shared.feeding.indexes(self.indexes).await?;
        let indexes = seen.as_ref().unwrap_or(self.indexes);
        let n_bytes = indexes.values().map(|index| index.n_bytes).sum();
        phase(self.shared, "check", n_bytes, indexes.len());
        let cx = CheckCx {
            shared: self.shared,
            selection: self.selection,
            indexes,
            encoding: self.encoding,
            ledger,
        };
        let n_workers = self.options.n_workers();
        if !self.options.single_transaction {
            let (checked, _) = check::compare(&cx, n_workers, None).await?;
            return Ok((Some(checked), first));
        }
        let session = first.into_session();
        let (checked, session) = check::compare(&cx, n_workers, Some(session)).await?;
        let session = session.expect("a session that is lent comes back");
        let worker = Worker::adopt(self.shared, session).await?;
        Ok((Some(checked), worker))
    }

    fn resumed(&self) -> Resumed {
        let journal = self.journal();
        let n_rows = self.indexes.values().map(|index| journal.amount(index).0);
        Resumed {
            n_done: journal.n_done(),
            n_rows: n_rows.sum(),
        }
    }

    fn report(&self, ledger: Ledger, cx: &PlanCx<'_>, outcome: Outcome) -> RestoreReport {
        let is_table =
            |id: EntryId| matches!(self.selection.entry(id).data, Some(DataOf::Table { .. }));
        let tables = self
            .indexes
            .keys()
            .filter(|id| !ledger.is_bad(**id) && is_table(**id));
        let kept = u64::from(!outcome.rolled_back);
        RestoreReport {
            archive: self.archive.name().as_str().to_owned(),
            database: String::new(),
            n_entries: kept * (self.selection.n_chosen() - ledger.n_bad()) as u64,
            n_tables: kept * tables.count() as u64,
            n_rows: kept * ledger.n_rows,
            raw_bytes: kept * ledger.raw_bytes,
            lost: losses::losses(cx, &ledger),
            brought: self.selection.brought.clone(),
            not_tried: ledger.not_tried,
            rolled_back: outcome.rolled_back,
            dropped: None,
            renamed: outcome.renamed,
            mentions: outcome.mentions,
            failed: ledger.failed,
            skipped: ledger.skipped,
            forbidden: ledger.forbidden,
            left_out: ledger.left_out.into_values().collect(),
            lost_rows: Vec::new(),
            warnings: ledger.warnings,
            phases: Vec::new(),
            checked: outcome.checked,
            resumed: self.journal().is_resumed.then(|| self.resumed()),
            resumable: outcome.resumable,
        }
    }
}

fn phase(shared: &Shared, name: &'static str, bytes: u64, n_tasks: usize) {
    shared.progress.event(Event::Phase {
        name,
        bytes,
        tasks: n_tasks as u64,
    });
}
