//! What barriers are called: findings for people, statements that cure them, and what an archive lacks because of them.

use std::collections::{BTreeMap, BTreeSet};

use super::Barriers;
use crate::error::Error;
use crate::kinds::row::Oid;
use crate::pg::ServerVersion;
use crate::pg::version::V14;
use crate::sql::{Ident, QualifiedName};

/// Large objects named in one `GRANT`.
const OBJECTS_PER_GRANT: usize = 200;

/// Names that a finding gives as examples.
const EXAMPLES: usize = 3;

impl Barriers {
    /// What cannot be read, a line for each kind.
    pub fn findings(&self) -> Vec<String> {
        let quoted = |names: &BTreeMap<Oid, QualifiedName>| {
            names
                .values()
                .map(QualifiedName::quoted)
                .collect::<Vec<_>>()
        };
        let schemas: Vec<String> = self
            .schemas
            .values()
            .map(|name| Ident::new(&**name).quoted())
            .collect();
        let objects: Vec<String> = self.large_objects.iter().map(Oid::to_string).collect();
        let printable = |names: &mut dyn Iterator<Item = &String>| {
            names
                .map(|name| crate::sql::printable(name))
                .collect::<Vec<_>>()
        };
        let kinds = [
            (schemas, "schema", "without USAGE"),
            (quoted(&self.tables), "table", "without SELECT"),
            (quoted(&self.sequences), "sequence", "without SELECT"),
            (
                quoted(&self.filtered),
                "table",
                "of which row security hides rows",
            ),
            (objects, "large object", "without SELECT"),
            (
                printable(&mut self.subscriptions.iter()),
                "subscription",
                "with a connection string that is hidden",
            ),
            (
                printable(&mut self.user_mappings.values()),
                "user mapping",
                "with options that are hidden",
            ),
        ];
        kinds
            .into_iter()
            .filter_map(|(names, kind, how)| finding(&names, kind, how))
            .collect()
    }

