//! A wrapper that fails the n-th call, for tests of what a failing store leaves behind.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Key, Put, Store, Stored, store_error};
use crate::error::Result;

/// What happens at the chosen call and at every later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails and did nothing.
    Refused,
    /// The call fails although it was done: the answer was lost.
    AnswerLost,
}

/// A store whose call number `at` fails, counted from 0, and all calls after it.
#[derive(Debug)]
pub(crate) struct FaultStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    at: u64,
    n_calls: AtomicU64,
}

impl FaultStore {
    pub(crate) fn new(inner: Arc<dyn Store>, fault: Fault, at: u64) -> FaultStore {
        FaultStore {
            inner,
            fault,
            at,
            n_calls: AtomicU64::new(0),
        }
    }

    /// Calls so far.
    pub(crate) fn n_calls(&self) -> u64 {
        self.n_calls.load(Ordering::SeqCst)
    }

    async fn call<T>(
        &self,
        key: &str,
        action: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let n = self.n_calls.fetch_add(1, Ordering::SeqCst);
        if n < self.at {
            return work.await;
        }
        // Only the first failing call may have been done: afterwards the store is gone.
        if self.fault == Fault::AnswerLost && n == self.at {
            work.await?;
        }
        Err(store_error(key, action)("injected fault"))
    }
}

#[async_trait]
impl Store for FaultStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put> {
        self.call(key.as_str(), "put", self.inner.put_new(key, bytes))
            .await
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.call(key.as_str(), "get", self.inner.get(key)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        self.call(key.as_str(), "get", self.inner.get_range(key, range))
            .await
    }

    async fn head(&self, key: &Key) -> Result<Option<Stored>> {
        self.call(key.as_str(), "head", self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        self.call(prefix, "list", self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.call(key.as_str(), "delete", self.inner.delete(key))
            .await
    }

    async fn flush(&self) -> Result<()> {
        self.call("", "flush", self.inner.flush()).await
    }
}
