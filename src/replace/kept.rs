//! Databases that were replaced, and are kept under another name: finding them, dropping them, and putting the newest back.

use jiff::{SignedDuration, Timestamp, Unit};
use serde::Serialize;

use super::examine::{self, Old, Ties};
use super::names::{self, KeptMark};
use super::server::{self, Listed, Server};
use super::swap::Exchange;
use super::{properties, sessions, take_lock};
use crate::error::{Error, Result};
use crate::pg::{ConnSettings, Session};
use crate::sql::{Ident, sql};

/// A database that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name now.
    pub name: String,
    /// When it was replaced.
    pub until: Timestamp,
    /// How large it is, where the connecting role may know.
    pub n_bytes: Option<u64>,
    /// How many are connected to it.
    pub n_sessions: usize,
    #[serde(skip)]
    oid: u32,
    #[serde(skip)]
    comment: Option<String>,
}

/// What [`undo`] has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Undone {
    /// The database.
    pub database: String,
    /// The name under which the one was kept that has its name back.
    pub restored: String,
    /// The name under which the other one is kept now.
    pub kept: String,
    /// Sessions that were ended.
    pub sessions_ended: u64,
}

/// The databases that had the name that `target` says, and were replaced; oldest first.
///
/// # Errors
/// [`Error::Connect`].
pub async fn kept(target: &ConnSettings, role: Option<&str>) -> Result<Vec<Kept>> {
    let (_, session) = Server::open(target, role).await?;
    let found = of_name(&session, target.dbname()).await;
    session.close().await;
    found
}

async fn of_name(session: &Session, name: &str) -> Result<Vec<Kept>> {
    let mut found = Vec::new();
    for one in server::databases(session).await? {
        let Some(mark) = mark_of(&one).filter(|mark| mark.was == name) else {
            continue;
        };
        found.push(Kept {
            until: mark.until,
            n_bytes: one.n_bytes.and_then(|n| u64::try_from(n).ok()),
            n_sessions: sessions::connected(session, one.oid).await?.len(),
            oid: one.oid,
            comment: mark.comment,
            name: one.name,
        });
    }
    found.sort_by_key(|one| one.until);
    Ok(found)
}

/// The mark of a database that was replaced; `None` for any other, whatever it is called and whatever its comment says.
fn mark_of(one: &Listed) -> Option<KeptMark> {
    let mark = KeptMark::read(one.comment.as_deref()?)?;
    mark.is_of(&one.name).then_some(mark)
}

/// The time with which to mark a database that is replaced now: the first second whose name is free.
pub(super) async fn free_time(session: &Session, name: &str) -> Result<Timestamp> {
    let now = Timestamp::now().round(Unit::Second);
    let mut at = now.unwrap_or_else(|_| Timestamp::now());
    while server::oid_of(session, &names::kept(name, at))
        .await?
        .is_some()
    {
        at += SignedDuration::from_secs(1);
    }
    Ok(at)
}

/// Drops databases that were replaced, as [`kept`] gave them, and ends who is connected to them. Gives their names.
///
/// # Errors
/// [`Error::Refused`] before the first is dropped if one has subscriptions, whose slots would stay on the publisher.
pub async fn drop_kept(
    target: &ConnSettings,
    role: Option<&str>,
    chosen: &[Kept],
) -> Result<Vec<String>> {
    let (server, session) = Server::open(target, role).await?;
    let there = of_name(&session, target.dbname()).await?;
    let mut findings = Vec::new();
    let chosen = chosen
        .iter()
        .filter(|one| there.iter().any(|other| other.oid == one.oid));
    let chosen: Vec<&Kept> = chosen.collect();
    for one in &chosen {
        if server::has_subscriptions(&session, one.oid).await? {
            findings.push(format!(
                "database {} has subscriptions, whose slots would stay on their publishers; drop them there first (DROP SUBSCRIPTION)",
                Ident::new(&one.name).quoted()
            ));
        }
    }
    if !findings.is_empty() {
        return Err(Error::Refused {
            what: format!(
                "dropping what database {} was",
                Ident::new(target.dbname()).quoted()
            ),
            findings,
        });
    }
    let mut dropped = Vec::new();
    for one in chosen {
        let object = format!("database {}", Ident::new(&one.name).quoted());
        // A template cannot be dropped.
        let ordinary = sql![
            "ALTER DATABASE ",
            Ident::new(&one.name),
            " IS_TEMPLATE false"
        ];
        session
            .batch(&object, "ALTER DATABASE", &ordinary.text())
            .await?;
        server::drop_database(&session, &one.name, one.oid).await?;
        dropped.push(one.name.clone());
    }
    server::sweep(&server, &session, None).await?;
    session.close().await;
    Ok(dropped)
}

/// Gives the newest database that was replaced its name back; the one that has it is kept in turn, as by a replacement. Each
/// keeps what it is to its cluster.
///
/// # Errors
/// As [`replace`](super::replace); [`Error::NotFound`] if no such database is there.
pub async fn undo(target: &ConnSettings, role: Option<&str>) -> Result<Undone> {
    let (server, second) = Server::open(target, role).await?;
    let current = Old::read(&second, target.dbname()).await?;
    take_lock(&second, &current).await?;
    let Some(before) = of_name(&second, target.dbname()).await?.pop() else {
        return Err(Error::NotFound {
            what: format!(
                "no database is kept that was {} before",
                Ident::new(target.dbname()).quoted()
            ),
            remedy: "only what --replace has replaced can be put back, until it is dropped"
                .to_owned(),
        });
    };
    let ties = Ties::read(&second, None, current.oid).await?;
    examine::still_free(&current, &ties, role.unwrap_or(target.user()))?;
    let until = free_time(&second, target.dbname()).await?;
    let exchange = Exchange::new(&current, until, (&before.name, before.oid));
    let session = server.session().await?;
    let statements = vec![properties::comment(&before.name, before.comment.as_deref())];
    let done = exchange
        .exchange((&session, &second), || {
            std::future::ready(Ok(statements.clone()))
        })
        .await?;
    session.close().await;
    second.close().await;
    Ok(Undone {
        database: target.dbname().to_owned(),
        restored: before.name.clone(),
        kept: exchange.kept,
        sessions_ended: done.ended.len() as u64,
    })
}
