//! Readers' connections: opened in the dump's snapshot, and opened again when one breaks while the snapshot lives.

use crate::error::{Error, Result};
use crate::pg::pin::{DumpPins, pin_dump_session};
use crate::pg::{ConnSettings, ServerVersion, Session, SnapshotId, SnapshotReader, connect};

/// How often one worker gets a new connection.
pub(super) const RECONNECTS_MAX: u32 = 3;

/// What a reader's connection is opened with.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    /// How the server is reached.
    pub settings: ConnSettings,
    /// Its version.
    pub version: ServerVersion,
    /// What every reader sees.
    pub snapshot: SnapshotId,
    /// Rows are those that row security lets the role see.
    pub row_security: bool,
    /// For the tests that show what the snapshot is good for.
    pub without_snapshot: bool,
}

impl Readers {
    /// Opens one connection in the snapshot. Fails when the snapshot is gone, which is when its owner's transaction has ended.
    pub(super) async fn open(&self) -> Result<SnapshotReader> {
        let pins = DumpPins {
            row_security: self.row_security,
            ..DumpPins::default()
        };
        let session = connect(&self.settings, "dump worker").await?;
        session.pin(&pin_dump_session(self.version, &pins)).await?;
        if self.without_snapshot {
            SnapshotReader::without_import(session).await
        } else {
            SnapshotReader::import(session, &self.snapshot).await
        }
    }

    /// Opens so many connections at once.
    pub(super) async fn open_all(&self, n_readers: usize) -> Result<Vec<SnapshotReader>> {
        futures::future::try_join_all((0..n_readers).map(|_| self.open())).await
    }
}

/// True if the connection has ended, and not only the statement: the server ends it with an error of severity FATAL, or the
/// network does.
pub(super) fn is_broken(session: &Session, error: &Error) -> bool {
    let Error::Sql { source, .. } = error else {
        return false;
    };
    let fatal = source
        .as_db_error()
        .and_then(tokio_postgres::error::DbError::parsed_severity)
        .is_some_and(|severity| {
            matches!(
                severity,
                tokio_postgres::error::Severity::Fatal | tokio_postgres::error::Severity::Panic
            )
        });
    fatal || source.is_closed() || session.is_closed()
}
