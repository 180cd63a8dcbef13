//! Verifies archives without a server: every stored byte re-hashed, decoded and counted, every small document's seal checked.
//!
//! It only reads, but for the stamp that says that an archive was found whole.

mod archive;
mod fetch;
mod journal;
mod read;
mod records;
mod report;
mod rows;
mod sealed;
mod subset;

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use crate::archive::digest::Digest;
use crate::archive::fingerprint::Fingerprint;
use crate::archive::name::ArchiveName;
use crate::archive::records::{Depth, Verified};
use crate::archive::repository::{Repository, archive_of};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

use journal::Journal;

pub use journal::VerifyJournal;
pub use report::{Affected, Finding, Portion, Unreferenced, VerifiedArchive, VerifyReport};
pub use subset::Subset;

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// How thoroughly.
    pub depth: Depth,
    /// How many chunks are read at once.
    pub jobs: usize,
    /// Reads only a part of the chunks: at [`Depth::Full`] they are hashed and decoded, but rows are not counted, because they run
    /// from chunk to chunk. The others are only looked for, and no stamp is written. What is not rows is always read.
    pub subset: Option<Subset>,
    /// Whether a stamp is written for each archive that is whole; never at [`Depth::Presence`].
    pub stamp: bool,
}

impl Default for VerifyOptions {
    fn default() -> VerifyOptions {
        VerifyOptions {
            depth: Depth::Full,
            jobs: 4,
            subset: None,
            stamp: true,
        }
    }
}

/// What the archives of one verification share.
struct Run<'a> {
    repository: &'a Repository,
    options: &'a VerifyOptions,
    progress: &'a dyn Progress,
    /// The chunks that lie in the store, with their stored bytes.
    present: HashMap<Digest, u64>,
    /// The chunks that lie in the trash and nowhere else.
    in_trash: HashMap<Digest, u64>,
    /// The chunks that archives name.
    referenced: HashSet<Digest>,
    /// Chunks whose stored bytes were hashed and are right.
    proved: HashSet<Digest>,
    /// Segments that were read whole, by their identity: archives share most of them.
    read: HashMap<Digest, Fingerprint>,
    /// Chunks of rows whose bytes were read, and all of them.
    n_read: u64,
    n_wanted: u64,
    journal: Journal,
    findings: Vec<Finding>,
}

