//! One replication under way: leases, archives one after another, what is proved, the stamp at the end.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use jiff::Timestamp;

use super::PresentCheck;
use super::chunks::{Wire, by_folder, chunks_of, look};
use super::plan::{Known, Step};
use super::report::{CopyState, GroupLag, ReplicateReport, Replicated, lags};
use crate::archive::lease::{Lease, LeaseKind, LeaseTerms};
use crate::archive::manifest::Group;
use crate::archive::records::{Announced, Depth, RecordKey, Verified};
use crate::archive::repository::manifest_key;
use crate::archive::{Archive, ArchiveName, ChunkRef, Digest, GroupFilter};
use crate::error::{Error, Result};
use crate::progress::Event;

/// A replication under way.
pub(super) struct Run<'a> {
    wire: Wire<'a>,
    present: PresentCheck,
    known: Known,
    /// When it began: what is hashed in it is right since then.
    at: Timestamp,
    /// Chunks at the target that are proved, and since when.
    proved: HashMap<Digest, Timestamp>,
    /// Archives at the target whose chunks are named again: the leases protect them.
    relied: Vec<ArchiveName>,
    /// Groups whose newest verified archive at the target has been read.
    read: HashSet<Group>,
    /// What stands at the target.
    standing: HashMap<ArchiveName, Digest>,
    source_lease: Option<Lease>,
}

