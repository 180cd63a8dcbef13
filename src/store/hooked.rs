//! A store in memory for tests of what happens at the same time: its clock is set by the test, something runs before a chosen put, and
//! every change after the n-th fails.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::{Key, MemoryStore, Put, Store, Stored, store_error};
use crate::error::Result;

/// What runs before a put.
type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Memory with a clock, a hook and a fault.
pub(crate) struct HookedStore {
    inner: MemoryStore,
    written_ms: Mutex<HashMap<Key, i64>>,
    now_ms: AtomicI64,
    hook: Mutex<Option<(String, Hook)>>,
    /// Changes that still succeed; none is ever refused below zero.
    n_left: AtomicI64,
    /// Whether the change that fails first was done all the same.
    answer_lost: bool,
}

impl fmt::Debug for HookedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookedStore")
    }
}

impl HookedStore {
    /// An empty store whose clock stands at `now_ms`.
    pub(crate) fn new(now_ms: i64, answer_lost: bool) -> HookedStore {
        HookedStore {
            inner: MemoryStore::new(),
            written_ms: Mutex::default(),
            now_ms: AtomicI64::new(now_ms),
            hook: Mutex::default(),
            n_left: AtomicI64::new(i64::MAX / 2),
            answer_lost,
        }
    }

    /// Moves the clock.
    pub(crate) fn pass(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Runs `hook` once, before the next put of a key that begins with `prefix`.
    pub(crate) fn before_put(
        &self,
        prefix: &str,
        hook: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static,
    ) {
        *self.hook.lock().unwrap() = Some((prefix.to_owned(), Box::new(hook)));
    }

    /// Lets `n` more changes succeed, and none after them.
    pub(crate) fn fail_after(&self, n: i64) {
        self.n_left.store(n, Ordering::SeqCst);
    }

    /// Everything succeeds again. True if something had failed.
    pub(crate) fn heal(&self) -> bool {
        self.n_left.swap(i64::MAX / 2, Ordering::SeqCst) < 0
    }

    async fn change<T>(&self, key: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let left = self.n_left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return work.await;
        }
        if left == 0 && self.answer_lost {
            work.await?;
        }
        Err(store_error(key, "change")("injected fault"))
    }

    fn timed(&self, mut stored: Stored) -> Stored {
        if let Some(written_ms) = self.written_ms.lock().unwrap().get(&stored.key) {
            stored.written_ms = *written_ms;
        }
        stored
    }
}

#[async_trait]
impl Store for HookedStore {
    fn location(&self) -> String {
        "hooked memory".to_owned()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put> {
        let hook = {
            let mut hook = self.hook.lock().unwrap();
            hook.take_if(|(prefix, _)| key.as_str().starts_with(prefix.as_str()))
        };
        if let Some((_, hook)) = hook {
            hook().await;
        }
        let put = async {
            let put = self.inner.put_new(key, bytes).await?;
            if put == Put::Stored {
                let now_ms = self.now_ms.load(Ordering::SeqCst);
                self.written_ms.lock().unwrap().insert(key.clone(), now_ms);
            }
            Ok(put)
        };
        self.change(key.as_str(), put).await
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Stored>> {
        let head = self.inner.head(key).await?;
        Ok(head.map(|stored| self.timed(stored)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let listed = self.inner.list(prefix).await?;
        Ok(listed.into_iter().map(|one| self.timed(one)).collect())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.change(key.as_str(), self.inner.delete(key)).await
    }

    async fn flush(&self) -> Result<()> {
        self.change("", self.inner.flush()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract_and_its_own_time() {
        let now_ms = jiff::Timestamp::now().as_millisecond() - 1000;
        super::super::contract::check(&HookedStore::new(now_ms, false)).await;
        let store = HookedStore::new(5, false);
        store.pass(2);
        let key = Key::new("a");
        store.put_new(&key, Bytes::new()).await.unwrap();
        assert_eq!(store.head(&key).await.unwrap().unwrap().written_ms, 7);
    }
}
