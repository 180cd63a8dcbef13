//! What is fuzzed: for each kind of bytes from outside one function that takes any bytes, must come back, and asserts what holds of
//! them. The programs in `fuzz/` feed them with what a fuzzer thinks of, [`super`] with the kept corpus. No seeds, no I/O.

#![allow(unreachable_pub, reason = "a library of the fuzzer has them too")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::digest::Digest;
use pgark::archive::fingerprint::RowReader;
use pgark::archive::index::{CopyFormat, TableIndex};
use pgark::archive::manifest::Manifest;
use pgark::archive::marker::Marker;
use pgark::archive::records::{Announced, Drilled, Ran, Removed, Verified};
use pgark::archive::rows_at::RowsAt;
use pgark::archive::{ArchiveName, ChunkRef, ChunkStore, Repository, sealed};
use pgark::pg::tap::{CopySink, Tap};
use pgark::pg::{ConnSettings, Environment};
use pgark::selection::filter_file::{apply, parse};
use pgark::selection::{Selection, Side};
use pgark::sql::script::{Item, ScriptError, Splitter};
use pgark::sql::{Pattern, PatternScope};
use pgark::store::{MemoryStore, Store};
use pgark::toc::Entry;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// Takes any bytes; panics if something does not hold of them.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its program and of its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("manifest", manifest),
    ("toc_line", toc_line),
    ("data_index", data_index),
    ("chunk", chunk),
    ("conninfo", conninfo),
    ("pattern", pattern),
    ("filter_file", filter_file),
    ("rows", rows),
    ("script", script),
    ("record", record),
    ("server", server),
];

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime"));

/// The bytes with a seal that is right: nothing behind a seal is reached by chance.
fn seal(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(format!("\n{}\n", Digest::of(bytes)).as_bytes());
    sealed
}

/// A manifest from anywhere, sealed or not, is read or refused.
pub fn manifest(bytes: &[u8]) {
    let name: ArchiveName = "shop-1".parse().expect("a name");
    let _ = Manifest::read(bytes, &name, "here");
    if let Ok((manifest, _)) = Manifest::read(&seal(bytes), &name, "here") {
        assert_eq!(manifest.name, name);
        let (written, _) = manifest.seal();
        let again = Manifest::read(&written, &name, "here").expect("what was written is read");
        assert_eq!(again.0, manifest);
    }
}

/// A marker and a record of any sort, sealed or not, is read or refused.
pub fn record(bytes: &[u8]) {
    let sealed = seal(bytes);
    for bytes in [bytes, &sealed] {
        if let Ok(marker) = Marker::read(bytes, "here") {
            assert!(marker.chunks.is_sound());
        }
        let _ = sealed::read::<Announced>(bytes, "record", "here");
        let _ = sealed::read::<Removed>(bytes, "record", "here");
        let _ = sealed::read::<Verified>(bytes, "record", "here");
        let _ = sealed::read::<Drilled>(bytes, "record", "here");
        let _ = sealed::read::<Ran>(bytes, "record", "here");
    }
}

/// A line of the TOC is an entry or refused; an entry is written and read again as it was.
pub fn toc_line(bytes: &[u8]) {
    if let Ok(entry) = serde_json::from_slice::<Entry>(bytes) {
        let text = serde_json::to_vec(&entry).expect("an entry is plain data");
        let again: Entry = serde_json::from_slice(&text).expect("what was written is read");
        assert_eq!(entry, again);
        let shown = entry.name.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        let _ = entry.is_idle();
    }
}

/// A line of the data index is read or refused; its ranges never leave their chunks.
pub fn data_index(bytes: &[u8]) {
    let Ok(index) = serde_json::from_slice::<TableIndex>(bytes) else {
        return;
    };
    for (number, segment) in index.segments.iter().enumerate() {
        let at = RowsAt::of(segment, number);
        let _ = at.words(index.cell_key.as_ref()).to_string();
        for piece in &segment.pieces {
            if let Some(range) = piece.range() {
                assert!(range.start <= range.end && range.end as u64 <= piece.chunk_bytes);
            }
        }
    }
}

/// Stored bytes from anywhere, under their right name and with any size said of them (the first four bytes), are refused or give
/// exactly that size.
pub fn chunk(bytes: &[u8]) {
    static CHUNKS: LazyLock<(Arc<MemoryStore>, ChunkStore)> = LazyLock::new(|| {
        let store = Arc::new(MemoryStore::new());
        let of_store = Arc::clone(&store) as Arc<dyn Store>;
        let repository = Repository::open_or_create(of_store, ChunkSettings::default());
        let repository = RUNTIME.block_on(repository).expect("memory");
        (store, repository.chunks(1))
    });
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
        let stored = Bytes::copy_from_slice(stored);
        store.put_new(&key, stored).await.expect("memory");
        if let Ok(plain) = chunks.get(&chunk).await {
            assert_eq!(plain.len() as u64, chunk.chunk_bytes);
        }
        store.delete(&key).await.expect("memory");
    });
}

