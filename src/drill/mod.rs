//! A drill: an archive is restored into a scratch database, compared, questioned and measured, and the scratch database goes
//! again. This file owns the order of it and the record. The scratch database is in `scratch`, what killed drills left in
//! `leftover`, the user's questions in `checks`, the judgement of a restore in `verdict`.
//!
//! Nothing outside the scratch database is changed: what the archive says of the database itself (owner, settings, limits,
//! settings of roles in it) is not applied, subscriptions are not made, and no role or tablespace is.

mod checks;
mod leftover;
mod scratch;
mod verdict;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use jiff::Timestamp;

pub use scratch::PREFIX;

use self::scratch::Scratch;
use self::verdict::Verdict;
use crate::archive::Archive;
use crate::archive::manifest::Scope;
use crate::archive::records::{Depth, Drilled, DrilledPhase, Verified};
use crate::config::SqlCheck;
use crate::error::{Error, Result};
use crate::pg::pin::{RestorePins, pin_restore_session};
use crate::pg::{ConnSettings, Session, connect};
use crate::progress::{Event, Progress};
use crate::restore::{Check, RestoreOptions, chain, lacking, restore};
use crate::selection::{Omit, Selection};
use crate::sql::{Ident, hide_passwords};

/// How a drill is done. The default uses as many connections as the machine has cores, and knows no time limit and no checks.
#[derive(Debug, Clone)]
pub struct DrillOptions {
    /// Connections that work at once; 0 counts as 1.
    pub jobs: usize,
    /// The recovery time objective: a restore that takes longer has not passed.
    pub rto: Option<Duration>,
    /// What must be true of the restored database.
    pub checks: Vec<SqlCheck>,
    /// How long one check may run.
    pub check_timeout: Duration,
    /// The job whose drill it is.
    pub job: Option<String>,
    /// Leave the scratch database where it is, unmarked, so that no later drill drops it.
    pub keep: bool,
}

impl Default for DrillOptions {
    fn default() -> DrillOptions {
        DrillOptions {
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            rto: None,
            checks: Vec::new(),
            check_timeout: Duration::from_secs(600),
            job: None,
            keep: false,
        }
    }
}

/// Restores `archive` into a scratch database on the server of `server`, compares its contents with the archive's
/// fingerprints, runs the checks, measures, and drops the scratch database. `server` names any database there, from which
/// the scratch database is made.
///
/// Whatever becomes of it is put on record in the archive's repository and returned: see [`Drilled::passed`]. A server that
/// cannot be reached and damage of the archive are problems of the drill. An archive that was restored and compared whole
/// counts as verified, too.
///
/// Dropping the future ends the drill: what runs on the server is cancelled, the scratch database dropped by a task of
/// the runtime, and nothing put on record. What a killed drill leaves is dropped by the next one on the same server.
///
/// # Errors
/// [`Error::Usage`] for an archive of globals and for checks that cannot be asked. Nothing was done then.
pub async fn drill(
    archive: &Archive,
    server: &ConnSettings,
    options: &DrillOptions,
    progress: Arc<dyn Progress>,
) -> Result<Drilled> {
    if archive.manifest().group.scope == Scope::Globals {
        return Err(Error::Usage(format!(
            "archive {} holds roles and tablespaces and no database: drill with one of a database",
            archive.name()
        )));
    }
    checks::refuse(&options.checks)?;
    let mut run = Run {
        archive,
        server,
        options,
        progress,
        drilled: blank(archive, server, options),
        began: Instant::now(),
        is_proved: false,
    };
    if let Err(error) = run.attempt().await {
        run.problem(chain(&error));
    }
    Ok(run.put_on_record().await)
}

/// The record of a drill that has not begun.
fn blank(archive: &Archive, server: &ConnSettings, options: &DrillOptions) -> Drilled {
    let hosts = server.hosts().iter();
    let hosts: Vec<String> = hosts
        .map(|host| format!("{}:{}", host.name, host.port))
        .collect();
    Drilled {
        name: archive.name().clone(),
        manifest: archive.seal(),
        job: options.job.clone(),
        at: Timestamp::now(),
        server: hosts.join(","),
        server_version: String::new(),
        scratch: String::new(),
        restore_ms: 0,
        total_ms: 0,
        rto_ms: options.rto.map(millis),
        phases: Vec::new(),
        n_objects: 0,
        n_tables: 0,
        n_rows: 0,
        raw_bytes: 0,
        n_compared: 0,
        checks: Vec::new(),
        notes: Vec::new(),
        problems: Vec::new(),
    }
}

