//! Every way in which one file of a small repository may be damaged, for the tests of what must notice it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::chunks::ChunkRef;
use super::fixture::{self, dump, shop};
use super::name::ArchiveName;
use super::records::{Depth, Verified};
use super::repository::Repository;
use crate::store::{Key, MemoryStore, Put, Store};

/// Files as they should not be: what they become, `None` for one that is gone.
pub(crate) struct Case {
    /// The damage, for messages.
    pub(crate) what: String,
    /// The file; of an exchange the first one.
    pub(crate) key: Key,
    /// The archive that has the file, the newer one if both have it.
    pub(crate) archive: ArchiveName,
    /// True if a stamp goes, and nothing else happens.
    pub(crate) takes_a_stamp: bool,
    changes: Vec<(Key, Option<Bytes>)>,
}

impl Case {
    /// The files that are not as they were.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.changes.iter().map(|(key, _)| key)
    }

    fn one(
        (key, archive): (&Key, &ArchiveName),
        what: impl fmt::Display,
        becomes: Option<Bytes>,
    ) -> Case {
        Case {
            what: format!("{key}: {what}"),
            key: key.clone(),
            archive: archive.clone(),
            takes_a_stamp: becomes.is_none() && key.name().starts_with("verified-"),
            changes: vec![(key.clone(), becomes)],
        }
    }

    /// Does the damage; gives what undoes it.
    pub(crate) async fn apply(&self, store: &MemoryStore) -> Case {
        let mut undo = Vec::new();
        for (key, becomes) in &self.changes {
            undo.push((key.clone(), store.get(key).await.unwrap()));
            store.delete(key).await.unwrap();
            if let Some(bytes) = becomes {
                let put = store.put_new(key, bytes.clone()).await.unwrap();
                assert_eq!(put, Put::Stored);
            }
        }
        Case {
            what: format!("undone: {}", self.what),
            key: self.key.clone(),
            archive: self.archive.clone(),
            takes_a_stamp: false,
            changes: undo,
        }
    }
}

/// A repository in memory with two archives of a database, of which the second is newer, and a stamp of each.
pub(crate) async fn two_archives() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    let mut tables = shop();
    for (name, day) in [("shop-1", 22), ("shop-2", 23)] {
        let archive = dump(&repository, name, &tables).await.unwrap();
        let stamp = Verified {
            name: archive.name().clone(),
            manifest: archive.seal(),
            depth: Depth::Full,
            at: format!("2026-11-{day}T03:00:00Z").parse().unwrap(),
        };
        repository.stamp(&stamp).await.unwrap();
        tables[0].rows[60] = "60\tchanged\t\\N".to_owned();
    }
    (store, repository)
}

/// Every byte of every file flipped, every length to which a manifest may be cut and some of the others, a byte more, the file gone; any two chunks, manifests
/// or records of one sort exchanged, or one in the place of the other; and another manifest, whole and sealed, under each name.
pub(crate) async fn every_case(store: &MemoryStore, repository: &Repository) -> Vec<Case> {
    let older_if = |is_older| if is_older { "shop-1" } else { "shop-2" };
    let older_if = |is_older| older_if(is_older).parse::<ArchiveName>().unwrap();
    let newer = chunks_of(repository, &older_if(false)).await;
    let mut files = Vec::new();
    for stored in store.list("").await.unwrap() {
        let bytes = store.get(&stored.key).await.unwrap().unwrap();
        let is_older = stored.key.name().contains("shop-1")
            || (stored.key.is_below("chunks") && !newer.contains(&stored.key));
        files.push((stored.key, older_if(is_older), bytes));
    }
    let mut cases = Vec::new();
    for (key, archive, whole) in &files {
        let file = (key, archive);
        for at in 0..whole.len() {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 1 << (at % 8);
            let what = format_args!("byte {at} flipped");
            cases.push(Case::one(file, what, Some(flipped.into())));
            // The other sizes are compared before anything else, or sealed alike: a sample shows as much.
            if key.is_below("archives") || at % 17 == 0 || at + 1 == whole.len() {
                let what = format_args!("cut to {at} bytes");
                cases.push(Case::one(file, what, Some(whole.slice(..at))));
            }
        }
        for more in [b"\0", b"\n"] {
            let longer = [&whole[..], more].concat();
            let what = format_args!("{more:?} more");
            cases.push(Case::one(file, what, Some(longer.into())));
        }
        cases.push(Case::one(file, "gone", None));
    }
    for (i, (key, archive, bytes)) in files.iter().enumerate() {
        let alike = files[..i]
            .iter()
            .filter(|(other, ..)| are_alike(key, other));
        for (other, of, others) in alike {
            let what = format_args!("in the place of {other}");
            cases.push(Case::one((other, of), what, Some(bytes.clone())));
            let what = format_args!("in the place of {key}");
            cases.push(Case::one((key, archive), what, Some(others.clone())));
            cases.push(Case {
                what: format!("{key} and {other} exchanged"),
                key: key.clone(),
                archive: archive.clone(),
                takes_a_stamp: false,
                changes: vec![
                    (key.clone(), Some(others.clone())),
                    (other.clone(), Some(bytes.clone())),
                ],
            });
        }
    }
    for (name, other) in [("shop-1", "shop-2"), ("shop-2", "shop-1")] {
        let other = repository.read(&other.parse().unwrap()).await.unwrap();
        let mut manifest = other.manifest().clone();
        manifest.name = name.parse().unwrap();
        let key = Key::new(format!("archives/{name}.json"));
        let what = "the other archive's manifest, with this name and a right seal";
        cases.push(Case::one(
            (&key, &manifest.name),
            what,
            Some(manifest.seal().0),
        ));
    }
    cases
}

/// Where the chunks lie that an archive names.
async fn chunks_of(repository: &Repository, name: &ArchiveName) -> BTreeSet<Key> {
    let archive = repository.read(name).await.unwrap();
    let manifest = archive.manifest();
    let lists = manifest.toc.iter().chain(&manifest.data_index);
    let mut keys: BTreeSet<Key> = lists.map(ChunkRef::key).collect();
    for table in archive.table_indexes().await.unwrap() {
        let pieces = table.segments.iter().flat_map(|segment| &segment.pieces);
        keys.extend(pieces.map(|piece| piece.chunk_ref().key()));
    }
    keys
}

/// True if the files are of one sort, so that one could be taken for the other.
fn are_alike(a: &Key, b: &Key) -> bool {
    let sort = |key: &Key| {
        let folder = key.as_str().split('/').next().unwrap_or_default();
        let record = key.name().split('-').next().unwrap_or_default();
        let record = if folder == "records" { record } else { "" };
        (folder.to_owned(), record.to_owned())
    };
    sort(a) == sort(b)
}
