//! A way to a PostgreSQL server that breaks at a chosen moment: a proxy that understands the frames of the protocol, counts
//! *interactions* over all connections, and at the n-th of them cuts, stalls or garbles.
//!
//! An interaction is a message of the client that asks for an answer: the start-up message, a password, a simple query, `Sync`
//! (with all that was sent before it), and the end of a COPY IN. Flush, COPY data, goodbyes and cancel requests are none. Without a
//! fault, [`FaultyProxy::n_interactions`] says how many there are. What is said over TLS cannot be read: there an interaction begins with
//! the first bytes of the client after bytes of the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::proxy::Proxy;
use super::{Database, Server};

const SSL_REQUEST: u32 = (1234 << 16) + 5679;
const CANCEL_REQUEST: u32 = (1234 << 16) + 5678;

/// What becomes of an interaction, and of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is cut, and the server never hears of it.
    CutBefore,
    /// The server has done it, but the connection is cut as its answer begins.
    CutAfter,
    /// Nothing passes any more in either direction, but nothing is closed either.
    Stall,
    /// The answer's byte at this place, the first being 0, comes with all bits flipped; in a shorter answer it is the last byte.
    Garble(usize),
}

/// Where a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The interaction, from 0.
    pub(crate) n: usize,
    pub(crate) fault: Fault,
    /// From then on the server cannot be reached at all: the other connections are cut too, and new ones are closed at once.
    pub(crate) and_gone: bool,
}

/// The proxy. It ends, with all its connections, when it is dropped.
pub(crate) struct FaultyProxy {
    proxy: Proxy,
    watched: Arc<Watched>,
}

impl FaultyProxy {
    /// A proxy to the server's socket, where `postgres` needs no password. Without `at` it only counts.
    pub(crate) fn start(server: &Server, at: Option<At>) -> FaultyProxy {
        FaultyProxy::to(Upstream::Socket(server.socket()), at)
    }

    /// The same by TCP, with passwords, and TLS where the server has it.
    pub(crate) fn start_tcp(server: &Server, at: Option<At>) -> FaultyProxy {
        FaultyProxy::to(Upstream::Tcp(server.address()), at)
    }

    fn to(upstream: Upstream, at: Option<At>) -> FaultyProxy {
        let watched = Arc::new(Watched {
            at,
            n_interactions: AtomicUsize::new(0),
            n_faults: AtomicUsize::new(0),
            gone: watch::Sender::new(false),
        });
        let shared = Arc::clone(&watched);
        let proxy = Proxy::start(move |client| {
            let (watched, upstream) = (Arc::clone(&shared), upstream.clone());
            async move {
                let mut gone = watched.gone.subscribe();
                tokio::select! {
                    _ = gone.wait_for(|gone| *gone) => {}
                    () = connect(client, upstream, Arc::clone(&watched)) => {}
                }
            }
        });
        FaultyProxy { proxy, watched }
    }

    /// Key-value connection string to a database by way of the proxy, in the clear.
    pub(crate) fn conninfo(&self, database: &Database) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres password=pgark dbname={} sslmode=disable",
            self.proxy.address().port(),
            database.name()
        )
    }

    /// Interactions that have begun so far.
    pub(crate) fn n_interactions(&self) -> usize {
        self.watched.n_interactions.load(Ordering::SeqCst)
    }

    /// Faults that happened: 0 or 1.
    pub(crate) fn n_faults(&self) -> usize {
        self.watched.n_faults.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone)]
enum Upstream {
    Socket(PathBuf),
    Tcp(SocketAddr),
}

/// What all connections of a proxy share.
struct Watched {
    at: Option<At>,
    n_interactions: AtomicUsize,
    n_faults: AtomicUsize,
    gone: watch::Sender<bool>,
}

impl Watched {
    /// Counts an interaction; gives the fault that it has.
    fn begin(&self) -> Option<Fault> {
        let n = self.n_interactions.fetch_add(1, Ordering::SeqCst);
        self.at.filter(|at| at.n == n).map(|at| at.fault)
    }

    fn happened(&self) {
        self.n_faults.fetch_add(1, Ordering::SeqCst);
        if self.at.is_some_and(|at| at.and_gone) {
            self.gone.send_replace(true);
        }
    }
}

