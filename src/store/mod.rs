//! Where bytes live under keys. The trait is the contract; each store runs the contract tests.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// A key: segments of `[A-Za-z0-9._-]` separated by `/`, none of them `.` or `..`. Never made from archive contents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// What a listing knows of a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub n_bytes: u64,
    /// When the store says that it was written, in milliseconds since 1970; the store's clock.
    pub written_ms: i64,
}

/// What became of a [`Store::put_new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was not there and is now.
    Stored,
    /// An object stood under that key already; it was left as it is.
    Exists,
}

/// A place for immutable objects under keys.
///
/// An object is there whole or not at all. Nothing is ever overwritten: a key is written once, and freed only by `delete`.
/// Methods may be called concurrently from many tasks. Who calls decides about retries; a `put_new` may be repeated safely.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The place as people know it, without secrets: a path or a URL.
    fn location(&self) -> String;

    /// Stores `bytes` under `key` unless something stands there. Durable only after the next [`Store::flush`].
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put>;

    /// The whole object, `None` if there is none.
    async fn get(&self, key: &Key) -> Result<Option<Bytes>>;

    /// A byte range of the object, cut off at its end; `None` if there is no object.
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>>;

    /// Size and time of an object, `None` if there is none.
    async fn head(&self, key: &Key) -> Result<Option<Stored>>;

    /// All objects whose key begins with `prefix` (a whole segment path: `chunks/ab`), in key order.
    async fn list(&self, prefix: &str) -> Result<Vec<Stored>>;

    /// Removes an object; done as well if there was none.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// Makes everything durable that this handle has put, or has found to exist when it wanted to put it.
    async fn flush(&self) -> Result<()>;
}
