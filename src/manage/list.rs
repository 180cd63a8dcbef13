//! What `pgark list` shows. Printing belongs to `cli`, remembering it between runs to `cache`.

mod cache;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::archive::manifest::{Group, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::repository::{
    GroupFilter, Known, ListedDrill, Repository, Summarized, Summary, manifest_key,
};
use crate::error::{Error, Result};

pub use cache::ListCache;

/// One archive, as `list --json` gives it. The fields are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListRow {
    /// The archive's name.
    pub name: ArchiveName,
    /// Where its manifest lies.
    pub location: String,
    /// The group in words.
    pub group: String,
    /// Whole database, chosen objects, or what all databases share.
    pub scope: Scope,
    /// The dump of a whole cluster that it is part of.
    pub set: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// The source database.
    pub database: String,
    /// Tables with rows saved.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Raw bytes of the rows.
    pub raw_bytes: u64,
    /// Stored bytes of all its chunks, shared ones included.
    pub stored_bytes: u64,
    /// Stored bytes that this archive added to the repository.
    pub new_bytes: u64,
    /// When it was last verified and found whole; `None` if never.
    pub verified: Option<Timestamp>,
    /// Its newest drill; `None` if there was none.
    pub drilled: Option<ListedDrill>,
    /// What users or jobs attached.
    pub tags: BTreeMap<String, String>,
}

/// An archive that cannot be listed because its manifest cannot be read.
#[derive(Debug, Clone)]
pub struct DamagedRow {
    /// Its name.
    pub name: ArchiveName,
    /// Where its manifest lies.
    pub location: String,
    /// Its group, where the announcement still says it.
    pub group: Option<Group>,
    /// What is wrong.
    pub error: Arc<Error>,
}

/// An archive of an encrypted repository whose key is not known, as `list --json` gives it. The fields are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SealedRow {
    /// Its name.
    pub name: ArchiveName,
    /// Where its manifest lies.
    pub location: String,
    /// The group in words, where its announcement says it.
    pub group: Option<String>,
    /// Whole database, chosen objects, or what all databases share.
    pub scope: Option<Scope>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The source database.
    pub database: Option<String>,
    /// True: the rest is known to who has the passphrase.
    pub sealed: bool,
}

/// All archives, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ArchiveList {
    /// Those whose manifest is right.
    pub archives: Vec<ListRow>,
    /// Those of a repository whose key is not known.
    pub sealed: Vec<SealedRow>,
    /// The others.
    pub damaged: Vec<DamagedRow>,
}

/// Lists the archives of the groups that `filter` chooses. A damaged one whose group is unknown is always listed.
pub async fn list(repository: &Repository, filter: &GroupFilter) -> Result<ArchiveList> {
    let (summaries, _) = repository.summaries(&Known::default()).await?;
    Ok(chosen(repository, filter, summaries))
}

/// The same, with what `cache` remembers: of archives that the store shows unchanged nothing is read.
pub async fn list_with(
    repository: &Repository,
    filter: &GroupFilter,
    cache: &ListCache,
) -> Result<ArchiveList> {
    // What a repository seals does not lie on this machine's disk as plain text.
    if repository.is_encrypted() {
        return list(repository, filter).await;
    }
    let known = cache.load(repository).await;
    let (summaries, now_known) = repository.summaries(&known).await?;
    if now_known != known {
        cache.save(repository, now_known).await;
    }
    Ok(chosen(repository, filter, summaries))
}

fn chosen(
    repository: &Repository,
    filter: &GroupFilter,
    summaries: Vec<Summarized>,
) -> ArchiveList {
    let mut list = ArchiveList::default();
    let location = repository.location();
    for found in summaries {
        if found
            .group
            .as_ref()
            .is_some_and(|group| !filter.fits(group))
        {
            continue;
        }
        let key = manifest_key(&found.name);
        let location = format!("{}/{key}", location.trim_end_matches('/'));
        match found.summary {
            Ok(summary) => list.archives.push(row(summary, location)),
            Err(error) if matches!(*error, Error::Key { .. }) => list.sealed.push(SealedRow {
                name: found.name,
                location,
                created: found.created,
                scope: found.group.as_ref().map(|group| group.scope),
                database: found.group.as_ref().map(|group| group.database.clone()),
                group: found.group.map(|group| group.to_string()),
                sealed: true,
            }),
            Err(error) => list.damaged.push(DamagedRow {
                name: found.name,
                location,
                group: found.group,
                error,
            }),
        }
    }
    list
}

fn row(summary: Summary, location: String) -> ListRow {
    ListRow {
        name: summary.name,
        location,
        group: summary.group.to_string(),
        scope: summary.group.scope,
        set: summary.set,
        created: summary.created,
        database: summary.group.database,
        tables: summary.totals.n_tables,
        rows: summary.totals.n_rows,
        raw_bytes: summary.totals.raw_bytes,
        stored_bytes: summary.totals.stored_bytes,
        new_bytes: summary.totals.new_bytes,
        verified: summary.verified.map(|verified| verified.at),
        drilled: summary.drilled,
        tags: summary.tags,
    }
}
