//! What leaves for the server: statements whose text holds escaped bytes (see `sql::escape`) get the bytes themselves, below
//! tokio-postgres, which knows statements as UTF-8 only. Everything else passes untouched, rows of COPY above all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::sql;

/// Tag and length of a message.
const HEADER_BYTES: usize = 5;

/// Follows the messages of one direction. Until [`begin`](Self::begin) everything passes.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    state: State,
    /// A message, or the beginning of one, that is held until it is whole.
    held: Vec<u8>,
    /// Finished bytes that the socket has not taken yet.
    ready: Vec<u8>,
    n_sent: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is looked at.
    #[default]
    Off,
    /// At the first byte of a message.
    Header,
    /// So many bytes pass.
    Pass(usize),
    /// Bytes are held until there are so many.
    Hold(usize),
}

/// What to do with the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// So many may go to the socket as they are; say with [`Outgoing::passed`] how many it took.
    Pass(usize),
    /// So many were taken over.
    Taken(usize),
}

impl Outgoing {
    /// Looks at messages from here on: the caller sees to it that the next byte begins one.
    pub(super) fn begin(&mut self) {
        if self.state == State::Off {
            self.state = State::Header;
        }
    }

    /// Writes to `inner` what may pass, and takes over what may not, as `AsyncWrite` has it.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_waiting(inner, cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match self.step(bytes) {
            Step::Taken(n) => Poll::Ready(Ok(n)),
            Step::Pass(n) => {
                let n = ready!(Pin::new(inner).poll_write(cx, &bytes[..n]))?;
                self.passed(bytes, n);
                Poll::Ready(Ok(n))
            }
        }
    }

    /// Writes to `inner` what was taken over and changed; a flush begins with it.
    pub(super) fn poll_waiting<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.waiting().is_empty() {
            let n = ready!(Pin::new(&mut *inner).poll_write(cx, self.waiting()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent(n);
        }
        Poll::Ready(Ok(()))
    }

    /// What the socket must take before anything else.
    fn waiting(&self) -> &[u8] {
        &self.ready[self.n_sent..]
    }

    /// The socket took so many of the waiting bytes.
    fn sent(&mut self, n: usize) {
        self.n_sent += n;
        if self.n_sent == self.ready.len() {
            self.ready.clear();
            self.n_sent = 0;
        }
    }

    /// Decides about the next bytes, of which there is at least one. Nothing may be waiting.
    fn step(&mut self, bytes: &[u8]) -> Step {
        if self.state == State::Off {
            return Step::Pass(bytes.len());
        }
        // Whole messages that nobody needs to look into pass together.
        let n_free = self.free(bytes);
        if n_free > 0 {
            return Step::Pass(n_free);
        }
        let wanted = match self.state {
            State::Hold(total) => total,
            _ => HEADER_BYTES,
        };
        let n = (wanted - self.held.len()).min(bytes.len());
        self.held.extend_from_slice(&bytes[..n]);
        if self.held.len() == wanted {
            self.complete(wanted);
        }
        Step::Taken(n)
    }

    /// How many of the bytes belong to messages that pass, as far as this can be seen.
    fn free(&self, bytes: &[u8]) -> usize {
        let mut at = match self.state {
            State::Pass(left) => left,
            State::Header if self.held.is_empty() => 0,
            _ => return 0,
        };
        while let Some(length) = bytes.get(at..).and_then(passing_message) {
            at += length;
        }
        at.min(bytes.len())
    }

    /// The socket took so many bytes of those that pass.
    fn passed(&mut self, bytes: &[u8], n: usize) {
        let mut left = match self.state {
            State::Off => return,
            State::Pass(left) => left,
            _ => 0,
        };
        let mut at = left;
        while at < n {
            let length = passing_message(&bytes[at..]).expect("only such bytes were let pass");
            at += length;
        }
        left = at - n;
        self.state = if left == 0 {
            State::Header
        } else {
            State::Pass(left)
        };
    }

    /// A header, or a whole message, is held.
    fn complete(&mut self, n_held: usize) {
        if let State::Hold(_) = self.state {
            self.ready
                .append(&mut with_bytes(std::mem::take(&mut self.held)));
            self.state = State::Header;
            return;
        }
        let header = self.held.first_chunk::<HEADER_BYTES>();
        let (tag, total) = message(*header.expect("so many bytes are held"));
        if holds_statement(tag) && total > n_held {
            self.state = State::Hold(total);
            return;
        }
        self.ready.append(&mut self.held);
        self.state = match total.saturating_sub(n_held) {
            0 => State::Header,
            left => State::Pass(left),
        };
    }
}

