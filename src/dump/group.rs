//! The archives that a dump's own belongs with: what the newest of them tells the next dump.

use std::collections::{HashMap, HashSet};

use super::DumpOptions;
use super::catalog_phase::Looked;
use crate::archive::digest::Digest;
use crate::archive::index::{CellKey, KeyRange, TableIndex};
use crate::archive::manifest::{Group, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::repository::{Archive, GroupFilter, Repository, manifest_key};
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
    /// How it cut tables, by the quoted name.
    pub cuts: HashMap<String, CutBefore>,
    /// Its chunks, which the lease protects: what they hold need not be sent again.
    pub chunks: HashSet<Digest>,
}

/// How a dump cut a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CutBefore {
    /// In cells of so many blocks.
    Blocks(u32),
    /// At these values of a key.
    Keys(CellKey, Vec<i64>),
}

impl CutBefore {
    fn of(index: &TableIndex) -> Option<CutBefore> {
        if let Some(key) = &index.cell_key {
            let lows = index.segments.iter().filter_map(|segment| segment.keys);
            let lows = lows.filter_map(|keys| match keys {
                KeyRange::Values(low, _) => low,
                KeyRange::Null => None,
            });
            return Some(CutBefore::Keys(key.clone(), lows.collect()));
        }
        index.cell_blocks.map(CutBefore::Blocks)
    }

    /// The length of its cells.
    pub(super) fn cell_blocks(&self) -> Option<u32> {
        match self {
            CutBefore::Blocks(cell_blocks) => Some(*cell_blocks),
            CutBefore::Keys(..) => None,
        }
    }

    /// The key that cut it.
    pub(super) fn key(&self) -> Option<&CellKey> {
        match self {
            CutBefore::Keys(key, _) => Some(key),
            CutBefore::Blocks(_) => None,
        }
    }

    /// Where this key cut it.
    pub(super) fn bounds_of(&self, key: &CellKey) -> &[i64] {
        match self {
            CutBefore::Keys(other, bounds) if other == key => bounds,
            _ => &[],
        }
    }
}

impl Before {
    /// What this archive tells a dump that is to be cut as it was.
    pub(super) async fn of(archive: &Archive) -> Result<Before> {
        let (entries, indexes) = (archive.entries().await?, archive.table_indexes().await?);
        let mut cuts = HashMap::new();
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
            cuts.extend(CutBefore::of(&index).map(|cut| (target.text(), cut)));
        }
        Ok(Before {
            archive: Some(archive.name().clone()),
            cuts,
            chunks,
        })
    }

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
    let archive = match repository.latest(&GroupFilter::of(group)).await {
        Ok(archive) => archive,
        Err(Error::NotFound { .. } | Error::Corrupt { .. } | Error::Feature { .. }) => {
            return Ok(Before::default());
        }
        Err(error) => return Err(error),
    };
    Ok(Before::of(&archive).await.unwrap_or_default())
}
