//! What a target lets only others do: which errors mean that, which definitions are known to need a superuser, and which roles
//! belong to providers or to the server. Pure; labels and names serve as hints here, and what is unknown is simply tried.

use super::text;
use crate::error::Error;
use crate::sql::Sql;
use crate::toc::{Entry, Form, Part};

/// A statement after creation that the target may forbid without taking the object away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extra {
    /// What it sets, for people.
    pub(super) part: &'static str,
    pub(super) statement: String,
}

/// How a report calls a part.
pub(super) fn part_name(part: Part) -> &'static str {
    match part {
        Part::Define => "definition",
        Part::Owner => "owner",
        Part::Comment => "comment",
        Part::Label => "security label",
        Part::Acl => "privileges",
        Part::Data => "rows",
    }
}

/// True if the error of an object's definition or rows means that the role may not, rather than that something is wrong.
pub(super) fn forbids(error: &Error, label: &str) -> bool {
    match error.sqlstate() {
        Some("42501") => true,
        // Providers answer so for an extension that is not on their list, or whose files they do not ship.
        Some("0A000" | "22023" | "58P01") => label == "extension",
        _ => false,
    }
}

/// The same for a statement after creation: providers also switch whole features off, label providers may not be loaded, and
/// the target's encoding may not hold a comment.
pub(super) fn forbids_extra(error: &Error) -> bool {
    matches!(error.sqlstate(), Some("42501" | "0A000" | "22023")) || text::is_unreadable(error)
}

/// True for a warning that a GRANT or REVOKE did nothing: the role has some privilege on the object, but none to give.
pub(super) fn is_idle_grant(code: &str) -> bool {
    matches!(code, "01006" | "01007")
}

const SUPERUSER: &str = "a superuser";

/// Who may create the object, if not everybody, as far as the entry tells.
pub(super) fn needs(entry: &Entry, form: &Form) -> Option<&'static str> {
    let statements = || form.steps.iter().flat_map(|step| &step.sql).map(Sql::text);
    let says = |text: &str| statements().any(|statement| statement.contains(text));
    match entry.label.as_str() {
        "base type"
        | "operator class"
        | "operator family"
        | "access method"
        | "foreign data wrapper"
        | "text search parser"
        | "text search template"
        | "language"
        | "event trigger"
        | "publication schema" => Some(SUPERUSER),
        "publication" => says(" FOR ALL TABLES").then_some(SUPERUSER),
        "cast" => says(" WITHOUT FUNCTION").then_some(SUPERUSER),
        "subscription" => Some("a superuser or, from 16 on, a member of pg_create_subscription"),
        "function" | "procedure" => statements()
            .any(|statement| is_superusers_function(&statement))
            .then_some(SUPERUSER),
        _ => None,
    }
}

/// What stands before a function's body is ours to know; bodies may say anything.
fn is_superusers_function(statement: &str) -> bool {
    let head = statement.lines().next().unwrap_or_default();
    ["\"c\"", "\"internal\""]
        .iter()
        .any(|language| head.contains(&format!(" LANGUAGE {language}")))
        || head.contains(" LEAKPROOF")
}

/// Roles that providers keep for themselves, by how their names begin, and whose they are. They exist on no other server.
const OF_PROVIDERS: [(&str, &str); 18] = [
    ("rdsadmin", "Amazon RDS"),
    ("rds_", "Amazon RDS"),
    ("rdstopmgr", "Amazon RDS"),
    ("rdsrepladmin", "Amazon RDS"),
    ("cloudsql", "Google Cloud SQL"),
    ("alloydb", "Google AlloyDB"),
    ("azure_", "Azure Database for PostgreSQL"),
    ("azuresu", "Azure Database for PostgreSQL"),
    ("supabase_", "Supabase"),
    ("neon_superuser", "Neon"),
    ("cloud_admin", "Neon"),
    ("_aiven", "Aiven"),
    ("avnadmin", "Aiven"),
    ("doadmin", "DigitalOcean"),
    ("_dodb", "DigitalOcean"),
    ("crunchy_superuser", "Crunchy Bridge"),
    ("heroku_admin", "Heroku"),
    ("tsdbadmin", "Timescale Cloud"),
];

