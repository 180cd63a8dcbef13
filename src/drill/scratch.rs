//! The scratch database: made, marked, held and dropped. Finding those that killed drills left is in `leftover`.
//!
//! A living drill holds an advisory lock whose key is the number in the database's name, from before the database is there
//! until after it is gone. A comment marks the database as a drill's. So a database that has the mark, and whose lock nobody
//! holds, belongs to nobody.

use std::fmt;

use crate::archive::ArchiveName;
use crate::archive::manifest::Source;
use crate::archive::marker::random_id;
use crate::error::Result;
use crate::pg::version::V13;
use crate::pg::{ConnSettings, Session, connect};
use crate::restore::create_database;
use crate::sql::{Ident, Literal, sql};
use tokio_postgres::types::Type;

/// What the names of all scratch databases begin with.
pub const PREFIX: &str = "pgark_drill_";

/// What the mark of a scratch database begins with.
const MARK: &str = "scratch database of a pgark drill: ";

/// The comment of one that the user wanted to keep.
pub(super) const KEPT: &str = "made and kept by a pgark drill; drop it when it has served";

/// Hexadecimal digits of the number in a name.
const DIGITS: usize = 16;

/// A scratch database, and the session that holds its lock. Dropping the value drops the database, by a task of the runtime.
pub(super) struct Scratch {
    name: String,
    mark: String,
    server: ConnSettings,
    /// `None` when the database is settled.
    session: Option<Session>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Scratch {
    /// Takes a name and its lock. The database is not there yet.
    pub(super) async fn new(
        session: Session,
        server: &ConnSettings,
        archive: &ArchiveName,
    ) -> Result<Scratch> {
        let id = random_id();
        let name = format!("{PREFIX}{}", &id[..DIGITS]);
        let key = lock_key(&name).expect("the name has just been made with its digits");
        let lock = "SELECT pg_catalog.pg_advisory_lock($1)";
        session
            .query("taking the drill's lock", lock, &[(&key, Type::INT8)])
            .await?;
        Ok(Scratch {
            mark: format!(
                "{MARK}archive {archive}, process {} on {}, since {}",
                std::process::id(),
                host_name(),
                jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC")
            ),
            name,
            server: server.clone(),
            session: Some(session),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The session beside the database, which holds its lock.
    pub(super) fn session(&self) -> &Session {
        self.session.as_ref().expect("it goes only with the value")
    }

    /// Makes the database with the source's encoding and locale, and marks it.
    pub(super) async fn make(&mut self, source: &Source) -> Result<()> {
        create_database(self.session(), &self.name, source, None).await?;
        self.comment(&self.mark).await
    }

    async fn comment(&self, text: &str) -> Result<()> {
        let comment = sql![
            "COMMENT ON DATABASE ",
            Ident::new(&self.name),
            " IS ",
            Literal(text)
        ];
        self.session()
            .batch(&self.name, "COMMENT", &comment.text())
            .await
    }

    /// Leaves the database to the user: it loses its mark.
    pub(super) async fn keep(mut self) -> Result<()> {
        self.comment(KEPT).await?;
        self.end().await;
        Ok(())
    }

    /// Drops the database, whoever is connected to it.
    pub(super) async fn remove(mut self) -> Result<()> {
        let mut dropped = drop_database(self.session(), &self.name).await;
        if dropped.is_err() && self.session().is_closed() {
            let session = connect(&self.server, "drill").await?;
            dropped = drop_database(&session, &self.name).await;
            session.close().await;
        }
        self.end().await;
        dropped
    }

    async fn end(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) =
            (self.session.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let name = std::mem::take(&mut self.name);
        runtime.spawn(async move {
            // Nobody is left to be told of a failure; the next drill on the server drops what stays.
            let _ = drop_database(&session, &name).await;
            session.close().await;
        });
    }
}

/// Drops a scratch database that may be there, ending every session in it.
pub(super) async fn drop_database(session: &Session, name: &str) -> Result<()> {
    assert!(name.starts_with(PREFIX), "{name} is no scratch database");
    let force = if session.version() < V13 {
        let end = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = $1";
        session
            .query(
                "ending sessions of the scratch database",
                end,
                &[(&name, Type::TEXT)],
            )
            .await?;
        sql![""]
    } else {
        sql![" WITH (FORCE)"]
    };
    let drop = sql!["DROP DATABASE IF EXISTS ", Ident::new(name), force];
    let object = format!("database {name}");
    session.batch(&object, "DROP DATABASE", &drop.text()).await
}

/// The key of the advisory lock of the scratch database called `name`; `None` if that is no such name.
pub(super) fn lock_key(name: &str) -> Option<i64> {
    let digits = name.strip_prefix(PREFIX)?;
    let is_hex = digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != DIGITS || !is_hex {
        return None;
    }
    let number = u64::from_str_radix(digits, 16).ok()?;
    Some(number.cast_signed())
}

/// What the mark of a scratch database says of the drill; `None` if there is no mark.
pub(super) fn marked(comment: Option<&str>) -> Option<&str> {
    comment?.strip_prefix(MARK)
}

/// The machine's name, for whoever looks for the process.
fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        "an unnamed machine".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_scratch_databases_have_a_key() {
        assert_eq!(lock_key("pgark_drill_00000000000000ff"), Some(255));
        assert_eq!(lock_key("pgark_drill_ffffffffffffffff"), Some(-1));
        for other in [
            "shop",
            "pgark_drill_",
            "pgark_drill_ff",
            "pgark_drill_00000000000000FF",
            "pgark_drill_+0000000000000ff",
            "pgark_drill_00000000000000ff0",
            "Pgark_drill_00000000000000ff",
        ] {
            assert_eq!(lock_key(other), None, "{other}");
        }
    }

    #[test]
    fn a_mark_is_not_any_comment() {
        assert_eq!(
            marked(Some("scratch database of a pgark drill: x")),
            Some("x")
        );
        assert_eq!(marked(Some("made and kept by a pgark drill")), None);
        assert_eq!(marked(None), None);
    }
}
