//! One connection that does a restore's work: its settings, its transactions, what to do when it breaks.
//! Which work it gets is decided in `executor`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::copy_in::ChunkCache;
use super::options::RestoreOptions;
use super::plan::Unit;
use super::report::Trouble;
use super::text;
use crate::archive::ChunkStore;
use crate::error::{Error, Result};
use crate::pg::pin::{RestorePins, pin_restore_session};
use crate::pg::{Canceller, ConnSettings, Session, connect};
use crate::progress::Progress;
use crate::sql::{Ident, Literal, sql};

/// How often work is repeated that another session's work disturbed.
const TRIES: u32 = 4;
/// The pause before the second try; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// What all workers of a restore share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ConnSettings,
    pub(super) role: Option<Ident>,
    pub(super) chunks: ChunkStore,
    pub(super) cache: ChunkCache,
    pub(super) progress: Arc<dyn Progress>,
    /// Settings for index builds.
    pub(super) tuning: Vec<String>,
    pub(super) cancellers: Mutex<Vec<Canceller>>,
}

impl Shared {
    /// What workers need of the options. `settings` name the target.
    pub(super) fn new(
        settings: &ConnSettings,
        options: &RestoreOptions,
        chunks: ChunkStore,
        progress: Arc<dyn Progress>,
    ) -> Shared {
        let mut tuning = Vec::new();
        if let Some(mib) = options.index_memory_mib {
            let n_workers = u32::try_from(options.n_workers()).unwrap_or(u32::MAX);
            // The server accepts no less than 1 MiB.
            let share = (mib / n_workers).max(1);
            tuning.push(format!("SET maintenance_work_mem = '{share}MB'"));
        }
        if let Some(n) = options.index_workers {
            tuning.push(format!("SET max_parallel_maintenance_workers = {n}"));
        }
        Shared {
            settings: settings.clone(),
            role: options.role.as_ref().map(Ident::new),
            chunks,
            cache: ChunkCache::new(options.n_workers()),
            progress,
            tuning,
            cancellers: Mutex::default(),
        }
    }
}

/// Cancels every session's statement when the restore is given up, because a server does not notice on its own.
#[derive(Debug)]
pub(super) struct CancelOnDrop {
    shared: Option<Arc<Shared>>,
}

impl CancelOnDrop {
    /// A guard for the sessions of `shared`.
    pub(super) fn new(shared: &Arc<Shared>) -> CancelOnDrop {
        CancelOnDrop {
            shared: Some(Arc::clone(shared)),
        }
    }

    /// The work has ended by itself.
    pub(super) fn finish(mut self) {
        self.shared = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let (Some(shared), Ok(runtime)) =
            (self.shared.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let list = std::mem::take(&mut *lock(&shared.cancellers));
        runtime.spawn(async move {
            let all = list.iter().map(Canceller::cancel);
            // Nobody is left to be told of a failure.
            futures::future::join_all(all).await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection and the state of its transaction.
#[derive(Debug)]
pub(super) struct Worker {
    session: Session,
    /// True from the moment COMMIT is sent: if the connection breaks now, nobody knows what became of the transaction.
    committing: bool,
}

impl Worker {
    /// Connects and sets the session up.
    pub(super) async fn open(shared: &Shared) -> Result<Worker> {
        let session = connect(&shared.settings, "restore").await?;
        let pins = RestorePins {
            encoding: None,
            role: shared.role.as_ref(),
            row_security: false,
        };
        session
            .pin(&pin_restore_session(session.version(), &pins))
            .await?;
        if !shared.tuning.is_empty() {
            let tuning = shared.tuning.join(";\n");
            session
                .batch("the session", "setting up index builds", &tuning)
                .await?;
        }
        lock(&shared.cancellers).push(session.canceller());
        Ok(Worker {
            session,
            committing: false,
        })
    }

    /// The connection.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        self.session.close().await;
    }

    /// Begins a task's transaction, together with the first of its statements.
    pub(super) async fn begin(&mut self, object: &str, first: &[&str]) -> Result<()> {
        let mut text = "BEGIN".to_owned();
        for statement in first {
            text.push_str(";\n");
            text.push_str(statement);
        }
        self.session.batch(object, "statement", &text).await
    }

    /// Makes a task's work lasting. The one place where a restore commits: what must be kept with the work goes in here.
    pub(super) async fn commit(&mut self, object: &str) -> Result<()> {
        self.committing = true;
        let outcome = self.session.batch(object, "COMMIT", "COMMIT").await;
        if !self.session.is_closed() {
            self.committing = false;
        }
        outcome
    }

    /// Undoes a failed task's work. A broken connection has done so already.
    pub(super) async fn roll_back(&mut self, object: &str) {
        // The error that led here is the one to report.
        let _ = self.session.batch(object, "ROLLBACK", "ROLLBACK").await;
    }

    /// Runs the statements of all units in one transaction; after an error nothing of them is done.
    pub(super) async fn run_together(&mut self, object: &str, units: &[Unit]) -> Result<()> {
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
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let outcome = match self.begin(object, &lines).await {
            Ok(()) => self.commit(object).await,
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
                self.run_outside(object, unit).await
            } else {
                self.run_in_transaction(object, unit).await
            };
            let Err(trouble) = outcome else {
                return Ok(());
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

    /// The same, but without the comments and labels that the target's encoding cannot hold, which it gives back.
    pub(super) async fn run_without(
        &mut self,
        shared: &Shared,
        object: &str,
        unit: &Unit,
    ) -> Result<Vec<Trouble>, Trouble> {
        let mut unit = Cow::Borrowed(unit);
        let mut without = Vec::new();
        loop {
            let Err(trouble) = self.run_alone(shared, object, &unit).await else {
                return Ok(without);
            };
            let statement = trouble.statement.as_deref().unwrap_or_default();
            let mut words = ["COMMENT ON ", "SECURITY LABEL "].iter();
            let is_part = words.any(|word| statement.starts_with(word));
            if !is_part || !text::is_unreadable(&trouble.error) {
                return Err(trouble);
            }
            unit.to_mut().statements.retain(|one| one != statement);
            without.push(trouble);
        }
    }

    async fn run_in_transaction(&mut self, object: &str, unit: &Unit) -> Result<(), Trouble> {
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
        Ok(self.commit(object).await?)
    }

    async fn run_outside(&mut self, object: &str, unit: &Unit) -> Result<(), Trouble> {
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
        if self.session.is_closed() {
            let unknown = self.committing;
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
        if tries.n < TRIES && is_disturbance(&trouble.error) {
            tokio::time::sleep(PAUSE * (1 << tries.n)).await;
            return Ok(());
        }
        Err(trouble)
    }

    /// Makes a new connection if this one is broken.
    async fn mend(&mut self, shared: &Shared) -> Result<()> {
        if !self.session.is_closed() {
            return Ok(());
        }
        let reopened = Worker::open(shared).await;
        *self = reopened.map_err(|error| Error::Failed {
            object: format!("database \"{}\"", shared.settings.dbname()),
            problem: "the connection was lost and cannot be made again; the target is incomplete"
                .to_owned(),
            remedy: "see what ended the server, then restore into a new database".to_owned(),
            source: Some(error.into()),
        })?;
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
    use crate::toc::EntryId;

    #[test]
    fn only_settings_that_change_are_sent() {
        let unit = |tablespace: Option<&str>, access_method: Option<&str>| Unit {
            entry: EntryId(0),
            tablespace: tablespace.map(str::to_owned),
            access_method: access_method.map(str::to_owned),
            statements: Vec::new(),
            outside: false,
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
