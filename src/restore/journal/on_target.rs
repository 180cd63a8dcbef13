//! A journal on its target: made, found, claimed, read, and dropped at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::{Bond, DONE, Item, Journal, Line, Note, UNLOGGED, What};
use crate::error::{Error, Result};
use crate::pg::Session;
use crate::pg::version::V14;
use crate::progress::{Event, Progress};
use crate::sql::{Ident, Literal, ReadText, sql};
use crate::toc::EntryId;

/// The journal as errors name it.
const OBJECT: &str = "the journal of the restore";
/// Held by the one restore that may write the journal (`pg_advisory_lock`; the letters are `pgark`).
const OWNER: i64 = 0x0070_6761_726b_0001;
/// Held shared by every connection that works for it.
const WORKER: i64 = 0x0070_6761_726b_0002;
/// How often is looked whether connections of an earlier run have ended.
const POLL: Duration = Duration::from_millis(200);
/// After so many looks those who still work are named.
const NAMED_AFTER: u32 = 10;

/// The journal's tables. Its schema has no place in a dump; keys see to it that no work is done twice.
const TABLES: &str = "
CREATE SCHEMA pgark_restore;
COMMENT ON SCHEMA pgark_restore IS 'Journal of a pgark restore that has not ended: restore --resume goes on with it';
CREATE TABLE pgark_restore.restore (bond pg_catalog.text NOT NULL, begun pg_catalog.timestamptz NOT NULL, ended pg_catalog.timestamptz);
CREATE TABLE pgark_restore.done (entry pg_catalog.int8, what pg_catalog.text, n pg_catalog.int8, PRIMARY KEY (entry, what, n));
CREATE UNLOGGED TABLE pgark_restore.done_unlogged (entry pg_catalog.int8, what pg_catalog.text, n pg_catalog.int8, PRIMARY KEY (entry, what, n));
CREATE TABLE pgark_restore.note (entry pg_catalog.int8, note pg_catalog.text);
INSERT INTO pgark_restore.done_unlogged VALUES (-1, 'intact', 0)";
/// Takes the journal away.
const DROP: &str = "DROP SCHEMA IF EXISTS pgark_restore CASCADE;\n";
/// The row that a crash of the server takes out of the UNLOGGED table.
const INTACT: &str =
    "INSERT INTO pgark_restore.done_unlogged VALUES (-1, 'intact', 0) ON CONFLICT DO NOTHING";
/// Who holds one of the locks, and what he does.
const HOLDERS: &str = "
SELECT a.pid, pg_catalog.left(coalesce(a.query, ''), 80) FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
  JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
 WHERE l.locktype = 'advisory' AND l.classid = $1::pg_catalog.int8::pg_catalog.oid AND l.objsubid = 1 AND l.granted
   AND a.pid <> pg_catalog.pg_backend_pid() ORDER BY a.pid";

/// The journal of an earlier restore.
#[derive(Debug)]
pub(in crate::restore) struct Found {
    /// What it is for; `None` if that cannot be read.
    pub(in crate::restore) bond: Option<Bond>,
    /// When it was begun, for people.
    pub(in crate::restore) begun: String,
    /// True if the restore came to its end, with objects that failed.
    pub(in crate::restore) has_ended: bool,
}

/// Looks for a journal.
pub(in crate::restore) async fn look(session: &Session) -> Result<Option<Found>> {
    let there = "SELECT pg_catalog.to_regclass('pgark_restore.restore') IS NOT NULL";
    let rows = session.query(OBJECT, there, &[]).await?;
    if !rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
        return Ok(None);
    }
    let header = "SELECT bond, pg_catalog.to_char(begun AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', ended IS NOT NULL FROM pgark_restore.restore";
    let rows = session.query(OBJECT, header, &[]).await?;
    let found = rows.first().map(|row| Found {
        bond: serde_json::from_str(&row.get::<_, ReadText>(0).0).ok(),
        begun: row.get::<_, ReadText>(1).0,
        has_ended: row.get(2),
    });
    Ok(Some(found.unwrap_or(Found {
        bond: None,
        begun: "at an unknown time".to_owned(),
        has_ended: false,
    })))
}

/// How a journal begins.
#[derive(Debug, Clone, Copy)]
pub(in crate::restore) struct Begin {
    /// True if a transaction is open already.
    pub(in crate::restore) is_open: bool,
    /// True if another one is there, of a restore that has come to its end.
    pub(in crate::restore) is_over: bool,
}

