//! One connection's share of a dump: takes jobs, locks their tables, reads them, and sees their last chunks stored.
//! What the workers share, and how a run begins and ends, is in `reading`.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::key_columns::{AS_PLANNED, BY_INDEX};
use super::large_objects::by_index;
use super::plan::{Job, TablePlan};
use super::readers::{RECONNECTS_MAX, Readers, is_broken};
use super::reading::{Reading, SegmentRead, Storing};
use super::sink::{counted, end_of_part, row_sink};
use super::table_locks::{try_lock, waiters};
use super::wide_rows::{explain, is_too_wide};
use crate::archive::index::CopyFormat;
use crate::error::{Error, Result};
use crate::pg::{Session, SnapshotReader};
use crate::progress::Event;

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

/// A segment whose rows are read, while its last chunks are still being stored.
struct Unfinished {
    segments: Vec<SegmentRead>,
    storing: Storing,
}

/// One connection's share of the work.
pub(super) struct Worker {
    reading: Arc<Reading>,
    /// Where tables go whose lock is refused; `None` for the coordinator, which needs no lock of its own.
    refused: Option<mpsc::UnboundedSender<Job>>,
    locked: HashSet<usize>,
    unfinished: VecDeque<Unfinished>,
    /// What is not read yet of the job that is under way.
    rest: Option<Job>,
    n_reconnects: u32,
    /// How long jobs took.
    busy: Duration,
}

impl Worker {
    pub(super) fn new(
        reading: Arc<Reading>,
        refused: Option<mpsc::UnboundedSender<Job>>,
    ) -> Worker {
        Worker {
            reading,
            refused,
            locked: HashSet::new(),
            unfinished: VecDeque::new(),
            rest: None,
            n_reconnects: 0,
            busy: Duration::ZERO,
        }
    }

    /// Reads until nothing is left. A connection that breaks is replaced while the snapshot lives, and its job is begun again.
    pub(super) async fn run(
        mut self,
        mut reader: SnapshotReader,
        source: Arc<Readers>,
    ) -> Result<()> {
        while let Err(error) = self.read_jobs(reader.session()).await {
            if !is_broken(reader.session(), &error) {
                return Err(error);
            }
            reader = self.reconnect(error, &source).await?;
        }
        self.settle(0).await?;
        self.reading.counters.add_reader(self.busy);
        reader.end().await;
        Ok(())
    }

    async fn read_jobs(&mut self, session: &Session) -> Result<()> {
        set_savepoint(session).await?;
        while let Some(job) = self.reading.next_job() {
            self.rest = Some(job.clone());
            self.job(session, job).await?;
            self.rest = None;
        }
        Ok(())
    }

    /// A new connection, with what the broken one left in the queue again; the error that broke it if there is none to be had.
    async fn reconnect(&mut self, error: Error, source: &Readers) -> Result<SnapshotReader> {
        self.n_reconnects += 1;
        if self.n_reconnects > RECONNECTS_MAX {
            return Err(error);
        }
        let Ok(reader) = source.open().await else {
            return Err(error);
        };
        self.locked.clear();
        self.reading.progress.event(Event::Warning(format!(
            "{error}, because its connection broke; reading goes on with a new one in the same snapshot"
        )));
        if let Some(rest) = self.rest.take() {
            self.reading.put_back(rest);
        }
        Ok(reader)
    }

