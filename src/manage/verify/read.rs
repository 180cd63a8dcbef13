//! Verifies the chunks of all segments of an archive, side by side, each only once in a run.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt as _};

use super::fetch::{fetch, prove_bytes};
use super::rows::{SegmentJob, SegmentRows, read_unit, units};
use super::{Run, VerifyOptions};
use crate::archive::chunks::{ChunkRef, ChunkStore};
use crate::archive::digest::Digest;
use crate::archive::records::Depth;
use crate::progress::Event;

impl Run<'_> {
    /// Reads every segment that no archive before had too.
    pub(super) async fn read_all(
        &mut self,
        store: &ChunkStore,
        jobs: Vec<SegmentJob>,
        identities: &HashMap<(usize, usize), Digest>,
    ) -> Vec<SegmentRows> {
        let identity = |table, segment| &identities[&(table, segment)];
        let (mut outcomes, mut unread) = (Vec::new(), Vec::new());
        for job in jobs {
            match self.read.get(identity(job.table, job.segment)) {
                Some(read) => outcomes.push(SegmentRows {
                    read: *read,
                    ..SegmentRows::of(&job)
                }),
                None => unread.push(job),
            }
        }
        let progress = self.progress;
        let mut reading = stream::iter(units(unread))
            .map(|unit| async move { read_unit(store, &unit, progress).await })
            .buffer_unordered(self.options.jobs.max(1));
        while let Some(rows) = reading.next().await {
            let whole = |row: &&SegmentRows| row.damaged.is_empty() && row.problem.is_none();
            let read = rows.iter().filter(whole);
            let read = read.map(|row| (identity(row.table, row.segment), row.read));
            self.journal.segments(read.clone());
            self.read.extend(read.map(|(digest, read)| (*digest, read)));
            outcomes.extend(rows);
        }
        outcomes
    }

    /// Looks for every chunk, and reads those that are to be read: hashes them, and decodes them at [`Depth::Full`].
    pub(super) async fn prove_all(
        &mut self,
        store: &ChunkStore,
        jobs: Vec<SegmentJob>,
    ) -> Vec<SegmentRows> {
        let chunks = jobs.iter().flat_map(|job| &job.pieces);
        let chunks: Vec<ChunkRef> = chunks.map(|(chunk, _)| *chunk).collect();
        let damaged = self.prove_chunks(store, chunks).await;
        let with_damage = |job: SegmentJob| {
            let hit = job.pieces.iter().filter_map(|(chunk, _)| {
                let problem = damaged.get(&chunk.chunk)?;
                Some((*chunk, problem.clone()))
            });
            SegmentRows {
                damaged: hit.collect(),
                ..SegmentRows::of(&job)
            }
        };
        jobs.into_iter().map(with_damage).collect()
    }

    /// The same of chunks, whatever is in them; gives what is wrong with those that are damaged.
    pub(super) async fn prove_chunks(
        &mut self,
        store: &ChunkStore,
        wanted: Vec<ChunkRef>,
    ) -> HashMap<Digest, String> {
        let mut chunks: BTreeMap<Digest, ChunkRef> = BTreeMap::new();
        for chunk in wanted {
            if !self.proved.contains(&chunk.chunk) {
                chunks.insert(chunk.chunk, chunk);
            }
        }
        let VerifyOptions { depth, subset, .. } = *self.options;
        let depth_of = |chunk: &Digest| match subset {
            Some(subset) if !subset.has(chunk) => Depth::Presence,
            _ => depth,
        };
        let (present, in_trash) = (&self.present, &self.in_trash);
        let progress = self.progress;
        let mut proving = stream::iter(chunks.into_values())
            .map(|chunk| async move {
                let found = present.get(&chunk.chunk).or(in_trash.get(&chunk.chunk));
                let depth = depth_of(&chunk.chunk);
                let proved = match (found, depth) {
                    (None, _) => Err("is missing".to_owned()),
                    (Some(n), Depth::Presence) if *n != chunk.stored_bytes => {
                        Err(format!("has {n} bytes instead of {}", chunk.stored_bytes))
                    }
                    (Some(_), Depth::Presence) => Ok(()),
                    (Some(_), Depth::Bytes) => prove_bytes(store, &chunk).await,
                    (Some(_), Depth::Full) => fetch(store, &chunk).await.map(drop),
                };
                progress.event(Event::Bytes(chunk.chunk_bytes));
                (chunk.chunk, depth, proved)
            })
            .buffer_unordered(self.options.jobs.max(1));
        let mut damaged = HashMap::new();
        while let Some((digest, depth, proved)) = proving.next().await {
            self.n_wanted += 1;
            self.n_read += u64::from(depth > Depth::Presence);
            match proved {
                Ok(()) => {
                    self.journal.chunk(&digest);
                    self.proved.insert(digest);
                }
                Err(problem) => {
                    damaged.insert(digest, problem);
                }
            }
        }
        damaged
    }
}
