//! `Session`: the only way the crate talks to a server. Owns the client, the tap, notices and cancelling; making one is in `connect`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Connection, Row, SimpleQueryMessage};

use crate::error::{Error, Result};
use crate::sql::Sql;

use super::cancel::{Canceller, Route};
use super::copy::{self, CopyIn, CopyOut};
use super::notices::{self, Mailbox, Notice};
use super::tap::{CopySink, Tap, TapHandle};
use super::version::ServerVersion;
use super::wire::{Address, TappedWire, Wire};

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asked before each statement of a session; an error stands for the statement's failure. For tests.
#[doc(hidden)]
#[async_trait]
pub trait Interpose: Send + Sync {
    /// `statement` is about to be sent.
    async fn before(&self, statement: &str) -> Result<()>;
}

/// What was learnt of the server when the session was made.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeting {
    /// `pg_backend_pid()`, which a pooler does not change.
    pub(super) backend_pid: i32,
    pub(super) in_recovery: bool,
    pub(super) read_only: bool,
    /// `inet_server_port()` where there is one.
    pub(super) server_port: Option<u16>,
    pub(super) server_encoding: String,
}

/// One connection to one database.
pub struct Session {
    client: Client,
    task: Option<JoinHandle<()>>,
    tap: TapHandle,
    mailbox: Arc<Mailbox>,
    route: Route,
    object: String,
    version: ServerVersion,
    greeting: Greeting,
    interpose: Option<Arc<dyn Interpose>>,
    /// One COPY OUT at a time owns the tap.
    copying: tokio::sync::Mutex<()>,
    /// Statements that were sent and whose answer nobody has waited for to its end.
    in_flight: AtomicUsize,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("object", &self.object)
            .field("version", &self.version)
            .field("backend_pid", &self.greeting.backend_pid)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Starts the connection's task. The greeting is still unknown.
    pub(super) fn start(
        client: Client,
        connection: Connection<Tap<Wire>, TappedWire>,
        tap: TapHandle,
        route: Route,
        dbname: &str,
    ) -> Self {
        let mailbox = Arc::<Mailbox>::default();
        let task = tokio::spawn(notices::drive(connection, Arc::clone(&mailbox)));
        Session {
            client,
            task: Some(task),
            tap,
            mailbox,
            route,
            object: format!("database \"{dbname}\""),
            version: ServerVersion(0),
            greeting: Greeting::default(),
            interpose: None,
            copying: tokio::sync::Mutex::new(()),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Completes a session that is fit for use.
    pub(super) fn greeted(
        &mut self,
        version: ServerVersion,
        greeting: Greeting,
        interpose: Option<Arc<dyn Interpose>>,
    ) {
        self.version = version;
        self.greeting = greeting;
        self.interpose = interpose;
    }

    /// The server's version.
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// The backend's process id as the server itself knows it.
    pub fn backend_pid(&self) -> i32 {
        self.greeting.backend_pid
    }

    /// True if the server was a hot standby when the session began.
    pub fn in_recovery(&self) -> bool {
        self.greeting.in_recovery
    }

    /// True if the server surely runs on this machine: it is reached by a socket file.
    pub fn is_on_this_machine(&self) -> bool {
        matches!(self.route.address, Address::Unix(_))
    }

    /// The database's encoding as the server names it: `UTF8`, `LATIN1`, `SQL_ASCII`.
    pub fn server_encoding(&self) -> &str {
        &self.greeting.server_encoding
    }

    /// True if the other end is not the backend itself: a pooler claims process ids of its own.
    pub fn is_pooled(&self) -> bool {
        self.tap
            .key()
            .is_none_or(|key| key.pid != self.greeting.backend_pid)
    }

    pub(super) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    pub(super) fn tap(&self) -> &TapHandle {
        &self.tap
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Takes the notices that have come so far. When there were too many, the last one says how many were dropped.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.mailbox.take()
    }

    /// Runs statements by the simple protocol and throws rows away. Several in one string are one transaction.
    pub async fn batch(
        &self,
        object: impl fmt::Display,
        step: impl fmt::Display,
        sql: &str,
    ) -> Result<()> {
        self.admit(sql).await?;
        let outcome = self.answer(self.client.batch_execute(sql)).await;
        outcome.map_err(|e| self.failure(e, object, step))
    }

    /// Runs statements by the simple protocol: every value is text.
    pub async fn simple(
        &self,
        object: impl fmt::Display,
        step: impl fmt::Display,
        sql: &str,
    ) -> Result<Vec<SimpleQueryMessage>> {
        self.admit(sql).await?;
        let outcome = self.answer(self.client.simple_query(sql)).await;
        outcome.map_err(|e| self.failure(e, object, step))
    }

    /// Runs one query with typed parameters, without a prepare round trip. `what` names the step for people.
    pub async fn query(
        &self,
        what: impl fmt::Display,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>> {
        self.admit(sql).await?;
        let outcome = self.answer(self.client.query_typed(sql, params)).await;
        outcome.map_err(|e| self.failure(e, &self.object, what))
    }

    /// Applies settings in one round trip; see `pin`. From here on text may hold escaped bytes (see [`crate::sql::escape`]):
    /// the server gets them as they are.
    pub async fn pin(&self, statements: &[Sql]) -> Result<()> {
        let texts: Vec<String> = statements.iter().map(Sql::text).collect();
        self.batch(&self.object, "setting the session up", &texts.join(";\n"))
            .await?;
        self.unescape_statements();
        Ok(())
    }

    /// From here on statements may hold escaped bytes, as after [`pin`](Self::pin). The session must be idle.
    pub fn unescape_statements(&self) {
        self.tap.unescape_statements();
    }

    /// Runs one `COPY … TO STDOUT`, its rows going to `sink`; returns the sink, and the row count of the command tag.
    /// The sink comes back after an error too: what it took before belongs to the caller.
    ///
    /// If the future is dropped before its end, the sink is dropped, what still comes is thrown away, and the session can be used again
    /// only after the server has stopped: [`cancel`](Self::cancel) it.
    pub async fn copy_out(
        &self,
        object: impl fmt::Display,
        step: impl fmt::Display,
        sql: &str,
        sink: Box<dyn CopySink>,
    ) -> (Box<dyn CopySink>, Result<u64>) {
        if let Err(error) = self.admit(sql).await {
            return (sink, Err(error));
        }
        let _turn = self.copying.lock().await;
        let copy = copy::run_out(&self.client, &self.tap, sql, sink);
        let (sink, n_rows, outcome) = self.answer(copy).await;
        let outcome = outcome.map_err(|e| self.failure(e, object, step));
        (sink, outcome.map(|()| n_rows.iter().sum()))
    }

    /// Runs several `COPY … TO STDOUT` in one round trip. Their rows go to one sink, which hears where each begins and ends; the row
    /// counts of the command tags are given in order, after an error those of the COPYs before the one that failed, which the error
    /// names.
    ///
    /// Dropping the future is as for [`copy_out`](Self::copy_out).
    pub async fn copy_out_all(
        &self,
        copies: &[CopyOut],
        step: &str,
        sink: Box<dyn CopySink>,
    ) -> (Box<dyn CopySink>, Vec<u64>, Result<()>) {
        let texts: Vec<&str> = copies.iter().map(|copy| &*copy.sql).collect();
        let sql = texts.join(";\n");
        if let Err(error) = self.admit(&sql).await {
            return (sink, Vec::new(), Err(error));
        }
        let _turn = self.copying.lock().await;
        let copy = copy::run_out(&self.client, &self.tap, &sql, sink);
        let (sink, n_rows, outcome) = self.answer(copy).await;
        // The connection may break behind the last tag.
        let failed = copies.get(n_rows.len()).or(copies.last());
        let object = failed.map_or("COPY", |copy| &*copy.object);
        let outcome = match outcome {
            Err(error) => Err(self.failure(error, object, step)),
            Ok(()) if n_rows.len() != copies.len() => Err(Error::failed(
                object,
                format!(
                    "{step}: {} tags came for {} statements",
                    n_rows.len(),
                    copies.len()
                ),
                "",
            )),
            Ok(()) => Ok(()),
        };
        (sink, n_rows, outcome)
    }

    /// Begins one `COPY … FROM STDIN`.
    pub async fn copy_in(
        &self,
        object: impl fmt::Display,
        step: impl fmt::Display,
        sql: &str,
    ) -> Result<CopyIn<'_>> {
        self.admit(sql).await?;
        let (object, step) = (object.to_string(), step.to_string());
        match self.answer(self.client.copy_in::<_, Bytes>(sql)).await {
            Ok(sink) => Ok(CopyIn::new(self, object, step, sink)),
            Err(e) => Err(self.failure(e, object, step)),
        }
    }

    /// Cancels what the session is running; see [`Canceller::cancel`].
    pub async fn cancel(&self) -> Result<()> {
        self.canceller().cancel().await
    }

    /// A handle that cancels this session's statements from elsewhere.
    pub fn canceller(&self) -> Canceller {
        Canceller::new(self.route.clone(), self.tap.key())
    }

    /// True if the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Why the connection has ended, if it has, if it was not our goodbye, and unless a statement has told it already.
    pub fn why_closed(&self) -> Option<tokio_postgres::Error> {
        self.mailbox.take_end()
    }

    /// Says goodbye and waits until the connection has ended, at most five seconds. A dropped session does the same in the background.
    pub async fn close(mut self) {
        let Some(task) = self.task.take() else {
            return;
        };
        let abort = task.abort_handle();
        if self.tap.is_busy() {
            abort.abort();
        }
        drop(self);
        if tokio::time::timeout(CLOSE_TIMEOUT, task).await.is_err() {
            abort.abort();
        }
    }

    /// Every statement passes here before it is sent.
    async fn admit(&self, sql: &str) -> Result<()> {
        match &self.interpose {
            Some(interpose) => interpose.before(sql).await,
            None => Ok(()),
        }
    }

    /// Waits for a statement's answer. If this is dropped before it comes, dropping the session asks the server to cancel: it would
    /// otherwise go on, or wait for a lock, without noticing that nobody is there any more.
    async fn answer<T>(&self, statement: impl Future<Output = T>) -> T {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let answer = statement.await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    /// The error of a statement; where the connection broke, what broke it.
    pub(super) fn failure(
        &self,
        error: tokio_postgres::Error,
        object: impl fmt::Display,
        step: impl fmt::Display,
    ) -> Error {
        Error::sql(object, step)(self.cause_of(error))
    }

    /// What broke the connection, if a statement failed because it broke.
    pub(super) fn cause_of(&self, error: tokio_postgres::Error) -> tokio_postgres::Error {
        let cause = error.is_closed().then(|| self.mailbox.take_end()).flatten();
        cause.unwrap_or(error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if *self.in_flight.get_mut() > 0
            && !self.is_closed()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let canceller = self.canceller();
            // Nobody is left to be told of a failure.
            runtime.spawn(async move { canceller.cancel().await });
        }
        // A goodbye would wait behind the rest of an unfinished COPY, which may be hours.
        if self.tap.is_busy()
            && let Some(task) = &self.task
        {
            task.abort();
        }
    }
}
