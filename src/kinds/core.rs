//! Facts that are read in bulk for all kinds: names, dependencies, comments, labels, privileges, columns, constraints.
//! Each is one query whatever the number of objects. The loader fills it; kinds look things up.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::acl::ObjectAcl;
use super::arena::CatalogId;
use super::dependents::DependentRow;
use super::planner_statistics::RelationStatistics;
use super::row::{Letter, Oid, catalog_row};
use super::versions;
use crate::pg::version::{V14, V15, V18};
use crate::sql::{Grantee, Ident, QualifiedName, Role, ServerSql};
use crate::toc::EntryName;

/// The first OID that users' objects have (`FirstNormalObjectId`).
pub const FIRST_NORMAL_OID: Oid = 16384;

catalog_row! {
    /// `pg_namespace`, every schema.
    pub struct NamespaceRow from "pg_catalog.pg_namespace n" {
        oid: Oid = col("n.oid"),
        name: String = col("n.nspname"),
        owner: Oid = col("n.nspowner"),
    }
}

catalog_row! {
    /// `pg_class`, every relation outside the system's own schemas but indexes of TOAST.
    pub struct RelationRow from
        "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        where "n.nspname !~ '^pg_(toast|temp)' AND (c.oid >= 16384 OR c.relacl IS NOT NULL)" {
        oid: Oid = col("c.oid"),
        name: String = col("c.relname"),
        schema: Oid = col("c.relnamespace"),
        kind: Letter = col("c.relkind"),
        owner: Oid = col("c.relowner"),
        row_type: Oid = col("c.reltype"),
        is_partition: bool = col("c.relispartition"),
    }
}

catalog_row! {
    /// `pg_roles`: names by OID, so that no name is taken from the server's caches.
    pub struct RoleRow from "pg_catalog.pg_roles r" {
        oid: Oid = col("r.oid"),
        name: String = col("r.rolname"),
    }
}

catalog_row! {
    /// `pg_depend` between objects that users made. Pinned objects need no order; DEPENDS ON EXTENSION may name initdb's own.
    pub struct DependRow from "pg_catalog.pg_depend d"
        where "d.objid >= 16384 AND (d.refobjid >= 16384 OR d.deptype = 'x') AND d.deptype <> 'p'" {
        class: Oid = col("d.classid"),
        oid: Oid = col("d.objid"),
        column: i32 = col("d.objsubid"),
        ref_class: Oid = col("d.refclassid"),
        ref_oid: Oid = col("d.refobjid"),
        ref_column: i32 = col("d.refobjsubid"),
        kind: Letter = col("d.deptype"),
    }
}

catalog_row! {
    /// `pg_depend`: what belongs to an extension (deptype `e`), whatever its OID.
    pub struct MemberRow from "pg_catalog.pg_depend d"
        where "d.refclassid = 3079 AND d.deptype = 'e'" {
        class: Oid = col("d.classid"),
        oid: Oid = col("d.objid"),
        extension: Oid = col("d.refobjid"),
    }
}

catalog_row! {
    /// `pg_description`. Comments on what initdb made are left out, but for schemas (somebody may have changed `public`'s).
    pub struct CommentRow from "pg_catalog.pg_description d"
        where "d.objoid >= 16384 OR d.classoid IN (2615, 2613)" order "d.classoid, d.objoid, d.objsubid" {
        class: Oid = col("d.classoid"),
        oid: Oid = col("d.objoid"),
        column: i32 = col("d.objsubid"),
        text: String = col("d.description"),
    }
}

catalog_row! {
    /// `pg_seclabel`.
    pub struct LabelRow from "pg_catalog.pg_seclabel l" order "l.classoid, l.objoid, l.objsubid, l.provider" {
        class: Oid = col("l.classoid"),
        oid: Oid = col("l.objoid"),
        column: i32 = col("l.objsubid"),
        provider: String = col("l.provider"),
        text: String = col("l.label"),
    }
}

