//! What is compared of the catalogs of functions, types and all that is no relation, and of the
//! database itself; which catalogs are not read as such. The words are explained in `catalogs`.

use super::catalogs::Column::{Extra, Names, Skip, Sql};
use super::catalogs::{Catalog, OWN, PHYSICAL};

const fn plain(name: &'static str, label: &'static str) -> Catalog {
    Catalog {
        name,
        label,
        key: "{oid}",
        keep: OWN,
        columns: &[],
    }
}

/// The catalogs in the order they are read.
pub(super) const OBJECT_CATALOGS: &[Catalog] = &[
    Catalog {
        name: "pg_proc",
        label: "CASE x.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END",
        key: "{oid}",
        keep: OWN,
        columns: &[
            (
                "proargdefaults",
                Sql("pg_catalog.pg_get_expr(x.proargdefaults, 0)"),
            ),
            (
                "prosqlbody",
                Sql("pg_catalog.pg_get_function_sqlbody(x.oid)"),
            ),
            (
                "definition",
                Extra("CASE WHEN x.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(x.oid) END"),
            ),
        ],
    },
    Catalog {
        name: "pg_aggregate",
        label: "'aggregate'",
        key: "{aggfnoid}",
        keep: "x.aggfnoid::oid >= 16384",
        columns: &[],
    },
    Catalog {
        name: "pg_type",
        label: "'type'",
        key: "{oid}",
        keep: "x.oid >= 16384 AND x.typnamespace <> 99 \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid = x.typnamespace AND n.nspname LIKE 'pg\\_temp\\_%')",
        columns: &[
            (
                "typdefault",
                Sql("CASE WHEN x.typdefaultbin IS NULL THEN x.typdefault END"),
            ),
            (
                "typdefaultbin",
                Sql("pg_catalog.pg_get_expr(x.typdefaultbin, 0)"),
            ),
            (
                "type",
                Extra("pg_catalog.format_type(x.typbasetype, x.typtypmod)"),
            ),
            (
                "labels",
                Extra(
                    "CASE WHEN x.typtype = 'e' THEN ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e \
                     WHERE e.enumtypid = x.oid ORDER BY e.enumsortorder)::text END",
                ),
            ),
        ],
    },
    Catalog {
        key: "{rngtypid}",
        keep: "x.rngtypid >= 16384",
        ..plain("pg_range", "'type'")
    },
    Catalog {
        // Schemas of temporary tables come and go with sessions.
        keep: "x.oid >= 16384 AND x.nspname !~ '^pg_(toast_)?temp_' OR x.nspname = 'public'",
        ..plain("pg_namespace", "'schema'")
    },
    Catalog {
        keep: "TRUE",
        ..plain("pg_extension", "'extension'")
    },
    Catalog {
        keep: "x.lanispl",
        ..plain("pg_language", "'language'")
    },
    plain("pg_am", "'access method'"),
    plain("pg_cast", "'cast'"),
    Catalog {
        columns: &[(
            "collversion",
            Skip("version of the library where the row was made"),
        )],
        ..plain("pg_collation", "'collation'")
    },
    plain("pg_conversion", "'conversion'"),
    plain("pg_operator", "'operator'"),
    plain("pg_opclass", "'operator class'"),
    plain("pg_opfamily", "'operator family'"),
    plain("pg_amop", "'operator of family'"),
    plain("pg_amproc", "'function of family'"),
    plain("pg_transform", "'transform'"),
    plain("pg_ts_config", "'text search configuration'"),
    Catalog {
        key: "{mapcfg} token {maptokentype} dictionary {mapseqno}",
        keep: "x.mapcfg >= 16384",
        ..plain("pg_ts_config_map", "'text search configuration'")
    },
    plain("pg_ts_dict", "'text search dictionary'"),
    plain("pg_ts_parser", "'text search parser'"),
    plain("pg_ts_template", "'text search template'"),
    plain("pg_foreign_data_wrapper", "'foreign-data wrapper'"),
    plain("pg_foreign_server", "'server'"),
    plain("pg_user_mapping", "'user mapping'"),
    plain("pg_default_acl", "'default privileges'"),
    plain("pg_event_trigger", "'event trigger'"),
    plain("pg_publication", "'publication'"),
    Catalog {
        columns: &[
            ("prattrs", Names("prrelid")),
            ("prqual", Sql("pg_catalog.pg_get_expr(x.prqual, x.prrelid)")),
        ],
        ..plain("pg_publication_rel", "'publication table'")
    },
    plain("pg_publication_namespace", "'publication schema'"),
    Catalog {
        keep: "x.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())",
        columns: &[
            ("subdbid", Skip("is this database")),
            ("subskiplsn", Skip("a place in the publisher's log")),
        ],
        ..plain("pg_subscription", "'subscription'")
    },
    Catalog {
        // Anybody may choose the number of a large object, also one below 16384.
        keep: "TRUE",
        columns: &[("oid", Sql("x.oid::text"))],
        ..plain("pg_largeobject_metadata", "'large object'")
    },
];

