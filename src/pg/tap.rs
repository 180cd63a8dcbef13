//! The tap: a stream wrapper below tokio-postgres that diverts the rows of `COPY … TO STDOUT` to a [`CopySink`].
//!
//! While a sink is installed, `CopyOutResponse`, `CopyData` and `CopyDone` never reach tokio-postgres: bodies go to the sink in
//! bulk, as fragments of the read buffer, so that memory does not depend on the width of rows, and a simple query
//! `COPY … TO STDOUT`, or of several of them, just gives its command tags. Everything else passes through unchanged, but for statements with
//! escaped bytes on their way out, which are `outgoing`'s. Message formats: manual 55.7. What rows mean is left to the sink.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::{impossible, is_possible};
use super::outgoing::Outgoing;
pub use super::sink::CopySink;
use super::sink::Discard;

/// Bytes asked of the inner stream at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// Tag and length of a message.
const HEADER_BYTES: usize = 5;
/// `BackendKeyData` of protocol 3.0: header, process id, secret key.
const KEY_DATA_BYTES: usize = HEADER_BYTES + 8;

/// What identifies a backend to a cancel request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct BackendKey {
    /// The process id that the other end claims; a pooler makes one up.
    pub(super) pid: i32,
    /// The secret that goes with it.
    pub(super) secret: i32,
}

#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
struct Shared {
    sink: Option<Box<dyn CopySink>>,
    /// Set while the connection waits for the sink, so that taking the sink away starts it again.
    stalled: Option<Waker>,
    abandoned: bool,
    /// From the first row's announcement to the end of the whole answer, which may be one of several COPYs.
    copying: bool,
    /// True once statements may hold escaped bytes.
    unescapes: bool,
    n_errors: u64,
    /// True once the server was ready for the first time.
    is_established: bool,
    key: Option<BackendKey>,
}

/// Installs sinks into the [`Tap`] of a connection and takes them back.
#[derive(Clone, Default)]
pub struct TapHandle {
    shared: Arc<Mutex<Shared>>,
}

impl TapHandle {
    /// Installs the sink for the next COPY. The previous one, if any, is dropped.
    pub fn install(&self, sink: Box<dyn CopySink>) {
        let mut shared = self.lock();
        shared.abandoned = false;
        let previous = shared.sink.replace(sink);
        let waker = shared.stalled.take();
        drop(shared);
        drop(previous);
        wake(waker);
    }

    /// Takes the sink back, after the query has returned.
    pub fn take(&self) -> Option<Box<dyn CopySink>> {
        let mut shared = self.lock();
        let sink = shared.sink.take();
        let waker = shared.stalled.take();
        drop(shared);
        wake(waker);
        sink
    }

    /// Drops the sink; whatever its COPY still sends is thrown away.
    pub(super) fn abandon(&self) {
        self.install(Box::new(Discard));
        self.lock().abandoned = true;
    }

    /// True after [`abandon`](Self::abandon) until the next sink is installed.
    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// True while rows may still come that nobody waits for.
    pub(super) fn is_busy(&self) -> bool {
        let shared = self.lock();
        shared.copying || shared.abandoned
    }

    /// How many error messages the server has sent so far; a change during COPY IN says that feeding more is useless.
    pub(super) fn n_errors(&self) -> u64 {
        self.lock().n_errors
    }

    /// From here on statements get the bytes that stand escaped in them. The session must be idle.
    pub(super) fn unescape_statements(&self) {
        self.lock().unescapes = true;
    }

    fn unescapes(&self) -> bool {
        self.lock().unescapes
    }

    /// The backend's key once the connection is established.
    pub(super) fn key(&self) -> Option<BackendKey> {
        self.lock().key
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panicking sink leaves the state as it was before the call, which is consistent.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of a message.
    Header,
    /// So many bytes of a message still pass through, its header included.
    Pass(usize),
    /// So many bytes of a `CopyData` body still go to the sink.
    Divert(usize),
    /// So many bytes of a swallowed message's body are still to come.
    Swallow(usize),
    /// A message of this tag and length cannot be, and is not waited for.
    Impossible(u8, u32),
}

/// A stream whose reads go through the tap, and whose statements may hold escaped bytes (`outgoing`).
pub struct Tap<S> {
    inner: S,
    outgoing: Outgoing,
    handle: TapHandle,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    at_eof: bool,
    state: State,
}

impl<S> Tap<S> {
    /// Wraps a stream that is at a message boundary (the SSL negotiation is no message and must be over).
    pub fn new(inner: S) -> (Self, TapHandle) {
        Self::with_buffer(inner, BUFFER_BYTES)
    }

    fn with_buffer(inner: S, buffer_bytes: usize) -> (Self, TapHandle) {
        let handle = TapHandle::default();
        let tap = Tap {
            inner,
            outgoing: Outgoing::default(),
            handle: handle.clone(),
            buffer: vec![0; buffer_bytes].into_boxed_slice(),
            start: 0,
            end: 0,
            at_eof: false,
            state: State::Header,
        };
        (tap, handle)
    }

