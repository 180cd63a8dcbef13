//! JSON Lines in chunks: how the TOC and the data index are stored.
//!
//! The lines are cut into chunks by the rule for rows of COPY text, so a stream that changed little shares most of its chunks.

use std::collections::VecDeque;
use std::marker::PhantomData;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::buffer::Buffer;
use super::chunker::{ChunkSettings, Chunker, Cut};
use super::chunks::{ChunkRef, ChunkStore, StoredChunk};
use super::index::CopyFormat;
use crate::error::{Error, Result};
use crate::sql::has_escapes_in;

/// The longest line. A table of 32 TiB, which is the largest that a server has, takes half of it.
const LINE_BYTES_MAX: usize = 2 << 30;

/// What a finished stream consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The chunks in order, and whether each was new.
    pub chunks: Vec<StoredChunk>,
    /// Number of lines.
    pub n_lines: u64,
    /// True if bytes stand escaped in them.
    pub has_escapes: bool,
}

impl Written {
    /// The chunks' names and sizes, as a manifest holds them.
    pub fn refs(&self) -> Vec<ChunkRef> {
        self.chunks.iter().map(|stored| stored.chunk).collect()
    }
}

/// Writes lines into chunks. The same lines give the same chunks.
#[derive(Debug)]
pub struct JsonlWriter {
    store: ChunkStore,
    chunker: Chunker,
    line: Vec<u8>,
    written: Written,
}

impl JsonlWriter {
    /// A writer into `store`, cutting as `settings` say.
    pub fn new(store: ChunkStore, settings: ChunkSettings) -> JsonlWriter {
        let buffer = Buffer::from(Vec::new());
        JsonlWriter {
            store,
            chunker: Chunker::new(settings, CopyFormat::Text, buffer),
            line: Vec::new(),
            written: Written::default(),
        }
    }

    /// Adds one line; stores a chunk when one is full.
    pub async fn push(&mut self, document: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, document)
            .expect("documents have string keys and no I/O");
        self.line.push(b'\n');
        if self.line.len() > LINE_BYTES_MAX {
            return Err(Error::failed(
                "a line of the archive's lists",
                format_args!(
                    "would have {} bytes, and no reader takes more than {LINE_BYTES_MAX}",
                    self.line.len()
                ),
                "split the table, or leave the object out",
            ));
        }
        self.written.n_lines += 1;
        self.written.has_escapes |= has_escapes_in(&self.line);
        let mut at = 0;
        while at < self.line.len() {
            at += self.chunker.row_fragment(&self.line[at..], true);
            if let Some(cut) = self.chunker.take_chunk(Buffer::from(Vec::new())) {
                self.put(cut).await?;
            }
        }
        Ok(())
    }

    /// Stores what is left and gives the chunks.
    pub async fn finish(mut self) -> Result<Written> {
        self.chunker.cut();
        if let Some(cut) = self.chunker.take_chunk(Buffer::from(Vec::new())) {
            self.put(cut).await?;
        }
        Ok(self.written)
    }

    async fn put(&mut self, cut: Cut) -> Result<()> {
        let stored = self.store.put(cut.bytes).await?;
        self.written.chunks.push(stored);
        Ok(())
    }
}

/// Reads lines from chunks, one chunk at a time and one ahead.
pub struct JsonlReader<T> {
    store: ChunkStore,
    /// What errors name: the archive and the stream.
    object: String,
    stream: &'static str,
    chunks: BoxStream<'static, Result<Bytes>>,
    /// The beginning of a line that ends in a later chunk.
    begun: Vec<u8>,
    ready: VecDeque<T>,
    n_lines: u64,
    lines: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + 'static> JsonlReader<T> {
    /// A reader of the stream in `chunks`. Errors name `object` (the archive), `stream` and the line, counted from 1.
    pub fn new(
        store: ChunkStore,
        chunks: Vec<ChunkRef>,
        object: String,
        stream: &'static str,
    ) -> JsonlReader<T> {
        let source = store.clone();
        let chunks = stream::iter(chunks)
            .map(move |chunk| {
                let source = source.clone();
                async move { source.get(&chunk).await }
            })
            .buffered(2)
            .boxed();
        JsonlReader {
            store,
            object,
            stream,
            chunks,
            begun: Vec::new(),
            ready: VecDeque::new(),
            n_lines: 0,
            lines: PhantomData,
        }
    }

    /// The next line, `None` after the last.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(document) = self.ready.pop_front() {
                return Ok(Some(document));
            }
            match self.chunks.next().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(|error| self.named(error))?;
                    self.parse(chunk).await?;
                }
                None if self.begun.is_empty() => return Ok(None),
                None => return Err(self.damaged(self.n_lines + 1, "the last line is not whole")),
            }
        }
    }

    /// All lines that are left.
    pub async fn collect(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(document) = self.next().await? {
            all.push(document);
        }
        Ok(all)
    }

    /// The lines as a stream.
    pub fn into_stream(self) -> BoxStream<'static, Result<T>> {
        stream::try_unfold(self, |mut reader| async move {
            let next = reader.next().await?;
            Ok::<_, Error>(next.map(|document| (document, reader)))
        })
        .into_stream()
        .boxed()
    }

    async fn parse(&mut self, chunk: Bytes) -> Result<()> {
        let mut begun = std::mem::take(&mut self.begun);
        let Some(last_newline) = chunk.iter().rposition(|byte| *byte == b'\n') else {
            if begun.len() + chunk.len() > LINE_BYTES_MAX {
                return Err(self.damaged(self.n_lines + 1, "the line is longer than any may be"));
            }
            begun.extend_from_slice(&chunk);
            self.begun = begun;
            return Ok(());
        };
        self.begun = chunk[last_newline + 1..].to_vec();
        let whole = chunk.slice(..last_newline);
        let parsed = self.store.cpu().run(move || parse_lines(&begun, &whole));
        match parsed.await {
            Ok(documents) => {
                self.n_lines += documents.len() as u64;
                self.ready.extend(documents);
                Ok(())
            }
            Err((index, problem)) => Err(self.damaged(self.n_lines + index + 1, &problem)),
        }
    }

    fn damaged(&self, line: u64, problem: &str) -> Error {
        Error::corrupt(
            &self.object,
            format_args!("{}, line {line}", self.stream),
            problem,
        )
    }

    /// A chunk's damage with the archive and the stream that it is of.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Corrupt { place, problem, .. } => Error::corrupt(
                &self.object,
                format_args!(
                    "{}, line {} or later, {place}",
                    self.stream,
                    self.n_lines + 1
                ),
                problem,
            ),
            other => other,
        }
    }
}

/// Parses lines, the first of which begins with `begun`. An error has the line's index, counted from 0.
fn parse_lines<T: DeserializeOwned>(begun: &[u8], whole: &[u8]) -> Result<Vec<T>, (u64, String)> {
    let mut documents = Vec::new();
    for (index, line) in whole.split(|byte| *byte == b'\n').enumerate() {
        let parsed = if index == 0 && !begun.is_empty() {
            serde_json::from_slice(&[begun, line].concat())
        } else {
            serde_json::from_slice(line)
        };
        documents.push(parsed.map_err(|error| (index as u64, format!("does not parse: {error}")))?);
    }
    Ok(documents)
}
