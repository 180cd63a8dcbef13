//! A store that forgets what it is given: for work that only wants the names.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Key, Put, Store, Stored};
use crate::error::Result;

/// Takes everything and has nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

#[async_trait]
impl Store for Nowhere {
    fn location(&self) -> String {
        "nowhere".to_owned()
    }

    async fn put_new(&self, _: &Key, _: Bytes) -> Result<Put> {
        Ok(Put::Stored)
    }

    async fn get(&self, _: &Key) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn get_range(&self, _: &Key, _: Range<u64>) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn head(&self, _: &Key) -> Result<Option<Stored>> {
        Ok(None)
    }

    async fn list(&self, _: &str) -> Result<Vec<Stored>> {
        Ok(Vec::new())
    }

    async fn delete(&self, _: &Key) -> Result<()> {
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}