    /// The statements that give the role what it lacks; whoever owns the objects, or a superuser, runs them as they are.
    pub fn cures(&self) -> Vec<String> {
        let role = Ident::new(&*self.role).quoted();
        let mut cures: Vec<String> = self
            .schemas
            .values()
            .map(|name| {
                let schema = Ident::new(&**name).quoted();
                format!("GRANT USAGE ON SCHEMA {schema} TO {role};")
            })
            .collect();
        let of_kind = |keyword: &'static str, names: &BTreeMap<Oid, QualifiedName>| {
            let grant = |name: &QualifiedName| {
                format!("GRANT SELECT ON {keyword} {} TO {role};", name.quoted())
            };
            names.values().map(grant).collect::<Vec<_>>()
        };
        cures.extend(of_kind("TABLE", &self.tables));
        cures.extend(of_kind("SEQUENCE", &self.sequences));
        for some in self.large_objects.chunks(OBJECTS_PER_GRANT) {
            let numbers: Vec<String> = some.iter().map(Oid::to_string).collect();
            let numbers = numbers.join(", ");
            cures.push(format!("GRANT SELECT ON LARGE OBJECT {numbers} TO {role};"));
        }
        let of_catalog =
            |table: &str| format!("GRANT SELECT ON TABLE pg_catalog.{table} TO {role};");
        if !self.subscriptions.is_empty() {
            cures.push(of_catalog("pg_subscription"));
        }
        if !self.user_mappings.is_empty() {
            cures.push(of_catalog("pg_user_mapping"));
        }
        if !self.filtered.is_empty() {
            cures.push(format!("ALTER ROLE {role} BYPASSRLS;"));
        }
        cures
    }

    /// What else helps, in words.
    pub(super) fn remedy(&self, server: ServerVersion) -> String {
        let role = Ident::new(&*self.role).quoted();
        let mut ways = vec![
            "have a superuser, or the owners, run these statements in the database".to_owned(),
        ];
        let relations = self.schemas.len() + self.tables.len() + self.sequences.len();
        let catalogs = self.subscriptions.len() + self.user_mappings.len();
        if server >= V14 && relations + catalogs > 0 {
            ways.push(format!(
                "GRANT pg_read_all_data TO {role} instead of those on schemas, tables (the catalog's too) and sequences, which covers later ones as well"
            ));
        }
        if !self.large_objects.is_empty() {
            ways.push(format!(
                "GRANT SELECT ON TABLE pg_catalog.pg_largeobject TO {role} instead of those on large objects"
            ));
        }
        if !self.filtered.is_empty() {
            ways.push(
                "--enable-row-security saves the rows that the role may see, in a partial archive"
                    .to_owned(),
            );
        }
        ways.push(
            "--skip-unreadable leaves out what cannot be read, in a partial archive that names it"
                .to_owned(),
        );
        ways.join("; or ")
    }

    /// The error of a dump that does without nothing.
    pub fn refusal(&self, database: &str, server: ServerVersion) -> Error {
        Error::Unreadable {
            what: format!(
                "dump of database {} by role {}",
                Ident::new(database).quoted(),
                Ident::new(&*self.role).quoted()
            ),
            findings: self.findings(),
            cures: self.cures(),
            remedy: self.remedy(server),
        }
    }

    /// How many objects are missing; tables of which an accepted filter hides rows do not count.
    pub fn n_missing(&self) -> u64 {
        let whole = Barriers {
            accepted: BTreeMap::new(),
            ..self.clone()
        };
        whole.missing().len() as u64
    }

    /// What is missing from an archive because of the barriers: the object and the reason.
    pub fn missing(&self) -> Vec<(String, String)> {
        let mut missing = Vec::new();
        let mut listed: BTreeSet<Oid> = BTreeSet::new();
        let relations = [
            (&self.tables, "rows of", "no SELECT on the table"),
            (&self.sequences, "value of", "no SELECT on the sequence"),
            (&self.closed, "rows of", "no USAGE on the schema"),
            (
                &self.filtered,
                "rows of",
                "row security filters the table for the role",
            ),
        ];
        for (names, part, why) in relations {
            for (oid, name) in names {
                if listed.insert(*oid) {
                    missing.push((format!("{part} {}", name.quoted()), why.to_owned()));
                }
            }
        }
        let hidden = |name: &QualifiedName| format!("some rows of {}", name.quoted());
        let why = "row security filters the table for the role (--enable-row-security)";
        let accepted = self
            .accepted
            .iter()
            .filter(|(oid, _)| !listed.contains(oid));
        missing.extend(accepted.map(|(_, name)| (hidden(name), why.to_owned())));
        let why = "no SELECT on the large object";
        let objects = self.large_objects.iter();
        missing.extend(objects.map(|oid| (format!("large object {oid}"), why.to_owned())));
        let why = "its connection string is hidden from the role";
        let names = self
            .subscriptions
            .iter()
            .map(|name| crate::sql::printable(name));
        missing.extend(names.map(|name| (format!("subscription {name}"), why.to_owned())));
        let why = "its options are hidden from the role";
        let names = self.user_mappings.values();
        let names = names.map(|name| crate::sql::printable(name));
        missing.extend(names.map(|name| (format!("user mapping {name}"), why.to_owned())));
        missing
    }
}

/// `12 tables without SELECT: "s"."a", "s"."b", "s"."c", …`
fn finding(names: &[String], kind: &str, how: &str) -> Option<String> {
    let plural = if names.len() == 1 { "" } else { "s" };
    let mut text = format!("{} {kind}{plural} {how}: ", names.len());
    text.push_str(
        &names
            .iter()
            .take(EXAMPLES)
            .cloned()
            .collect::<Vec<_>>()
            .join(", "),
    );
    if names.len() > EXAMPLES {
        text.push_str(", …");
    }
    (!names.is_empty()).then_some(text)
}
