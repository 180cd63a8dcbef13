//! Encrypted repositories: what lies in the store, who opens it, and what an attacker without the key can do.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::archive::chunks::{ChunkRef, trash_key};
use crate::archive::crypt::{KdfCost, Passphrase};
use crate::archive::fixture::{self, dump, encrypted, shop, unlock};
use crate::archive::lease::{Lease, LeaseKind};
use crate::archive::records::{Drilled, Ran, RanStep, RunOutcome};
use crate::archive::sealed;
use crate::store::fault::{Fault, FaultStore};
use crate::store::{MemoryStore, Put};

type Shared = Arc<dyn Store>;

fn name(text: &str) -> ArchiveName {
    text.parse().unwrap()
}

async fn shop_in_memory() -> (Shared, Repository) {
    let store: Shared = Arc::new(MemoryStore::new());
    let repository = encrypted(Arc::clone(&store)).await;
    dump(&repository, "shop-1", &shop()).await.unwrap();
    (store, repository)
}

async fn contents(store: &Shared) -> BTreeMap<String, Bytes> {
    let mut contents = BTreeMap::new();
    for stored in store.list("").await.unwrap() {
        let bytes = store.get(&stored.key).await.unwrap().unwrap();
        contents.insert(stored.key.to_string(), bytes);
    }
    contents
}

async fn replace(store: &Shared, key: &Key, bytes: Bytes) {
    store.delete(key).await.unwrap();
    assert_eq!(store.put_new(key, bytes).await.unwrap(), Put::Stored);
}

fn drilled(archive: &Archive, problem: &str) -> Drilled {
    Drilled {
        name: archive.name().clone(),
        manifest: archive.seal(),
        job: None,
        at: "2026-11-23T00:00:00Z".parse().unwrap(),
        server: "localhost".into(),
        server_version: String::new(),
        scratch: String::new(),
        restore_ms: 1,
        total_ms: 1,
        rto_ms: None,
        phases: Vec::new(),
        n_objects: 0,
        n_tables: 0,
        n_rows: 0,
        raw_bytes: 0,
        n_compared: 0,
        checks: Vec::new(),
        notes: Vec::new(),
        problems: vec![problem.to_owned()],
    }
}

fn ran(message: &str) -> Ran {
    let at = "2026-11-23T00:00:00Z".parse().unwrap();
    Ran {
        job: "nightly".into(),
        at,
        finished: at,
        outcome: RunOutcome::Failed,
        archives: Vec::new(),
        steps: vec![RanStep {
            step: "dump".into(),
            outcome: RunOutcome::Failed,
            duration_ms: 1,
            message: message.to_owned(),
        }],
    }
}

#[tokio::test]
async fn no_stored_byte_shows_what_is_saved_and_an_equal_dump_adds_no_chunk() {
    let (store, repository) = shop_in_memory().await;
    let archive = repository.read(&name("shop-1")).await.unwrap();
    repository
        .note_drill(&drilled(&archive, "table orders failed"))
        .await
        .unwrap();
    repository
        .note_run(&ran("column label of orders"))
        .await
        .unwrap();
    for (key, bytes) in contents(&store).await {
        let mut texts = vec![bytes.to_vec()];
        texts.extend(zstd::decode_all(&bytes[..]));
        for text in texts {
            let text = String::from_utf8_lossy(&text);
            for secret in ["orders", "countries", "CREATE", "label text", "units 7"] {
                assert!(!text.contains(secret), "{key} shows {secret}: {text}");
            }
        }
    }
    let n_chunks = store.list("chunks").await.unwrap().len();
    // Opened anew, as the next dump would be.
    let again = encrypted(Arc::clone(&store)).await;
    let second = dump(&again, "shop-2", &shop()).await.unwrap();
    assert_eq!(store.list("chunks").await.unwrap().len(), n_chunks);
    assert_eq!(second.manifest().totals.new_bytes, 0);
    assert_eq!(second.entries().await.unwrap().len(), 8);
    assert_eq!(
        again.drills(9).await.unwrap()[0].problems,
        ["table orders failed"]
    );
    assert_eq!(
        again.runs("nightly", 9).await.unwrap(),
        [ran("column label of orders")]
    );
}

#[tokio::test]
async fn a_wrong_passphrase_opens_nothing_and_changes_nothing() {
    let (store, _) = shop_in_memory().await;
    let before = contents(&store).await;
    let opened = Repository::open(Arc::clone(&store)).await.unwrap();
    let error = opened.unlock(&unlock("wrong")).await.unwrap_err();
    assert!(matches!(&error, Error::Key { .. }), "{error}");
    assert!(
        error.to_string().contains("no key slot of repository"),
        "{error}"
    );
    let wrong = unlock("wrong");
    let created = Repository::open_or_create_with(Arc::clone(&store), fixture::SMALL, &wrong);
    assert!(matches!(created.await, Err(Error::Key { .. })));
    assert_eq!(contents(&store).await, before);
}

