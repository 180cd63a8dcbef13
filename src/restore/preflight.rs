//! Judges, before the first change, whether a restore can work: pure. Reading the target is in `target`, proving the archive in `prove`.

use std::collections::BTreeMap;

use super::forbidden::{keeper, package_of};
use super::options::RestoreOptions;
use super::prove::Indexes;
use super::rename;
use super::report::object_of;
use super::select::Selection;
use super::target::TargetFacts;
use super::text;
use super::wanted::{Uses, Wanted};
use crate::archive::Archive;
use crate::archive::index::{CopyFormat, TableIndex};
use crate::archive::manifest::{COLLATION_VERSION, ExtensionPlace, Source};
use crate::pg::version::{UNKNOWN, V16};
use crate::selection::Omit;
use crate::sql::Ident;
use crate::toc::DataOf;

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
    for object in wanted.unserved.iter().filter(|_| !options.skip_unsupported) {
        verdict.findings.push(format!(
            "{object} cannot be made on PostgreSQL {}; restore to a version that has the feature, or leave such objects and all that needs them out with --skip-unsupported",
            facts.version
        ));
    }
    roles(wanted, facts, options, &mut verdict);
    rights(wanted, facts, options, &mut verdict);
    server_objects(wanted, facts, &mut verdict);
    encodings(encoding, facts, options, &mut verdict);
    emptiness(wanted, facts, options, &mut verdict);
    ways(wanted, facts, options, &mut verdict);
    verdict.findings.extend(rename::findings(options, facts));
    verdict
}

/// What stands against the way in which the restore is to be done.
fn ways(wanted: &Wanted, facts: &TargetFacts, options: &RestoreOptions, verdict: &mut Verdict) {
    if options.single_transaction {
        verdict.findings.extend(wanted.outside.iter().map(|object| {
            format!("{object} cannot be made inside a transaction; leave out --single-transaction, or the object")
        }));
    }
    if options.disable_triggers && facts.has_foreign_keys {
        if facts.is_superuser {
            verdict.warnings.push(
                "foreign keys do not look at rows that are loaded with --disable-triggers: whether those rows fit is not checked"
                    .to_owned(),
            );
        } else {
            verdict.findings.push(
                "--disable-triggers needs a superuser here, because foreign keys are triggers of the system; connect as one, \
                 or leave it out: rows are then loaded in the order that the foreign keys ask for"
                    .to_owned(),
            );
        }
    }
}

/// Why rows that a collation or an encoding put into their partitions may belong elsewhere on the target, if they may.
pub(super) fn moves_rows(source: &Source, facts: &TargetFacts) -> Option<String> {
    if source.encoding != facts.encoding {
        return Some(format!(
            "encoding {} instead of {}",
            facts.encoding, source.encoding
        ));
    }
    ["provider", "collate", "locale", COLLATION_VERSION]
        .into_iter()
        .find_map(|key| {
            let (old, new) = (source.locale.get(key), facts.locale.get(key));
            let differs = match (old, new) {
                (Some(old), Some(new)) => old != new,
                // An unknown version says nothing, an absent locale much.
                (None, None) => false,
                _ => key != COLLATION_VERSION,
            };
            let shown = |value: Option<&String>| value.map_or("none", String::as_str).to_owned();
            let name = key.replace('_', " ");
            differs.then(|| format!("{name} {} instead of {}", shown(new), shown(old)))
        })
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
        // Who cannot create an object need not give it away.
        let mut owns = vec![&uses.owns];
        owns.extend(Some(&uses.owns_privileged).filter(|_| facts.is_superuser));
        owns.retain(|uses| uses.n > 0);
        let is_kept = keeper(role).is_some();
        if facts.is_absent(role) {
            // It cannot be made; what it owns and is granted is lost, and told so.
            if uses.defines.n > 0 && !options.skip_unsupported {
                verdict.findings.push(format!(
                    "role {quoted} of {} is part of {}, and cannot be made on this server, PostgreSQL {}; leave such objects and all that needs them out with --skip-unsupported",
                    keeper(role).unwrap_or_default(), example(&uses.defines), facts.version
                ));
            }
        } else if may_become.is_none() && uses.matters(!owns.is_empty()) {
            let mut why = Vec::new();
            let mut remedy = format!("create it (CREATE ROLE {quoted})");
            if let Some(owns) = owns.first() {
                why.push(format!("owns {}", example(owns)));
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
        } else if let Some(owns) = owns.first().filter(|_| may_become == Some(&false))
            && !facts.is_superuser
        {
            let text = format!(
                "the connecting user cannot become role {quoted}, which owns {}; GRANT {quoted} to the user{}, connect as a superuser, or leave owners out with --no-owner",
                example(owns),
                if facts.version >= V16 {
                    " WITH SET TRUE"
                } else {
                    ""
                }
            );
            if is_kept {
                verdict.warnings.push(text);
            } else {
                verdict.findings.push(text);
            }
        }
    }
}