catalog_row! {
    /// `pg_inherits`: parents in the order in which columns are merged.
    pub struct InheritsRow from "pg_catalog.pg_inherits i" order "i.inhrelid, i.inhseqno" {
        child: Oid = col("i.inhrelid"),
        parent: Oid = col("i.inhparent"),
        detach_pending: bool = since(V14, "i.inhdetachpending", "false"),
    }
}

catalog_row! {
    /// `pg_attribute` of the relations asked for (`$1`), dropped columns left out.
    pub struct ColumnRow from
        "pg_catalog.pg_attribute a \
         JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = a.attrelid \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid \
         LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation AND a.attcollation <> t.typcollation \
         LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace"
        where "a.attnum > 0 AND NOT a.attisdropped" order "a.attrelid, a.attnum" {
        relation: Oid = col("a.attrelid"),
        number: i16 = col("a.attnum"),
        name: String = col("a.attname"),
        /// With as many brackets as were declared, which `format_type` forgets.
        ty: ServerSql = col(
            "pg_catalog.format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attndims > 1 \
               AND pg_catalog.right(pg_catalog.format_type(a.atttypid, a.atttypmod), 1) = ']' \
             THEN pg_catalog.repeat('[]', a.attndims - 1) ELSE '' END"
        ),
        ty_oid: Oid = col("a.atttypid"),
        /// The oldest major that has the type.
        ty_major: i32 = by(|_| versions::major_of_type("t", "e")),
        not_null: bool = col("a.attnotnull"),
        local: bool = col("a.attislocal"),
        has_default: bool = col("a.atthasdef"),
        /// `a` always, `d` by default, NUL none.
        identity: Letter = col("a.attidentity"),
        /// `s` stored, `v` virtual, NUL none.
        generated: Letter = col("a.attgenerated"),
        /// Where the collation differs from the type's.
        collation_schema: Option<String> = col("ln.nspname"),
        collation_name: Option<String> = col("l.collname"),
        storage: Letter = col("a.attstorage"),
        type_storage: Letter = col("t.typstorage"),
        /// `p` pglz, `l` lz4, NUL the default.
        compression: Letter = since(V14, "a.attcompression", "''::pg_catalog.\"char\""),
        /// Negative or absent: the default. 17 made the column nullable.
        statistics_target: i32 = col("COALESCE(a.attstattarget, -1)::pg_catalog.int4"),
        options: Option<Vec<String>> = col("a.attoptions"),
        fdw_options: Option<Vec<String>> = col("a.attfdwoptions"),
    }
}

catalog_row! {
    /// `pg_attrdef` with its expression, of the relations asked for (`$1`).
    pub struct DefaultRow from
        "pg_catalog.pg_attrdef d JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = d.adrelid"
        order "d.adrelid, d.adnum" {
        oid: Oid = col("d.oid"),
        relation: Oid = col("d.adrelid"),
        column: i16 = col("d.adnum"),
        expression: ServerSql = col("pg_catalog.pg_get_expr(d.adbin, d.adrelid)"),
    }
}

catalog_row! {
    /// `pg_constraint`: raw columns of every constraint; the definition text is the constraint kinds' own.
    pub struct ConstraintRow from "pg_catalog.pg_constraint c" where "c.oid >= 16384" order "c.conrelid, c.conname" {
        oid: Oid = col("c.oid"),
        name: String = col("c.conname"),
        schema: Oid = col("c.connamespace"),
        /// c check, f foreign key, n not null, p primary, u unique, t trigger, x exclusion.
        kind: Letter = col("c.contype"),
        relation: Oid = col("c.conrelid"),
        domain: Oid = col("c.contypid"),
        index: Oid = col("c.conindid"),
        parent: Oid = col("c.conparentid"),
        ref_relation: Oid = col("c.confrelid"),
        deferrable: bool = col("c.condeferrable"),
        deferred: bool = col("c.condeferred"),
        validated: bool = col("c.convalidated"),
        enforced: bool = since(V18, "c.conenforced", "true"),
        local: bool = col("c.conislocal"),
        n_inherited: i32 = col("c.coninhcount::pg_catalog.int4"),
        no_inherit: bool = col("c.connoinherit"),
        period: bool = since(V18, "c.conperiod", "false"),
        columns: Option<Vec<i16>> = col("c.conkey"),
        ref_columns: Option<Vec<i16>> = col("c.confkey"),
        set_columns: Option<Vec<i16>> = since(V15, "c.confdelsetcols", "NULL::pg_catalog.int2[]"),
    }
}