    pub(super) async fn run_refused(
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
        let begun = Instant::now();
        match job {
            Job::Cell { table, cell } => self.table(session, table, Some(cell)).await?,
            Job::Whole { table } => self.table(session, table, None).await?,
            Job::Pack { tables } => self.pack(session, tables).await?,
            Job::LargeObjects { range } => self.large_objects(session, range).await?,
        }
        // The last chunks of one segment are stored while the next is read, not more.
        let waiting = Instant::now();
        self.settle(1).await?;
        self.reading.counters.add_stall(waiting.elapsed());
        self.busy += begun.elapsed();
        Ok(())
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
        let is_by_key = cell.is_some_and(|cell| plan.cells[cell].keys().is_some());
        let object = format!("table {}", plan.name);
        if is_by_key {
            session.batch(&object, plan.step(cell), BY_INDEX).await?;
        }
        let buffer = reading.pool.acquire().await;
        let (sink, storing) = reading.open(format, buffer);
        let statement = plan
            .copy_statement(cell, format == CopyFormat::Binary)
            .text();
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
            Err(error) => {
                storing.abort();
                return Err(explain(error, plan, cell));
            }
        };
        let end = counted(&mut sink, n_rows, plan, cell)?;
        sink.finish();
        if is_by_key {
            session.batch(&object, plan.step(cell), AS_PLANNED).await?;
        }
        let segment = SegmentRead {
            table: Some(table),
            number: cell.unwrap_or(0),
            cell: cell.map(|cell| plan.cells[cell].clone()),
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
        let mut left: VecDeque<usize> = tables
            .into_iter()
            .filter(|table| !refused.contains(table))
            .collect();
        let mut outcome = Ok(());
        while outcome.is_ok() && !left.is_empty() {
            let copies = reading.plan.copies_at_once(&left);
            let (back, n_rows, read) = session
                .copy_out_all(&copies, "COPY OUT", Box::new(sink))
                .await;
            sink = row_sink(back);
            for (table, n_rows) in left.drain(..n_rows.len()).zip(n_rows) {
                let plan = &reading.plan.tables[table];
                segments.push(SegmentRead {
                    table: Some(table),
                    number: 0,
                    cell: None,
                    format: CopyFormat::Text,
                    end: counted(&mut sink, n_rows, plan, None)?,
                    pieces: Vec::new(),
                });
                let read = format!("table {}", plan.name);
                reading.progress.event(Event::Task(read));
            }
            if let Err(error) = read {
                sink.abandon();
                outcome = self
                    .rest_of_pack(session, std::mem::take(&mut left), error)
                    .await;
            }
        }
        sink.finish();
        self.unfinished.push_back(Unfinished { segments, storing });
        outcome
    }

    /// What becomes of the tables of a pack that were not read, after the first of them failed.
    async fn rest_of_pack(
        &mut self,
        session: &Session,
        mut left: VecDeque<usize>,
        error: Error,
    ) -> Result<()> {
        let Some(table) = left.front().copied() else {
            self.rest = None;
            return Err(error);
        };
        let reading = Arc::clone(&self.reading);
        let plan = &reading.plan.tables[table];
        if is_too_wide(&error) && plan.binary_works {
            left.pop_front();
            reading.read_in_binary(table);
            self.recover(session).await?;
            // The locks went with the failed statement, so the rest of the pack begins anew.
            let tables = left.into();
            reading.put_back(Job::Pack { tables });
            return Ok(());
        }
        let tables = left.into();
        self.rest = Some(Job::Pack { tables });
        Err(explain(error, plan, None))
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

    async fn large_objects(&mut self, session: &Session, number: usize) -> Result<()> {
        let reading = Arc::clone(&self.reading);
        let objects = &reading.plan.objects;
        let range = &objects.ranges[number];
        let (object, step) = ("large objects", range.step());
        session.batch(object, &step, &by_index(true)).await?;
        let buffer = reading.pool.acquire().await;
        let (sink, storing) = reading.open(CopyFormat::Binary, buffer);
        let statement = range.copy_statement(objects.pages_readable).text();
        let (sink, n_rows) = session
            .copy_out(object, &step, &statement, Box::new(sink))
            .await;
        let mut sink = row_sink(sink);
        let end = end_of_part(&mut sink, n_rows?, object, &step)?;
        sink.finish();
        session.batch(object, &step, &by_index(false)).await?;
        reading.progress.event(Event::Task(object.to_owned()));
        let segment = SegmentRead {
            table: None,
            number,
            cell: None,
            format: CopyFormat::Binary,
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
        // Foreign tables cannot be locked; read on one connection they are of one moment of their server too.
        if let [table] = new[..]
            && self.reading.plan.tables[table].is_foreign
        {
            return Ok(new);
        }
        if try_lock(session, &self.plans(&new)).await? {
            self.locked.extend(new);
            return Ok(Vec::new());
        }
        let mut refused = Vec::new();
        for table in new {
            if try_lock(session, &self.plans(&[table])).await? {
                self.locked.insert(table);
            } else {
                let plan = &self.reading.plan.tables[table];
                let waiting = waiters(session, plan).await?;
                self.reading.progress.event(Event::Warning(format!(
                    "table {}: {waiting} waits for its lock, so it is read on the dump's first connection",
                    plan.name
                )));
                refused.push(table);
            }
        }
        Ok(refused)
    }

    fn plans(&self, tables: &[usize]) -> Vec<&TablePlan> {
        tables
            .iter()
            .map(|table| &self.reading.plan.tables[*table])
            .collect()
    }
}
