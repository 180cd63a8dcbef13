//! A wrapper whose n-th call fails, or ends the process, for tests of what a failing store and a killed program leave behind.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use pgark::store::{Key, Put, Store, Stored};
use pgark::{Error, Result};

/// What happens at the chosen call. Unless it is to be the only one, every later call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails and did nothing.
    Refused,
    /// The call fails although it was done: the answer was lost.
    AnswerLost,
    /// The call is done, and the process ends as if it was killed.
    #[allow(dead_code, reason = "the library's own tests outlive their stores")]
    Kill,
}

/// A store whose call number `at` fails, counted from 0, and all calls after it.
#[derive(Debug)]
pub(crate) struct FaultStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    at: u64,
    only_once: bool,
    n_calls: AtomicU64,
}

impl FaultStore {
    pub(crate) fn new(inner: Arc<dyn Store>, fault: Fault, at: u64) -> FaultStore {
        FaultStore {
            inner,
            fault,
            at,
            only_once: false,
            n_calls: AtomicU64::new(0),
        }
    }

    /// All calls after the one that fails succeed again.
    #[allow(dead_code, reason = "not all that include this file need it")]
    pub(crate) fn only_once(mut self) -> FaultStore {
        self.only_once = true;
        self
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
        if n < self.at || (self.only_once && n > self.at) {
            return work.await;
        }
        // Only the first failing call may have been done: afterwards the store is gone.
        if self.fault != Fault::Refused && n == self.at {
            work.await?;
        }
        if self.fault == Fault::Kill {
            std::process::abort();
        }
        Err(Error::Store {
            key: key.to_owned(),
            action,
            tries: 1,
            source: "injected fault".into(),
        })
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
