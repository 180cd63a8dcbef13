//! Chunks on their way: which an archive has, which the target lacks, sending them, and proving those that are there.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::archive::chunks::check_stored;
use crate::archive::{Archive, ChunkRef, ChunkStore, Digest, Repository};
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::store::Put;

/// Chunk folders that are listed at once.
const LISTINGS_AT_ONCE: usize = 8;

/// Chunks by the folder that they are in, which is the first byte of their names.
pub(super) type Folders = BTreeMap<u8, Vec<ChunkRef>>;

/// Every chunk that an archive names, once.
pub(super) async fn chunks_of(archive: &Archive) -> Result<Vec<ChunkRef>> {
    let mut chunks: HashMap<Digest, ChunkRef> = HashMap::new();
    let manifest = archive.manifest();
    for chunk in manifest.lists() {
        note(&mut chunks, chunk, archive)?;
    }
    let mut tables = archive.table_index_reader();
    while let Some(table) = tables.next().await? {
        for piece in table.segments.iter().flat_map(|segment| &segment.pieces) {
            note(&mut chunks, &piece.chunk_ref(), archive)?;
        }
    }
    Ok(chunks.into_values().collect())
}

fn note(chunks: &mut HashMap<Digest, ChunkRef>, chunk: &ChunkRef, archive: &Archive) -> Result<()> {
    let first = chunks.entry(chunk.chunk).or_insert(*chunk);
    if first == chunk {
        return Ok(());
    }
    Err(Error::corrupt(
        format_args!("archive {}", archive.name()),
        chunk.key(),
        "the archive gives it two sizes",
    ))
}

/// Sorts chunks into folders.
pub(super) fn by_folder(chunks: impl IntoIterator<Item = ChunkRef>) -> Folders {
    let mut folders = Folders::new();
    for chunk in chunks {
        let folder = folders.entry(chunk.chunk.as_bytes()[0]).or_default();
        folder.push(chunk);
    }
    folders
}

/// Which of the chunks the repository has, and which it lacks. One that is there with another size is an error: it is never
/// overwritten, so no copy could be whole.
pub(super) async fn look(
    repository: &Repository,
    folders: Folders,
) -> Result<(Vec<ChunkRef>, Vec<ChunkRef>)> {
    let found: Vec<(Vec<ChunkRef>, Vec<ChunkRef>)> = stream::iter(folders)
        .map(|(first, wanted)| look_in_folder(repository, first, wanted))
        .buffer_unordered(LISTINGS_AT_ONCE)
        .try_collect()
        .await?;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for (some, others) in found {
        there.extend(some);
        missing.extend(others);
    }
    Ok((there, missing))
}

async fn look_in_folder(
    repository: &Repository,
    first: u8,
    wanted: Vec<ChunkRef>,
) -> Result<(Vec<ChunkRef>, Vec<ChunkRef>)> {
    let listed = repository
        .store()
        .list(&format!("chunks/{first:02x}"))
        .await?;
    let sizes: HashMap<&str, u64> = listed
        .iter()
        .map(|stored| (stored.key.name(), stored.n_bytes))
        .collect();
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for chunk in wanted {
        match sizes.get(chunk.chunk.to_string().as_str()) {
            None => missing.push(chunk),
            Some(n) if *n == chunk.stored_bytes => there.push(chunk),
            Some(n) => {
                let problem = format!("has {n} bytes instead of {}", chunk.stored_bytes);
                return Err(damaged_there(repository, &chunk, &problem));
            }
        }
    }
    Ok((there, missing))
}

/// What stands at the target and is not what its name says.
fn damaged_there(repository: &Repository, chunk: &ChunkRef, problem: &str) -> Error {
    Error::corrupt(
        format_args!("target {}", repository.location()),
        chunk.key(),
        format_args!(
            "{problem}: the file at the target is damaged; `pgark verify` says which archives suffer, then move it away and replicate again"
        ),
    )
}

