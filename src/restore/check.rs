//! Compares what was restored with the archive: each table is streamed back, its fingerprint computed and compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, StreamExt as _};
use tokio::sync::Mutex;

use super::prove::Indexes;
use super::report::{Checked, Difference, Ledger, Skip, object_of};
use super::select::Selection;
use super::shared::Shared;
use crate::archive::Fingerprint;
use crate::archive::fingerprint::RowReader;
use crate::archive::index::CopyFormat;
use crate::error::Result;
use crate::pg::pin::{DumpPins, pin_dump_session};
use crate::pg::{CopySink, Session, connect};
use crate::progress::Event;
use crate::sql::{Ident, Literal, Sql, sql};
use crate::toc::DataOf;

/// Bytes before the tuples of a COPY in binary format, and behind them.
const BINARY_HEADER_BYTES: usize = 19;
const BINARY_TRAILER_BYTES: usize = 2;

/// One comparison: a table, or a partitioned table whose partitions' rows were routed anew.
#[derive(Debug, Clone)]
struct Comparison {
    object: String,
    copy: String,
    format: CopyFormat,
    archived: Fingerprint,
    /// Set if the rows cannot be compared.
    problem: Option<String>,
    /// True for large objects, which not every user may read.
    may_be_denied: bool,
}

/// What is compared with what.
#[derive(Debug, Clone, Copy)]
pub(super) struct CheckCx<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) selection: &'a Selection,
    pub(super) indexes: &'a Indexes,
    /// The archive's.
    pub(super) encoding: &'a str,
    pub(super) ledger: &'a Ledger,
}

/// Streams the tables back, on `n_workers` connections of its own, or on `within`, whose open transaction has them; it is
/// given back. Tables that the ledger knows to be bad are left out.
///
/// Errors: if no connection is to be had, or a table cannot be read.
pub(super) async fn compare(
    cx: &CheckCx<'_>,
    n_workers: usize,
    within: Option<Session>,
) -> Result<(Checked, Option<Session>)> {
    let shared = cx.shared;
    let comparisons = plan(cx.selection, cx.indexes, cx.encoding, cx.ledger);
    let mut sessions = Vec::new();
    let is_within = within.is_some();
    let n_workers = if is_within { 1 } else { n_workers };
    if let Some(session) = within {
        pin(shared, &session).await?;
        sessions.push(session);
    }
    while !is_within && sessions.len() < n_workers.min(comparisons.len()) {
        sessions.push(open(shared).await?);
    }
    let sessions = Arc::new(Mutex::new(sessions));
    let outcomes: Vec<(Comparison, Result<Fingerprint, Skip>)> = stream::iter(comparisons)
        .map(|comparison| {
            let sessions = Arc::clone(&sessions);
            async move {
                let outcome = if let Some(problem) = &comparison.problem {
                    Err(Skip {
                        object: comparison.object.clone(),
                        reason: problem.clone(),
                    })
                } else {
                    let session = sessions.lock().await.pop();
                    let session = session.expect("no more comparisons run than there are sessions");
                    let outcome = if is_within {
                        fingerprint_within(&session, &comparison, shared).await
                    } else {
                        fingerprint(&session, &comparison, shared).await
                    };
                    sessions.lock().await.push(session);
                    outcome
                };
                (comparison, outcome)
            }
        })
        .buffer_unordered(n_workers)
        .collect()
        .await;
    let mut all = std::mem::take(&mut *sessions.lock().await);
    let within = is_within.then(|| all.pop()).flatten();
    futures::future::join_all(all.into_iter().map(Session::close)).await;
    Ok((judge(outcomes), within))
}

/// As [`fingerprint`], in a transaction that must outlive a failure.
async fn fingerprint_within(
    session: &Session,
    comparison: &Comparison,
    shared: &Shared,
) -> Result<Fingerprint, Skip> {
    let run = async |text: &str| {
        let outcome = session.batch(&comparison.object, "check", text).await;
        outcome.map_err(|error| Skip {
            object: comparison.object.clone(),
            reason: super::report::chain(&error),
        })
    };
    run("SAVEPOINT pgark").await?;
    let outcome = fingerprint(session, comparison, shared).await;
    run("ROLLBACK TO SAVEPOINT pgark;\nRELEASE SAVEPOINT pgark").await?;
    outcome
}

