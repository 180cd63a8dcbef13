//! Work for the processor, kept off the threads that move bytes.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Runs compression, hashing and parsing on the blocking pool, no more at once than there are cores. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CpuPool {
    slots: Arc<Semaphore>,
    n_slots: usize,
}

impl CpuPool {
    /// A pool for `n_slots` pieces of work at once, at least one.
    pub fn new(n_slots: usize) -> CpuPool {
        let n_slots = n_slots.max(1);
        CpuPool {
            slots: Arc::new(Semaphore::new(n_slots)),
            n_slots,
        }
    }

    /// A pool as wide as the machine.
    pub fn of_this_machine() -> CpuPool {
        CpuPool::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// How many pieces of work run at once.
    pub fn n_slots(&self) -> usize {
        self.n_slots
    }

    /// Runs `work`. Dropping the future does not stop work that has begun: give it pieces of one chunk, tens of milliseconds.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let slots = Arc::clone(&self.slots);
        // The wait for a slot is a task of its own. A future in a `buffered` stream may be given the slot while nobody polls it;
        // whoever should poll it may be waiting for a slot here, for ever.
        let mut task = JoinSet::new();
        task.spawn(async move {
            let slot = slots
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            tokio::task::spawn_blocking(move || {
                // Work whose caller went away still takes its core until it ends.
                let _slot = slot;
                work()
            })
            .await
        });
        let done = task.join_next().await.expect("one task was spawned");
        match done.and_then(|done| done) {
            Ok(value) => value,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Work that waits in a stream which nobody polls just then must not keep its slot from others.
    #[tokio::test]
    async fn unpolled_work_blocks_nobody() {
        use futures::stream::{self, StreamExt as _};
        let pool = CpuPool::new(1);
        let mut ahead = stream::iter(0..20).map(|i| pool.run(move || i)).buffered(3);
        let mut sum = 0;
        while let Some(i) = ahead.next().await {
            sum += pool.run(move || i).await;
        }
        assert_eq!(sum, 190);
    }

    #[tokio::test]
    async fn no_more_runs_at_once_than_there_are_slots() {
        let pool = CpuPool::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = (0..12).map(|i| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            pool.run(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(5));
                running.fetch_sub(1, Ordering::SeqCst);
                i
            })
        });
        let done = futures::future::join_all(work).await;
        assert_eq!(done, (0..12).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
