//! Column expressions by which a query names other objects: both parts in double quotes, so that a word which only a newer
//! server reserves does no harm. Owns no rows; types and argument lists stay with `format_type` and its like.

/// `"schema"."name"` of two columns.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{} || '.' || {}", quoted(schema), quoted(name))
}

fn quoted(column: &str) -> String {
    format!("'\"' || pg_catalog.replace({column}::pg_catalog.text, '\"', '\"\"') || '\"'")
}

/// `"schema"."name"` of a function by OID; NULL for none.
pub(crate) fn function(oid: &str) -> String {
    named("pg_proc", "pronamespace", "proname", oid)
}

/// `"schema"."name"` of a collation by OID; NULL for none.
pub(crate) fn collation(oid: &str) -> String {
    named("pg_collation", "collnamespace", "collname", oid)
}

/// `"schema"."name"` of an operator class by OID; NULL for none.
pub(crate) fn operator_class(oid: &str) -> String {
    named("pg_opclass", "opcnamespace", "opcname", oid)
}

/// `"schema"."name"` of an operator family by OID; NULL for none.
pub(crate) fn operator_family(oid: &str) -> String {
    named("pg_opfamily", "opfnamespace", "opfname", oid)
}

/// `"schema"."name"` of a type by OID; NULL for none. For types that are named without a modifier, such as a multirange.
pub(crate) fn type_name(oid: &str) -> String {
    named("pg_type", "typnamespace", "typname", oid)
}

fn named(catalog: &str, schema_column: &str, name_column: &str, oid: &str) -> String {
    let name = qualified("xn.nspname", &format!("x.{name_column}"));
    format!(
        "(SELECT {name} FROM pg_catalog.{catalog} x \
         JOIN pg_catalog.pg_namespace xn ON xn.oid = x.{schema_column} WHERE x.oid = {oid})"
    )
}

/// `"schema"."name"(types)` of a function by OID; NULL for none.
pub(crate) fn signature(oid: &str) -> String {
    let name = qualified("xn.nspname", "x.proname");
    let types = type_list("x.proargtypes");
    format!(
        "(SELECT {name} || '(' || {types} || ')' FROM pg_catalog.pg_proc x \
         JOIN pg_catalog.pg_namespace xn ON xn.oid = x.pronamespace WHERE x.oid = {oid})"
    )
}

/// The names of an `oidvector`'s types, separated by commas.
pub(crate) fn type_list(types: &str) -> String {
    format!(
        "COALESCE((SELECT pg_catalog.string_agg(pg_catalog.format_type(xt.oid, NULL), ', ' ORDER BY xt.place) \
         FROM unnest({types}::pg_catalog.oid[]) WITH ORDINALITY AS xt(oid, place)), '')"
    )
}

/// `OPERATOR("schema".+)` of an operator by OID; NULL for none.
pub(crate) fn operator(oid: &str) -> String {
    let name = operator_name();
    format!(
        "(SELECT 'OPERATOR(' || {name} || ')' FROM pg_catalog.pg_operator x \
         JOIN pg_catalog.pg_namespace xn ON xn.oid = x.oprnamespace WHERE x.oid = {oid})"
    )
}

/// `"schema".+ (left, right)` of an operator by OID, `NONE` for a missing side; NULL for none.
pub(crate) fn operator_signature(oid: &str) -> String {
    let name = operator_name();
    let side = |column: &str| {
        format!(
            "CASE x.{column} WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(x.{column}, NULL) END"
        )
    };
    let (left, right) = (side("oprleft"), side("oprright"));
    format!(
        "(SELECT {name} || ' (' || {left} || ', ' || {right} || ')' FROM pg_catalog.pg_operator x \
         JOIN pg_catalog.pg_namespace xn ON xn.oid = x.oprnamespace WHERE x.oid = {oid})"
    )
}

// An operator's own name is made of symbols and is never quoted.
fn operator_name() -> String {
    format!("{} || '.' || x.oprname", quoted("xn.nspname"))
}
