//! Buffers for chunks from a bounded pool: who wants to read rows waits here for memory.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded number of buffers of one size. Cheap to clone.
#[derive(Clone)]
pub struct BufferPool {
    inner: Arc<Inner>,
}

struct Inner {
    buffer_bytes: usize,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// A pool of at most `n_buffers` buffers with room for `buffer_bytes` each. Memory is taken when a buffer is first used.
    pub fn new(n_buffers: usize, buffer_bytes: usize) -> BufferPool {
        BufferPool {
            inner: Arc::new(Inner {
                buffer_bytes,
                free: Arc::new(Semaphore::new(n_buffers)),
                idle: Mutex::default(),
            }),
        }
    }

    /// Waits for a buffer; those who wait are served in turn. The future may be kept and polled where there is no `async`.
    pub fn acquire(&self) -> BoxFuture<'static, Buffer> {
        let pool = self.clone();
        Box::pin(async move {
            let permit = Arc::clone(&pool.inner.free)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            pool.buffer(permit)
        })
    }

    /// A buffer, if one is free.
    pub fn try_acquire(&self) -> Option<Buffer> {
        let permit = Arc::clone(&self.inner.free).try_acquire_owned().ok()?;
        Some(self.buffer(permit))
    }

    /// Buffers that nobody holds now.
    pub fn n_free(&self) -> usize {
        self.inner.free.available_permits()
    }

    fn buffer(&self, permit: OwnedSemaphorePermit) -> Buffer {
        let idle = self.inner.lock().pop();
        Buffer {
            bytes: idle.unwrap_or_else(|| Vec::with_capacity(self.inner.buffer_bytes)),
            home: Some((Arc::clone(&self.inner), permit)),
        }
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("buffer_bytes", &self.inner.buffer_bytes)
            .field("n_free", &self.n_free())
            .finish()
    }
}

/// Bytes in a buffer of a pool, to which it returns when it is dropped; or in one of its own.
pub struct Buffer {
    bytes: Vec<u8>,
    home: Option<(Arc<Inner>, OwnedSemaphorePermit)>,
}

impl From<Vec<u8>> for Buffer {
    /// A buffer of no pool.
    fn from(bytes: Vec<u8>) -> Buffer {
        Buffer { bytes, home: None }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes.len())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some((inner, permit)) = self.home.take() {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            inner.lock().push(bytes);
            drop(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_pool_gives_no_more_than_it_has_and_uses_them_again() {
        let pool = BufferPool::new(2, 100);
        let mut first = pool.acquire().await;
        first.extend_from_slice(b"rows");
        let place = first.as_ptr();
        let second = pool.try_acquire().unwrap();
        assert!(pool.try_acquire().is_none());
        let mut waiting = pool.acquire();
        assert!((&mut waiting).now_or_never().is_none());
        drop(first);
        let again = waiting.await;
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        drop((again, second));
        assert_eq!(pool.n_free(), 2);
    }
}
