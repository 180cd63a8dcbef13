//! Whether `template1` is as initdb made it, so that no archive of it is needed. Pure.

use crate::toc::{Entry, Stage};

/// What initdb leaves of the database itself (`make_template0`, `setup_privileges`): the comment, and privileges that any dump writes
/// as differences from the default ones.
const OF_INITDB: [&str; 4] = [
    "ALTER DATABASE \"template1\" IS_TEMPLATE = true",
    "COMMENT ON DATABASE \"template1\" IS 'default template for new databases'",
    "REVOKE CONNECT, TEMPORARY ON DATABASE \"template1\" FROM PUBLIC",
    "GRANT CONNECT ON DATABASE \"template1\" TO PUBLIC",
];

/// True if the entries of a dump of `template1` hold nothing that a user made or changed.
pub(super) fn is_template1(entries: &[Entry]) -> bool {
    entries.iter().all(|entry| match entry.stage {
        Stage::Database => {
            entry.tablespace.is_none() && statements(entry).all(|one| OF_INITDB.contains(&&*one))
        }
        // Every archive has schema `public`, with something to do only where it was changed.
        _ => statements(entry).next().is_none() && entry.data.is_none(),
    })
}

/// All statements but the owner's.
fn statements(entry: &Entry) -> impl Iterator<Item = String> {
    let steps = entry.forms.iter().flat_map(|form| &form.steps);
    let created = steps.flat_map(|step| &step.sql).map(crate::sql::Sql::text);
    let after = entry.after.iter().map(|(_, statement)| statement.text());
    let grants = entry.grants.iter().map(|grant| grant.statement().text());
    created.chain(after).chain(grants)
}
