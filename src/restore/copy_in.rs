//! Feeds rows from chunks into COPY. Chunks are fetched and unpacked ahead of the socket, a bounded number of them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use super::careful::{self, LeftOut};
use super::feed::{Fed, Seen};
use super::journal::Record;
use super::load::Load;
use super::pages;
use super::report::Trouble;
use super::shared::Shared;
use super::triggers;
use super::worker::{Tries, Worker};
use crate::archive::index::{ChunkPiece, CopyFormat};
use crate::archive::{ChunkRef, Digest};
use crate::error::{Error, Result};
use crate::progress::Event;

/// Bytes given to the connection at once.
const SLICE_BYTES: usize = 512 << 10;
/// Chunks that are fetched and unpacked while one is being sent.
const AHEAD: usize = 2;

/// What stands before the tuples of a COPY in binary format: signature, flags, length of the extension (manual, COPY).
const BINARY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands behind them.
const BINARY_TRAILER: &[u8; 2] = b"\xff\xff";

/// The raw bytes of the chunks that were used last and hold rows of several tables.
#[derive(Debug)]
pub(super) struct ChunkCache {
    n_max: usize,
    chunks: Mutex<VecDeque<(Digest, Bytes)>>,
}

impl ChunkCache {
    /// A cache that suits so many workers: each is in one chunk at a time. At most four, 48 MiB at the usual chunk size.
    pub(super) fn new(n_workers: usize) -> ChunkCache {
        ChunkCache {
            n_max: n_workers.clamp(1, 4),
            chunks: Mutex::default(),
        }
    }

    fn get(&self, chunk: &Digest) -> Option<Bytes> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let at = chunks.iter().position(|(digest, _)| digest == chunk)?;
        let found = chunks.remove(at)?;
        let bytes = found.1.clone();
        chunks.push_front(found);
        Some(bytes)
    }

    fn put(&self, chunk: Digest, bytes: &Bytes) {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        if chunks.iter().any(|(digest, _)| *digest == chunk) {
            return;
        }
        chunks.truncate(self.n_max - 1);
        chunks.push_front((chunk, bytes.clone()));
    }
}

/// The raw bytes of a piece.
async fn raw(shared: &Shared, piece: ChunkPiece) -> Result<Bytes> {
    let chunk: ChunkRef = piece.chunk_ref();
    let is_shared = piece.n_bytes < piece.chunk_bytes;
    let cached = shared.cache.get(&chunk.chunk).filter(|_| is_shared);
    let bytes = if let Some(bytes) = cached {
        bytes
    } else {
        let bytes = shared.chunks.get(&chunk).await?;
        if is_shared {
            shared.cache.put(chunk.chunk, &bytes);
        }
        bytes
    };
    let range = piece.range().filter(|range| range.end <= bytes.len());
    range.map(|range| bytes.slice(range)).ok_or_else(|| {
        Error::corrupt(
            chunk.key(),
            format_args!("byte {}", piece.offset),
            "the piece lies outside its chunk",
        )
    })
}

/// Loads all in one transaction; after an error nothing of them is done. The rows must be as many as the archive has.
async fn load_together(
    worker: &mut Worker,
    shared: &Shared,
    loads: &[Load],
) -> Result<(), Trouble> {
    let object = match loads {
        [one] => one.object.clone(),
        [first, ..] => format!("{} and {} more tables", first.object, loads.len() - 1),
        [] => return Ok(()),
    };
    let outcome = match worker.begin(&object, &[]).await {
        Ok(()) => load_all(worker, shared, loads).await,
        Err(error) => Err(error.into()),
    };
    let outcome = match outcome {
        Ok(()) => {
            let lines = loads.iter().flat_map(|load| load.lines.iter().copied());
            let record = Record::of(lines);
            worker
                .commit(shared, &object, &record)
                .await
                .map_err(Trouble::from)
        }
        failed => failed,
    };
    if outcome.is_err() {
        worker.roll_back(&object).await;
    } else {
        let n_rows = loads.iter().map(|load| shared.feeding.amount(load).0).sum();
        shared.progress.event(Event::Rows(n_rows));
    }
    outcome
}

async fn load_all(worker: &mut Worker, shared: &Shared, loads: &[Load]) -> Result<(), Trouble> {
    for load in loads {
        for statement in load.before.iter().chain(&load.empty_first) {
            run(worker, load, statement).await?;
        }
        let triggers = match &load.without_triggers {
            Some(off) => triggers::disable(worker.session(), &load.object, off).await?,
            None => Vec::new(),
        };
        let n_kept = copy(worker, shared, load).await.map_err(|error| Trouble {
            error,
            statement: Some(load.copy.clone()),
        })?;
        let n_taken = if load.is_pages {
            pages::n_written(worker, load).await?
        } else {
            n_kept
        };
        let (n_rows, _) = shared.feeding.amount(load);
        if n_taken != n_rows {
            return Err(wrong_count(load, n_taken, n_rows).into());
        }
        for statement in triggers.iter().chain(&load.then) {
            run(worker, load, statement).await?;
        }
    }
    Ok(())
}

