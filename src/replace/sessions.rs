//! The sessions in a database: who they are, who may end them, and ending them.

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::Result;
use crate::pg::Session;
use crate::sql::ReadText;

/// SQLSTATE of a database with sessions in it.
pub(super) const IN_USE: &str = "55006";

/// A session in the database that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connected {
    /// The server's process.
    pub pid: i32,
    /// The user; absent for a process of the server's own.
    pub user: Option<String>,
    /// What the client calls itself.
    pub application: Option<String>,
    /// Whether the connecting role may end it.
    #[serde(skip)]
    pub(super) may_end: bool,
}

impl std::fmt::Display for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        if let Some(user) = &self.user {
            write!(f, " of {}", crate::toc::printable(user))?;
        }
        let application = self.application.as_deref().filter(|text| !text.is_empty());
        match application {
            Some(text) => write!(f, " ({})", crate::toc::printable(text)),
            None => Ok(()),
        }
    }
}

/// The sessions in a database, but this one. Autovacuum gives way by itself, and parallel workers go with their leaders.
const CONNECTED: &str = "
SELECT a.pid, u.rolname::pg_catalog.text, a.application_name,
       me.rolsuper OR NOT COALESCE(u.rolsuper, true) AND (pg_catalog.pg_has_role(me.oid, a.usesysid, 'USAGE')
          OR pg_catalog.pg_has_role(me.oid, 'pg_signal_backend', 'USAGE'))
FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles u ON u.oid = a.usesysid
CROSS JOIN (SELECT * FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) AS me
WHERE a.datid = $1 AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.backend_type IS DISTINCT FROM 'autovacuum worker' AND a.backend_type IS DISTINCT FROM 'parallel worker'
ORDER BY a.pid";

/// Who is connected to the database.
pub(super) async fn connected(session: &Session, oid: u32) -> Result<Vec<Connected>> {
    let rows = session
        .query("looking at the sessions", CONNECTED, &[(&oid, Type::OID)])
        .await?;
    let text = |row: &Row, at: usize| row.get::<_, Option<ReadText>>(at).map(|text| text.0);
    let found = rows.iter().map(|row| Connected {
        pid: row.get(0),
        user: text(row, 1),
        application: text(row, 2),
        may_end: row.get::<_, Option<bool>>(3).unwrap_or(false),
    });
    Ok(found.collect())
}

/// Ends the sessions that may be ended; gives those that were told to.
pub(super) async fn end(session: &Session, oid: u32) -> Result<Vec<i32>> {
    let found = connected(session, oid).await?;
    let pids: Vec<i32> = found
        .iter()
        .filter(|one| one.may_end)
        .map(|one| one.pid)
        .collect();
    if pids.is_empty() {
        return Ok(pids);
    }
    // A number may have become another's in the meantime: only who is in the database now.
    let query = "SELECT a.pid, pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a \
                 WHERE a.datid = $1 AND a.pid = ANY ($2)";
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&oid, Type::OID), (&pids, Type::INT4_ARRAY)];
    let ended = session.query("ending the sessions", query, params).await?;
    Ok(ended.iter().map(|row| row.get(0)).collect())
}
