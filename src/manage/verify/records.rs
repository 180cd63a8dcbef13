//! Verifies the small documents: the marker, manifests against their announcements, records, and archives that vanished.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::report::Finding;
use crate::archive::AnnouncedAs;
use crate::archive::marker::Marker;
use crate::archive::name::ArchiveName;
use crate::archive::records::{Announced, Drilled, Ran, RecordKey, Removed, Verified};
use crate::archive::repository::{Archive, Repository, manifest_key};
use crate::archive::sealed;
use crate::error::{Error, Result};
use crate::store::Key;

/// The marker, as it is now.
pub(super) async fn check_marker(
    repository: &Repository,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let key = Marker::key();
    let problem = match repository.store().get(&key).await? {
        None => "is missing".to_owned(),
        Some(bytes) => match Marker::read(&bytes, &repository.location()) {
            Ok(_) => return Ok(()),
            Err(Error::Corrupt { problem, .. }) => problem,
            Err(other) => return Err(other),
        },
    };
    findings.push(Finding::damage(None, &key, problem).affecting(
        "the repository's id and chunk settings; its archives can be read without them",
    ));
    Ok(())
}

/// The manifest of `name`, checked against its announcement. `None` where it cannot be read; findings say why.
pub(super) async fn check_manifest(
    repository: &Repository,
    name: &ArchiveName,
    findings: &mut Vec<Finding>,
) -> Result<Option<Archive>> {
    let key = manifest_key(name);
    let archive = match repository.read(name).await {
        Ok(archive) => archive,
        Err(Error::Corrupt { problem, .. }) => {
            findings
                .push(Finding::damage(Some(name), &key, problem).affecting("the whole archive"));
            return Ok(None);
        }
        Err(newer @ Error::Feature { .. }) => {
            let mut finding =
                Finding::damage(Some(name), &key, format_args!("is not verified: {newer}"));
            finding.damage = false;
            findings.push(finding);
            return Ok(None);
        }
        Err(other) => return Err(other),
    };
    let record = RecordKey::Announced(name.clone());
    let problem = match archive.announced().await? {
        AnnouncedAs::This => None,
        AnnouncedAs::Another => {
            findings.push(
                Finding::damage(Some(name), &key, "is not the manifest that was announced")
                    .affecting("the whole archive"),
            );
            None
        }
        AnnouncedAs::Unknown(problem) => Some(problem),
    };
    if let Some(problem) = problem {
        findings.push(
            Finding::damage(Some(name), &record.key(), problem).affecting(
                "the announcement, which proves that the manifest is the one that was written",
            ),
        );
    }
    Ok(Some(archive))
}

/// Every record's own form, and announced archives that are gone without a removal.
/// `only` limits it to the records of those archives; announcements of `present` ones are checked with their manifests.
pub(super) async fn check_records(
    repository: &Repository,
    only: Option<&[ArchiveName]>,
    present: &BTreeSet<ArchiveName>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let mut announced = Vec::new();
    let mut removed = BTreeSet::new();
    for stored in repository.store().list(RecordKey::FOLDER).await? {
        let record = RecordKey::parse(&stored.key);
        let name = record.as_ref().and_then(RecordKey::archive);
        if let Some(only) = only
            && name.is_none_or(|name| !only.contains(name))
        {
            continue;
        }
        match &record {
            Some(RecordKey::Announced(name)) if present.contains(name) => continue,
            Some(RecordKey::Announced(name)) => announced.push(name.clone()),
            // A removal that can still be found counts, even if its text is damaged: the finding is the record.
            Some(RecordKey::Removed(name)) => {
                removed.insert(name.clone());
            }
            _ => {}
        }
        if let Some(problem) = record_problem(repository, &stored.key, record.as_ref()).await? {
            findings.push(Finding::damage(name, &stored.key, problem).affecting("a record"));
        }
    }
    for name in announced.iter().filter(|name| !removed.contains(name)) {
        let problem = "is gone, and no record says that it was removed: somebody deleted it, or its dump was killed in its very last step \
                       (removing the archive by its name puts that on record)";
        findings.push(
            Finding::damage(Some(name), &manifest_key(name), problem)
                .affecting("the whole archive"),
        );
    }
    Ok(())
}

async fn record_problem(
    repository: &Repository,
    key: &Key,
    record: Option<&RecordKey>,
) -> Result<Option<String>> {
    // One that went away meanwhile is none.
    let Some(bytes) = repository.store().get(key).await? else {
        return Ok(None);
    };
    let problem = match record {
        None => sealed::open(&bytes).err().map(str::to_owned),
        Some(RecordKey::Announced(name)) => parsed(&bytes, name, |record: &Announced| &record.name),
        Some(RecordKey::Removed(name)) => parsed(&bytes, name, |record: &Removed| &record.name),
        Some(RecordKey::Verified(name, _)) => {
            parsed(&bytes, name, |record: &Verified| &record.name)
        }
        Some(RecordKey::Drilled(name, _)) => parsed(&bytes, name, |record: &Drilled| &record.name),
        Some(RecordKey::Ran(job, _)) => parsed(&bytes, job, |record: &Ran| &record.job),
    };
    Ok(problem)
}

/// What is wrong with a record that should be about `name`, an archive or a job.
fn parsed<T: DeserializeOwned, N: PartialEq + std::fmt::Display>(
    bytes: &[u8],
    name: &N,
    name_in: impl Fn(&T) -> &N,
) -> Option<String> {
    match sealed::read::<T>(bytes, "", "") {
        Ok((record, _)) if name_in(&record) == name => None,
        Ok((record, _)) => Some(format!("is a record of another, {}", name_in(&record))),
        Err(Error::Corrupt { problem, .. }) => Some(problem),
        Err(other) => Some(other.to_string()),
    }
}
