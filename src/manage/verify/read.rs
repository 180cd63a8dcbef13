//! Verifies the chunks of all segments of an archive, side by side, each only once in a run.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt as _};

use super::Run;
use super::fetch::prove_bytes;
use super::rows::{SegmentJob, SegmentRows, read_unit, units};
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
            for row in rows {
                if row.damaged.is_empty() && row.problem.is_none() {
                    self.read
                        .insert(*identity(row.table, row.segment), row.read);
                }
                outcomes.push(row);
            }
        }
        outcomes
    }

    /// Looks for every chunk, and hashes it at [`Depth::Bytes`].
    pub(super) async fn prove_all(
        &mut self,
        store: &ChunkStore,
        jobs: Vec<SegmentJob>,
        depth: Depth,
    ) -> Vec<SegmentRows> {
        let mut chunks: BTreeMap<Digest, ChunkRef> = BTreeMap::new();
        for (chunk, _) in jobs.iter().flat_map(|job| &job.pieces) {
            if !self.proved.contains(&chunk.chunk) {
                chunks.insert(chunk.chunk, *chunk);
            }
        }
        let (present, in_trash) = (&self.present, &self.in_trash);
        let progress = self.progress;
        let problems: Vec<(Digest, Result<(), String>)> = stream::iter(chunks.into_values())
            .map(|chunk| async move {
                let found = present.get(&chunk.chunk).or(in_trash.get(&chunk.chunk));
                let proved = match (found, depth) {
                    (None, _) => Err("is missing".to_owned()),
                    (Some(n), Depth::Presence) if *n != chunk.stored_bytes => {
                        Err(format!("has {n} bytes instead of {}", chunk.stored_bytes))
                    }
                    (Some(_), Depth::Presence) => Ok(()),
                    (Some(_), _) => prove_bytes(store, &chunk).await,
                };
                progress.event(Event::Bytes(chunk.chunk_bytes));
                (chunk.chunk, proved)
            })
            .buffer_unordered(self.options.jobs.max(1))
            .collect()
            .await;
        let mut damaged = HashMap::new();
        for (digest, proved) in problems {
            match proved {
                Ok(()) => {
                    self.proved.insert(digest);
                }
                Err(problem) => {
                    damaged.insert(digest, problem);
                }
            }
        }
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
}
