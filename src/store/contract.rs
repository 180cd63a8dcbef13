//! What every store must do, as one function that each store's tests run.

use bytes::Bytes;
use futures::future::join_all;

use super::{Key, Put, Store};

/// Runs the contract against `store`, which must be empty; leaves it empty.
pub(crate) async fn check(store: &dyn Store) {
    assert!(!store.location().is_empty());
    nothing_is_there(store).await;
    a_put_is_whole_and_never_overwrites(store).await;
    ranges_are_cut_off_at_the_end(store).await;
    a_listing_has_whole_segments_in_order(store).await;
    one_of_many_writers_wins(store).await;
    an_empty_object_is_an_object(store).await;
    assert_eq!(store.list("").await.unwrap(), vec![]);
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn nothing_is_there(store: &dyn Store) {
    let key = Key::new("none/at/all");
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.get_range(&key, 0..1).await.unwrap(), None);
    assert_eq!(store.head(&key).await.unwrap(), None);
    assert_eq!(store.list("none").await.unwrap(), vec![]);
    store.delete(&key).await.unwrap();
    store.flush().await.unwrap();
}

async fn a_put_is_whole_and_never_overwrites(store: &dyn Store) {
    let key = Key::new("a/b/object.json");
    let before_ms = jiff::Timestamp::now().as_millisecond();
    assert_eq!(
        store.put_new(&key, bytes("first")).await.unwrap(),
        Put::Stored
    );
    assert_eq!(
        store.put_new(&key, bytes("second")).await.unwrap(),
        Put::Exists
    );
    store.flush().await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), Some(bytes("first")));
    let head = store.head(&key).await.unwrap().unwrap();
    assert_eq!((&head.key, head.n_bytes), (&key, 5));
    // The store's clock may be another machine's.
    assert!((head.written_ms - before_ms).abs() < 86_400_000, "{head:?}");
    assert_eq!(store.head(&Key::new("a/b")).await.unwrap(), None);
    store.delete(&key).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(
        store.put_new(&key, bytes("third")).await.unwrap(),
        Put::Stored
    );
    store.delete(&key).await.unwrap();
}

async fn ranges_are_cut_off_at_the_end(store: &dyn Store) {
    let key = Key::new("range");
    store.put_new(&key, bytes("0123456789")).await.unwrap();
    for (range, expected) in [
        (0..4, "0123"),
        (4..10, "456789"),
        (8..100, "89"),
        (10..20, ""),
        (50..60, ""),
        (3..3, ""),
    ] {
        let got = store.get_range(&key, range.clone()).await.unwrap();
        assert_eq!(got, Some(bytes(expected)), "{range:?}");
    }
    store.delete(&key).await.unwrap();
}

async fn a_listing_has_whole_segments_in_order(store: &dyn Store) {
    let names = ["l/ab/1", "l/ab/2", "l/ab-c", "l/abc/1", "l/b"];
    let keys: Vec<Key> = names.iter().map(|name| Key::new(*name)).collect();
    for key in keys.iter().rev() {
        store.put_new(key, bytes("x")).await.unwrap();
    }
    let listed = |prefix: &'static str| async move {
        let found = store.list(prefix).await.unwrap();
        found
            .into_iter()
            .map(|object| object.key)
            .collect::<Vec<_>>()
    };
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(listed("l").await, sorted);
    assert_eq!(listed("l/ab").await, [keys[0].clone(), keys[1].clone()]);
    assert_eq!(listed("l/a").await, []);
    assert_eq!(listed("").await, sorted);
    for key in &keys {
        store.delete(key).await.unwrap();
    }
}

async fn one_of_many_writers_wins(store: &dyn Store) {
    let key = Key::new("race/one");
    let contents = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let puts = contents.map(|text| store.put_new(&key, bytes(text)));
    let done: Vec<Put> = join_all(puts)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let winners: Vec<usize> = (0..done.len())
        .filter(|i| done[*i] == Put::Stored)
        .collect();
    assert_eq!(winners.len(), 1, "{done:?}");
    assert_eq!(
        store.get(&key).await.unwrap(),
        Some(bytes(contents[winners[0]]))
    );
    store.delete(&key).await.unwrap();
}

async fn an_empty_object_is_an_object(store: &dyn Store) {
    let key = Key::new("empty");
    assert_eq!(
        store.put_new(&key, Bytes::new()).await.unwrap(),
        Put::Stored
    );
    assert_eq!(store.put_new(&key, bytes("x")).await.unwrap(), Put::Exists);
    assert_eq!(store.get(&key).await.unwrap(), Some(Bytes::new()));
    store.delete(&key).await.unwrap();
}

/// Also part of it, but not of [`check`], because some stores take long for it: `key` must be an object of more bytes than any may have.
pub(crate) async fn refuses_what_is_too_large(store: &dyn Store, key: &Key) {
    let error = store.get(key).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("more than any file of a repository may"),
        "{text}"
    );
    assert_eq!(
        store.get_range(key, 0..3).await.unwrap(),
        Some(Bytes::from_static(&[0; 3]))
    );
}