    /// The wrapped stream.
    pub(super) fn inner(&self) -> &S {
        &self.inner
    }

    /// Handles buffered bytes until they are used up, `out` is full, or a header is incomplete.
    fn drain(&mut self, out: &mut ReadBuf<'_>) {
        let handle = self.handle.clone();
        let mut shared = handle.lock();
        while self.start < self.end {
            let bytes = &self.buffer[self.start..self.end];
            let used = match self.state {
                State::Header => {
                    let Some((state, used)) = begin_message(bytes, self.at_eof, &mut shared) else {
                        return;
                    };
                    self.state = state;
                    used
                }
                State::Pass(left) => {
                    let n = left.min(bytes.len()).min(out.remaining());
                    if n == 0 {
                        return;
                    }
                    out.put_slice(&bytes[..n]);
                    self.state = after(State::Pass, left - n);
                    n
                }
                State::Impossible(..) => return,
                State::Divert(left) => {
                    let n = left.min(bytes.len());
                    if let Some(sink) = &mut shared.sink {
                        sink.data(&bytes[..n], n == left);
                    }
                    self.state = after(State::Divert, left - n);
                    n
                }
                State::Swallow(left) => {
                    let n = left.min(bytes.len());
                    self.state = after(State::Swallow, left - n);
                    n
                }
            };
            self.start += used;
        }
    }

    /// Makes room behind the unread bytes, of which there are fewer than a header or a key message has.
    fn compact(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Pending while the sink of a running COPY cannot take more.
    fn poll_sink(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.handle.lock();
        if !shared.copying {
            return Poll::Ready(());
        }
        let Some(sink) = &mut shared.sink else {
            return Poll::Ready(());
        };
        let readiness = sink.poll_ready(cx);
        if readiness.is_pending() {
            shared.stalled = Some(cx.waker().clone());
        }
        readiness
    }
}

/// The stream ends inside of a header: everything passes, so that the reader above reports it.
const CUT_OFF: State = State::Pass(usize::MAX);

fn after(state: fn(usize) -> State, left: usize) -> State {
    if left == 0 {
        State::Header
    } else {
        state(left)
    }
}

/// The state after the header at the start of `bytes` and how many bytes that consumes; `None` if more bytes are needed.
fn begin_message(bytes: &[u8], at_eof: bool, shared: &mut Shared) -> Option<(State, usize)> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return at_eof.then_some((CUT_OFF, 0));
    };
    let [tag, length @ ..] = *header;
    let said = u32::from_be_bytes(length);
    let length = said as usize;
    if !is_possible(tag, length, shared.is_established) {
        return Some((State::Impossible(tag, said), 0));
    }
    let body = length - 4;
    match tag {
        b'd' if shared.sink.is_some() => {
            if body == 0
                && let Some(sink) = &mut shared.sink
            {
                sink.data(&[], true);
            }
            return Some((after(State::Divert, body), HEADER_BYTES));
        }
        b'H' if shared.sink.is_some() => {
            // The overall format is the body's first byte.
            let Some(format) = bytes.get(HEADER_BYTES) else {
                return at_eof.then_some((CUT_OFF, 0));
            };
            shared.copying = true;
            if let Some(sink) = &mut shared.sink {
                sink.begin(*format == 1);
            }
            return Some((after(State::Swallow, body), HEADER_BYTES));
        }
        b'c' if shared.sink.is_some() => {
            if let Some(sink) = &mut shared.sink {
                sink.end();
            }
            return Some((after(State::Swallow, body), HEADER_BYTES));
        }
        b'K' if length + 1 == KEY_DATA_BYTES => {
            let Some(message) = bytes.first_chunk::<KEY_DATA_BYTES>() else {
                return at_eof.then_some((CUT_OFF, 0));
            };
            let [_, _, _, _, _, p0, p1, p2, p3, s0, s1, s2, s3] = *message;
            shared.key = Some(BackendKey {
                pid: i32::from_be_bytes([p0, p1, p2, p3]),
                secret: i32::from_be_bytes([s0, s1, s2, s3]),
            });
        }
        b'E' => {
            shared.copying = false;
            shared.n_errors += 1;
        }
        b'Z' => {
            shared.copying = false;
            shared.is_established = true;
        }
        _ => {}
    }
    Some((State::Pass(length + 1), 0))
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = out.filled().len();
        loop {
            this.drain(out);
            if let State::Impossible(tag, length) = this.state
                && out.filled().len() == filled
            {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    impossible(tag, length),
                )));
            }
            if out.filled().len() > filled || out.remaining() == 0 || this.at_eof {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_sink(cx));
            this.compact();
            let mut free = ReadBuf::new(&mut this.buffer[this.end..]);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut free))?;
            let n = free.filled().len();
            this.end += n;
            this.at_eof = n == 0;
        }
    }
}

/// Vectored writes are not offered: tokio-postgres writes one buffer.
impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.handle.unescapes() {
            this.outgoing.begin();
        }
        this.outgoing.poll_write(&mut this.inner, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_waiting(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_waiting(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
