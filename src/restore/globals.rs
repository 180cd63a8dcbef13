//! Restores what all databases of a cluster share, and what a database is to its cluster; and tells what stands against a restore
//! without beginning it. Several restores in a row are the caller's.

use std::sync::Arc;

use super::adapt::Route;
use super::examine::examine;
use super::options::RestoreOptions;
use super::plan::PlanCx;
use super::report::{Ledger, RestoreReport};
use super::select::Selection;
use super::shared::Shared;
use super::text::Declared;
use super::wanted::Promised;
use super::work::{Definition, Unit};
use super::worker::Worker;
use super::{Chosen, Proved, adapt, definitions, prove, rename, restore_chosen};
use crate::archive::Archive;
use crate::archive::manifest::Scope;
use crate::error::{Error, Result};
use crate::pg::ConnSettings;
use crate::progress::Progress;
use crate::toc::{Entry, Stage};

/// Restores entries of an archive of globals, over a connection to any database of the cluster.
///
/// What is there already is the caller's business: he has made such entries idle.
pub(crate) async fn restore_globals(
    archive: &Archive,
    entries: Vec<Entry>,
    target: &ConnSettings,
    progress: Arc<dyn Progress>,
) -> Result<RestoreReport> {
    let options = RestoreOptions::of_globals();
    let chosen = of_globals(archive, entries)?;
    restore_chosen(archive, target, &options, chosen, progress).await
}

/// What stands against restoring entries of an archive of globals. Changes nothing.
pub(crate) async fn findings_of_globals(
    archive: &Archive,
    entries: Vec<Entry>,
    target: &ConnSettings,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<String>> {
    let options = RestoreOptions::of_globals();
    let chosen = of_globals(archive, entries)?;
    findings_of(archive, target, &options, chosen, progress).await
}

/// What stands against a restore of a database once the promised roles and tablespaces are there. Changes nothing.
pub(crate) async fn findings(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
    promised: &Promised,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<String>> {
    let mut chosen = of_database(archive, target, options).await?;
    chosen.selection.promised = promised.clone();
    findings_of(archive, target, options, chosen, progress).await
}

async fn findings_of(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
    mut chosen: Chosen,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<String>> {
    let Proved {
        indexes, damages, ..
    } = prove(archive, options, &mut chosen, progress).await?;
    let chunks = archive.repository().chunks(1);
    let shared = Shared::new(target, options, chunks, Arc::clone(progress));
    let examined = examine(archive, &shared, options, &chosen, &indexes).await?;
    examined.session.close().await;
    let damages = super::prove::listed(damages).into_iter();
    let damages = damages.map(|damage| format!("the archive is damaged: {damage}"));
    Ok(damages.chain(examined.findings).collect())
}

/// The chosen entries of a database's archive, made those of the database that `target` names.
pub(super) async fn of_database(
    archive: &Archive,
    target: &ConnSettings,
    options: &RestoreOptions,
) -> Result<Chosen> {
    if archive.manifest().group.scope == Scope::Globals {
        return Err(Error::Usage(format!(
            "archive {} holds roles and tablespaces and no database: say --globals-only, or --all for its whole set",
            archive.name()
        )));
    }
    options.check()?;
    let mut entries = archive.entries().await?;
    let mut findings = Vec::new();
    let mut encoding = archive.manifest().source.encoding.clone();
    let declared = Declared::open(archive, target, options).await?;
    if let Some(declared) = &declared {
        (entries, findings) = declared.entries(entries).await?;
        declared.encoding().clone_into(&mut encoding);
    }
    adapt::map_roles(&mut entries, &options.map_roles)?;
    for entry in &mut entries {
        if entry.stage == Stage::Database {
            entry.set_database(target.dbname());
        }
    }
    let mut selection = Selection::new(archive.name().as_str(), entries, options)?;
    rename::check(&selection, options)?;
    if options.load_via_partition_root {
        selection.route_partitions(Route::All);
    }
    Ok(Chosen {
        selection,
        encoding,
        findings,
        declared,
        feed: None,
    })
}

fn of_globals(archive: &Archive, entries: Vec<Entry>) -> Result<Chosen> {
    Ok(Chosen {
        selection: Selection::of_globals(archive.name().as_str(), entries)?,
        encoding: archive.manifest().source.encoding.clone(),
        findings: Vec::new(),
        declared: None,
        feed: None,
    })
}

/// Gives the database what it is to its cluster, when all is in it; false if there is nothing to give.
///
/// Errors: only if the connection is lost for good.
pub(super) async fn properties(
    shared: &Shared,
    cx: &PlanCx<'_>,
    ledger: &mut Ledger,
) -> Result<bool> {
    let properties = definitions_of_database(cx);
    if properties.is_empty() {
        return Ok(false);
    }
    let mut worker = Worker::open(shared).await?;
    let done = definitions::run(
        std::slice::from_mut(&mut worker),
        shared,
        cx.selection,
        &properties,
        ledger,
    )
    .await;
    worker.close().await;
    done.map(|()| true)
}

/// What the database itself is given when all is in it: its settings and limits must not meet the restore's own connections.
fn definitions_of_database(cx: &PlanCx<'_>) -> Vec<Definition> {
    let entries = cx
        .selection
        .iter()
        .filter(|entry| entry.stage == Stage::Database);
    let definition = |entry: &Entry| Definition {
        entry: entry.id,
        needs: cx.selection.needs(entry.id),
        units: cx
            .units(entry)
            .into_iter()
            .chain(cx.grants(entry))
            .map(|unit| Unit {
                // It is where the database was made, and nothing more is put there.
                tablespace: None,
                ..unit
            })
            .collect(),
    };
    entries.map(definition).collect()
}
