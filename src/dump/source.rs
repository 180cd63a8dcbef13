//! Facts of the source: which server, which database, in which encoding and locale.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::archive::manifest::{COLLATION_VERSION, ExtensionPlace, Source};
use crate::catalog::lock_table::LockTable;
use crate::error::{Error, Result};
use crate::kinds::core::DatabaseFacts;
use crate::kinds::row::{CatalogRow, catalog_row};
use crate::pg::Session;
use crate::pg::version::{V15, V16, V17};
use crate::sql::ReadText;

catalog_row! {
    /// The connected database.
    struct SourceRow from "pg_catalog.pg_database d" where "d.datname = pg_catalog.current_database()" {
        name: String = col("d.datname"),
        user: String = col("CURRENT_USER::pg_catalog.text"),
        superuser: bool = col("pg_catalog.current_setting('is_superuser') = 'on'"),
        standby: bool = col("pg_catalog.pg_is_in_recovery()"),
        locks_per_transaction: i32 = col("pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int4"),
        n_transactions: i32 = col(
            "pg_catalog.current_setting('max_connections')::pg_catalog.int4 \
             + pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int4"
        ),
        version_text: String = col("pg_catalog.current_setting('server_version')"),
        encoding: String = col("pg_catalog.pg_encoding_to_char(d.encoding)"),
        system_identifier: String =
            col("(SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() c)"),
        collate: Option<String> = col("d.datcollate::pg_catalog.text"),
        ctype: Option<String> = col("d.datctype::pg_catalog.text"),
        provider: String = since(V15, "d.datlocprovider::pg_catalog.text", "'c'"),
        locale: Option<String> = by(|server| {
            if server >= V17 {
                "d.datlocale".into()
            } else if server >= V15 {
                "d.daticulocale".into()
            } else {
                "NULL::pg_catalog.text".into()
            }
        }),
        collation_version: Option<String> = since(
            V15,
            "pg_catalog.pg_database_collation_actual_version(d.oid)",
            "NULL::pg_catalog.text",
        ),
        icu_rules: Option<String> = since(V16, "d.daticurules", "NULL::pg_catalog.text"),
    }
}

catalog_row! {
    /// Extensions that somebody made.
    struct ExtensionRow from
        "pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
        where "e.oid >= 16384" {
        name: String = col("e.extname"),
        version: String = col("e.extversion"),
        schema: String = col("n.nspname"),
    }
}

catalog_row! {
    /// The position in the WAL, where the role may ask for it.
    struct LsnRow from "(SELECT 1) AS one" {
        lsn: Option<String> = col(
            "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
             ELSE pg_catalog.pg_current_wal_lsn() END::pg_catalog.text"
        ),
    }
}

/// The database as kinds know it, and as the manifest describes it.
#[derive(Debug, Clone)]
pub(super) struct SourceFacts {
    /// For the loader.
    pub database: DatabaseFacts,
    /// For the manifest; times are filled in by the dump.
    pub source: Source,
    /// The user's own search path, in order, which unqualified patterns follow.
    pub search_path: Vec<String>,
    /// The server's room for locks.
    pub lock_table: LockTable,
}

/// The schemas of the user's search path. Must be asked before the session is pinned, which empties it, but for its text.
pub(super) async fn search_path(session: &Session) -> Result<Vec<String>> {
    let what = "the search path";
    let rows = session
        .query(
            what,
            "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]",
            &[],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let path: Vec<ReadText> = row.try_get(0).map_err(Error::sql(what, "reading it"))?;
    Ok(path.into_iter().map(|schema| schema.0).collect())
}

/// Reads the facts.
pub(super) async fn read(session: &Session, search_path: Vec<String>) -> Result<SourceFacts> {
    let what = "the database's facts";
    let rows = session
        .query(what, &SourceRow::query(session.version()), &[])
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| Error::failed(what, "the database has vanished", ""))?;
    let row = SourceRow::from_row(row).map_err(Error::sql(what, "reading them"))?;
    let mut locale = BTreeMap::from([("provider".to_owned(), row.provider)]);
    let others = [
        ("collate", row.collate),
        ("ctype", row.ctype),
        ("locale", row.locale),
        (COLLATION_VERSION, row.collation_version),
        ("icu_rules", row.icu_rules),
    ];
    for (key, value) in others {
        locale.extend(value.map(|value| (key.to_owned(), value)));
    }
    let now = Timestamp::now();
    let source = Source {
        server_version: session.version(),
        server_version_text: row.version_text,
        system_identifier: row.system_identifier,
        database: row.name.clone(),
        encoding: row.encoding,
        locale,
        extensions: extensions(session).await?,
        snapshot_lsn: None,
        started: now,
        finished: now,
    };
    let database = DatabaseFacts {
        name: row.name,
        user: row.user,
        superuser: row.superuser,
        standby: row.standby,
    };
    Ok(SourceFacts {
        database,
        source,
        search_path,
        lock_table: LockTable {
            per_transaction: u32::try_from(row.locks_per_transaction).unwrap_or_default(),
            n_transactions: u32::try_from(row.n_transactions).unwrap_or_default(),
        },
    })
}

async fn extensions(session: &Session) -> Result<BTreeMap<String, ExtensionPlace>> {
    let what = "the extensions' versions";
    let rows = session
        .query(what, &ExtensionRow::query(session.version()), &[])
        .await?;
    let mut extensions = BTreeMap::new();
    for row in &rows {
        let row = ExtensionRow::from_row(row).map_err(Error::sql(what, "reading them"))?;
        let (version, schema) = (row.version, row.schema);
        extensions.insert(row.name, ExtensionPlace { version, schema });
    }
    Ok(extensions)
}

/// The WAL position at this moment.
pub(super) async fn lsn(session: &Session) -> Result<Option<String>> {
    let what = "the WAL position";
    let rows = session
        .query(what, &LsnRow::query(session.version()), &[])
        .await?;
    let row = rows.first().map(LsnRow::from_row).transpose();
    Ok(row
        .map_err(Error::sql(what, "reading it"))?
        .and_then(|row| row.lsn))
}