/// A drill under way.
struct Run<'a> {
    archive: &'a Archive,
    server: &'a ConnSettings,
    options: &'a DrillOptions,
    progress: Arc<dyn Progress>,
    drilled: Drilled,
    /// When the work began that would be done on a bad day.
    began: Instant,
    /// True if every row was restored and compared.
    is_proved: bool,
}

impl Run<'_> {
    fn note(&mut self, text: impl AsRef<str>) {
        let text = hide_passwords(text.as_ref()).into_owned();
        self.progress.event(Event::Warning(text.clone()));
        self.drilled.notes.push(text);
    }

    fn problem(&mut self, text: impl AsRef<str>) {
        let text = hide_passwords(text.as_ref()).into_owned();
        self.drilled.problems.push(text);
    }

    fn phase(&mut self, name: &str, time: Duration) {
        self.drilled.phases.push(DrilledPhase {
            name: name.to_owned(),
            ms: millis(time),
        });
    }

    async fn attempt(&mut self) -> Result<()> {
        let session = connect(self.server, "drill").await?;
        let pins = pin_restore_session(session.version(), &RestorePins::default());
        session.pin(&pins).await?;
        self.drilled.server_version = session.version().to_string();
        if session.in_recovery() {
            return Err(Error::failed(
                "the server",
                "is a standby, which takes no changes; drill on a primary",
                "",
            ));
        }
        for said in leftover::clean_up(&session).await? {
            self.note(said);
        }
        let mut scratch = Scratch::new(session, self.server, self.archive.name()).await?;
        scratch.name().clone_into(&mut self.drilled.scratch);
        let target = self.server.with_dbname(scratch.name());
        let restoring = self.restore_options(scratch.session(), &target).await?;

        self.began = Instant::now();
        self.drilled.at = Timestamp::now();
        let made = scratch.make(&self.archive.manifest().source).await;
        self.phase("scratch database", self.began.elapsed());
        if let Err(error) = made {
            self.problem(chain(&error));
        } else {
            let inside = self.inside(&target, &restoring);
            match AssertUnwindSafe(inside).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.problem(chain(&error)),
                Err(_) => self.problem("the drill ended by a defect of this program (a panic)"),
            }
        }
        self.drilled.total_ms = millis(self.began.elapsed());
        self.leave(scratch).await;
        Ok(())
    }

    /// What is restored, and how: on another server than the archive's without what is missing there.
    async fn restore_options(
        &mut self,
        session: &Session,
        target: &ConnSettings,
    ) -> Result<RestoreOptions> {
        let mut options = RestoreOptions {
            jobs: self.options.jobs,
            check: Check::Content,
            ..RestoreOptions::default()
        };
        let lacking = lacking(self.archive, session, target, &options).await?;
        let mut omitted = Vec::new();
        if lacking.n_subscriptions > 0 {
            omitted.push(Omit::Subscriptions);
            let n = lacking.n_subscriptions;
            self.note(format!(
                "subscriptions were left out ({n}): a scratch database must not join a replication"
            ));
        }
        // Where the archive comes from, what is missing would be missing on the bad day, too: the restore refuses.
        if !self.is_home(session).await? {
            let user = self.server.user();
            for role in &lacking.roles {
                options.map_roles.push((role.clone(), user.to_owned()));
            }
            if !lacking.roles.is_empty() {
                self.note(format!(
                    "this is another server than the archive's and lacks its {}: what belongs to them, or was granted to them, went to {}",
                    named("role", &lacking.roles),
                    Ident::new(user).quoted()
                ));
            }
            if !lacking.tablespaces.is_empty() {
                omitted.push(Omit::Tablespaces);
                self.note(format!(
                    "this is another server than the archive's and lacks its {}: all went into the default one",
                    named("tablespace", &lacking.tablespaces)
                ));
            }
        }
        options.selection = Selection::default().without(omitted);
        Ok(options)
    }

    /// True on the server that the archive comes from.
    async fn is_home(&self, session: &Session) -> Result<bool> {
        let sql = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()";
        let rows = session.query("asking for its identity", sql, &[]).await?;
        let here = rows.first().map(|row| row.get::<_, String>(0));
        Ok(here.as_ref() == Some(&self.archive.manifest().source.system_identifier))
    }

    /// Everything that happens inside the scratch database.
    async fn inside(&mut self, target: &ConnSettings, restoring: &RestoreOptions) -> Result<()> {
        let progress = Arc::clone(&self.progress);
        let restored = Box::pin(restore(self.archive, target, restoring, progress)).await;
        self.drilled.restore_ms = millis(self.began.elapsed());
        let report = restored?;
        let comparing = report.phases.iter().filter(|phase| phase.name == "check");
        let comparing: f64 = comparing.map(|phase| phase.seconds).sum();
        let restoring = self
            .began
            .elapsed()
            .saturating_sub(Duration::from_secs_f64(comparing));
        self.drilled.restore_ms = millis(restoring);
        for phase in &report.phases {
            self.phase(phase.name, Duration::from_secs_f64(phase.seconds));
        }
        let verdict = Verdict::of(&report);
        self.drilled.n_objects = report.n_entries;
        self.drilled.n_tables = report.n_tables;
        self.drilled.n_rows = report.n_rows;
        self.drilled.raw_bytes = report.raw_bytes;
        self.drilled.n_compared = verdict.n_compared;
        self.is_proved = verdict.problems.is_empty();
        // The restore has told them already.
        let notes = verdict
            .notes
            .iter()
            .map(|note| hide_passwords(note).into_owned());
        self.drilled.notes.extend(notes);
        for problem in verdict.problems {
            self.problem(problem);
        }
        if let Some(problem) = verdict::lateness(restoring, self.options.rto) {
            self.problem(problem);
        }
        self.ask(target).await
    }

    async fn ask(&mut self, target: &ConnSettings) -> Result<()> {
        if self.options.checks.is_empty() {
            return Ok(());
        }
        let since = Instant::now();
        self.progress.event(Event::Phase {
            name: "checks",
            bytes: 0,
            tasks: self.options.checks.len() as u64,
        });
        let asked = checks::ask(target, &self.options.checks, self.options.check_timeout).await?;
        for check in &asked {
            self.progress
                .event(Event::Task(format!("check {}", check.name)));
            if !check.passed {
                let (name, expect, got) = (&check.name, &check.expect, &check.got);
                self.problem(format!("check {name}: expected {expect:?}, got {got:?}"));
            }
        }
        self.drilled.checks = asked;
        self.phase("checks", since.elapsed());
        Ok(())
    }

    /// Drops the scratch database, or leaves it to the user.
    async fn leave(&mut self, scratch: Scratch) {
        let name = scratch.name().to_owned();
        if self.options.keep {
            match scratch.keep().await {
                Ok(()) => self.note(format!(
                    "the scratch database {name} was kept; drop it when it has served"
                )),
                Err(error) => self.problem(chain(&error)),
            }
            return;
        }
        let since = Instant::now();
        if let Err(error) = scratch.remove().await {
            self.problem(format!(
                "the scratch database {name} could not be dropped; the next drill on this server tries again: {}",
                chain(&error)
            ));
        }
        self.phase("dropping it", since.elapsed());
    }

    /// Writes down what became of it, and that the archive was proved if it was.
    async fn put_on_record(mut self) -> Drilled {
        let repository = self.archive.repository();
        if self.is_proved {
            let stamp = Verified {
                name: self.drilled.name.clone(),
                manifest: self.drilled.manifest,
                depth: Depth::Full,
                at: self.drilled.at,
            };
            // The drill's own record fails for the same reason, and says so.
            let _ = repository.stamp(&stamp).await;
        }
        if let Err(error) = repository.note_drill(&self.drilled).await {
            self.problem(format!(
                "the drill could not be put on record: {}",
                chain(&error)
            ));
        }
        self.drilled
    }
}

/// Names for people, the first few of them.
fn named(what: &str, names: &[String]) -> String {
    const SHOWN: usize = 10;
    let quoted = names
        .iter()
        .take(SHOWN)
        .map(|name| Ident::new(name).quoted());
    let list = quoted.collect::<Vec<String>>().join(", ");
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{what}{plural} {list}{more}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
