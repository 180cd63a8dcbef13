//! Stored bytes from anywhere, under their right name and with any size said of them, are refused or give exactly that size.
#![no_main]

use std::sync::Arc;
use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::digest::Digest;
use pgark::archive::{ChunkRef, ChunkStore, Repository};
use pgark::store::{MemoryStore, Store};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

static CHUNKS: LazyLock<(Arc<MemoryStore>, ChunkStore)> = LazyLock::new(|| {
    let store = Arc::new(MemoryStore::new());
    let of_store = Arc::clone(&store) as Arc<dyn Store>;
    let repository = Repository::open_or_create(of_store, ChunkSettings::default());
    let repository = RUNTIME.block_on(repository).expect("memory");
    (store, repository.chunks(1))
});

fuzz_target!(|bytes: &[u8]| {
    let Some((said, stored)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let chunk = ChunkRef {
        chunk: Digest::of(stored),
        stored_bytes: stored.len() as u64,
        chunk_bytes: u64::from(u32::from_le_bytes(*said)),
    };
    let (store, chunks) = &*CHUNKS;
    RUNTIME.block_on(async {
        let key = chunk.key();
        store.put_new(&key, Bytes::copy_from_slice(stored)).await.expect("memory");
        if let Ok(plain) = chunks.get(&chunk).await {
            assert_eq!(plain.len() as u64, chunk.chunk_bytes);
        }
        store.delete(&key).await.expect("memory");
    });
});