/// Read only if the properties of the database itself count: names differ by design.
pub(super) const DATABASE_CATALOGS: &[Catalog] = &[
    Catalog {
        name: "pg_database",
        label: "'the database'",
        key: "",
        keep: "x.datname = pg_catalog.current_database()",
        columns: &[
            ("oid", Skip("differs by design")),
            ("datname", Skip("differs by design")),
            ("datlastsysoid", PHYSICAL),
            ("datfrozenxid", PHYSICAL),
            ("datminmxid", PHYSICAL),
            (
                "datcollversion",
                Skip("version of the library where the row was made"),
            ),
            (
                "comment",
                Extra("pg_catalog.shobj_description(x.oid, 'pg_database')"),
            ),
        ],
    },
    Catalog {
        name: "pg_db_role_setting",
        label: "'settings in the database of role'",
        key: "{setrole}",
        keep: "x.setdatabase = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())",
        columns: &[("setdatabase", Skip("is this database"))],
    },
];

/// Catalogs not read as such, with the reason.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("pg_depend", "read as pairs of names"),
    ("pg_shdepend", "read as pairs of names"),
    ("pg_description", "read by the described object"),
    ("pg_seclabel", "read by the labelled object"),
    ("pg_init_privs", "read by the object"),
    ("pg_inherits", "the property `parents` of a relation"),
    ("pg_enum", "the property `labels` of a type"),
    ("pg_largeobject", "read with the rows"),
    ("pg_statistic", "planner statistics are sampled anew"),
    (
        "pg_statistic_ext_data",
        "planner statistics are sampled anew",
    ),
    (
        "pg_subscription_rel",
        "progress of a replication, not an object",
    ),
    ("pg_database", "read on request"),
    ("pg_db_role_setting", "read on request"),
    ("pg_authid", "belongs to the cluster"),
    ("pg_auth_members", "belongs to the cluster"),
    ("pg_tablespace", "belongs to the cluster"),
    ("pg_parameter_acl", "belongs to the cluster"),
    ("pg_replication_origin", "belongs to the cluster"),
    (
        "pg_shdescription",
        "belongs to the cluster, but for the database's own comment",
    ),
    ("pg_shseclabel", "belongs to the cluster"),
    ("pg_pltemplate", "templates of servers before 13"),
];

#[test]
fn what_is_left_out_has_a_reason() {
    use super::catalogs::RELATION_CATALOGS;

    for catalog in [RELATION_CATALOGS, OBJECT_CATALOGS, DATABASE_CATALOGS].concat() {
        for (column, said) in catalog.columns {
            if let Skip(reason) = said {
                assert!(!reason.is_empty(), "{}.{column}", catalog.name);
            }
        }
    }
    assert!(ELSEWHERE.iter().all(|(_, reason)| !reason.is_empty()));
}