async fn connect(client: TcpStream, upstream: Upstream, watched: Arc<Watched>) {
    client.set_nodelay(true).unwrap();
    // A server that does not answer is one that closes at once.
    match upstream {
        Upstream::Socket(path) => {
            if let Ok(server) = UnixStream::connect(path).await {
                pass(client, server, &watched).await;
            }
        }
        Upstream::Tcp(address) => {
            if let Ok(server) = TcpStream::connect(address).await {
                server.set_nodelay(true).unwrap();
                pass(client, server, &watched).await;
            }
        }
    }
}

/// Passes on what both sides say, until one of them ends or the connection is cut.
async fn pass(
    mut client: TcpStream,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    watched: &Watched,
) {
    let Some(start) = negotiate(&mut client, &mut server).await else {
        return;
    };
    let line = Line {
        watched,
        state: Mutex::default(),
        speech: start.speech,
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = tokio::io::split(&mut server);
    let ended = tokio::select! {
        ended = upwards(&line, start.message, &mut from_client, &mut to_server) => ended,
        ended = downwards(&line, &mut from_server, &mut to_client) => ended,
    };
    if matches!(ended, Ended::Stalled) {
        watched.happened();
        // Both sides stay open until the proxy goes.
        std::future::pending::<()>().await;
    }
    if matches!(ended, Ended::Cut) {
        watched.happened();
    }
}

/// How a connection begins.
struct Start {
    /// What is to be passed on first.
    message: Vec<u8>,
    speech: Speech,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    /// Frames in the clear.
    Plain,
    /// TLS.
    Sealed,
    /// A cancel request: nothing follows.
    Cancel,
}

/// Reads the start-up message; requests for TLS are passed on and answered before it.
async fn negotiate(
    client: &mut TcpStream,
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Option<Start> {
    loop {
        let n_bytes = client.read_u32().await.ok()?;
        let mut rest = vec![0; usize::try_from(n_bytes).unwrap().checked_sub(4)?];
        client.read_exact(&mut rest).await.ok()?;
        let code = u32::from_be_bytes(rest.get(..4)?.try_into().unwrap());
        let message = [&n_bytes.to_be_bytes(), &*rest].concat();
        if code != SSL_REQUEST {
            let speech = match code {
                CANCEL_REQUEST => Speech::Cancel,
                _ => Speech::Plain,
            };
            return Some(Start { message, speech });
        }
        server.write_all(&message).await.ok()?;
        let answer = server.read_u8().await.ok()?;
        client.write_all(&[answer]).await.ok()?;
        if answer == b'S' {
            return Some(Start {
                message: Vec::new(),
                speech: Speech::Sealed,
            });
        }
    }
}

/// Why a direction ended.
enum Ended {
    /// The side that spoke has closed, or the other one takes nothing.
    Closed,
    Cut,
    Stalled,
}

/// What the two directions of a connection know of each other.
struct Line<'a> {
    watched: &'a Watched,
    state: Mutex<State>,
    speech: Speech,
}

#[derive(Default)]
struct State {
    /// Interactions that were passed on, and those of them that were answered.
    n_asked: usize,
    n_answered: usize,
    /// The fault that the answer after so many has.
    armed: Option<(usize, Fault)>,
    /// Bytes of the answer that is to be garbled, so far.
    n_of_answer: usize,
    /// After the end of a COPY IN: a `Sync` belongs to it.
    ended_copy: bool,
}

impl Line<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An interaction begins. What is known at once of its fate is given.
    fn begin(&self) -> Option<Ended> {
        let fault = self.watched.begin();
        let mut state = self.state();
        let n_before = state.n_asked;
        state.n_asked += 1;
        match fault? {
            Fault::CutBefore => return Some(Ended::Cut),
            Fault::Stall => return Some(Ended::Stalled),
            fault => state.armed = Some((n_before, fault)),
        }
        None
    }

    /// Whether a message of this kind begins an interaction.
    fn asks(&self, kind: u8) -> bool {
        let ends_copy = matches!(kind, b'c' | b'f');
        let follows_copy = std::mem::replace(&mut self.state().ended_copy, ends_copy);
        match kind {
            b'Q' | b'F' | b'p' | b'c' | b'f' => true,
            b'S' => !follows_copy,
            _ => false,
        }
    }

    /// Lets a message of the server pass, garbled if it is to be; true if the connection is cut instead.
    fn cuts(&self, message: &mut [u8], is_answered: bool) -> bool {
        let mut state = self.state();
        let due = state
            .armed
            .filter(|(n_before, _)| state.n_answered >= *n_before);
        if let Some((_, fault)) = due {
            let Fault::Garble(place) = fault else {
                return true;
            };
            let ends = is_answered && self.speech == Speech::Plain;
            let place = place - state.n_of_answer;
            if place < message.len() || ends {
                message[place.min(message.len() - 1)] ^= 0xff;
                state.armed = None;
                self.watched.happened();
            }
            state.n_of_answer += message.len();
        }
        if is_answered {
            state.n_answered = (state.n_answered + 1).min(state.n_asked);
        }
        false
    }
}

