//! What all connections of a restore share, and what becomes of them when it is given up.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::copy_in::ChunkCache;
use super::feed::{Feed, Feeding};
use super::journal::Journal;
use super::options::RestoreOptions;
use crate::archive::ChunkStore;
use crate::pg::{Canceller, ConnSettings, Session};
use crate::progress::Progress;
use crate::sql::Ident;

/// What all workers of a restore share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ConnSettings,
    pub(super) role: Option<Ident>,
    pub(super) chunks: ChunkStore,
    pub(super) cache: ChunkCache,
    /// Rows that come from no chunk.
    pub(super) feeding: Feeding,
    pub(super) progress: Arc<dyn Progress>,
    /// Memory for all index builds together, and parallel workers for one; see [`RestoreOptions`].
    pub(super) index_memory_mib: Option<u32>,
    pub(super) index_workers: Option<u32>,
    /// True if all work is one transaction on one connection.
    pub(super) one_transaction: bool,
    /// True if the first failure ends the work.
    pub(super) stops_at_first: bool,
    /// What earlier runs have done; unset where no journal is kept.
    pub(super) journal: OnceLock<Journal>,
    cancellers: Mutex<Vec<Canceller>>,
}

impl Shared {
    /// What workers need of the options. `settings` name the target.
    pub(super) fn new(
        settings: &ConnSettings,
        options: &RestoreOptions,
        chunks: ChunkStore,
        progress: Arc<dyn Progress>,
    ) -> Shared {
        Shared {
            settings: settings.clone(),
            role: options.role.as_ref().map(Ident::new),
            chunks,
            cache: ChunkCache::new(options.n_workers()),
            feeding: Feeding::default(),
            progress,
            index_memory_mib: options.index_memory_mib,
            index_workers: options.index_workers,
            one_transaction: options.single_transaction,
            stops_at_first: options.stops_at_first(),
            journal: OnceLock::new(),
            cancellers: Mutex::default(),
        }
    }

    /// The same with rows that come from `feed`, if there is one.
    pub(super) fn fed_by(mut self, feed: Option<Arc<dyn Feed>>) -> Shared {
        self.feeding = Feeding::new(feed);
        self
    }

    /// What is known of the work of earlier runs, where this one keeps a journal. Set once, before the first worker.
    pub(super) fn keep(&self, journal: Journal) {
        // There is one restore, and it says this once.
        let _ = self.journal.set(journal);
    }

    /// True if finished work is noted on the target.
    pub(super) fn journals(&self) -> bool {
        self.journal.get().is_some()
    }

    /// What to do when the target cannot be reached any more.
    pub(super) fn remedy_of_loss(&self) -> &'static str {
        if self.journals() {
            "see what ended the server, then go on with `pgark restore --resume`"
        } else {
            "see what ended the server, then restore into a new database"
        }
    }

    /// Notes a session, to be cancelled if the restore is given up.
    pub(super) fn note(&self, session: &Session) {
        lock(&self.cancellers).push(session.canceller());
    }
}

/// Cancels every session's statement when the restore is given up, because a server does not notice on its own.
#[derive(Debug)]
pub(super) struct CancelOnDrop {
    shared: Option<Arc<Shared>>,
}

impl CancelOnDrop {
    /// A guard for the sessions of `shared`.
    pub(super) fn new(shared: &Arc<Shared>) -> CancelOnDrop {
        CancelOnDrop {
            shared: Some(Arc::clone(shared)),
        }
    }

    /// The work has ended by itself.
    pub(super) fn finish(mut self) {
        self.shared = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let (Some(shared), Ok(runtime)) =
            (self.shared.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let list = std::mem::take(&mut *lock(&shared.cancellers));
        runtime.spawn(async move {
            let all = list.iter().map(Canceller::cancel);
            // Nobody is left to be told of a failure.
            futures::future::join_all(all).await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
