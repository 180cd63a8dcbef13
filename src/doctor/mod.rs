//! The doctor: what stands in the way of a dump or a restore, said beforehand. It changes nothing and works with few rights;
//! what it may not see it says. Dumping and restoring, and the checks they make themselves, belong to those verbs.

mod activity;
mod database;
mod repository;
mod server;
mod target;

use std::time::Duration;

use serde::Serialize;

use crate::archive::Archive;
use crate::config::Place;
use crate::error::Error;
use crate::pg::pin::{DumpPins, pin_dump_session};
use crate::pg::pooler::require_own_backend;
use crate::pg::{ConnSettings, Environment, Session, connect};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be, or only worth knowing.
    Ok,
    /// The work would be done, but not as well, or not surely.
    Warning,
    /// The work would fail.
    Problem,
}

/// One thing that was looked at. The fields are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, one word of a fixed list: `connection`, `locks`, `room`, ….
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Statements that would cure it, each to be run as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cures: Vec<String>,
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Check {
        Check {
            check,
            level: Level::Ok,
            found: found.into(),
            remedy: None,
            cures: Vec::new(),
        }
    }

    fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check {
            level: Level::Warning,
            remedy: Some(remedy.into()),
            ..Check::ok(check, found)
        }
    }

    fn problem(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check {
            level: Level::Problem,
            ..Check::warning(check, found, remedy)
        }
    }

    /// A look that failed: what may not be seen is a warning, because the work itself may not need it.
    fn unseen(check: &'static str, error: &Error) -> Check {
        let remedy = error
            .remedy()
            .unwrap_or("a superuser, or a member of pg_monitor, sees more");
        Check::warning(check, format!("cannot be seen: {}", chain(error)), remedy)
    }
}

/// What the doctor looks at. Only the source is looked at in any case.
#[derive(Debug, Clone, Default)]
pub struct DoctorOptions {
    /// The repository's place, and the variables in which the keys of a bucket may be.
    pub repository: Option<(Place, Environment)>,
    /// The database to restore into.
    pub target: Option<ConnSettings>,
    /// The archive to restore there; without one the source's extensions are looked for on the target.
    pub archive: Option<Archive>,
}

/// What the doctor found, in the order in which it looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoctorReport {
    /// The worst of all.
    pub level: Level,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
}

/// Looks at everything. Whatever is wrong stands in the report; a server that cannot be reached is a problem there too.
pub async fn doctor(source: &ConnSettings, options: &DoctorOptions) -> DoctorReport {
    let mut checks = Vec::new();
    let mut seen = database::Seen::default();
    if let Some(session) = open(source, "connection", &mut checks).await {
        server::look(&session, &mut checks).await;
        activity::look(&session, &mut checks).await;
        seen = database::look(&session, &mut checks).await;
        session.close().await;
    }
    if let Some((place, environment)) = &options.repository {
        repository::look(place, environment, seen.bytes_to_save, &mut checks).await;
    }
    if let Some(target) = &options.target {
        target::look(target, options.archive.as_ref(), &seen, &mut checks).await;
    }
    let level = checks.iter().map(|check| check.level).max();
    DoctorReport {
        level: level.unwrap_or(Level::Ok),
        checks,
    }
}

/// Connects, and looks how that went: the server, a pooler, the session's settings.
async fn open(
    settings: &ConnSettings,
    check: &'static str,
    checks: &mut Vec<Check>,
) -> Option<Session> {
    // Whoever asks wants to know how it is now.
    let settings = &settings.with_connect_retry(Duration::ZERO);
    let session = match connect(settings, "doctor").await {
        Ok(session) => session,
        Err(error) => {
            let remedy = error.remedy().unwrap_or_default().to_owned();
            checks.push(Check::problem(check, chain(&error), remedy));
            return None;
        }
    };
    if let Err(error) = require_own_backend(&session, settings).await {
        let remedy = error.remedy().unwrap_or_default().to_owned();
        checks.push(Check::problem(check, chain(&error), remedy));
        return None;
    }
    let through = if session.is_pooled() {
        ", through a pooler that keeps sessions"
    } else {
        ", without a pooler"
    };
    checks.push(Check::ok(check, format!("{settings}{through}")));
    server::transport(&session, check, checks).await;
    server::timeouts(&session, checks).await;
    let pins = pin_dump_session(session.version(), &DumpPins::default());
    if let Err(error) = session.pin(&pins).await {
        checks.push(Check::problem(
            check,
            chain(&error),
            "have the role allowed to set these",
        ));
        return None;
    }
    Some(session)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = match cause.downcast_ref::<tokio_postgres::Error>() {
            Some(server) => server
                .as_db_error()
                .map_or_else(|| server.to_string(), |db| db.message().to_owned()),
            None => cause.to_string(),
        };
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// `3 tables`.
fn things(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// The first few of several names.
fn some(names: &[String]) -> String {
    let mut text = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        text.push_str(", …");
    }
    text
}

/// A size for people.
fn size(n_bytes: u64) -> String {
    let mut value = n_bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return format!("{value:.0} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_from_good_to_bad() {
        assert!(Level::Ok < Level::Warning && Level::Warning < Level::Problem);
        let names: Vec<String> = (0..5).map(|i| i.to_string()).collect();
        assert_eq!(some(&names), "0, 1, 2, …");
        assert_eq!(size(3 << 30), "3 GiB");
    }
}
