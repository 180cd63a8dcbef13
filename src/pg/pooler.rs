//! Recognises a pooler that does not keep one server connection per session: settings and snapshots do not hold there.
//!
//! A pooler shows itself by claiming another process id than `pg_backend_pid()` tells. Whether it keeps sessions is then tried out:
//! a backend that serves two sessions at once, or a session whose backend changes, is transaction pooling.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use crate::error::{Error, Result};

use super::connect::connect;
use super::session::Session;
use super::settings::ConnSettings;

const N_ROUNDS: usize = 4;
/// A session pool may have no second connection to give; waiting for one proves nothing.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(5);
const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Refuses a session behind a pooler that shares backends between statements. Costs nothing when there is no pooler.
///
/// Must be called outside a transaction. The error is an [`Error::Connect`] that names the pooler and the remedy.
pub async fn require_own_backend(session: &Session, settings: &ConnSettings) -> Result<()> {
    if !session.is_pooled() {
        return Ok(());
    }
    let trial = shares_backends(session, settings);
    match tokio::time::timeout(TRIAL_TIMEOUT, trial).await {
        Ok(Ok(true)) => Err(refusal(session, settings)),
        Ok(outcome) => outcome.map(|_| ()),
        Err(_) => Ok(()),
    }
}

async fn shares_backends(session: &Session, settings: &ConnSettings) -> Result<bool> {
    let own = backend(session, BACKEND).await?;
    if own != Some(session.backend_pid()) {
        return Ok(true);
    }
    let other = connect(settings, "pooler check").await?;
    for _ in 0..N_ROUNDS {
        // While the other session is in a transaction, its backend is its own; ours must still be there for us.
        let theirs = match backend(&other, &format!("BEGIN; {BACKEND}")).await {
            // PgBouncer in statement mode allows no transactions.
            Err(error) if error.sqlstate() == Some("08P01") => return Ok(true),
            answer => answer?,
        };
        let ours = backend(session, BACKEND).await?;
        other
            .batch("the pooler check", "ROLLBACK", "ROLLBACK")
            .await?;
        if theirs == own || ours != own {
            return Ok(true);
        }
    }
    other.close().await;
    Ok(false)
}

async fn backend(session: &Session, sql: &str) -> Result<Option<i32>> {
    let messages = session
        .simple("the pooler check", "asking for the backend", sql)
        .await?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok()??.parse().ok(),
        _ => None,
    }))
}

fn refusal(session: &Session, settings: &ConnSettings) -> Error {
    let host = &session.route().host;
    let server = match session.greeting().server_port {
        Some(port) if port != host.port => format!(" (it listens on port {port})"),
        _ => String::new(),
    };
    Error::Connect {
        target: settings.target_text(host),
        problem: "this is a connection pooler in transaction or statement mode, such as PgBouncer: sessions share backends, so session settings and an exported snapshot do not hold".to_owned(),
        remedy: format!(
            "connect to the PostgreSQL server itself{server}, or to a pool with pool_mode = session"
        ),
        source: None,
    }
}
