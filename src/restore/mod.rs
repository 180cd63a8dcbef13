//! Restores an archive into a database.
//!
//! A restore knows entries, not object kinds: what to run and what it needs, locks and loses stands in the archive.
//! Before the first change everything that can be known is checked (`prove` the archive, `target` and `preflight` the
//! server), all findings in one report. Then definitions run in order on one connection (`definitions`), and rows,
//! indexes, keys and the rest run as tasks of a plan (`plan`, `load`) on several (`executor`, `worker`, `copy_in`).
//! What fails does not stop the rest; the [`RestoreReport`] names it, and what could not be tried because of it.
//! Nothing that was in the target is dropped or overwritten, unless `clean` is asked for.

mod adapt;
mod careful;
mod check;
mod clean;
mod closure;
mod copy_in;
pub(crate) mod create;
#[cfg(test)]
mod damage_tests;
mod definitions;
mod examine;
mod executor;
mod feed;
mod forbidden;
mod gather;
mod globals;
mod lacking;
mod leftover;
mod load;
mod losses;
mod names;
mod options;
mod pages;
mod plan;
#[cfg(test)]
mod plan_tests;
mod preflight;
mod prove;
mod rename;
mod report;
mod row_order;
mod salvage;
mod select;
mod share;
mod shared;
mod spread;
mod target;
mod text;
mod triggers;
mod untrusted;
mod wanted;
mod work;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use feed::{Fed, Feed, Seen};
pub(crate) use globals::{findings, findings_of_globals, restore_globals};
pub(crate) use lacking::lacking;
pub use options::{Check, RestoreOptions};
pub use report::{
    Checked, Difference, Dropped, Failure, Forbidden, LeftRow, LeftRows, Loss, Mention, Phase,
    Renamed, RestoreReport, Skip,
};
pub use salvage::LostRows;

use self::adapt::Route;
use self::check::CheckCx;
use self::examine::Examined;
use self::plan::{PlanCx, RowsFrom};
use self::prove::Indexes;
use self::rename::{Beforehand, Renaming};
use self::report::Ledger;
pub(crate) use self::report::chain;
use self::row_order::RowOrder;
use self::select::Selection;
use self::shared::{CancelOnDrop, Shared};
use self::target::TargetFacts;
use self::text::Declared;
pub(crate) use self::wanted::Promised;
use self::wanted::Wanted;
use self::worker::Worker;
use crate::archive::Archive;
use crate::error::Result;
use crate::pg::{ConnSettings, Session};
use crate::progress::{Event, Progress};
use crate::sql::Ident;
use crate::toc::{DataOf, EntryId, Stage};

/// Restores `archive` into the database that `target` names.
///
/// Returns a report, also if objects failed: see [`RestoreReport::is_complete`]. Dropping the future cancels what runs on
/// the server; committed work stays.
///
/// # Errors
/// Before the first change: [`Error::Usage`](crate::Error::Usage) for options, patterns and an archive of globals,
/// [`Error::Refused`](crate::Error::Refused) with all findings, [`Error::Corrupt`](crate::Error::Corrupt) if the archive's
/// damage is the only one, [`Error::Connect`](crate::Error::Connect). After it: only if the connections are lost for good,
/// or a table cannot be read back.
pub async fn restore(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
    progress: Arc<dyn Progress>,
) -> Result<RestoreReport> {
    let options = &untrusted::narrowed(options);
    let chosen = globals::of_database(archive, target, options).await?;
    Box::pin(restore_chosen(archive, target, options, chosen, progress)).await
}

/// Restores the entries of `archive`, which holds no rows, with rows that come from `feed`; the rest is as in [`restore`].
///
/// # Errors
/// Those of [`restore`]; after the first change also if the feed ends for good.
pub(crate) async fn restore_fed(
    archive: &Archive,
    feed: Arc<dyn Feed>,
    target: &ConnSettings,
    options: &RestoreOptions,
    progress: Arc<dyn Progress>,
) -> Result<RestoreReport> {
    let mut chosen = globals::of_database(archive, target, options).await?;
    chosen.feed = Some(feed);
    Box::pin(restore_chosen(archive, target, options, chosen, progress)).await
}

/// The chosen entries, as text that the target understands.
struct Chosen {
    selection: Selection,
    /// The encoding of the rows: the archive's, or what the user declared its bytes to be.
    encoding: String,
    /// What cannot be text in the declared encoding.
    findings: Vec<String>,
    /// Turns the names in the data index, too.
    declared: Option<Declared>,
    /// Where the rows come from, if not from the archive.
    feed: Option<Arc<dyn Feed>>,
}

