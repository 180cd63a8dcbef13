//! Connections to an open database: lent to one reading at a time, and back in order when that is over, however it ends.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Live;
use crate::archive::buffer::BufferPool;
use crate::dump::plan::TablePlan;
use crate::dump::table_locks::{try_lock, waiters};
use crate::error::{Error, Result};
use crate::pg::{Session, SnapshotOwner, SnapshotReader};
use crate::progress::Event;
use crate::toc::EntryId;

/// Buffers of one connection: one being filled, one in waiting, two on their way.
const BUFFERS: usize = 4;
/// Room in each.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

const BACK: &str = "ROLLBACK TO SAVEPOINT pgark_read";

/// A connection in the snapshot.
#[derive(Debug)]
pub(super) struct Reader {
    snapshot: SnapshotReader,
    locked: HashSet<EntryId>,
    pool: BufferPool,
}

impl Reader {
    pub(super) fn new(reader: SnapshotReader) -> Reader {
        Reader {
            snapshot: reader,
            locked: HashSet::new(),
            pool: BufferPool::new(BUFFERS, BUFFER_BYTES),
        }
    }

    /// Ends the transaction and the connection.
    pub(super) async fn close(self) {
        self.snapshot.end().await;
    }
}

/// The connection that has the snapshot and all locks. It reads what no other can lock.
#[derive(Debug)]
pub(super) struct Coordinator {
    owner: Arc<Mutex<Option<SnapshotOwner>>>,
    pool: BufferPool,
}

impl Coordinator {
    pub(super) async fn new(owner: SnapshotOwner) -> Result<Coordinator> {
        // A COPY that fails must not end the transaction, and the snapshot with it.
        let savepoint = "SAVEPOINT pgark_read";
        owner
            .session()
            .batch("the first connection", "SAVEPOINT", savepoint)
            .await?;
        Ok(Coordinator {
            owner: Arc::new(Mutex::new(Some(owner))),
            pool: BufferPool::new(BUFFERS, BUFFER_BYTES),
        })
    }

    /// Ends the transaction and the connection.
    pub(super) async fn close(&self) -> Result<()> {
        if let Some(owner) = self.owner.lock().await.take() {
            owner.end().await;
        }
        Ok(())
    }
}

#[derive(Debug)]
enum By {
    Reader(Box<Reader>),
    Coordinator(OwnedMutexGuard<Option<SnapshotOwner>>),
}

/// A connection while it is lent.
#[derive(Debug)]
pub(super) struct Lent {
    live: Arc<Live>,
    by: Option<By>,
    /// True while a COPY runs.
    pub(super) is_reading: bool,
    /// True after a failure: the transaction may be aborted.
    pub(super) has_failed: bool,
}

impl Lent {
    /// Lends a connection to read in, an idle one if there is any.
    pub(super) async fn reader(live: &Arc<Live>) -> Result<Lent> {
        let idle = {
            let mut idle = live.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|reader| !reader.snapshot.session().is_closed());
            idle.pop()
        };
        let reader = match idle {
            Some(reader) => reader,
            None => Reader::new(live.readers.open().await?),
        };
        Ok(Lent::new(live, By::Reader(Box::new(reader))))
    }

    /// Lends the coordinator, when nobody else has it.
    pub(super) async fn coordinator(live: &Arc<Live>) -> Result<Lent> {
        let owner = Arc::clone(&live.coordinator.owner).lock_owned().await;
        if owner.is_none() {
            return Err(Error::failed("the source", "it is closed already", ""));
        }
        Ok(Lent::new(live, By::Coordinator(owner)))
    }

    fn new(live: &Arc<Live>, by: By) -> Lent {
        Lent {
            live: Arc::clone(live),
            by: Some(by),
            is_reading: false,
            has_failed: false,
        }
    }

    /// Locks a table, if that can be done without waiting; somebody's wait for a stronger lock refuses it.
    pub(super) async fn lock(&mut self, plan: &TablePlan) -> Result<bool> {
        let Some(By::Reader(reader)) = &mut self.by else {
            return Ok(true);
        };
        // Foreign tables cannot be locked; read on one connection they are of one moment of their server too.
        if plan.is_foreign {
            return Ok(false);
        }
        if reader.locked.contains(&plan.entry) {
            return Ok(true);
        }
        let session = reader.snapshot.session();
        if try_lock(session, &[plan]).await? {
            reader.locked.insert(plan.entry);
            return Ok(true);
        }
        let waiting = waiters(session, plan).await?;
        self.live.progress.event(Event::Warning(format!(
            "table {}: {waiting} waits for its lock, so it is read on the first connection",
            plan.name
        )));
        Ok(false)
    }

    /// The connection.
    pub(super) fn session(&self) -> &Session {
        match self.by.as_ref().expect("only a drop takes it") {
            By::Reader(reader) => reader.snapshot.session(),
            By::Coordinator(owner) => owner
                .as_ref()
                .expect("it was there when it was lent")
                .session(),
        }
    }

    /// Its buffers.
    pub(super) fn pool(&self) -> BufferPool {
        match &self.by {
            Some(By::Reader(reader)) => reader.pool.clone(),
            _ => self.live.coordinator.pool.clone(),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let is_clean = !self.is_reading && !self.has_failed;
        let is_reading = self.is_reading;
        let runtime = tokio::runtime::Handle::try_current();
        match (self.by.take(), runtime) {
            (Some(By::Reader(reader)), _) if is_clean => {
                let idle = self.live.idle.lock();
                idle.unwrap_or_else(PoisonError::into_inner).push(*reader);
            }
            (Some(By::Reader(reader)), Ok(runtime)) if is_reading => {
                let canceller = reader.snapshot.session().canceller();
                runtime.spawn(async move { canceller.cancel().await });
            }
            (Some(By::Coordinator(owner)), Ok(runtime)) if !is_clean => {
                runtime.spawn(set_back(owner, is_reading));
            }
            _ => {}
        }
    }
}

/// Makes the coordinator's transaction usable again, before anybody else gets it.
async fn set_back(owner: OwnedMutexGuard<Option<SnapshotOwner>>, is_reading: bool) {
    let Some(session) = owner.as_ref().map(SnapshotOwner::session) else {
        return;
    };
    if is_reading {
        // A request that is not delivered leaves the COPY to its end, which is waited for below.
        let _ = session.cancel().await;
    }
    // The request may meet this statement instead of the COPY.
    for _ in 0..2 {
        let outcome = session
            .batch("the first connection", "ROLLBACK", BACK)
            .await;
        if outcome.is_ok() {
            return;
        }
    }
}