#[tokio::test]
async fn without_the_key_names_are_listed_and_everything_else_is_one_clear_error() {
    let (store, _) = shop_in_memory().await;
    let before = contents(&store).await;
    let locked = Repository::open(Arc::clone(&store)).await.unwrap();
    assert!(locked.is_encrypted() && locked.is_locked());
    let listed = locked.archives().await.unwrap();
    assert_eq!(listed[0].name, name("shop-1"));
    assert_eq!(listed[0].group.as_ref().unwrap().database, "shop");
    assert_eq!(locked.find("shop").await.unwrap(), name("shop-1"));
    assert_eq!(locked.key_slots().await.unwrap().len(), 1);

    let latest = locked.latest(&GroupFilter::default()).await;
    let put = locked.chunks(1).put(b"rows".to_vec()).await;
    let chunk = store.list("chunks").await.unwrap()[0]
        .key
        .name()
        .parse()
        .unwrap();
    let wanted = ChunkRef {
        chunk,
        stored_bytes: 1,
        chunk_bytes: 1,
    };
    let lease = Lease::take(&locked, LeaseKind::Dump, "dump", Vec::new()).await;
    let other = Passphrase::new("x".into()).unwrap();
    let added = locked.add_key_slot(&other, "", CHEAP);
    let created = Repository::open_or_create(Arc::clone(&store), fixture::SMALL).await;
    for error in [
        locked.read(&name("shop-1")).await.unwrap_err(),
        latest.unwrap_err(),
        put.unwrap_err(),
        locked.chunks(1).get(&wanted).await.unwrap_err(),
        lease.unwrap_err(),
        dump(&locked, "shop-2", &shop()).await.unwrap_err(),
        added.await.unwrap_err(),
        locked.remove_key_slot("0").await.unwrap_err(),
        created.unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Key { .. }), "{error}");
        assert!(
            error
                .to_string()
                .ends_with("is encrypted, and no passphrase is given")
        );
        assert!(error.remedy().unwrap().contains("--passphrase-file"));
    }
    assert_eq!(contents(&store).await, before);
}

const CHEAP: KdfCost = KdfCost {
    memory_kib: 64,
    passes: 1,
    lanes: 1,
};

#[tokio::test]
async fn a_passphrase_is_changed_without_a_byte_of_data_written() {
    let (store, repository) = shop_in_memory().await;
    let data = |all: BTreeMap<String, Bytes>| -> BTreeMap<String, Bytes> {
        all.into_iter()
            .filter(|(key, _)| !key.starts_with("keys/"))
            .collect()
    };
    let before = data(contents(&store).await);
    let old = repository
        .key_slots()
        .await
        .unwrap()
        .remove(0)
        .slot
        .unwrap();
    let error = repository.remove_key_slot(&old.id).await.unwrap_err();
    assert!(error.to_string().contains("the last key slot"), "{error}");

    let new = Passphrase::new("new".into()).unwrap();
    let added = repository
        .add_key_slot(&new, "second", CHEAP)
        .await
        .unwrap();
    for passphrase in ["right", "new"] {
        let opened = Repository::open(Arc::clone(&store)).await.unwrap();
        let opened = opened.unlock(&unlock(passphrase)).await.unwrap();
        assert!(opened.read(&name("shop-1")).await.is_ok());
    }
    assert!(matches!(
        repository.remove_key_slot("").await,
        Err(Error::NotFound { .. })
    ));
    assert_eq!(
        repository.remove_key_slot(&old.id[..12]).await.unwrap(),
        old.id
    );
    let opened = Repository::open(Arc::clone(&store)).await.unwrap();
    assert!(matches!(
        opened.clone().unlock(&unlock("right")).await,
        Err(Error::Key { .. })
    ));
    let opened = opened.unlock(&unlock("new")).await.unwrap();
    assert!(opened.read(&name("shop-1")).await.is_ok());
    assert!(opened.remove_key_slot(&added.id).await.is_err());
    assert_eq!(data(contents(&store).await), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_makes_a_repository_at_once_ends_with_one_key() {
    for round in 0..20 {
        let store: Shared = Arc::new(MemoryStore::new());
        let makers: Vec<_> = (0..4)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { encrypted(store).await })
            })
            .collect();
        let mut made = Vec::new();
        for maker in makers {
            made.push(maker.await.unwrap());
        }
        assert!(made.iter().all(|one| one.marker() == made[0].marker()));
        assert_eq!(store.list("keys").await.unwrap().len(), 1, "round {round}");
        let put = made[0].chunks(1).put(b"rows".to_vec()).await.unwrap();
        let read = made[3].chunks(1).get(&put.chunk).await.unwrap();
        assert_eq!(read, "rows");
    }
}

