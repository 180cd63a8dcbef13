//! Reads the planned rows: workers take jobs, rows run through the tap into chunkers, chunks into the store. This file owns
//! what the workers share and the run as a whole; one worker's steps are in `worker`.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::cell::Cell;
use super::plan::{DataPlan, Job};
use super::readers::Readers;
use super::sink::RowSink;
use super::spent::{Counters, Spent, Stopwatch};
use super::worker::Worker;
use crate::archive::buffer::BufferPool;
use crate::archive::chunker::{ChunkSettings, Chunker, Cut, PartEnd};
use crate::archive::chunks::{ChunkStore, Pieces};
use crate::archive::digest::Digest;
use crate::archive::index::{ChunkPiece, CopyFormat};
use crate::error::{Error, Result};
use crate::pg::Session;
use crate::progress::{Event, Progress};

/// Chunks of one chunker that are packed or put at once.
const STORING_AT_ONCE: usize = 2;

/// The rows of one cell, one whole table, or one range of large objects.
#[derive(Debug)]
pub(super) struct SegmentRead {
    /// The table's place in the plan; `None` for large objects.
    pub table: Option<usize>,
    /// The cell, or the range of large objects.
    pub number: usize,
    /// What of the table, if it is read in cells.
    pub cell: Option<Cell>,
    /// How the rows were read.
    pub format: CopyFormat,
    /// Rows, bytes and fingerprint.
    pub end: PartEnd,
    /// Where they are stored.
    pub pieces: Vec<ChunkPiece>,
}

/// What came of the reading.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Every segment, in no order.
    pub segments: Vec<SegmentRead>,
    /// Stored bytes of each chunk, and whether it was new to the store.
    pub chunks: HashMap<Digest, (u64, bool)>,
    /// How long it took and why.
    pub spent: Spent,
}

/// The connection that holds the snapshot and all locks, as errors name it.
pub(super) const FIRST_CONNECTION: &str = "the dump's first connection";
/// How often to look whether the coordinator's connection still stands.
const LOOK: Duration = Duration::from_millis(200);

/// What the workers share.
#[derive(Debug)]
pub(super) struct Reading {
    /// The plan.
    pub plan: DataPlan,
    /// Where chunks go.
    pub chunks: ChunkStore,
    /// How they are cut.
    pub settings: ChunkSettings,
    /// Memory for them.
    pub pool: BufferPool,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    queue: Mutex<VecDeque<Job>>,
    /// Tables of which text could not carry a row.
    binary: Vec<AtomicBool>,
    read: Mutex<Read>,
    /// Where the time goes.
    pub counters: Arc<Counters>,
    /// One permit per reader: packed chunks are not in the pool's buffers, and a slow store must not gather them.
    storing: Semaphore,
}

/// The task that stores what one sink cuts.
pub(super) type Storing = JoinHandle<Result<Pieces>>;

impl Reading {
    /// Begins with every job of the plan in the queue.
    pub(super) fn new(
        plan: DataPlan,
        chunks: ChunkStore,
        settings: ChunkSettings,
        pool: BufferPool,
        progress: Arc<dyn Progress>,
    ) -> Reading {
        let queue = Mutex::new(plan.jobs.iter().cloned().collect());
        let binary = plan.tables.iter().map(|_| AtomicBool::new(false)).collect();
        Reading {
            plan,
            chunks,
            settings,
            pool,
            progress,
            queue,
            binary,
            read: Mutex::default(),
            counters: Arc::default(),
            storing: Semaphore::new(0),
        }
    }

    /// Reads everything by `n_workers` connections. The first error ends it: the other workers are stopped and their statements
    /// cancelled.
    pub(super) async fn run(
        self,
        coordinator: &Session,
        source: Arc<Readers>,
        n_workers: usize,
    ) -> Result<Read> {
        let mut stopwatch = Stopwatch::new();
        let readers = source.open_all(n_workers).await?;
        self.storing.add_permits(n_workers.max(1));
        let shared = Arc::new(self);
        let (refused, to_coordinator) = mpsc::unbounded_channel();
        let cancellers: Vec<_> = readers
            .iter()
            .map(|reader| reader.session().canceller())
            .collect();
        let mut workers = JoinSet::new();
        for reader in readers {
            let worker = Worker::new(Arc::clone(&shared), Some(refused.clone()));
            workers.spawn(worker.run(reader, Arc::clone(&source)));
        }
        drop(refused);
        let mut own = Worker::new(Arc::clone(&shared), None);
        let done = tokio::select! {
            done = async {
                tokio::try_join!(
                    all_done(&mut workers),
                    own.run_refused(coordinator, to_coordinator)
                )
            } => done.map(|_| ()),
            error = lost(coordinator) => Err(error),
        };
        if let Err(error) = done {
            workers.abort_all();
            let cancelled = cancellers.iter().map(crate::pg::Canceller::cancel);
            futures::future::join_all(cancelled).await;
            return Err(error);
        }
        // A task that was given up may still hold its share, so the result is taken out of it.
        let mut read = shared.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.spent = shared
            .counters
            .spent(stopwatch.lap(), shared.chunks.put_times());
        Ok(std::mem::take(&mut *read))
    }

