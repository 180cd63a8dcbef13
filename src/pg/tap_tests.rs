//! The tap against any messages in any split: what passes is unchanged, what is diverted is complete.

use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::*;

/// Hands out pieces, one per read, with a pause before each.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    paused: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.paused = !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(mut piece) = self.pieces.pop_front() {
            let rest = piece.split_off(piece.len().min(out.remaining()));
            out.put_slice(&piece);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    events: Vec<String>,
    open: Vec<u8>,
    refused: Option<String>,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Seen>>);

impl CopySink for Recorder {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    fn begin(&mut self, binary: bool) {
        self.0
            .lock()
            .unwrap()
            .events
            .push(format!("begin {binary}"));
    }
    fn data(&mut self, fragment: &[u8], ends_message: bool) {
        let mut seen = self.0.lock().unwrap();
        assert!(
            !fragment.is_empty() || (ends_message && seen.open.is_empty()),
            "only an empty message has an empty piece"
        );
        seen.open.extend_from_slice(fragment);
        if ends_message {
            let row = std::mem::take(&mut seen.open);
            seen.events.push(format!("row {row:?}"));
        }
    }
    fn end(&mut self) {
        self.0.lock().unwrap().events.push("end".to_owned());
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

fn read_all(
    pieces: Vec<Vec<u8>>,
    buffer_bytes: usize,
    out_bytes: usize,
    sink: bool,
) -> (Vec<u8>, Seen) {
    let recorder = Recorder::default();
    let inner = Pieces {
        pieces: pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect(),
        paused: false,
    };
    let (mut tap, handle) = Tap::with_buffer(inner, buffer_bytes);
    if sink {
        handle.install(Box::new(recorder.clone()));
    }
    let mut passed = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut room = vec![0; out_bytes];
        let mut out = ReadBuf::new(&mut room);
        match Pin::new(&mut tap).poll_read(&mut cx, &mut out) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(problem)) => {
                assert_eq!(problem.kind(), io::ErrorKind::InvalidData);
                recorder.0.lock().unwrap().refused = Some(problem.to_string());
                break;
            }
            Poll::Pending => continue,
        }
        if out.filled().is_empty() {
            break;
        }
        passed.extend_from_slice(out.filled());
    }
    let seen = recorder.0.lock().unwrap().clone();
    (passed, seen)
}

fn any_message() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let tag = prop_oneof![
        4 => Just(b'd'),
        1 => Just(b'c'),
        3 => prop::sample::select(vec![b'C', b'Z', b'E', b'N', b'S', b'T', b'D', b'K', b'R']),
    ];
    let any = (tag, prop::collection::vec(any::<u8>(), 0..40));
    let begin = prop::collection::vec(0..2_u8, 1..6);
    prop_oneof![6 => any, 1 => begin.prop_map(|body| (b'H', body))]
}