/// What an ordinary role cannot do. Where the rest can go on it is only a warning: a provider may allow more than the server's
/// own rules, so everything is tried, and the report names what was forbidden.
fn rights(wanted: &Wanted, facts: &TargetFacts, options: &RestoreOptions, verdict: &mut Verdict) {
    if options.create && !facts.makes_databases {
        verdict.findings.push(
            "the connecting user may not make databases; ALTER ROLE … CREATEDB, or restore into one that is there"
                .to_owned(),
        );
    }
    if facts.is_superuser || options.selection.data_only {
        return;
    }
    if !facts.makes_schemas && !wanted.schemas_new.is_empty() {
        verdict.findings.push(format!(
            "the connecting user may not make schemas in the database, and {} wanted; GRANT CREATE ON DATABASE … to the user, or make it the owner",
            match wanted.schemas_new.len() {
                1 => "1 is".to_owned(),
                n => format!("{n} are"),
            }
        ));
    }
    if let Some(uses) = wanted
        .schemas_there
        .get("public")
        .filter(|_| !facts.fills_public)
    {
        verdict.findings.push(format!(
            "the connecting user may not make objects in schema public, where {} belongs; GRANT CREATE ON SCHEMA public to the user, or make it the database's owner",
            example(uses)
        ));
    }
    for (who, uses) in &wanted.privileged {
        if who.contains("pg_create_subscription") && facts.makes_subscriptions {
            continue;
        }
        verdict.warnings.push(format!(
            "only {who} may create {}; the rest is restored all the same",
            example(uses)
        ));
    }
    if wanted.foreign_grants.n > 0 && !options.selection.omits(Omit::Privileges) {
        verdict.warnings.push(format!(
            "privileges on {} were granted by others than the owner; those come back whose grantor the connecting user can become",
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
    for (directory, object) in &wanted.directories {
        if let Some(problem) = facts.directories.get(directory) {
            let directory = crate::toc::printable(directory);
            verdict
                .findings
                .push(format!("{object} is in {directory}: {problem}"));
        }
    }
    for name in &wanted.extensions {
        let quoted = Ident::new(name).quoted();
        match facts.extensions.get(name) {
            None => verdict.findings.push(format!(
                "extension {quoted} is not available on the server; install its package there: {}",
                package_of(name)
            )),
            Some(there) => {
                let missing = there.installed.is_none();
                if missing && there.needs_superuser && !facts.is_superuser {
                    verdict.warnings.push(format!(
                        "only a superuser, or whom the provider lets, may create extension {quoted}; have it made before, or objects that need it will be missing"
                    ));
                }
            }
        }
    }
    for (name, uses) in &wanted.access_methods {
        let from_archive = wanted.access_methods_new.contains(name)
            || wanted
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

/// Extensions that will not be as they were at the source.
pub(super) fn extension_warnings(
    wanted: &Wanted,
    facts: &TargetFacts,
    source: &BTreeMap<String, ExtensionPlace>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in &wanted.extensions {
        let (Some(was), Some(there)) = (source.get(name), facts.extensions.get(name)) else {
            continue;
        };
        let quoted = Ident::new(name).quoted();
        let version = match &there.installed {
            Some((version, _)) => Some(version),
            None => there.version.as_ref(),
        };
        if let Some(version) = version.filter(|version| **version != was.version) {
            warnings.push(format!(
                "extension {quoted} is of version {version} on the target, and was of {} at the source",
                crate::sql::printable(&was.version)
            ));
        }
        if let Some((_, schema)) = &there.installed
            && *schema != was.schema
        {
            warnings.push(format!(
                "extension {quoted} is in schema {} on the target, and was in {} at the source; what names its objects will fail, unless it is moved (ALTER EXTENSION {quoted} SET SCHEMA)",
                Ident::new(schema).quoted(),
                Ident::new(&was.schema).quoted()
            ));
        }
    }
    warnings
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

fn emptiness(
    wanted: &Wanted,
    facts: &TargetFacts,
    options: &RestoreOptions,
    verdict: &mut Verdict,
) {
    if !facts.objects.is_empty() && !facts.is_resumed {
        let kinds = facts.objects.iter().map(|(label, n, names)| {
            let n = usize::try_from(*n).unwrap_or(usize::MAX);
            format!(
                "{} ({names}{})",
                plural(n, label),
                if n > 3 { ", …" } else { "" }
            )
        });
        let why = if options.resume {
            " and has no journal of a restore to go on with: the earlier one has ended, or was none"
        } else {
            ""
        };
        verdict.findings.push(format!(
            "the target is not empty{why}: it has {}; restore into a new database (--create makes one)",
            kinds.collect::<Vec<_>>().join(", ")
        ));
    }
    if !wanted.is_whole {
        let is_renamed =
            |schema: &&String| options.map_schemas.iter().any(|(old, _)| old == *schema);
        let there = wanted.schemas_new.intersection(&facts.schemas);
        for schema in there.filter(|schema| !is_renamed(schema) && !facts.is_resumed) {
            verdict.findings.push(format!(
                "schema {} exists already; restore into another database, or choose tables with --table",
                Ident::new(schema).quoted()
            ));
        }
    }
    for (schema, uses) in &wanted.schemas_there {
        let is_missing = !wanted.schemas_new.contains(schema) && !facts.schemas.contains(schema);
        if is_missing && !facts.has_names {
            let quoted = Ident::new(schema).quoted();
            verdict.findings.push(format!(
                "schema {quoted} does not exist; {} is in it; create it (CREATE SCHEMA {quoted})",
                example(uses)
            ));
        }
    }
    for (name, object) in &wanted.names_new {
        if facts.taken.contains(name) && !facts.is_resumed {
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
            Some(table) if table.has_rows && !facts.is_resumed => verdict.findings.push(format!(
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
    let Some(taken_for) = unreadable_in_binary((archive, target), options) else {
        return Vec::new();
    };
    // Large objects have no text, whatever their format.
    let has_text = |index: &&TableIndex| {
        !matches!(
            selection.entry(index.entry).data,
            Some(DataOf::LargeObjects)
        )
    };
    let binary = indexes
        .values()
        .filter(|index| index.format == CopyFormat::Binary)
        .filter(has_text);
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

/// The encoding in which text of binary rows would have to be read and cannot be; `None` where they can be loaded.
pub(super) fn unreadable_in_binary<'a>(
    (archive, target): (&'a str, &'a str),
    options: &RestoreOptions,
) -> Option<&'a str> {
    let has_no_encoding = archive == text::NONE || options.text_encoding.is_some();
    let taken_for = if archive == text::NONE {
        target
    } else {
        archive
    };
    let can = !has_no_encoding || target == text::NONE || taken_for == "UTF8";
    (!can).then_some(taken_for)
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