#[tokio::test]
async fn whatever_call_fails_while_it_is_made_there_is_a_repository_that_opens_or_none() {
    for fault in [Fault::Refused, Fault::AnswerLost] {
        for at in 0..40 {
            let memory: Shared = Arc::new(MemoryStore::new());
            let failing = FaultStore::new(Arc::clone(&memory), fault, at);
            let right = unlock("right");
            let made = Repository::open_or_create_with(Arc::new(failing), fixture::SMALL, &right);
            let is_made = made.await.is_ok();
            let again = encrypted(Arc::clone(&memory)).await;
            assert!(again.is_encrypted() && !again.is_locked(), "{fault:?} {at}");
            dump(&again, "shop-1", &shop()).await.unwrap();
            if is_made {
                return;
            }
        }
    }
}

#[tokio::test]
async fn an_older_manifest_or_record_under_another_name_does_not_open() {
    let (store, repository) = shop_in_memory().await;
    let key = |text: &str| manifest_key(&name(text));
    let old = store.get(&key("shop-1")).await.unwrap().unwrap();
    let refused = |result: Result<Archive>| match result.unwrap_err() {
        Error::Corrupt { problem, .. } => problem,
        other => panic!("{other}"),
    };
    // As it is, and with its readable name changed.
    store.put_new(&key("shop-2"), old.clone()).await.unwrap();
    let problem = refused(repository.read(&name("shop-2")).await);
    assert!(problem.contains("of another archive"), "{problem}");
    let line = sealed::open(&old).unwrap().json;
    let mut renamed: serde_json::Value = serde_json::from_slice(line).unwrap();
    renamed["name"] = "shop-2".into();
    replace(&store, &key("shop-2"), sealed::seal(&renamed).0).await;
    let problem = refused(repository.read(&name("shop-2")).await);
    assert!(problem.contains("does not open"), "{problem}");
    // Another inventory in the readable part.
    let mut emptied: serde_json::Value = serde_json::from_slice(line).unwrap();
    emptied["inventory"] = serde_json::json!([]);
    replace(&store, &key("shop-1"), sealed::seal(&emptied).0).await;
    let problem = refused(repository.read(&name("shop-1")).await);
    assert!(problem.contains("another inventory"), "{problem}");
    // In the trash it still opens as itself.
    store
        .put_new(&trash_key(&key("shop-1")), old.clone())
        .await
        .unwrap();
    assert!(
        repository
            .manifest_in(&old, &name("shop-1"), "trash")
            .is_ok()
    );

    let archive = {
        replace(&store, &key("shop-1"), old).await;
        repository.read(&name("shop-1")).await.unwrap()
    };
    let drill = drilled(&archive, "x");
    repository.note_drill(&drill).await.unwrap();
    let at = RecordKey::Drilled(drill.name.clone(), drill.at);
    let moved = RecordKey::Drilled(drill.name, "2026-11-24T00:00:00Z".parse().unwrap());
    let bytes = store.get(&at.key()).await.unwrap().unwrap();
    store.put_new(&moved.key(), bytes).await.unwrap();
    assert!(repository.record::<Drilled>(&at).await.unwrap().is_some());
    assert!(matches!(
        repository.record::<Drilled>(&moved).await,
        Err(Error::Corrupt { .. })
    ));
}

