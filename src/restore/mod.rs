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
mod journal;
mod lacking;
mod leftover;
mod load;
mod losses;
mod names;
mod options;
mod pages;
mod plan;
mod preflight;
mod prove;
mod rename;
mod report;
mod row_order;
mod run;
mod salvage;
mod select;
mod share;
mod shared;
mod spread;
mod target;
mod tasks;
mod text;
mod triggers;
mod untrusted;
mod wanted;
mod work;
mod worker;

use std::sync::Arc;
use std::time::Instant;

pub(crate) use feed::{Fed, Feed, Seen};
pub(crate) use globals::{findings, findings_of_globals, restore_globals};
pub(crate) use lacking::lacking;
pub use options::{Check, RestoreOptions};
pub use report::{
    Checked, Difference, Dropped, Failure, Forbidden, LeftRow, LeftRows, Loss, Mention, Phase,
    Renamed, RestoreReport, Resumed, Skip,
};
pub use salvage::LostRows;

use self::adapt::Route;
use self::examine::Examined;
use self::journal::{Begin, Bond, Journal};
use self::prove::Indexes;
pub(crate) use self::report::chain;
use self::run::Run;
use self::select::Selection;
use self::shared::{CancelOnDrop, Shared};
use self::text::Declared;
pub(crate) use self::wanted::Promised;
use crate::archive::Archive;
use crate::error::Result;
use crate::pg::{ConnSettings, Session, connect};
use crate::progress::Progress;
use crate::sql::Ident;

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
    let target = &target.telling(Arc::clone(&progress)).for_one_life();
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
    let bond = Some(Bond::new(
        archive.name().as_str(),
        &archive.seal().to_string(),
        options,
    ));
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
        begins_with_database,
        begins_over,
        journal,
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
    if begins_with_database {
        let place = create::Place {
            tablespace: selection.database_tablespace(options),
            connection_limit: None,
        };
        create::create(&session, target.dbname(), source, place).await?;
    }
    let beginning = Beginning {
        bond: bond.filter(|_| examine::keeps_journal(archive, &shared, &facts)),
        journal,
        begins_with_database,
        begins_over,
    };
    let first = beginning
        .settle(session, &shared, options, &selection)
        .await?;
    clock.lap("preflight");
    let mut report = run.all(first, ledger, &mut clock).await?;
    report.lost_rows = lost;
    guard.finish();
    target.dbname().clone_into(&mut report.database);
    report.dropped = dropped.filter(|_| !report.rolled_back);
    report.phases = clock.phases;
    Ok(report)
}

/// How the changes begin.
struct Beginning {
    /// What a journal is bound to, where one is to be kept.
    bond: Option<Bond>,
    /// The journal that is gone on with.
    journal: Option<Journal>,
    /// True if the database has just been made: the session is to another one.
    begins_with_database: bool,
    /// True if the journal of a restore that has come to its end is to go.
    begins_over: bool,
}

impl Beginning {
    /// Keeps what `--clean` dropped, and begins the journal in the same transaction, or goes on with that which is there. Gives the
    /// session on which the work goes on: the journal's, and where all is one transaction that which has begun it.
    async fn settle(
        self,
        session: Session,
        shared: &Shared,
        options: &RestoreOptions,
        selection: &Selection,
    ) -> Result<Option<Session>> {
        if let Some(mut journal) = self.journal {
            let known = selection.event_triggers();
            let known: Vec<_> = known.filter(|(id, _)| journal.knows(*id)).collect();
            journal::take_back(&session, &known).await?;
            for (id, _) in known {
                journal.forget(id);
            }
            shared.keep(journal);
            return Ok(Some(session));
        }
        if options.clean && options.single_transaction {
            return Ok(Some(session));
        }
        if let Some(bond) = self.bond {
            let session = if self.begins_with_database {
                session.close().await;
                connect(&shared.settings, "restore").await?
            } else {
                session
            };
            let how = Begin {
                is_open: options.clean,
                is_over: self.begins_over,
            };
            journal::begin(&session, &bond, how).await?;
            shared.keep(Journal::default());
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
