//! Rows that no archive holds: read from their database while they are loaded. Who reads them is the caller's business; here is
//! what a restore asks of him, and what was seen go through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};

use super::load::Load;
use super::prove::Indexes;
use crate::archive::Fingerprint;
use crate::archive::index::{CopyFormat, TableIndex};
use crate::error::{Error, Result};
use crate::toc::EntryId;

/// What comes while segments are read.
#[derive(Debug, Clone)]
pub(crate) enum Fed {
    /// Bytes of rows, which begin and end anywhere; binary ones without the stream's header and trailer.
    Rows(Bytes),
    /// A segment is over: the server's count agreed with the rows.
    End(Seen),
}

/// What a segment held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its number in the table.
    pub(crate) segment: usize,
    /// How its rows came.
    pub(crate) format: CopyFormat,
    /// Their bytes.
    pub(crate) n_bytes: u64,
    /// The rows.
    pub(crate) fingerprint: Fingerprint,
}

/// Gives the rows of entries, all of one moment. Dropping a stream stops the reading behind it.
pub(crate) trait Feed: std::fmt::Debug + Send + Sync {
    /// What is known of the rows beforehand: columns and segments. Bytes are estimates, rows and fingerprints unknown; a table
    /// that is known to be empty has no segment.
    fn indexes(&self) -> Vec<TableIndex>;

    /// How the rows of an entry come when they are read next.
    fn format(&self, entry: EntryId) -> CopyFormat;

    /// Reads some segments of an entry one after another.
    fn read(
        &self,
        entry: EntryId,
        segments: Vec<usize>,
        format: CopyFormat,
    ) -> BoxStream<'static, Result<Fed>>;

    /// After a reading that failed: whether another may succeed. `binary` says whether rows may come so.
    fn try_again(&self, entry: EntryId, first_segment: usize, binary: bool) -> bool;

    /// Why nothing can be read any more.
    fn end(&self) -> Option<Error>;
}

/// The feed of a restore that has one, and what it gave.
#[derive(Debug, Default)]
pub(super) struct Feeding {
    feed: Option<Arc<dyn Feed>>,
    seen: Mutex<BTreeMap<(EntryId, usize), Seen>>,
}

impl Feeding {
    pub(super) fn new(feed: Option<Arc<dyn Feed>>) -> Feeding {
        Feeding {
            feed,
            seen: Mutex::default(),
        }
    }

    /// The feed, where rows come from one.
    pub(super) fn feed(&self) -> Option<&dyn Feed> {
        self.feed.as_deref()
    }

    /// Why the feed gives nothing any more.
    pub(super) fn end(&self) -> Option<Error> {
        self.feed.as_ref().and_then(|feed| feed.end())
    }

    /// How the rows of a load come now.
    pub(super) fn format(&self, load: &Load) -> CopyFormat {
        self.feed()
            .map_or(load.format, |feed| feed.format(load.entry))
    }

    /// The rows of a load, where they come from a feed.
    pub(super) fn read(&self, load: &Load) -> Option<BoxStream<'static, Result<Fed>>> {
        let feed = self.feed()?;
        Some(feed.read(load.entry, segments(load), feed.format(load.entry)))
    }

    /// Notes what a load's reading saw, which takes the place of what an earlier one saw.
    pub(super) fn note(&self, load: &Load, seen: &[Seen]) {
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(seen.iter().map(|one| ((load.entry, one.segment), *one)));
    }

    /// Rows and bytes of a load: those of the archive, or those that were seen.
    pub(super) fn amount(&self, load: &Load) -> (u64, u64) {
        if self.feed.is_none() {
            return (load.n_rows, load.n_bytes);
        }
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = segments(load)
            .into_iter()
            .filter_map(|segment| all.get(&(load.entry, segment)));
        seen.fold((0, 0), |(n_rows, n_bytes), one| {
            (n_rows + one.fingerprint.n_rows(), n_bytes + one.n_bytes)
        })
    }

    /// After a load that failed: true if its rows may be read anew, perhaps in another format.
    pub(super) fn try_again(&self, load: &Load) -> bool {
        let first = load.segment_rows.first().map_or(0, |(number, _)| *number);
        let binary = load.copy_binary.is_some();
        self.feed()
            .is_some_and(|feed| feed.try_again(load.entry, first, binary))
    }

    /// The data index of what went through, where rows come from a feed. A table of which some segments came as text and some
    /// in binary is read once more, for a fingerprint of all rows in binary.
    pub(super) async fn indexes(&self, before: &Indexes) -> Result<Option<Indexes>> {
        let Some(feed) = self.feed() else {
            return Ok(None);
        };
        for (entry, segments) in self.seen_as_text_only_in_part() {
            let mut rows = feed.read(entry, segments, CopyFormat::Binary);
            while let Some(fed) = rows.next().await {
                if let Fed::End(seen) = fed? {
                    let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                    all.insert((entry, seen.segment), seen);
                }
            }
        }
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let indexes = before.iter().map(|(entry, index)| {
            let mut index = index.clone();
            let mut sum = Fingerprint::default();
            index.n_bytes = 0;
            for (_, seen) in all.range((*entry, 0)..=(*entry, usize::MAX)) {
                sum.merge(&seen.fingerprint);
                index.n_bytes += seen.n_bytes;
                index.format = seen.format;
            }
            (index.n_rows, index.fingerprint) = (sum.n_rows(), sum.hex());
            (*entry, index)
        });
        Ok(Some(indexes.collect()))
    }

    /// Segments that came as text, of entries of which others came in binary.
    fn seen_as_text_only_in_part(&self) -> BTreeMap<EntryId, Vec<usize>> {
        let all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let in_binary: BTreeSet<EntryId> = all
            .iter()
            .filter(|(_, seen)| seen.format == CopyFormat::Binary)
            .map(|((entry, _), _)| *entry)
            .collect();
        let mut mixed: BTreeMap<EntryId, Vec<usize>> = BTreeMap::new();
        for ((entry, segment), seen) in &*all {
            if seen.format == CopyFormat::Text && in_binary.contains(entry) {
                mixed.entry(*entry).or_default().push(*segment);
            }
        }
        mixed
    }
}

fn segments(load: &Load) -> Vec<usize> {
    load.segment_rows
        .iter()
        .map(|(number, _)| *number)
        .collect()
}
