//! What two servers of different major versions cannot both have. The rest is compared as within
//! one version; `facts` passes over columns that one server lacks.

use std::sync::LazyLock;

use regex::Regex;

use super::catalogs::Catalog;
use super::references::target;

/// Rows left out on both sides, by catalog: SQL condition and reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    (
        "pg_constraint",
        "x.contype <> 'n'",
        "not-null constraints are rows since 18, of domains since 17",
    ),
    (
        "pg_constraint",
        "NOT (x.contype = 'f' AND x.conparentid <> 0)",
        "copies of a foreign key to a partitioned table are named by the server's version",
    ),
    (
        "pg_type",
        "x.typtype <> 'm' AND x.typelem = 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_class s \
         WHERE s.oid = x.typrelid AND s.relkind = 'S')",
        "multiranges are of 14, and sequences had row types before it; array types follow their elements",
    ),
    (
        "pg_proc",
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend i WHERE i.deptype = 'i' AND i.objid = x.oid \
         AND i.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND i.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass)",
        "constructors of multiranges are of 14",
    ),
    (
        "pg_cast",
        "NOT EXISTS (SELECT FROM pg_catalog.pg_type m WHERE m.oid = x.casttarget AND pg_catalog.to_jsonb(m)->>'typtype' = 'm')",
        "casts to multiranges are of 14",
    ),
    (
        "pg_trigger",
        "NOT (x.tgisinternal AND x.tgconstraint <> 0)",
        "the clones behind a foreign key to a partitioned table are named by the server's version",
    ),
];

/// Differences accepted when exactly one side is older than this version: pattern and reason.
pub(super) const ACCEPTED: &[(u32, &str, &str)] = &[
    (14, "^pg_dump TYPE .*: text$", "names the multirange type"),
    (13, "^type .*: typoutput$", "of a type only announced"),
    (
        14,
        "^conversion .*: conproc$",
        "built-in functions got another parameter",
    ),
    (
        15,
        "^collation .*: coll(collate|ctype)$",
        "ICU locales moved to a column of their own; the script names them",
    ),
    (
        14,
        "^type .*: (typsubscript|typarray)$",
        "subscripting and multiranges are of 14",
    ),
    (
        15,
        "^trigger .*: tgisinternal$",
        "copies of a trigger on partitions were internal",
    ),
    (
        16,
        "^subscription .*: (substream|text)$",
        "boolean before 16",
    ),
    (
        17,
        "^pg_dump (DEFAULT )?ACL .*: text$",
        "the privilege MAINTAIN; the lists themselves are compared without it",
    ),
    (
        17,
        "^table .*: relam$",
        "partitioned tables had no access method",
    ),
];

/// Differences accepted between any two versions: pattern and reason.
pub(super) const ALWAYS_ACCEPTED: &[(&str, &str)] = &[
    (
        "^(view|materialized view) .*: query$",
        "servers write the same query in different words",
    ),
    (
        "^rule .*: definition$",
        "servers write the same query in different words",
    ),
    (
        "^(function|procedure) .*: (definition|prosqlbody)$",
        "as with views; each column is compared too",
    ),
    (
        "^pg_dump (VIEW|MATERIALIZED VIEW|RULE|FUNCTION|PROCEDURE) .*: text$",
        "servers write the same query in different words",
    ),
    (
        "^extension .*: (extversion|extconfig|extcondition)$",
        "each server brings its own version",
    ),
    (
        "^(dependencies|initial privileges|changed privileges) of ",
        "what is recorded depends on the version",
    ),
    (
        "^pg_dump preamble: text$",
        "names the settings of the source's version",
    ),
];

/// SQL condition of the rows of `catalog` that count between versions, to be joined with AND.
pub(super) fn keep(catalog: &Catalog) -> String {
    let mut conditions = String::new();
    for (name, condition, _) in LEFT_OUT {
        if *name == catalog.name {
            conditions.push_str(" AND ");
            conditions.push_str(condition);
        }
    }
    let first_key = catalog.key.split(['{', '}']).nth(1).unwrap_or_default();
    let (class, column) = match catalog.name {
        "pg_amop" => ("pg_opfamily", "amopfamily"),
        "pg_amproc" => ("pg_opfamily", "amprocfamily"),
        name if first_key == "oid" => (name, "oid"),
        name => (target(name, first_key).unwrap_or_default(), first_key),
    };
    if !class.is_empty() {
        conditions.push_str(" AND ");
        conditions.push_str(&no_member(
            &format!("'pg_catalog.{class}'::pg_catalog.regclass"),
            column,
        ));
    }
    conditions
}

/// SQL condition that the object is no member of an extension: each server brings its own version.
pub(super) fn no_member(class: &str, column: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.deptype = 'e' \
         AND m.classid = {class} AND m.objid = x.{column}::pg_catalog.oid)"
    )
}

/// One item of a printed list of privileges.
static ITEM: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""(?:[^"\\]|\\.)*"|[^,{}"]+"#).expect("a valid pattern"));

/// The privilege MAINTAIN, of 17, in one item.
static MAINTAIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(=[a-zA-Z*]*?)m\*?([a-zA-Z*]*/)").expect("a valid pattern"));

/// Takes from a list of privileges what only servers from 17 have.
pub(super) fn without_new_privileges(acl: &str) -> String {
    if acl == "NULL" {
        return acl.to_owned();
    }
    let items = ITEM
        .find_iter(acl)
        .map(|item| MAINTAIN.replace(item.as_str(), "$1$2"));
    let kept: Vec<_> = items.filter(|item| !item.contains("=/")).collect();
    format!("{{{}}}", kept.join(","))
}
