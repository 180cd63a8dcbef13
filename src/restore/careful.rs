//! Loads rows of which some cannot be kept: characters that the target's encoding does not have, bytes that are none. The
//! rows go in by batches, each in a savepoint; a batch that is refused is halved until the guilty rows stand alone, and those
//! are left out and noted. Rows are opaque: only the newline that ends each is looked at.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::copy_in::{self, Fragments};
use super::journal::{Note, Record};
use super::load::Load;
use super::report::{LeftRow, LeftRows, Trouble};
use super::shared::Shared;
use super::text;
use super::worker::Worker;
use crate::archive::index::CopyFormat;
use crate::error::{Error, Result};
use crate::progress::Event;
use crate::sql::{escape, printable};

/// Bytes of rows in a batch.
const BATCH_BYTES: usize = 1 << 20;
/// A row that is longer is not held: it is a batch of its own, sent as it comes.
const WIDE_BYTES: usize = 16 << 20;
/// Rows that are listed for a load; more are counted.
pub(super) const LISTED_MAX: usize = 100;
/// Bytes of a row that are shown.
const SHOWN_BYTES: usize = 40;

const SAVE: &str = "SAVEPOINT pgark_rows";
const KEEP: &str = "RELEASE SAVEPOINT pgark_rows; SAVEPOINT pgark_rows";
const UNDO: &str = "ROLLBACK TO SAVEPOINT pgark_rows";

/// What a piece of work had to leave out.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Rows of a load: how many, and the first of them.
    pub(super) n_rows: u64,
    pub(super) rows: Vec<LeftRow>,
}

/// True if a load may go on without the rows that this error is about.
pub(super) fn may_leave_out(shared: &Shared, load: &Load, trouble: &Trouble) -> bool {
    let is_text = shared.feeding.format(load) == CopyFormat::Text;
    is_text && load.copy_plain.is_some() && text::is_unreadable(&trouble.error)
}

/// Loads what can be loaded, in one transaction.
pub(super) async fn load(
    worker: &mut Worker,
    shared: &Shared,
    load: &Load,
) -> Result<LeftOut, Trouble> {
    worker.begin(&load.object, &[]).await?;
    let outcome = match run(worker, shared, load).await {
        Ok(left_out) => {
            let record = record(load, &left_out);
            let committed = worker.commit(shared, &load.object, &record).await;
            committed.map(|()| left_out).map_err(Trouble::from)
        }
        failed => failed,
    };
    match &outcome {
        Ok(left_out) => {
            let n_rows = shared.feeding.amount(load).0 - left_out.n_rows;
            shared.progress.event(Event::Rows(n_rows));
        }
        Err(_) => worker.roll_back(&load.object).await,
    }
    outcome
}

/// What the journal says of the load, and of what it left out.
fn record(load: &Load, left_out: &LeftOut) -> Record {
    let mut record = Record::of(load.lines.iter().copied());
    if left_out.n_rows > 0 {
        let rows = LeftRows {
            object: load.object.clone(),
            n_rows: left_out.n_rows,
            rows: left_out.rows.clone(),
        };
        record.notes.push((load.entry, Note::LeftOut(rows)));
    }
    record
}

async fn run(worker: &Worker, shared: &Shared, load: &Load) -> Result<LeftOut, Trouble> {
    for statement in load.before.iter().chain(&load.empty_first) {
        copy_in::run(worker, load, statement).await?;
    }
    let place = Place { worker, load };
    let mut loader = Loader {
        place,
        rows: copy_in::fragments(shared, load),
        held: BytesMut::new(),
        ends: Vec::new(),
        n_done: 0,
        left_out: LeftOut::default(),
    };
    place.statement(SAVE).await?;
    loader.all().await.map_err(|error| Trouble {
        error,
        statement: load.copy_plain.clone(),
    })?;
    shared.feeding.note(load, loader.rows.seen());
    let (n_rows, _) = shared.feeding.amount(load);
    if loader.n_done != n_rows {
        return Err(copy_in::wrong_count(load, loader.n_done, n_rows).into());
    }
    Ok(loader.left_out)
}

/// Where the rows go.
#[derive(Clone, Copy)]
struct Place<'a> {
    worker: &'a Worker,
    load: &'a Load,
}

impl<'a> Place<'a> {
    async fn try_rows(&self, rows: Bytes, n_rows: usize) -> Result<()> {
        let mut copy = self.copy().await?;
        copy.send(rows).await?;
        self.keep(copy.finish().await?, n_rows as u64).await
    }

    async fn copy(&self) -> Result<crate::pg::CopyIn<'a>> {
        let statement = self.load.copy_plain.as_deref();
        let statement = statement.expect("only such loads come here");
        let session = self.worker.session();
        session
            .copy_in(&self.load.object, "COPY IN", statement)
            .await
    }

    async fn keep(&self, n_taken: u64, n_rows: u64) -> Result<()> {
        if n_taken != n_rows {
            return Err(copy_in::wrong_count(self.load, n_taken, n_rows));
        }
        self.statement(KEEP).await
    }

    async fn statement(&self, text: &str) -> Result<()> {
        let session = self.worker.session();
        session.batch(&self.load.object, "SAVEPOINT", text).await
    }
}

struct Loader<'a> {
    place: Place<'a>,
    rows: Fragments<'a>,
    /// Bytes that are not loaded yet, beginning with a row.
    held: BytesMut,
    /// Where the whole rows among them end.
    ends: Vec<usize>,
    /// Rows before the held ones.
    n_done: u64,
    left_out: LeftOut,
}