impl Chosen {
    /// The whole work as errors name it.
    fn work(&self, archive: &Archive, target: &ConnSettings) -> String {
        let into = Ident::new(target.dbname()).quoted();
        if self.feed.is_some() {
            let from = Ident::new(&archive.manifest().source.database).quoted();
            return format!("clone of database {from} into database {into}");
        }
        format!("restore of archive {} into database {into}", archive.name())
    }
}

async fn restore_chosen(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
    mut chosen: Chosen,
    progress: Arc<dyn Progress>,
) -> Result<RestoreReport> {
    let mut clock = Clock::new();
    let Proved {
        indexes,
        damages,
        lost,
        doubts,
    } = Box::pin(prove(archive, options, &mut chosen, &progress)).await?;
    clock.lap("verify");

    let chunks = archive.repository().chunks(1);
    let shared = Shared::new(target, options, chunks, progress).fed_by(chosen.feed.clone());
    let shared = Arc::new(shared);
    let work = chosen.work(archive, target);
    let guard = CancelOnDrop::new(&shared);
    let examining = examine::examine(archive, &shared, options, &chosen, &indexes);
    let examined = Box::pin(examining).await?;
    let Chosen {
        mut selection,
        encoding,
        ..
    } = chosen;
    let mut warnings = examined.refuse(archive, work, damages).await?;
    warnings.extend(doubts);
    let source = &archive.manifest().source;
    if let Some(reason) = preflight::moves_rows(source, &examined.facts) {
        let roots = selection.route_partitions(Route::ByCollation);
        warnings.extend(routed(roots.len(), &reason));
    }
    warnings.extend(selection.warnings.iter().cloned());
    let Examined {
        session,
        facts,
        order,
        dropped,
        absent_roles,
        ..
    } = examined;
    let run = Run {
        archive,
        encoding: &encoding,
        options,
        selection: &selection,
        indexes: &indexes,
        absent_roles,
        facts: &facts,
        order: &order,
        shared: &shared,
    };
    let ledger = run.foresee(warnings);
    if options.create {
        let place = create::Place {
            tablespace: selection.database_tablespace(options),
            connection_limit: None,
        };
        create::create(&session, target.dbname(), source, place).await?;
    }
    let first = settle(session, options).await?;
    clock.lap("preflight");
    let mut report = run.all(first, ledger, &mut clock).await?;
    report.lost_rows = lost;
    guard.finish();
    target.dbname().clone_into(&mut report.database);
    report.dropped = dropped.filter(|_| !report.rolled_back);
    report.phases = clock.phases;
    Ok(report)
}

/// Keeps what `--clean` dropped. Where all is one transaction, that goes on, on this session.
async fn settle(session: Session, options: &RestoreOptions) -> Result<Option<Session>> {
    if options.clean && options.single_transaction {
        return Ok(Some(session));
    }
    if options.clean {
        // COMMIT of a transaction that has failed is no error; a query in it is.
        let commit = "SELECT 1;\nCOMMIT";
        session.batch("the target", "COMMIT", commit).await?;
    }
    session.close().await;
    Ok(None)
}

fn routed(n_roots: usize, reason: &str) -> Option<String> {
    (n_roots > 0).then(|| {
        format!(
            "the target has {reason}, which may put rows into other partitions: those of {n_roots} partitioned {} are loaded through the root",
            if n_roots == 1 { "table" } else { "tables" }
        )
    })
}

/// What is known of the rows before the first change.
struct Proved {
    indexes: Indexes,
    /// What a restore is refused for.
    damages: Vec<String>,
    /// What cannot be restored of rows, where that is accepted; the indexes are without it.
    lost: Vec<LostRows>,
    /// What proves less than it could.
    doubts: Vec<String>,
}

/// Reads and proves what is to be restored.
async fn prove(
    archive: &Archive,
    options: &RestoreOptions,
    chosen: &mut Chosen,
    progress: &Arc<dyn Progress>,
) -> Result<Proved> {
    let mut doubts = Vec::new();
    let (mut indexes, mut damages) = if let Some(feed) = &chosen.feed {
        let wanted = feed.indexes().into_iter();
        let wanted = wanted.filter(|index| chosen.selection.has(index.entry));
        let wanted = wanted.map(|index| (index.entry, index)).collect();
        (wanted, Vec::new())
    } else {
        doubts.extend(prove::check_announced(archive).await?);
        prove::read_indexes(archive, &chosen.selection).await?
    };
    if let Some(declared) = chosen.declared.take() {
        indexes = declared.indexes(indexes).await?;
        declared.close().await;
    }
    let selection = &chosen.selection;
    let mut lost = Vec::new();
    if damages.is_empty() && chosen.feed.is_none() {
        let hash = options.verify_chunks || options.salvage;
        let bad;
        (damages, bad) = prove::prove_chunks(archive, selection, &indexes, hash, progress).await?;
        if !options.salvage {
            damages.extend(prove::named(&bad, selection));
        } else if damages.is_empty() {
            let bad = bad.into_iter().map(|(chunk, _, why)| (chunk.chunk, why));
            let bad = bad.collect();
            lost = salvage::salvage(archive, selection, &mut indexes, &bad).await?;
        }
    }
    Ok(Proved {
        indexes,
        damages,
        lost,
        doubts,
    })
}

