//! What stands against a replacement, found before the first change: everything that a restore would find, what the exchange of
//! the names needs, and what hangs on the old database that no archive holds.

use tokio_postgres::types::{ToSql, Type};

use super::sessions::{self, Connected};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::pg::{ConnSettings, Session};
use crate::restore::{Foreseen, RestoreOptions, check_target};
use crate::sql::{Ident, ReadText, SentText};
use crate::toc::printable;

/// The database that is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of the catalog, in any combination"
)]
pub(super) struct Old {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) comment: Option<String>,
    pub(super) tablespace: String,
    pub(super) is_superuser: bool,
    encoding: String,
    collate: String,
    pub(super) allows_connections: bool,
    is_ours: bool,
    makes_databases: bool,
    in_recovery: bool,
}

impl Old {
    /// Errors: [`Error::Failed`] if there is no such database.
    pub(super) async fn read(session: &Session, name: &str) -> Result<Old> {
        let query = "SELECT d.oid, s.description, t.spcname::pg_catalog.text, me.rolsuper, \
                     pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, d.datcollate::pg_catalog.text, \
                     d.datallowconn, pg_catalog.pg_has_role(d.datdba, 'USAGE'), me.rolsuper OR me.rolcreatedb \
                     FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace \
                     LEFT JOIN pg_catalog.pg_shdescription s \
                     ON s.objoid = d.oid AND s.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass \
                     CROSS JOIN (SELECT * FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) AS me WHERE d.datname = $1";
        let params: &[(&(dyn ToSql + Sync), Type)] = &[(&SentText(name), Type::TEXT)];
        let rows = session
            .query("looking at the old database", query, params)
            .await?;
        let text = |at: usize| rows[0].get::<_, ReadText>(at).0;
        if rows.is_empty() {
            return Err(Error::failed(
                format_args!("database {}", Ident::new(name).quoted()),
                "it does not exist, so there is nothing to replace",
                "leave --replace out and say --create",
            ));
        }
        let row = &rows[0];
        Ok(Old {
            oid: row.get(0),
            name: name.to_owned(),
            comment: row.get::<_, Option<ReadText>>(1).map(|text| text.0),
            tablespace: text(2),
            is_superuser: row.get(3),
            encoding: text(4),
            collate: text(5),
            allows_connections: row.get(6),
            is_ours: row.get(7),
            makes_databases: row.get(8),
            in_recovery: session.in_recovery(),
        })
    }

    /// What the exchange of the names needs of the role and the server.
    fn findings(&self, user: &str) -> Vec<String> {
        let (name, user) = (Ident::new(&self.name).quoted(), Ident::new(user).quoted());
        let mut findings = Vec::new();
        if self.in_recovery {
            findings.push(
                "the server is a standby, which takes no changes; connect to the primary"
                    .to_owned(),
            );
        }
        if !self.is_ours {
            findings.push(format!(
                "the connecting user is not the owner of database {name}, who alone may give it another name; GRANT its owner to {user}, or connect as a superuser"
            ));
        }
        if !self.makes_databases {
            findings.push(format!(
                "the connecting user may not make databases and give them other names; ALTER ROLE {user} CREATEDB"
            ));
        }
        if !self.allows_connections {
            findings.push(format!(
                "database {name} allows no connections, so that what it is to its cluster cannot be read; ALTER DATABASE {name} ALLOW_CONNECTIONS true"
            ));
        }
        findings
    }

    /// What will be otherwise than with the old database, because the archive is.
    fn changes(&self, archive: &Archive) -> Vec<String> {
        let source = &archive.manifest().source;
        let collate = source.locale.get("collate").unwrap_or(&self.collate);
        let pairs = [
            ("encoding", &self.encoding, &source.encoding),
            ("collation", &self.collate, collate),
        ];
        let differing = pairs.into_iter().filter(|(_, old, new)| old != new);
        let text = |(what, old, new): (&str, &String, &String)| {
            format!(
                "the archive's {what} is {new}, and that of the database which it replaces is {old}"
            )
        };
        differing.map(text).collect()
    }
}

/// What hangs on a database and stays with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ties {
    prepared: Vec<String>,
    slots: Vec<(String, bool)>,
    subscriptions: Vec<(String, bool)>,
    publications: Vec<String>,
    immune: Vec<Connected>,
}