/// Begins a journal, and commits the transaction, which may be open already: what it did is then kept with it.
///
/// Errors: [`Error::Failed`] if another restore works on the database.
pub(in crate::restore) async fn begin(session: &Session, bond: &Bond, how: Begin) -> Result<()> {
    if !try_lock(session, OWNER).await? {
        return Err(busy(&holders(session).await?));
    }
    let header = sql![
        "INSERT INTO pgark_restore.restore VALUES (",
        Literal(&bond.json()),
        ", pg_catalog.clock_timestamp(), NULL)"
    ];
    let begin = if how.is_open { "SELECT 1" } else { "BEGIN" };
    let drop = if how.is_over { DROP } else { "" };
    let text = format!("{begin};\n{drop}{TABLES};\n{};\nCOMMIT", header.text());
    session.batch(OBJECT, "making it", &text).await
}

/// Waits until nobody works for the earlier restore any more, and takes its place.
pub(in crate::restore) async fn claim(session: &Session, progress: &dyn Progress) -> Result<()> {
    let mut n_looks = 0;
    for lock in [OWNER, WORKER] {
        while !try_lock(session, lock).await? {
            n_looks += 1;
            if n_looks % NAMED_AFTER == 0 {
                let text = format!("waiting: {}", working(&holders(session).await?));
                progress.event(Event::Warning(text));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    // Those who work for this restore share it.
    let unlock = format!("SELECT pg_catalog.pg_advisory_unlock({WORKER})");
    session.batch(OBJECT, "pg_advisory_unlock", &unlock).await
}

/// Says that a connection works for the restore. It ends soon if its client is gone, so that the next one need not wait: within two
/// seconds while it works (since 14, where the system can tell), within a minute while it waits for a client that vanished.
pub(in crate::restore) async fn enlist(session: &Session) -> Result<()> {
    let lock = format!("SELECT pg_catalog.pg_advisory_lock_shared({WORKER})");
    session
        .batch(OBJECT, "pg_advisory_lock_shared", &lock)
        .await?;
    let alive = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3";
    let watching = "; SET client_connection_check_interval = '2s'";
    let watching = if session.version() >= V14 {
        watching
    } else {
        ""
    };
    // Not every system has all of them, and none is needed.
    let _ = session
        .batch(OBJECT, "SET", &format!("{alive}{watching}"))
        .await;
    Ok(())
}

async fn try_lock(session: &Session, lock: i64) -> Result<bool> {
    let query = "SELECT pg_catalog.pg_try_advisory_lock($1)";
    let rows = session.query(OBJECT, query, &[(&lock, Type::INT8)]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

async fn holders(session: &Session) -> Result<Vec<(i32, String)>> {
    let class = OWNER >> 32;
    let rows = session
        .query(OBJECT, HOLDERS, &[(&class, Type::INT8)])
        .await?;
    let holder = |row: &tokio_postgres::Row| (row.get(0), row.get::<_, ReadText>(1).0);
    Ok(rows.iter().map(holder).collect())
}

fn working(holders: &[(i32, String)]) -> String {
    let shown = holders.iter().map(|(pid, query)| {
        format!(
            "{pid} ({})",
            crate::sql::printable(&crate::sql::hide_passwords(query))
        )
    });
    format!(
        "connections of another restore work on the database: {}; SELECT pg_terminate_backend(PID) ends one",
        shown.collect::<Vec<_>>().join(", ")
    )
}

fn busy(holders: &[(i32, String)]) -> Error {
    Error::failed(OBJECT, working(holders), "wait until they have ended")
}

/// Reads what is done, and makes the journal ready to go on with.
pub(in crate::restore) async fn read(session: &Session) -> Result<Journal> {
    let mut journal = Journal {
        is_resumed: true,
        ..Journal::default()
    };
    let stays = items(session, DONE).await?;
    let goes = items(session, UNLOGGED).await?;
    let intact = "SELECT FROM pgark_restore.done_unlogged WHERE entry = -1";
    journal.has_crashed = session.query(OBJECT, intact, &[]).await?.is_empty();
    let torn = stays.iter().filter(|item| item.what == What::RowsBoth);
    let torn = torn.filter(|item| !goes.contains(item));
    journal.torn = torn.map(|item| item.entry).collect();
    journal.done = stays;
    journal.done.extend(goes);
    let notes = "SELECT entry, note FROM pgark_restore.note";
    for row in session.query(OBJECT, notes, &[]).await? {
        let entry = entry(row.get(0));
        let note = serde_json::from_str::<Note>(&row.get::<_, ReadText>(1).0);
        journal.notes.extend(entry.zip(note.ok()));
    }
    let again = format!("{INTACT};\nUPDATE pgark_restore.restore SET ended = NULL");
    session.batch(OBJECT, "going on", &again).await?;
    Ok(journal)
}

fn entry(number: i64) -> Option<EntryId> {
    u32::try_from(number).ok().map(EntryId)
}

async fn items(session: &Session, table: &str) -> Result<BTreeSet<Item>> {
    let query = format!("SELECT entry, what, n FROM {table} WHERE entry >= 0");
    let rows = session.query(OBJECT, &query, &[]).await?;
    let item = |row: &tokio_postgres::Row| {
        Some(Item {
            entry: entry(row.get(0))?,
            what: What::of(&row.get::<_, ReadText>(1).0)?,
            n: u32::try_from(row.get::<_, i64>(2)).ok()?,
        })
    };
    rows.iter()
        .map(|row| item(row).ok_or_else(|| Error::corrupt(OBJECT, table, "a line of it cannot be")))
        .collect()
}

/// True if the line stands in the journal: the transaction that wrote it was kept. `pid` is the backend that was at it, for whose
/// end this waits.
///
/// Errors: [`Error::Failed`] if the backend does not end.
pub(in crate::restore) async fn has_line(session: &Session, pid: i32, line: Line) -> Result<bool> {
    const LOOKS_MAX: u32 = 300;
    let alive = "SELECT FROM pg_catalog.pg_stat_activity WHERE pid = $1";
    let mut n_looks = 0;
    while !session
        .query(OBJECT, alive, &[(&pid, Type::INT4)])
        .await?
        .is_empty()
    {
        n_looks += 1;
        if n_looks > LOOKS_MAX {
            return Err(Error::failed(
                OBJECT,
                format_args!("backend {pid}, whose connection was lost, does not end"),
                format_args!("SELECT pg_terminate_backend({pid}), then restore --resume"),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
    let Item { entry, what, n } = line.item;
    let table = if line.fate == super::Fate::Goes {
        UNLOGGED
    } else {
        DONE
    };
    let query = format!(
        "SELECT FROM {table} WHERE entry = {} AND what = '{}' AND n = {n}",
        entry.0,
        what.word()
    );
    Ok(!session.query(OBJECT, &query, &[]).await?.is_empty())
}

/// The UNLOGGED relations of the database: schema and name.
pub(in crate::restore) async fn unlogged(session: &Session) -> Result<BTreeSet<(String, String)>> {
    let query = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S') AND n.nspname <> 'pgark_restore'";
    let rows = session.query(OBJECT, query, &[]).await?;
    let text = |row: &tokio_postgres::Row, at| row.get::<_, ReadText>(at).0;
    Ok(rows
        .iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .collect())
}

/// Notes that the restore has come to its end, with objects that failed: the journal no longer stands in anybody's way.
pub(in crate::restore) async fn close(session: &Session) -> Result<()> {
    let ended = "UPDATE pgark_restore.restore SET ended = pg_catalog.clock_timestamp()";
    session.batch(OBJECT, "closing it", ended).await
}

/// Drops event triggers that an earlier run made, and what the journal says of them: they would see the work that is left, as the
/// source's never did. They are made again when it is done.
pub(in crate::restore) async fn take_back(
    session: &Session,
    event_triggers: &[(EntryId, &str)],
) -> Result<()> {
    let mut statements = vec!["BEGIN".to_owned()];
    for (entry, name) in event_triggers {
        statements.push(sql!["DROP EVENT TRIGGER IF EXISTS ", Ident::new(*name)].text());
        statements.push(format!("DELETE FROM {DONE} WHERE entry = {}", entry.0));
        statements.push(format!(
            "DELETE FROM pgark_restore.note WHERE entry = {}",
            entry.0
        ));
    }
    statements.push("COMMIT".to_owned());
    session
        .batch(OBJECT, "event triggers", &statements.join(";\n"))
        .await
}

/// Drops the journal of a restore that has ended. Its event triggers sleep meanwhile: the source's never saw such a schema.
pub(in crate::restore) async fn end(session: &Session, event_triggers: &[&str]) -> Result<()> {
    let awake = "SELECT evtname::pg_catalog.text, evtenabled::pg_catalog.text FROM pg_catalog.pg_event_trigger \
                 WHERE evtenabled <> 'D' AND evtname = ANY ($1)";
    let mut statements = vec!["BEGIN".to_owned()];
    let mut back = Vec::new();
    if !event_triggers.is_empty() {
        let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&event_triggers, Type::TEXT_ARRAY)];
        for row in session.query(OBJECT, awake, params).await? {
            let name = Ident::new(row.get::<_, ReadText>(0).0);
            let mode = match row.get::<_, ReadText>(1).0.as_str() {
                "A" => " ENABLE ALWAYS",
                "R" => " ENABLE REPLICA",
                _ => " ENABLE",
            };
            statements.push(sql!["ALTER EVENT TRIGGER ", &name, " DISABLE"].text());
            back.push(sql!["ALTER EVENT TRIGGER ", &name, mode].text());
        }
    }
    statements.push(DROP.trim_end_matches([';', '\n']).to_owned());
    statements.append(&mut back);
    statements.push("COMMIT".to_owned());
    let outcome = session
        .batch(OBJECT, "dropping it", &statements.join(";\n"))
        .await;
    if outcome.is_err() && !session.is_closed() {
        // The error that led here is the one to report.
        let _ = session.batch(OBJECT, "ROLLBACK", "ROLLBACK").await;
    }
    outcome
}
