//! What is compared of each catalog. Every column of every catalog counts unless it is passed over
//! here, with the reason: a column or catalog that a later server adds is compared, or refused
//! as unknown, without a change here. Holds the words of relations;
//! `object_catalogs` has the others, and reading is done by `read`.

/// One catalog whose rows are compared. `x` is the row in every SQL piece.
#[derive(Clone, Copy)]
pub(super) struct Catalog {
    pub(super) name: &'static str,
    /// SQL of the word before the object's name. Rows of several catalogs may share an object.
    pub(super) label: &'static str,
    /// The object's name, columns in braces; `{oid}` gives the row's own identity.
    pub(super) key: &'static str,
    /// SQL condition of the rows that belong to the user.
    pub(super) keep: &'static str,
    pub(super) columns: &'static [(&'static str, Column)],
}

/// How one column is shown, or what is shown besides the columns.
pub(super) enum Column {
    /// Not compared, for this reason.
    Skip(&'static str),
    /// This SQL instead of the column's own text, on servers that have the column.
    Sql(&'static str),
    /// Attribute numbers of the relation in this column, shown as names.
    Names(&'static str),
    /// No column: a property of the object, made by this SQL.
    Extra(&'static str),
}

use Column::{Extra, Names, Skip, Sql};

const IN_THE_NAME: Column = Skip("is part of the object's name");
const HINT: Column = Skip("a hint that vacuum clears later, not a fact");
pub(super) const PHYSICAL: Column = Skip("place and age of the stored rows");
/// `FirstNormalObjectId` is 16384: what initdb made lies below.
pub(super) const OWN: &str = "x.oid >= 16384";

/// The catalogs of relations and what hangs on them.
pub(super) const RELATION_CATALOGS: &[Catalog] = &[
    Catalog {
        name: "pg_class",
        label: "CASE x.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'i' THEN 'index' \
                WHEN 'I' THEN 'index' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' \
                WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' \
                WHEN 'c' THEN 'composite type' ELSE 'relation' END",
        key: "{oid}",
        keep: "x.oid >= 16384 AND x.relnamespace <> 99 AND x.relpersistence <> 't'",
        columns: &[
            ("reltype", Skip("the row type has the relation's name")),
            ("relfilenode", PHYSICAL),
            ("relpages", PHYSICAL),
            ("reltuples", PHYSICAL),
            ("relallvisible", PHYSICAL),
            ("relallfrozen", PHYSICAL),
            ("relfrozenxid", PHYSICAL),
            ("relminmxid", PHYSICAL),
            ("relrewrite", PHYSICAL),
            (
                "reltoastrelid",
                Skip("its options are below; it may outlive the columns that needed it"),
            ),
            ("relhasindex", HINT),
            ("relhasrules", HINT),
            ("relhastriggers", HINT),
            ("relhassubclass", HINT),
            ("relnatts", Skip("counts dropped columns")),
            (
                "relpartbound",
                Sql("pg_catalog.pg_get_expr(x.relpartbound, x.oid)"),
            ),
            (
                "toast options",
                Extra(
                    "(SELECT ARRAY(SELECT o FROM pg_catalog.unnest(t.reloptions) o ORDER BY o COLLATE \"C\")::text \
                     FROM pg_catalog.pg_class t WHERE t.oid = x.reltoastrelid AND t.reloptions IS NOT NULL)",
                ),
            ),
            (
                "parents",
                Extra(
                    "ARRAY(SELECT i.inhparent::pg_catalog.regclass::text || CASE \
                     WHEN pg_catalog.to_jsonb(i)->>'inhdetachpending' = 'true' THEN ' (detach pending)' ELSE '' END \
                     FROM pg_catalog.pg_inherits i WHERE i.inhrelid = x.oid ORDER BY i.inhseqno)::text",
                ),
            ),
            (
                "query",
                Extra(
                    "CASE WHEN x.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(x.oid) END",
                ),
            ),
            (
                "partition key",
                Extra("CASE WHEN x.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(x.oid) END"),
            ),
        ],
    },
    Catalog {
        name: "pg_attribute",
        label: "'column'",
        key: "{attrelid}.{attname}",
        keep: "x.attrelid >= 16384 AND x.attnum > 0 AND NOT x.attisdropped AND EXISTS (SELECT FROM pg_catalog.pg_class c \
               WHERE c.oid = x.attrelid AND c.relnamespace <> 99 AND c.relpersistence <> 't')",
        columns: &[
            ("attrelid", IN_THE_NAME),
            ("attname", IN_THE_NAME),
            (
                "attnum",
                Skip("counts dropped columns; positions are below"),
            ),
            ("attisdropped", Skip("dropped columns are not compared")),
            ("attcacheoff", PHYSICAL),
            ("atthasmissing", PHYSICAL),
            ("attmissingval", PHYSICAL),
            ("attstattarget", Sql("COALESCE(x.attstattarget, -1)::text")),
            (
                "type",
                Extra("pg_catalog.format_type(x.atttypid, x.atttypmod)"),
            ),
            // The order of columns that a child of plain inheritance got by ADD COLUMN on its
            // parent is lost by every dump that lists own columns only: kept apart, so that it
            // can be excused alone.
            (
                "position",
                Extra(
                    "CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
                     WHERE i.inhrelid = x.attrelid AND NOT c.relispartition) THEN \
                     pg_catalog.row_number() OVER (PARTITION BY x.attrelid ORDER BY x.attnum) END::text",
                ),
            ),
            (
                "position among own columns",
                Extra(
                    "CASE WHEN x.attinhcount = 0 THEN \
                     pg_catalog.row_number() OVER (PARTITION BY x.attrelid, x.attinhcount = 0 ORDER BY x.attnum) END::text",
                ),
            ),
            (
                "position among own and inherited columns",
                Extra(
                    "CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
                     WHERE i.inhrelid = x.attrelid AND NOT c.relispartition) THEN \
                     pg_catalog.row_number() OVER (PARTITION BY x.attrelid ORDER BY x.attnum) END::text",
                ),
            ),
        ],
    },
    Catalog {
        name: "pg_attrdef",
        label: "'default'",
        key: "{oid}",
        keep: OWN,
        columns: &[
            ("adnum", IN_THE_NAME),
            ("adrelid", IN_THE_NAME),
            ("adbin", Sql("pg_catalog.pg_get_expr(x.adbin, x.adrelid)")),
        ],
    },
    Catalog {
        name: "pg_index",
        label: "'index'",
        key: "{indexrelid}",
        keep: "x.indexrelid >= 16384 AND EXISTS (SELECT FROM pg_catalog.pg_class c \
               WHERE c.oid = x.indexrelid AND c.relnamespace <> 99 AND c.relpersistence <> 't')",
        columns: &[
            ("indcheckxmin", PHYSICAL),
            ("indkey", Names("indrelid")),
            ("indoption", Sql("x.indoption::text")),
            (
                "indexprs",
                Sql("pg_catalog.pg_get_expr(x.indexprs, x.indrelid)"),
            ),
            (
                "indpred",
                Sql("pg_catalog.pg_get_expr(x.indpred, x.indrelid)"),
            ),
            (
                "indexdef",
                Extra("pg_catalog.pg_get_indexdef(x.indexrelid)"),
            ),
        ],
    },
    Catalog {
        name: "pg_constraint",
        label: "'constraint'",
        key: "{oid}",
        keep: OWN,
        columns: &[
            ("conkey", Names("conrelid")),
            ("confkey", Names("confrelid")),
            ("confdelsetcols", Names("conrelid")),
            (
                "conbin",
                Sql("pg_catalog.pg_get_expr(x.conbin, x.conrelid)"),
            ),
            // Keys and foreign keys of partitions get it by how they were made, and nothing reads it.
            (
                "connoinherit",
                Sql("CASE WHEN x.contype IN ('c', 'n') THEN x.connoinherit::text END"),
            ),
            (
                "definition",
                Extra("pg_catalog.pg_get_constraintdef(x.oid)"),
            ),
        ],
    },
    Catalog {
        name: "pg_trigger",
        label: "'trigger'",
        key: "{oid}",
        keep: OWN,
        columns: &[
            ("tgname", IN_THE_NAME),
            ("tgattr", Names("tgrelid")),
            ("tgqual", Skip("is part of the definition")),
            (
                "definition",
                Extra(
                    "CASE WHEN NOT (x.tgisinternal AND x.tgconstraint <> 0) THEN pg_catalog.pg_get_triggerdef(x.oid) END",
                ),
            ),
        ],
    },
    Catalog {
        name: "pg_rewrite",
        label: "'rule'",
        key: "{oid}",
        keep: OWN,
        columns: &[
            ("ev_qual", Skip("is part of the definition")),
            ("ev_action", Skip("is part of the definition")),
            ("definition", Extra("pg_catalog.pg_get_ruledef(x.oid)")),
        ],
    },
    Catalog {
        name: "pg_policy",
        label: "'policy'",
        key: "{oid}",
        keep: OWN,
        columns: &[
            (
                "polroles",
                Sql(
                    "ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(r)::text END \
                     FROM pg_catalog.unnest(x.polroles) r ORDER BY 1)::text",
                ),
            ),
            (
                "polqual",
                Sql("pg_catalog.pg_get_expr(x.polqual, x.polrelid)"),
            ),
            (
                "polwithcheck",
                Sql("pg_catalog.pg_get_expr(x.polwithcheck, x.polrelid)"),
            ),
        ],
    },
    Catalog {
        name: "pg_sequence",
        label: "'sequence'",
        key: "{seqrelid}",
        keep: "x.seqrelid >= 16384 AND EXISTS (SELECT FROM pg_catalog.pg_class c \
               WHERE c.oid = x.seqrelid AND c.relpersistence <> 't')",
        columns: &[],
    },
    Catalog {
        name: "pg_partitioned_table",
        label: "'table'",
        key: "{partrelid}",
        keep: "x.partrelid >= 16384",
        columns: &[
            ("partattrs", Names("partrelid")),
            (
                "partexprs",
                Sql("pg_catalog.pg_get_expr(x.partexprs, x.partrelid)"),
            ),
        ],
    },
    Catalog {
        name: "pg_foreign_table",
        label: "'foreign table'",
        key: "{ftrelid}",
        keep: "x.ftrelid >= 16384",
        columns: &[],
    },
    Catalog {
        name: "pg_statistic_ext",
        label: "'statistics'",
        key: "{oid}",
        keep: OWN,
        columns: &[
            ("stxkeys", Names("stxrelid")),
            (
                "stxexprs",
                Sql("pg_catalog.pg_get_expr(x.stxexprs, x.stxrelid)"),
            ),
            ("stxstattarget", Sql("COALESCE(x.stxstattarget, -1)::text")),
            (
                "definition",
                Extra("pg_catalog.pg_get_statisticsobjdef(x.oid)"),
            ),
        ],
    },
];