/// The server took another number of rows than it was given.
pub(super) fn wrong_count(load: &Load, n_taken: u64, n_rows: u64) -> Error {
    Error::failed(
        &load.object,
        format_args!("the server took {n_taken} rows of {n_rows}"),
        "look for triggers or rules that swallow rows",
    )
}

/// One statement that goes with a load.
pub(super) async fn run(worker: &Worker, load: &Load, statement: &str) -> Result<(), Trouble> {
    let session = worker.session();
    let outcome = session.batch(&load.object, "statement", statement).await;
    outcome.map_err(|error| Trouble {
        error,
        statement: Some(statement.to_owned()),
    })
}

/// The bytes of a load's rows, in pieces that begin and end anywhere.
pub(super) struct Fragments<'a> {
    pieces: BoxStream<'a, Result<Fed>>,
    /// True if the pieces are small and nobody else's.
    is_fed: bool,
    rest: Bytes,
    seen: Vec<Seen>,
}

/// The bytes of a load's rows. Chunks are fetched ahead.
pub(super) fn fragments<'a>(shared: &'a Shared, load: &Load) -> Fragments<'a> {
    let pieces = shared.feeding.read(load).unwrap_or_else(|| {
        stream::iter(load.pieces.clone())
            .map(|piece| raw(shared, piece))
            .buffered(AHEAD)
            .map_ok(Fed::Rows)
            .boxed()
    });
    Fragments {
        pieces,
        is_fed: shared.feeding.feed().is_some(),
        rest: Bytes::new(),
        seen: Vec::new(),
    }
}

impl Fragments<'_> {
    /// The next piece, never empty; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.rest.is_empty() {
            match self.pieces.next().await {
                Some(fed) => match fed? {
                    Fed::Rows(bytes) => self.rest = bytes,
                    Fed::End(seen) => self.seen.push(seen),
                },
                None => return Ok(None),
            }
        }
        if self.is_fed {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let slice = self.rest.split_to(self.rest.len().min(SLICE_BYTES));
        // A copy: slices that wait for the socket would keep the whole chunk in memory while the next ones are unpacked.
        Ok(Some(Bytes::copy_from_slice(&slice)))
    }

    /// What was seen of the rows on their way, after the last.
    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }
}

/// One COPY; gives the server's number of rows.
async fn copy(worker: &Worker, shared: &Shared, load: &Load) -> Result<u64> {
    let session = worker.session();
    let format = shared.feeding.format(load);
    let binary = load.copy_binary.as_ref();
    let statement = binary.filter(|_| format == CopyFormat::Binary);
    let statement = statement.unwrap_or(&load.copy);
    let mut copy = session.copy_in(&load.object, "COPY IN", statement).await?;
    if format == CopyFormat::Binary {
        copy.send(Bytes::from_static(BINARY_HEADER)).await?;
    }
    let mut rows = fragments(shared, load);
    while let Some(bytes) = rows.next().await? {
        let n_bytes = bytes.len() as u64;
        copy.send(bytes).await?;
        shared.progress.event(Event::Bytes(n_bytes));
    }
    shared.feeding.note(load, rows.seen());
    if format == CopyFormat::Binary {
        copy.send(Bytes::from_static(BINARY_TRAILER)).await?;
    }
    copy.finish().await
}

/// Loads all, together if that works, else one by one. One result per load, in order: the rows that were left out.
pub(super) async fn load(
    worker: &mut Worker,
    shared: &Shared,
    loads: &[Load],
) -> Vec<Result<LeftOut, Trouble>> {
    if loads.len() > 1 && load_together(worker, shared, loads).await.is_ok() {
        return loads.iter().map(|_| Ok(LeftOut::default())).collect();
    }
    let mut results = Vec::with_capacity(loads.len());
    for one in loads {
        results.push(load_alone(worker, shared, one).await);
    }
    results
}

async fn load_alone(worker: &mut Worker, shared: &Shared, load: &Load) -> Result<LeftOut, Trouble> {
    let mut tries = Tries::default();
    let mut carefully = false;
    loop {
        let outcome = if carefully {
            careful::load(worker, shared, load).await
        } else {
            let outcome = load_together(worker, shared, std::slice::from_ref(load)).await;
            outcome.map(|()| LeftOut::default())
        };
        match outcome {
            Ok(left_out) => return Ok(left_out),
            Err(_) if shared.feeding.try_again(load) => {}
            Err(trouble) if !carefully && careful::may_leave_out(shared, load, &trouble) => {
                carefully = true;
            }
            Err(trouble) => worker.repeat_or(shared, trouble, &mut tries).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_chunks_that_were_used_last() {
        let cache = ChunkCache::new(2);
        let chunk = |text: &str| Digest::of(text.as_bytes());
        for text in ["a", "b"] {
            cache.put(chunk(text), &Bytes::from_static(b"rows"));
        }
        assert!(cache.get(&chunk("a")).is_some());
        cache.put(chunk("c"), &Bytes::from_static(b"rows"));
        assert!(cache.get(&chunk("b")).is_none());
        assert!(cache.get(&chunk("a")).is_some() && cache.get(&chunk("c")).is_some());
    }
}