/// Facts of the connected database and server.
#[derive(Debug, Clone, Default)]
pub struct DatabaseFacts {
    /// The connected database.
    pub name: String,
    /// The role that dumps.
    pub user: String,
    /// True if it is a superuser.
    pub superuser: bool,
    /// True on a hot standby.
    pub standby: bool,
}

/// Bulk facts with their indexes.
#[derive(Debug, Default)]
pub struct Core {
    /// The database.
    pub database: DatabaseFacts,
    /// Schemas by OID.
    pub schemas: HashMap<Oid, NamespaceRow>,
    /// Relations by OID, indexes and composite types included.
    pub relations: HashMap<Oid, RelationRow>,
    /// Role names by OID.
    pub roles: HashMap<Oid, String>,
    /// Dependencies among users' objects.
    pub depends: Vec<DependRow>,
    /// The extension that an object belongs to.
    pub members: HashMap<CatalogId, Oid>,
    /// Extension names by OID.
    pub extensions: HashMap<Oid, String>,
    /// Relations whose rows an extension registered as configuration.
    pub config_tables: HashSet<Oid>,
    /// Tables whose rows must be loaded in order (BRIN index or CLUSTER mark).
    pub keep_order: HashSet<Oid>,
    /// Partitioned tables that hash an enum.
    pub enum_hash_roots: HashSet<Oid>,
    /// Partitioned tables in which a collation decides where a row belongs.
    pub collated_roots: HashSet<Oid>,
    /// Comments by object.
    pub comments: HashMap<CatalogId, Vec<CommentRow>>,
    /// Security labels by object.
    pub labels: HashMap<CatalogId, Vec<LabelRow>>,
    /// Privileges that differ from their base, by object and column (0 for the object).
    pub acls: BTreeMap<(CatalogId, i32), ObjectAcl>,
    /// Names of the columns that have privileges of their own, by relation and number.
    pub acl_columns: HashMap<(Oid, i32), String>,
    /// Parents of a relation, in order.
    pub parents: HashMap<Oid, Vec<InheritsRow>>,
    /// Children of a relation, in OID order.
    pub children: HashMap<Oid, Vec<Oid>>,
    /// Columns of the wanted relations and their parents.
    pub columns: HashMap<Oid, Vec<ColumnRow>>,
    /// Defaults and generation expressions of the same, by relation.
    pub defaults: HashMap<Oid, Vec<DefaultRow>>,
    /// Constraints by relation.
    pub constraints: HashMap<Oid, Vec<ConstraintRow>>,
    /// Things that the server made along with objects and that somebody said something about.
    pub dependents: Vec<DependentRow>,
    /// Planner statistics by relation, indexes included, if they are wanted.
    pub planner_statistics: HashMap<Oid, RelationStatistics>,
    /// Constraints by domain.
    pub domain_constraints: HashMap<Oid, Vec<ConstraintRow>>,
}

impl Core {
    /// A relation's name, quoted on its way into SQL. Relations outside the index (the system's own) have no business there.
    pub fn relation(&self, oid: Oid) -> QualifiedName {
        match self.relations.get(&oid) {
            Some(row) => self.qualified(row.schema, &row.name),
            None => QualifiedName::bare(format!("relation {oid}")),
        }
    }

    /// A name in a schema.
    pub fn qualified(&self, schema: Oid, name: &str) -> QualifiedName {
        QualifiedName {
            schema: Some(Ident::new(self.schema_name(schema))),
            name: Ident::new(name),
        }
    }

    /// A schema's name.
    pub fn schema_name(&self, oid: Oid) -> String {
        self.schemas
            .get(&oid)
            .map_or_else(|| format!("schema {oid}"), |row| row.name.clone())
    }

    /// A role by OID. A role that was dropped is named by its number, as the server's own functions do.
    pub fn role(&self, oid: Oid) -> Role {
        Role(
            self.roles
                .get(&oid)
                .cloned()
                .unwrap_or_else(|| format!("unknown (OID={oid})")),
        )
    }

