//! Judges, before the first change, whether a restore can work: pure. Reading the target is in `target`, proving the archive in `prove`.

use super::options::RestoreOptions;
use super::prove::Indexes;
use super::report::object_of;
use super::select::Selection;
use super::target::TargetFacts;
use super::text;
use super::wanted::{Uses, Wanted};
use crate::archive::Archive;
use crate::archive::index::{CopyFormat, TableIndex};
use crate::pg::version::UNKNOWN;
use crate::sql::Ident;

/// What stands against a restore, and what the user should know.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) findings: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Judges the target. `encoding` is the archive's.
pub(super) fn judge(
    wanted: &Wanted,
    facts: &TargetFacts,
    encoding: &str,
    options: &RestoreOptions,
) -> Verdict {
    let mut verdict = Verdict::default();
    if facts.version >= UNKNOWN {
        verdict.warnings.push(format!(
            "PostgreSQL {} is newer than this version of pgark knows",
            facts.version
        ));
    }
    if facts.in_recovery {
        verdict.findings.push(
            "the server is a standby, which takes no changes; connect to the primary".to_owned(),
        );
    }
    for object in &wanted.unserved {
        verdict.findings.push(format!(
            "{object} cannot be made on PostgreSQL {}; restore to a newer server, or leave it out",
            facts.version
        ));
    }
    roles(wanted, facts, options, &mut verdict);
    server_objects(wanted, facts, &mut verdict);
    encodings(encoding, facts, options, &mut verdict);
    emptiness(wanted, facts, &mut verdict);
    verdict
}