/// Verifies the archives `names`, or all, and then also that none has vanished.
///
/// Damage is no error but a finding; an error means that the verification itself could not be done.
pub async fn verify(
    repository: &Repository,
    names: Option<&[ArchiveName]>,
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<VerifyReport> {
    verify_with(repository, names, options, None, progress).await
}

/// The same with a journal, so that a verification that is interrupted can be resumed.
pub async fn verify_with(
    repository: &Repository,
    names: Option<&[ArchiveName]>,
    options: &VerifyOptions,
    journal: Option<&VerifyJournal>,
    progress: &dyn Progress,
) -> Result<VerifyReport> {
    let keys = repository.store().list("archives").await?;
    let standing: BTreeSet<ArchiveName> = keys
        .iter()
        .filter_map(|stored| archive_of(&stored.key))
        .collect();
    if let Some(missing) = names
        .unwrap_or_default()
        .iter()
        .find(|name| !standing.contains(name))
    {
        return Err(Error::NotFound {
            what: format!("no archive {missing} in {}", repository.location()),
            remedy: "`pgark list` shows the archives".to_owned(),
        });
    }
    sealed::check_depth(repository, options)?;
    let mut run = Run::begin(repository, options, progress).await?;
    let n_known = run.resume(journal);
    records::check_marker(repository, &mut run.findings).await?;
    records::check_slots(repository, &mut run.findings).await?;
    records::check_records(repository, names, &standing, &mut run.findings).await?;
    let chosen: Vec<ArchiveName> = match names {
        Some(names) => names.to_vec(),
        None => standing.into_iter().collect(),
    };
    progress.event(Event::Phase {
        name: "verify",
        bytes: 0,
        tasks: chosen.len() as u64,
    });
    let mut archives = Vec::new();
    let mut all_readable = names.is_none();
    for name in &chosen {
        let (verified, readable) = run.verify_archive(name).await?;
        all_readable &= readable;
        archives.push(verified);
        progress.event(Event::Task(format!("archive {name}")));
    }
    let unreferenced = all_readable.then(|| run.unreferenced());
    run.journal.finish();
    Ok(VerifyReport {
        location: repository.location(),
        depth: options.depth,
        sealed: repository.is_locked(),
        subset: options.subset.map(|_| Portion {
            n_read: run.n_read,
            n_chunks: run.n_wanted,
        }),
        n_known,
        archives,
        unreferenced,
        findings: run.findings,
    })
}

impl<'a> Run<'a> {
    async fn begin(
        repository: &'a Repository,
        options: &'a VerifyOptions,
        progress: &'a dyn Progress,
    ) -> Result<Run<'a>> {
        let present = list_chunks(repository, "chunks").await?;
        let mut in_trash = list_chunks(repository, "trash/chunks").await?;
        in_trash.retain(|digest, _| !present.contains_key(digest));
        Ok(Run {
            repository,
            options,
            progress,
            present,
            in_trash,
            referenced: HashSet::new(),
            proved: HashSet::new(),
            read: HashMap::new(),
            n_read: 0,
            n_wanted: 0,
            journal: Journal::none(),
            findings: Vec::new(),
        })
    }

    /// Takes over what an interrupted verification found; gives how many segments or chunks that is. A part that is read by turns
    /// has no journal.
    fn resume(&mut self, journal: Option<&VerifyJournal>) -> u64 {
        let is_long = self.options.depth > Depth::Presence && self.options.subset.is_none();
        // Counts and fingerprints of rows are what an encrypted repository seals: they stay off this machine's disk. Names of chunks may lie there.
        let is_open = self.options.depth < Depth::Full || !self.repository.is_encrypted();
        let Some(journal) = journal.filter(|_| is_long && is_open) else {
            return 0;
        };
        let (journal, known) = journal.open(self.repository, self.options.depth);
        self.journal = journal;
        self.read = known.read;
        self.proved = known.proved;
        (self.read.len() + self.proved.len()) as u64
    }

    /// The second value is false if not all chunks that the archive names are known.
    async fn verify_archive(&mut self, name: &ArchiveName) -> Result<(VerifiedArchive, bool)> {
        let at = Timestamp::now();
        let n_before = self.findings.len();
        let mut verified = VerifiedArchive {
            name: name.clone(),
            whole: false,
            n_tables: 0,
            n_rows: 0,
            n_chunks: 0,
            stored_bytes: 0,
        };
        let Some((seal, readable)) = self.check_archive(name, &mut verified).await? else {
            return Ok((verified, false));
        };
        verified.whole = self.findings.len() == n_before;
        let is_stamped = self.options.stamp && self.options.subset.is_none();
        if verified.whole && is_stamped && self.options.depth > Depth::Presence {
            let stamp = Verified {
                name: name.clone(),
                manifest: seal,
                depth: self.options.depth,
                at,
            };
            // A repository that can only be read can be verified all the same.
            if let Err(error) = self.repository.stamp(&stamp).await {
                self.progress.event(Event::Warning(format!(
                    "archive {name} is whole, but that could not be put on record: {error}"
                )));
            }
        }
        Ok((verified, readable))
    }

    /// The archive's seal, and whether all chunks that it names are known; `None` if its manifest cannot be read.
    async fn check_archive(
        &mut self,
        name: &ArchiveName,
        verified: &mut VerifiedArchive,
    ) -> Result<Option<(Digest, bool)>> {
        if self.repository.is_locked() {
            return self.check_sealed(name, verified).await;
        }
        let checked = records::check_manifest(self.repository, name, &mut self.findings).await?;
        let Some(archive) = checked else {
            return Ok(None);
        };
        let readable = self.check_contents(&archive, verified).await;
        Ok(Some((archive.seal(), readable)))
    }

    fn unreferenced(&self) -> Unreferenced {
        let strays = self
            .present
            .iter()
            .filter(|(digest, _)| !self.referenced.contains(digest));
        strays.fold(Unreferenced::default(), |sum, (_, n_bytes)| Unreferenced {
            n_chunks: sum.n_chunks + 1,
            stored_bytes: sum.stored_bytes + n_bytes,
        })
    }
}

/// The chunks below `folder`, with their stored bytes. A file that does not lie where its name says is none.
async fn list_chunks(repository: &Repository, folder: &str) -> Result<HashMap<Digest, u64>> {
    let stored = repository.store().list(folder).await?;
    let chunks = stored.iter().filter_map(|stored| {
        let digest: Digest = stored.key.name().parse().ok()?;
        let expected = format!("{folder}/{:02x}/{digest}", digest.as_bytes()[0]);
        (stored.key.as_str() == expected).then_some((digest, stored.n_bytes))
    });
    Ok(chunks.collect())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod partly_tests;

#[cfg(test)]
mod sealed_tests;
