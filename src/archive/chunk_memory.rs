//! The memory of packed and unpacked chunks, used again and again.
//!
//! A general allocator keeps what one thread frees for that thread, so that megabytes that are made on one thread and dropped on
//! another add up: a restore of wide rows grew to 440 MiB where 130 were in use (glibc 2.36). And fresh pages cost: compressing into
//! memory that was used before takes a tenth less time than into new memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Smaller ones are left to the allocator.
const POOLED_BYTES_MIN: usize = 1 << 20;
/// Capacities are multiples of this, so that chunks of different sizes can use each other's memory.
const STEP_BYTES: usize = 4 << 20;
/// Buffers that are kept while nobody uses them.
const N_IDLE_MAX: usize = 16;

/// Buffers that wait for the next chunk. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ChunkMemory(Arc<Idle>);

#[derive(Debug, Default)]
struct Idle(Mutex<Vec<Vec<u8>>>);

impl Idle {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChunkMemory {
    /// An empty buffer with room for `n_bytes`.
    pub(super) fn take(&self, n_bytes: usize) -> Vec<u8> {
        if n_bytes < POOLED_BYTES_MIN {
            return Vec::with_capacity(n_bytes);
        }
        let idle = self.0.lock().pop();
        let mut bytes = idle.unwrap_or_default();
        bytes.clear();
        bytes.reserve_exact(n_bytes.next_multiple_of(STEP_BYTES));
        bytes
    }

    /// The bytes, whose memory comes back when the last of them is dropped.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        if bytes.capacity() < POOLED_BYTES_MIN {
            return bytes.into();
        }
        let home = Arc::clone(&self.0);
        Bytes::from_owner(Lent { bytes, home })
    }
}

/// A buffer in use.
struct Lent {
    bytes: Vec<u8>,
    home: Arc<Idle>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut idle = self.home.lock();
        if idle.len() < N_IDLE_MAX {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_user_has_gone() {
        let pool = ChunkMemory::default();
        let mut bytes = pool.take(3 << 20);
        bytes.resize(3 << 20, 7);
        let place = bytes.as_ptr();
        let lent = pool.lend(bytes);
        let part = lent.slice(100..200);
        drop(lent);
        assert_eq!(pool.0.lock().len(), 0);
        assert_eq!(part.as_ref(), [7; 100]);
        drop(part);
        // A chunk of another size uses the same memory.
        let again = pool.take(4 << 20);
        assert!(again.is_empty() && again.as_ptr() == place);
        for n in 0..40 {
            let many: Vec<Bytes> = (0..n).map(|_| pool.lend(pool.take(1 << 20))).collect();
            drop(many);
        }
        assert_eq!(pool.0.lock().len(), N_IDLE_MAX);
        assert!(pool.lend(pool.take(10)).is_empty());
        assert_eq!(pool.0.lock().len(), N_IDLE_MAX);
    }
}
