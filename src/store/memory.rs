//! A store in memory: for tests, and for work that keeps nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Key, Put, Store, Stored, check_size};
use crate::error::Result;

/// Objects in a map. Cheap to make; the objects live as long as the store.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<Key, (Bytes, i64)>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, (Bytes, i64)>> {
        // Every change is a single map operation, so a panic elsewhere leaves the map whole.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put> {
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(Put::Exists);
        }
        let now_ms = jiff::Timestamp::now().as_millisecond();
        objects.insert(key.clone(), (bytes, now_ms));
        Ok(Put::Stored)
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        let found = self.objects().get(key).map(|(bytes, _)| bytes.clone());
        if let Some(bytes) = &found {
            check_size(self.location(), key, bytes.len() as u64)?;
        }
        Ok(found)
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        Ok(self.objects().get(key).map(|(bytes, _)| {
            let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let (start, end) = (clip(range.start), clip(range.end));
            bytes.slice(start..end.max(start))
        }))
    }

    async fn head(&self, key: &Key) -> Result<Option<Stored>> {
        Ok(self
            .objects()
            .get(key)
            .map(|(bytes, written_ms)| stored(key, bytes, *written_ms)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        Ok(self
            .objects()
            .iter()
            .filter(|(key, _)| key.is_below(prefix))
            .map(|(key, (bytes, written_ms))| stored(key, bytes, *written_ms))
            .collect())
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.objects().remove(key);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn stored(key: &Key, bytes: &Bytes, written_ms: i64) -> Stored {
    Stored {
        key: key.clone(),
        n_bytes: bytes.len() as u64,
        written_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        super::super::contract::check(&MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused() {
        let (store, key) = (MemoryStore::new(), Key::new("large"));
        let n_bytes = usize::try_from(super::super::OBJECT_BYTES_MAX).unwrap() + 1;
        store.put_new(&key, vec![0; n_bytes].into()).await.unwrap();
        super::super::contract::refuses_what_is_too_large(&store, &key).await;
    }
}
