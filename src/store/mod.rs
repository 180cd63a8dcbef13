//! Where bytes live under keys. The trait is the contract; each store runs the contract tests.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{BoxError, Error, Result};

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
#[path = "../../tests/suite/support/fault_store.rs"]
pub(crate) mod fault;
#[cfg(test)]
pub(crate) mod hooked;
mod local;
mod memory;
mod nowhere;
mod object;
mod open;
mod room;

pub use local::LocalStore;
pub use memory::MemoryStore;
pub use nowhere::Nowhere;
pub use object::BucketStore;
pub use open::{At, Opening, Variables, open};
pub use room::Room;

/// A key: segments of `[A-Za-z0-9._-]` separated by `/`, none of them empty or with a leading dot (so neither `.` nor `..`).
/// At most 512 bytes. Never made from archive contents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The longest key in bytes.
    pub const BYTES_MAX: usize = 512;

    /// Takes a key that may have come from outside; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Key> {
        let fits = text.len() <= Key::BYTES_MAX && text.split('/').all(is_segment);
        fits.then(|| Key(text.to_owned()))
    }

    /// A key that this program made itself. Panics if it is not one.
    pub fn new(text: impl Into<String>) -> Key {
        let text = text.into();
        assert!(Key::parse(&text).is_some(), "{text:?} is not a store key");
        Key(text)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// True if the key stands below `prefix`, a path of whole segments without a slash at its end; everything stands below the empty one.
    pub fn is_below(&self, prefix: &str) -> bool {
        prefix.is_empty()
            || self
                .0
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('/'))
    }
}

/// True if `text` may be one segment of a key.
pub fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// No object of a repository is larger: chunks hold at most 64 MiB, and manifests name few of them. What is larger was put there by
/// somebody else, and is refused before it fills the memory.
pub const OBJECT_BYTES_MAX: u64 = 128 << 20;

/// Refuses an object of more than [`OBJECT_BYTES_MAX`].
fn check_size(location: impl fmt::Display, key: impl fmt::Display, n_bytes: u64) -> Result<()> {
    if n_bytes <= OBJECT_BYTES_MAX {
        return Ok(());
    }
    let problem = format_args!("has {n_bytes} bytes, more than any file of a repository may");
    Err(Error::corrupt(location, key, problem))
}

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
    /// After a crash of the machine before that the object may be gone; it is never there in part. At most [`OBJECT_BYTES_MAX`].
    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put>;

    /// The whole object, `None` if there is none. One of more than [`OBJECT_BYTES_MAX`] is [`Error::Corrupt`], and is not read.
    async fn get(&self, key: &Key) -> Result<Option<Bytes>>;

    /// A byte range of the object, cut off at its end; `None` if there is no object.
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>>;

    /// Size and time of an object, `None` if there is none.
    async fn head(&self, key: &Key) -> Result<Option<Stored>>;

    /// All objects below `prefix` (whole segments without a slash at the end: `chunks/ab`; empty for all), in key order.
    /// Whatever lies there under a name that is no [`Key`] is left out.
    async fn list(&self, prefix: &str) -> Result<Vec<Stored>>;

    /// Stores what stands under `from` under `to` as well, unless something stands there; `None` if nothing stands under `from`.
    /// The copy counts as written now. Durable after the next [`Store::flush`].
    async fn copy_new(&self, from: &Key, to: &Key) -> Result<Option<Put>> {
        match self.get(from).await? {
            Some(bytes) => self.put_new(to, bytes).await.map(Some),
            None => Ok(None),
        }
    }

    /// Removes an object; done as well if there was none.
    async fn delete(&self, key: &Key) -> Result<()>;

    /// Makes everything durable that this handle has put, or has found to exist when it wanted to put it.
    async fn flush(&self) -> Result<()>;
}

/// A store's failure with the key and the action it belongs to; for `map_err`.
pub(crate) fn store_error<E: Into<BoxError>>(
    key: impl fmt::Display,
    action: &'static str,
) -> impl FnOnce(E) -> Error {
    let key = key.to_string();
    move |source| Error::Store {
        key,
        action,
        tries: 1,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_refuse_what_could_leave_the_repository() {
        for good in ["pgark.json", "chunks/ab/ab34", "records/a_b-C.json"] {
            assert!(Key::parse(good).is_some(), "{good}");
        }
        let long = "a".repeat(Key::BYTES_MAX + 1);
        for bad in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.b", "a b", "a\\b", "ä", "a\0",
            "C:", &long,
        ] {
            assert!(Key::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn below_means_whole_segments() {
        let key = Key::new("chunks/ab/abcd");
        assert!(key.is_below("") && key.is_below("chunks") && key.is_below("chunks/ab"));
        assert!(!key.is_below("chunks/a") && !key.is_below("chunks/ab/abcd"));
    }
}
