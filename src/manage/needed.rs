//! Which chunks the standing archives need, in bounded memory: compact, and in as many passes as it takes.
//!
//! A chunk is remembered by the first eight bytes of its digest. Two chunks with the same eight only mean that one of them stays
//! although nobody needs it. So a pass over [`CHUNKS_MAX`] different chunks (some 12 TiB of rows) takes 16 bytes for each, 32 MiB, and
//! while a vector grows at most twice that. Where there are more, the pass covers only digests with low first bytes, and another one
//! follows for the rest.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use crate::archive::chunks::{ChunkStore, trash_key};
use crate::archive::digest::Digest;
use crate::archive::manifest::Manifest;
use crate::archive::name::ArchiveName;
use crate::archive::repository::{Repository, manifest_key};
use crate::error::{Error, Result};

/// Different chunks that a pass remembers.
pub(super) const CHUNKS_MAX: usize = 2 << 20;
/// Archives that are read at once: each holds a chunk of its data index and a line.
const READS_AT_ONCE: usize = 4;
/// Digests that are gathered before they are sorted in.
const GATHERED_MIN: usize = 64 * 1024;

/// The chunks with first bytes in a range that somebody needs.
#[derive(Debug)]
pub(super) struct Needed {
    sorted: Vec<u64>,
    gathered: Vec<u64>,
    /// First bytes of digests that are covered.
    covers: Range<u16>,
    n_max: usize,
}

impl Needed {
    fn new(from: u16, n_max: usize) -> Needed {
        Needed {
            sorted: Vec::new(),
            gathered: Vec::new(),
            covers: from..256,
            n_max,
        }
    }

    fn add(&mut self, chunk: &Digest) {
        if !self.covers.contains(&u16::from(chunk.as_bytes()[0])) {
            return;
        }
        self.gathered.push(short(chunk));
        if self.gathered.len()
            >= self
                .sorted
                .len()
                .clamp(self.n_max.min(GATHERED_MIN), self.n_max)
        {
            self.sort_in();
        }
    }

    /// Halves what is covered until that fits; one first byte is always covered.
    fn sort_in(&mut self) {
        self.sorted.append(&mut self.gathered);
        self.sorted.sort_unstable();
        self.sorted.dedup();
        while self.sorted.len() > self.n_max && self.covers.len() > 1 {
            let middle = self.covers.start + (self.covers.end - self.covers.start) / 2;
            self.covers.end = middle;
            let n_low = self
                .sorted
                .partition_point(|short| (short >> 56) < u64::from(middle));
            self.sorted.truncate(n_low);
        }
    }

    /// The first bytes that this pass covers.
    pub(super) fn covers(&self) -> Range<u16> {
        self.covers.clone()
    }

    /// True if somebody may need the chunk, whose first byte must be covered.
    pub(super) fn has(&self, chunk: &Digest) -> bool {
        self.sorted.binary_search(&short(chunk)).is_ok()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }
}