fn plural(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

fn example(uses: &Uses) -> String {
    match uses.n {
        1 => uses.first.clone(),
        n => format!("{} objects, the first is {}", n, uses.first),
    }
}

fn roles(wanted: &Wanted, facts: &TargetFacts, options: &RestoreOptions, verdict: &mut Verdict) {
    for (role, uses) in &wanted.roles {
        let quoted = Ident::new(role).quoted();
        let may_become = facts.roles.get(role);
        if may_become.is_none() {
            let mut why = Vec::new();
            let mut remedy = format!("create it (CREATE ROLE {quoted})");
            if uses.owns.n > 0 {
                why.push(format!("owns {}", example(&uses.owns)));
                remedy.push_str(", or leave owners out with --no-owner");
            }
            if uses.grants.n > 0 {
                why.push(format!("has privileges on {}", example(&uses.grants)));
                remedy.push_str(", or leave privileges out with --no-privileges");
            }
            if uses.defines.n > 0 {
                why.push(format!("is part of {}", example(&uses.defines)));
            }
            verdict.findings.push(format!(
                "role {quoted} does not exist; it {}; {remedy}",
                why.join(" and ")
            ));
        } else if uses.owns.n > 0 && may_become == Some(&false) && !facts.is_superuser {
            verdict.findings.push(format!(
                "the connecting user is no member of role {quoted}, which owns {}; connect as a superuser or a member, or leave owners out with --no-owner",
                example(&uses.owns)
            ));
        }
    }
    if wanted.foreign_grants.n > 0 && !facts.is_superuser && !options.no_privileges {
        verdict.findings.push(format!(
            "privileges on {} were granted by others than the owner, which only a superuser can repeat; connect as one, or leave privileges out with --no-privileges",
            example(&wanted.foreign_grants)
        ));
    }
}

fn server_objects(wanted: &Wanted, facts: &TargetFacts, verdict: &mut Verdict) {
    for (name, uses) in &wanted.tablespaces {
        if !facts.tablespaces.contains(name) {
            verdict.findings.push(format!(
                "tablespace {} does not exist; {} is in it; create it, or use the default one with --no-tablespaces",
                Ident::new(name).quoted(),
                example(uses)
            ));
        }
    }
    for name in &wanted.extensions {
        if !facts.extensions.contains(name) {
            verdict.findings.push(format!(
                "extension {} is not available on the server; install its package there",
                Ident::new(name).quoted()
            ));
        }
    }
    for (name, uses) in &wanted.access_methods {
        let from_archive = wanted
            .extensions
            .iter()
            .any(|extension| extension != "plpgsql");
        if !facts.access_methods.contains(name) && !from_archive {
            verdict.findings.push(format!(
                "access method {} does not exist; {} uses it; install the extension that brings it",
                Ident::new(name).quoted(),
                example(uses)
            ));
        }
    }
}

fn encodings(archive: &str, facts: &TargetFacts, options: &RestoreOptions, verdict: &mut Verdict) {
    let target = facts.encoding.as_str();
    match (archive, target) {
        (_, "SQL_ASCII") if options.text_encoding.is_some() => verdict.findings.push(
            "the target has no encoding (SQL_ASCII) into which text could be turned; leave --text-encoding out, or restore \
             into a database with an encoding (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0), without --create"
                .to_owned(),
        ),
        (a, t) if a == t => {}
        ("UTF8", "SQL_ASCII") => verdict.warnings.push(
            "the target's encoding SQL_ASCII takes the archive's UTF8 as bytes and knows nothing of characters".to_owned(),
        ),
        (a, "SQL_ASCII") => verdict.warnings.push(format!(
            "the target's encoding SQL_ASCII takes bytes and knows nothing of characters: rows are kept in the archive's {a}, names and other text in UTF8"
        )),
        ("SQL_ASCII", t) => verdict.warnings.push(format!(
            "the archive's text has no known encoding: rows are taken for {t}, and those that are not valid {t} are left out; --text-encoding says what they are"
        )),
        (a, t) if !facts.conversions.contains(a) => verdict.findings.push(format!(
            "the server cannot turn the archive's encoding {a} into the target's {t}; restore into a database with encoding {a} or UTF8"
        )),
        (_, "UTF8") => {}
        (a, t) => verdict.warnings.push(format!(
            "rows with characters of the archive's encoding {a} that the target's {t} does not have are left out"
        )),
    }
}

fn emptiness(wanted: &Wanted, facts: &TargetFacts, verdict: &mut Verdict) {
    if !facts.objects.is_empty() {
        let kinds = facts.objects.iter().map(|(label, n, names)| {
            let n = usize::try_from(*n).unwrap_or(usize::MAX);
            format!(
                "{} ({names}{})",
                plural(n, label),
                if n > 3 { ", …" } else { "" }
            )
        });
        verdict.findings.push(format!(
            "the target is not empty: it has {}; restore into a new database (--create makes one)",
            kinds.collect::<Vec<_>>().join(", ")
        ));
    }
    if !wanted.is_whole {
        for schema in wanted.schemas_new.intersection(&facts.schemas) {
            verdict.findings.push(format!(
                "schema {} exists already; restore into another database, or choose tables with --table",
                Ident::new(schema).quoted()
            ));
        }
    }
    for (schema, uses) in &wanted.schemas_there {
        if !wanted.schemas_new.contains(schema) && !facts.schemas.contains(schema) {
            let quoted = Ident::new(schema).quoted();
            verdict.findings.push(format!(
                "schema {quoted} does not exist; {} is in it; create it (CREATE SCHEMA {quoted})",
                example(uses)
            ));
        }
    }
    for (name, object) in &wanted.names_new {
        if facts.taken.contains(name) {
            verdict.findings.push(format!(
                "{object}: the name is taken on the target; restore into another database, or leave it out"
            ));
        }
    }
    for (target, object) in &wanted.tables_there {
        if wanted.is_whole {
            continue;
        }
        match facts.tables.get(target) {
            None => verdict.findings.push(format!(
                "{object}: the table does not exist; restore its definition too"
            )),
            Some(table) if table.has_rows => verdict.findings.push(format!(
                "{object}: the table has rows already; empty it first (TRUNCATE {target})"
            )),
            Some(_) => {}
        }
    }
}

/// Columns that the archive has rows for and an existing table lacks.
pub(super) fn missing_columns(
    wanted: &Wanted,
    facts: &TargetFacts,
    tables: &[(String, &TableIndex)],
) -> Vec<String> {
    let mut findings = Vec::new();
    for (target, index) in tables {
        let Some(there) = facts.tables.get(target) else {
            continue;
        };
        let missing: Vec<String> = index
            .columns
            .iter()
            .filter(|column| !there.columns.contains(*column))
            .map(|column| Ident::new(column).quoted())
            .collect();
        if !missing.is_empty() {
            let object = wanted.tables_there.get(target).unwrap_or(target);
            findings.push(format!(
                "{object}: the table on the target has no column {}; restore its definition too",
                missing.join(", ")
            ));
        }
    }
    findings
}

/// Tables with rows in binary format, whose text travels as UTF-8 or, from a database without an encoding, as it is.
pub(super) fn binary_rows(
    selection: &Selection,
    indexes: &Indexes,
    (archive, target): (&str, &str),
    options: &RestoreOptions,
) -> Vec<String> {
    let has_no_encoding = archive == text::NONE || options.text_encoding.is_some();
    let taken_for = if archive == text::NONE {
        target
    } else {
        archive
    };
    if !has_no_encoding || target == text::NONE || taken_for == "UTF8" {
        return Vec::new();
    }
    let binary = indexes
        .values()
        .filter(|index| index.format == CopyFormat::Binary);
    binary
        .map(|index| {
            format!(
                "{}: its rows are in binary format, whose text cannot be read as {taken_for}; leave it out, or restore into a \
                 database with ENCODING 'SQL_ASCII'",
                object_of(selection.entry(index.entry))
            )
        })
        .collect()
}

/// What is wrong around the archive without being part of it.
pub(super) fn repository_warnings(archive: &Archive) -> Vec<String> {
    let problem = archive.repository().marker_problem();
    problem.map(ToString::to_string).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::V15;

    fn facts() -> TargetFacts {
        let mut facts = TargetFacts::new(V15, "UTF8");
        facts.schemas.insert("public".to_owned());
        facts
    }

    fn findings(wanted: &Wanted, facts: &TargetFacts) -> Vec<String> {
        judge(wanted, facts, "UTF8", &RestoreOptions::default()).findings
    }

    #[test]
    fn everything_that_is_missing_is_named_with_its_remedy() {
        let uses = |object: &str| Uses {
            n: 1,
            first: object.into(),
        };
        let mut wanted = Wanted {
            is_whole: true,
            ..Wanted::default()
        };
        wanted.roles.entry("o w".into()).or_default().owns = uses("table s.t");
        wanted.tablespaces.insert("fast".into(), uses("table s.t"));
        wanted.extensions.insert("postgis".into());
        wanted.schemas_there.insert("s".into(), uses("table s.t"));
        wanted.unserved.push("index s.i".into());
        let found = findings(&wanted, &facts());
        let all = found.join("\n");
        for text in [
            "role \"o w\" does not exist",
            "--no-owner",
            "tablespace \"fast\"",
            "--no-tablespaces",
            "extension \"postgis\" is not available",
            "schema \"s\" does not exist",
            "index s.i cannot be made on PostgreSQL 15.0",
        ] {
            assert!(all.contains(text), "{text} is not in\n{all}");
        }
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_target_with_objects_or_in_recovery_is_refused() {
        let mut facts = facts();
        facts.in_recovery = true;
        facts
            .objects
            .push(("relation".into(), 4, "a.b, c.d, e.f".into()));
        let all = findings(&Wanted::default(), &facts).join("\n");
        assert!(all.contains("standby"), "{all}");
        assert!(all.contains("4 relations (a.b, c.d, e.f, …)"), "{all}");
    }

    #[test]
    fn encodings_must_be_convertible() {
        let judged = |archive: &str, target: &str, conversions: &[&str]| {
            let mut facts = facts();
            facts.encoding = target.into();
            facts.conversions = conversions.iter().map(|c| (*c).to_owned()).collect();
            let verdict = judge(
                &Wanted::default(),
                &facts,
                archive,
                &RestoreOptions::default(),
            );
            (verdict.findings.len(), verdict.warnings.len())
        };
        assert_eq!(judged("UTF8", "UTF8", &[]), (0, 0));
        assert_eq!(judged("LATIN1", "UTF8", &["LATIN1"]), (0, 0));
        assert_eq!(judged("UTF8", "LATIN1", &["UTF8"]), (0, 1));
        assert_eq!(judged("EUC_JP", "LATIN1", &["UTF8"]), (1, 0));
        assert_eq!(judged("UTF8", "SQL_ASCII", &[]), (0, 1));
        assert_eq!(judged("SQL_ASCII", "UTF8", &[]), (0, 1));
    }
}