/// Tag and whole length of a message.
fn message(header: [u8; HEADER_BYTES]) -> (u8, usize) {
    let [tag, length @ ..] = header;
    (tag, u32::from_be_bytes(length) as usize + 1)
}

/// Query and Parse (manual 55.7).
fn holds_statement(tag: u8) -> bool {
    matches!(tag, b'Q' | b'P')
}

/// The length of the message that begins here, if its header is there and it holds no statement.
fn passing_message(bytes: &[u8]) -> Option<usize> {
    let (tag, total) = message(*bytes.first_chunk()?);
    (!holds_statement(tag) && total >= HEADER_BYTES).then_some(total)
}

/// A message with a statement, its escaped bytes turned back.
fn with_bytes(message: Vec<u8>) -> Vec<u8> {
    let (header, body) = message.split_at(HEADER_BYTES);
    if !sql::has_escapes_in(body) {
        return message;
    }
    // Parse has numbers behind its texts, which are no UTF-8; a statement ends at its first zero byte.
    let n_texts = if header[0] == b'P' { 2 } else { 1 };
    let zeros = body.iter().enumerate().filter(|(_, byte)| **byte == 0);
    let end = zeros.map(|(at, _)| at + 1).nth(n_texts - 1);
    let (texts, rest) = body.split_at(end.unwrap_or(body.len()));
    let Ok(texts) = std::str::from_utf8(texts) else {
        return message;
    };
    let texts = sql::unescape(texts);
    let length = u32::try_from(4 + texts.len() + rest.len()).expect("shorter than it was");
    let mut out = vec![header[0]];
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&texts);
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    /// Sends `bytes` in pieces of `n_in`, the socket taking at most `n_out` at once.
    fn sent(outgoing: &mut Outgoing, bytes: &[u8], n_in: usize, n_out: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for mut piece in bytes.chunks(n_in) {
            while !piece.is_empty() || !outgoing.waiting().is_empty() {
                let n = outgoing.waiting().len().min(n_out);
                if n > 0 {
                    out.extend_from_slice(&outgoing.waiting()[..n]);
                    outgoing.sent(n);
                    continue;
                }
                let n = match outgoing.step(piece) {
                    Step::Taken(n) => n,
                    Step::Pass(n) => {
                        let n = n.min(n_out);
                        out.extend_from_slice(&piece[..n]);
                        outgoing.passed(piece, n);
                        n
                    }
                };
                piece = &piece[n..];
            }
        }
        out
    }

    #[test]
    fn statements_get_their_bytes_in_any_split_and_nothing_else_changes() {
        let escaped = "SELECT \"caf\u{10FFE9}\"";
        let row = "\u{10FFE9}".as_bytes();
        let parse = |text: &[u8]| [b"\0", text, b"\0\0\x01\0\0\0\x19"].concat();
        let given = [
            framed(b'Q', b"BEGIN\0"),
            framed(b'Q', format!("{escaped}\0").as_bytes()),
            framed(b'd', row),
            framed(b'c', b""),
            framed(b'P', &parse(escaped.as_bytes())),
            framed(b'B', row),
            framed(b'S', b""),
            framed(b'Q', b"\0"),
        ];
        let wanted = [
            framed(b'Q', b"BEGIN\0"),
            framed(b'Q', b"SELECT \"caf\xe9\"\0"),
            framed(b'd', row),
            framed(b'c', b""),
            framed(b'P', &parse(b"SELECT \"caf\xe9\"")),
            framed(b'B', row),
            framed(b'S', b""),
            framed(b'Q', b"\0"),
        ];
        for n_in in 1..given.concat().len() {
            for n_out in [1, 3, 1000] {
                let mut outgoing = Outgoing::default();
                outgoing.begin();
                let found = sent(&mut outgoing, &given.concat(), n_in, n_out);
                assert_eq!(found, wanted.concat(), "{n_in} in, {n_out} out");
            }
        }
    }

    #[test]
    fn before_the_beginning_everything_passes() {
        let mut outgoing = Outgoing::default();
        let start_up = b"\0\0\0\x08\0\x03\0\0".as_slice();
        assert_eq!(sent(&mut outgoing, start_up, 3, 2), start_up);
        outgoing.begin();
        let query = framed(b'Q', "\u{10FFFF}\0".as_bytes());
        assert_eq!(sent(&mut outgoing, &query, 4, 4), framed(b'Q', b"\xff\0"));
    }
}
