//! The server beside the database that is replaced: sessions to another database, the lock that keeps two runs apart, what is
//! to be known of the cluster's databases, and dropping those that are ours.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::names;
use super::sessions;
use crate::error::{Error, Result};
use crate::pg::pin::{RestorePins, pin_restore_session};
use crate::pg::pooler::require_own_backend;
use crate::pg::{ConnSettings, Session, connect};
use crate::sql::{Ident, ReadText, SentText, sql};

/// The databases from which others are managed; the first that is not the target and lets us in.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// The first half of the keys of our advisory locks: `pgrk`. The second is the OID of the database that is replaced.
const LOCK_CLASS: i32 = 0x7067_726b;

/// Where replacements are directed from.
#[derive(Debug, Clone)]
pub(super) struct Server {
    settings: ConnSettings,
    role: Option<Ident>,
}

/// A database as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) connection_limit: i32,
    pub(super) comment: Option<String>,
    pub(super) n_bytes: Option<i64>,
    /// Whether the connecting role owns it, or may act as its owner.
    pub(super) is_ours: bool,
}

impl Server {
    /// The server of `target`, seen from a database that is not its own. The first session comes with it.
    ///
    /// Errors: [`Error::Connect`].
    pub(super) async fn open(
        target: &ConnSettings,
        role: Option<&str>,
    ) -> Result<(Server, Session)> {
        let mut first_failure = None;
        for name in MAINTENANCE.iter().filter(|name| **name != target.dbname()) {
            let server = Server {
                settings: target.with_dbname(name),
                role: role.map(Ident::new),
            };
            match server.session().await {
                Ok(session) => return Ok((server, session)),
                Err(error @ Error::Connect { .. }) => _ = first_failure.get_or_insert(error),
                Err(error) => return Err(error),
            }
        }
        Err(first_failure.expect("one of two names is not the target's"))
    }

    /// A further session.
    pub(super) async fn session(&self) -> Result<Session> {
        self.session_in(self.settings.dbname()).await
    }

    /// A session in any database of the server.
    pub(super) async fn session_in(&self, database: &str) -> Result<Session> {
        let settings = self.settings.with_dbname(database);
        let session = connect(&settings, "replace").await?;
        require_own_backend(&session, &settings).await?;
        let pins = RestorePins {
            role: self.role.as_ref(),
            ..RestorePins::default()
        };
        session
            .pin(&pin_restore_session(session.version(), &pins))
            .await?;
        Ok(session)
    }

    /// The statement that makes a session ours again, where one of the user's roles was taken on.
    pub(super) fn become_role(&self) -> Option<String> {
        self.role
            .as_ref()
            .map(|role| sql!["SET ROLE ", role].text())
    }
}

/// All databases, by name.
pub(super) async fn databases(session: &Session) -> Result<Vec<Listed>> {
    let query = "SELECT d.oid, d.datname::pg_catalog.text, d.datconnlimit, s.description, \
                 CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') THEN pg_catalog.pg_database_size(d.oid) END, \
                 pg_catalog.pg_has_role(d.datdba, 'USAGE') \
                 FROM pg_catalog.pg_database d LEFT JOIN pg_catalog.pg_shdescription s \
                 ON s.objoid = d.oid AND s.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass ORDER BY d.datname";
    let rows = session
        .query("looking at the databases", query, &[])
        .await?;
    let listed = rows.iter().map(|row| Listed {
        oid: row.get(0),
        name: row.get::<_, ReadText>(1).0,
        connection_limit: row.get(2),
        comment: row.get::<_, Option<ReadText>>(3).map(|text| text.0),
        n_bytes: row.get(4),
        is_ours: row.get(5),
    });
    Ok(listed.collect())
}

/// The OID of a database.
pub(super) async fn oid_of(session: &Session, name: &str) -> Result<Option<u32>> {
    let query = "SELECT oid FROM pg_catalog.pg_database WHERE datname = $1";
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&SentText(name), Type::TEXT)];
    let rows = session
        .query("looking for the database", query, params)
        .await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Takes the lock on replacing the database with this OID, for as long as the session lives; false if another run has it.
