//! One connection that does a restore's work: its settings, its transactions, what to do when it breaks.
//! Which work it gets is decided in `executor`.

use std::time::Duration;

use super::forbidden::{Extra, forbids_extra, is_idle_grant};
use super::journal::{self, Note, Record};
use super::report::{Failure, Trouble};
use super::share::Share;
use super::shared::Shared;
use super::text;
use super::work::Unit;
use crate::error::{Error, Result};
use crate::pg::pin::{RestorePins, pin_restore_session};
use crate::pg::{Session, connect};
use crate::sql::{Literal, sql};
use crate::toc::EntryId;

/// How often work is repeated that another session's work disturbed.
const TRIES: u32 = 4;
/// The pause before the second try; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// One connection and the state of its transaction.
#[derive(Debug)]
pub(super) struct Worker {
    session: Session,
    /// True if the work of all tasks is one transaction, and each task a savepoint in it.
    in_one: bool,
    /// True if the connection broke during COMMIT and nobody knows what became of the transaction.
    is_unsure: bool,
    /// True if the connection is a new one, and what failed on the old one was not kept.
    is_new: bool,
    /// What the target forbade of objects that were made all the same.
    refused: Vec<Refused>,
    /// What the task may use that is going on.
    share: Option<Share>,
}

/// A statement after creation that the target forbids.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) entry: EntryId,
    pub(super) part: &'static str,
    pub(super) trouble: Trouble,
}

impl Refused {
    fn note(&self) -> (EntryId, Note) {
        let note = Note::Refused {
            part: self.part.to_owned(),
            is_failure: text::is_unreadable(&self.trouble.error),
            failure: Failure::new(String::new(), &self.trouble),
        };
        (self.entry, note)
    }
}

impl Worker {
    /// Connects and sets the session up.
    pub(super) async fn open(shared: &Shared) -> Result<Worker> {
        let session = connect(&shared.settings, "restore").await?;
        if shared.one_transaction {
            session.batch("the restore", "BEGIN", "BEGIN").await?;
        }
        Worker::adopt(shared, session).await
    }

    /// Sets up a session that is connected already; where all is one transaction, that has begun.
    pub(super) async fn adopt(shared: &Shared, session: Session) -> Result<Worker> {
        let pins = RestorePins {
            encoding: None,
            role: shared.role.as_ref(),
            row_security: false,
        };
        session
            .pin(&pin_restore_session(session.version(), &pins))
            .await?;
        shared.note(&session);
        if shared.journals() {
            journal::enlist(&session).await?;
        }
        Ok(Worker {
            session,
            in_one: shared.one_transaction,
            is_unsure: false,
            is_new: false,
            refused: Vec::new(),
            share: None,
        })
    }

    /// Ends the one transaction of a restore that is one: what was done is kept, or all of it undone.
    pub(super) async fn end(&mut self, keep: bool) -> Result<()> {
        let object = "the restore";
        self.in_one = false;
        if keep {
            // COMMIT of a transaction that has failed is no error; a query in it is.
            self.session
                .batch(object, "COMMIT", "SELECT 1;\nCOMMIT")
                .await
        } else {
            self.session.batch(object, "ROLLBACK", "ROLLBACK").await
        }
    }

    /// The connection, for work that needs no worker any more.
    pub(super) fn into_session(self) -> Session {
        self.session
    }

    /// The connection.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What the transactions of the next task may use; `None` is what the server gives to everybody.
    pub(super) fn set_share(&mut self, share: Option<Share>) {
        self.share = share;
    }

