//! What a database is to its cluster, brought from the old one to the new one: owner, privileges, settings, limits, comment,
//! labels. Read and worded by the code of the dump, so that it is what `pgark dump` would save of it.

use tokio_postgres::types::{ToSql, Type};

use super::examine::Old;
use super::names::KeptMark;
use super::server::Server;
use crate::dump::globals;
use crate::error::{Error, Result};
use crate::pg::pin::{DumpPins, pin_dump_session};
use crate::pg::{ServerVersion, Session};
use crate::selection::Selection;
use crate::sql::{Ident, Literal, Sql, sql};
use crate::toc::{Entry, EntryId};

/// The statements that make the database `new` to its cluster what the old one is. `mark` is what tells the old one later.
pub(super) async fn carried(server: &Server, old: &Old, new: &str) -> Result<Vec<String>> {
    let inside = server.session_in(&old.name).await?;
    inside
        .pin(&pin_dump_session(inside.version(), &DumpPins::default()))
        .await?;
    let entries = globals::of_database(&inside, EntryId(0), &Selection::default()).await?;
    let version = inside.version();
    inside.close().await;
    // The limit on connections is the mark of the new one until now.
    let mut statements =
        vec![sql!["ALTER DATABASE ", Ident::new(new), " CONNECTION LIMIT = -1"].text()];
    for mut entry in entries {
        entry.set_database(new);
        statements.extend(of_entry(&entry, version, old.is_superuser));
    }
    // A comment that has outlived its mark: the database was given back its name by hand.
    if let Some(stale) = old.comment.as_deref().and_then(KeptMark::read) {
        statements.push(comment(new, stale.comment.as_deref()));
    }
    // Who granted as another is himself again, not whom --role says.
    statements.extend(server.become_role());
    Ok(statements)
}

fn of_entry(entry: &Entry, version: ServerVersion, is_superuser: bool) -> Vec<String> {
    let form = entry.forms.iter().find(|form| form.serves(version));
    let steps = form.map_or(&[][..], |form| &form.steps);
    let own = steps.iter().flat_map(|step| &step.sql).map(Sql::text);
    let owner = entry.owner.iter();
    let owner = owner.map(|owner| sql!["ALTER ", &owner.target, " OWNER TO ", &owner.role].text());
    let after = entry
        .after
        .iter()
        .filter(|after| after.targets.serve(version));
    let after = after.map(|after| after.sql.text());
    let grants = entry
        .grants
        .iter()
        .filter(|grant| grant.targets.serve(version));
    let grants = grants.map(|grant| {
        if is_superuser {
            grant.statement().text()
        } else {
            grant.statement_of_member().text()
        }
    });
    own.chain(after).chain(owner).chain(grants).collect()
}

/// Gives a database a comment, or none.
pub(super) fn comment(database: &str, text: Option<&str>) -> String {
    let target = sql!["COMMENT ON DATABASE ", Ident::new(database), " IS "];
    let text = text.map(|text| sql![Literal(text)]);
    let text = text.unwrap_or_else(|| sql!["NULL"]);
    sql![target, text].text()
}

/// A digest of everything that [`carried`] reads but the comment and the name, which the exchange of the names itself changes.
pub(super) async fn digest(session: &Session, oid: u32) -> Result<String> {
    let query = "SELECT pg_catalog.md5(pg_catalog.concat_ws(' ', d.datdba, d.datacl, d.datconnlimit, d.datistemplate, \
                 (SELECT pg_catalog.array_agg((s.setrole, s.setconfig)::pg_catalog.text ORDER BY s.setrole) \
                  FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid), \
                 (SELECT pg_catalog.array_agg((l.provider, l.label)::pg_catalog.text ORDER BY l.provider) \
                  FROM pg_catalog.pg_shseclabel l WHERE l.objoid = d.oid \
                  AND l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass))) \
                 FROM pg_catalog.pg_database d WHERE d.oid = $1";
    let params: &[(&(dyn ToSql + Sync), Type)] = &[(&oid, Type::OID)];
    let rows = session
        .query("looking at the old database", query, params)
        .await?;
    match rows.first() {
        Some(row) => Ok(row.get(0)),
        None => Err(Error::failed(
            "the old database",
            "somebody has dropped it",
            "",
        )),
    }
}
