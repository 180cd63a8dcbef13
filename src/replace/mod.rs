//! Replaces a database by an archive: the archive is restored into a database beside it and checked, then both names are
//! exchanged in one transaction.
//!
//! Until that transaction is committed the old database is in service as if nothing happened, and afterwards the new one is; the
//! old one stays under another name, until [`drop_kept`]. What a killed run leaves is a database with a mark (`names`), which
//! the next run drops, unless the run that made it still holds its lock (`server`). What the database was to its cluster comes
//! along (`properties`); what stands against it is found first (`examine`). How rows and definitions come is the restore's.

mod examine;
mod kept;
mod names;
mod options;
mod properties;
mod server;
mod sessions;
mod standing;
mod swap;

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

pub use kept::{Kept, Undone, drop_kept, kept, undo};
pub use options::ReplaceOptions;
pub use sessions::Connected;
pub(crate) use standing::standing_alone;
pub use standing::{RowCount, Standing, TableDifference, standing};

use self::examine::{Old, Ties};
use self::names::KeptMark;
use self::server::Server;
use self::swap::{Exchange, Exchanged};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::pg::{ConnSettings, Session};
use crate::progress::{Event, Progress};
use crate::restore::create::{self, Place};
use crate::restore::{Phase, RestoreReport, restore};
use crate::sql::Ident;

/// The tablespace in which a database is unless it was told otherwise.
const DEFAULT_TABLESPACE: &str = "pg_default";

/// What became of a replacement.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplaceReport {
    /// What became of the restore. If it is not complete, nothing was replaced.
    pub restored: RestoreReport,
    /// Under which name the old database is kept; absent if nothing was replaced.
    pub kept: Option<String>,
    /// Sessions on the old database that were ended.
    pub sessions_ended: u64,
    /// For how long nobody could connect, in milliseconds.
    pub closed_ms: u64,
    /// What replacements that were killed had left, and was dropped.
    pub swept: Vec<String>,
}

/// Replaces the database that `target` names by the archive.
///
/// Dropping the future leaves the old database in service; the one beside it is dropped, at the latest by the next call.
///
/// # Errors
/// [`Error::Usage`] for a partial archive, [`Error::Refused`] with all findings before anything was changed, [`Error::Busy`] if
/// another replacement of the database is going on or somebody cannot be parted from it, and those of [`restore`]. After any
/// of them the old database is in service and untouched.
pub async fn replace(
    archive: &Archive,
    target: &ConnSettings,
    options: &ReplaceOptions,
    progress: Arc<dyn Progress>,
) -> Result<ReplaceReport> {
    options.check(archive)?;
    let role = options.restore.role.as_deref();
    let (server, second) = Server::open(target, role).await?;
    let old = Old::read(&second, target.dbname()).await?;
    take_lock(&second, &old).await?;
    let swept = server::sweep(&server, &second, Some(old.oid)).await?;
    let scratch = names::scratch(&old.name, old.oid, random());
    let run = Run {
        archive,
        options,
        progress: &progress,
        scratch: target.with_dbname(&scratch),
        user: role.unwrap_or(target.user()),
        old,
        server,
    };
    let mut warnings = run.examine(&second).await?;
    warnings.splice(0..0, swept.warnings);
    for warning in &warnings {
        progress.event(Event::Warning(warning.clone()));
    }
    let mut report = Box::pin(run.fill_and_exchange(second)).await?;
    report.restored.warnings.splice(0..0, warnings);
    report.swept = swept.dropped;
    Ok(report)
}

/// Errors: [`Error::Busy`].
async fn take_lock(session: &Session, old: &Old) -> Result<()> {
    if server::lock(session, old.oid).await? {
        return Ok(());
    }
    Err(Error::Busy {
        what: format!(
            "another replacement of database {} is going on",
            Ident::new(&old.name).quoted()
        ),
        remedy: "wait until it has ended; one whose program was killed ends with its connection"
            .to_owned(),
    })
}

/// A number that no other run has, as good as surely.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(std::process::id());
    u32::try_from(hash & u64::from(u32::MAX)).expect("it has 32 bits")
}

/// A replacement under way.
struct Run<'a> {
    archive: &'a Archive,
    options: &'a ReplaceOptions,
    progress: &'a Arc<dyn Progress>,
    /// The database beside.
    scratch: ConnSettings,
    user: &'a str,
    old: Old,
    server: Server,
}

