//! The archives that a dump's own belongs with: what the newest of them tells the next dump.

use std::collections::{HashMap, HashSet};

use super::DumpOptions;
use super::catalog_phase::Looked;
use crate::archive::digest::Digest;
use crate::archive::manifest::{Group, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::repository::{GroupFilter, Repository, manifest_key};
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

impl Before {
    /// Once the lease stands: an archive that was removed before protects nothing, and its chunks are sent again.
    pub(super) async fn forget_if_gone(&mut self, repository: &Repository) -> Result<()> {
        if let Some(name) = &self.archive
            && repository
                .store()
                .head(&manifest_key(name))
                .await?
                .is_none()
        {
            self.chunks.clear();
        }
        Ok(())
    }
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
