//! Reads the planned rows: workers take jobs, rows run through the tap into chunkers, chunks into the store.
//! A table whose lock is refused because somebody's ALTER waits is read on the coordinator's connection, which holds the lock already.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::SimpleQueryMessage;

use super::large_objects;
use super::plan::{DataPlan, Job, TablePlan};
use super::sink::RowSink;
use crate::archive::buffer::BufferPool;
use crate::archive::chunker::{ChunkSettings, Chunker, Cut, PartEnd};
use crate::archive::chunks::{ChunkStore, Pieces};
use crate::archive::digest::Digest;
use crate::archive::index::{ChunkPiece, CopyFormat};
use crate::error::{Error, Result};
use crate::pg::{Session, SnapshotReader};
use crate::progress::{Event, Progress};
use crate::sql::{Literal, Sql, sql};

/// Chunks of one chunker that are packed or put at once.
const STORING_AT_ONCE: usize = 2;

/// The rows of one cell, one whole table, or one range of large objects.
#[derive(Debug)]
pub(super) struct SegmentRead {
    /// The table's place in the plan; `None` for large objects.
    pub table: Option<usize>,
    /// The cell, or the range of large objects.
    pub number: usize,
    /// First block and the one after the last, for cells.
    pub blocks: Option<(u32, Option<u32>)>,
    /// How the rows were read.
    pub format: CopyFormat,
    /// Rows, bytes and fingerprint.
    pub end: PartEnd,
    /// Where they are stored.
    pub pieces: Vec<ChunkPiece>,
}

/// What came of the reading.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Every segment, in no order.
    pub segments: Vec<SegmentRead>,
    /// Stored bytes of each chunk, and whether it was new to the store.
    pub chunks: HashMap<Digest, (u64, bool)>,
}

/// What the workers share.
#[derive(Debug)]
pub(super) struct Reading {
    /// The plan.
    pub plan: DataPlan,
    /// Where chunks go.
    pub chunks: ChunkStore,
    /// How they are cut.
    pub settings: ChunkSettings,
    /// Memory for them.
    pub pool: BufferPool,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// True if the pages of large objects may be read themselves.
    pub pages_readable: bool,
    queue: Mutex<VecDeque<Job>>,
    /// Tables of which text could not carry a row.
    binary: Vec<AtomicBool>,
    read: Mutex<Read>,
    /// One permit per reader: packed chunks are not in the pool's buffers, and a slow store must not gather them.
    storing: Semaphore,
}

type Storing = JoinHandle<Result<Pieces>>;

impl Reading {
    /// Begins with every job of the plan in the queue.
    pub(super) fn new(
        plan: DataPlan,
        chunks: ChunkStore,
        settings: ChunkSettings,
        pool: BufferPool,
        progress: Arc<dyn Progress>,
    ) -> Reading {
        let queue = Mutex::new(plan.jobs.iter().cloned().collect());
        let binary = plan.tables.iter().map(|_| AtomicBool::new(false)).collect();
        Reading {
            plan,
            chunks,
            settings,
            pool,
            progress,
            pages_readable: true,
            queue,
            binary,
            read: Mutex::default(),
            storing: Semaphore::new(0),
        }
    }