    pub(super) fn next_job(&self) -> Option<Job> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    pub(super) fn format(&self, table: usize) -> CopyFormat {
        if self.binary[table].load(Ordering::Acquire) {
            CopyFormat::Binary
        } else {
            CopyFormat::Text
        }
    }

    /// Puts a table back into the queue to be read in binary, once; what was read of it as text is forgotten at the end.
    pub(super) fn read_in_binary(&self, table: usize) {
        if self.binary[table].swap(true, Ordering::AcqRel) {
            return;
        }
        let plan = &self.plan.tables[table];
        self.progress.event(Event::Warning(format!(
            "table {}: COPY text cannot carry one of its rows; reading it in binary",
            plan.name
        )));
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|job| !matches!(job, Job::Cell { table: other, .. } if *other == table));
        if plan.cells.is_empty() {
            queue.push_front(Job::Whole { table });
        }
        for cell in (0..plan.cells.len()).rev() {
            queue.push_front(Job::Cell { table, cell });
        }
    }

    pub(super) fn put_back(&self, job: Job) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_front(job);
    }

    /// A sink with a task behind it that stores what it cuts.
    pub(super) fn open(
        self: &Arc<Self>,
        format: CopyFormat,
        buffer: crate::archive::buffer::Buffer,
    ) -> (RowSink, Storing) {
        let (cuts, to_store) = mpsc::unbounded_channel();
        let chunker = Chunker::new(self.settings, format, buffer);
        let (progress, counters) = (Arc::clone(&self.progress), Arc::clone(&self.counters));
        let sink = RowSink::new(chunker, self.pool.clone(), cuts, progress, counters);
        (sink, tokio::spawn(store_cuts(Arc::clone(self), to_store)))
    }

    pub(super) fn keep(&self, segment: SegmentRead) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.segments.push(segment);
    }
}

/// Waits until the connection that holds the snapshot and all locks has ended: hours of reading would end in an error all the same.
async fn lost(coordinator: &Session) -> Error {
    while !coordinator.is_closed() {
        tokio::time::sleep(LOOK).await;
    }
    Error::Failed {
        object: FIRST_CONNECTION.to_owned(),
        problem: "it was lost, and with it the snapshot; no archive was made".to_owned(),
        remedy: "run the dump again: the chunks that are stored already will be found again"
            .to_owned(),
        source: coordinator.why_closed().map(Into::into),
    }
}

async fn all_done(workers: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = workers.join_next().await {
        match ended {
            Ok(outcome) => outcome?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    Ok(())
}

async fn store_cuts(reading: Arc<Reading>, cuts: mpsc::UnboundedReceiver<Cut>) -> Result<Pieces> {
    let cuts = futures::stream::unfold(cuts, |mut cuts| async { Some((cuts.recv().await?, cuts)) });
    let stored = cuts
        .map(
            |Cut {
                 number,
                 bytes,
                 spans,
             }| {
                let reading = &reading;
                async move {
                    let slot = reading.storing.acquire().await;
                    let _slot = slot.expect("the semaphore is never closed");
                    Ok::<_, Error>((number, spans, reading.chunks.put(bytes).await?))
                }
            },
        )
        .buffer_unordered(STORING_AT_ONCE);
    let mut stored = std::pin::pin!(stored);
    let mut pieces = Pieces::default();
    while let Some(one) = stored.next().await {
        let (number, spans, stored) = one?;
        pieces.add(number, &spans, &stored.chunk);
        if stored.new {
            reading
                .progress
                .event(Event::Stored(stored.chunk.stored_bytes));
        }
        let mut read = reading.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.chunks.entry(stored.chunk.chunk);
        let (_, new) = known.or_insert((stored.chunk.stored_bytes, false));
        *new |= stored.new;
    }
    Ok(pieces)
}
