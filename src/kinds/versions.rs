//! What each version brought that the text of an object may name: types, storage parameters, support functions. Pure.

use crate::pg::version::{ServerVersion, V12, V13, V14, V18};
use crate::sql::ServerSql;

/// Storage parameters younger than 12 (`reloptions.c`); those of TOAST tables have the same names.
const PARAMETERS: [(&str, ServerVersion); 5] = [
    ("autovacuum_vacuum_insert_scale_factor", V13),
    ("autovacuum_vacuum_insert_threshold", V13),
    ("autovacuum_vacuum_max_threshold", V18),
    ("deduplicate_items", V13),
    ("vacuum_max_eager_freeze_failure_rate", V18),
];

/// Storage parameters as `reloptions` has them, as far as a target knows them; true if all.
pub(crate) fn parameters(options: &[String], target: ServerVersion) -> (Vec<String>, bool) {
    let known = |option: &&String| {
        let name = option.split('=').next().unwrap_or_default();
        let mut young = PARAMETERS.iter().filter(|(_, since)| target < *since);
        // Before 14 it was a yes or no.
        let auto = target < V14 && option.as_str() == "vacuum_index_cleanup=auto";
        !auto && young.all(|(young, _)| *young != name)
    };
    let kept: Vec<String> = options.iter().filter(known).cloned().collect();
    let all = kept.len() == options.len();
    (kept, all)
}

/// What is lost with storage parameters.
pub(crate) const LOST_PARAMETERS: &str = "storage parameters that only newer versions know";

/// Built-in types younger than 12 (`pg_type.dat`: fixed OIDs), pseudo-types included.
const TYPES: [(ServerVersion, &str); 2] = [
    // xid8, pg_snapshot, regcollation, anycompatible…
    (V13, "5069, 5038, 4191, 5077, 5078, 5079, 5080"),
    // Multiranges and their pseudo-types, summaries of BRIN.
    (
        V14,
        "4451, 4532, 4533, 4534, 4535, 4536, 4537, 4538, 4600, 4601",
    ),
];

/// Column expression: the oldest major that has a type and, for an array, the type of its elements. `ty` and `element` are
/// aliases of rows of `pg_type`, the latter of a LEFT JOIN on `typelem` and `typarray`.
pub(crate) fn major_of_type(ty: &str, element: &str) -> String {
    let whens = TYPES.map(|(since, oids)| {
        let multirange = if since == V14 {
            format!("COALESCE({element}.typtype, {ty}.typtype) = 'm' OR ")
        } else {
            String::new()
        };
        format!(
            "WHEN {multirange}COALESCE({element}.oid, {ty}.oid) IN ({oids}) THEN {}",
            since.major()
        )
    });
    format!("CASE {} ELSE {} END", whens.join(" "), V12.major())
}

/// Column expression: the oldest major that has all types of an array of OIDs.
pub(crate) fn major_of_types(oids: &str) -> String {
    let major = major_of_type("vt", "ve");
    format!(
        "COALESCE((SELECT pg_catalog.max({major}) FROM pg_catalog.pg_type vt \
         LEFT JOIN pg_catalog.pg_type ve ON ve.oid = vt.typelem AND ve.typarray = vt.oid \
         WHERE vt.oid = ANY ({oids})), 12)"
    )
}

/// The version with a major number, as the expressions above give it; `None` for one that every target has.
pub(crate) fn since_major(major: i32) -> Option<ServerVersion> {
    let version = ServerVersion(u32::try_from(major).unwrap_or(0) * 10_000);
    (version > V12).then_some(version)
}

/// The support functions (`FUNCTION n …`) that the access method of a target takes; true if all.
pub(crate) fn support_functions<'a>(
    clauses: &'a [ServerSql],
    access_method: &str,
    target: ServerVersion,
) -> (Vec<&'a ServerSql>, bool) {
    let known = |clause: &&ServerSql| {
        let number = clause.as_str().split(' ').nth(1);
        let number = number.and_then(|number| number.parse().ok());
        number.is_none_or(|number| target >= support_function(access_method, number))
    };
    let kept: Vec<&ServerSql> = clauses.iter().filter(known).collect();
    let all = kept.len() == clauses.len();
    (kept, all)
}

/// What is lost with support functions.
pub(crate) const LOST_FUNCTIONS: &str = "support functions that only newer versions call";

/// The oldest target whose access method takes a support function of that number, for those younger than 12
/// (`amutils`, manual 67 to 71).
fn support_function(access_method: &str, number: i16) -> ServerVersion {
    match (access_method, number) {
        ("btree", 4 | 5) | ("gist", 10) | ("gin" | "spgist", 7) | ("brin", 5) | ("hash", 3) => V13,
        ("gist", 11) => V14,
        ("btree", 6) | ("gist", 12) => V18,
        _ => V12,
    }
}

/// Built-in functions over arrays whose types 14 widened from `anyarray` and `anyelement` to the compatible ones.
const WIDENED: [&str; 7] = [
    "array_append",
    "array_cat",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
];

/// True if a function, quoted with its schema, is one whose types 14 widened.
pub(crate) fn is_widened(function: &str) -> bool {
    let name = function.strip_prefix("\"pg_catalog\".\"");
    let name = name.and_then(|name| name.strip_suffix('"'));
    name.is_some_and(|name| WIDENED.contains(&name))
}

/// The polymorphic types before 14 and what stands for them since.
pub(crate) const WIDER: [(&str, &str); 3] = [
    ("anyelement", "anycompatible"),
    ("anyarray", "anycompatiblearray"),
    ("anynonarray", "anycompatiblenonarray"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_a_target_does_not_know_are_left_out() {
        let options = [
            "fillfactor=70".to_owned(),
            "deduplicate_items=off".to_owned(),
        ];
        assert_eq!(parameters(&options, V13), (options.to_vec(), true));
        assert_eq!(parameters(&options, V12), (options[..1].to_vec(), false));
        let auto = ["vacuum_index_cleanup=auto".to_owned()];
        assert_eq!(parameters(&auto, V13), (Vec::new(), false));
        assert_eq!(parameters(&auto, V14), (auto.to_vec(), true));
    }

    #[test]
    fn functions_that_were_widened_are_the_servers_own() {
        assert!(is_widened("\"pg_catalog\".\"array_append\""));
        assert!(!is_widened("\"s\".\"array_append\""));
        assert!(!is_widened("\"pg_catalog\".\"int4pl\""));
    }

    #[test]
    fn a_young_type_gives_the_major_that_brought_it() {
        assert!(major_of_type("t", "e").ends_with("ELSE 12 END"));
        assert_eq!(since_major(12), None);
        assert_eq!(since_major(14), Some(V14));
    }
}
