//! Lock first, then look: tables are locked in a transaction that has taken no snapshot yet.
//!
//! `TRUNCATE` and rewriting `ALTER TABLE` are not MVCC-safe: with a snapshot older than the lock, a table truncated in between
//! reads as empty (seen on 15). `LOCK TABLE` itself takes no snapshot, so the first query after it sees what the locks protect.

use std::collections::BTreeMap;

use super::listing::Listing;
use super::lock_table::LockTable;
use super::rights::{Barriers, Reach, Unreadable};
use super::wanted::Wanted;
use crate::error::{Error, Result};
use crate::kinds::row::Oid;
use crate::pg::{Session, SnapshotOwner};
use crate::progress::{Event, Progress};
use crate::sql::QualifiedName;
use crate::toc::Part;

/// How often a changing database is listed and locked again before the dump gives up.
pub const TRIES_MAX: u32 = 5;

/// Length of one `LOCK TABLE` statement, after which another begins (`pg_dump` flushes near the same).
const LOCK_BYTES_MAX: usize = 100_000;

/// What was locked and what was seen under the locks.
#[derive(Debug)]
pub struct Locked {
    /// Relations as the transaction's snapshot has them.
    pub listing: Listing,
    /// The decision made from that listing, without what cannot be read.
    pub wanted: Wanted,
    /// What cannot be read; empty unless that was to be left out.
    pub barriers: Barriers,
}

/// Where and how tables are locked.
#[derive(Debug, Clone, Copy)]
pub struct LockRequest<'a> {
    /// The connected database.
    pub database: &'a str,
    /// The user's own search path.
    pub search_path: &'a [String],
    /// Wait for a snapshot that no serializable transaction can contradict.
    pub serializable_deferrable: bool,
    /// The server's room for locks.
    pub lock_table: LockTable,
    /// How much is going to be read.
    pub reach: Reach,
    /// What becomes of what the role cannot read.
    pub unreadable: Unreadable,
}

impl LockRequest<'_> {
    /// What is wanted of a listing and can be read.
    ///
    /// Errors: [`Error::Unreadable`] if something cannot be and may not be left out.
    async fn decide(
        &self,
        session: &Session,
        listing: &Listing,
        choose: &(dyn Fn(&Listing) -> Result<Wanted> + Sync),
    ) -> Result<(Wanted, Barriers)> {
        let mut wanted = choose(listing)?;
        let barriers = Barriers::find(session, listing, &wanted, self.reach).await?;
        match self.unreadable {
            Unreadable::Refuse if !barriers.is_empty() => {
                return Err(barriers.refusal(self.database, session.version()));
            }
            Unreadable::Refuse => {}
            Unreadable::LeaveOut => barriers.leave_out(&mut wanted),
        }
        barriers.spare_locks(&mut wanted);
        Ok((wanted, barriers))
    }
}

/// Lists, locks and lists again until every wanted table is locked under the name and OID that the snapshot has.
///
/// Errors: [`Error::Unreadable`] before anything is locked; others name the table that could not be locked, or that kept changing.
pub async fn lock_tables(
    mut session: Session,
    request: LockRequest<'_>,
    progress: &dyn Progress,
    choose: &(dyn Fn(&Listing) -> Result<Wanted> + Sync),
) -> Result<(SnapshotOwner, Locked)> {
    let LockRequest {
        database,
        search_path,
        serializable_deferrable,
        lock_table,
        ..
    } = request;
    let mut last_change = String::new();
    for _ in 0..TRIES_MAX {
        let before = Listing::read(&session, database, search_path).await?;
        let (wanted, _) = request.decide(&session, &before, choose).await?;
        let names = lockable(&before, &wanted);
        let owner = SnapshotOwner::begin(session, serializable_deferrable).await?;
        if let Err(error) = lock_all(owner.session(), names.values()).await {
            if !vanished(&error) {
                return Err(explain(lock_table.explain(error, before.relations.len())));
            }
            session = owner.give_up().await?;
            last_change = match error.server_says() {
                Some(said) => format!("{error}: {said}"),
                None => error.to_string(),
            };
            continue;
        }
        let listing = Listing::read(owner.session(), database, search_path).await?;
        // Rights may have changed since the first look.
        let (wanted, barriers) = request.decide(owner.session(), &listing, choose).await?;
        let seen = lockable(&listing, &wanted);
        let Some((_, name)) = seen.iter().find(|(oid, name)| names.get(oid) != Some(name)) else {
            let locked = Locked {
                listing,
                wanted,
                barriers,
            };
            return Ok((owner, locked));
        };
        last_change = format!("{} was created or renamed meanwhile", name.quoted());
        progress.event(Event::Warning(format!("{last_change}; locking again")));
        session = owner.give_up().await?;
    }
    Err(Error::failed(
        "locking the tables",
        format!("tables kept changing during {TRIES_MAX} tries; the last: {last_change}"),
        "run the dump when no schema change is under way",
    ))
}

/// The tables to lock, by OID: ordinary and partitioned ones of which more than privileges and comments is wanted, as far as
/// the role may lock them.
fn lockable(listing: &Listing, wanted: &Wanted) -> BTreeMap<Oid, QualifiedName> {
    let rows = listing
        .relations
        .values()
        .filter(|row| matches!(row.kind.0, 'r' | 'p'));
    rows.filter(|row| {
        let parts = wanted.relations.get(&row.oid).copied().unwrap_or_default();
        let needed = parts.has(Part::Define) || wanted.rows.contains(&row.oid);
        needed && !wanted.unlocked.contains(&row.oid)
    })
    .map(|row| (row.oid, row.qualified()))
    .collect()
}

async fn lock_all(session: &Session, names: impl Iterator<Item = &QualifiedName>) -> Result<()> {
    let mut list = String::new();
    for name in names {
        if list.len() > LOCK_BYTES_MAX {
            lock_batch(session, &list).await?;
            list.clear();
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str("ONLY ");
        list.push_str(&name.quoted());
    }
    if list.is_empty() {
        Ok(())
    } else {
        lock_batch(session, &list).await
    }
}

async fn lock_batch(session: &Session, list: &str) -> Result<()> {
    let sql = format!("LOCK TABLE {list} IN ACCESS SHARE MODE");
    session
        .batch("the tables to dump", "LOCK TABLE", &sql)
        .await
}

/// Undefined table or schema: dropped or renamed between list and lock, so the list is taken again.
fn vanished(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("42P01" | "3F000"))
}

fn explain(error: Error) -> Error {
    let remedy = match error.sqlstate() {
        Some("42501") => {
            "grant SELECT on the table (or USAGE on its schema) to the dumping role, or leave it out with -T"
        }
        Some("55P03" | "57014") => {
            "another session holds the table; try again, or end that session"
        }
        _ => return error,
    };
    Error::Failed {
        object: "the tables to dump".into(),
        problem: "they could not be locked".into(),
        remedy: remedy.into(),
        source: Some(Box::new(error)),
    }
}
