//! The archives that a dump's own belongs with: what the newest of them tells the next dump, and removing the oldest after success.

use std::collections::{HashMap, HashSet};

use super::DumpOptions;
use super::catalog_phase::Looked;
use crate::archive::digest::Digest;
use crate::archive::manifest::{Group, Manifest, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::repository::{GroupFilter, Repository};
use crate::error::{Error, Result};

/// The group that the dump's archive belongs to.
pub(super) fn group_of(looked: &Looked, options: &DumpOptions) -> Group {
    let scope = if options.selection.is_full() && looked.is_whole {
        Scope::Full
    } else {
        Scope::Partial
    };
    Group {
        system_identifier: looked.facts.source.system_identifier.clone(),
        database: looked.facts.database.name.clone(),
        job: options.job.clone(),
        scope,
    }
}

/// What the group's newest archive tells the next dump.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Its name.
    pub archive: Option<ArchiveName>,
    /// Cell lengths by the quoted table name.
    pub cells: HashMap<String, u32>,
    /// Its chunks, which the lease protects: what they hold need not be sent again.
    pub chunks: HashSet<Digest>,
}

/// A damaged or unreadable predecessor is no reason not to dump: it only costs the chunk boundaries' continuity.
pub(super) async fn previous(repository: &Repository, group: &Group) -> Result<Before> {
    let filter = GroupFilter {
        system_identifier: Some(group.system_identifier.clone()),
        database: Some(group.database.clone()),
        job: Some(group.job.clone()),
        scope: Some(group.scope),
    };
    let archive = match repository.latest(&filter).await {
        Ok(archive) => archive,
        Err(Error::NotFound { .. } | Error::Corrupt { .. } | Error::Feature { .. }) => {
            return Ok(Before::default());
        }
        Err(error) => return Err(error),
    };
    let (Ok(entries), Ok(indexes)) = (archive.entries().await, archive.table_indexes().await)
    else {
        return Ok(Before::default());
    };
    let mut cells = HashMap::new();
    let mut chunks = HashSet::new();
    for index in indexes {
        let pieces = index.segments.iter().flat_map(|segment| &segment.pieces);
        chunks.extend(pieces.map(|piece| piece.chunk));
        let entry = entries.get(index.entry.0 as usize);
        let Some(crate::toc::DataOf::Table { target, .. }) =
            entry.and_then(|entry| entry.data.as_ref())
        else {
            continue;
        };
        cells.extend(index.cell_blocks.map(|blocks| (target.text(), blocks)));
    }
    Ok(Before {
        archive: Some(archive.manifest().name.clone()),
        cells,
        chunks,
    })
}

/// Removes the group's older archives, keeping `keep`, this one included. Only after its own success.
pub(crate) async fn rotate(
    repository: &Repository,
    newest: &Manifest,
    keep: usize,
) -> Result<Vec<ArchiveName>> {
    let archives = repository.archives().await?;
    let same: Vec<&ArchiveName> = archives
        .iter()
        .filter(|listed| listed.manifest.is_ok() && listed.group.as_ref() == Some(&newest.group))
        .map(|listed| &listed.name)
        .collect();
    let n_gone = same.len().saturating_sub(keep.max(1));
    let gone: Vec<ArchiveName> = same
        .into_iter()
        .filter(|name| **name != newest.name)
        .take(n_gone)
        .cloned()
        .collect();
    for name in &gone {
        let why = format!("rotated after {}: the newest {keep} are kept", newest.name);
        repository.remove(name, &why).await?;
    }
    Ok(gone)
}
