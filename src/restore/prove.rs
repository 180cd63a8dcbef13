//! Proves, before the first change, that the archive has every byte of the chosen rows. Reads the store, never the target.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::report::object_of;
use super::select::Selection;
use crate::archive::chunks::{check_stored, trash_key};
use crate::archive::index::TableIndex;
use crate::archive::records::RecordKey;
use crate::archive::repository::manifest_key;
use crate::archive::{AnnouncedAs, Archive, ChunkRef, ChunkStore, Digest, Fingerprint};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::toc::EntryId;

/// The rows of the chosen entries, by entry.
pub(super) type Indexes = BTreeMap<EntryId, TableIndex>;

/// Damages of an archive that are listed; more are counted.
const LISTED_MAX: usize = 20;
/// Chunks held while they are hashed: 60 MiB at the usual chunk size.
const AT_ONCE_MAX: usize = 5;
/// Chunk folders that are listed at once.
const LISTINGS_AT_ONCE: usize = 8;

/// Refuses a manifest that is not the one that was written under this name; gives a warning where nothing says so.
pub(super) async fn check_announced(archive: &Archive) -> Result<Option<String>> {
    match archive.announced().await? {
        AnnouncedAs::This => Ok(None),
        AnnouncedAs::Another => Err(Error::corrupt(
            format_args!("archive {}", archive.name()),
            manifest_key(archive.name()),
            "is not the manifest that was announced; nothing was changed",
        )),
        AnnouncedAs::Unknown(problem) => {
            let key = RecordKey::Announced(archive.name().clone()).key();
            Ok(Some(format!(
                "{key} {problem}: nothing proves that the manifest is the one that was written"
            )))
        }
    }
}

/// Reads the data index and keeps the tables of chosen entries. The second value lists what is unsound in it.
pub(super) async fn read_indexes(
    archive: &Archive,
    selection: &Selection,
) -> Result<(Indexes, Vec<String>)> {
    let mut indexes = Indexes::new();
    let mut damages = Vec::new();
    let mut reader = archive.table_index_reader();
    while let Some(index) = reader.next().await? {
        let id = index.entry;
        if id.0 as usize >= selection.n_entries() || selection.entry(id).data.is_none() {
            damages.push(format!(
                "data index: entry {} has rows but is none that could",
                id.0
            ));
        } else if selection.has(id) {
            if let Some(problem) = unsoundness(&index) {
                let object = object_of(selection.entry(id));
                damages.push(format!("{object}: data index: {problem}"));
            }
            indexes.insert(id, index);
        }
    }
    let with_rows = selection.iter().filter(|entry| entry.data.is_some());
    for entry in with_rows.filter(|entry| !indexes.contains_key(&entry.id)) {
        damages.push(format!("{}: data index: has no line", object_of(entry)));
    }
    Ok((indexes, damages))
}

/// Sums and ranges that do not agree: what a restore would trip over half way.
fn unsoundness(index: &TableIndex) -> Option<String> {
    let n_rows = sum(index.segments.iter().map(|segment| segment.n_rows));
    if n_rows != Some(index.n_rows) {
        return Some("the segments' rows do not add up to the table's".to_owned());
    }
    let mut pieces = index.segments.iter().flat_map(|segment| &segment.pieces);
    if sum(pieces.clone().map(|piece| piece.n_bytes)) != Some(index.n_bytes) {
        return Some("the pieces' bytes do not add up to the table's".to_owned());
    }
    if pieces.any(|piece| piece.range().is_none()) {
        return Some("a piece lies outside its chunk".to_owned());
    }
    if Fingerprint::parse(&index.fingerprint, index.n_rows).is_none() {
        return Some("the fingerprint is not one".to_owned());
    }
    None
}

/// The sum; `None` if it is too large for any archive.
fn sum(mut numbers: impl Iterator<Item = u64>) -> Option<u64> {
    numbers.try_fold(0, u64::checked_add)
}