/// The client's side. A request is passed on whole: what belongs to it waits for the message that asks for the answer.
async fn upwards(
    line: &Line<'_>,
    start: Vec<u8>,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Ended {
    if line.speech == Speech::Plain
        && let Some(ended) = line.begin()
    {
        return ended;
    }
    if to.write_all(&start).await.is_err() {
        return Ended::Closed;
    }
    let mut waiting = Vec::new();
    let mut n_seen = 0;
    loop {
        if !matches!(from.read_buf(&mut waiting).await, Ok(1..)) {
            let _ = to.write_all(&waiting).await;
            return Ended::Closed;
        }
        let mut n_ready = 0;
        if line.speech != Speech::Plain {
            let quiet = {
                let state = line.state();
                state.n_asked == state.n_answered
            };
            if line.speech == Speech::Sealed
                && quiet
                && let Some(ended) = line.begin()
            {
                return ended;
            }
            n_ready = waiting.len();
        }
        while let (Speech::Plain, Some(frame)) = (line.speech, frame(&waiting[n_seen..])) {
            n_seen += frame.n_bytes;
            let asks = line.asks(frame.kind);
            if asks {
                // What was asked for before is on its way, even if both came in one packet.
                if to.write_all(&waiting[..n_ready]).await.is_err() {
                    return Ended::Closed;
                }
                waiting.drain(..n_ready);
                n_seen -= n_ready;
                if let Some(ended) = line.begin() {
                    return ended;
                }
            }
            if asks || matches!(frame.kind, b'd' | b'H' | b'S' | b'X') {
                n_ready = n_seen;
            }
        }
        if to.write_all(&waiting[..n_ready]).await.is_err() {
            return Ended::Closed;
        }
        waiting.drain(..n_ready);
        n_seen = n_seen.saturating_sub(n_ready);
    }
}

/// The server's side.
async fn downwards(
    line: &Line<'_>,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Ended {
    let mut waiting = Vec::new();
    loop {
        if !matches!(from.read_buf(&mut waiting).await, Ok(1..)) {
            let _ = to.write_all(&waiting).await;
            return Ended::Closed;
        }
        let mut n_ready = 0;
        loop {
            let rest = &mut waiting[n_ready..];
            let (n_bytes, is_answered) = match line.speech {
                Speech::Plain => match frame(rest) {
                    Some(frame) => (frame.n_bytes, matches!(frame.kind, b'Z' | b'G' | b'R')),
                    None => break,
                },
                _ if rest.is_empty() => break,
                _ => (rest.len(), true),
            };
            if line.cuts(&mut rest[..n_bytes], is_answered) {
                let _ = to.write_all(&waiting[..n_ready]).await;
                return Ended::Cut;
            }
            n_ready += n_bytes;
        }
        if to.write_all(&waiting[..n_ready]).await.is_err() {
            return Ended::Closed;
        }
        waiting.drain(..n_ready);
    }
}

/// A message of either side.
struct Frame {
    kind: u8,
    n_bytes: usize,
}

/// The message that `bytes` begin with, if it is there to its end.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let length = bytes.get(1..5)?;
    let n_bytes = 1 + usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
    (bytes.len() >= n_bytes).then(|| Frame {
        kind: bytes[0],
        n_bytes,
    })
}
