//! Whether source and target are one database: a clone into its own source would be refused as not empty at best, and with
//! `--clean` drop what it is about to read.

use tokio_postgres::types::Type;

use crate::error::{Error, Result};
use crate::pg::{ConnSettings, Session, connect};
use crate::sql::Ident;

/// What tells a database from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    /// Clusters that are copies of each other, standbys too, have the same.
    system_identifier: String,
    database: String,
    /// When the server was started, in microseconds: other servers on copies of the files were started at other times.
    started: String,
    is_standby: bool,
}

/// Errors: [`Error::Usage`] if both are the same database, or one is the other's on a standby; those of connecting.
pub(super) async fn refuse(source: &ConnSettings, target: &ConnSettings) -> Result<()> {
    let (from, into) = (identity(source).await?, identity(target).await?);
    if !is_same(&from, &into) {
        return Ok(());
    }
    let name = Ident::new(&into.database).quoted();
    let how = if from.is_standby == into.is_standby {
        ""
    } else {
        " (one server is a standby of the other's cluster)"
    };
    Err(Error::Usage(format!(
        "source and target are the same database, {name}{how}: choose another target with --to, such as a new one with --create"
    )))
}

fn is_same(one: &Identity, other: &Identity) -> bool {
    let is_one_server = one.started == other.started || one.is_standby || other.is_standby;
    one.system_identifier == other.system_identifier
        && one.database == other.database
        && is_one_server
}

async fn identity(settings: &ConnSettings) -> Result<Identity> {
    let session = connect(settings, "clone").await?;
    let identity = read(&session).await;
    session.close().await;
    identity
}

async fn read(session: &Session) -> Result<Identity> {
    let what = "the database's identity";
    let query = "SELECT (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() c), \
                 pg_catalog.current_database()::pg_catalog.text, \
                 EXTRACT(EPOCH FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text, \
                 pg_catalog.pg_is_in_recovery()";
    let none: [(&(dyn postgres_types::ToSql + Sync), Type); 0] = [];
    let rows = session.query(what, query, &none).await?;
    let reading = || Error::sql(what, "reading it");
    let row = rows
        .first()
        .ok_or_else(|| Error::failed(what, "the server did not say", ""))?;
    Ok(Identity {
        system_identifier: row.try_get(0).map_err(reading())?,
        database: row.try_get(1).map_err(reading())?,
        started: row.try_get(2).map_err(reading())?,
        is_standby: row.try_get(3).map_err(reading())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(started: &str, is_standby: bool) -> Identity {
        Identity {
            system_identifier: "7301".to_owned(),
            database: "shop".to_owned(),
            started: started.to_owned(),
            is_standby,
        }
    }

    #[test]
    fn a_copy_of_the_cluster_is_another_server_unless_it_is_a_standby() {
        let shop = database("1.5", false);
        assert!(is_same(&shop, &shop));
        assert!(is_same(&database("2.5", true), &shop));
        assert!(!is_same(&database("2.5", false), &shop));
        let other = Identity {
            database: "shop_copy".to_owned(),
            ..shop.clone()
        };
        assert!(!is_same(&other, &shop));
    }
}
