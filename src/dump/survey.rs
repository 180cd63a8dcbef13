//! What a dump would write now, cut as an archive was, without writing it: the second side of a comparison with that archive.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::catalog_phase::Looked;
use super::group::Before;
use super::writing::gather;
use super::{DumpOptions, RowsCx, begin, plan_data, refusals, values};
use crate::archive::manifest::Scope;
use crate::archive::repository::Archive;
use crate::error::Result;
use crate::manage::diff::Contents;
use crate::pg::ConnSettings;
use crate::progress::Progress;
use crate::toc::{Entry, EntryId, EntryName, Stage};

/// Looks at a database and reads its rows, in one snapshot, as a dump does. Of an archive that is not of the whole database only
/// the tables are read that it has rows of.
///
/// Errors: those of a dump, and of reading the archive's own lists.
pub async fn survey(
    source: &ConnSettings,
    archive: &Archive,
    options: &DumpOptions,
    progress: Arc<dyn Progress>,
) -> Result<Contents> {
    let before = Before::of(archive).await?;
    let archived = archive.entries().await?;
    let (mut looked, _) = begin(source, options, progress.as_ref()).await?;
    if archive.manifest().group.scope == Scope::Partial {
        keep_rows_of(&mut looked, &archived);
    }
    let (facts, n_relations) = (looked.facts.clone(), looked.n_relations);
    let rows = RowsCx {
        source,
        options,
        progress: &progress,
        settings: archive.repository().marker().chunks,
    };
    let name = archive.manifest().group.database.clone();
    let contents = read(looked, before, rows, archive).await;
    let mut contents = contents.map_err(|error| refusals::explain(error, &facts, n_relations))?;
    for entry in &mut contents.entries {
        if entry.stage == Stage::Database {
            entry.set_database(&name);
            entry.name.name.clone_from(&name);
        }
    }
    Ok(contents)
}

async fn read(
    mut looked: Looked,
    before: Before,
    rows: RowsCx<'_>,
    archive: &Archive,
) -> Result<Contents> {
    let chunks = archive.repository().chunks(rows.options.level);
    let chunks = chunks.with_known(before.chunks).forgetting();
    let session = looked.owner.session();
    let plan = plan_data(&looked, session, &before.cuts, rows.options.cell_bytes).await?;
    let tables = plan.tables.clone();
    let n_ranges = plan.objects.ranges.len();
    let large_objects = plan.large_objects.map(|entry| (entry, n_ranges));
    let read = rows.read(&looked, plan, &chunks).await?;
    let tables = gather(&tables, large_objects, read.segments)?;
    values::fill_in(looked.owner.session(), &mut looked.toc).await?;
    let entries = looked.toc.entries;
    looked.owner.end().await;
    Ok(Contents {
        entries,
        tables,
        is_whole: true,
    })
}

/// Leaves the rows of other tables out of the reading.
fn keep_rows_of(looked: &mut Looked, archived: &[Entry]) {
    let with_rows = archived.iter().filter(|entry| entry.data.is_some());
    let wanted: BTreeSet<(&str, &EntryName)> = with_rows
        .map(|entry| (entry.label.as_str(), &entry.name))
        .collect();
    let entries = &looked.toc.entries;
    let is_wanted = |id: &EntryId| {
        let entry = &entries[id.0 as usize];
        wanted.contains(&(entry.label.as_str(), &entry.name))
    };
    looked.toc.data.retain(|(id, _)| is_wanted(id));
}
