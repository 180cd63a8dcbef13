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

    /// True if any object is not among the others.
    pub(super) fn has_more_than(&self, other: &Needed) -> bool {
        self.0.keys().any(|object| !other.0.contains_key(object))
    }

    /// Adds what another reading found.
    pub(super) fn extend(&mut self, more: Needed) {
        for (object, needed_by) in more.0 {
            self.0.entry(object).or_insert(needed_by);
        }
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
            // A partitioned table's key columns are internal to the table itself.
            if from == to {
                continue;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::core::{Core, RelationRow};
    use crate::kinds::row::Letter;

    const TABLE: CatalogId = CatalogId::relation(20_001);
    const REFERENCED: CatalogId = CatalogId::relation(20_002);
    const PARENT: CatalogId = CatalogId::relation(20_003);
    const SEQUENCE: CatalogId = CatalogId::relation(20_004);
    const INDEX: CatalogId = CatalogId::relation(20_005);
    const VIEW: CatalogId = CatalogId::relation(20_006);
    const ROW_TYPE: CatalogId = CatalogId::ty(20_010);
    const ENUM: CatalogId = CatalogId::ty(20_011);
    const MEMBER: CatalogId = CatalogId::ty(20_012);
    const FUNCTION: CatalogId = CatalogId::new(class::PROC, 20_020);
    const FOREIGN_KEY: CatalogId = CatalogId::new(class::CONSTRAINT, 20_030);
    const KEY: CatalogId = CatalogId::new(class::CONSTRAINT, 20_031);
    const TRIGGER: CatalogId = CatalogId::new(class::TRIGGER, 20_040);
    const RULE: CatalogId = CatalogId::new(class::REWRITE, 20_041);
    const EXTENSION: CatalogId = CatalogId::new(class::EXTENSION, 20_050);
    const SCHEMA: CatalogId = CatalogId::new(class::NAMESPACE, 20_060);

    /// As the server records it: a table with a foreign key, a trigger and columns of two types; it is a partition, owns a
    /// sequence, and has a view on it.
    const DEPENDS: &[(CatalogId, CatalogId, char)] = &[
        (TABLE, SCHEMA, 'n'),
        (TABLE, PARENT, 'a'),
        (TABLE, ENUM, 'n'),
        (TABLE, MEMBER, 'n'),
        (ROW_TYPE, TABLE, 'i'),
        (SEQUENCE, TABLE, 'a'),
        (FOREIGN_KEY, TABLE, 'a'),
        (FOREIGN_KEY, REFERENCED, 'n'),
        (REFERENCED, REFERENCED, 'i'),
        (FOREIGN_KEY, INDEX, 'n'),
        (INDEX, KEY, 'i'),
        (KEY, REFERENCED, 'a'),
        (TRIGGER, TABLE, 'a'),
        (TRIGGER, FUNCTION, 'n'),
        (RULE, VIEW, 'i'),
        (RULE, TABLE, 'n'),
    ];

    fn catalog() -> Catalog {
        let mut core = Core::default();
        let row = |(from, to, kind): &(CatalogId, CatalogId, char)| DependRow {
            class: from.class,
            oid: from.oid,
            column: 0,
            ref_class: to.class,
            ref_oid: to.oid,
            ref_column: 0,
            kind: Letter(*kind),
        };
        core.depends = DEPENDS.iter().map(row).collect();
        core.depends.sort_by_key(|row| (row.class, row.oid));
        core.members.insert(MEMBER, EXTENSION.oid);
        let kinds = [
            (TABLE, 'r'),
            (REFERENCED, 'r'),
            (PARENT, 'p'),
            (SEQUENCE, 'S'),
            (INDEX, 'i'),
            (VIEW, 'v'),
        ];
        for (id, kind) in kinds {
            let row = RelationRow {
                oid: id.oid,
                name: String::new(),
                schema: 0,
                kind: Letter(kind),
                owner: 0,
                row_type: 0,
                is_partition: false,
            };
            core.relations.insert(id.oid, row);
        }
        Catalog::new(core)
    }

    fn needs(of: CatalogId, excluded: &[CatalogId]) -> BTreeSet<CatalogId> {
        let catalog = catalog();
        let wanted = Wanted {
            excluded: excluded.iter().map(|id| id.oid).collect(),
            ..Wanted::default()
        };
        let mut search = Search::new(&catalog, &wanted);
        search.open.push_back((of, of));
        search.run().objects().collect()
    }

    #[test]
    fn a_table_needs_what_it_and_what_hangs_on_it_refer_to() {
        let table = BTreeSet::from([TABLE, SCHEMA, ENUM, EXTENSION, REFERENCED, FUNCTION]);
        assert_eq!(needs(TABLE, &[]), table);
        assert_eq!(needs(ROW_TYPE, &[]), table, "a row type is its table");
        let mut view = table.clone();
        view.insert(VIEW);
        assert_eq!(needs(VIEW, &[]), view, "a view is what its rule says");
    }

    #[test]
    fn what_can_stand_alone_and_what_is_left_out_by_name_bring_nothing() {
        assert_eq!(needs(SEQUENCE, &[]), BTreeSet::from([SEQUENCE]));
        let without = needs(TABLE, &[REFERENCED]);
        assert!(!without.contains(&REFERENCED) && without.contains(&ENUM));
    }

    #[test]
    fn only_new_objects_are_more() {
        let mut known = Needed::default();
        let found = Needed([(ENUM, TABLE)].into());
        assert!(found.has_more_than(&known));
        known.extend(found.clone());
        assert!(!found.has_more_than(&known));
        assert_eq!(known.reasons().collect::<Vec<_>>(), [(ENUM, TABLE)]);
    }
}
