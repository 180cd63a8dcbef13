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

/// `"schema"."name"` of a text search parser by OID; NULL for none.
pub(crate) fn ts_parser(oid: &str) -> String {
    named("pg_ts_parser", "prsnamespace", "prsname", oid)
}

/// `"schema"."name"` of a text search template by OID; NULL for none.
pub(crate) fn ts_template(oid: &str) -> String {
    named("pg_ts_template", "tmplnamespace", "tmplname", oid)
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

/// `"schema".+` of an operator by OID; NULL for none. Its own name is made of symbols and is never quoted.
pub(crate) fn operator_name(oid: &str) -> String {
    of_operator(&operator_text(), oid)
}

/// `OPERATOR("schema".+)` of an operator by OID; NULL for none.
pub(crate) fn operator(oid: &str) -> String {
    of_operator(&format!("'OPERATOR(' || {} || ')'", operator_text()), oid)
}

/// `"schema".+ (left, right)` of an operator by OID, `NONE` for a missing side; NULL for none.
pub(crate) fn operator_signature(oid: &str) -> String {
    let side = |column: &str| {
        format!(
            "CASE x.{column} WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(x.{column}, NULL) END"
        )
    };
    let (name, left, right) = (operator_text(), side("oprleft"), side("oprright"));
    of_operator(
        &format!("{name} || ' (' || {left} || ', ' || {right} || ')'"),
        oid,
    )
}

fn operator_text() -> String {
    format!("{} || '.' || x.oprname", quoted("xn.nspname"))
}

fn of_operator(text: &str, oid: &str) -> String {
    format!(
        "(SELECT {text} FROM pg_catalog.pg_operator x \
         JOIN pg_catalog.pg_namespace xn ON xn.oid = x.oprnamespace WHERE x.oid = {oid})"
    )
}

/// Whose members are asked for.
#[derive(Clone, Copy)]
pub(crate) enum MembersOf {
    /// Of the operator class `o`: what `pg_depend` ties to it.
    Class,
    /// Of the operator family `f`: its loose members, which are tied to no class.
    Family,
}

impl MembersOf {
    /// The condition on a row `m` of `pg_amop` (2602) or `pg_amproc` (2603) with its column that names the family.
    fn condition(self, catalog: u32, family: &str) -> String {
        let tied = |to: &str| {
            format!(
                "EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = {catalog} AND d.objid = m.oid \
                 AND d.refclassid = 2616{to})"
            )
        };
        match self {
            MembersOf::Class => tied(" AND d.refobjid = o.oid"),
            MembersOf::Family => format!("m.{family} = f.oid AND NOT {}", tied("")),
        }
    }
}

/// The OIDs of `pg_amop` rows, as an array.
pub(crate) fn operator_members(of: MembersOf) -> String {
    let condition = of.condition(2602, "amopfamily");
    format!("ARRAY(SELECT m.oid FROM pg_catalog.pg_amop m WHERE {condition} ORDER BY m.oid)")
}

/// The OIDs of `pg_amproc` rows, as an array.
pub(crate) fn function_members(of: MembersOf) -> String {
    let condition = of.condition(2603, "amprocfamily");
    format!("ARRAY(SELECT m.oid FROM pg_catalog.pg_amproc m WHERE {condition} ORDER BY m.oid)")
}

/// Member operators as an array of `OPERATOR n "s".+ (left, right) …`.
pub(crate) fn operator_clauses(of: MembersOf) -> String {
    let (operator, family) = (
        operator_signature("m.amopopr"),
        operator_family("m.amopsortfamily"),
    );
    let condition = of.condition(2602, "amopfamily");
    format!(
        "ARRAY(SELECT 'OPERATOR ' || m.amopstrategy || ' ' || {operator} \
             || CASE m.amoppurpose WHEN 'o' THEN ' FOR ORDER BY ' || {family} ELSE '' END \
         FROM pg_catalog.pg_amop m WHERE {condition} ORDER BY m.amopstrategy, {operator})"
    )
}

/// Member functions as an array of `FUNCTION n (left, right) "s"."f"(types)`.
pub(crate) fn function_clauses(of: MembersOf) -> String {
    let function = signature("m.amproc");
    let condition = of.condition(2603, "amprocfamily");
    format!(
        "ARRAY(SELECT 'FUNCTION ' || m.amprocnum || ' (' || pg_catalog.format_type(m.amproclefttype, NULL) || ', ' \
             || pg_catalog.format_type(m.amprocrighttype, NULL) || ') ' || {function} \
         FROM pg_catalog.pg_amproc m WHERE {condition} \
         ORDER BY m.amprocnum, {function}, m.amproclefttype, m.amprocrighttype)"
    )
}
