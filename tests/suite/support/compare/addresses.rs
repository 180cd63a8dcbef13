//! Reads what catalogs hang on any object by its address: comments, labels, dependencies, initial
//! privileges, and the privileges that were changed on the system's own objects.

use super::cross_version::no_member;
use super::facts::Facts;
use super::names::Names;
use super::read::sorted_acl;
use super::session::{Problem, Session, value};

/// SQL of the three columns that address an object: catalog, OID, column name or NULL.
fn address(class: &str, oid: &str, sub: &str) -> String {
    format!(
        "x.{class}::pg_catalog.regclass::text, x.{oid}::text, \
         (SELECT a.attname FROM pg_catalog.pg_attribute a WHERE x.{sub} <> 0 \
          AND x.{class} = 'pg_catalog.pg_class'::pg_catalog.regclass AND a.attrelid = x.{oid} AND a.attnum = x.{sub})"
    )
}

/// The rows that belong to the user, large objects whatever their number.
const OWN: &str =
    "(x.objoid >= 16384 OR x.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass)";

/// Of the system's objects the few whose comment a user is likely to change; the others belong to
/// the server's version.
const COMMENTED: &str = "x.classoid IN ('pg_catalog.pg_namespace'::pg_catalog.regclass, \
    'pg_catalog.pg_extension'::pg_catalog.regclass, 'pg_catalog.pg_language'::pg_catalog.regclass)";

/// Where the system's own objects keep their privileges: catalog, list, condition.
const SYSTEM_ACLS: &[(&str, &str, &str)] = &[
    ("pg_class", "relacl", "TRUE"),
    ("pg_proc", "proacl", "TRUE"),
    ("pg_type", "typacl", "TRUE"),
    ("pg_language", "lanacl", "NOT x.lanispl"),
    ("pg_namespace", "nspacl", "x.nspname <> 'public'"),
];

/// Reads all of them.
pub(super) async fn read_addresses(
    session: &Session,
    names: &mut Names,
    cross_version: bool,
) -> Result<Facts, Problem> {
    let mut facts = Facts::default();
    let described = address("classoid", "objoid", "objsubid");
    let no_member = if cross_version {
        format!(" AND {}", no_member("x.classoid", "objoid"))
    } else {
        String::new()
    };
    let attached = [
        (
            "comment on",
            format!(
                "SELECT {described}, 'text', x.description FROM pg_catalog.pg_description x \
                 WHERE ({OWN} OR {COMMENTED}){no_member}"
            ),
        ),
        (
            "security label of",
            format!(
                "SELECT {described}, x.provider, x.label FROM pg_catalog.pg_seclabel x WHERE {OWN}"
            ),
        ),
        (
            "initial privileges of",
            format!(
                "SELECT {described}, x.privtype::text, {} FROM pg_catalog.pg_init_privs x WHERE {OWN}",
                sorted_acl("x.initprivs")
            ),
        ),
        ("changed privileges of", system_acls()),
    ];
    for (label, sql) in attached {
        let rows = session.rows(&sql).await?;
        for row in &rows {
            names.want(row.get(0).unwrap_or_default(), row.get(1));
        }
        names.fetch(session).await?;
        for row in rows {
            let name = named(names, [row.get(0), row.get(1), row.get(2)]);
            if !is_internal(&name) {
                facts.add(
                    &format!("{label} {name}"),
                    row.get(3).unwrap_or_default(),
                    value(&row, 4),
                );
            }
        }
    }
    facts.extend(read_dependencies(session, names).await?);
    Ok(facts)
}

/// What `pg_depend` and `pg_shdepend` record, as pairs of names. A pair counts once: how often an
/// expression names a thing has no meaning.
async fn read_dependencies(session: &Session, names: &mut Names) -> Result<Facts, Problem> {
    let from = address("classid", "objid", "objsubid");
    let to = address("refclassid", "refobjid", "refobjsubid");
    let rows = session
        .rows(&format!(
            "SELECT DISTINCT {from}, {to}, x.deptype::text FROM pg_catalog.pg_depend x \
             WHERE x.objid >= 16384 AND x.deptype <> 'p' UNION ALL \
             SELECT DISTINCT {from}, x.refclassid::pg_catalog.regclass::text, x.refobjid::text, NULL::pg_catalog.name, x.deptype::text \
             FROM pg_catalog.pg_shdepend x WHERE x.deptype <> 'p' \
             AND x.dbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
        ))
        .await?;
    for row in &rows {
        names.want(row.get(0).unwrap_or_default(), row.get(1));
        names.want(row.get(3).unwrap_or_default(), row.get(4));
    }
    names.fetch(session).await?;
    let mut facts = Facts::default();
    for row in &rows {
        let dependent = named(names, [row.get(0), row.get(1), row.get(2)]);
        let on = named(names, [row.get(3), row.get(4), row.get(5)]);
        if !is_internal(&dependent) && !is_internal(&on) {
            facts.add(
                &format!("dependencies of {dependent}"),
                &format!("on {on}"),
                value(row, 6),
            );
        }
    }
    Ok(facts)
}

fn named(names: &Names, [class, oid, column]: [Option<&str>; 3]) -> String {
    let class = class.unwrap_or_default();
    let mut name = names.resolve(class, oid).unwrap_or_default();
    if let Some(column) = column {
        name.push('.');
        name.push_str(column);
    }
    format!("{} {name}", class.strip_prefix("pg_").unwrap_or(class))
}

/// TOAST tables carry an OID in their name and follow their table; temporary objects are no part
/// of a database's contents.
fn is_internal(name: &str) -> bool {
    name.contains("pg_toast.pg_toast_") || name.contains("pg_temp_")
}

fn system_acls() -> String {
    let changed = |catalog: &str, acl: &str, own: &str, sub: &str, attribute: &str, oid: &str| {
        format!(
            "SELECT 'pg_class', {oid}::text, {attribute}, 'acl', now FROM (SELECT x.*, {} AS now, {} AS initial \
             FROM pg_catalog.{catalog} x LEFT JOIN pg_catalog.pg_init_privs i ON i.objoid = x.{oid} \
             AND i.classoid = 'pg_catalog.{}'::pg_catalog.regclass AND i.objsubid = {sub} \
             WHERE x.{oid} < 16384 AND {own} AND (x.{acl} IS NOT NULL OR i.initprivs IS NOT NULL)) x \
             WHERE now IS DISTINCT FROM initial",
            sorted_acl(&format!("x.{acl}")),
            sorted_acl("i.initprivs"),
            if catalog == "pg_attribute" {
                "pg_class"
            } else {
                catalog
            },
        )
    };
    let mut queries = vec![changed(
        "pg_attribute",
        "attacl",
        "TRUE",
        "x.attnum",
        "attname",
        "attrelid",
    )];
    for (catalog, acl, own) in SYSTEM_ACLS {
        let query = changed(catalog, acl, own, "0", "NULL::pg_catalog.name", "oid");
        queries.push(query.replacen("'pg_class'", &format!("'{catalog}'"), 1));
    }
    queries.join(" UNION ALL ")
}
