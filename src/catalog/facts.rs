//! Fills [`Core`]: the bulk facts of all kinds, one query each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use postgres_types::{ToSql, Type};

use super::wanted::Wanted;
use crate::error::{Error, Result};
use crate::kinds::acl::{self, ExplodedRow, ObjectAcl};
use crate::kinds::arena::{CatalogId, class};
use crate::kinds::core::{
    ColumnRow, CommentRow, ConstraintRow, Core, DatabaseFacts, DefaultRow, DependRow, InheritsRow,
    LabelRow, MemberRow, NamespaceRow, RelationRow, RoleRow,
};
use crate::kinds::dependents::DependentRow;
use crate::kinds::planner_statistics;
use crate::kinds::row::{CatalogRow, Letter, Oid, catalog_row};
use crate::pg::session::Session;
use crate::pg::version::{ServerVersion, V15};
use crate::toc::Part;

/// The rows of a query without parameters.
pub async fn rows<R: CatalogRow>(session: &Session, what: &str) -> Result<Vec<R>> {
    read(session, what, &R::query(session.version()), &[]).await
}

/// The rows of a query for a set of OIDs.
pub async fn rows_for<R: CatalogRow>(
    session: &Session,
    what: &str,
    oids: &[Oid],
) -> Result<Vec<R>> {
    let oids = oids.to_vec();
    let param: &(dyn ToSql + Sync) = &oids;
    read(
        session,
        what,
        &R::query(session.version()),
        &[(param, Type::OID_ARRAY)],
    )
    .await
}

