//! What a dump wants of the catalog, decided from a [`Listing`](super::listing::Listing): plain data between selection and loader.

use std::collections::{BTreeMap, BTreeSet};

use crate::kinds::arena::{CatalogId, Follows, Subject, class};
use crate::kinds::core::{Core, FIRST_NORMAL_OID};
use crate::kinds::row::Oid;
use crate::toc::{Part, PartSet};

/// The decision.
#[derive(Debug, Clone, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a kind of thing that is wanted or not, in any combination"
)]
pub struct Wanted {
    /// Parts of each wanted relation.
    pub relations: BTreeMap<Oid, PartSet>,
    /// Schemas that are wanted themselves.
    pub schemas: BTreeSet<Oid>,
    /// Schemas whose contents (types, functions, …) are wanted.
    pub contents_of: BTreeSet<Oid>,
    /// True if nothing was named, so that what lives in no schema is wanted too.
    pub everything: bool,
    /// Extensions whose configuration rows are wanted though their tables are members.
    pub extension_rows: bool,
    /// True if large objects are wanted.
    pub large_objects: bool,
    /// The parts that options allow at all.
    pub mask: PartSet,
    /// Tables whose rows are wanted.
    pub rows: BTreeSet<Oid>,
    /// True if the values of wanted sequences are wanted.
    pub values: bool,
    /// Tables that are not locked although their definition is wanted: the role may not, and no rows are read.
    pub unlocked: BTreeSet<Oid>,
    /// Objects that are left out whatever else says that they are wanted.
    pub left_out: BTreeSet<CatalogId>,
}

impl Wanted {
    /// The parts wanted of a row; none if it is not dumped at all.
    pub fn parts(&self, subject: &Subject, core: &Core) -> PartSet {
        let id = subject.id;
        if self.left_out.contains(&id) {
            return PartSet::NONE;
        }
        let acl_only = if core.has_acl(id) {
            PartSet::NONE.with(Part::Acl)
        } else {
            PartSet::NONE
        };
        if core.is_member(id) {
            return (if self.in_sight(subject, core) {
                acl_only
            } else {
                PartSet::NONE
            })
            .and(self.mask);
        }
        let parts = match subject.follows {
            Follows::Itself => match self.relations.get(&id.oid) {
                Some(parts) => *parts,
                None if self.everything && is_in_pg_catalog(id.oid, core) => acl_only,
                None => PartSet::NONE,
            },
            Follows::Relation(relation) => {
                let wanted = self
                    .relations
                    .get(&relation)
                    .is_some_and(|parts| parts.has(Part::Define));
                if wanted && !core.is_member(CatalogId::relation(relation)) {
                    PartSet::ALL
                } else {
                    PartSet::NONE
                }
            }
            Follows::Schema(schema) => self.parts_in_schema(subject, schema, core, acl_only),
            Follows::Database if !self.everything => PartSet::NONE,
            // Before the next line: `lo_create` takes any OID, so a low one says nothing.
            Follows::Database if id.class == class::LARGE_OBJECT_METADATA => {
                if self.large_objects {
                    PartSet::ALL
                } else {
                    PartSet::NONE
                }
            }
            Follows::Database if id.oid < FIRST_NORMAL_OID => acl_only,
            Follows::Database => PartSet::ALL,
        };
        parts.and(self.mask)
    }

    fn parts_in_schema(
        &self,
        subject: &Subject,
        schema: Oid,
        core: &Core,
        acl_only: PartSet,
    ) -> PartSet {
        let is_schema = subject.id.class == class::NAMESPACE;
        let name = core.schema_name(schema);
        if name == "pg_catalog" {
            return if self.everything {
                acl_only
            } else {
                PartSet::NONE
            };
        }
        if name == "information_schema" || name.starts_with("pg_") {
            return PartSet::NONE;
        }
        let wanted = if is_schema {
            &self.schemas
        } else {
            &self.contents_of
        };
        if wanted.contains(&schema) {
            PartSet::ALL
        } else {
            PartSet::NONE
        }
    }

    /// Extension members give their privileges along with what contains them.
    fn in_sight(&self, subject: &Subject, core: &Core) -> bool {
        match subject.follows {
            Follows::Itself => {
                let schema = core.relations.get(&subject.id.oid).map(|row| row.schema);
                self.everything || schema.is_some_and(|schema| self.contents_of.contains(&schema))
            }
            Follows::Schema(schema) => self.everything || self.contents_of.contains(&schema),
            Follows::Relation(_) => false,
            Follows::Database => self.everything,
        }
    }
}

/// Initdb's own relations whose privileges count. Those of `information_schema` never do: servers disagree about them.
fn is_in_pg_catalog(relation: Oid, core: &Core) -> bool {
    let row = core.relations.get(&relation);
    relation < FIRST_NORMAL_OID
        && row.is_some_and(|row| core.schema_name(row.schema) == "pg_catalog")
}