fn split(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    at.push(bytes.len());
    let mut start = 0;
    let mut pieces = Vec::new();
    for end in at {
        pieces.push(bytes[start..end].to_vec());
        start = end;
    }
    pieces
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        messages in prop::collection::vec(any_message(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        tail in prop::collection::vec(any::<u8>(), 0..5),
        buffer_bytes in 16_usize..64,
        out_bytes in 1_usize..50,
        sink: bool,
    ) {
        let (mut bytes, mut passed, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for (tag, body) in &messages {
            let whole = message(*tag, body);
            match tag {
                b'H' if sink => events.push(format!("begin {}", body[0] == 1)),
                b'd' if sink => events.push(format!("row {body:?}")),
                b'c' if sink => events.push("end".to_owned()),
                _ => passed.extend_from_slice(&whole),
            }
            bytes.extend(whole);
        }
        // A stream that ends inside a header.
        bytes.extend_from_slice(&tail[..tail.len().min(4)]);
        passed.extend_from_slice(&tail[..tail.len().min(4)]);
        let (got, seen) = read_all(split(&bytes, &cuts), buffer_bytes, out_bytes, sink);
        prop_assert_eq!(got, passed);
        prop_assert_eq!(seen.events, events);
    }

    #[test]
    fn what_is_not_the_protocol_passes_or_is_an_error_but_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (got, seen) = read_all(split(&bytes, &cuts), 16, 7, false);
        if seen.refused.is_some() {
            prop_assert!(bytes.starts_with(&got));
        } else {
            prop_assert_eq!(got, bytes);
        }
    }
}

#[test]
fn a_message_too_long_is_refused_at_its_header() {
    let ready = message(b'Z', b"I");
    let announced = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
    let read = |bytes: &[u8]| read_all(vec![bytes.to_vec()], 64, 50, false);
    // Nobody is known yet: no message may be long.
    for tag in [b'R', b'E', b'D', b'S'] {
        let (passed, seen) = read(&announced(tag, 30_001));
        assert_eq!(passed, b"");
        assert!(seen.refused.unwrap().contains("30001 bytes"), "{tag}");
    }
    for (tag, longest) in [(b'D', (1 << 30) + 5), (b'E', 16 << 20), (b'C', 30_000)] {
        let fits = [&ready[..], &announced(tag, longest)].concat();
        assert_eq!(read(&fits).1.refused, None);
        let (passed, seen) = read(&[&ready[..], &announced(tag, longest + 1)].concat());
        assert_eq!(passed, ready);
        assert!(
            seen.refused.unwrap().contains("longer than any may be"),
            "{tag}"
        );
    }
    let (_, seen) = read(b"HTTP/1.1 400 Bad Request");
    assert!(seen.refused.unwrap().contains("longer than any may be"));
}

/// Stops the tap until it is opened.
struct Gate {
    open: bool,
    rows: Arc<Mutex<usize>>,
}

impl CopySink for Gate {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.open {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
    fn begin(&mut self, _: bool) {}
    fn data(&mut self, _: &[u8], _: bool) {
        *self.rows.lock().unwrap() += 1;
    }
    fn end(&mut self) {}
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn a_full_sink_stops_the_reading_and_taking_it_away_starts_it_again() {
    let rows = Arc::new(Mutex::new(0));
    let pieces = [
        [message(b'H', &[0]), message(b'd', b"1\n")].concat(),
        message(b'd', b"2\n"),
        message(b'c', b""),
        [message(b'C', b"COPY 2\0"), message(b'Z', b"I")].concat(),
    ];
    let inner = Pieces {
        pieces: pieces.into(),
        paused: true,
    };
    let (mut tap, handle) = Tap::with_buffer(inner, 64);
    handle.install(Box::new(Gate {
        open: false,
        rows: Arc::clone(&rows),
    }));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let mut room = [0; 64];
    let mut out = ReadBuf::new(&mut room);
    assert!(Pin::new(&mut tap).poll_read(&mut cx, &mut out).is_pending());
    assert!(handle.is_busy());
    assert_eq!((*rows.lock().unwrap(), tap.inner().pieces.len()), (1, 3));
    handle.abandon();
    assert_eq!(woken.0.load(std::sync::atomic::Ordering::SeqCst), 1);
    while out.filled().is_empty() {
        let _ = Pin::new(&mut tap).poll_read(&mut cx, &mut out);
    }
    let passed = [message(b'C', b"COPY 2\0"), message(b'Z', b"I")].concat();
    assert_eq!(out.filled(), passed);
    assert_eq!(*rows.lock().unwrap(), 1, "the rest is thrown away");
    assert!(handle.is_busy() && handle.is_abandoned());
    handle.install(Box::new(Discard));
    assert!(!handle.is_busy());
}

#[test]
fn several_copies_in_one_answer_are_told_apart_and_only_their_tags_pass() {
    let answer = [
        message(b'H', &[0, 0, 1]),
        message(b'd', b"1\n"),
        message(b'c', b""),
        message(b'C', b"COPY 1\0"),
        message(b'H', &[0, 0, 0]),
        message(b'c', b""),
        message(b'C', b"COPY 0\0"),
        message(b'H', &[0, 0, 1]),
        message(b'd', b"2\n"),
        message(b'E', b"SERROR\0\0"),
        message(b'Z', b"E"),
    ]
    .concat();
    let passed = [
        message(b'C', b"COPY 1\0"),
        message(b'C', b"COPY 0\0"),
        message(b'E', b"SERROR\0\0"),
        message(b'Z', b"E"),
    ]
    .concat();
    let row = |text: &[u8]| format!("row {text:?}");
    let begin = "begin false".to_owned();
    let end = "end".to_owned();
    let events = [
        begin.clone(),
        row(b"1\n"),
        end.clone(),
        begin.clone(),
        end,
        begin,
        row(b"2\n"),
    ];
    for cut in 0..answer.len() {
        let (got, seen) = read_all(split_at(&answer, cut).into(), 16, 7, true);
        assert_eq!(got, passed);
        assert_eq!(seen.events, events);
    }
}

#[test]
fn a_sink_is_asked_between_the_copies_of_one_answer_too() {
    let pieces = [
        [message(b'H', &[0]), message(b'c', b"")].concat(),
        [message(b'H', &[0]), message(b'd', b"1\n")].concat(),
    ];
    let inner = Pieces {
        pieces: pieces.into(),
        paused: true,
    };
    let (mut tap, handle) = Tap::with_buffer(inner, 64);
    handle.install(Box::new(Gate {
        open: false,
        rows: Arc::default(),
    }));
    let mut cx = Context::from_waker(Waker::noop());
    let mut room = [0; 64];
    for _ in 0..4 {
        let mut out = ReadBuf::new(&mut room);
        assert!(Pin::new(&mut tap).poll_read(&mut cx, &mut out).is_pending());
    }
    assert_eq!(tap.inner().pieces.len(), 1);
}

#[test]
fn the_backend_key_and_errors_are_noticed_in_passing() {
    let bytes = [
        message(b'K', &[0, 0, 1, 2, 255, 255, 255, 254]),
        message(b'E', b"SERROR\0\0"),
    ]
    .concat();
    for cut in 0..bytes.len() {
        let inner = Pieces {
            pieces: split_at(&bytes, cut),
            paused: false,
        };
        let (mut tap, handle) = Tap::with_buffer(inner, 64);
        let mut passed = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while passed.len() < bytes.len() {
            let mut room = [0; 64];
            let mut out = ReadBuf::new(&mut room);
            let _ = Pin::new(&mut tap).poll_read(&mut cx, &mut out);
            passed.extend_from_slice(out.filled());
        }
        assert_eq!(passed, bytes);
        let key = handle.key().unwrap();
        assert_eq!((key.pid, key.secret), (258, -2));
        assert_eq!(handle.n_errors(), 1);
    }
}

fn split_at(bytes: &[u8], cut: usize) -> VecDeque<Vec<u8>> {
    let (head, tail) = bytes.split_at(cut);
    [head, tail]
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}
