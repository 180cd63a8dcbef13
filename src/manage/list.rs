//! What `pgark list` shows. Printing belongs to `cli`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::archive::manifest::{Group, Manifest, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::repository::{GroupFilter, Listed, Repository, manifest_key};
use crate::error::{Error, Result};

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

/// All archives, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ArchiveList {
    /// Those whose manifest is right.
    pub archives: Vec<ListRow>,
    /// The others.
    pub damaged: Vec<DamagedRow>,
}

/// Lists the archives of the groups that `filter` chooses. A damaged one whose group is unknown is always listed.
pub async fn list(repository: &Repository, filter: &GroupFilter) -> Result<ArchiveList> {
    let mut list = ArchiveList::default();
    for listed in repository.archives().await? {
        if listed
            .group
            .as_ref()
            .is_some_and(|group| !filter.fits(group))
        {
            continue;
        }
        let key = manifest_key(&listed.name);
        let location = format!("{}/{key}", repository.location().trim_end_matches('/'));
        match listed.manifest.clone() {
            Ok(manifest) => list.archives.push(row(&listed, &manifest, location)),
            Err(error) => list.damaged.push(DamagedRow {
                name: listed.name,
                location,
                group: listed.group,
                error,
            }),
        }
    }
    Ok(list)
}

fn row(listed: &Listed, manifest: &Manifest, location: String) -> ListRow {
    ListRow {
        name: manifest.name.clone(),
        location,
        group: manifest.group.to_string(),
        scope: manifest.group.scope,
        set: manifest.set.as_ref().map(|set| set.name.clone()),
        created: manifest.created,
        database: manifest.group.database.clone(),
        tables: manifest.totals.n_tables,
        rows: manifest.totals.n_rows,
        raw_bytes: manifest.totals.raw_bytes,
        stored_bytes: manifest.totals.stored_bytes,
        new_bytes: manifest.totals.new_bytes,
        verified: listed.verified.as_ref().map(|verified| verified.at),
        tags: manifest.tags.clone(),
    }
}