pub(super) async fn lock(session: &Session, oid: u32) -> Result<bool> {
    let key = oid.cast_signed();
    // The lock is one database's; who works from another one is seen in the list of all.
    let query = "SELECT pg_catalog.pg_try_advisory_lock($1, $2) AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l \
                 WHERE l.locktype = 'advisory' AND l.classid = $1::pg_catalog.int8 AND l.objid = $3 AND l.granted \
                 AND l.pid <> pg_catalog.pg_backend_pid())";
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[
        (&LOCK_CLASS, Type::INT4),
        (&key, Type::INT4),
        (&oid, Type::OID),
    ];
    let rows = session
        .query("locking the replacement", query, params)
        .await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

/// Gives the lock back.
pub(super) async fn unlock(session: &Session, oid: u32) -> Result<()> {
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&LOCK_CLASS, Type::INT4), (&oid.cast_signed(), Type::INT4)];
    let query = "SELECT pg_catalog.pg_advisory_unlock($1, $2)";
    session
        .query("unlocking the replacement", query, params)
        .await?;
    Ok(())
}

/// What was swept, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) dropped: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Drops what killed runs have left. `held` is the database whose lock the session has; scratch databases of runs that are
/// still going on have a lock, and stay.
pub(super) async fn sweep(server: &Server, session: &Session, held: Option<u32>) -> Result<Swept> {
    let mut swept = Swept::default();
    for one in databases(session).await? {
        let Some(replaced) = names::replaces(&one.name, one.connection_limit) else {
            continue;
        };
        let is_held = held == Some(replaced);
        if !is_held && !lock(session, replaced).await? {
            continue;
        }
        match drop_scratch(server, session, &one.name).await {
            Ok(()) => swept.dropped.push(one.name),
            Err(error) => swept.warnings.push(format!(
                "database {} was left by a replacement that was killed, and cannot be dropped: {}",
                Ident::new(&one.name).quoted(),
                crate::restore::chain(&error)
            )),
        }
        if !is_held {
            unlock(session, replaced).await?;
        }
    }
    Ok(swept)
}

/// Drops a database in which nobody but us has ever worked, if it is there.
pub(super) async fn drop_scratch(server: &Server, session: &Session, name: &str) -> Result<()> {
    let Some(oid) = oid_of(session, name).await? else {
        return Ok(());
    };
    if has_subscriptions(session, oid).await? {
        // They were restored, and have never been connected: no slot is theirs.
        let inside = server.session_in(name).await?;
        drop_subscriptions(&inside).await?;
        inside.close().await;
    }
    drop_database(session, name, oid).await
}

/// Whether subscriptions stand in the way of dropping the database.
pub(super) async fn has_subscriptions(session: &Session, oid: u32) -> Result<bool> {
    let query = "SELECT 1 FROM pg_catalog.pg_subscription WHERE subdbid = $1 LIMIT 1";
    let rows = session
        .query("looking for subscriptions", query, &[(&oid, Type::OID)])
        .await?;
    Ok(!rows.is_empty())
}

async fn drop_subscriptions(session: &Session) -> Result<()> {
    let query = "SELECT s.subname::pg_catalog.text FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d \
                 ON d.oid = s.subdbid WHERE d.datname = pg_catalog.current_database()";
    let rows = session
        .query("looking for subscriptions", query, &[])
        .await?;
    for row in rows {
        let name = Ident::new(row.get::<_, ReadText>(0).0);
        for statement in [
            sql!["ALTER SUBSCRIPTION ", &name, " DISABLE"],
            sql!["ALTER SUBSCRIPTION ", &name, " SET (slot_name = NONE)"],
            sql!["DROP SUBSCRIPTION ", &name],
        ] {
            let object = format!("subscription {}", name.quoted());
            session
                .batch(object, "DROP SUBSCRIPTION", &statement.text())
                .await?;
        }
    }
    Ok(())
}

/// How often a `DROP DATABASE` is tried, each of which waits five seconds for sessions by itself.
const DROPS_MAX: u32 = 3;

/// Drops a database, ending the sessions in it.
pub(super) async fn drop_database(session: &Session, name: &str, oid: u32) -> Result<()> {
    let object = format!("database {}", Ident::new(name).quoted());
    let statement = sql!["DROP DATABASE ", Ident::new(name)].text();
    for n in 1.. {
        sessions::end(session, oid).await?;
        match session.batch(&object, "DROP DATABASE", &statement).await {
            Err(error) if n < DROPS_MAX && error.sqlstate() == Some(sessions::IN_USE) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
    unreachable!("the last try returns")
}
