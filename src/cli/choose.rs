//! Which archive: a name, the unique beginning of one, `latest`, or nothing at all.

use std::collections::BTreeSet;

use crate::archive::manifest::{Group, Scope};
use crate::archive::{Archive, ArchiveName, GroupFilter, Listed, Repository};
use crate::error::{Error, Result};
use crate::toc::printable;

/// The archive that the user names, or the newest that `filter` leaves.
pub(crate) async fn archive(
    repository: &Repository,
    name: Option<&str>,
    filter: &GroupFilter,
) -> Result<Archive> {
    match name {
        Some(name) if name != "latest" => {
            let name = repository.find(name).await?;
            repository.read(&name).await
        }
        _ => newest(repository, filter).await,
    }
}

/// Archives of one database, or of any.
pub(crate) fn of_database(database: Option<&str>) -> GroupFilter {
    GroupFilter {
        database: database.map(str::to_owned),
        ..GroupFilter::default()
    }
}

/// Whole archives of one database: what a restore takes when no archive is named.
pub(crate) fn whole_of(database: &str) -> GroupFilter {
    GroupFilter {
        scope: Some(Scope::Full),
        ..of_database(Some(database))
    }
}

async fn newest(repository: &Repository, filter: &GroupFilter) -> Result<Archive> {
    let groups = repository.groups().await?;
    if groups.is_empty() || groups.iter().any(|group| filter.fits(group)) {
        return repository.latest(filter).await;
    }
    let there: Vec<String> = groups.iter().map(|group| format!("  {group}")).collect();
    let what = match (&filter.database, filter.scope) {
        (Some(database), Some(scope)) => {
            format!("{scope} archive of database {:?}", printable(database))
        }
        (Some(database), None) => format!("archive of database {:?}", printable(database)),
        (None, _) => "such archive".to_owned(),
    };
    Err(Error::NotFound {
        what: format!(
            "no {what} in {}; there are:\n{}",
            repository.location(),
            there.join("\n")
        ),
        remedy: "name an archive (`pgark list` shows them), or say --from-database".to_owned(),
    })
}

/// The name of the newest archive whatever its state, if all belong to one group.
pub(crate) fn newest_name(listed: &[Listed], location: &str) -> Result<ArchiveName> {
    let groups: BTreeSet<&Group> = listed.iter().filter_map(|one| one.group.as_ref()).collect();
    if groups.len() > 1 {
        let groups: Vec<String> = groups.iter().map(|group| format!("  {group}")).collect();
        return Err(Error::Usage(format!(
            "{location} has archives of several groups; name an archive, or say --all:\n{}",
            groups.join("\n")
        )));
    }
    match listed.last() {
        Some(newest) => Ok(newest.name.clone()),
        None => Err(Error::NotFound {
            what: format!("no archives in {location}"),
            remedy: "`pgark dump -d DATABASE` makes one".to_owned(),
        }),
    }
}