/// Whose role it is, if it is a provider's or comes with the server.
pub(super) fn keeper(role: &str) -> Option<&'static str> {
    if role.starts_with("pg_") {
        return Some("the server itself, of another version");
    }
    OF_PROVIDERS
        .iter()
        .find(|(beginning, _)| role.starts_with(beginning))
        .map(|(_, provider)| *provider)
}

/// Packages that bring extensions, where that is not the one of the server's own contrib modules.
const PACKAGES: [(&str, &str); 12] = [
    ("postgis", "postgis (Debian: postgresql-N-postgis-3)"),
    ("vector", "pgvector (Debian: postgresql-N-pgvector)"),
    ("timescaledb", "timescaledb"),
    ("pg_cron", "pg_cron (Debian: postgresql-N-cron)"),
    ("pg_partman", "pg_partman (Debian: postgresql-N-partman)"),
    ("pg_repack", "pg_repack (Debian: postgresql-N-repack)"),
    ("pgaudit", "pgaudit (Debian: postgresql-N-pgaudit)"),
    ("hll", "postgresql-hll (Debian: postgresql-N-hll)"),
    ("citus", "citus"),
    ("plv8", "plv8"),
    ("pgrouting", "pgrouting (Debian: postgresql-N-pgrouting)"),
    ("plpython3u", "PL/Python (Debian: postgresql-plpython3-N)"),
];

/// The package to look for, with N for the major version.
pub(super) fn package_of(extension: &str) -> &'static str {
    PACKAGES
        .iter()
        .find(|(name, _)| extension == *name || extension.starts_with(&format!("{name}_")))
        .map_or(
            "if it is one of PostgreSQL's own, postgresql-contrib",
            |(_, package)| *package,
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toc::{EntryId, EntryName, Stage, Step};

    fn entry(label: &str) -> Entry {
        Entry::new(EntryId(0), label, EntryName::default(), Stage::PreData)
    }

    fn needs_of(label: &str, statement: &str) -> Option<&'static str> {
        let text: Sql = serde_json::from_value(serde_json::json!(statement)).unwrap();
        let step = Step {
            sql: vec![text],
            ..Step::default()
        };
        let form = Form {
            steps: vec![step],
            ..Form::default()
        };
        needs(&entry(label), &form)
    }

    #[test]
    fn what_needs_a_superuser_is_told_from_the_entry() {
        for (label, statement) in [
            ("event trigger", "CREATE EVENT TRIGGER x"),
            ("publication", "CREATE PUBLICATION p FOR ALL TABLES"),
            ("cast", "CREATE CAST (a AS b) WITHOUT FUNCTION"),
            (
                "function",
                "CREATE FUNCTION f() RETURNS int LANGUAGE \"c\"\nAS 'x'",
            ),
            (
                "function",
                "CREATE FUNCTION f() RETURNS int LANGUAGE \"sql\" LEAKPROOF\nAS 'x'",
            ),
        ] {
            assert!(needs_of(label, statement).is_some(), "{statement}");
        }
        for (label, statement) in [
            ("publication", "CREATE PUBLICATION p"),
            ("table", "CREATE TABLE t ()"),
            ("cast", "CREATE CAST (a AS b) WITH INOUT"),
            (
                "function",
                "CREATE FUNCTION f() RETURNS int LANGUAGE \"sql\"\nAS ' LEAKPROOF LANGUAGE \"c\"'",
            ),
        ] {
            assert_eq!(needs_of(label, statement), None, "{statement}");
        }
    }

    #[test]
    fn roles_of_providers_are_known_and_others_are_not() {
        assert_eq!(keeper("rds_superuser"), Some("Amazon RDS"));
        assert_eq!(keeper("cloudsqlsuperuser"), Some("Google Cloud SQL"));
        assert!(keeper("pg_maintain").is_some());
        for ordinary in ["shop", "postgres", "rds", "pgbouncer"] {
            assert_eq!(keeper(ordinary), None);
        }
        assert!(package_of("postgis_topology").contains("postgis"));
        assert!(package_of("hstore").contains("contrib"));
    }
}
