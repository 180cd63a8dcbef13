//! Chunks in a store: packed, named and put; got, proved and unpacked. What is in them belongs to the callers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::chunker::{ChunkSettings, Span};
use super::codec::Codec;
use super::cpu::CpuPool;
use super::crypt::{Sealing, key_missing};
use super::digest::Digest;
use super::index::ChunkPiece;
use crate::error::{Error, Result};
use crate::store::{Key, Nowhere, Put, Store};

/// A whole chunk: its name and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The SHA-256 of its stored bytes.
    pub chunk: Digest,
    /// Stored bytes.
    pub stored_bytes: u64,
    /// Raw bytes.
    pub chunk_bytes: u64,
}

impl ChunkRef {
    /// The key under which the chunk is stored.
    pub fn key(&self) -> Key {
        chunk_key(&self.chunk)
    }
}

impl ChunkPiece {
    /// The chunk that the piece is of.
    pub fn chunk_ref(&self) -> ChunkRef {
        ChunkRef {
            chunk: self.chunk,
            stored_bytes: self.stored_bytes,
            chunk_bytes: self.chunk_bytes,
        }
    }

    /// The piece's range in the chunk's raw bytes, if it lies in there.
    pub fn range(&self) -> Option<std::ops::Range<usize>> {
        let end = self.offset.checked_add(self.n_bytes)?;
        let fits = end <= self.chunk_bytes;
        let (start, end) = (usize::try_from(self.offset), usize::try_from(end));
        fits.then_some(start.ok()?..end.ok()?)
    }
}

/// A chunk that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk {
    /// Its name and sizes.
    pub chunk: ChunkRef,
    /// True if the store did not have it before.
    pub new: bool,
}

/// `chunks/ab/ab34…`
pub fn chunk_key(digest: &Digest) -> Key {
    let name = digest.to_string();
    Key::new(format!("chunks/{}/{name}", &name[..2]))
}

/// Where a prune keeps what stood under `key` until its grace time is over.
pub fn trash_key(key: &Key) -> Key {
    Key::new(format!("trash/{key}"))
}

/// How long puts took, all of them together, side by side or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutTimes {
    /// Compressing, proving and hashing.
    pub packing: Duration,
    /// Giving the packed bytes to the store.
    pub storing: Duration,
}

/// The same, as it is counted: microseconds.
#[derive(Debug, Default)]
struct PutClock {
    packing: AtomicU64,
    storing: AtomicU64,
}

fn add_since(clock: &AtomicU64, begun: Instant) {
    let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    clock.fetch_add(us, Ordering::Relaxed);
}

/// Puts and gets chunks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChunkStore {
    store: Arc<dyn Store>,
    cpu: CpuPool,
    codec: Arc<Codec>,
    /// True if chunks are sealed and the key is not known: stored bytes can be had, raw ones not.
    locked: bool,
    /// Chunks of archives that a lease protects: they need not be sent again.
    known: Arc<HashSet<Digest>>,
    /// Chunks that were wanted and not written, because they are known or were found: to be proved before the manifest is written.
    reused: Arc<Mutex<HashMap<Digest, u64>>>,
    clock: Arc<PutClock>,
}

impl ChunkStore {
    /// Chunks of `store`, packed on `cpu`.
    pub(super) fn new(
        store: Arc<dyn Store>,
        cpu: CpuPool,
        codec: Codec,
        sealing: &Sealing,
    ) -> ChunkStore {
        let codec = match sealing {
            Sealing::Open(sealer) => codec.sealing(Arc::clone(sealer)),
            Sealing::Plain | Sealing::Locked => codec,
        };
        ChunkStore {
            store,
            cpu,
            codec: Arc::new(codec),
            locked: matches!(sealing, Sealing::Locked),
            known: Arc::default(),
            reused: Arc::default(),
            clock: Arc::default(),
        }
    }

    /// The same store with chunks that need not be sent because archives under the caller's lease hold them.
    /// [`ChunkStore::prove_reused`] must succeed before a manifest names them.
    #[must_use]
    pub fn with_known(mut self, known: HashSet<Digest>) -> ChunkStore {
        self.known = Arc::new(known);
        self
    }

    /// The same without keeping anything: puts give names only, and nothing can be got.
    #[must_use]
    pub fn forgetting(mut self) -> ChunkStore {
        self.store = Arc::new(Nowhere);
        self
    }