/// Any connection string is read or refused, and no message repeats a password.
pub fn conninfo(bytes: &[u8]) {
    static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(Environment::of_process);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let in_settings = format!("password=pa55w0rd-of-fuzz {text}");
    let in_url = format!("postgres://user:pa55w0rd-of-fuzz@{text}");
    for text in [text, &in_settings, &in_url] {
        let said = match ConnSettings::resolve(&ENVIRONMENT, Some(text), &[]) {
            Ok(settings) => settings.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(!said.contains("pa55w0rd-of-fuzz"), "{said}");
    }
}

/// Any pattern is read or refused, and matching ends whatever the names: pattern, schema and name with a zero byte between.
pub fn pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (pattern, schema, name) = (part(), part(), part());
    for scope in [
        PatternScope::Name,
        PatternScope::Schema,
        PatternScope::Relation,
    ] {
        if let Ok(pattern) = Pattern::parse(pattern, scope) {
            let _ = pattern.matches_name(name);
            let _ = pattern.matches_relation(schema, name, true);
        }
    }
}

/// Any filter file is read, or refused with its line.
pub fn filter_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for side in [Side::Dump, Side::Restore] {
        if let Ok(rules) = parse(text, "filter") {
            let mut selection = Selection::default();
            if apply(rules, "filter", side, &mut selection).is_ok() {
                let _ = selection.check(side);
            }
        }
    }
}

/// The first byte and one more: how long the pieces are into which the rest is cut.
fn in_pieces(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes.split_first() {
        Some((step, rest)) => (usize::from(*step) + 1, rest),
        None => (1, bytes),
    }
}

/// Rows in text and in binary give the same fingerprint however their bytes are cut.
pub fn rows(bytes: &[u8]) {
    let (step, bytes) = in_pieces(bytes);
    for format in [CopyFormat::Text, CopyFormat::Binary] {
        let mut whole = RowReader::new(format);
        whole.push(bytes);
        let mut split = RowReader::new(format);
        for part in bytes.chunks(step) {
            split.push(part);
        }
        assert_eq!(whole.whole_rows(), split.whole_rows());
        assert_eq!(whole.finish(), split.finish());
    }
}

/// A script is cut into the same statements however its bytes arrive.
pub fn script(bytes: &[u8]) {
    let (step, bytes) = in_pieces(bytes);
    let split = items(bytes.chunks(step));
    let whole = items(std::iter::once(bytes));
    assert_eq!(split, whole);
}

/// What the script consists of; the pieces of rows joined, because they are cut as they come.
fn items<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<Item>, Option<ScriptError>) {
    let mut splitter = Splitter::default();
    let mut items = Vec::new();
    for part in parts {
        splitter.push(part);
        if let Err(error) = take(&mut splitter, &mut items) {
            return (items, Some(error));
        }
    }
    splitter.finish();
    let ended = take(&mut splitter, &mut items);
    (items, ended.err())
}

fn take(splitter: &mut Splitter, items: &mut Vec<Item>) -> Result<(), ScriptError> {
    while let Some(item) = splitter.next_item()? {
        match (items.last_mut(), item) {
            (Some(Item::CopyData(before)), Item::CopyData(more)) => before.extend(more),
            (_, item) => items.push(item),
        }
    }
    Ok(())
}

/// Bytes from a server give the same rows and the same messages however they arrive, and nothing more than came.
pub fn server(bytes: &[u8]) {
    let (step, bytes) = in_pieces(bytes);
    let split = through_the_tap(bytes, step);
    assert_eq!(split, through_the_tap(bytes, bytes.len().max(1)));
    assert!(split.0.len() + split.1.len() <= bytes.len());
}

/// What passes, what goes to a sink, and why no more is read.
fn through_the_tap(bytes: &[u8], step: usize) -> (Vec<u8>, Vec<u8>, usize, Option<String>) {
    let (mut tap, handle) = Tap::new(Arriving { bytes, step });
    handle.install(Box::new(Kept::default()));
    let mut passed = Vec::new();
    let reading = RUNTIME.block_on(tap.read_to_end(&mut passed));
    let refused = reading.err().map(|error| error.to_string());
    let sink = handle.take().expect("nobody else took it").into_any();
    let kept = sink
        .downcast::<Kept>()
        .expect("the sink that was installed");
    (passed, kept.rows, kept.n_messages, refused)
}

/// Bytes that arrive in pieces.
struct Arriving<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl AsyncRead for Arriving<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let n = this.step.min(this.bytes.len()).min(out.remaining());
        let (now, later) = this.bytes.split_at(n);
        out.put_slice(now);
        this.bytes = later;
        Poll::Ready(Ok(()))
    }
}

/// Keeps the rows.
#[derive(Default)]
struct Kept {
    rows: Vec<u8>,
    n_messages: usize,
}

impl CopySink for Kept {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    fn begin(&mut self, _: bool) {}
    fn data(&mut self, fragment: &[u8], ends_message: bool) {
        self.rows.extend_from_slice(fragment);
        self.n_messages += usize::from(ends_message);
    }
    fn end(&mut self) {}
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}
