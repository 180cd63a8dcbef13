//! Running one COPY in either direction on a session's connection.

use std::pin::{Pin, pin};

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::{Client, CopyInSink, Error as PgError, SimpleQueryMessage};

use crate::error::Result;

use super::session::Session;
use super::tap::{CopySink, TapHandle};

/// Abandons the sink unless it was taken back.
struct Installed<'a>(Option<&'a TapHandle>);

impl Installed<'_> {
    fn take(mut self) -> Option<Box<dyn CopySink>> {
        self.0.take().and_then(TapHandle::take)
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        if let Some(tap) = self.0 {
            tap.abandon();
        }
    }
}

/// One `COPY … TO STDOUT` of [`Session::copy_out_all`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOut {
    /// What is read, for errors.
    pub object: String,
    /// The statement, without a semicolon.
    pub sql: String,
}

/// Runs statements, all of them `COPY … TO STDOUT`, into the sink and gives the row counts of those that were done, in order.
/// The caller sees to it that only one answer is read at a time.
pub(super) async fn run_out(
    client: &Client,
    tap: &TapHandle,
    sql: &str,
    sink: Box<dyn CopySink>,
) -> (Box<dyn CopySink>, Vec<u64>, Result<(), PgError>) {
    let mut n_rows = Vec::new();
    if tap.is_abandoned() {
        // Its answer comes after the rest of the COPY that was given up, which must not reach the new sink.
        if let Err(error) = client.simple_query("").await {
            return (sink, n_rows, Err(error));
        }
    }
    tap.install(sink);
    let installed = Installed(Some(tap));
    let outcome = read_tags(client, sql, &mut n_rows).await;
    let sink = installed
        .take()
        .expect("the sink was installed above, and only one COPY runs at a time");
    (sink, n_rows, outcome)
}

async fn read_tags(client: &Client, sql: &str, n_rows: &mut Vec<u64>) -> Result<(), PgError> {
    let mut messages = pin!(client.simple_query_raw(sql).await?);
    while let Some(message) = messages.try_next().await? {
        if let SimpleQueryMessage::CommandComplete(n) = message {
            n_rows.push(n);
        }
    }
    Ok(())
}

/// A running `COPY … FROM STDIN`. Dropped without [`finish`](Self::finish) it is aborted and no row is kept.
pub struct CopyIn<'a> {
    session: &'a Session,
    object: String,
    step: String,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    n_errors_before: u64,
}

impl std::fmt::Debug for CopyIn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyIn")
            .field("object", &self.object)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl<'a> CopyIn<'a> {
    pub(super) fn new(
        session: &'a Session,
        object: String,
        step: String,
        sink: CopyInSink<Bytes>,
    ) -> Self {
        CopyIn {
            session,
            object,
            step,
            sink: Box::pin(sink),
            n_errors_before: session.tap().n_errors(),
        }
    }

    /// Feeds bytes, which may begin and end anywhere in a row; 64 KiB to 1 MiB at a time is fast.
    ///
    /// After an error the COPY is over.
    pub async fn send(&mut self, bytes: Bytes) -> Result<()> {
        if self.session.tap().n_errors() != self.n_errors_before {
            // The server has refused a row and ignores the rest: fetch its error instead of feeding on.
            self.finish_sink().await?;
        }
        let outcome = self.sink.send(bytes).await;
        outcome.map_err(|e| self.session.failure(e, &self.object, &self.step))
    }

    /// Ends the COPY and returns the number of rows.
    pub async fn finish(mut self) -> Result<u64> {
        self.finish_sink().await
    }

    async fn finish_sink(&mut self) -> Result<u64> {
        let outcome = self.sink.as_mut().finish().await;
        outcome.map_err(|e| self.session.failure(e, &self.object, &self.step))
    }
}
