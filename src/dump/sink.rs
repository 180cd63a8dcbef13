//! Where COPY OUT ends: rows go from the tap into a chunker, full chunks to whoever stores them.
//! Called for every row, so nothing here allocates, locks or waits.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::plan::TablePlan;
use super::spent::Counters;
use crate::archive::buffer::{Buffer, BufferPool};
use crate::archive::chunker::{Chunker, Cut, PartEnd};
use crate::error::{Error, Result};
use crate::pg::CopySink;
use crate::progress::{Event, Progress};

/// A chunker behind the tap.
pub(super) struct RowSink {
    chunker: Chunker,
    pool: BufferPool,
    /// The buffer for the next chunk; the socket is not read without one.
    spare: Option<Buffer>,
    waiting: Option<BoxFuture<'static, Buffer>>,
    waiting_since: Option<Instant>,
    counters: Arc<Counters>,
    /// Bounded by the pool: every cut holds one of its buffers.
    cuts: mpsc::UnboundedSender<Cut>,
    /// The parts of the COPYs that ended, until their tags are known.
    ended: VecDeque<Result<PartEnd, &'static str>>,
    progress: Arc<dyn Progress>,
    n_bytes: u64,
    n_rows: u64,
}

impl std::fmt::Debug for RowSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowSink")
            .field("chunker", &self.chunker)
            .finish_non_exhaustive()
    }
}

impl RowSink {
    /// A sink that gives its chunks to `cuts`.
    pub(super) fn new(
        chunker: Chunker,
        pool: BufferPool,
        cuts: mpsc::UnboundedSender<Cut>,
        progress: Arc<dyn Progress>,
        counters: Arc<Counters>,
    ) -> RowSink {
        RowSink {
            chunker,
            pool,
            spare: None,
            waiting: None,
            waiting_since: None,
            counters,
            cuts,
            ended: VecDeque::new(),
            progress,
            n_bytes: 0,
            n_rows: 0,
        }
    }

    /// Forgets what came of COPYs whose tags did not.
    pub(super) fn abandon(&mut self) {
        self.ended.clear();
        self.chunker.abandon();
    }

    /// Gives the rest away, and lets go of the receiver.
    pub(super) fn finish(mut self) {
        self.report();
        let RowSink {
            mut chunker,
            cuts,
            spare,
            ..
        } = self;
        chunker.cut();
        if let Some(cut) = chunker.take_chunk(spare.unwrap_or_else(|| Buffer::from(Vec::new()))) {
            // Without a receiver the run has failed already, and says so itself.
            let _ = cuts.send(cut);
        }
    }

    fn give_chunk(&mut self) {
        let next = self.spare.take().or_else(|| self.pool.try_acquire());
        // A row that fills two chunks within one reading of the socket is the only way to get here without a spare.
        let next = next.unwrap_or_else(|| Buffer::from(Vec::new()));
        if let Some(cut) = self.chunker.take_chunk(next) {
            let _ = self.cuts.send(cut);
        }
    }

    fn report(&mut self) {
        if self.n_bytes > 0 {
            self.progress
                .event(Event::Bytes(std::mem::take(&mut self.n_bytes)));
            self.progress
                .event(Event::Rows(std::mem::take(&mut self.n_rows)));
        }
    }
}

impl CopySink for RowSink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.report();
        if self.spare.is_some() {
            return Poll::Ready(());
        }
        if self.waiting.is_none() {
            self.spare = self.pool.try_acquire();
            if self.spare.is_some() {
                return Poll::Ready(());
            }
        }
        let waiting = self.waiting.get_or_insert_with(|| self.pool.acquire());
        match waiting.as_mut().poll(cx) {
            Poll::Ready(buffer) => {
                self.spare = Some(buffer);
                self.waiting = None;
                if let Some(since) = self.waiting_since.take() {
                    self.counters.add_stall(since.elapsed());
                }
                Poll::Ready(())
            }
            Poll::Pending => {
                self.waiting_since.get_or_insert_with(Instant::now);
                Poll::Pending
            }
        }
    }

    fn begin(&mut self, _: bool) {}

    fn data(&mut self, fragment: &[u8], ends_message: bool) {
        self.n_bytes += fragment.len() as u64;
        self.n_rows += u64::from(ends_message);
        let mut rest = fragment;
        loop {
            let n_taken = self.chunker.row_fragment(rest, ends_message);
            rest = &rest[n_taken..];
            if self.chunker.is_full() {
                self.give_chunk();
            }
            if rest.is_empty() {
                break;
            }
        }
    }

    fn end(&mut self) {
        self.ended.push_back(self.chunker.mark());
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// The sink again, after a COPY.
pub(super) fn row_sink(sink: Box<dyn crate::pg::CopySink>) -> RowSink {
    *sink
        .into_any()
        .downcast::<RowSink>()
        .expect("the sink that was given")
}

pub(super) fn counted(
    sink: &mut RowSink,
    n_rows: u64,
    plan: &TablePlan,
    cell: Option<usize>,
) -> Result<PartEnd> {
    end_of_part(
        sink,
        n_rows,
        &format!("table {}", plan.name),
        &plan.step(cell),
    )
}

/// The part of the COPY that ended first, whose rows that were counted must be those of the server's command tag.
pub(super) fn end_of_part(
    sink: &mut RowSink,
    n_rows: u64,
    object: &str,
    step: &str,
) -> Result<PartEnd> {
    let broken =
        |problem: String| Error::failed(object, format!("{step}: {problem}"), "run the dump again");
    let end = sink
        .ended
        .pop_front()
        .unwrap_or(Err("the server did not say where its rows end"))
        .map_err(|problem| broken(problem.to_owned()))?;
    if end.fingerprint.n_rows() == n_rows {
        return Ok(end);
    }
    Err(broken(format!(
        "{} rows arrived, but the server sent {n_rows}",
        end.fingerprint.n_rows()
    )))
}