/// Both ends of the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a> {
    pub(super) from: &'a Repository,
    pub(super) to: &'a Repository,
    /// Chunks on their way at once.
    pub(super) jobs: usize,
    pub(super) progress: &'a dyn Progress,
}

impl Wire<'_> {
    /// Sends chunks: each is read, hashed, and put if it is not there. Damage at the source does not stop the others; it is
    /// the error at the end.
    pub(super) async fn send(&self, chunks: Vec<ChunkRef>) -> Result<()> {
        let source = self.from.chunks(1);
        let source = &source;
        let sending = stream::iter(chunks)
            .map(|chunk| async move { self.send_one(source, chunk).await })
            .buffer_unordered(self.jobs.max(1));
        settle(sending).await
    }

    async fn send_one(&self, source: &ChunkStore, chunk: ChunkRef) -> Result<()> {
        let place = || format!("source {}", self.from.location());
        let bytes = match read_proved(source, chunk).await? {
            Ok(bytes) => bytes,
            // A cable or a cache may have done it: only what fails twice is damaged.
            Err(_) => read_proved(source, chunk)
                .await?
                .map_err(|problem| Error::corrupt(place(), chunk.key(), problem))?,
        };
        self.progress.event(Event::Bytes(chunk.stored_bytes));
        match self.to.store().put_new(&chunk.key(), bytes).await? {
            Put::Stored => self.progress.event(Event::Stored(chunk.stored_bytes)),
            // Somebody else put it since the listing: create-if-absent would keep a damaged one for ever.
            Put::Exists => self.prove_one(chunk).await?,
        }
        Ok(())
    }

    /// Reads chunks that stand at the target, and hashes them.
    pub(super) async fn prove(&self, chunks: Vec<ChunkRef>) -> Result<()> {
        let proving = stream::iter(chunks)
            .map(|chunk| async move {
                self.prove_one(chunk).await?;
                self.progress.event(Event::Bytes(chunk.stored_bytes));
                Ok(())
            })
            .buffer_unordered(self.jobs.max(1));
        settle(proving).await
    }

    async fn prove_one(&self, chunk: ChunkRef) -> Result<()> {
        let bytes = self.to.store().get(&chunk.key()).await?;
        let problem = match bytes {
            None => Err("vanished while it was looked at".to_owned()),
            Some(bytes) => {
                let check = move || check_stored(&bytes, &chunk);
                self.to.cpu().run(check).await
            }
        };
        problem.map_err(|problem| damaged_there(self.to, &chunk, &problem))
    }
}

/// Stored bytes whose size and SHA-256 are right; the inner error says what is wrong with them.
async fn read_proved(source: &ChunkStore, chunk: ChunkRef) -> Result<Result<bytes::Bytes, String>> {
    let Some(bytes) = source.get_stored(&chunk.chunk).await? else {
        return Ok(Err("is missing".to_owned()));
    };
    let checked = source
        .cpu()
        .run(move || check_stored(&bytes, &chunk).map(|()| bytes))
        .await;
    Ok(checked)
}

/// Runs all of the work. Damage is kept for the end, when it is known how much there is; any other error ends the work.
async fn settle(mut work: impl stream::Stream<Item = Result<()>> + Unpin) -> Result<()> {
    let mut first = None;
    let mut n_more = 0_u64;
    while let Some(done) = work.next().await {
        match done {
            Ok(()) => {}
            Err(error @ Error::Corrupt { .. }) if first.is_none() => first = Some(error),
            Err(Error::Corrupt { .. }) => n_more += 1,
            Err(error) => return Err(error),
        }
    }
    match first {
        None => Ok(()),
        Some(Error::Corrupt {
            object,
            place,
            problem,
        }) if n_more > 0 => Err(Error::Corrupt {
            object,
            place,
            problem: format!("{problem} ({n_more} more chunks are damaged too)"),
        }),
        Some(error) => Err(error),
    }
}