#[tokio::test]
async fn what_is_planted_in_plain_text_is_refused() {
    let (store, repository) = shop_in_memory().await;
    let plain: Shared = Arc::new(MemoryStore::new());
    let foreign = fixture::repository(Arc::clone(&plain)).await;
    dump(&foreign, "evil", &shop()).await.unwrap();
    for (key, bytes) in contents(&plain).await {
        let _ = store.put_new(&Key::new(key), bytes).await.unwrap();
    }
    let error = repository.read(&name("evil")).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not sealed as the repository is"),
        "{error}"
    );
    let archive = foreign.read(&name("evil")).await.unwrap();
    let chunk = archive.manifest().toc[0];
    let error = repository.chunks(1).get(&chunk).await.unwrap_err();
    assert!(error.to_string().contains("does not open"), "{error}");

    // Another marker in the place of the right one: who gives a passphrase does not write plain text.
    let marker = plain.get(&Marker::key()).await.unwrap().unwrap();
    replace(&store, &Marker::key(), marker).await;
    let opened = Repository::open_or_create_with(store, fixture::SMALL, &unlock("right")).await;
    let error = opened.unwrap_err();
    assert!(matches!(&error, Error::Key { .. }), "{error}");
    assert!(
        error.to_string().contains("is not encrypted, although"),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_or_damaged_marker_keeps_nobody_with_the_passphrase_from_reading() {
    let (store, _) = shop_in_memory().await;
    for marker in [None, Some(Bytes::from_static(b"damaged"))] {
        store.delete(&Marker::key()).await.unwrap();
        if let Some(bytes) = marker {
            store.put_new(&Marker::key(), bytes).await.unwrap();
        }
        let opened = Repository::open_for_reading(Arc::clone(&store))
            .await
            .unwrap();
        assert!(opened.is_locked() && opened.marker_problem().is_some());
        assert!(opened.clone().unlock(&unlock("wrong")).await.is_err());
        let opened = opened.unlock(&unlock("right")).await.unwrap();
        let archive = opened.read(&name("shop-1")).await.unwrap();
        assert_eq!(archive.entries().await.unwrap().len(), 8);
    }
}

#[tokio::test]
async fn damaged_foreign_and_hostile_slots_are_passed_over_and_named() {
    let (store, repository) = shop_in_memory().await;
    let right = repository
        .key_slots()
        .await
        .unwrap()
        .remove(0)
        .slot
        .unwrap();
    let put = |id: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut slot = serde_json::to_value(&right).unwrap();
        slot["id"] = id.into();
        change(&mut slot);
        let (store, key) = (Arc::clone(&store), Key::new(format!("keys/{id}.json")));
        async move { store.put_new(&key, sealed::seal(&slot).0).await.unwrap() }
    };
    put("00", &|slot| slot["kdf"]["memory_kib"] = u32::MAX.into()).await;
    put("01", &|slot| slot["kdf"]["passes"] = 1_000_000.into()).await;
    put("02", &|slot| slot["repository"] = "another".into()).await;
    put("03", &|slot| slot["nonce"] = "?".into()).await;
    store
        .put_new(&Key::new("keys/04.json"), Bytes::from_static(b"x"))
        .await
        .unwrap();
    let opened = Repository::open(Arc::clone(&store)).await.unwrap();
    assert!(opened.clone().unlock(&unlock("right")).await.is_ok());
    let error = opened
        .unlock(&unlock("wrong"))
        .await
        .unwrap_err()
        .to_string();
    for named in [
        "keys/00.json asks for 4294967295 KiB",
        "keys/01.json asks for 1000000 passes",
        "keys/03.json",
        "keys/04.json",
    ] {
        assert!(error.contains(named), "{error}");
    }
    assert!(!error.contains("keys/02.json"), "{error}");
    // A slot that counts for nothing does not count as another one.
    store.delete(&Key::new("keys/00.json")).await.unwrap();
    store.delete(&Key::new("keys/01.json")).await.unwrap();
    store.delete(&Key::new("keys/03.json")).await.unwrap();
    assert!(repository.remove_key_slot(&right.id).await.is_err());
}

#[tokio::test]
async fn a_copy_has_the_key_of_its_source_and_no_other_repository_is_copied_to() {
    let (_, from) = shop_in_memory().await;
    let target: Shared = Arc::new(MemoryStore::new());
    let to = from.copied_to(Arc::clone(&target)).await.unwrap();
    assert!(!to.is_locked());
    assert_eq!(to.marker(), from.marker());
    let alone = Repository::open(Arc::clone(&target)).await.unwrap();
    assert!(alone.unlock(&unlock("right")).await.is_ok());
    assert!(from.copied_to(target).await.is_ok());

    let plain: Shared = Arc::new(MemoryStore::new());
    let unsealed = fixture::repository(Arc::clone(&plain)).await;
    let other: Shared = Arc::new(MemoryStore::new());
    let others = encrypted(Arc::clone(&other)).await;
    let before = [contents(&plain).await, contents(&other).await];
    for (from, to) in [
        (&from, Arc::clone(&plain)),
        (&from, Arc::clone(&other)),
        (&unsealed, Arc::clone(&other)),
    ] {
        let error = from.copied_to(to).await.unwrap_err();
        assert!(matches!(&error, Error::Key { .. }), "{error}");
    }
    assert_eq!([contents(&plain).await, contents(&other).await], before);
    drop(others);
}