fn judge(outcomes: Vec<(Comparison, Result<Fingerprint, Skip>)>) -> Checked {
    let mut checked = Checked::default();
    for (comparison, outcome) in outcomes {
        match outcome {
            Err(skip) => checked.not_compared.push(skip),
            Ok(restored) => {
                checked.n_tables += u64::from(!comparison.may_be_denied);
                if restored != comparison.archived {
                    checked.different.push(Difference {
                        object: comparison.object,
                        archived: comparison.archived.to_string(),
                        restored: restored.to_string(),
                    });
                }
            }
        }
    }
    checked.different.sort_by(|a, b| a.object.cmp(&b.object));
    checked.not_compared.sort_by(|a, b| a.object.cmp(&b.object));
    checked
}

async fn open(shared: &Shared) -> Result<Session> {
    let session = connect(&shared.settings, "restore").await?;
    pin(shared, &session).await?;
    shared.note(&session);
    Ok(session)
}

async fn pin(shared: &Shared, session: &Session) -> Result<()> {
    let pins = DumpPins {
        role: shared.role.as_ref(),
        ..DumpPins::default()
    };
    session
        .pin(&pin_dump_session(session.version(), &pins))
        .await
}

fn plan(
    selection: &Selection,
    indexes: &Indexes,
    encoding: &str,
    ledger: &Ledger,
) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    let mut roots: BTreeMap<String, (Comparison, Vec<String>)> = BTreeMap::new();
    for index in indexes.values() {
        let entry = selection.entry(index.entry);
        let archived = Fingerprint::parse(&index.fingerprint, index.n_rows)
            .expect("the data index was found sound before the first change");
        let one = |source: &Sql, object: String| Comparison {
            object,
            copy: copy_out(source, &index.columns, index.format, encoding),
            format: index.format,
            archived,
            problem: (ledger.is_bad(index.entry) || ledger.left_out.contains_key(&index.entry))
                .then(|| "its rows are not all there".to_owned()),
            may_be_denied: false,
        };
        match entry
            .data
            .as_ref()
            .expect("only entries with rows have an index")
        {
            DataOf::LargeObjects => comparisons.push(Comparison {
                copy: large_objects(index.format),
                problem: (!selection.is_whole)
                    .then(|| "the target has large objects of its own".to_owned()),
                may_be_denied: true,
                ..one(&Sql::default(), object_of(entry))
            }),
            DataOf::Table {
                via_root: Some(root),
                ..
            } => {
                let object = format!("partitions of {}", root.text());
                let new = one(root, object);
                match roots.entry(root.text()) {
                    std::collections::btree_map::Entry::Vacant(place) => {
                        place.insert((new, index.columns.clone()));
                    }
                    std::collections::btree_map::Entry::Occupied(mut known) => {
                        let (sum, columns) = known.get_mut();
                        sum.archived.merge(&new.archived);
                        if *columns != index.columns {
                            sum.problem =
                                Some("its partitions have different column orders".to_owned());
                        }
                        sum.problem = sum.problem.take().or(new.problem);
                    }
                }
            }
            DataOf::Table {
                target, condition, ..
            } => {
                let condition = condition.as_ref().map(|condition| sql![" ", condition]);
                comparisons.push(one(&sql!["ONLY ", target, condition], object_of(entry)));
            }
        }
    }
    comparisons.extend(roots.into_values().map(|(comparison, _)| comparison));
    comparisons
}

fn copy_out(source: &Sql, columns: &[String], format: CopyFormat, encoding: &str) -> String {
    let columns: Vec<Ident> = columns.iter().map(Ident::new).collect();
    sql![
        "COPY (SELECT ",
        Sql::list(&columns),
        " FROM ",
        source,
        ") TO STDOUT (FORMAT ",
        word(format),
        ", ENCODING ",
        Literal(encoding),
        ")"
    ]
    .text()
}

fn word(format: CopyFormat) -> &'static str {
    match format {
        CopyFormat::Text => "text",
        CopyFormat::Binary => "binary",
    }
}

/// The pages as the dump reads them.
fn large_objects(format: CopyFormat) -> String {
    let pages = "SELECT loid, pageno::pg_catalog.int8 * 2048, data FROM pg_catalog.pg_largeobject";
    format!("COPY ({pages}) TO STDOUT (FORMAT {})", word(format))
}

