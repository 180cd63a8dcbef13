//! What of a set's globals the target has already: it is compared, and left as it is unless it is to be altered. Pure.

use std::collections::HashMap;

use super::restore::GlobalsKind;
use crate::pg::ServerVersion;
use crate::sql::{Sql, hide_passwords, sql};
use crate::toc::{Entry, EntryName};

/// The entries that are to be restored, and what was left.
#[derive(Debug)]
pub(super) struct Adapted {
    /// All entries, those with nothing to do idle.
    pub(super) entries: Vec<Entry>,
    /// What exists and differs, with the archived statements that would change it.
    pub(super) left: Vec<String>,
}

/// Compares archived entries with those that the target itself would give.
pub(super) fn adapt(
    archived: Vec<Entry>,
    there: &[Entry],
    version: ServerVersion,
    (kind, alter): (GlobalsKind, bool),
) -> Adapted {
    let there: HashMap<(&str, &EntryName), &Entry> = there
        .iter()
        .map(|entry| ((entry.label.as_str(), &entry.name), entry))
        .collect();
    let mut left = Vec::new();
    let entries = archived.into_iter().map(|mut entry| {
        if !kind.has(&entry) {
            make_idle(&mut entry);
            return entry;
        }
        let Some(other) = there.get(&(entry.label.as_str(), &entry.name)) else {
            return entry;
        };
        let has = statements(other, version);
        let mut wants = statements(&entry, version);
        wants.retain(|statement| !has.contains(statement));
        if !wants.is_empty() && alter {
            keep_alterations(&mut entry);
        } else {
            if !wants.is_empty() {
                let wants: Vec<String> = wants
                    .iter()
                    .map(|one| hide_passwords(one).into_owned())
                    .collect();
                left.push(format!(
                    "{} {}: {}",
                    entry.label,
                    entry.name,
                    wants.join("; ")
                ));
            }
            make_idle(&mut entry);
        }
        entry
    });
    let entries = entries.collect();
    Adapted { entries, left }
}

/// What the entry does to an object that exists: everything but its creation, which is the first step of what can be dropped.
fn statements(entry: &Entry, version: ServerVersion) -> Vec<String> {
    let form = entry.forms.iter().find(|form| form.serves(version));
    let steps = form.map_or(&[][..], |form| &form.steps);
    let steps = steps.iter().skip(usize::from(entry.drop.is_some()));
    let owner = entry.owner.iter();
    let owner = owner.map(|owner| sql!["ALTER ", &owner.target, " OWNER TO ", &owner.role].text());
    let after = entry.after.iter().map(|after| after.sql.text());
    let grants = entry.grants.iter().map(|grant| grant.statement().text());
    let altered = steps.flat_map(|step| &step.sql).map(Sql::text);
    altered.chain(owner).chain(after).chain(grants).collect()
}

fn keep_alterations(entry: &mut Entry) {
    if entry.drop.is_some() {
        for form in &mut entry.forms {
            form.steps.drain(..1.min(form.steps.len()));
        }
        entry.directory = None;
    }
}

/// The entries with everything idle but what is chosen.
pub(super) fn only(mut entries: Vec<Entry>, chosen: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    for entry in entries.iter_mut().filter(|entry| !chosen(entry)) {
        make_idle(entry);
    }
    entries
}

fn make_idle(entry: &mut Entry) {
    entry.forms.clear();
    entry.owner = None;
    entry.after.clear();
    entry.grants.clear();
    entry.directory = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::V15;
    use crate::sql::Literal;
    use crate::toc::{EntryId, Form, Stage, Step};

    fn role(name: &str, password: &str) -> Entry {
        let name = EntryName {
            name: name.into(),
            ..EntryName::default()
        };
        let mut entry = Entry::new(EntryId(0), "role", name, Stage::PreData);
        let step = |sql| Step {
            sql: vec![sql],
            ..Step::default()
        };
        entry.forms = vec![Form {
            steps: vec![
                step(sql!["CREATE ROLE x"]),
                step(sql!["ALTER ROLE x PASSWORD ", Literal(password)]),
            ],
            ..Form::default()
        }];
        entry.drop = Some(sql!["DROP ROLE x"]);
        entry
    }

    fn adapted(alter: bool) -> Adapted {
        let archived = vec![role("same", "a"), role("other", "a"), role("new", "a")];
        let there = [role("same", "a"), role("other", "b")];
        adapt(archived, &there, V15, (GlobalsKind::All, alter))
    }

    #[test]
    fn what_exists_is_left_and_named_without_its_password() {
        let Adapted { entries, left } = adapted(false);
        let idle: Vec<bool> = entries.iter().map(Entry::is_idle).collect();
        assert_eq!(idle, [true, true, false]);
        assert_eq!(left, ["role other: ALTER ROLE x PASSWORD ***"]);
    }

    #[test]
    fn what_exists_is_altered_on_request_but_not_made_again() {
        let Adapted { entries, left } = adapted(true);
        let n_steps = |entry: &Entry| entry.forms.first().map_or(0, |form| form.steps.len());
        let n_steps: Vec<usize> = entries.iter().map(n_steps).collect();
        assert_eq!(n_steps, [0, 1, 2]);
        assert!(left.is_empty());
    }
}