    /// Reads everything. The first error ends it: the other workers are stopped and their statements cancelled.
    pub(super) async fn run(
        self,
        coordinator: &Session,
        readers: Vec<SnapshotReader>,
    ) -> Result<Read> {
        self.storing.add_permits(readers.len().max(1));
        let shared = Arc::new(self);
        let (refused, to_coordinator) = mpsc::unbounded_channel();
        let cancellers: Vec<_> = readers
            .iter()
            .map(|reader| reader.session().canceller())
            .collect();
        let mut workers = JoinSet::new();
        for reader in readers {
            let worker = Worker::new(Arc::clone(&shared), Some(refused.clone()));
            workers.spawn(worker.run(reader));
        }
        drop(refused);
        let mut own = Worker::new(Arc::clone(&shared), None);
        let done = tokio::try_join!(
            all_done(&mut workers),
            own.run_refused(coordinator, to_coordinator)
        );
        if let Err(error) = done {
            workers.abort_all();
            let cancelled = cancellers.iter().map(crate::pg::Canceller::cancel);
            futures::future::join_all(cancelled).await;
            return Err(error);
        }
        drop(own);
        let shared = Arc::into_inner(shared).expect("all workers have ended");
        Ok(shared
            .read
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    fn next_job(&self) -> Option<Job> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn format(&self, table: usize) -> CopyFormat {
        if self.binary[table].load(Ordering::Acquire) {
            CopyFormat::Binary
        } else {
            CopyFormat::Text
        }
    }

    /// Puts a table back into the queue to be read in binary, once; what was read of it as text is forgotten at the end.
    fn read_in_binary(&self, table: usize) {
        if self.binary[table].swap(true, Ordering::AcqRel) {
            return;
        }
        let plan = &self.plan.tables[table];
        self.progress.event(Event::Warning(format!(
            "table {}: COPY text cannot carry one of its rows; reading it in binary",
            plan.name
        )));
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|job| !matches!(job, Job::Cell { table: other, .. } if *other == table));
        if plan.cells.is_empty() {
            queue.push_front(Job::Whole { table });
        }
        for cell in (0..plan.cells.len()).rev() {
            queue.push_front(Job::Cell { table, cell });
        }
    }

    fn put_back(&self, job: Job) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_front(job);
    }

    /// A sink with a task behind it that stores what it cuts.
    fn open(
        self: &Arc<Self>,
        format: CopyFormat,
        buffer: crate::archive::buffer::Buffer,
    ) -> (RowSink, Storing) {
        let (cuts, to_store) = mpsc::unbounded_channel();
        let chunker = Chunker::new(self.settings, format, buffer);
        let sink = RowSink::new(chunker, self.pool.clone(), cuts, Arc::clone(&self.progress));
        (sink, tokio::spawn(store_cuts(Arc::clone(self), to_store)))
    }

    fn keep(&self, segment: SegmentRead) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.segments.push(segment);
    }
}