    /// What was forbidden since the last time.
    pub(super) fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        self.session.close().await;
    }

    /// Begins a task's transaction, together with the first of its statements.
    pub(super) async fn begin(&mut self, object: &str, first: &[&str]) -> Result<()> {
        let begin = if self.in_one {
            // What a task sets for itself would stay until the one transaction's end.
            concat!(
                "SAVEPOINT pgark;\nSET LOCAL default_tablespace TO DEFAULT;\n",
                "SET LOCAL default_table_access_method TO DEFAULT"
            )
        } else {
            "BEGIN"
        };
        let mut text = begin.to_owned();
        if let Some(share) = self.share {
            text.push_str(";\n");
            text.push_str(&share.settings());
        }
        for statement in first {
            text.push_str(";\n");
            text.push_str(statement);
        }
        self.session.batch(object, "statement", &text).await
    }

    /// Makes a task's work lasting, and the journal's record of it with it. The one place where a restore commits.
    ///
    /// Where the connection breaks meanwhile, the journal says on another one whether the work was kept.
    pub(super) async fn commit(
        &mut self,
        shared: &Shared,
        object: &str,
        record: &Record,
    ) -> Result<()> {
        if self.in_one {
            let release = "RELEASE SAVEPOINT pgark";
            return self.session.batch(object, "RELEASE", release).await;
        }
        let mut statements = Vec::new();
        if shared.journals() {
            statements = record.statements();
        }
        statements.push("COMMIT".to_owned());
        let text = statements.join(";\n");
        let Err(error) = self.session.batch(object, "COMMIT", &text).await else {
            return Ok(());
        };
        if !self.session.is_closed() {
            return Err(error);
        }
        self.is_unsure = true;
        let line = record.lines.first().filter(|_| shared.journals());
        let Some(line) = line else {
            return Err(error);
        };
        let pid = self.session.backend_pid();
        self.mend(shared).await?;
        if journal::has_line(&self.session, pid, *line).await? {
            return Ok(());
        }
        self.is_new = true;
        Err(error)
    }

    /// Undoes a failed task's work. A broken connection has done so already.
    pub(super) async fn roll_back(&mut self, object: &str) {
        let roll_back = if self.in_one {
            "ROLLBACK TO SAVEPOINT pgark;\nRELEASE SAVEPOINT pgark"
        } else {
            "ROLLBACK"
        };
        // The error that led here is the one to report.
        let _ = self.session.batch(object, "ROLLBACK", roll_back).await;
    }

    /// Runs the statements of all units in one transaction; after an error nothing of them is done.
    pub(super) async fn run_together(
        &mut self,
        shared: &Shared,
        object: &str,
        units: &[&Unit],
    ) -> Result<()> {
        if units.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        let (mut tablespace, mut access_method) = (None, None);
        for unit in units {
            lines.extend(settings_of(
                unit,
                "SET LOCAL",
                &mut tablespace,
                &mut access_method,
            ));
            lines.extend(unit.statements.iter().cloned());
            let extras = unit.extras.iter();
            lines.extend(extras.map(|extra| extra.statement.clone()));
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let outcome = match self.begin(object, &lines).await {
            // Whose grant it was shows only when each runs by itself.
            Ok(()) if self.idle_grant().is_some() => Err(Error::failed(
                object,
                "a GRANT did nothing",
                "run each by itself",
            )),
            Ok(()) => {
                let lines = units.iter().flat_map(|unit| unit.lines.iter().copied());
                self.commit(shared, object, &Record::of(lines)).await
            }
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.roll_back(object).await;
        }
        outcome
    }

    /// Runs one unit by itself; an error names the statement. Repeats what was only disturbed by others.
    pub(super) async fn run_alone(
        &mut self,
        shared: &Shared,
        object: &str,
        unit: &Unit,
    ) -> Result<(), Trouble> {
        let mut tries = Tries::default();
        loop {
            let outcome = if unit.outside {
                let done = self.run_outside(shared, object, unit).await;
                done.map(|()| Vec::new())
            } else {
                self.run_in_transaction(shared, object, unit).await
            };
            let trouble = match outcome {
                Ok(refused) => {
                    self.refused.extend(refused);
                    return Ok(());
                }
                Err(trouble) => trouble,
            };
            // What runs outside a transaction may have done a part of its work.
            if unit.outside {
                self.mend(shared).await?;
                return Err(trouble);
            }
            self.roll_back(object).await;
            self.repeat_or(shared, trouble, &mut tries).await?;
        }
    }

    /// The warning of a GRANT or REVOKE that did nothing, if there was one since the last look.
    fn idle_grant(&self) -> Option<String> {
        let notices = self.session.take_notices();
        let idle = notices
            .into_iter()
            .find(|notice| is_idle_grant(&notice.code));
        idle.map(|notice| notice.message)
    }

    /// Runs an entry's statements; of what comes after them the target may forbid some, which is given back.
    async fn run_in_transaction(
        &mut self,
        shared: &Shared,
        object: &str,
        unit: &Unit,
    ) -> Result<Vec<Refused>, Trouble> {
        let settings: Vec<String> = settings_of(unit, "SET LOCAL", &mut None, &mut None).collect();
        let mut first: Vec<&str> = settings.iter().map(String::as_str).collect();
        let mut statements = unit.statements.iter();
        let head = statements.next();
        first.extend(head.map(String::as_str));
        let blame = |statement: Option<&String>| {
            let statement = statement.cloned();
            |error| Trouble { error, statement }
        };
        self.begin(object, &first).await.map_err(blame(head))?;
        for statement in statements {
            let outcome = self.session.batch(object, "statement", statement).await;
            outcome.map_err(blame(Some(statement)))?;
        }
        let refused = self.run_extras(object, unit).await?;
        let mut record = Record::of(unit.lines.iter().copied());
        record.notes.extend(refused.iter().map(Refused::note));
        self.commit(shared, object, &record).await?;
        Ok(refused)
    }

    /// Runs what follows creation, of which some may be forbidden: all at once if that works, else a half, until those that
    /// do not work stand alone. A thousand large objects have as many owners.
    async fn run_extras(&self, object: &str, unit: &Unit) -> Result<Vec<Refused>, Trouble> {
        let mut refused = Vec::new();
        // The last one is the next to be tried, so that statements stay in order.
        let mut open = vec![unit.extras.as_slice()];
        while let Some(some) = open.pop() {
            match some {
                [] => {}
                [extra] => {
                    let trouble = self.run_extra(object, &extra.statement).await?;
                    refused.extend(trouble.map(|trouble| Refused {
                        entry: unit.entry,
                        part: extra.part,
                        trouble,
                    }));
                }
                _ if self.run_all_extras(object, some).await? => {}
                _ => {
                    let (first, second) = some.split_at(some.len() / 2);
                    open.extend([second, first]);
                }
            }
        }
        Ok(refused)
    }

    /// Runs them if all of them work; false if one did not, and none was run.
    async fn run_all_extras(&self, object: &str, extras: &[Extra]) -> Result<bool, Trouble> {
        self.idle_grant();
        let save = "SAVEPOINT pgark_extra";
        self.session.batch(object, "SAVEPOINT", save).await?;
        let statements: Vec<&str> = extras
            .iter()
            .map(|extra| extra.statement.as_str())
            .collect();
        let outcome = self
            .session
            .batch(object, "statement", &statements.join(";\n"))
            .await;
        let works = outcome.is_ok() && self.idle_grant().is_none();
        if works {
            let keep = "RELEASE SAVEPOINT pgark_extra";
            self.session.batch(object, "RELEASE", keep).await?;
        } else {
            let back = "ROLLBACK TO SAVEPOINT pgark_extra;\nRELEASE SAVEPOINT pgark_extra";
            self.session.batch(object, "ROLLBACK", back).await?;
        }
        Ok(works)
    }

    /// Runs a statement that may be forbidden; gives back the refusal, after which the transaction goes on.
    async fn run_extra(&self, object: &str, statement: &str) -> Result<Option<Trouble>, Trouble> {
        self.idle_grant();
        // By itself: a text that the target's encoding cannot hold is refused before any of it is run.
        let save = "SAVEPOINT pgark_extra";
        self.session.batch(object, "SAVEPOINT", save).await?;
        let guarded = format!("{statement};\nRELEASE SAVEPOINT pgark_extra");
        let blame = |error| Trouble {
            error,
            statement: Some(statement.to_owned()),
        };
        let Err(error) = self.session.batch(object, "statement", &guarded).await else {
            let idle = self.idle_grant();
            return Ok(idle.map(|said| blame(Error::failed(object, said, ""))));
        };
        if !forbids_extra(&error) {
            return Err(blame(error));
        }
        let back = "ROLLBACK TO SAVEPOINT pgark_extra;\nRELEASE SAVEPOINT pgark_extra";
        self.session.batch(object, "ROLLBACK", back).await?;
        Ok(Some(blame(error)))
    }

    /// What runs outside of a transaction stands in the journal before it is begun.
    async fn run_outside(
        &mut self,
        shared: &Shared,
        object: &str,
        unit: &Unit,
    ) -> Result<(), Trouble> {
        let begun = Record::of(unit.lines.iter().map(|line| line.begun()));
        self.write(shared, object, begun).await?;
        if let Err(trouble) = self.run_statements_outside(object, unit).await {
            // A single statement that failed has done nothing.
            if unit.statements.len() == 1 && !self.session.is_closed() && shared.journals() {
                let forget = journal::forget(&unit.lines);
                self.session.batch(object, "the journal", &forget).await?;
            }
            return Err(trouble);
        }
        let record = Record::of(unit.lines.iter().copied());
        Ok(self.write(shared, object, record).await?)
    }

    /// Writes to the journal, in a transaction of its own.
    async fn write(&self, shared: &Shared, object: &str, record: Record) -> Result<()> {
        let statements = record.statements();
        if !shared.journals() || statements.is_empty() {
            return Ok(());
        }
        let text = statements.join(";\n");
        self.session.batch(object, "the journal", &text).await
    }

    async fn run_statements_outside(&mut self, object: &str, unit: &Unit) -> Result<(), Trouble> {
        let settings: Vec<String> = settings_of(unit, "SET", &mut None, &mut None).collect();
        if !settings.is_empty() {
            self.session
                .batch(object, "SET", &settings.join(";\n"))
                .await?;
        }
        let mut outcome = Ok(());
        for statement in &unit.statements {
            let done = self.session.batch(object, "statement", statement).await;
            outcome = done.map_err(|error| Trouble {
                error,
                statement: Some(statement.clone()),
            });
            if outcome.is_err() {
                break;
            }
        }
        if !settings.is_empty() {
            let reset = "RESET default_tablespace;\nRESET default_table_access_method";
            let done = self.session.batch(object, "RESET", reset).await;
            outcome = outcome.and(done.map_err(Trouble::from));
        }
        outcome
    }

    /// Decides about work that failed and was rolled back: `Ok` means to do it again, on a connection that works.
    /// The error is the work's own, unless no connection can be made any more.
    pub(super) async fn repeat_or(
        &mut self,
        shared: &Shared,
        mut trouble: Trouble,
        tries: &mut Tries,
    ) -> Result<(), Trouble> {
        tries.n += 1;
        if self.session.is_closed() && self.in_one {
            trouble.error = Error::Failed {
                object: "the target".to_owned(),
                problem:
                    "the connection was lost; nothing was changed, because all was one transaction"
                        .to_owned(),
                remedy: "see what ended the server, then restore again".to_owned(),
                source: Some(trouble.error.into()),
            };
            return Err(trouble);
        }
        if self.session.is_closed() {
            let unknown = self.is_unsure;
            self.mend(shared).await?;
            if unknown {
                trouble.error = Error::Failed {
                    object: "the target".to_owned(),
                    problem: "the connection was lost during COMMIT, so it is not known whether this was kept"
                        .to_owned(),
                    remedy: "look at the object, or restore into a new database".to_owned(),
                    source: Some(trouble.error.into()),
                };
                return Err(trouble);
            }
            return if tries.n == 1 { Ok(()) } else { Err(trouble) };
        }
        if std::mem::take(&mut self.is_new) && tries.n == 1 {
            return Ok(());
        }
        if tries.n < TRIES && is_disturbance(&trouble.error) {
            tokio::time::sleep(PAUSE * (1 << tries.n)).await;
            return Ok(());
        }
        Err(trouble)
    }

    /// Makes a new connection if this one is broken.
    pub(super) async fn mend(&mut self, shared: &Shared) -> Result<()> {
        if !self.session.is_closed() {
            return Ok(());
        }
        let reopened = Worker::open(shared).await;
        let share = self.share;
        let refused = std::mem::take(&mut self.refused);
        *self = reopened.map_err(|error| Error::Failed {
            object: format!("database \"{}\"", shared.settings.dbname()),
            problem: "the connection was lost and cannot be made again; the target is incomplete"
                .to_owned(),
            remedy: shared.remedy_of_loss().to_owned(),
            source: Some(error.into()),
        })?;
        (self.share, self.refused) = (share, refused);
        Ok(())
    }
}

