//! What of the catalogs of PostgreSQL 12 to 18 is archived, and what is not and why. `docs/kinds.md` is written from it, and a
//! dump compares the server's catalogs with it, so that what a newer server or a fork has beyond it is named. Pure.

use std::collections::BTreeMap;

/// Every catalog with all its columns of 12 to 18: `name: columns`, one a line.
const CATALOGS: &str = include_str!("known_catalogs.txt");

/// Who takes care of a catalog's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kinds, by their labels.
    Kinds(&'static [&'static str]),
    /// They belong to whole rows of other catalogs, and are archived with those.
    Part(&'static str),
    /// They are not archived, because.
    Excused(&'static str),
}
use Verdict::{Excused, Kinds, Part};

const CLUSTER: &str = "belongs to the cluster, not to a database";
const MEMBERS: &str = "operator class, operator family";

/// Each catalog with its verdict, by name.
pub const VERDICTS: &[(&str, Verdict)] = &[
    ("pg_aggregate", Kinds(&["aggregate"])),
    ("pg_am", Kinds(&["access method"])),
    ("pg_amop", Part(MEMBERS)),
    ("pg_amproc", Part(MEMBERS)),
    ("pg_attrdef", Kinds(&["column default"])),
    (
        "pg_attribute",
        Part("the relations and composite types that have the columns"),
    ),
    ("pg_auth_members", Excused(CLUSTER)),
    ("pg_authid", Excused(CLUSTER)),
    ("pg_cast", Kinds(&["cast"])),
    (
        "pg_class",
        Kinds(&["table", "sequence", "view", "materialized view"]),
    ),
    ("pg_collation", Kinds(&["collation"])),
    (
        "pg_constraint",
        Kinds(&["constraint", "foreign key", "domain constraint"]),
    ),
    ("pg_conversion", Kinds(&["conversion"])),
    (
        "pg_database",
        Excused("the manifest describes the source; --create makes a database like it"),
    ),
    ("pg_db_role_setting", Excused(CLUSTER)),
    ("pg_default_acl", Kinds(&["default privileges"])),
    (
        "pg_depend",
        Part("the order of entries; DEPENDS ON EXTENSION"),
    ),
    (
        "pg_description",
        Part("the objects that the comments are on"),
    ),
    ("pg_enum", Part("enum type")),
    ("pg_event_trigger", Kinds(&["event trigger"])),
    ("pg_extension", Kinds(&["extension"])),
    ("pg_foreign_data_wrapper", Kinds(&["foreign data wrapper"])),
    ("pg_foreign_server", Kinds(&["foreign server"])),
    ("pg_foreign_table", Kinds(&["foreign table"])),
    ("pg_index", Kinds(&["index"])),
    (
        "pg_inherits",
        Part("table, foreign table, index: INHERITS and ATTACH PARTITION"),
    ),
    (
        "pg_init_privs",
        Part("the base from which privileges are told"),
    ),
    ("pg_language", Kinds(&["language"])),
    ("pg_largeobject", Part("large object")),
    ("pg_largeobject_metadata", Kinds(&["large object"])),
    ("pg_namespace", Kinds(&["schema"])),
    ("pg_opclass", Kinds(&["operator class"])),
    ("pg_operator", Kinds(&["operator"])),
    ("pg_opfamily", Kinds(&["operator family"])),
    ("pg_parameter_acl", Excused(CLUSTER)),
    ("pg_partitioned_table", Part("table: PARTITION BY")),
    (
        "pg_pltemplate",
        Excused("a constant list of languages, gone since 13"),
    ),
    ("pg_policy", Kinds(&["policy"])),
    ("pg_proc", Kinds(&["function", "aggregate"])),
    ("pg_publication", Kinds(&["publication"])),
    ("pg_publication_namespace", Kinds(&["publication schema"])),
    ("pg_publication_rel", Kinds(&["publication table"])),
    ("pg_range", Part("range type")),
    (
        "pg_replication_origin",
        Excused("progress of replication, which a copy does not share"),
    ),
    ("pg_rewrite", Kinds(&["rule"])),
    ("pg_seclabel", Part("the objects that the labels are on")),
    ("pg_sequence", Part("sequence")),
    ("pg_shdepend", Excused("follows from owners and privileges")),
    ("pg_shdescription", Excused(CLUSTER)),
    ("pg_shseclabel", Excused(CLUSTER)),
    (
        "pg_statistic",
        Excused("the restore collects planner statistics anew"),
    ),
    ("pg_statistic_ext", Kinds(&["statistics"])),
    (
        "pg_statistic_ext_data",
        Excused("the restore collects planner statistics anew"),
    ),
    ("pg_subscription", Kinds(&["subscription"])),
    (
        "pg_subscription_rel",
        Excused("progress of replication, which a copy does not share"),
    ),
    ("pg_tablespace", Excused(CLUSTER)),
    ("pg_transform", Kinds(&["transform"])),
    ("pg_trigger", Kinds(&["trigger", "key trigger state"])),
    ("pg_ts_config", Kinds(&["text search configuration"])),
    ("pg_ts_config_map", Part("text search configuration")),
    ("pg_ts_dict", Kinds(&["text search dictionary"])),
    ("pg_ts_parser", Kinds(&["text search parser"])),
    ("pg_ts_template", Kinds(&["text search template"])),
    (
        "pg_type",
        Kinds(&[
            "base type",
            "enum type",
            "composite type",
            "range type",
            "domain",
        ]),
    ),
    ("pg_user_mapping", Kinds(&["user mapping"])),
];

/// Kinds that not all servers have, with the first major that does.
pub const SINCE: &[(&str, u32)] = &[("publication schema", 15)];

/// What a restored object of a kind does not have of the source's, and why, where that is so on every server.
pub const NOT_KEPT: &[(&str, &str)] = &[
    ("access method", "-"),
    ("aggregate", "-"),
    ("base type", "-"),
    ("cast", "-"),
    (
        "collation",
        "the version of the library that sorts: it is the target's",
    ),
    ("column default", "-"),
    ("composite type", "-"),
    (
        "constraint",
        "that it was once marked invalid by a failed build",
    ),
    ("conversion", "-"),
    ("default privileges", "-"),
    ("domain", "-"),
    ("domain constraint", "-"),
    ("enum type", "the labels' OIDs: rows hold the labels' names"),
    ("event trigger", "-"),
    ("extension", "its owner and version: they are the target's"),
    ("foreign data wrapper", "-"),
    ("foreign key", "-"),
    ("foreign server", "-"),
    ("foreign table", "rows: they are the foreign server's"),
    ("function", "-"),
    ("index", "one that is invalid, which is a failed build"),
    ("key trigger state", "-"),
    ("language", "-"),
    ("large object", "-"),
    (
        "materialized view",
        "its rows as they were: it is refreshed, or empty where what it reads is not populated",
    ),
    (
        "operator",
        "one without a function, which others name: the target makes it again",
    ),
    ("operator class", "-"),
    ("operator family", "-"),
    ("policy", "-"),
    ("publication", "-"),
    ("publication schema", "-"),
    ("publication table", "-"),
    (
        "range type",
        "the owner of its constructor functions: it is who restores; before 18, owner and privileges of its multirange type, which are then its own",
    ),
    ("rule", "-"),
    ("schema", "-"),
    ("sequence", "-"),
    ("statistics", "contents: the restore collects them anew"),
    (
        "subscription",
        "that it is enabled, its slot and its progress: a copy must not take the source's changes",
    ),
    (
        "table",
        "the position of columns that were added to a parent; a detach that is under way, which counts as done",
    ),
    ("text search configuration", "-"),
    ("text search dictionary", "-"),
    ("text search parser", "-"),
    ("text search template", "-"),
    ("transform", "-"),
    ("trigger", "-"),
    ("user mapping", "options that the dumping role may not see"),
    ("view", "-"),
];

/// The verdict on a catalog; `None` for one that no server from 12 to 18 has.
pub fn verdict(catalog: &str) -> Option<Verdict> {
    let found = VERDICTS.iter().find(|(name, _)| *name == catalog);
    found.map(|(_, verdict)| *verdict)
}

/// A server's catalog, or columns of one, that 12 to 18 do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Novelty {
    /// A catalog.
    Catalog(String),
    /// A column of a known catalog.
    Column(String, String),
}