async fn all_done(workers: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = workers.join_next().await {
        match ended {
            Ok(outcome) => outcome?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    Ok(())
}

/// Where a failed COPY returns to without losing the snapshot.
async fn set_savepoint(session: &Session) -> Result<()> {
    session
        .batch(
            "a reader's transaction",
            "SAVEPOINT",
            "SAVEPOINT pgark_read",
        )
        .await
}

async fn store_cuts(reading: Arc<Reading>, cuts: mpsc::UnboundedReceiver<Cut>) -> Result<Pieces> {
    let cuts = futures::stream::unfold(cuts, |mut cuts| async { Some((cuts.recv().await?, cuts)) });
    let stored = cuts
        .map(
            |Cut {
                 number,
                 bytes,
                 spans,
             }| {
                let reading = &reading;
                async move {
                    let slot = reading.storing.acquire().await;
                    let _slot = slot.expect("the semaphore is never closed");
                    Ok::<_, Error>((number, spans, reading.chunks.put(bytes).await?))
                }
            },
        )
        .buffer_unordered(STORING_AT_ONCE);
    let mut stored = std::pin::pin!(stored);
    let mut pieces = Pieces::default();
    while let Some(one) = stored.next().await {
        let (number, spans, stored) = one?;
        pieces.add(number, &spans, &stored.chunk);
        if stored.new {
            reading
                .progress
                .event(Event::Stored(stored.chunk.stored_bytes));
        }
        let mut read = reading.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.chunks.entry(stored.chunk.chunk);
        let (_, new) = known.or_insert((stored.chunk.stored_bytes, false));
        *new |= stored.new;
    }
    Ok(pieces)
}

/// A segment whose rows are read, while its last chunks are still being stored.
struct Unfinished {
    segments: Vec<SegmentRead>,
    storing: Storing,
}

/// One connection's share of the work.
struct Worker {
    reading: Arc<Reading>,
    /// Where tables go whose lock is refused; `None` for the coordinator, which needs no lock of its own.
    refused: Option<mpsc::UnboundedSender<Job>>,
    locked: HashSet<usize>,
    unfinished: VecDeque<Unfinished>,
}

impl Worker {
    fn new(reading: Arc<Reading>, refused: Option<mpsc::UnboundedSender<Job>>) -> Worker {
        Worker {
            reading,
            refused,
            locked: HashSet::new(),
            unfinished: VecDeque::new(),
        }
    }

    async fn run(mut self, reader: SnapshotReader) -> Result<()> {
        set_savepoint(reader.session()).await?;
        while let Some(job) = self.reading.next_job() {
            self.job(reader.session(), job).await?;
        }
        self.settle(0).await?;
        reader.finish().await?.close().await;
        Ok(())
    }

    async fn run_refused(
        &mut self,
        session: &Session,
        mut jobs: mpsc::UnboundedReceiver<Job>,
    ) -> Result<()> {
        set_savepoint(session).await?;
        while let Some(job) = jobs.recv().await {
            self.job(session, job).await?;
        }
        // A table that turned to binary here has its cells in the queue again.
        while let Some(job) = self.reading.next_job() {
            self.job(session, job).await?;
        }
        self.settle(0).await
    }

    async fn job(&mut self, session: &Session, job: Job) -> Result<()> {
        match job {
            Job::Cell { table, cell } => self.table(session, table, Some(cell)).await?,
            Job::Whole { table } => self.table(session, table, None).await?,
            Job::Pack { tables } => self.pack(session, tables).await?,
            Job::LargeObjects { range, loids } => self.large_objects(session, range, loids).await?,
        }
        // The last chunks of one segment are stored while the next is read, not more.
        self.settle(1).await
    }

    /// Waits until no more than `n_open` segments are unfinished.
    async fn settle(&mut self, n_open: usize) -> Result<()> {
        while self.unfinished.len() > n_open {
            let Unfinished { segments, storing } =
                self.unfinished.pop_front().expect("the loop's condition");
            let mut pieces = match storing.await {
                Ok(pieces) => pieces?,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            };
            for mut segment in segments {
                segment.pieces = pieces.take(segment.end.part);
                self.reading.keep(segment);
            }
        }
        Ok(())
    }

    async fn table(&mut self, session: &Session, table: usize, cell: Option<usize>) -> Result<()> {
        let job = cell.map_or(Job::Whole { table }, |cell| Job::Cell { table, cell });
        if !self.lock(session, &[table]).await?.is_empty() {
            return self.hand_over(job);
        }
        let reading = Arc::clone(&self.reading);
        let plan = &reading.plan.tables[table];
        let format = reading.format(table);
        let buffer = reading.pool.acquire().await;
        let (sink, storing) = reading.open(format, buffer);
        let statement = plan
            .copy_statement(cell, format == CopyFormat::Binary)
            .text();
        let object = format!("table {}", plan.name);
        let (sink, n_rows) = session
            .copy_out(&object, plan.step(cell), &statement, Box::new(sink))
            .await;
        let mut sink = row_sink(sink);
        let n_rows = match n_rows {
            Ok(n_rows) => n_rows,
            Err(error)
                if is_too_wide(&error) && format == CopyFormat::Text && plan.binary_works =>
            {
                storing.abort();
                reading.read_in_binary(table);
                return self.recover(session).await;
            }
            Err(error) => return Err(explain(error, plan, cell)),
        };
        let end = counted(&mut sink, n_rows, plan, cell)?;
        sink.finish();
        let segment = SegmentRead {
            table: Some(table),
            number: cell.unwrap_or(0),
            blocks: cell.map(|cell| plan.cells[cell]),
            format,
            end,
            pieces: Vec::new(),
        };
        reading.progress.event(Event::Task(object));
        self.unfinished.push_back(Unfinished {
            segments: vec![segment],
            storing,
        });
        Ok(())
    }

    async fn pack(&mut self, session: &Session, tables: Vec<usize>) -> Result<()> {
        let refused = self.lock(session, &tables).await?;
        for table in &refused {
            self.hand_over(Job::Whole { table: *table })?;
        }
        let reading = Arc::clone(&self.reading);
        let buffer = reading.pool.acquire().await;
        let (mut sink, storing) = reading.open(CopyFormat::Text, buffer);
        let mut segments = Vec::new();
        let mut tables: VecDeque<usize> = tables
            .into_iter()
            .filter(|table| !refused.contains(table))
            .collect();
        while let Some(table) = tables.pop_front() {
            let plan = &reading.plan.tables[table];
            let statement = plan.copy_statement(None, false).text();
            let object = format!("table {}", plan.name);
            let (back, n_rows) = session
                .copy_out(&object, "COPY OUT", &statement, Box::new(sink))
                .await;
            sink = row_sink(back);
            let n_rows = match n_rows {
                Ok(n_rows) => n_rows,
                Err(error) if is_too_wide(&error) && plan.binary_works => {
                    sink.chunker().abandon();
                    reading.read_in_binary(table);
                    self.recover(session).await?;
                    // The locks went with the failed statement, so the rest of the pack begins anew.
                    reading.put_back(Job::Pack {
                        tables: tables.into(),
                    });
                    break;
                }
                Err(error) => return Err(explain(error, plan, None)),
            };
            let end = counted(&mut sink, n_rows, plan, None)?;
            let format = CopyFormat::Text;
            segments.push(SegmentRead {
                table: Some(table),
                number: 0,
                blocks: None,
                format,
                end,
                pieces: Vec::new(),
            });
            reading.progress.event(Event::Task(object));
        }
        sink.finish();
        self.unfinished.push_back(Unfinished { segments, storing });
        Ok(())
    }

    /// Makes the transaction usable again after a failed COPY; this connection's own locks are gone then.
    async fn recover(&mut self, session: &Session) -> Result<()> {
        self.locked.clear();
        session
            .batch(
                "a reader's transaction",
                "rolling back",
                "ROLLBACK TO SAVEPOINT pgark_read",
            )
            .await
    }

    async fn large_objects(
        &mut self,
        session: &Session,
        range: usize,
        loids: (u32, Option<u32>),
    ) -> Result<()> {
        let reading = Arc::clone(&self.reading);
        let buffer = reading.pool.acquire().await;
        let (sink, storing) = reading.open(CopyFormat::Text, buffer);
        let statement = large_objects::copy_statement(loids, reading.pages_readable).text();
        let object = "large objects";
        let step = format!("COPY OUT of numbers from {}", loids.0);
        let (sink, n_rows) = session
            .copy_out(object, &step, &statement, Box::new(sink))
            .await;
        let mut sink = row_sink(sink);
        let n_rows = n_rows?;
        let end = end_of_part(&mut sink, n_rows, object, &step)?;
        sink.finish();
        let segment = SegmentRead {
            table: None,
            number: range,
            blocks: None,
            format: CopyFormat::Text,
            end,
            pieces: Vec::new(),
        };
        self.unfinished.push_back(Unfinished {
            segments: vec![segment],
            storing,
        });
        Ok(())
    }

    fn hand_over(&self, job: Job) -> Result<()> {
        let to_coordinator = self
            .refused
            .as_ref()
            .expect("the coordinator's locks are not refused");
        let closed = |_| Error::failed("the dump", "its coordinator has ended", "run it again");
        to_coordinator.send(job).map_err(closed)
    }

    /// Locks tables on this worker's connection; gives those whose lock is refused.
    ///
    /// `NOWAIT`, because a plain request queues behind a waiting ALTER, which waits for the coordinator, which waits for the worker:
    /// a circle that the server cannot see. A savepoint keeps a refusal from aborting the transaction.
    async fn lock(&mut self, session: &Session, tables: &[usize]) -> Result<Vec<usize>> {
        let new: Vec<usize> = tables
            .iter()
            .copied()
            .filter(|table| !self.locked.contains(table))
            .collect();
        if self.refused.is_none() || new.is_empty() {
            return Ok(Vec::new());
        }
        if self.try_lock(session, &new).await? {
            self.locked.extend(new);
            return Ok(Vec::new());
        }
        let mut refused = Vec::new();
        for table in new {
            if self.try_lock(session, &[table]).await? {
                self.locked.insert(table);
            } else {
                self.warn_of_waiters(session, table).await?;
                refused.push(table);
            }
        }
        Ok(refused)
    }

    async fn try_lock(&self, session: &Session, tables: &[usize]) -> Result<bool> {
        let plans: Vec<&TablePlan> = tables
            .iter()
            .map(|table| &self.reading.plan.tables[*table])
            .collect();
        let object = match plans.as_slice() {
            [one] => format!("table {}", one.name),
            many => format!("{} tables", many.len()),
        };
        let names = Sql::list(plans.iter().map(|plan| sql!["ONLY ", &plan.target]));
        let identities = Sql::list(plans.iter().map(|plan| {
            let name = plan.target.text();
            sql![
                "pg_catalog.to_regclass(",
                Literal(&name),
                ")::pg_catalog.oid"
            ]
        }));
        let statement = sql![
            "SAVEPOINT pgark; LOCK TABLE ",
            names,
            " IN ACCESS SHARE MODE NOWAIT; RELEASE SAVEPOINT pgark; SELECT pg_catalog.unnest(ARRAY[",
            identities,
            "])"
        ];
        let step = "LOCK TABLE … NOWAIT";
        match session.simple(&object, step, &statement.text()).await {
            Ok(messages) => same_tables(&messages, &plans).map(|()| true),
            Err(error) if error.sqlstate() == Some("55P03") => {
                session
                    .batch(&object, step, "ROLLBACK TO SAVEPOINT pgark")
                    .await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn warn_of_waiters(&self, session: &Session, table: usize) -> Result<()> {
        let plan = &self.reading.plan.tables[table];
        let statement = sql![
            "SELECT a.pid, a.query FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE NOT l.granted AND l.relation = ",
            plan.relation,
            " AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
             WHERE d.datname = pg_catalog.current_database())"
        ];
        let object = format!("table {}", plan.name);
        let found = session
            .simple(&object, "looking who waits", &statement.text())
            .await?;
        let waiting: Vec<String> = found
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let query = crate::toc::printable(row.get(1).unwrap_or("?"));
                    Some(format!("pid {} ({query})", row.get(0).unwrap_or("?")))
                }
                _ => None,
            })
            .collect();
        self.reading.progress.event(Event::Warning(format!(
            "{object}: {} waits for its lock, so it is read on the dump's first connection",
            if waiting.is_empty() {
                "another session".to_owned()
            } else {
                waiting.join(", ")
            }
        )));
        Ok(())
    }
}

/// The names that were locked must still be the tables that were planned: a schema can be renamed under a lock.
fn same_tables(messages: &[SimpleQueryMessage], plans: &[&TablePlan]) -> Result<()> {
    let found: Vec<Option<u32>> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).and_then(|oid| oid.parse().ok())),
            _ => None,
        })
        .collect();
    match plans
        .iter()
        .zip(&found)
        .find(|(plan, found)| **found != Some(plan.relation))
    {
        None => Ok(()),
        Some((plan, _)) => Err(Error::failed(
            format!("table {}", plan.name),
            "its schema was renamed during the dump",
            "run the dump when no schema change is under way",
        )),
    }
}

