//! The exchange of the names: one transaction, in which both databases get them and all else that makes the new one the old one's
//! successor, while a second session ends who is connected to the old one. Before its COMMIT nothing has changed for anybody.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::examine::Old;
use super::sessions::{self, Connected};
use super::{marked, names, properties, server};
use crate::error::{Error, Result};
use crate::pg::Session;
use crate::sql::{Ident, sql};

/// How long somebody's lock on a database may hold the exchange up; who wants to connect meanwhile waits behind it.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '3s'";
/// How often the exchange is tried. RENAME waits five seconds for sessions each time.
pub(super) const TRIES_MAX: u32 = 6;
/// Between two rounds of ending sessions. The server itself looks every tenth of a second.
const ROUND: Duration = Duration::from_millis(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Which names are exchanged.
#[derive(Debug, Clone)]
pub(super) struct Exchange<'a> {
    /// The name in question.
    pub(super) name: &'a str,
    /// The OID of the database that has it.
    pub(super) outgoing: u32,
    /// The name that this one gets.
    pub(super) kept: String,
    /// Its comment from then on.
    pub(super) comment: String,
    /// The database that gets the name.
    pub(super) incoming: &'a str,
    /// The OID of that.
    pub(super) incoming_oid: u32,
}

/// What became of an exchange.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exchanged {
    /// The server's processes that were ended; one may need to be told twice.
    pub(super) ended: BTreeSet<i32>,
    /// How long nobody could connect.
    pub(super) closed: Duration,
}

/// Why a try has come to nothing.
enum Missed {
    /// It may succeed the next time.
    Again(Error),
    Failed(Error),
}

impl From<Error> for Missed {
    fn from(error: Error) -> Missed {
        Missed::Failed(error)
    }
}

impl<'a> Exchange<'a> {
    /// The database `old` makes room for another one, given with its OID.
    pub(super) fn new(old: &'a Old, until: Timestamp, incoming: (&'a str, u32)) -> Exchange<'a> {
        Exchange {
            name: &old.name,
            outgoing: old.oid,
            kept: names::kept(&old.name, until),
            comment: marked(old, until).text(),
            incoming: incoming.0,
            incoming_oid: incoming.1,
        }
    }

    /// Runs the statements that go with the exchange, and undoes them: they are possible, or this is the error.
    pub(super) async fn rehearse(&self, session: &Session, statements: &[String]) -> Result<()> {
        self.begin(session).await?;
        let outcome = self.run(session, statements).await;
        self.roll_back(session).await;
        outcome
    }

    /// Exchanges the names. `statements` are read anew for each try, with the digest of what they were read from.
    ///
    /// Errors: [`Error::Busy`] with those who hold on to a database; all is then as it was.
    pub(super) async fn exchange<F>(
        &self,
        (session, second): (&Session, &Session),
        mut statements: impl FnMut() -> F,
    ) -> Result<Exchanged>
    where
        F: Future<Output = Result<Vec<String>>>,
    {
        let mut done = Exchanged::default();
        let mut last = None;
        for _ in 0..TRIES_MAX {
            let digest = properties::digest(second, self.outgoing).await?;
            let statements = statements().await?;
            match self
                .try_once((session, second), (&statements, &digest), &mut done)
                .await
            {
                Ok(()) => return Ok(done),
                Err(Missed::Failed(error)) => {
                    self.roll_back(session).await;
                    return Err(error);
                }
                Err(Missed::Again(error)) => {
                    self.roll_back(session).await;
                    last = Some(error);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        let holders = self.holders(second).await?;
        let problem = last.map_or_else(String::new, |error| crate::restore::chain(&error));
        Err(Error::Busy {
            what: format!(
                "database {} cannot get another name: {problem}{holders}",
                Ident::new(self.name).quoted()
            ),
            remedy: "let them end, and try again".to_owned(),
        })
    }

    async fn try_once(
        &self,
        (session, second): (&Session, &Session),
        (statements, digest): (&[String], &str),
        done: &mut Exchanged,
    ) -> Result<(), Missed> {
        self.begin(session).await?;
        self.run(session, statements).await?;
        self.batch(
            session,
            "COMMENT",
            &properties::comment(self.name, Some(&self.comment)),
        )
        .await?;
        let mut closed = Instant::now();
        let renames = [
            (self.name, self.kept.as_str(), self.outgoing),
            (self.incoming, self.name, self.incoming_oid),
        ];
        for (n, (from, to, oid)) in renames.into_iter().enumerate() {
            done.ended.extend(sessions::end(second, oid).await?);
            if n == 0 {
                closed = Instant::now();
            }
            let rename = sql![
                "ALTER DATABASE ",
                Ident::new(from),
                " RENAME TO ",
                Ident::new(to)
            ]
            .text();
            let renaming = self.batch(session, "RENAME", &rename);
            let outcome = alone(renaming, second, oid, done).await?;
            outcome.map_err(|error| match error.sqlstate() {
                // In use; a lock not granted in time; changed by somebody at the same moment.
                Some(sessions::IN_USE | "55P03" | "XX000") => Missed::Again(error),
                _ => Missed::Failed(error),
            })?;
        }
        if properties::digest(session, self.outgoing).await? != digest {
            return Err(Missed::Again(Error::failed(
                "the old database",
                "its owner, privileges, settings or limits were changed just now",
                "",
            )));
        }
        if let Err(error) = self.batch(session, "COMMIT", "COMMIT").await {
            // A connection that breaks here leaves open which way it went.
            let has_name = server::oid_of(second, self.name).await?;
            if has_name != Some(self.incoming_oid) {
                return Err(Missed::Failed(error));
            }
        }
        done.closed = closed.elapsed();
        Ok(())
    }

    async fn begin(&self, session: &Session) -> Result<()> {
        self.batch(session, "BEGIN", "BEGIN").await?;
        self.batch(session, "BEGIN", LOCK_WAIT).await
    }

    async fn run(&self, session: &Session, statements: &[String]) -> Result<()> {
        for statement in statements {
            let step = format!("bringing along what the database was to its cluster ({statement})");
            self.batch(session, step, statement).await?;
        }
        Ok(())
    }

    async fn batch(
        &self,
        session: &Session,
        step: impl std::fmt::Display,
        text: &str,
    ) -> Result<()> {
        let object = format!("database {}", Ident::new(self.name).quoted());
        session.batch(object, step, text).await
    }

    async fn roll_back(&self, session: &Session) {
        // If this fails the connection is lost, and with it the transaction.
        let _ = self.batch(session, "ROLLBACK", "ROLLBACK").await;
    }

    /// Who is in the way, as the end of a sentence.
    async fn holders(&self, second: &Session) -> Result<String> {
        let mut all: Vec<Connected> = sessions::connected(second, self.outgoing).await?;
        all.extend(sessions::connected(second, self.incoming_oid).await?);
        let texts: Vec<String> = all.iter().map(Connected::to_string).collect();
        Ok(match texts.as_slice() {
            [] => String::new(),
            texts => format!("; connected are {}", texts.join(", ")),
        })
    }
}

/// Runs a statement that wants the database for itself, ending its sessions meanwhile.
async fn alone(
    statement: impl Future<Output = Result<()>>,
    second: &Session,
    oid: u32,
    done: &mut Exchanged,
) -> Result<Result<()>> {
    tokio::pin!(statement);
    loop {
        tokio::select! {
            outcome = &mut statement => return Ok(outcome),
            () = tokio::time::sleep(ROUND) => {
                done.ended.extend(sessions::end(second, oid).await?);
            }
        }
    }
}