impl Loader<'_> {
    async fn all(&mut self) -> Result<()> {
        while let Some(fragment) = self.rows.next().await? {
            self.hold(&fragment);
            if self.held.len() >= BATCH_BYTES && !self.ends.is_empty() {
                self.batch().await?;
            } else if self.held.len() >= WIDE_BYTES {
                self.wide().await?;
            }
        }
        if !self.ends.is_empty() {
            self.batch().await?;
        }
        if self.held.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt(
            &self.place.load.object,
            "its last row",
            "it has no end",
        ))
    }

    fn hold(&mut self, fragment: &[u8]) {
        let start = self.held.len();
        self.held.extend_from_slice(fragment);
        let newlines = fragment
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n');
        self.ends.extend(newlines.map(|(at, _)| start + at + 1));
    }

    /// Loads the whole rows that are held.
    async fn batch(&mut self) -> Result<()> {
        let ends = std::mem::take(&mut self.ends);
        let n_bytes = *ends.last().expect("only called with a whole row");
        let rows = self.held.split_to(n_bytes).freeze();
        // The last one is the next to be tried, so that rows stay in order.
        let mut open: Vec<Range<usize>> = std::iter::once(0..ends.len()).collect();
        while let Some(some) = open.pop() {
            let Err(error) = self
                .place
                .try_rows(slice(&rows, &ends, &some), some.len())
                .await
            else {
                continue;
            };
            if !text::is_unreadable(&error) {
                return Err(error);
            }
            self.place.statement(UNDO).await?;
            if some.len() == 1 {
                let row = slice(&rows, &ends, &some);
                self.leave_out(some.start as u64, &row, &error);
            } else {
                let middle = some.start + some.len() / 2;
                open.extend([middle..some.end, some.start..middle]);
            }
        }
        self.n_done += ends.len() as u64;
        Ok(())
    }

    /// Sends the row that is held in part as it comes; what follows it is held.
    async fn wide(&mut self) -> Result<()> {
        let beginning = self.held.split().freeze();
        let place = self.place;
        let mut copy = place.copy().await?;
        let mut refused = copy.send(beginning.clone()).await.err();
        loop {
            let Some(fragment) = self.rows.next().await? else {
                return Err(Error::corrupt(
                    &self.place.load.object,
                    "its last row",
                    "it has no end",
                ));
            };
            let end = fragment.iter().position(|byte| *byte == b'\n');
            let part = fragment.slice(..end.map_or(fragment.len(), |at| at + 1));
            if refused.is_none() {
                refused = copy.send(part.clone()).await.err();
            }
            if end.is_some() {
                self.hold(&fragment[part.len()..]);
                break;
            }
        }
        let outcome = match refused {
            Some(error) => Err(error),
            None => copy.finish().await,
        };
        match outcome {
            Ok(n_rows) => place.keep(n_rows, 1).await?,
            Err(error) if text::is_unreadable(&error) => {
                self.place.statement(UNDO).await?;
                self.leave_out(0, &beginning, &error);
            }
            Err(error) => return Err(error),
        }
        self.n_done += 1;
        Ok(())
    }

    /// Notes a row, `n_before` rows after those that are done.
    fn leave_out(&mut self, n_before: u64, row: &[u8], error: &Error) {
        self.left_out.n_rows += 1;
        if self.left_out.rows.len() >= LISTED_MAX {
            return;
        }
        let (segment, line) = place(&self.place.load.segment_rows, self.n_done + n_before);
        let message = match error {
            Error::Sql { source, .. } => source
                .as_db_error()
                .map_or_else(|| source.to_string(), |server| server.message().to_owned()),
            other => other.to_string(),
        };
        self.left_out.rows.push(LeftRow {
            segment,
            line,
            begins: beginning(row),
            message,
        });
    }
}

/// Some of the rows.
fn slice(rows: &Bytes, ends: &[usize], some: &Range<usize>) -> Bytes {
    let from = some.start.checked_sub(1).map_or(0, |before| ends[before]);
    rows.slice(from..ends[some.end - 1])
}

/// Segment, and line in it counted from 1, of a row of a load.
fn place(segment_rows: &[(usize, u64)], row: u64) -> (usize, u64) {
    let mut before = 0;
    for (segment, n_rows) in segment_rows {
        if row < before + n_rows {
            return (*segment, row - before + 1);
        }
        before += n_rows;
    }
    (
        segment_rows.last().map_or(0, |(segment, _)| *segment),
        row - before + 1,
    )
}

/// The row's first column, or the beginning of it: usually the key.
fn beginning(row: &[u8]) -> String {
    let column = row.split(|byte| matches!(byte, b'\t' | b'\n')).next();
    let column = column.unwrap_or_default();
    let shown = &column[..column.len().min(SHOWN_BYTES)];
    let mut text = printable(&escape(shown));
    if shown.len() < column.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_in_its_segment() {
        let segments = [(3, 2), (4, 0), (5, 10)];
        let places = [0, 1, 2, 11].map(|row| place(&segments, row));
        assert_eq!(places, [(3, 1), (3, 2), (5, 1), (5, 10)]);
    }

    #[test]
    fn rows_are_cut_out_of_their_batch() {
        let rows = Bytes::from_static(b"a\nbb\nc\n");
        let ends = [2, 5, 7];
        assert_eq!(slice(&rows, &ends, &(0..1)), "a\n");
        assert_eq!(slice(&rows, &ends, &(1..3)), "bb\nc\n");
    }

    #[test]
    fn a_key_is_shown_whatever_its_bytes() {
        assert_eq!(beginning(b"12\tx\n"), "12");
        assert_eq!(beginning(b"caf\xe9\n"), "caf\\xE9");
        assert_eq!(beginning(&[b'x'; 50]), format!("{}…", "x".repeat(40)));
        // Cut inside of a character.
        let long = "ä".repeat(30);
        assert_eq!(beginning(&long.as_bytes()[1..]).chars().last(), Some('…'));
    }
}