async fn read<R: CatalogRow>(
    session: &Session,
    what: &str,
    query: &str,
    params: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<R>> {
    let rows = session.query(what, query, params).await?;
    rows.iter()
        .map(|row| R::from_row(row).map_err(Error::sql(what, "reading its rows")))
        .collect()
}

/// Names, memberships, dependencies, comments, labels, privileges, inheritance, constraints.
pub async fn read_core(session: &Session, database: DatabaseFacts) -> Result<Core> {
    let mut core = Core {
        database,
        ..Core::default()
    };
    core.schemas = by(rows::<NamespaceRow>(session, "schemas").await?, |row| {
        row.oid
    });
    core.relations = by(rows::<RelationRow>(session, "relations").await?, |row| {
        row.oid
    });
    let roles = rows::<RoleRow>(session, "roles").await;
    let roles = roles.map_err(|error| explain_roles(error, session.server_encoding()))?;
    core.roles = roles.into_iter().map(|row| (row.oid, row.name)).collect();
    core.depends = rows::<DependRow>(session, "dependencies").await?;
    core.depends.sort_by_key(|row| {
        (
            row.class,
            row.oid,
            row.ref_class,
            row.ref_oid,
            row.ref_column,
        )
    });
    let members = rows::<MemberRow>(session, "extension members").await?;
    core.members = members
        .iter()
        .map(|row| (CatalogId::new(row.class, row.oid), row.extension))
        .collect();
    let extensions = rows::<ExtensionName>(session, "extensions").await?;
    core.extensions = extensions
        .iter()
        .map(|row| (row.oid, row.name.clone()))
        .collect();
    core.config_tables = extensions
        .iter()
        .flat_map(|row| row.config.iter().flatten().copied())
        .collect();
    let comments = rows::<CommentRow>(session, "comments").await?;
    core.comments = group(comments, |row| CatalogId::new(row.class, row.oid));
    let labels = rows::<LabelRow>(session, "security labels").await?;
    core.labels = group(labels, |row| CatalogId::new(row.class, row.oid));
    let parents = rows::<InheritsRow>(session, "inheritance").await?;
    for row in &parents {
        core.children.entry(row.parent).or_default().push(row.child);
    }
    core.parents = group(parents, |row| row.child);
    let constraints = rows::<ConstraintRow>(session, "constraints").await?;
    let (on_tables, on_domains): (Vec<_>, Vec<_>) =
        constraints.into_iter().partition(|row| row.relation != 0);
    core.constraints = group(on_tables, |row| row.relation);
    core.domain_constraints = group(on_domains, |row| row.domain);
    let ordered = rows::<KeepOrderRow>(session, "tables whose rows keep their order").await?;
    core.keep_order = ordered.into_iter().map(|row| row.table).collect();
    let keys = rows::<PartitionKeyRow>(session, "partition keys").await?;
    let tables = |keep: fn(&PartitionKeyRow) -> bool| {
        let kept = keys.iter().filter(|row| keep(row));
        kept.map(|row| row.table).collect()
    };
    core.enum_hash_roots = tables(|row| row.hashes_enum);
    core.collated_roots = tables(|row| row.by_collation);
    read_acls(session, &mut core).await?;
    core.dependents = rows::<DependentRow>(session, "what is said of dependent objects").await?;
    Ok(core)
}

/// The names of roles belong to the cluster: one made in a database with another encoding may be no text in this one.
fn explain_roles(error: Error, encoding: &str) -> Error {
    if !matches!(error.sqlstate(), Some("22021" | "22P05")) {
        return error;
    }
    Error::Failed {
        object: "the cluster's roles".into(),
        problem: format!("the name of one is no text in the database's encoding {encoding}"),
        remedy: "give the role a name in ASCII (ALTER ROLE … RENAME TO …), from a database with the encoding in which it was made"
            .into(),
        source: Some(Box::new(error)),
    }
}

catalog_row! {
    /// Extensions by name, with the tables whose rows are configuration.
    pub struct ExtensionName from "pg_catalog.pg_extension e" {
        oid: Oid = col("e.oid"),
        name: String = col("e.extname"),
        config: Option<Vec<Oid>> = col("e.extconfig"),
    }
}

catalog_row! {
    /// Tables with a BRIN index or a CLUSTER mark: several loaders would shuffle their pages.
    pub struct KeepOrderRow from
        "pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         JOIN pg_catalog.pg_am a ON a.oid = c.relam"
        where "i.indrelid >= 16384 AND (a.amname = 'brin' OR i.indisclustered)" {
        table: Oid = col("i.indrelid"),
    }
}

catalog_row! {
    /// Partitioned tables, and what may put a row into another partition elsewhere: the hash of an enum depends on label
    /// OIDs, which a restore changes, be it the key or inside of it (what an expression gives is not looked into); order and hash of texts depend on collation and encoding.
    pub struct PartitionKeyRow from "pg_catalog.pg_partitioned_table p" {
        table: Oid = col("p.partrelid"),
        hashes_enum: bool = col(
            "p.partstrat = 'h' AND EXISTS (SELECT FROM \
               ROWS FROM (pg_catalog.unnest(p.partattrs::pg_catalog.int2[]), pg_catalog.unnest(p.partclass::pg_catalog.oid[])) \
                 AS key(number, class) \
               JOIN pg_catalog.pg_opclass o ON o.oid = key.class \
               JOIN pg_catalog.pg_opfamily f ON f.oid = o.opcfamily \
             WHERE f.opfname = 'enum_ops' \
               OR f.opfname IN ('array_ops', 'record_ops', 'range_ops', 'multirange_ops') AND (key.number = 0 OR EXISTS ( \
                 WITH RECURSIVE held(ty) AS ( \
                   SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = p.partrelid AND a.attnum = key.number \
                   UNION \
                   SELECT inner_type.oid FROM held JOIN pg_catalog.pg_type t ON t.oid = held.ty CROSS JOIN LATERAL ( \
                     SELECT t.typelem UNION ALL SELECT t.typbasetype \
                     UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid \
                     UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a \
                       WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0) inner_type(oid) \
                   WHERE inner_type.oid <> 0) \
                 SELECT FROM held JOIN pg_catalog.pg_type t ON t.oid = held.ty WHERE t.typtype = 'e')))"
        ),
        by_collation: bool = col(
            "p.partstrat IN ('h', 'r') AND EXISTS (SELECT FROM pg_catalog.unnest(p.partcollation::pg_catalog.oid[]) c WHERE c <> 0)"
        ),
    }
}

/// Columns and defaults of the relations that objects will look at.
pub async fn read_columns(
    session: &Session,
    core: &mut Core,
    relations: &BTreeSet<Oid>,
) -> Result<()> {
    let oids: Vec<Oid> = relations.iter().copied().collect();
    let columns = rows_for::<ColumnRow>(session, "columns", &oids).await?;
    core.columns = group(columns, |row| row.relation);
    let defaults = rows_for::<DefaultRow>(session, "column defaults", &oids).await?;
    core.defaults = group(defaults, |row| row.relation);
    Ok(())
}

/// What ANALYZE found of the relations that are defined, and of their indexes.
pub async fn read_planner_statistics(
    session: &Session,
    core: &mut Core,
    wanted: &Wanted,
) -> Result<()> {
    let defined = wanted
        .relations
        .iter()
        .filter(|(_, parts)| parts.has(Part::Define));
    let oids: Vec<Oid> = defined.map(|(oid, _)| *oid).collect();
    let what = planner_statistics::LABEL;
    let sizes = rows_for(session, what, &oids).await?;
    let columns = rows_for(session, what, &oids).await?;
    core.planner_statistics = planner_statistics::collect(sizes, columns);
    Ok(())
}

fn by<K: Hash + Eq, R>(rows: Vec<R>, key: impl Fn(&R) -> K) -> HashMap<K, R> {
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

fn group<K: Hash + Eq, R>(rows: Vec<R>, key: impl Fn(&R) -> K) -> HashMap<K, Vec<R>> {
    let mut groups: HashMap<K, Vec<R>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

catalog_row! {
    /// Shape of one row of the privileges query; the query itself is [`acl_query`].
    struct AclRow from "" {
        class: Oid = col(""),
        oid: Oid = col(""),
        column: i32 = col(""),
        owner: Oid = col(""),
        /// a: the ACL itself, b: its base.
        which: Letter = col(""),
        grantor: Option<Oid> = col(""),
        grantee: Option<Oid> = col(""),
        privilege: Option<String> = col(""),
        grantable: Option<bool> = col(""),
        column_name: Option<String> = col(""),
    }
}

/// Where privileges live: catalog OID, table, identity, column number, owner, ACL, `acldefault`'s letter, column name.
const ACL_HOMES: [[&str; 8]; 9] = [
    [
        "1259",
        "pg_class c",
        "c.oid",
        "0",
        "c.relowner",
        "c.relacl",
        "CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END",
        "NULL",
    ],
    [
        "1259",
        "pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid",
        "a.attrelid",
        "a.attnum",
        "c.relowner",
        "CASE WHEN a.attisdropped THEN NULL ELSE a.attacl END",
        "'c'",
        "a.attname",
    ],
    [
        "1255",
        "pg_proc p",
        "p.oid",
        "0",
        "p.proowner",
        "p.proacl",
        "'f'",
        "NULL",
    ],
    [
        "1247",
        "pg_type t",
        "t.oid",
        "0",
        "t.typowner",
        "t.typacl",
        "'T'",
        "NULL",
    ],
    [
        "2615",
        "pg_namespace n",
        "n.oid",
        "0",
        "n.nspowner",
        "n.nspacl",
        "'n'",
        "NULL",
    ],
    [
        "2612",
        "pg_language l",
        "l.oid",
        "0",
        "l.lanowner",
        "l.lanacl",
        "'l'",
        "NULL",
    ],
    [
        "2328",
        "pg_foreign_data_wrapper f",
        "f.oid",
        "0",
        "f.fdwowner",
        "f.fdwacl",
        "'F'",
        "NULL",
    ],
    [
        "1417",
        "pg_foreign_server s",
        "s.oid",
        "0",
        "s.srvowner",
        "s.srvacl",
        "'S'",
        "NULL",
    ],
    [
        "2995",
        "pg_largeobject_metadata m",
        "m.oid",
        "0",
        "m.lomowner",
        "m.lomacl",
        "'L'",
        "NULL",
    ],
];

/// ACLs that differ from what initdb or an extension left, exploded in array order, beside their base.
///
/// An ACL that was never touched reads as `NULL` and means the type's default; an empty one means that everything was revoked.
/// Large objects have no row in `pg_init_privs` of their own class. Nearly all rows have neither, and are best left where they are found.
fn acl_query() -> String {
    let homes = ACL_HOMES.map(|[class, table, oid, column, owner, acl, letter, name]| {
        format!(
            "SELECT {class}::pg_catalog.oid AS classid, {oid} AS objid, {column}::pg_catalog.int4 AS subid, \
             {owner} AS owner, {acl} AS acl, ({letter})::pg_catalog.\"char\" AS letter, \
             {name}::pg_catalog.text AS name FROM pg_catalog.{table} \
             WHERE {acl} IS NOT NULL OR {oid} IN (SELECT i.objoid FROM pg_catalog.pg_init_privs i WHERE i.classoid = {class})"
        )
    });
    format!(
        "WITH home AS ({}), changed AS ( \
           SELECT h.*, i.initprivs FROM home h LEFT JOIN pg_catalog.pg_init_privs i \
             ON i.classoid = h.classid AND i.objoid = h.objid AND i.objsubid = h.subid \
           WHERE h.acl::pg_catalog.text IS DISTINCT FROM i.initprivs::pg_catalog.text) \
         SELECT c.classid, c.objid, c.subid, c.owner, w.which, e.grantor, e.grantee, e.privilege_type, e.is_grantable, c.name \
         FROM changed c CROSS JOIN LATERAL (VALUES \
             ('a'::pg_catalog.\"char\", COALESCE(c.acl, pg_catalog.acldefault(c.letter, c.owner))), \
             ('b'::pg_catalog.\"char\", CASE WHEN pg_catalog.cardinality(c.initprivs) > 0 THEN c.initprivs \
                   ELSE pg_catalog.acldefault(c.letter, c.owner) END)) w(which, items) \
         LEFT JOIN LATERAL pg_catalog.aclexplode(w.items) WITH ORDINALITY \
             AS e(grantor, grantee, privilege_type, is_grantable, place) ON true \
         ORDER BY c.classid, c.objid, c.subid, w.which, e.place",
        homes.join(" UNION ALL ")
    )
}

/// An owner, the rows of the ACL itself, and those of its base.
type Exploded = (Oid, [Vec<ExplodedRow>; 2]);

async fn read_acls(session: &Session, core: &mut Core) -> Result<()> {
    let found: Vec<AclRow> = read(session, "privileges", &acl_query(), &[]).await?;
    let mut exploded: BTreeMap<(CatalogId, i32), Exploded> = BTreeMap::new();
    for row in found {
        let id = CatalogId::new(row.class, row.oid);
        if let Some(name) = row.column_name {
            core.acl_columns.insert((row.oid, row.column), name);
        }
        let entry = exploded
            .entry((id, row.column))
            .or_insert_with(|| (row.owner, Default::default()));
        let (Some(grantor), Some(grantee), Some(privilege)) =
            (row.grantor, row.grantee, row.privilege)
        else {
            continue;
        };
        let grantable = row.grantable.unwrap_or(false);
        let side = usize::from(row.which == 'b');
        entry.1[side].push(ExplodedRow {
            grantor,
            grantee,
            privilege,
            grantable,
        });
    }
    for ((id, column), (owner, [items, base])) in exploded {
        let acl = ObjectAcl {
            owner,
            items: acl::items_of(items),
            base: acl::items_of(base),
        };
        core.acls.insert((id, column), acl);
    }
    rebase_public(session.version(), core);
    core.acls.retain(|_, acl| acl.items != acl.base);
    Ok(())
}

/// `public` is compared with one fixed baseline, so that an old server's CREATE for everybody comes out as a grant.
fn rebase_public(server: ServerVersion, core: &mut Core) {
    let Some(public) = core.schemas.values().find(|row| row.name == "public") else {
        return;
    };
    let id = CatalogId::new(class::NAMESPACE, public.oid);
    let base = acl::public_schema_base(public.owner);
    if let Some(acl) = core.acls.get_mut(&(id, 0)) {
        acl.base = base;
    } else if server < V15 {
        // Untouched since initdb on an old server: everybody may create and use.
        let mut items = base.clone();
        items[1].privileges.insert("CREATE".into(), false);
        core.acls.insert(
            (id, 0),
            ObjectAcl {
                owner: public.owner,
                items,
                base,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_privileges_query_asks_every_home_once() {
        let query = acl_query();
        assert_eq!(query.matches(" UNION ALL ").count(), ACL_HOMES.len() - 1);
        assert!(query.contains("pg_catalog.pg_largeobject_metadata m"));
    }
}