fn row_sink(sink: Box<dyn crate::pg::CopySink>) -> RowSink {
    *sink
        .into_any()
        .downcast::<RowSink>()
        .expect("the sink that was given")
}

fn counted(
    sink: &mut RowSink,
    n_rows: u64,
    plan: &TablePlan,
    cell: Option<usize>,
) -> Result<PartEnd> {
    end_of_part(
        sink,
        n_rows,
        &format!("table {}", plan.name),
        &plan.step(cell),
    )
}

/// Ends the part and compares the rows that were counted with the server's command tag.
fn end_of_part(sink: &mut RowSink, n_rows: u64, object: &str, step: &str) -> Result<PartEnd> {
    let broken =
        |problem: String| Error::failed(object, format!("{step}: {problem}"), "run the dump again");
    let end = sink
        .chunker()
        .mark()
        .map_err(|problem| broken(problem.to_owned()))?;
    if end.fingerprint.n_rows() == n_rows {
        return Ok(end);
    }
    Err(broken(format!(
        "{} rows arrived, but the server sent {n_rows}",
        end.fingerprint.n_rows()
    )))
}

/// COPY text doubles bytea: a row can pass the server's limit of 1 GB (seen on 15: XX000 and 54000).
fn is_too_wide(error: &Error) -> bool {
    match error {
        Error::Sql { source, .. } => source.as_db_error().is_some_and(|db| {
            db.code().code() == "54000"
                || (db.code().code() == "XX000"
                    && db
                        .message()
                        .starts_with("invalid memory alloc request size"))
        }),
        _ => false,
    }
}

fn explain(error: Error, plan: &TablePlan, cell: Option<usize>) -> Error {
    if !is_too_wide(&error) {
        return error;
    }
    Error::Failed {
        object: format!("table {}", plan.name),
        problem: format!("{}: a row is wider than COPY can carry", plan.step(cell)),
        remedy: "leave the table out with -T, or shorten the value".into(),
        source: Some(Box::new(error)),
    }
}