    /// A role by OID, or everybody for 0.
    pub fn grantee(&self, oid: Oid) -> Grantee {
        if oid == 0 {
            Grantee::Public
        } else {
            Grantee::Role(self.role(oid))
        }
    }

    /// The entry name of something in a schema.
    pub fn name_in(&self, schema: Oid, name: &str) -> EntryName {
        EntryName {
            schema: Some(self.schema_name(schema)),
            relation: None,
            name: name.to_owned(),
        }
    }

    /// The entry name of something on a relation.
    pub fn name_on(&self, relation: Oid, name: &str) -> EntryName {
        let row = self.relations.get(&relation);
        EntryName {
            schema: row.map(|row| self.schema_name(row.schema)),
            relation: row.map(|row| row.name.clone()),
            name: name.to_owned(),
        }
    }

    /// The columns of a wanted relation, in number order.
    pub fn columns_of(&self, relation: Oid) -> &[ColumnRow] {
        self.columns.get(&relation).map_or(&[], Vec::as_slice)
    }

    /// A column's name by its number.
    pub fn column_name(&self, relation: Oid, number: i16) -> Option<Ident> {
        let columns = self.columns_of(relation);
        columns
            .iter()
            .find(|column| column.number == number)
            .map(|column| Ident::new(&*column.name))
    }

    /// The default or generation expression of a column.
    pub fn default_of(&self, relation: Oid, column: i16) -> Option<&DefaultRow> {
        self.defaults
            .get(&relation)?
            .iter()
            .find(|default| default.column == column)
    }

    /// The constraints of a relation, by name.
    pub fn constraints_of(&self, relation: Oid) -> &[ConstraintRow] {
        self.constraints.get(&relation).map_or(&[], Vec::as_slice)
    }

    /// All descendants of a relation by inheritance or partitioning, without itself, each once.
    pub fn descendants(&self, relation: Oid) -> Vec<Oid> {
        let mut found = Vec::new();
        let mut open = vec![relation];
        let mut seen = HashSet::from([relation]);
        while let Some(parent) = open.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                if seen.insert(*child) {
                    found.push(*child);
                    open.push(*child);
                }
            }
        }
        found
    }

    /// All ancestors of a relation by inheritance or partitioning, without itself, each once.
    pub fn ancestors(&self, relation: Oid) -> Vec<Oid> {
        let mut found: Vec<Oid> = Vec::new();
        let mut open = vec![relation];
        while let Some(child) = open.pop() {
            for link in self.parents.get(&child).into_iter().flatten() {
                if !found.contains(&link.parent) {
                    found.push(link.parent);
                    open.push(link.parent);
                }
            }
        }
        found
    }

    /// The topmost partitioned ancestor of a partition; itself if it is none.
    pub fn partition_root(&self, relation: Oid) -> Oid {
        let mut root = relation;
        while self
            .relations
            .get(&root)
            .is_some_and(|row| row.is_partition)
        {
            match self.parents.get(&root).and_then(|parents| parents.first()) {
                Some(parent) => root = parent.parent,
                None => break,
            }
        }
        root
    }

    /// Dependencies of one object on users' objects, for kinds that must look at them while they are built.
    pub fn depends_of(&self, id: CatalogId) -> impl Iterator<Item = &DependRow> {
        // Sorted by the loader, so a range is found by bisection.
        let start = self
            .depends
            .partition_point(|row| (row.class, row.oid) < (id.class, id.oid));
        self.depends[start..]
            .iter()
            .take_while(move |row| (row.class, row.oid) == (id.class, id.oid))
    }

    /// True if the object or one of its columns has privileges that differ from their base.
    pub fn has_acl(&self, id: CatalogId) -> bool {
        self.acls
            .range((id, i32::MIN)..=(id, i32::MAX))
            .next()
            .is_some()
    }

    /// True if the object belongs to an extension.
    pub fn is_member(&self, id: CatalogId) -> bool {
        self.members.contains_key(&id)
    }
}
