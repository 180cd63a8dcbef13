//! Cloning: a database becomes another one, without an archive between.
//!
//! A dump's reading and a restore's loading, joined: the source is locked and looked at as for a dump, its entries are restored as
//! those of an archive, and each table's rows go from a connection in the one snapshot straight into a connection of the target, a
//! bounded number of bytes between them. What a dump checks of the source and a restore of the target is checked here by the same
//! code; rows are counted on both sides.

mod feed;
mod report;
mod same;

use std::sync::Arc;
use std::time::Instant;

pub use self::report::CloneReport;

use self::feed::LiveFeed;
use crate::dump::{DumpOptions, live};
use crate::error::Result;
use crate::pg::ConnSettings;
use crate::progress::Progress;
use crate::restore::{Phase, RestoreOptions, restore_fed};
use crate::selection::{Omit, Selection};
use crate::toc::EntryId;

/// What is cloned, and how.
///
/// What is chosen stands in the dump's options, and the restore's selection is made of it; connections that work at once are the
/// restore's `jobs`, as many on each side. What is about archives means nothing here.
#[derive(Debug, Clone, Default)]
pub struct CloneOptions {
    /// What is read, and how.
    pub dump: DumpOptions,
    /// How it is made anew.
    pub restore: RestoreOptions,
}

/// Clones the database that `source` names into the one that `target` names.
///
/// Returns a report, also if objects failed: see [`CloneReport::is_complete`]. Dropping the future cancels what runs on both
/// servers; committed work stays.
///
/// # Errors
/// Before the first change: those of [`dump()`](crate::dump()) for the source, those of [`restore()`](crate::restore()) for the
/// target, [`Error::Usage`](crate::Error::Usage) if both are the same database. After it: if connections to one of them are lost for good.
pub async fn clone_database(
    source: &ConnSettings,
    target: &ConnSettings,
    options: &CloneOptions,
    progress: Arc<dyn Progress>,
) -> Result<CloneReport> {
    let started = Instant::now();
    if !options.restore.create {
        same::refuse(source, target).await?;
    }
    let mut reading = options.dump.clone();
    reading.jobs = if options.restore.single_transaction {
        1
    } else {
        options.restore.jobs.max(1)
    };
    let opened = Box::pin(live::open(source, &reading, Arc::clone(&progress))).await?;
    let looked = Phase {
        name: "catalog",
        seconds: started.elapsed().as_secs_f64(),
    };
    let n_entries = opened.archive.manifest().totals.n_entries;
    let restoring = RestoreOptions {
        selection: selection(&options.dump.selection, n_entries),
        ..options.restore.clone()
    };
    let feed = Arc::new(LiveFeed(Arc::clone(&opened.live)));
    let restored = restore_fed(&opened.archive, feed, target, &restoring, progress);
    let restored = Box::pin(restored).await;
    // Whatever became of it: nobody reads any more.
    let closed = opened.live.close().await;
    let mut report = CloneReport::new(&opened, restored?);
    closed?;
    report.restored.phases.insert(0, looked);
    report.took(started.elapsed());
    Ok(report)
}

/// All that was read, as a restore chooses it: where objects were left out, the target need not be empty.
fn selection(chosen: &Selection, n_entries: u64) -> Selection {
    let n_entries = u32::try_from(n_entries).expect("entries have numbers of 32 bits");
    let all = || (0..n_entries).map(EntryId).collect();
    let omit = chosen.omit.iter().copied();
    Selection {
        sections: chosen.sections.clone(),
        schema_only: chosen.schema_only,
        data_only: chosen.data_only,
        omit: omit
            .filter(|class| *class != Omit::ToastCompression)
            .collect(),
        listed: (!chosen.leaves_no_object_out()).then(all),
        ..Selection::default()
    }
}
