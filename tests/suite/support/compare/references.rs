//! Which catalog each OID column points into. Owns that map alone; what becomes of the other
//! columns is said in `catalogs`.
//!
//! Source: `pg_get_catalog_foreign_keys()` of PostgreSQL 18, which servers before 14 do not have.

/// `(catalog pointed into, columns that point there)`, names without their `pg_` prefix.
const REFERENCES: &[(&str, &str)] = &[
    (
        "pg_type",
        "aggregate.aggmtranstype aggregate.aggtranstype amop.amoplefttype amop.amoprighttype \
         amproc.amproclefttype amproc.amprocrighttype attribute.atttypid cast.castsource \
         cast.casttarget class.reloftype class.reltype constraint.contypid enum.enumtypid \
         opclass.opcintype opclass.opckeytype operator.oprleft operator.oprresult \
         operator.oprright proc.proallargtypes proc.proargtypes proc.prorettype proc.protrftypes \
         proc.provariadic range.rngmultitypid range.rngsubtype range.rngtypid sequence.seqtypid \
         transform.trftype type.typarray type.typbasetype type.typelem",
    ),
    (
        "pg_proc",
        "aggregate.aggcombinefn aggregate.aggdeserialfn aggregate.aggfinalfn aggregate.aggfnoid \
         aggregate.aggmfinalfn aggregate.aggminvtransfn aggregate.aggmtransfn \
         aggregate.aggserialfn aggregate.aggtransfn am.amhandler amproc.amproc cast.castfunc \
         conversion.conproc event_trigger.evtfoid foreign_data_wrapper.fdwhandler \
         foreign_data_wrapper.fdwvalidator language.laninline language.lanplcallfoid \
         language.lanvalidator operator.oprcode operator.oprjoin operator.oprrest proc.prosupport \
         range.rngcanonical range.rngsubdiff transform.trffromsql transform.trftosql \
         trigger.tgfoid ts_parser.prsend ts_parser.prsheadline ts_parser.prslextype \
         ts_parser.prsstart ts_parser.prstoken ts_template.tmplinit ts_template.tmpllexize \
         type.typanalyze type.typinput type.typmodin type.typmodout type.typoutput \
         type.typreceive type.typsend type.typsubscript",
    ),
    (
        "pg_class",
        "attrdef.adrelid attribute.attrelid class.reltoastrelid class.relrewrite \
         constraint.confrelid constraint.conindid constraint.conrelid extension.extconfig \
         foreign_table.ftrelid index.indexrelid index.indrelid inherits.inhparent \
         inherits.inhrelid partitioned_table.partdefid partitioned_table.partrelid \
         policy.polrelid publication_rel.prrelid rewrite.ev_class sequence.seqrelid \
         statistic_ext.stxrelid trigger.tgconstrindid trigger.tgconstrrelid trigger.tgrelid \
         type.typrelid",
    ),
    (
        "pg_authid",
        "class.relowner collation.collowner conversion.conowner default_acl.defaclrole \
         event_trigger.evtowner extension.extowner foreign_data_wrapper.fdwowner \
         foreign_server.srvowner language.lanowner largeobject_metadata.lomowner \
         namespace.nspowner opclass.opcowner operator.oprowner opfamily.opfowner proc.proowner \
         publication.pubowner statistic_ext.stxowner subscription.subowner ts_config.cfgowner \
         ts_dict.dictowner type.typowner user_mapping.umuser database.datdba \
         db_role_setting.setrole",
    ),
    (
        "pg_namespace",
        "class.relnamespace collation.collnamespace constraint.connamespace \
         conversion.connamespace default_acl.defaclnamespace extension.extnamespace \
         opclass.opcnamespace operator.oprnamespace opfamily.opfnamespace proc.pronamespace \
         publication_namespace.pnnspid statistic_ext.stxnamespace ts_config.cfgnamespace \
         ts_dict.dictnamespace ts_parser.prsnamespace ts_template.tmplnamespace type.typnamespace",
    ),
    (
        "pg_operator",
        "aggregate.aggsortop amop.amopopr constraint.conexclop constraint.conffeqop \
         constraint.conpfeqop constraint.conppeqop operator.oprcom operator.oprnegate",
    ),
    (
        "pg_collation",
        "attribute.attcollation index.indcollation partitioned_table.partcollation \
         range.rngcollation type.typcollation",
    ),
    (
        "pg_tablespace",
        "class.reltablespace database.dattablespace",
    ),
    (
        "pg_foreign_server",
        "foreign_table.ftserver user_mapping.umserver",
    ),
    ("pg_foreign_data_wrapper", "foreign_server.srvfdw"),
    (
        "pg_am",
        "amop.amopmethod class.relam opclass.opcmethod opfamily.opfmethod",
    ),
    (
        "pg_constraint",
        "constraint.conparentid trigger.tgconstraint",
    ),
    ("pg_language", "proc.prolang transform.trflang"),
    (
        "pg_opclass",
        "index.indclass partitioned_table.partclass range.rngsubopc",
    ),
    (
        "pg_opfamily",
        "amop.amopfamily amop.amopsortfamily amproc.amprocfamily opclass.opcfamily",
    ),
    ("pg_trigger", "trigger.tgparentid"),
    ("pg_ts_dict", "ts_config_map.mapdict"),
    ("pg_ts_parser", "ts_config.cfgparser"),
    ("pg_ts_config", "ts_config_map.mapcfg"),
    ("pg_ts_template", "ts_dict.dicttemplate"),
    (
        "pg_publication",
        "publication_namespace.pnpubid publication_rel.prpubid",
    ),
];

/// Gives the catalog that `catalog.column` points into, if it is such a column.
pub(super) fn target(catalog: &str, column: &str) -> Option<&'static str> {
    let short = catalog.strip_prefix("pg_")?;
    REFERENCES
        .iter()
        .find(|(_, columns)| {
            columns.split(' ').any(|known| {
                known
                    .split_once('.')
                    .is_some_and(|(table, name)| table == short && name == column)
            })
        })
        .map(|(target, _)| *target)
}
