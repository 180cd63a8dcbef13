//! Drops the scratch databases of drills that were killed: those with a drill's name and mark whose lock nobody holds.

use std::collections::BTreeSet;

use super::scratch::{KEPT, PREFIX, drop_database, lock_key, marked};
use crate::error::Result;
use crate::pg::Session;
use crate::restore::chain;

/// A database whose name begins like that of a scratch database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: String,
    comment: Option<String>,
}

/// What is done with such a database.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Its drill runs.
    Living,
    /// Its drill is gone; the text says which it was.
    Orphan(String),
    /// Nobody knows whose it is.
    Unmarked,
}

/// Drops what killed drills left on the server. Tells what was done, a sentence each.
///
/// Errors: if the server cannot be asked. A database that cannot be dropped is only told.
pub(super) async fn clean_up(session: &Session) -> Result<Vec<String>> {
    // In this order: a drill takes its lock before it makes its database, so the lock of a living one is seen.
    let found = databases(session).await?;
    let held = locks(session).await?;
    let mut said = Vec::new();
    for one in found {
        let name = &one.name;
        match fate(&one, &held) {
            Fate::Living => {}
            Fate::Unmarked => said.push(format!(
                "database {name} has the name of a scratch database but not its mark, and stays; drop it if nobody needs it"
            )),
            Fate::Orphan(of) => said.push(match drop_database(session, name).await {
                Ok(()) => format!("dropped the scratch database {name} that an earlier drill had left ({of})"),
                Err(error) => format!(
                    "the scratch database {name} that an earlier drill had left ({of}) could not be dropped: {}",
                    chain(&error)
                ),
            }),
        }
    }
    Ok(said)
}

fn fate(found: &Found, held: &BTreeSet<i64>) -> Fate {
    let is_held = lock_key(&found.name).is_some_and(|key| held.contains(&key));
    match (lock_key(&found.name), marked(found.comment.as_deref())) {
        _ if is_held => Fate::Living,
        (Some(_), Some(of)) => Fate::Orphan(of.to_owned()),
        _ => Fate::Unmarked,
    }
}

/// Those that nobody was told to keep.
async fn databases(session: &Session) -> Result<Vec<Found>> {
    let sql = "SELECT datname::pg_catalog.text, pg_catalog.shobj_description(oid, 'pg_database') \
               FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname::pg_catalog.text, $1) ORDER BY 1";
    let params: &[(
        &(dyn tokio_postgres::types::ToSql + Sync),
        tokio_postgres::types::Type,
    )] = &[(&PREFIX, tokio_postgres::types::Type::TEXT)];
    let rows = session
        .query("looking for scratch databases", sql, params)
        .await?;
    let found = rows.iter().map(|row| Found {
        name: row.get(0),
        comment: row.get(1),
    });
    Ok(found
        .filter(|one| one.comment.as_deref() != Some(KEPT))
        .collect())
}

/// The keys of all advisory locks that are held in any database of the server.
async fn locks(session: &Session) -> Result<BTreeSet<i64>> {
    let sql = "SELECT (classid::pg_catalog.int8 OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|) objid::pg_catalog.int8 \
               FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted";
    let rows = session.query("looking for living drills", sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_databases_without_a_living_drill_are_dropped() {
        let name = "pgark_drill_00000000000000ff";
        let mark = "scratch database of a pgark drill: of somebody";
        let fate_of = |name: &str, comment: Option<&str>, held: &[i64]| {
            let found = Found {
                name: name.to_owned(),
                comment: comment.map(str::to_owned),
            };
            fate(&found, &held.iter().copied().collect())
        };
        assert_eq!(fate_of(name, Some(mark), &[255, 7]), Fate::Living);
        assert_eq!(fate_of(name, None, &[255]), Fate::Living);
        let orphan = Fate::Orphan("of somebody".to_owned());
        assert_eq!(fate_of(name, Some(mark), &[7]), orphan);
        assert_eq!(fate_of(name, None, &[7]), Fate::Unmarked);
        assert_eq!(fate_of(name, Some("my own"), &[]), Fate::Unmarked);
        assert_eq!(fate_of("pgark_drill_mine", Some(mark), &[]), Fate::Unmarked);
    }
}