fn short(chunk: &Digest) -> u64 {
    let (first, _) = chunk
        .as_bytes()
        .split_first_chunk::<8>()
        .expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

/// What one pass gathers from archives read side by side.
#[derive(Debug)]
struct Gathering {
    needed: Needed,
    /// Chunks of data indexes that were read whole lines from: archives share most of them.
    read: HashSet<Digest>,
}

/// The line of a data index as far as it matters here.
#[derive(Deserialize)]
struct Line {
    segments: Vec<LineSegment>,
}

#[derive(Deserialize)]
struct LineSegment {
    pieces: Vec<LinePiece>,
}

#[derive(Deserialize)]
struct LinePiece {
    chunk: Digest,
}

/// Reads what `archives` need of chunks whose digest's first byte is `from` or higher; of the leased ones also those in the trash.
///
/// An archive that cannot be read is an error: which chunks it needs is not known. One that is gone needs nothing.
pub(super) async fn gather(
    repository: &Repository,
    archives: impl IntoIterator<Item = ArchiveName>,
    (from, n_max): (u16, usize),
) -> Result<Needed> {
    let gathering = Mutex::new(Gathering {
        needed: Needed::new(from, n_max),
        read: HashSet::new(),
    });
    let chunks = repository.chunks(1);
    stream::iter(archives)
        .map(|name| read_one(repository, &chunks, name, &gathering))
        .buffer_unordered(READS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    let mut needed = gathering
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .needed;
    needed.sort_in();
    Ok(needed)
}

fn open(gathering: &Mutex<Gathering>) -> MutexGuard<'_, Gathering> {
    gathering.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_one(
    repository: &Repository,
    chunks: &ChunkStore,
    name: ArchiveName,
    gathering: &Mutex<Gathering>,
) -> Result<()> {
    let Some(manifest) = manifest_of(repository, &name).await? else {
        return Ok(());
    };
    {
        let needed = &mut open(gathering).needed;
        for chunk in manifest.lists() {
            needed.add(&chunk.chunk);
        }
    }
    let mut begun = Vec::new();
    for chunk in &manifest.data_index {
        let begins_a_line = begun.is_empty();
        if begins_a_line && open(gathering).read.contains(&chunk.chunk) {
            continue;
        }
        let bytes = match chunks.get(chunk).await {
            Ok(bytes) => bytes,
            Err(Error::Corrupt { place, problem, .. }) => {
                return Err(damaged(&name, &format!("{place} {problem}")));
            }
            Err(other) => return Err(other),
        };
        let (named, rest) = repository
            .cpu()
            .run(move || chunks_in(&bytes, begun))
            .await
            .map_err(|problem| damaged(&name, &problem))?;
        begun = rest;
        let mut gathering = open(gathering);
        for chunk in &named {
            gathering.needed.add(chunk);
        }
        if begins_a_line && begun.is_empty() {
            gathering.read.insert(chunk.chunk);
        }
    }
    if begun.is_empty() {
        Ok(())
    } else {
        Err(damaged(
            &name,
            "the last line of its data index is not whole",
        ))
    }
}

/// The chunks that the lines name which end in `bytes`, and the beginning of the next line.
fn chunks_in(bytes: &[u8], mut begun: Vec<u8>) -> Result<(Vec<Digest>, Vec<u8>), String> {
    begun.extend_from_slice(bytes);
    let end = begun
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let mut named = Vec::new();
    for line in begun[..end].split_inclusive(|b| *b == b'\n') {
        let line: Line = serde_json::from_slice(line)
            .map_err(|problem| format!("a line does not parse: {problem}"))?;
        let pieces = line.segments.iter().flat_map(|segment| &segment.pieces);
        named.extend(pieces.map(|piece| piece.chunk));
    }
    begun.drain(..end);
    Ok((named, begun))
}

/// The manifest of an archive, standing or in the trash.
async fn manifest_of(repository: &Repository, name: &ArchiveName) -> Result<Option<Manifest>> {
    let key = manifest_key(name);
    for key in [key.clone(), trash_key(&key)] {
        if let Some(bytes) = repository.store().get(&key).await? {
            let (manifest, _) = repository.manifest_in(&bytes, name, key.as_str())?;
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn damaged(name: &ArchiveName, problem: &str) -> Error {
    Error::corrupt(format_args!("archive {name}"), "data index", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u64) -> Digest {
        Digest::of(&n.to_be_bytes())
    }

    #[test]
    fn passes_cover_every_digest_once_and_stay_small() {
        let n_max = 1000;
        let all: Vec<Digest> = (0..10_000).map(digest).collect();
        let (mut from, mut n_passes, mut n_found) = (0, 0, 0);
        while from < 256 {
            let mut needed = Needed::new(from, n_max);
            // As often as archives share chunks.
            for _ in 0..3 {
                for chunk in &all {
                    needed.add(chunk);
                }
                assert!(needed.gathered.capacity() + needed.sorted.capacity() <= 4 * n_max);
            }
            needed.sort_in();
            assert!(needed.len() <= n_max);
            let covered =
                |chunk: &&Digest| needed.covers().contains(&u16::from(chunk.as_bytes()[0]));
            n_found += all
                .iter()
                .filter(covered)
                .filter(|chunk| needed.has(chunk))
                .count();
            assert!(!(10_000..11_000).any(|n| needed.has(&digest(n))));
            from = needed.covers().end;
            n_passes += 1;
        }
        assert_eq!(n_found, all.len());
        assert!((10..=32).contains(&n_passes), "{n_passes} passes");
    }

    #[test]
    fn one_first_byte_is_always_covered() {
        let mut needed = Needed::new(7, 1);
        let of_seven = (0..).map(digest).filter(|chunk| chunk.as_bytes()[0] == 7);
        let of_seven: Vec<Digest> = of_seven.take(3).collect();
        for chunk in &of_seven {
            needed.add(chunk);
        }
        needed.sort_in();
        assert_eq!(needed.covers(), 7..8);
        assert!(of_seven.iter().all(|chunk| needed.has(chunk)));
    }
}
