//! The exported snapshot: one session owns it, others read in it. Locks taken between `begin` and `export` precede the snapshot.

use std::fmt;

use tokio_postgres::SimpleQueryMessage;

use crate::error::{Error, Result};
use crate::sql;
use crate::sql::Literal;

use super::session::Session;

/// The name of an exported snapshot. Valid while its owner's transaction is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// A snapshot exported by somebody else, such as a replication slot.
    pub fn of_user(text: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_hexdigit() || c == '-';
        if text.is_empty() || !text.chars().all(fits) {
            return Err(Error::Usage(format!(
                "{text:?} is no snapshot; one looks like 00000003-0000001B-1"
            )));
        }
        Ok(SnapshotId(text.to_owned()))
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A session in a read-only transaction whose snapshot it can export.
#[derive(Debug)]
pub struct SnapshotOwner {
    session: Session,
}

impl SnapshotOwner {
    /// Begins the transaction. No snapshot is taken yet: that is done by the first query, after the locks.
    ///
    /// `serializable_deferrable` waits for a snapshot without anomalies; a hot standby refuses it.
    pub async fn begin(session: Session, serializable_deferrable: bool) -> Result<Self> {
        let begin = if serializable_deferrable {
            "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
        } else {
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        };
        session
            .batch("the dump's transaction", "BEGIN", begin)
            .await?;
        Ok(SnapshotOwner { session })
    }

    /// Takes the snapshot, if no query has done so yet, and names it for readers.
    pub async fn export(&self) -> Result<SnapshotId> {
        let messages = self
            .session
            .simple(
                "the dump's transaction",
                "exporting the snapshot",
                "SELECT pg_catalog.pg_export_snapshot()",
            )
            .await?;
        let id = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get(0).ok()?.map(str::to_owned),
            _ => None,
        });
        id.map(SnapshotId).ok_or_else(|| {
            Error::failed(
                "the dump's transaction",
                "the server exported no snapshot",
                "connect to the server directly, not through a pooler",
            )
        })
    }

    /// The session inside the transaction.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Gives locks and snapshot up and returns the session, for another try.
    pub async fn give_up(self) -> Result<Session> {
        self.session
            .batch("the dump's transaction", "ROLLBACK", "ROLLBACK")
            .await?;
        Ok(self.session)
    }

    /// Ends the transaction, which makes the snapshot unusable for new readers, and the connection. What was read is right
    /// whether or not the server hears of its end, so nothing can fail here.
    pub async fn end(self) {
        end(self.session, "the dump's transaction").await;
    }
}

/// Says goodbye to a transaction that only read.
async fn end(session: Session, object: &str) {
    if session.batch(object, "COMMIT", "COMMIT").await.is_ok() {
        session.close().await;
    }
}

/// A session in a read-only transaction that sees an owner's snapshot. Its locks are its own.
#[derive(Debug)]
pub struct SnapshotReader {
    session: Session,
}

impl SnapshotReader {
    /// Reads in a snapshot of its own: what a dump must never do, and how a test shows that it would be noticed.
    #[doc(hidden)]
    pub async fn without_import(session: Session) -> Result<Self> {
        let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        session
            .batch("a reader's transaction", "BEGIN", begin)
            .await?;
        Ok(SnapshotReader { session })
    }

    /// Begins a transaction in the snapshot, in one round trip.
    pub async fn import(session: Session, snapshot: &SnapshotId) -> Result<Self> {
        let statement = sql![
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT ",
            Literal(&snapshot.0)
        ];
        session
            .batch(
                format!("snapshot {snapshot}"),
                "importing the snapshot",
                &statement.text(),
            )
            .await?;
        Ok(SnapshotReader { session })
    }

    /// The session inside the transaction.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the transaction and the connection, as [`SnapshotOwner::end`] does.
    pub async fn end(self) {
        end(self.session, "a reader's transaction").await;
    }
}