/// What `catalogs`, names with columns, have beyond 12 to 18.
pub fn novelties(catalogs: &[(String, Vec<String>)]) -> Vec<Novelty> {
    beyond(CATALOGS, catalogs)
}

fn beyond(known: &str, catalogs: &[(String, Vec<String>)]) -> Vec<Novelty> {
    let known: BTreeMap<&str, Vec<&str>> = known
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, columns)| (name, columns.split(' ').collect()))
        .collect();
    let mut out = Vec::new();
    for (catalog, columns) in catalogs {
        let Some(known) = known.get(catalog.as_str()) else {
            out.push(Novelty::Catalog(catalog.clone()));
            continue;
        };
        let new = columns
            .iter()
            .filter(|column| !known.contains(&column.as_str()));
        out.extend(new.map(|column| Novelty::Column(catalog.clone(), column.clone())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    #[test]
    fn every_known_catalog_has_one_verdict() {
        let known = CATALOGS.lines().filter_map(|line| line.split(':').next());
        let judged = VERDICTS.iter().map(|(name, _)| *name);
        assert_eq!(known.collect::<Vec<_>>(), judged.collect::<Vec<_>>());
    }

    #[test]
    fn every_kind_is_named_and_says_what_it_does_not_keep() {
        for kind in KINDS {
            let of_kind = |(_, verdict): &(&str, Verdict)| match verdict {
                Kinds(labels) => labels.contains(&kind.label),
                Part(text) => text.contains(kind.label),
                Excused(_) => false,
            };
            assert!(
                VERDICTS.iter().any(of_kind),
                "{} has no catalog",
                kind.label
            );
            let told = NOT_KEPT.iter().filter(|(label, _)| *label == kind.label);
            assert_eq!(told.count(), 1, "{}", kind.label);
        }
        assert_eq!(NOT_KEPT.len(), KINDS.len());
    }

    #[test]
    fn what_is_new_is_told() {
        let server = |name: &str, columns: &[&str]| {
            let columns = columns.iter().map(|column| (*column).to_owned());
            (name.to_owned(), columns.collect::<Vec<_>>())
        };
        let found = beyond(
            "pg_a: oid aname\npg_b: oid",
            &[
                server("pg_a", &["oid", "anew"]),
                server("pg_c", &["oid"]),
                server("pg_b", &["oid"]),
            ],
        );
        let column = Novelty::Column("pg_a".into(), "anew".into());
        assert_eq!(found, [column, Novelty::Catalog("pg_c".into())]);
    }
}
