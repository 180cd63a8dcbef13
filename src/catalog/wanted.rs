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
    reason = "each is a thing that is wanted or not, in any combination"
)]
pub struct Wanted {
    /// Parts of each wanted relation.
    pub relations: BTreeMap<Oid, PartSet>,
    /// Relations that the user left out by name: not even a need brings them.
    pub excluded: BTreeSet<Oid>,
    /// Schemas that are wanted themselves.
    pub schemas: BTreeSet<Oid>,
    /// Schemas whose contents (types, functions, …) are wanted.
    pub contents_of: BTreeSet<Oid>,
    /// True if nothing was named, so that what lives in no schema is wanted too.
    pub everything: bool,
    /// Extensions that are wanted, with the privileges of their members and their configuration rows.
    pub extensions: BTreeSet<Oid>,
    /// Objects that are wanted because others need them; relations, schemas and extensions stand in their own sets.
    pub needed: BTreeSet<CatalogId>,
    /// True if planner statistics are wanted.
    pub planner_statistics: bool,
    /// True if large objects are wanted.
    pub large_objects: bool,
    /// The parts that options allow at all.
    pub mask: PartSet,
    /// Tables whose rows are wanted, sequences whose values are, materialized views that are filled.
    pub rows: BTreeSet<Oid>,
    /// The user's conditions on the rows of some of them.
    pub conditions: BTreeMap<Oid, String>,
    /// True if tables are created without the compression methods of their columns.
    pub without_compression: bool,
    /// What the user should know of the options.
    pub warnings: Vec<String>,
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
        if let Some(extension) = core.members.get(&id) {
            // Members give their privileges along with the extension that contains them.
            let with_extension = self.extensions.contains(extension)
                && !matches!(subject.follows, Follows::Relation(_));
            return if with_extension {
                acl_only.and(self.mask)
            } else {
                PartSet::NONE
            };
        }
        if self.needed.contains(&id) {
            return self.mask;
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
                all_if(wanted && !core.is_member(CatalogId::relation(relation)))
            }
            Follows::Schema(schema) => self.parts_in_schema(subject, schema, core, acl_only),
            Follows::Database if id.class == class::LARGE_OBJECT_METADATA => {
                // Before OIDs are looked at: `lo_create` takes any, so a low one says nothing.
                all_if(self.large_objects)
            }
            Follows::Database if id.class == class::EXTENSION => {
                all_if(self.extensions.contains(&id.oid))
            }
            Follows::Database if !self.everything => PartSet::NONE,
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
        all_if(wanted.contains(&schema))
    }
}

fn all_if(wanted: bool) -> PartSet {
    if wanted { PartSet::ALL } else { PartSet::NONE }
}

/// Initdb's own relations whose privileges count. Those of `information_schema` never do: servers disagree about them.
fn is_in_pg_catalog(relation: Oid, core: &Core) -> bool {
    let row = core.relations.get(&relation);
    relation < FIRST_NORMAL_OID
        && row.is_some_and(|row| core.schema_name(row.schema) == "pg_catalog")
}
