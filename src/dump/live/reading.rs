//! Reads segments of an open database: one task, one connection, one chunker, whose cuts go straight to whoever wants the rows.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::lent::Lent;
use super::{Failed, Live, Source};
use crate::archive::chunker::{ChunkSettings, Chunker, Cut, PartEnd};
use crate::archive::index::CopyFormat;
use crate::dump::readers::is_broken;
use crate::dump::sink::{RowSink, end_of_part, row_sink};
use crate::dump::wide_rows::{explain, is_too_wide};
use crate::dump::{large_objects, refusals};
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::toc::EntryId;

/// Rows go on their way after the first one that makes half a mebibyte; a wide one in pieces of one.
const CUTS: ChunkSettings = ChunkSettings {
    bytes_min: 512 << 10,
    bytes_max: 1 << 20,
    cut_bits: 0,
};

/// What comes while segments are read.
#[derive(Debug)]
pub(crate) enum Read {
    /// Bytes of rows.
    Rows(Bytes),
    /// A segment is over: its number, and what it held.
    End(usize, PartEnd),
}

/// Segments of an entry, and the format that was asked for.
#[derive(Debug)]
struct Wanted {
    entry: EntryId,
    segments: Vec<usize>,
    format: CopyFormat,
}

type Ends = Vec<(usize, PartEnd)>;

/// A reading that is under way; dropped, it stops.
struct Reading {
    cuts: mpsc::UnboundedReceiver<Cut>,
    task: JoinSet<Result<Ends>>,
    ends: VecDeque<(usize, PartEnd)>,
}

impl Live {
    /// Reads some segments of an entry one after another. Dropping the stream stops it. The first error ends it.
    pub(crate) fn read(
        self: &Arc<Live>,
        entry: EntryId,
        segments: Vec<usize>,
        format: CopyFormat,
    ) -> BoxStream<'static, Result<Read>> {
        let (sender, cuts) = mpsc::unbounded_channel();
        let wanted = Wanted {
            entry,
            segments,
            format,
        };
        let mut task = JoinSet::new();
        task.spawn(run(Arc::clone(self), wanted, sender));
        let reading = Reading {
            cuts,
            task,
            ends: VecDeque::new(),
        };
        stream::unfold(reading, |mut reading| async {
            let read = reading.next().await?;
            Some((read, reading))
        })
        .boxed()
    }
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Read>> {
        if let Some(cut) = self.cuts.recv().await {
            return Some(Ok(Read::Rows(Bytes::from_owner(cut.bytes))));
        }
        if let Some(ended) = self.task.join_next().await {
            let ended =
                ended.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
            match ended {
                Ok(ends) => self.ends.extend(ends),
                Err(error) => return Some(Err(error)),
            }
        }
        let (segment, end) = self.ends.pop_front()?;
        Some(Ok(Read::End(segment, end)))
    }
}

/// What is read, for messages and for the server.
struct Copy {
    object: String,
    step: String,
    statement: String,
}

async fn run(live: Arc<Live>, wanted: Wanted, cuts: mpsc::UnboundedSender<Cut>) -> Result<Ends> {
    let source = live
        .sources
        .get(&wanted.entry)
        .expect("only entries of its own list are asked for");
    let mut lent = match Lent::reader(&live).await {
        Ok(lent) => lent,
        Err(error) => {
            // Said by whoever asks why nothing can be read any more.
            let _ = live.end.set(in_one_line(&error));
            return Err(error);
        }
    };
    let outcome = async {
        if let Source::Table { plan, .. } = source
            && !lent.lock(plan).await?
        {
            lent = Lent::coordinator(&live).await?;
        }
        read(&live, &wanted, &mut lent, cuts).await
    }
    .await;
    outcome.map_err(|error| {
        lent.has_failed = true;
        live.judge(error, &wanted, &lent)
    })
}

async fn read(
    live: &Live,
    wanted: &Wanted,
    lent: &mut Lent,
    cuts: mpsc::UnboundedSender<Cut>,
) -> Result<Ends> {
    let pool = lent.pool();
    let chunker = Chunker::new(CUTS, wanted.format, pool.acquire().await);
    // Bytes and rows are told by those who load them.
    let mut sink = RowSink::new(chunker, pool, cuts, Arc::new(Silent), Arc::default());
    let mut ends = Vec::with_capacity(wanted.segments.len());
    for segment in &wanted.segments {
        let copy = live.copy(wanted, *segment);
        lent.is_reading = true;
        let (back, n_rows) = lent
            .session()
            .copy_out(&copy.object, &copy.step, &copy.statement, Box::new(sink))
            .await;
        lent.is_reading = false;
        sink = row_sink(back);
        let end = end_of_part(&mut sink, n_rows?, &copy.object, &copy.step)?;
        ends.push((*segment, end));
    }
    sink.finish();
    Ok(ends)
}

impl Live {
    fn copy(&self, wanted: &Wanted, segment: usize) -> Copy {
        match &self.sources[&wanted.entry] {
            Source::Table { plan, .. } => {
                let cell = (!plan.cells.is_empty()).then_some(segment);
                let binary = wanted.format == CopyFormat::Binary;
                Copy {
                    object: format!("table {}", plan.name),
                    step: plan.step(cell),
                    statement: plan.copy_statement(cell, binary).text(),
                }
            }
            Source::LargeObjects(ranges) => {
                let loids = ranges[segment];
                let statement = large_objects::copy_statement(loids, self.pages_readable);
                Copy {
                    object: "large objects".to_owned(),
                    step: format!("COPY OUT of numbers from {}", loids.0),
                    statement: statement.text(),
                }
            }
        }
    }

    /// Notes a failure after which another try may succeed, and explains it.
    fn judge(&self, error: Error, wanted: &Wanted, lent: &Lent) -> Error {
        let first = wanted.segments.first().copied().unwrap_or(0);
        let broken = is_broken(lent.session(), &error);
        let plan = match &self.sources[&wanted.entry] {
            Source::Table { plan, .. } => Some(plan),
            Source::LargeObjects(_) => None,
        };
        let may_turn =
            wanted.format == CopyFormat::Text && plan.is_some_and(|plan| plan.binary_works);
        let failed = if broken {
            Some(Failed::Broken(error.to_string()))
        } else {
            (may_turn && is_too_wide(&error)).then_some(Failed::TooWide)
        };
        if let Some(failed) = failed {
            let mut all = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert((wanted.entry, first), failed);
        }
        let cell = plan.filter(|plan| !plan.cells.is_empty()).map(|_| first);
        match plan {
            Some(plan) if !broken => explain(
                refusals::explain(error, &self.facts, self.n_relations),
                plan,
                cell,
            ),
            _ => error,
        }
    }
}

fn in_one_line(error: &Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