/// What a restore would say before its first change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// What it would be refused for, each with its remedy.
    pub findings: Vec<String>,
    /// What it would warn of.
    pub warnings: Vec<String>,
}

/// Examines a target as [`restore`] does, and leaves it there. The archive's rows are not proved.
///
/// # Errors
/// [`Error::Usage`] for options and patterns, [`Error::Connect`], [`Error::Corrupt`] if the archive's lists cannot be read.
pub async fn check_target(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
) -> Result<Foreseen> {
    let options = &untrusted::narrowed(options);
    let chosen = globals::of_database(archive, target, options).await?;
    let (indexes, damages) = prove::read_indexes(archive, &chosen.selection).await?;
    let chunks = archive.repository().chunks(1);
    let shared = Shared::new(target, options, chunks, Arc::new(crate::progress::Silent));
    let examined = examine::examine(archive, &shared, options, &chosen, &indexes).await?;
    examined.session.close().await;
    let mut findings = prove::listed(damages);
    findings.extend(examined.findings);
    let mut warnings = preflight::repository_warnings(archive);
    warnings.extend(examined.warnings);
    Ok(Foreseen { findings, warnings })
}

/// Measures the parts of a restore.
struct Clock {
    since: Instant,
    phases: Vec<Phase>,
}

impl Clock {
    fn new() -> Clock {
        Clock {
            since: Instant::now(),
            phases: Vec::new(),
        }
    }

    fn lap(&mut self, name: &'static str) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.phases.push(Phase { name, seconds });
        self.since = Instant::now();
    }
}

/// A restore that was found possible.
struct Run<'a> {
    archive: &'a Archive,
    /// The encoding of the archive's rows.
    encoding: &'a str,
    options: &'a RestoreOptions,
    selection: &'a Selection,
    indexes: &'a Indexes,
    facts: &'a TargetFacts,
    order: &'a RowOrder,
    shared: &'a Arc<Shared>,
    absent_roles: BTreeSet<String>,
}

/// What became of the work beside the ledger.
#[derive(Default)]
struct Outcome {
    checked: Option<Checked>,
    renamed: Vec<Renamed>,
    mentions: Vec<Mention>,
    rolled_back: bool,
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
        }
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
    fn foresee(&self, warnings: Vec<String>) -> Ledger {
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

    async fn all(
        &self,
        first: Option<Session>,
        mut ledger: Ledger,
        clock: &mut Clock,
    ) -> Result<RestoreReport> {
        let cx = self.cx();
        let mut first = match first {
            Some(session) => Worker::adopt(self.shared, session).await?,
            None => Worker::open(self.shared).await?,
        };
        let wanted = Wanted::new(self.selection, self.options, self.facts.version);
        let beforehand = Beforehand::new(&wanted, self.facts, self.options);
        let pairs = &self.options.map_schemas;
        let renaming = Renaming::prepare(&mut first, self.shared, pairs, beforehand).await?;
        let first = self.work(&cx, first, &mut ledger, clock).await?;
        let outcome = self.end(first, &renaming, &mut ledger, clock).await?;
        let is_kept = !outcome.rolled_back && !self.has_stopped(&ledger);
        if is_kept && globals::properties(self.shared, &cx, &mut ledger).await? {
            clock.lap("database");
        }
        Ok(self.report(ledger, &cx, outcome))
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
        let cx = &PlanCx {
            foreign_objects,
            ..*cx
        };
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
            let tasks = plan::tasks(cx, self.indexes, ledger);
            let n_bytes = self.indexes.values().map(|index| index.n_bytes).sum();
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

    /// The target's own large objects, where contents of others are restored.
    async fn foreign_objects(&self, worker: &Worker) -> Result<Vec<u32>> {
        let is_pages =
            |id: &EntryId| matches!(self.selection.entry(*id).data, Some(DataOf::LargeObjects));
        if self.indexes.keys().any(is_pages) {
            pages::foreign(worker.session()).await
        } else {
            Ok(Vec::new())
        }
    }

    /// Compares, renames, and ends the one transaction where there is one.
    async fn end(
        &self,
        mut first: Worker,
        renaming: &Renaming<'_>,
        ledger: &mut Ledger,
        clock: &mut Clock,
    ) -> Result<Outcome> {
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
        first.close().await;
        Ok(outcome)
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
