//! The connection a database is read through: pinned settings, one snapshot, text answers.

use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// Why a side could not be read, for people.
pub(crate) type Problem = String;

/// Settings that shape the text of values. `row_security` off makes a filtered read fail instead
/// of passing for a whole one.
const PINNED: &str = "\
    SELECT pg_catalog.set_config('search_path', '', false);
    SET standard_conforming_strings = on;
    SET datestyle = 'ISO, YMD';
    SET intervalstyle = 'postgres';
    SET timezone = 'UTC';
    SET extra_float_digits = 3;
    SET bytea_output = 'hex';
    SET xmlbinary = 'base64';
    SET xmloption = 'content';
    SET lc_monetary = 'C';
    SET quote_all_identifiers = off;
    SET row_security = off;
    SET statement_timeout = 0;
    SET lock_timeout = 0;
    SET idle_in_transaction_session_timeout = 0;
    SET jit = off";

/// Its own message: it must open the implicit transaction of its statements.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One read-only session in one snapshot.
pub(super) struct Session {
    client: Client,
    /// Major version of the server.
    pub(super) major: u32,
}

impl Session {
    pub(super) async fn open(conninfo: &str) -> Result<Self, Problem> {
        let (client, connection) = tokio_postgres::connect(conninfo, NoTls)
            .await
            .map_err(|error| format!("connecting to {conninfo:?}: {}", chain(&error)))?;
        // Ends with the client.
        tokio::spawn(connection);
        let mut session = Self { client, major: 0 };
        session.rows(PINNED).await?;
        session.rows(BEGIN).await?;
        let number = session
            .text("SELECT pg_catalog.current_setting('server_version_num')")
            .await?;
        let number: u32 = number
            .parse()
            .map_err(|_| format!("server version {number:?}"))?;
        session.major = number / 10_000;
        Ok(session)
    }

    /// Runs `sql`, which may be several statements, and gives the rows of all as text.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, Problem> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .map_err(|error| format!("{}\n    in {sql}", chain(&error)))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Runs a query of one value that is not NULL.
    pub(super) async fn text(&self, sql: &str) -> Result<String, Problem> {
        let rows = self.rows(sql).await?;
        let value = rows.first().and_then(|row| row.get(0));
        value
            .map(str::to_owned)
            .ok_or_else(|| format!("no answer to {sql}"))
    }
}

/// The text of column `at`, owned; `None` is NULL.
pub(super) fn value(row: &SimpleQueryRow, at: usize) -> Option<String> {
    row.get(at).map(str::to_owned)
}

/// A client error says only "db error" without its source.
fn chain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}: {}", db.severity(), db.code().code(), db.message()),
        None => error.to_string(),
    }
}