async fn fingerprint(
    session: &Session,
    comparison: &Comparison,
    shared: &Shared,
) -> Result<Fingerprint, Skip> {
    let skip = |reason: String| Skip {
        object: comparison.object.clone(),
        reason,
    };
    let found = Arc::new(std::sync::Mutex::new(None));
    let sink = Box::new(FingerprintSink::new(comparison.format, Arc::clone(&found)));
    let (_, n_rows) = session
        .copy_out(&comparison.object, "COPY OUT", &comparison.copy, sink)
        .await;
    let n_rows = match n_rows {
        Ok(n_rows) => n_rows,
        Err(error) if comparison.may_be_denied && error.sqlstate() == Some("42501") => {
            return Err(skip("the user may not read them".to_owned()));
        }
        Err(error) => return Err(skip(super::report::chain(&error))),
    };
    shared.progress.event(Event::Rows(n_rows));
    shared
        .progress
        .event(Event::Task(comparison.object.clone()));
    let taken = found
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    match taken {
        Some(Ok(fingerprint)) => Ok(fingerprint),
        Some(Err(problem)) => Err(skip(problem.to_owned())),
        None => Err(skip("the server sent no rows' end".to_owned())),
    }
}

type Found = Arc<std::sync::Mutex<Option<Result<Fingerprint, &'static str>>>>;

/// Computes a fingerprint and keeps no row.
struct FingerprintSink {
    reader: Option<RowReader>,
    format: CopyFormat,
    /// Bytes of the binary header still to come.
    header_left: usize,
    /// The last bytes, which may be the binary trailer.
    held: Vec<u8>,
    found: Found,
}

impl FingerprintSink {
    fn new(format: CopyFormat, found: Found) -> FingerprintSink {
        FingerprintSink {
            reader: Some(RowReader::new(format)),
            format,
            header_left: match format {
                CopyFormat::Text => 0,
                CopyFormat::Binary => BINARY_HEADER_BYTES,
            },
            held: Vec::new(),
            found,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.push(bytes);
        }
    }

    /// Passes on everything but the header and what may be the trailer.
    fn push_binary(&mut self, mut bytes: &[u8]) {
        let skipped = self.header_left.min(bytes.len());
        self.header_left -= skipped;
        bytes = &bytes[skipped..];
        if bytes.len() < BINARY_TRAILER_BYTES {
            self.held.extend_from_slice(bytes);
            let spare = self.held.len().saturating_sub(BINARY_TRAILER_BYTES);
            let free: Vec<u8> = self.held.drain(..spare).collect();
            self.push(&free);
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.push(&held);
        let (free, last) = bytes.split_at(bytes.len() - BINARY_TRAILER_BYTES);
        self.push(free);
        self.held.extend_from_slice(last);
    }
}

impl CopySink for FingerprintSink {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn begin(&mut self, _: bool) {}

    fn data(&mut self, fragment: &[u8], _: bool) {
        match self.format {
            CopyFormat::Text => self.push(fragment),
            CopyFormat::Binary => self.push_binary(fragment),
        }
    }

    fn end(&mut self) {
        let finished = self.reader.take().map(RowReader::finish);
        *self
            .found
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = finished;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_trailer_of_binary_rows_do_not_count_in_any_split() {
        let tuple = [0_u8, 1, 0, 0, 0, 1, 42];
        let mut stream = vec![7_u8; BINARY_HEADER_BYTES];
        stream.extend_from_slice(&tuple);
        stream.extend_from_slice(&tuple);
        stream.extend_from_slice(&[0xff, 0xff]);
        let mut wanted = RowReader::new(CopyFormat::Binary);
        wanted.push(&[tuple, tuple].concat());
        let wanted = wanted.finish().unwrap();
        for step in 1..stream.len() {
            let found = Found::default();
            let mut sink = FingerprintSink::new(CopyFormat::Binary, Arc::clone(&found));
            for part in stream.chunks(step) {
                sink.data(part, true);
            }
            sink.end();
            assert_eq!(
                found.lock().unwrap().take(),
                Some(Ok(wanted)),
                "step {step}"
            );
        }
    }
}
