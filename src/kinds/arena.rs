//! Identities, the loaded catalog, and the contexts in which kinds are built and rendered.

use std::collections::{BTreeMap, HashMap};

use super::Object;
use super::core::Core;
use super::row::Oid;
use crate::pg::version::ServerVersion;
use crate::toc::PartSet;

/// An object's identity on the server: the catalog's OID and the row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogId {
    /// The catalog: `pg_class` is 1259.
    pub class: Oid,
    /// The row.
    pub oid: Oid,
}

impl CatalogId {
    /// A row of `class`.
    pub const fn new(class: Oid, oid: Oid) -> CatalogId {
        CatalogId { class, oid }
    }

    /// A row of `pg_class`.
    pub const fn relation(oid: Oid) -> CatalogId {
        CatalogId {
            class: class::RELATION,
            oid,
        }
    }

    /// A row of `pg_type`.
    pub const fn ty(oid: Oid) -> CatalogId {
        CatalogId {
            class: class::TYPE,
            oid,
        }
    }
}

/// OIDs of the catalogs themselves; fixed since they were introduced (`pg_*.h`).
#[allow(missing_docs)]
pub mod class {
    use super::Oid;
    pub const RELATION: Oid = 1259;
    pub const PROC: Oid = 1255;
    pub const TYPE: Oid = 1247;
    pub const ATTRDEF: Oid = 2604;
    pub const CONSTRAINT: Oid = 2606;
    pub const OPERATOR: Oid = 2617;
    pub const OPCLASS: Oid = 2616;
    pub const OPFAMILY: Oid = 2753;
    pub const AM: Oid = 2601;
    pub const AMOP: Oid = 2602;
    pub const AMPROC: Oid = 2603;
    pub const LANGUAGE: Oid = 2612;
    pub const LARGE_OBJECT: Oid = 2613;
    pub const LARGE_OBJECT_METADATA: Oid = 2995;
    pub const REWRITE: Oid = 2618;
    pub const TRIGGER: Oid = 2620;
    pub const NAMESPACE: Oid = 2615;
    pub const CAST: Oid = 2605;
    pub const CONVERSION: Oid = 2607;
    pub const COLLATION: Oid = 3456;
    pub const EXTENSION: Oid = 3079;
    pub const FOREIGN_DATA_WRAPPER: Oid = 2328;
    pub const FOREIGN_SERVER: Oid = 1417;
    pub const USER_MAPPING: Oid = 1418;
    pub const EVENT_TRIGGER: Oid = 3466;
    pub const POLICY: Oid = 3256;
    pub const DEFAULT_ACL: Oid = 826;
    pub const TS_DICT: Oid = 3600;
    pub const TS_PARSER: Oid = 3601;
    pub const TS_CONFIG: Oid = 3602;
    pub const TS_TEMPLATE: Oid = 3764;
    pub const STATISTIC_EXT: Oid = 3381;
    pub const TRANSFORM: Oid = 3576;
    pub const PUBLICATION: Oid = 6104;
    pub const PUBLICATION_REL: Oid = 6106;
    pub const PUBLICATION_NAMESPACE: Oid = 6237;
    pub const SUBSCRIPTION: Oid = 6100;
    pub const DATABASE: Oid = 1262;
}

/// Whose a catalog row is, which decides whether and how it is dumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The row's identity.
    pub id: CatalogId,
    /// What its parts follow.
    pub follows: Follows,
}

/// What an object's parts follow, unless it belongs to an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// A relation that selection decided on by itself (tables, views, sequences).
    Itself,
    /// The relation it hangs on (indexes, constraints, triggers, rules, policies, defaults).
    Relation(Oid),
    /// Its schema.
    Schema(Oid),
    /// Nothing: dumped with the whole database only (casts, extensions, publications).
    Database,
}

/// The loaded catalog: bulk facts, and every object that has at least one wanted part.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Facts read in bulk for all kinds.
    pub core: Core,
    /// The objects in load order.
    pub objects: Vec<Object>,
    /// The wanted parts of each object, by identity.
    pub parts: HashMap<CatalogId, PartSet>,
    by_id: HashMap<CatalogId, usize>,
}

impl Catalog {
    /// A catalog without objects.
    pub fn new(core: Core) -> Catalog {
        Catalog {
            core,
            ..Catalog::default()
        }
    }

    /// Adds an object with its wanted parts.
    pub fn push(&mut self, object: Object, parts: PartSet) {
        let id = object.ddl().id();
        self.parts.insert(id, parts);
        self.by_id.insert(id, self.objects.len());
        self.objects.push(object);
    }

    /// The object with an identity, if it is in the dump.
    pub fn get(&self, id: CatalogId) -> Option<&Object> {
        self.by_id.get(&id).map(|index| &self.objects[*index])
    }

    /// The wanted parts of an object; none if it is not in the dump.
    pub fn parts_of(&self, id: CatalogId) -> PartSet {
        self.parts.get(&id).copied().unwrap_or(PartSet::NONE)
    }
}

/// What `ObjectKind::build` may look at.
#[derive(Debug, Clone, Copy)]
pub struct LoadCx<'a> {
    /// Facts read in bulk.
    pub core: &'a Core,
    /// The wanted parts of relations, decided when the tables were locked.
    pub relations: &'a BTreeMap<Oid, PartSet>,
    /// The source server.
    pub server: ServerVersion,
}

/// What rendering may look at.
#[derive(Debug, Clone, Copy)]
pub struct RenderCx<'a> {
    /// The loaded catalog.
    pub catalog: &'a Catalog,
    /// The source server.
    pub server: ServerVersion,
}

impl<'a> RenderCx<'a> {
    /// Bulk facts.
    pub fn core(&self) -> &'a Core {
        &self.catalog.core
    }
}
