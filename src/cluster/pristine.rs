//! Whether `template1` is as initdb made it, so that no archive of it is needed. Pure.

use crate::pg::ServerVersion;
use crate::pg::version::V15;
use crate::sql::Sql;
use crate::toc::{Entry, Stage};

/// What initdb leaves of the database (`setup_privileges`, `make_template0`): comment and privileges, as a dump writes them.
const DATABASE: [&str; 4] = [
    "ALTER DATABASE \"template1\" IS_TEMPLATE = true",
    "COMMENT ON DATABASE \"template1\" IS 'default template for new databases'",
    "REVOKE CONNECT, TEMPORARY ON DATABASE \"template1\" FROM PUBLIC",
    "GRANT CONNECT ON DATABASE \"template1\" TO PUBLIC",
];
/// What initdb of a server before 15 gives to all in schema `public`; newer ones leave what a dump takes for the default.
const PUBLIC_BEFORE_15: [&str; 2] = [
    "REVOKE USAGE ON SCHEMA \"public\" FROM PUBLIC",
    "GRANT ALL ON SCHEMA \"public\" TO PUBLIC",
];

/// True if the entries of a dump of `template1` hold nothing that a user made, changed or took away.
pub(super) fn is_template1(entries: &[Entry], version: ServerVersion) -> bool {
    let public: &[&str] = if version < V15 {
        &PUBLIC_BEFORE_15
    } else {
        &[]
    };
    entries.iter().all(|entry| {
        let of_initdb = match (entry.stage, entry.label.as_str()) {
            (Stage::Database, _) => &DATABASE[..],
            (_, "schema") => public,
            _ => &[],
        };
        entry.tablespace.is_none()
            && entry.data.is_none()
            && statements(entry, version) == of_initdb
    })
}

/// All statements but the owner's, as the source itself would take them.
fn statements(entry: &Entry, version: ServerVersion) -> Vec<String> {
    let steps = entry.forms.iter().flat_map(|form| &form.steps);
    let created = steps.flat_map(|step| &step.sql).map(Sql::text);
    let after = entry
        .after
        .iter()
        .filter(|after| after.targets.serve(version));
    let after = after.map(|after| after.sql.text());
    let grants = entry
        .grants
        .iter()
        .filter(|grant| grant.targets.serve(version));
    let grants = grants.map(|grant| grant.statement().text());
    created.chain(after).chain(grants).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::{V14, V18};
    use crate::sql::{DatabaseName, sql};
    use crate::toc::{After, EntryId, EntryName, Form, Part, Step};

    fn template1() -> Vec<Entry> {
        let name = DatabaseName("template1");
        let new = |label, stage| Entry::new(EntryId(0), label, EntryName::default(), stage);
        let mut database = new("database", Stage::Database);
        let alter = sql!["ALTER DATABASE ", name, " IS_TEMPLATE = true"];
        let steps = vec![Step {
            sql: vec![alter],
            ..Step::default()
        }];
        database.forms = vec![Form {
            steps,
            ..Form::default()
        }];
        for text in [
            " IS 'default template for new databases'",
            "@REVOKE CONNECT, TEMPORARY ON DATABASE ",
            "@GRANT CONNECT ON DATABASE ",
        ] {
            let statement = match text.strip_prefix('@') {
                None => sql!["COMMENT ON DATABASE ", name, text],
                Some(verb) if verb.starts_with('R') => sql![verb, name, " FROM PUBLIC"],
                Some(verb) => sql![verb, name, " TO PUBLIC"],
            };
            database.after.push(After::new(Part::Comment, statement));
        }
        vec![new("schema", Stage::PreData), database]
    }

    #[test]
    fn only_what_initdb_made_is_left_out() {
        let mut entries = template1();
        assert!(is_template1(&entries, V18));
        // Before 15 everybody may create in public; that somebody took this away must be kept.
        assert!(!is_template1(&entries, V14));
        entries[1].after.pop();
        assert!(!is_template1(&entries, V18));
        let table = Entry {
            forms: entries[1].forms.clone(),
            ..Entry::new(EntryId(2), "table", EntryName::default(), Stage::PreData)
        };
        let mut entries = template1();
        entries.push(table);
        assert!(!is_template1(&entries, V18));
    }
}