/// Looks for every chunk of the chosen rows; with `hash` every stored byte is read and hashed, else presence and size count.
/// Gives what the data index says wrongly, and the chunks that are bad, each with an entry whose rows are in it.
pub(super) async fn prove_chunks(
    archive: &Archive,
    selection: &Selection,
    indexes: &Indexes,
    hash: bool,
    progress: &Arc<dyn Progress>,
) -> Result<(Vec<String>, Vec<BadChunk>)> {
    let mut used_by: BTreeMap<Digest, (ChunkRef, EntryId)> = BTreeMap::new();
    let mut damages = Vec::new();
    for index in indexes.values() {
        for piece in index.segments.iter().flat_map(|segment| &segment.pieces) {
            let chunk = piece.chunk_ref();
            let (first, _) = used_by.entry(chunk.chunk).or_insert((chunk, index.entry));
            if *first != chunk {
                let object = object_of(selection.entry(index.entry));
                damages.push(format!(
                    "{object}: {}: the data index gives it two sizes",
                    chunk.key()
                ));
            }
        }
    }
    let store = archive.repository().chunks(1);
    let stored_bytes = used_by.values().map(|(chunk, _)| chunk.stored_bytes).sum();
    progress.event(Event::Phase {
        name: "verify",
        bytes: if hash { stored_bytes } else { 0 },
        tasks: used_by.len() as u64,
    });
    let chunks: Vec<(ChunkRef, EntryId)> = used_by.into_values().collect();
    let bad = if hash {
        hash_all(&store, &chunks, progress).await?
    } else {
        look_for_all(&store, &chunks).await?
    };
    Ok((damages, bad))
}

/// Bad chunks as a refusal names them.
pub(super) fn named<'a>(
    bad: &'a [BadChunk],
    selection: &'a Selection,
) -> impl Iterator<Item = String> + 'a {
    bad.iter().map(|(chunk, entry, problem)| {
        let object = object_of(selection.entry(*entry));
        format!("{object}: {}: {problem}", chunk.key())
    })
}

/// A chunk, an entry whose rows are in it, and what is wrong with it.
pub(super) type BadChunk = (ChunkRef, EntryId, String);

async fn hash_all(
    store: &ChunkStore,
    chunks: &[(ChunkRef, EntryId)],
    progress: &Arc<dyn Progress>,
) -> Result<Vec<BadChunk>> {
    let at_once = (store.cpu().n_slots() + 1).min(AT_ONCE_MAX);
    stream::iter(chunks.to_vec())
        .map(|(chunk, entry)| async move {
            let Some(stored) = store.get_stored(&chunk.chunk).await? else {
                return Ok(Some((chunk, entry, "is missing".to_owned())));
            };
            let checked = store.cpu().run(move || check_stored(&stored, &chunk)).await;
            progress.event(Event::Bytes(chunk.stored_bytes));
            Ok(checked.err().map(|problem| (chunk, entry, problem)))
        })
        .buffer_unordered(at_once)
        .try_filter_map(|bad| async { Ok(bad) })
        .try_collect()
        .await
}

async fn look_for_all(store: &ChunkStore, chunks: &[(ChunkRef, EntryId)]) -> Result<Vec<BadChunk>> {
    let mut folders: BTreeMap<u8, Vec<(ChunkRef, EntryId)>> = BTreeMap::new();
    for (chunk, entry) in chunks {
        let folder = folders.entry(chunk.chunk.as_bytes()[0]).or_default();
        folder.push((*chunk, *entry));
    }
    let found: Vec<Vec<BadChunk>> = stream::iter(folders)
        .map(|(first, wanted)| look_in_folder(store, first, wanted))
        .buffer_unordered(LISTINGS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

async fn look_in_folder(
    store: &ChunkStore,
    first: u8,
    wanted: Vec<(ChunkRef, EntryId)>,
) -> Result<Vec<BadChunk>> {
    let listed = store.store().list(&format!("chunks/{first:02x}")).await?;
    let there: HashMap<_, u64> = listed
        .into_iter()
        .map(|stored| (stored.key, stored.n_bytes))
        .collect();
    let mut bad = Vec::new();
    for (chunk, entry) in wanted {
        let key = chunk.key();
        let n_bytes = match there.get(&key) {
            Some(n_bytes) => Some(*n_bytes),
            // A prune may have moved it to the trash, where readers look too.
            None => store
                .store()
                .head(&trash_key(&key))
                .await?
                .map(|stored| stored.n_bytes),
        };
        match n_bytes {
            Some(n) if n == chunk.stored_bytes => {}
            Some(n) => {
                let problem = format!("has {n} bytes instead of {}", chunk.stored_bytes);
                bad.push((chunk, entry, problem));
            }
            None => bad.push((chunk, entry, "is missing".to_owned())),
        }
    }
    Ok(bad)
}

/// The first damages, and how many more there are.
pub(super) fn listed(mut damages: Vec<String>) -> Vec<String> {
    damages.sort();
    if damages.len() > LISTED_MAX {
        let more = damages.len() - LISTED_MAX;
        damages.truncate(LISTED_MAX);
        damages.push(format!(
            "and {more} more damages; `pgark verify` names them all"
        ));
    }
    damages
}
