//! How the library reports what it is doing. Only `cli` prints.

use std::fmt;
use std::time::Duration;

/// Something happened. Counters only ever grow within one run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A phase began: `catalog`, `data`, `indexes`. `bytes` and `tasks` are estimates of its work, 0 where unknown.
    Phase {
        /// The phase's name for people.
        name: &'static str,
        /// Expected bytes.
        bytes: u64,
        /// Expected steps.
        tasks: u64,
    },
    /// Raw bytes of rows moved since the last such event.
    Bytes(u64),
    /// Rows moved since the last such event.
    Rows(u64),
    /// Bytes that were new to the store.
    Stored(u64),
    /// A step of the phase ended; the text names it.
    Task(String),
    /// Something the user should know although the work goes on.
    Warning(String),
    /// Something failed that may pass, and is tried again.
    Retry {
        /// What is tried: a server, a call to the store.
        what: String,
        /// Why it failed.
        problem: String,
        /// Tries so far.
        tries: u32,
        /// How long until the next one.
        pause: Duration,
    },
}

/// Receives events; called from many tasks, must return at once.
pub trait Progress: Send + Sync + fmt::Debug {
    /// One event.
    fn event(&self, event: Event);
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}
