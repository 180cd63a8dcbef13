//! The list of relations, as selection needs it: taken before the tables are locked and again in the snapshot.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::{Error, Result};
use crate::kinds::row::{CatalogRow, Letter, Oid, catalog_row};
use crate::pg::session::Session;
use crate::sql::QualifiedName;

catalog_row! {
    /// Relations that can be selected: tables, partitioned tables, views, materialized views, sequences, foreign tables.
    pub struct ListedRow from
        "pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_depend e ON e.classid = 1259 AND e.objid = c.oid AND e.objsubid = 0 \
              AND e.deptype = 'e' \
         LEFT JOIN pg_catalog.pg_depend o ON c.relkind = 'S' AND o.classid = 1259 AND o.objid = c.oid \
              AND o.objsubid = 0 AND o.refclassid = 1259 AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')"
        where "c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' \
               AND n.nspname <> 'information_schema'"
        order "c.oid" {
        oid: Oid = col("c.oid"),
        schema_oid: Oid = col("n.oid"),
        schema: String = col("n.nspname"),
        name: String = col("c.relname"),
        kind: Letter = col("c.relkind"),
        unlogged: bool = col("c.relpersistence = 'u'"),
        extension: Option<Oid> = col("e.refobjid"),
        /// An extension has registered its rows as configuration.
        config: bool = col(
            "EXISTS (SELECT 1 FROM pg_catalog.pg_extension x WHERE x.oid = e.refobjid AND c.oid = ANY (x.extconfig))"
        ),
        /// For a sequence: the table that owns it, by SERIAL, OWNED BY or identity.
        owner_table: Option<Oid> = col("o.refobjid"),
        identity: bool = col("o.deptype IS NOT DISTINCT FROM 'i'"),
        /// What it inherits from, or is a partition of.
        parents: Vec<Oid> = col(
            "ARRAY(SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)"
        ),
        /// The foreign server of a foreign table.
        server: Option<String> = col(
            "(SELECT s.srvname FROM pg_catalog.pg_foreign_table f \
              JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid)"
        ),
    }
}

catalog_row! {
    /// Extensions, those that initdb made included.
    pub struct ListedExtension from "pg_catalog.pg_extension e" order "e.oid" {
        oid: Oid = col("e.oid"),
        name: String = col("e.extname"),
    }
}

catalog_row! {
    /// Foreign servers.
    pub struct ListedServer from "pg_catalog.pg_foreign_server s" order "s.srvname" {
        name: String = col("s.srvname"),
    }
}

catalog_row! {
    /// Schemas.
    pub struct ListedSchema from "pg_catalog.pg_namespace n" order "n.oid" {
        oid: Oid = col("n.oid"),
        name: String = col("n.nspname"),
        extension: Option<Oid> = col(
            "(SELECT e.refobjid FROM pg_catalog.pg_depend e WHERE e.classid = 2615 AND e.objid = n.oid \
              AND e.deptype = 'e')"
        ),
    }
}

/// Relations and schemas at one moment, and the user's search path.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The connected database.
    pub database: String,
    /// Relations by OID.
    pub relations: BTreeMap<Oid, ListedRow>,
    /// Schemas by OID.
    pub schemas: BTreeMap<Oid, ListedSchema>,
    /// Extensions by OID.
    pub extensions: BTreeMap<Oid, ListedExtension>,
    /// Foreign servers by name.
    pub servers: Vec<String>,
    /// The schemas of the user's own search path, in order; patterns without a schema look there.
    pub search_path: Vec<String>,
}

async fn rows<R: CatalogRow>(session: &Session, what: &str) -> Result<Vec<R>> {
    let rows = session
        .query(what, &R::query(session.version()), &[])
        .await?;
    let read = |row| R::from_row(row).map_err(Error::sql(what, "reading"));
    rows.iter().map(read).collect()
}

impl Listing {
    /// Reads the list: a fixed number of queries.
    pub async fn read(
        session: &Session,
        database: &str,
        search_path: &[String],
    ) -> Result<Listing> {
        let relations = rows::<ListedRow>(session, "the list of relations").await?;
        let schemas = rows::<ListedSchema>(session, "the list of schemas").await?;
        let extensions = rows::<ListedExtension>(session, "the list of extensions").await?;
        let servers = rows::<ListedServer>(session, "the list of foreign servers").await?;
        Ok(Listing {
            database: database.to_owned(),
            relations: relations.into_iter().map(|row| (row.oid, row)).collect(),
            schemas: schemas.into_iter().map(|row| (row.oid, row)).collect(),
            extensions: extensions.into_iter().map(|row| (row.oid, row)).collect(),
            servers: servers.into_iter().map(|row| row.name).collect(),
            search_path: search_path.to_vec(),
        })
    }

    /// The relations and everything that inherits from them or is a partition of them, at any depth.
    pub fn with_descendants(&self, relations: &BTreeSet<Oid>) -> BTreeSet<Oid> {
        let mut children: HashMap<Oid, Vec<Oid>> = HashMap::new();
        for row in self.relations.values() {
            for parent in &row.parents {
                children.entry(*parent).or_default().push(row.oid);
            }
        }
        let mut all = relations.clone();
        let mut open: Vec<Oid> = all.iter().copied().collect();
        while let Some(parent) = open.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                if all.insert(*child) {
                    open.push(*child);
                }
            }
        }
        all
    }

    /// True if an unqualified name would find the relation: its schema is in the path, and no earlier one hides it.
    pub fn is_visible(&self, relation: &ListedRow, by_name: &NameIndex<'_>) -> bool {
        let Some(position) = self
            .search_path
            .iter()
            .position(|schema| *schema == relation.schema)
        else {
            return false;
        };
        !self.search_path[..position]
            .iter()
            .any(|schema| by_name.contains(&(schema, &relation.name)))
    }

    /// Schema and name of every relation, for [`Listing::is_visible`].
    pub fn name_index(&self) -> NameIndex<'_> {
        self.relations
            .values()
            .map(|row| (row.schema.as_str(), row.name.as_str()))
            .collect()
    }
}

/// Schema and name pairs.
pub type NameIndex<'a> = std::collections::HashSet<(&'a str, &'a str)>;

impl ListedRow {
    /// The name, to be quoted.
    pub fn qualified(&self) -> QualifiedName {
        QualifiedName::new(&*self.schema, &*self.name)
    }
}
