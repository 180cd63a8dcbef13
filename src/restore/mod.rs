//! Restores an archive into a database.
//!
//! A restore knows entries, not object kinds: what to run and what it needs, locks and loses stands in the archive.
//! Before the first change everything that can be known is checked (`prove` the archive, `target` and `preflight` the
//! server), all findings in one report. Then definitions run in order on one connection (`definitions`), and rows,
//! indexes, keys and the rest run as tasks of a plan (`plan`, `load`) on several (`executor`, `worker`, `copy_in`).
//! What fails does not stop the rest; the [`RestoreReport`] names it, and what could not be tried because of it.
//! Nothing that was in the target is ever dropped or overwritten.

mod careful;
mod check;
mod copy_in;
mod create;
mod definitions;
mod executor;
mod leftover;
mod load;
mod options;
mod plan;
#[cfg(test)]
mod plan_tests;
mod preflight;
mod prove;
mod report;
mod select;
mod target;
mod text;
mod wanted;
mod worker;

use std::sync::Arc;
use std::time::Instant;

pub use options::{Check, RestoreOptions};
pub use report::{
    Checked, Difference, Failure, LeftRow, LeftRows, Loss, Phase, RestoreReport, Skip,
};

use self::plan::PlanCx;
use self::prove::Indexes;
use self::report::Ledger;
use self::select::Selection;
use self::target::TargetFacts;
use self::text::Declared;
use self::wanted::Wanted;
use self::worker::{CancelOnDrop, Shared, Worker};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::pg::pin::client_encoding;
use crate::pg::pooler::require_own_backend;
use crate::pg::{ConnSettings, Session, connect};
use crate::progress::{Event, Progress};
use crate::sql::Ident;
use crate::toc::{DataOf, EntryId};