impl<'a> Run<'a> {
    pub(super) fn begin(wire: Wire<'a>, present: PresentCheck, known: Known) -> Run<'a> {
        let standing = known.there.iter();
        let standing = standing.filter_map(|one| Some((one.name.clone(), one.seal?)));
        Run {
            wire,
            present,
            at: Timestamp::now(),
            proved: HashMap::new(),
            relied: Vec::new(),
            read: HashSet::new(),
            standing: standing.collect(),
            source_lease: None,
            known,
        }
    }

    /// Keeps the source's chunks from being swept while they are read; also finds out whether the target is the source.
    pub(super) async fn lease_source(&mut self, steps: &[Step]) -> Result<()> {
        let Wire { from, to, .. } = self.wire;
        let names = steps.iter().filter_map(|step| match step {
            Step::Copy(name) => Some(name.clone()),
            Step::Settled(_) => None,
        });
        let names: Vec<ArchiveName> = names.collect();
        let may_be_one = from.marker().repository == to.marker().repository;
        if names.is_empty() && !may_be_one {
            return Ok(());
        }
        let purpose = format!("copy to {}", to.location());
        let lease = match Lease::take(from, LeaseKind::Dump, &purpose, names).await {
            Ok(lease) => lease,
            // A repository that can only be read can be copied all the same.
            Err(error) => {
                self.warn(&format!(
                    "nothing keeps a prune of {} from sweeping what is copied: {}",
                    from.location(),
                    told(&error)
                ));
                return Ok(());
            }
        };
        let id = lease.terms().await.id;
        self.source_lease = Some(lease);
        if may_be_one {
            let leases = to.leases().await?;
            let is_ours = |terms: &LeaseTerms| terms.id == id;
            if leases
                .iter()
                .any(|seen| seen.terms.as_ref().is_some_and(is_ours))
            {
                self.release_source().await;
                return Err(Error::Usage(format!(
                    "{} and {} are the same repository; a copy belongs elsewhere",
                    from.location(),
                    to.location()
                )));
            }
        }
        Ok(())
    }

    pub(super) async fn release_source(&mut self) {
        if let Some(lease) = self.source_lease.take()
            && let Err(error) = lease.release().await
        {
            self.warn(&format!(
                "a lease stays in {} until it expires: {}",
                self.wire.from.location(),
                told(&error)
            ));
        }
    }

    /// Does the steps, until a store fails.
    pub(super) async fn work(&mut self, steps: Vec<Step>, report: &mut ReplicateReport) {
        let n_steps = steps.len();
        for (n_done, step) in steps.into_iter().enumerate() {
            let name = match step {
                Step::Settled(settled) => {
                    report.archives.push(settled);
                    continue;
                }
                Step::Copy(name) => name,
            };
            match self.copy(&name).await {
                Ok(copied) => report.archives.push(copied),
                Err(error) => {
                    let problem = told(&error);
                    report
                        .archives
                        .push(Replicated::failed(&name, problem.clone()));
                    // The next archive would meet the same.
                    if matches!(
                        error,
                        Error::Store { .. } | Error::Connect { .. } | Error::Cancelled
                    ) {
                        report.problem = Some(problem);
                        report.n_untried = (n_steps - n_done - 1) as u64;
                        return;
                    }
                }
            }
        }
    }

    async fn copy(&mut self, name: &ArchiveName) -> Result<Replicated> {
        let (archive, manifest) = self.read(name).await?;
        self.check_members(&archive)?;
        let chunks = chunks_of(&archive).await?;
        self.rely_on(&archive.manifest().group).await?;
        let to = self.wire.to;
        let purpose = format!("copy of {name}");
        let lease = Lease::take(to, LeaseKind::Dump, &purpose, self.relied.clone()).await?;
        let copied = self.copy_under(&lease, &archive, manifest, chunks).await;
        let released = lease.release().await;
        let copied = copied?;
        if let Err(error) = released {
            self.warn(&format!(
                "a lease stays in {} until it expires: {}",
                to.location(),
                told(&error)
            ));
        }
        Ok(copied)
    }

    /// The archive with the bytes of its manifest, which must be the announced one.
    async fn read(&self, name: &ArchiveName) -> Result<(Archive, Bytes)> {
        let from = self.wire.from;
        let archive = from.read(name).await?;
        let announced = from
            .record::<Announced>(&RecordKey::Announced(name.clone()))
            .await?;
        if announced.is_some_and(|announced| announced.manifest != archive.seal()) {
            return Err(Error::corrupt(
                format_args!("source {}", from.location()),
                manifest_key(name),
                "is not the manifest that was announced",
            ));
        }
        let key = manifest_key(name);
        let bytes = from.store().get(&key).await?;
        let bytes = bytes.ok_or_else(|| {
            Error::corrupt(format_args!("source {}", from.location()), &key, "vanished")
        })?;
        Ok((archive, bytes))
    }

    /// The archive that closes a set makes it one: what the source has of the set must stand before.
    fn check_members(&self, archive: &Archive) -> Result<()> {
        let members = archive.manifest().closes().map(|set| &set.members);
        for member in members.into_iter().flatten() {
            let at_source = self.known.here.iter().any(|one| one.name == member.name);
            if at_source && self.standing.get(&member.name) != Some(&member.manifest) {
                return Err(Error::failed(
                    format_args!("archive {}", archive.name()),
                    format_args!(
                        "{}, which belongs to its set, is not in {}",
                        member.name,
                        self.wire.to.location()
                    ),
                    "replicate again when that can be copied",
                ));
            }
        }
        Ok(())
    }

    /// Takes note of the chunks of the group's newest verified archive at the target: the next one shares most of them.
    async fn rely_on(&mut self, group: &Group) -> Result<()> {
        if !self.read.insert(group.clone()) {
            return Ok(());
        }
        let newest = self.known.there.iter().rev().find_map(|one| {
            let of_group = one.group.as_ref() == Some(group);
            let verified = one.verified.as_ref().filter(|_| of_group)?;
            (verified.depth >= Depth::Bytes).then(|| (one.name.clone(), verified.at))
        });
        let Some((name, at)) = newest else {
            return Ok(());
        };
        let chunks = match self.wire.to.read(&name).await {
            Ok(archive) => chunks_of(&archive).await,
            Err(error) => Err(error),
        };
        match chunks {
            Ok(chunks) => {
                self.proved
                    .extend(chunks.iter().map(|chunk| (chunk.chunk, at)));
                self.relied.push(name);
                Ok(())
            }
            // It only saves work.
            Err(Error::Corrupt { .. } | Error::Feature { .. } | Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn copy_under(
        &mut self,
        lease: &Lease,
        archive: &Archive,
        manifest: Bytes,
        chunks: Vec<ChunkRef>,
    ) -> Result<Replicated> {
        // What this run has sent or hashed is named by an archive that stands, and the lease protects it.
        let (ours, others): (Vec<ChunkRef>, Vec<ChunkRef>) = chunks
            .into_iter()
            .partition(|chunk| self.proved.get(&chunk.chunk) == Some(&self.at));
        let (there, missing) = look(self.wire.to, by_folder(others)).await?;
        let (trusted, doubted): (Vec<ChunkRef>, Vec<ChunkRef>) =
            there.iter().partition(|chunk| self.is_trusted(chunk));
        let bytes =
            |chunks: &[ChunkRef]| chunks.iter().map(|chunk| chunk.stored_bytes).sum::<u64>();
        let (copied_chunks, copied_bytes) = (missing.len() as u64, bytes(&missing));
        self.wire.progress.event(Event::Phase {
            name: "replicate",
            bytes: copied_bytes + bytes(&doubted),
            tasks: copied_chunks + doubted.len() as u64,
        });
        let hashed: Vec<Digest> = missing
            .iter()
            .chain(&doubted)
            .map(|one| one.chunk)
            .collect();
        self.wire.prove(doubted).await?;
        self.wire.send(missing).await?;
        let (_, gone) = look(self.wire.to, by_folder(there)).await?;
        if let Some(gone) = gone.first() {
            return Err(Error::failed(
                format_args!("target {}", self.wire.to.location()),
                format_args!("{} was swept away while it was needed", gone.key()),
                "replicate again: what is stored already will be found again",
            ));
        }
        lease.prove().await?;
        self.wire.to.adopt(archive.name(), manifest).await?;
        self.standing.insert(archive.name().clone(), archive.seal());
        self.relied.push(archive.name().clone());
        self.proved
            .extend(hashed.iter().map(|digest| (*digest, self.at)));
        let all = ours
            .iter()
            .chain(&trusted)
            .map(|one| one.chunk)
            .chain(hashed);
        let since = self.proved_since(all);
        self.stamp(archive, since).await;
        self.wire
            .progress
            .event(Event::Task(format!("archive {}", archive.name())));
        Ok(Replicated {
            copied_chunks,
            copied_bytes,
            verified: since,
            ..Replicated::new(archive.name(), CopyState::Copied)
        })
    }

    /// True if a chunk that is at the target with its size needs no reading.
    fn is_trusted(&self, chunk: &ChunkRef) -> bool {
        match self.present {
            PresentCheck::Size => true,
            PresentCheck::Unproved => self.proved.contains_key(&chunk.chunk),
            PresentCheck::All => false,
        }
    }

    /// Since when all of the chunks are proved; `None` if one is not.
    fn proved_since(&self, mut chunks: impl Iterator<Item = Digest>) -> Option<Timestamp> {
        chunks.try_fold(self.at, |since, chunk| {
            Some(since.min(*self.proved.get(&chunk)?))
        })
    }

    /// Puts on record what the copying proved. Its time is that of the oldest proof that it stands on.
    async fn stamp(&self, archive: &Archive, since: Option<Timestamp>) {
        let Some(at) = since else {
            return;
        };
        let stamp = Verified {
            name: archive.name().clone(),
            manifest: archive.seal(),
            depth: Depth::Bytes,
            at,
        };
        if let Err(error) = self.wire.to.stamp(&stamp).await {
            self.warn(&format!(
                "archive {} is copied, but its verification could not be put on record: {}",
                archive.name(),
                told(&error)
            ));
        }
    }

    /// How far the target is behind now.
    pub(super) fn lags(&self, report: &ReplicateReport, filter: &GroupFilter) -> Vec<GroupLag> {
        let is_copied = |name: &ArchiveName| {
            let mut copied = report.archives.iter();
            copied.any(|one| one.state == CopyState::Copied && one.name == *name)
        };
        let copied = self.known.here.iter().filter(|one| is_copied(&one.name));
        let there: Vec<_> = self.known.there.iter().chain(copied).cloned().collect();
        lags(&self.known.here, &there, filter)
    }

    fn warn(&self, warning: &str) {
        self.wire.progress.event(Event::Warning(warning.to_owned()));
    }
}

/// An error with its causes and what helps, in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if let Some(remedy) = error.remedy() {
        text.push_str("; ");
        text.push_str(remedy);
    }
    text
}
