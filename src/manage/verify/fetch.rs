//! Gets chunks for a verification: twice before anything is called damaged.

use bytes::Bytes;

use crate::archive::chunks::{ChunkRef, ChunkStore, check_stored};
use crate::error::Error;

/// The raw bytes of a chunk; the text of an error follows the chunk's key.
pub(super) async fn fetch(store: &ChunkStore, chunk: &ChunkRef) -> Result<Bytes, String> {
    // A cable or a cache may have done it: only what fails twice is damaged.
    match store.get(chunk).await {
        Ok(bytes) => Ok(bytes),
        Err(_) => store.get(chunk).await.map_err(|error| problem(&error)),
    }
}

/// Hashes the stored bytes of a chunk, without decoding them.
pub(super) async fn prove_bytes(store: &ChunkStore, chunk: &ChunkRef) -> Result<(), String> {
    match prove_once(store, *chunk).await {
        Ok(()) => Ok(()),
        Err(_) => prove_once(store, *chunk).await,
    }
}

async fn prove_once(store: &ChunkStore, chunk: ChunkRef) -> Result<(), String> {
    match store.get_stored(&chunk.chunk).await {
        Ok(Some(stored)) => store.cpu().run(move || check_stored(&stored, &chunk)).await,
        Ok(None) => Err("is missing".to_owned()),
        Err(error) => Err(problem(&error)),
    }
}

/// What is wrong, in words that follow the chunk's key.
fn problem(error: &Error) -> String {
    let Error::Corrupt { problem, .. } = error else {
        let mut text = "cannot be read".to_owned();
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        return text;
    };
    problem.clone()
}
