//! Where a dump's time goes: counted while rows are read, so that nobody has to guess whether server, processor or store is slow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::archive::chunks::PutTimes;

/// Where the time of a dump went, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Spent {
    /// Before the first row: catalog, locks, comparison.
    pub catalog_ms: u64,
    /// From the first connection of a reader to the last chunk.
    pub rows_ms: u64,
    /// After the rows: sequence values, lists, manifest.
    pub archive_ms: u64,
    /// Of `rows_ms`, for each reader: until it found no more work.
    pub busy_ms: Vec<u64>,
    /// Of that, all readers together: how long they waited because chunks were not packed and stored fast enough.
    pub stalled_ms: u64,
    /// Compressing, decoding and hashing, all threads together.
    pub packing_ms: u64,
    /// Giving chunks to the store, all of them together, side by side or not.
    pub storing_ms: u64,
}

/// The counters that readers share.
#[derive(Debug, Default)]
pub(super) struct Counters {
    busy: Mutex<Vec<Duration>>,
    stalled_us: AtomicU64,
}

impl Counters {
    /// Notes how long a reader was busy.
    pub(super) fn add_reader(&self, busy: Duration) {
        let mut all = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(busy);
    }

    /// Notes how long a reader waited for chunks to be packed and stored.
    pub(super) fn add_stall(&self, stalled: Duration) {
        let us = u64::try_from(stalled.as_micros()).unwrap_or(u64::MAX);
        self.stalled_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted, for rows that took `rows`.
    pub(super) fn spent(&self, rows: Duration, put: PutTimes) -> Spent {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        Spent {
            rows_ms: milliseconds(rows),
            busy_ms: busy.iter().copied().map(milliseconds).collect(),
            stalled_ms: self.stalled_us.load(Ordering::Relaxed) / 1000,
            packing_ms: milliseconds(put.packing),
            storing_ms: milliseconds(put.storing),
            ..Spent::default()
        }
    }
}

/// Measures one stretch after the other.
#[derive(Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    pub(super) fn new() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// The time since the last lap, or the start.
    pub(super) fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.0, Instant::now());
        self.0 - before
    }
}

/// Whole milliseconds.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