/// Restores `archive` into the database that `target` names.
///
/// Returns a report, also if objects failed: see [`RestoreReport::is_complete`]. Dropping the future cancels what runs on
/// the server; committed work stays.
///
/// # Errors
/// Before the first change: [`Error::Usage`] for options and patterns, [`Error::Refused`] with all findings,
/// [`Error::Corrupt`] if the archive's damage is the only one, [`Error::Connect`]. After it: only if the connections are
/// lost for good, or a table cannot be read back.
pub async fn restore(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
    progress: Arc<dyn Progress>,
) -> Result<RestoreReport> {
    let mut clock = Clock::new();
    let name = archive.name().as_str();
    let mut encoding = archive.manifest().source.encoding.clone();
    let mut entries = archive.entries().await?;
    let mut findings = Vec::new();
    let declared = Declared::open(archive, target, options).await?;
    if let Some(declared) = &declared {
        (entries, findings) = declared.entries(entries).await?;
        declared.encoding().clone_into(&mut encoding);
    }
    let selection = Selection::new(name, entries, options)?;
    let (mut indexes, mut damages) = prove::read_indexes(archive, &selection).await?;
    if let Some(declared) = declared {
        indexes = declared.indexes(indexes).await?;
        declared.close().await;
    }
    if damages.is_empty() {
        let hash = options.verify_chunks;
        damages = prove::prove_chunks(archive, &selection, &indexes, hash, &progress).await?;
    }
    clock.lap("verify");

    let mut examined = examine(&encoding, target, options, &selection, &indexes).await?;
    examined.findings.extend(findings);
    let warnings = refuse(archive, target, damages, &examined)?;
    if options.create {
        let source = &archive.manifest().source;
        create::create(&examined.session, target.dbname(), source).await?;
    }
    let Examined { facts, session, .. } = examined;
    session.close().await;
    clock.lap("preflight");

    let run = Run {
        archive,
        encoding: &encoding,
        options,
        selection: &selection,
        indexes: &indexes,
        facts: &facts,
    };
    let chunks = archive.repository().chunks(1);
    let shared = Arc::new(Shared::new(target, options, chunks, progress));
    let guard = CancelOnDrop::new(&shared);
    let mut ledger = Ledger::default();
    for warning in warnings {
        shared.progress.event(Event::Warning(warning.clone()));
        ledger.warnings.push(warning);
    }
    let mut report = run.all(&shared, ledger, &mut clock).await?;
    guard.finish();
    target.dbname().clone_into(&mut report.database);
    report.phases = clock.phases;
    Ok(report)
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

/// What was found out about the target.
struct Examined {
    session: Session,
    facts: TargetFacts,
    findings: Vec<String>,
    warnings: Vec<String>,
}

/// Looks at the target without changing it.
async fn examine(
    encoding: &str,
    target: &ConnSettings,
    options: &RestoreOptions,
    selection: &Selection,
    indexes: &Indexes,
) -> Result<Examined> {
    let mut findings = Vec::new();
    let session = if options.create {
        let (session, exists) = create::look(target).await?;
        if exists {
            findings.push(format!(
                "database {} exists already; restore into it without --create, or choose another name",
                Ident::new(target.dbname()).quoted()
            ));
        }
        session
    } else {
        connect(target, "restore").await?
    };
    require_own_backend(&session, target).await?;
    session.pin(&[client_encoding()]).await?;
    if let Some(role) = &options.role {
        let set = format!("SET ROLE {}", Ident::new(role).quoted());
        if let Err(error) = session.batch("the session", "SET ROLE", &set).await {
            findings.push(format!(
                "role {} cannot be taken on: {}; choose another with --role",
                Ident::new(role).quoted(),
                report::chain(&error)
            ));
        }
    }
    let wanted = Wanted::new(selection, options, session.version());
    let mut facts = target::read(&session, &wanted, options.create).await?;
    if options.create {
        // A declaration is not the source's encoding, with which the database is made.
        let declared = options.text_encoding.is_some();
        let made = if declared { text::NONE } else { encoding };
        made.clone_into(&mut facts.encoding);
    }
    let verdict = preflight::judge(&wanted, &facts, encoding, options);
    findings.extend(verdict.findings);
    let encodings = (encoding, facts.encoding.as_str());
    findings.extend(text::findings(selection.iter(), encodings, options));
    findings.extend(preflight::binary_rows(
        selection, indexes, encodings, options,
    ));
    let to_fill = indexes
        .values()
        .filter_map(|index| match &selection.entry(index.entry).data {
            Some(crate::toc::DataOf::Table { target, .. }) => Some((target.text(), index)),
            _ => None,
        });
    let to_fill: Vec<_> = to_fill.collect();
    findings.extend(preflight::missing_columns(&wanted, &facts, &to_fill));
    Ok(Examined {
        session,
        facts,
        findings,
        warnings: verdict.warnings,
    })
}

/// Ends the restore here if anything stands against it; gives the warnings if not.
fn refuse(
    archive: &Archive,
    target: &ConnSettings,
    damages: Vec<String>,
    examined: &Examined,
) -> Result<Vec<String>> {
    let damages = prove::listed(damages);
    if !damages.is_empty() && examined.findings.is_empty() {
        return Err(Error::corrupt(
            format_args!("archive {}", archive.name()),
            "its rows; nothing was changed",
            damages.join("; "),
        ));
    }
    let mut findings: Vec<String> = damages
        .into_iter()
        .map(|damage| format!("the archive is damaged: {damage}"))
        .collect();
    findings.extend(examined.findings.iter().cloned());
    if findings.is_empty() {
        let mut warnings = preflight::repository_warnings(archive);
        warnings.extend(examined.warnings.iter().cloned());
        return Ok(warnings);
    }
    Err(Error::Refused {
        what: format!(
            "restore of archive {} into database {}",
            archive.name(),
            Ident::new(target.dbname()).quoted()
        ),
        findings,
    })
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
}

impl Run<'_> {
    async fn all(
        &self,
        shared: &Arc<Shared>,
        mut ledger: Ledger,
        clock: &mut Clock,
    ) -> Result<RestoreReport> {
        let encoding = self.encoding;
        let cx = PlanCx {
            selection: self.selection,
            options: self.options,
            version: self.facts.version,
            encoding,
            one_by_one: self.facts.has_foreign_keys,
        };
        let mut workers = vec![Worker::open(shared).await?];
        let definitions = plan::definitions(&cx);
        phase(shared, "definitions", 0, definitions.len());
        definitions::run(
            &mut workers[0],
            shared,
            self.selection,
            &definitions,
            &mut ledger,
        )
        .await?;
        clock.lap("definitions");

        let tasks = plan::tasks(&cx, self.indexes, &mut ledger);
        let n_bytes = self.indexes.values().map(|index| index.n_bytes).sum();
        phase(shared, "rows and indexes", n_bytes, tasks.len());
        while workers.len() < self.options.n_workers().min(tasks.len()) {
            workers.push(Worker::open(shared).await?);
        }
        let mut workers =
            executor::run(shared, self.selection, tasks, workers, &mut ledger).await?;
        clock.lap("rows and indexes");

        if self.options.analyze && !self.options.schema_only {
            leftover::analyze(&mut workers, shared, self.selection, &mut ledger).await?;
            clock.lap("statistics");
        }
        futures::future::join_all(workers.into_iter().map(Worker::close)).await;

        let mut checked = None;
        if self.options.check == Check::Content {
            phase(shared, "check", n_bytes, self.indexes.len());
            let n_workers = self.options.n_workers();
            let found = check::compare(
                shared,
                self.selection,
                self.indexes,
                encoding,
                &ledger,
                n_workers,
            );
            checked = Some(found.await?);
            clock.lap("check");
        }
        Ok(self.report(ledger, &cx, checked))
    }

    fn report(&self, ledger: Ledger, cx: &PlanCx<'_>, checked: Option<Checked>) -> RestoreReport {
        let is_table =
            |id: EntryId| matches!(self.selection.entry(id).data, Some(DataOf::Table { .. }));
        let tables = self
            .indexes
            .keys()
            .filter(|id| !ledger.is_bad(**id) && is_table(**id));
        RestoreReport {
            archive: self.archive.name().as_str().to_owned(),
            database: String::new(),
            n_entries: (self.selection.n_chosen() - ledger.n_bad()) as u64,
            n_tables: tables.count() as u64,
            n_rows: ledger.n_rows,
            raw_bytes: ledger.raw_bytes,
            lost: plan::losses(cx),
            failed: ledger.failed,
            skipped: ledger.skipped,
            left_out: ledger.left_out.into_values().collect(),
            warnings: ledger.warnings,
            phases: Vec::new(),
            checked,
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
