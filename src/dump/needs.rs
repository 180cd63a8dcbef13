//! What chosen objects need of others: the closure over the catalog's dependencies, for `--with-needs`. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::catalog::wanted::Wanted;
use crate::kinds::arena::{Catalog, CatalogId, RenderCx, class};
use crate::kinds::core::{DependRow, FIRST_NORMAL_OID};
use crate::toc::Part;

/// Objects that were not chosen, each with the one that needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needed(BTreeMap<CatalogId, CatalogId>);

impl Needed {
    /// The objects.
    pub(super) fn objects(&self) -> impl Iterator<Item = CatalogId> {
        self.0.keys().copied()
    }

    /// The objects, each with the one that needs it.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (CatalogId, CatalogId)> {
        self.0
            .iter()
            .map(|(object, needed_by)| (*object, *needed_by))
    }

    /// Adds what another reading found; false if that was nothing new.
    pub(super) fn extend(&mut self, more: Needed) -> bool {
        let before = self.0.len();
        for (object, needed_by) in more.0 {
            self.0.entry(object).or_insert(needed_by);
        }
        self.0.len() > before
    }
}

/// What the loaded objects need, at any depth, and the dump does not have.
pub(super) fn missing(cx: RenderCx<'_>, wanted: &Wanted) -> Needed {
    let mut search = Search::new(cx.catalog, wanted);
    for object in &cx.catalog.objects {
        let ddl = object.ddl();
        let id = ddl.id();
        if !cx.catalog.parts_of(id).has(Part::Define) {
            continue;
        }
        let needs = std::iter::once(id)
            .chain(ddl.absorbs())
            .chain(ddl.hidden_needs(&cx));
        search.open.extend(needs.map(|need| (need, id)));
    }
    search.run()
}

struct Search<'a> {
    catalog: &'a Catalog,
    wanted: &'a Wanted,
    /// What is internal to another object: row types, the index of a key, the rule of a view, the columns of a composite type.
    part_of: HashMap<CatalogId, CatalogId>,
    /// What hangs on an object and comes with it.
    hanging: HashMap<CatalogId, Vec<CatalogId>>,
    seen: BTreeSet<CatalogId>,
    open: VecDeque<(CatalogId, CatalogId)>,
    found: Needed,
}

/// Catalogs of objects that are dumped with what they hang on.
fn hangs(class: u32) -> bool {
    matches!(
        class,
        class::CONSTRAINT
            | class::TRIGGER
            | class::ATTRDEF
            | class::REWRITE
            | class::POLICY
            | class::STATISTIC_EXT
    )
}

impl<'a> Search<'a> {
    fn new(catalog: &'a Catalog, wanted: &'a Wanted) -> Search<'a> {
        let mut part_of = HashMap::new();
        let mut hanging: HashMap<CatalogId, Vec<CatalogId>> = HashMap::new();
        for row in &catalog.core.depends {
            let (from, to) = ends(row);
            if row.kind == 'i' {
                part_of.insert(from, to);
            }
            let comes_along = hangs(row.class) || is_index(catalog, from);
            if row.kind == 'i' || matches!(row.kind.0, 'a' | 'S') && comes_along {
                hanging.entry(to).or_default().push(from);
            }
        }
        Search {
            catalog,
            wanted,
            part_of,
            hanging,
            seen: BTreeSet::new(),
            open: VecDeque::new(),
            found: Needed::default(),
        }
    }

    /// A partition can stand without its parent, a sequence without the column that owns it.
    fn is_loose(&self, row: &DependRow) -> bool {
        let (from, to) = ends(row);
        let between_relations = from.class == class::RELATION && to.class == class::RELATION;
        let leans = between_relations && row.kind == 'a' && !is_index(self.catalog, from);
        leans || matches!(row.kind.0, 'P' | 'x')
    }

    fn run(mut self) -> Needed {
        while let Some((id, needed_by)) = self.open.pop_front() {
            if id.oid < FIRST_NORMAL_OID || !self.seen.insert(id) {
                continue;
            }
            if let Some(extension) = self.catalog.core.members.get(&id) {
                let whole = CatalogId::new(class::EXTENSION, *extension);
                self.open.push_back((whole, needed_by));
                continue;
            }
            if id.class == class::RELATION && self.wanted.excluded.contains(&id.oid) {
                continue;
            }
            let cause = if self.is_missing(id) {
                self.found.0.insert(id, needed_by);
                id
            } else {
                needed_by
            };
            // Parts lead to the whole, the whole to its parts, and all of them to what they depend on.
            self.open
                .extend(self.part_of.get(&id).map(|whole| (*whole, cause)));
            let hanging = self.hanging.get(&id).into_iter().flatten();
            self.open.extend(hanging.map(|part| (*part, cause)));
            let depends = self.catalog.core.depends_of(id);
            let tight = depends.filter(|row| !self.is_loose(row));
            let needs: Vec<CatalogId> = tight.map(|row| ends(row).1).collect();
            self.open
                .extend(needs.into_iter().map(|need| (need, cause)));
        }
        self.found
    }

    /// True if the row is an object that is dumped by itself, and not yet in the dump.
    fn is_missing(&self, id: CatalogId) -> bool {
        let is_part = self.part_of.contains_key(&id) || is_index(self.catalog, id);
        let follows = hangs(id.class) && !self.is_of_domain(id);
        !is_part && !follows && !self.catalog.parts_of(id).has(Part::Define)
    }

    /// A domain's constraint follows no relation, so it must be named.
    fn is_of_domain(&self, id: CatalogId) -> bool {
        let mut constraints = self.catalog.core.domain_constraints.values().flatten();
        id.class == class::CONSTRAINT && constraints.any(|row| row.oid == id.oid)
    }
}

fn is_index(catalog: &Catalog, id: CatalogId) -> bool {
    let row = catalog.core.relations.get(&id.oid);
    id.class == class::RELATION && row.is_some_and(|row| matches!(row.kind.0, 'i' | 'I'))
}

fn ends(row: &DependRow) -> (CatalogId, CatalogId) {
    let from = CatalogId::new(row.class, row.oid);
    (from, CatalogId::new(row.ref_class, row.ref_oid))
}