    /// The same store with chunks that are not sealed: those of inventories. What is noted for [`ChunkStore::prove_reused`] is one list.
    #[must_use]
    pub(super) fn unsealed(&self) -> ChunkStore {
        ChunkStore {
            codec: Arc::new(self.codec.unsealed()),
            locked: false,
            ..self.clone()
        }
    }

    fn unlocked(&self) -> Result<()> {
        if self.locked {
            return Err(key_missing(&self.store.location()));
        }
        Ok(())
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The pool on which chunks are packed and unpacked.
    pub fn cpu(&self) -> &CpuPool {
        &self.cpu
    }

    /// How long the puts of this store and its clones took.
    pub fn put_times(&self) -> PutTimes {
        let time = |clock: &AtomicU64| Duration::from_micros(clock.load(Ordering::Relaxed));
        PutTimes {
            packing: time(&self.clock.packing),
            storing: time(&self.clock.storing),
        }
    }

    /// Packs and stores raw bytes. A chunk that is there already, and not known, is read and compared first:
    /// create-if-absent would otherwise keep a damaged one for ever. A prune may move it away afterwards, so it is noted for
    /// [`ChunkStore::prove_reused`] too.
    pub async fn put(&self, plain: impl AsRef<[u8]> + Send + 'static) -> Result<StoredChunk> {
        self.unlocked()?;
        let (codec, known) = (Arc::clone(&self.codec), Arc::clone(&self.known));
        let clock = Arc::clone(&self.clock);
        let packed = self
            .cpu
            .run(move || {
                let begun = Instant::now();
                let packed = codec.pack(plain.as_ref(), |digest| known.contains(digest));
                add_since(&clock.packing, begun);
                packed
            })
            .await
            .map_err(|problem| {
                Error::failed("compressing a chunk", problem, "test this machine's memory")
            })?;
        let chunk = ChunkRef {
            chunk: packed.digest,
            stored_bytes: packed.stored.len() as u64,
            chunk_bytes: packed.n_bytes,
        };
        let key = chunk.key();
        let begun = Instant::now();
        let new = self.put_packed(&key, &packed.stored, &chunk).await?;
        add_since(&self.clock.storing, begun);
        Ok(StoredChunk { chunk, new })
    }

    /// True if the store did not have it.
    async fn put_packed(&self, key: &Key, stored: &Bytes, chunk: &ChunkRef) -> Result<bool> {
        // What is found may be moved to the trash before it is read: then it is put again.
        while !self.known.contains(&chunk.chunk) {
            if self.store.put_new(key, stored.clone()).await? == Put::Stored {
                return Ok(true);
            }
            match self.store.get(key).await? {
                None => {}
                Some(found) if found == *stored => break,
                Some(_) => {
                    return Err(Error::corrupt(
                        self.store.location(),
                        key,
                        "the chunk that is stored here is damaged, and this dump needs it; move the file away and dump again",
                    ));
                }
            }
        }
        let mut reused = self.reused.lock().unwrap_or_else(PoisonError::into_inner);
        reused.insert(chunk.chunk, chunk.stored_bytes);
        Ok(false)
    }

    /// Proves that every chunk that was wanted and not written is there with its size. What a prune moved to the trash meanwhile is
    /// put back; the caller's lease keeps it from being deleted there.
    pub async fn prove_reused(&self) -> Result<()> {
        let mut wanted: BTreeMap<u8, HashMap<Digest, u64>> = BTreeMap::new();
        for (digest, n_bytes) in &*self.reused.lock().unwrap_or_else(PoisonError::into_inner) {
            let folder = wanted.entry(digest.as_bytes()[0]).or_default();
            folder.insert(*digest, *n_bytes);
        }
        stream::iter(wanted)
            .map(|(first, wanted)| self.prove_folder(first, wanted))
            .buffer_unordered(8)
            .try_collect()
            .await
    }

    async fn prove_folder(&self, first: u8, mut wanted: HashMap<Digest, u64>) -> Result<()> {
        for stored in self.store.list(&format!("chunks/{first:02x}")).await? {
            if let Ok(digest) = stored.key.name().parse()
                && wanted.get(&digest) == Some(&stored.n_bytes)
            {
                wanted.remove(&digest);
            }
        }
        for (digest, n_bytes) in wanted {
            self.put_back(&digest, n_bytes).await?;
        }
        Ok(())
    }

    async fn put_back(&self, digest: &Digest, n_bytes: u64) -> Result<()> {
        let key = chunk_key(digest);
        let in_trash = self.store.get(&trash_key(&key)).await?;
        let is_whole =
            |stored: &Bytes| stored.len() as u64 == n_bytes && Digest::of(stored) == *digest;
        if let Some(stored) = in_trash.filter(is_whole) {
            let put = self.store.put_new(&key, stored).await?;
            let head = match put {
                Put::Stored => return Ok(()),
                Put::Exists => self.store.head(&key).await?,
            };
            if head.is_some_and(|head| head.n_bytes == n_bytes) {
                return Ok(());
            }
        }
        Err(Error::corrupt(
            self.store.location(),
            key,
            "a chunk that this dump shares with an earlier archive is missing or has another size; verify the repository, then dump again",
        ))
    }

    /// The stored bytes of a chunk, which may lie in the trash. `None` if they are nowhere.
    pub async fn get_stored(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        let key = chunk_key(chunk);
        if let Some(bytes) = self.store.get(&key).await? {
            return Ok(Some(bytes));
        }
        if let Some(bytes) = self.store.get(&trash_key(&key)).await? {
            return Ok(Some(bytes));
        }
        // A prune that takes its decision back moves a chunk out of the trash between the two looks.
        self.store.get(&key).await
    }

    /// The raw bytes of a chunk, after its SHA-256 and its sizes were checked. [`Error::Corrupt`] names the chunk's key.
    pub async fn get(&self, chunk: &ChunkRef) -> Result<Bytes> {
        self.unlocked()?;
        let damaged = |problem: String| {
            Error::corrupt(
                format_args!("repository {}", self.store.location()),
                chunk.key(),
                problem,
            )
        };
        if chunk.chunk_bytes > u64::from(ChunkSettings::BYTES_LIMIT) {
            return Err(damaged(format!(
                "is said to hold {} bytes, more than any chunk may",
                chunk.chunk_bytes
            )));
        }
        let stored = self
            .get_stored(&chunk.chunk)
            .await?
            .ok_or_else(|| damaged("is missing".to_owned()))?;
        let (codec, wanted) = (Arc::clone(&self.codec), *chunk);
        self.cpu
            .run(move || unpack(&codec, stored, &wanted))
            .await
            .map_err(damaged)
    }
}

/// Checks stored bytes against what is said of them; the text says what differs.
pub(crate) fn check_stored(stored: &[u8], wanted: &ChunkRef) -> Result<(), String> {
    if stored.len() as u64 != wanted.stored_bytes {
        return Err(format!(
            "has {} bytes instead of {}",
            stored.len(),
            wanted.stored_bytes
        ));
    }
    if Digest::of(stored) != wanted.chunk {
        return Err("its bytes are not those that were stored: the SHA-256 differs".to_owned());
    }
    Ok(())
}

fn unpack(codec: &Codec, stored: Bytes, wanted: &ChunkRef) -> Result<Bytes, String> {
    check_stored(&stored, wanted)?;
    let n_bytes = usize::try_from(wanted.chunk_bytes).expect("bounded by the caller");
    let plain = codec.unpack(stored, n_bytes);
    plain.map_err(|problem| problem.to_string())
}

/// Gathers, part by part, the pieces of chunks that were cut from one [`super::chunker::Chunker`], in whatever order they were stored.
#[derive(Debug, Default)]
pub struct Pieces {
    by_part: BTreeMap<u32, BTreeMap<u64, ChunkPiece>>,
}

impl Pieces {
    /// Notes that cut `number`, which has `spans`, is stored.
    pub fn add(&mut self, number: u64, spans: &[Span], stored: &ChunkRef) {
        for span in spans {
            let piece = ChunkPiece {
                chunk: stored.chunk,
                stored_bytes: stored.stored_bytes,
                chunk_bytes: stored.chunk_bytes,
                offset: span.offset,
                n_bytes: span.n_bytes,
            };
            self.by_part
                .entry(span.part)
                .or_default()
                .insert(number, piece);
        }
    }

    /// The pieces of `part` in order, once every cut with a span of it was added; none for a part without rows.
    pub fn take(&mut self, part: u32) -> Vec<ChunkPiece> {
        let pieces = self.by_part.remove(&part).unwrap_or_default();
        pieces.into_values().collect()
    }
}
