//! Joins the two pipelines: what a restore asks of a feed is answered by an open database. Nothing is kept on the way.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use crate::archive::index::{CopyFormat, TableIndex};
use crate::dump::live::{Live, Read};
use crate::error::{Error, Result};
use crate::restore::{Fed, Feed, Seen};
use crate::toc::EntryId;

/// The rows of an open database for a restore.
#[derive(Debug)]
pub(super) struct LiveFeed(pub(super) Arc<Live>);

impl Feed for LiveFeed {
    fn indexes(&self) -> Vec<TableIndex> {
        self.0.indexes()
    }

    fn format(&self, entry: EntryId) -> CopyFormat {
        self.0.format(entry)
    }

    fn read(
        &self,
        entry: EntryId,
        segments: Vec<usize>,
        format: CopyFormat,
    ) -> BoxStream<'static, Result<Fed>> {
        let fed = move |read| match read {
            Read::Rows(bytes) => Fed::Rows(bytes),
            Read::End(segment, end) => Fed::End(Seen {
                segment,
                format,
                n_bytes: end.n_bytes,
                fingerprint: end.fingerprint,
            }),
        };
        self.0.read(entry, segments, format).map_ok(fed).boxed()
    }

    fn try_again(&self, entry: EntryId, first_segment: usize, binary: bool) -> bool {
        self.0.try_again(entry, first_segment, binary)
    }

    fn end(&self) -> Option<Error> {
        self.0.end()
    }
}
