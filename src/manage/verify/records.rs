//! Verifies the small documents: the marker, manifests against their announcements, records, and archives that vanished.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::report::Finding;
use crate::archive::AnnouncedAs;
use crate::archive::digest::Digest;
use crate::archive::marker::Marker;
use crate::archive::name::ArchiveName;
use crate::archive::records::{Announced, Drilled, Ran, RecordKey, Removed, Verified};
use crate::archive::repository::{Archive, Envelope, Repository, manifest_key};
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

/// The key slots of an encrypted repository: each one that cannot be read, and that there is one.
pub(super) async fn check_slots(
    repository: &Repository,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    if !repository.is_encrypted() {
        return Ok(());
    }
    let slots = repository.key_slots().await?;
    for slot in &slots {
        if let Err(problem) = &slot.slot {
            let lost = "whoever opens the repository with the passphrase of this slot";
            findings.push(Finding::damage(None, &slot.key, problem).affecting(lost));
        }
    }
    if slots.iter().all(|slot| slot.slot.is_err()) {
        let problem = "has no key slot that can be read: nobody can open the repository without a copy of one";
        findings.push(Finding::damage(None, &Key::new("keys"), problem).affecting("all archives"));
    }
    Ok(())
}

/// The manifest of `name`, checked against its announcement. `None` where it cannot be read; findings say why.
pub(super) async fn check_manifest(
    repository: &Repository,
    name: &ArchiveName,
    findings: &mut Vec<Finding>,
) -> Result<Option<Archive>> {
    let read = repository.read(name).await;
    let Some(archive) = judged(read, name, findings)? else {
        return Ok(None);
    };
    check_announcement(repository, (name, archive.seal()), findings).await?;
    Ok(Some(archive))
}

/// The same of what can be read without the key.
pub(super) async fn check_envelope(
    repository: &Repository,
    name: &ArchiveName,
    findings: &mut Vec<Finding>,
) -> Result<Option<Envelope>> {
    let read = repository.envelope(name).await;
    let Some(envelope) = judged(read, name, findings)? else {
        return Ok(None);
    };
    check_announcement(repository, (name, envelope.seal), findings).await?;
    Ok(Some(envelope))
}

/// What was read of the manifest of `name`; a finding if it could not be.
fn judged<T>(
    read: Result<T>,
    name: &ArchiveName,
    findings: &mut Vec<Finding>,
) -> Result<Option<T>> {
    let key = manifest_key(name);
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::Corrupt { problem, .. }) => {
            findings
                .push(Finding::damage(Some(name), &key, problem).affecting("the whole archive"));
            Ok(None)
        }
        Err(newer @ Error::Feature { .. }) => {
            let mut finding =
                Finding::damage(Some(name), &key, format_args!("is not verified: {newer}"));
            finding.damage = false;
            findings.push(finding);
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

async fn check_announcement(
    repository: &Repository,
    (name, seal): (&ArchiveName, Digest),
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let key = manifest_key(name);
    let record = RecordKey::Announced(name.clone());
    let problem = match repository.announced_as(name, seal).await? {
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
    Ok(())
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
        Some(key) => match key {
            RecordKey::Announced(name) => {
                parsed(repository, (&bytes, key), name, |record: &Announced| {
                    &record.name
                })
            }
            RecordKey::Removed(name) => {
                parsed(repository, (&bytes, key), name, |record: &Removed| {
                    &record.name
                })
            }
            RecordKey::Verified(name, _) => {
                parsed(repository, (&bytes, key), name, |record: &Verified| {
                    &record.name
                })
            }
            RecordKey::Drilled(name, _) => {
                parsed(repository, (&bytes, key), name, |record: &Drilled| {
                    &record.name
                })
            }
            RecordKey::Ran(job, _) => {
                parsed(repository, (&bytes, key), job, |record: &Ran| &record.job)
            }
        },
    };
    Ok(problem)
}

/// What is wrong with a record that should be about `name`, an archive or a job. Of one that is sealed for somebody else's key that much
/// cannot be said.
fn parsed<T: DeserializeOwned, N: PartialEq + std::fmt::Display>(
    repository: &Repository,
    (bytes, key): (&[u8], &RecordKey),
    name: &N,
    name_in: impl Fn(&T) -> &N,
) -> Option<String> {
    match repository.record_in::<T>(bytes, key) {
        Ok(record) if name_in(&record) == name => None,
        Ok(record) => Some(format!("is a record of another, {}", name_in(&record))),
        Err(Error::Key { .. }) => None,
        Err(Error::Corrupt { problem, .. }) => Some(problem),
        Err(other) => Some(other.to_string()),
    }
}
