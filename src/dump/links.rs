//! The dependency graph of a dump: which draft each row of `pg_depend` speaks of. Order itself is `graph`'s.

use std::collections::{BTreeSet, HashMap};

use crate::graph::{Graph, Node};
use crate::kinds::arena::{Catalog, CatalogId, RenderCx, class};
use crate::kinds::row::Oid;
use crate::kinds::toc_builder::{Aspect, Draft, DraftKey};
use crate::toc::EntryName;

/// Which node of the graph a catalog row belongs to.
pub(super) struct Links {
    by_key: HashMap<DraftKey, usize>,
    /// Rows that are no entries of their own, and what they are part of.
    part_of: HashMap<CatalogId, CatalogId>,
    /// Members of extensions.
    members: HashMap<CatalogId, Oid>,
}

impl Links {
    pub(super) fn new(catalog: &Catalog, drafts: &[Draft]) -> Links {
        let by_key: HashMap<DraftKey, usize> = drafts
            .iter()
            .enumerate()
            .map(|(i, draft)| (draft.key, i))
            .collect();
        let mut part_of: HashMap<CatalogId, CatalogId> = catalog
            .core
            .members
            .iter()
            .map(|(member, extension)| (*member, CatalogId::new(class::EXTENSION, *extension)))
            .collect();
        let internal = catalog.core.depends.iter().filter(|row| row.kind == 'i');
        for row in internal {
            part_of.insert(
                CatalogId::new(row.class, row.oid),
                CatalogId::new(row.ref_class, row.ref_oid),
            );
        }
        for object in &catalog.objects {
            for absorbed in object.ddl().absorbs() {
                part_of.insert(absorbed, object.ddl().id());
            }
        }
        let members = catalog.core.members.clone();
        Links {
            by_key,
            part_of,
            members,
        }
    }

    /// The identity under which a row stands in the graph: its own entry, or what it is part of.
    fn home(&self, id: CatalogId) -> CatalogId {
        // What belongs to an extension comes with it; an entry of its own gives its privileges only.
        if let Some(extension) = self.members.get(&id) {
            return CatalogId::new(class::EXTENSION, *extension);
        }
        let mut home = id;
        // A chain of parts is short: array type, row type, table.
        for _ in 0..8 {
            if self.by_key.contains_key(&DraftKey::define(home)) {
                break;
            }
            match self.part_of.get(&home) {
                Some(whole) => home = *whole,
                None => break,
            }
        }
        home
    }

    /// The graph of all drafts, with anonymous nodes for rows that only pass order on.
    pub(super) fn graph(&self, cx: RenderCx<'_>, drafts: &[Draft]) -> Graph<NodeKey> {
        let mut nodes: Vec<Node<NodeKey>> = drafts.iter().map(node_of).collect();
        let mut anonymous: HashMap<CatalogId, usize> = HashMap::new();
        let mut edges = Vec::new();
        let mut index = |id: CatalogId, nodes: &mut Vec<Node<NodeKey>>| {
            let home = self.home(id);
            if let Some(index) = self.by_key.get(&DraftKey::define(home)) {
                return *index;
            }
            *anonymous.entry(home).or_insert_with(|| {
                nodes.push(Node::new(None, u16::MAX, NodeKey::default()));
                nodes.len() - 1
            })
        };
        for row in &cx.catalog.core.depends {
            let from = index(CatalogId::new(row.class, row.oid), &mut nodes);
            let to = index(CatalogId::new(row.ref_class, row.ref_oid), &mut nodes);
            edges.push((from, to));
        }
        for (member, extension) in &self.members {
            if let Some(from) = self.by_key.get(&DraftKey::define(*member)) {
                let whole = CatalogId::new(class::EXTENSION, *extension);
                edges.push((*from, index(whole, &mut nodes)));
            }
        }
        for object in &cx.catalog.objects {
            let from = index(object.ddl().id(), &mut nodes);
            for need in object.ddl().hidden_needs(&cx) {
                edges.push((from, index(need, &mut nodes)));
            }
        }
        for (i, draft) in drafts.iter().enumerate() {
            for need in &draft.needs {
                if let Some(to) = self.by_key.get(need) {
                    edges.push((i, *to));
                } else if need.aspect == Aspect::Define {
                    edges.push((i, index(need.id, &mut nodes)));
                }
            }
            if let Some(split) = &draft.split {
                let needs = split
                    .stub_needs
                    .iter()
                    .map(|need| index(*need, &mut nodes))
                    .collect();
                nodes[i].stub_needs = needs;
                let needed: Vec<usize> = nodes[i].stub_needs.clone();
                edges.extend(needed.into_iter().map(|need| (i, need)));
            }
        }
        edges.retain(|(from, to)| from != to);
        Graph { nodes, edges }
    }

    /// Everything that the dump's objects are or reach over dependencies.
    pub(super) fn relevant(&self, catalog: &Catalog) -> BTreeSet<CatalogId> {
        let mut reached: BTreeSet<CatalogId> = BTreeSet::new();
        let mut open: Vec<CatalogId> = Vec::new();
        for object in &catalog.objects {
            open.push(object.ddl().id());
            open.extend(object.ddl().absorbs());
        }
        while let Some(id) = open.pop() {
            if !reached.insert(id) {
                continue;
            }
            open.extend(self.part_of.get(&id));
            open.extend(
                catalog
                    .core
                    .depends_of(id)
                    .map(|row| CatalogId::new(row.ref_class, row.ref_oid)),
            );
        }
        reached
    }
}

/// Natural order: schema, objects without one last; relation, name, kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeKey {
    no_schema: bool,
    name: EntryName,
    label: &'static str,
    key: Option<DraftKey>,
}

fn node_of(draft: &Draft) -> Node<NodeKey> {
    let key = NodeKey {
        no_schema: draft.name.schema.is_none(),
        name: draft.name.clone(),
        label: draft.label,
        key: Some(draft.key),
    };
    let mut node = Node::new(Some(draft.stage), draft.priority, key);
    node.postponable = draft.postponable;
    node.splittable = draft.split.as_ref().map(|split| split.cost);
    node
}

/// A need that had to be given up, for people.
pub(super) fn describe(warning: &crate::graph::Warning, drafts: &[Draft]) -> String {
    let names: Vec<String> = warning
        .members
        .iter()
        .filter_map(|member| drafts.get(*member))
        .map(|draft| format!("{} {}", draft.label, draft.name))
        .collect();
    format!("{}: {}", warning.conflict, names.join(", "))
}