impl Ties {
    /// Reads them; `inside` is a session in the database itself.
    pub(super) async fn read(
        session: &Session,
        inside: Option<&Session>,
        oid: u32,
    ) -> Result<Ties> {
        let params: &[(&(dyn ToSql + Sync), Type)] = &[(&oid, Type::OID)];
        let mut ties = Ties::default();
        let prepared = "SELECT p.gid FROM pg_catalog.pg_prepared_xacts p JOIN pg_catalog.pg_database d ON d.datname = p.database \
                        WHERE d.oid = $1 ORDER BY p.gid";
        for row in session
            .query("looking for prepared transactions", prepared, params)
            .await?
        {
            ties.prepared.push(row.get::<_, ReadText>(0).0);
        }
        let slots = "SELECT r.slot_name::pg_catalog.text, r.active FROM pg_catalog.pg_replication_slots r WHERE r.datoid = $1 \
                     ORDER BY r.slot_name";
        for row in session
            .query("looking for replication slots", slots, params)
            .await?
        {
            ties.slots.push((row.get::<_, ReadText>(0).0, row.get(1)));
        }
        let subscriptions = "SELECT subname::pg_catalog.text, subenabled FROM pg_catalog.pg_subscription WHERE subdbid = $1 ORDER BY subname";
        for row in session
            .query("looking for subscriptions", subscriptions, params)
            .await?
        {
            ties.subscriptions
                .push((row.get::<_, ReadText>(0).0, row.get(1)));
        }
        if let Some(inside) = inside {
            let publications =
                "SELECT pubname::pg_catalog.text FROM pg_catalog.pg_publication ORDER BY pubname";
            for row in inside
                .query("looking for publications", publications, &[])
                .await?
            {
                ties.publications.push(row.get::<_, ReadText>(0).0);
            }
        }
        let connected = sessions::connected(session, oid).await?;
        ties.immune = connected.into_iter().filter(|one| !one.may_end).collect();
        Ok(ties)
    }

    /// All of it, in words.
    pub(super) fn texts(&self, user: &str) -> Vec<String> {
        [self.findings(user), self.warnings()].concat()
    }

    /// What makes the exchange of the names impossible, or wrong.
    fn findings(&self, user: &str) -> Vec<String> {
        let mut findings = Vec::new();
        for gid in &self.prepared {
            findings.push(format!(
                "transaction {} is prepared in the database, which cannot get another name until it has ended; COMMIT PREPARED or ROLLBACK PREPARED it there",
                printable(gid)
            ));
        }
        for (name, _) in self
            .subscriptions
            .iter()
            .filter(|(_, is_enabled)| *is_enabled)
        {
            let name = Ident::new(name).quoted();
            findings.push(format!(
                "subscription {name} is enabled, and would go on to fill the old database under its new name; ALTER SUBSCRIPTION {name} DISABLE, or drop it"
            ));
        }
        for one in &self.immune {
            findings.push(format!(
                "{one} is connected to the database, and the connecting user may not end it; let it end, GRANT pg_signal_backend TO {}, or connect as a superuser",
                Ident::new(user).quoted()
            ));
        }
        findings
    }

    /// What will stay with the old database.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, is_active) in &self.slots {
            let use_ = if *is_active { ", in use now," } else { "" };
            warnings.push(format!(
                "logical replication slot {}{use_} stays with the old database: who reads from it gets nothing of the new one, and needs a new slot there and a first copy",
                Ident::new(name).quoted()
            ));
        }
        if !self.publications.is_empty() && !self.slots.is_empty() {
            warnings.push(format!(
                "the old database has publications that may feed those slots: {}",
                self.publications
                    .iter()
                    .map(|name| printable(name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        for (name, _) in self
            .subscriptions
            .iter()
            .filter(|(_, is_enabled)| !is_enabled)
        {
            warnings.push(format!(
                "subscription {} and its slot on the publisher stay with the old database; the archive's own comes without a connection",
                Ident::new(name).quoted()
            ));
        }
        warnings
    }
}

/// Everything that can be known beforehand. `scratch` names the database that is to be made, `new` how it is restored to.
pub(super) async fn examine(
    archive: &Archive,
    (old, ties): (&Old, &Ties),
    scratch: &ConnSettings,
    new: &RestoreOptions,
) -> Result<Vec<String>> {
    let user = new.role.as_deref().unwrap_or(scratch.user());
    let mut findings = old.findings(user);
    findings.extend(ties.findings(user));
    let as_made = RestoreOptions {
        create: true,
        ..new.clone()
    };
    let Foreseen {
        findings: of_restore,
        warnings: more,
    } = check_target(archive, scratch, &as_made).await?;
    for finding in of_restore {
        // A restore that makes databases says the same of the right to.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    if findings.is_empty() {
        let mut warnings = old.changes(archive);
        warnings.extend(ties.warnings());
        warnings.extend(more);
        return Ok(warnings);
    }
    Err(Error::Refused {
        what: format!(
            "replacement of database {} by archive {}",
            Ident::new(&old.name).quoted(),
            archive.name()
        ),
        findings,
    })
}

/// What has come up since: only what hangs on the old database.
///
/// Errors: [`Error::Refused`].
pub(super) fn still_free(old: &Old, ties: &Ties, user: &str) -> Result<()> {
    let findings = ties.findings(user);
    if findings.is_empty() {
        return Ok(());
    }
    Err(Error::Refused {
        what: format!(
            "exchange of the names of database {}",
            Ident::new(&old.name).quoted()
        ),
        findings,
    })
}
