//! Old records that nobody reads any more: deleted with a prune, a bounded number at a time.
//!
//! Announcements and removals stay for ever, because by them a manifest that vanished is missed and a name is never given twice; so do
//! drills, which are few and evidence.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::sweep::standing;
use crate::archive::records::RecordKey;
use crate::archive::repository::Repository;
use crate::error::Result;

/// A year, and time to look back at it.
const KEPT_MS: i64 = 400 * 24 * 60 * 60 * 1000;
/// Records that one prune deletes at most.
const DELETED_MAX: usize = 10_000;
/// Records that are deleted at once.
const AT_ONCE: usize = 8;

/// Deletes verification stamps and records of runs that are older than 400 days by the store's clock, but for the newest stamp of
/// an archive and the newest run of a job. Gives their number.
pub(super) async fn delete_old(repository: &Repository, now_ms: i64) -> Result<u64> {
    let store = repository.store();
    let standing = standing(repository).await?;
    let (mut stamped, mut ran) = (BTreeSet::new(), BTreeSet::new());
    let mut old = Vec::new();
    // Keys sort by time, so from the end the newest of each comes first.
    for stored in store.list(RecordKey::FOLDER).await?.into_iter().rev() {
        let is_newest = match RecordKey::parse(&stored.key) {
            Some(RecordKey::Verified(name, _)) => standing.contains(&name) && stamped.insert(name),
            Some(RecordKey::Ran(job, _)) => ran.insert(job),
            _ => true,
        };
        if !is_newest && stored.written_ms.saturating_add(KEPT_MS) < now_ms {
            old.push(stored.key);
        }
    }
    old.truncate(DELETED_MAX);
    let deletions: Vec<_> = old.iter().map(|key| store.delete(key)).collect();
    stream::iter(deletions)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    store.flush().await?;
    Ok(old.len() as u64)
}