/// How often something was tried.
#[derive(Debug, Default)]
pub(super) struct Tries {
    n: u32,
}

/// Settings that differ from those in force, which are noted.
fn settings_of(
    unit: &Unit,
    set: &'static str,
    tablespace: &mut Option<String>,
    access_method: &mut Option<String>,
) -> impl Iterator<Item = String> {
    let change = |name: &'static str, wanted: &Option<String>, current: &mut Option<String>| {
        let value = wanted.as_ref().filter(|_| wanted != current)?;
        current.clone_from(wanted);
        Some(sql![set, " ", name, " = ", Literal(value)].text())
    };
    let changes = [
        change("default_tablespace", &unit.tablespace, tablespace),
        change(
            "default_table_access_method",
            &unit.access_method,
            access_method,
        ),
    ];
    changes.into_iter().flatten()
}

/// True if the same work may well succeed a moment later: deadlock, serialization, two changes of one catalog row.
fn is_disturbance(error: &Error) -> bool {
    match error.sqlstate() {
        Some("40P01" | "40001") => true,
        Some("XX000") => {
            // The server has no code of its own for it (`simple_heap_update`).
            matches!(error, Error::Sql { source, .. }
                if source.as_db_error().is_some_and(|e| e.message().starts_with("tuple concurrently")))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_change_are_sent() {
        let unit = |tablespace: Option<&str>, access_method: Option<&str>| Unit {
            entry: EntryId(0),
            tablespace: tablespace.map(str::to_owned),
            access_method: access_method.map(str::to_owned),
            statements: Vec::new(),
            extras: Vec::new(),
            outside: false,
            lines: Vec::new(),
        };
        let (mut tablespace, mut method) = (None, None);
        let mut sent = |unit: Unit| -> Vec<String> {
            settings_of(&unit, "SET LOCAL", &mut tablespace, &mut method).collect()
        };
        assert_eq!(
            sent(unit(Some(""), Some("heap"))),
            [
                "SET LOCAL default_tablespace = ''",
                "SET LOCAL default_table_access_method = 'heap'"
            ]
        );
        assert!(sent(unit(Some(""), Some("heap"))).is_empty());
        assert!(sent(unit(None, None)).is_empty());
        assert_eq!(
            sent(unit(Some("it's"), None)),
            ["SET LOCAL default_tablespace = 'it''s'"]
        );
    }
}