impl Run<'_> {
    async fn examine(&self, second: &Session) -> Result<Vec<String>> {
        let inside = if self.old.allows_connections {
            Some(self.server.session_in(&self.old.name).await?)
        } else {
            // One of the findings.
            None
        };
        let ties = Ties::read(second, inside.as_ref(), self.old.oid).await;
        if let Some(inside) = inside {
            inside.close().await;
        }
        let about = (&self.old, &ties?);
        examine::examine(self.archive, about, &self.scratch, &self.options.beside()).await
    }

    /// Makes the database beside, and sees to it that it is gone unless it has taken the old one's place.
    async fn fill_and_exchange(&self, second: Session) -> Result<ReplaceReport> {
        let litter = Litter(Some((
            self.server.clone(),
            self.scratch.dbname().to_owned(),
        )));
        let outcome = Box::pin(self.try_all(second)).await;
        let is_done = outcome.as_ref().is_ok_and(|report| report.kept.is_some());
        if is_done {
            litter.keep();
            return outcome;
        }
        let dropped = litter.clear().await;
        match (outcome, dropped) {
            (Ok(mut report), Err(error)) => {
                report.restored.warnings.push(self.not_dropped(&error));
                Ok(report)
            }
            (outcome, dropped) => {
                if let Err(error) = dropped {
                    self.progress
                        .event(Event::Warning(self.not_dropped(&error)));
                }
                outcome
            }
        }
    }

    fn not_dropped(&self, error: &Error) -> String {
        format!(
            "database {} could not be dropped: {}; the next replacement drops it",
            Ident::new(self.scratch.dbname()).quoted(),
            crate::restore::chain(error)
        )
    }

    async fn try_all(&self, second: Session) -> Result<ReplaceReport> {
        self.make(&second).await?;
        let oid = self.scratch_oid(&second).await?;
        let until = Timestamp::now();
        self.exchange_at(until, oid)
            .rehearse(&second, &self.carried().await?)
            .await?;
        let mut restored = restore(
            self.archive,
            &self.scratch,
            &self.options.beside(),
            Arc::clone(self.progress),
        )
        .await?;
        self.old.name.clone_into(&mut restored.database);
        let mut report = ReplaceReport {
            kept: None,
            sessions_ended: 0,
            closed_ms: 0,
            swept: Vec::new(),
            restored,
        };
        if report.restored.is_complete() {
            let since = Instant::now();
            let (kept, exchanged) = self.exchange(second, oid).await?;
            report.kept = Some(kept);
            report.sessions_ended = exchanged.ended.len() as u64;
            report.closed_ms = u64::try_from(exchanged.closed.as_millis()).unwrap_or(u64::MAX);
            report.restored.phases.push(Phase {
                name: "exchange",
                seconds: since.elapsed().as_secs_f64(),
            });
        }
        Ok(report)
    }

    /// Makes the database beside, with the archive's encoding and locale, where the old one is.
    async fn make(&self, session: &Session) -> Result<()> {
        let name = self.scratch.dbname();
        let tablespace = self.old.tablespace.as_str();
        let place = Place {
            // Whoever names the default one needs a right on it.
            tablespace: Some(tablespace).filter(|name| *name != DEFAULT_TABLESPACE),
            connection_limit: Some(names::mark(name)),
        };
        create::create(session, name, &self.archive.manifest().source, place).await
    }

    async fn scratch_oid(&self, session: &Session) -> Result<u32> {
        let name = self.scratch.dbname();
        let oid = server::oid_of(session, name).await?;
        oid.ok_or_else(|| {
            Error::failed(
                format_args!("database {}", Ident::new(name).quoted()),
                "somebody has dropped it",
                "",
            )
        })
    }

    async fn carried(&self) -> Result<Vec<String>> {
        properties::carried(&self.server, &self.old, self.scratch.dbname()).await
    }

    fn exchange_at(&self, until: Timestamp, scratch: u32) -> Exchange<'_> {
        Exchange::new(&self.old, until, (self.scratch.dbname(), scratch))
    }

    async fn exchange(&self, second: Session, scratch: u32) -> Result<(String, Exchanged)> {
        self.progress.event(Event::Phase {
            name: "exchange",
            bytes: 0,
            tasks: 1,
        });
        let session = self.server.session().await?;
        let second = self.still_locked(second).await?;
        let ties = Ties::read(&second, None, self.old.oid).await?;
        examine::still_free(&self.old, &ties, self.user)?;
        let until = kept::free_time(&second, &self.old.name).await?;
        let exchange = self.exchange_at(until, scratch);
        let done = exchange
            .exchange((&session, &second), || self.carried())
            .await?;
        session.close().await;
        second.close().await;
        Ok((exchange.kept, done))
    }

    /// The session with the lock, or a new one, if a long restore has cost it its connection.
    async fn still_locked(&self, second: Session) -> Result<Session> {
        if !second.is_closed()
            && second
                .query("looking whether it lives", "SELECT 1", &[])
                .await
                .is_ok()
        {
            return Ok(second);
        }
        let session = self.server.session().await?;
        take_lock(&session, &self.old).await?;
        Ok(session)
    }
}

/// A database beside that has not taken the old one's place, and is dropped if the work is given up.
#[derive(Debug)]
struct Litter(Option<(Server, String)>);

impl Litter {
    fn keep(mut self) {
        self.0 = None;
    }

    async fn clear(mut self) -> Result<()> {
        match self.0.take() {
            Some((server, name)) => drop_beside(server, name).await,
            None => Ok(()),
        }
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        if let (Some((server, name)), Ok(runtime)) =
            (self.0.take(), tokio::runtime::Handle::try_current())
        {
            // Nobody is left to be told of a failure; the next run drops what stays.
            runtime.spawn(drop_beside(server, name));
        }
    }
}

async fn drop_beside(server: Server, name: String) -> Result<()> {
    let session = server.session().await?;
    let dropped = server::drop_scratch(&server, &session, &name).await;
    session.close().await;
    dropped
}

/// The mark for a database that has this comment, which may have an old mark.
fn marked(old: &Old, until: Timestamp) -> KeptMark {
    let stale = old.comment.as_deref().and_then(KeptMark::read);
    KeptMark {
        comment: stale.map_or_else(|| old.comment.clone(), |stale| stale.comment),
        was: old.name.clone(),
        until,
    }
}
