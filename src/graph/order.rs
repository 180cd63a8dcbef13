//! The order of creation: the graph's public types and the sort that keeps natural order where it is free.
//! Cycles and stage conflicts are resolved by `cycles.rs` and `stages.rs` first.

use std::collections::{BinaryHeap, HashSet};
use std::fmt;

use super::cycles::break_cycles;
use super::items::{Facts, Item, ItemId, Items, item_id};
use super::stages::settle_stages;
use crate::toc::Stage;

/// Something to be put in order.
#[derive(Debug, Clone)]
pub struct Node<K> {
    /// When it is restored; `None` for an anonymous node, which passes order on and is not emitted.
    pub stage: Option<Stage>,
    /// Groups of like objects inside a stage, low first.
    pub priority: u16,
    /// Natural order inside stage and priority: schema, name, …
    pub key: K,
    /// True if a node of [`Stage::PreData`] may move to [`Stage::PostData`] when something it needs is there.
    pub postponable: bool,
    /// What splitting it into a stub and a rest costs; `None` if it cannot be split.
    pub splittable: Option<u16>,
    /// Those of its needs that the stub too cannot do without. The stub drops other needs where they
    /// lie in a cycle with it or in a later stage, and keeps the remaining ones.
    pub stub_needs: Vec<usize>,
}

impl<K> Node<K> {
    /// A node that can be neither postponed nor split.
    pub fn new(stage: Option<Stage>, priority: u16, key: K) -> Node<K> {
        Node {
            stage,
            priority,
            key,
            postponable: false,
            splittable: None,
            stub_needs: Vec::new(),
        }
    }
}

/// Nodes and what they need.
#[derive(Debug, Clone)]
pub struct Graph<K> {
    /// The nodes; their index is their name.
    pub nodes: Vec<Node<K>>,
    /// Pairs of a node and a node that it needs. Repeated edges and self loops are harmless.
    pub edges: Vec<(usize, usize)>,
}

impl<K> Default for Graph<K> {
    fn default() -> Self {
        Graph {
            nodes: Vec::new(),
            edges: Vec::new(),
        }
    }
}

/// How much of a node stands at one place of the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Half {
    /// All of it.
    Whole,
    /// As much as others need to refer to it.
    Stub,
    /// What the stub left out.
    Rest,
}

/// One place of the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Placed {
    /// The node's index in [`Graph::nodes`].
    pub node: usize,
    /// How much of it.
    pub half: Half,
    /// When it is restored: the node's own stage, or [`Stage::PostData`] if it was postponed.
    pub stage: Stage,
}

/// Why a need had to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conflict {
    /// The members need each other and none can be split.
    Cycle,
    /// The first member can neither be postponed nor split, and the others come in a later stage.
    Stage,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Conflict::Cycle => "they need each other and none of them can be created in two steps",
            Conflict::Stage => "the first needs the others, which are restored in a later stage",
        })
    }
}

/// Needs that were given up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// Why.
    pub conflict: Conflict,
    /// The nodes that are concerned, anonymous ones included. A cycle of up to 256 members is given in the order of its needs.
    pub members: Vec<usize>,
    /// The needs that the order does not respect: a node and what it needed.
    pub cut: Vec<(usize, usize)>,
}

/// The order of creation, with the needs that it respects.
#[derive(Debug)]
pub struct Order {
    /// Every node with a stage, once whole or once as stub and once as rest; stages ascend.
    pub sequence: Vec<Placed>,
    /// What had to be given up; empty for almost every database.
    pub warnings: Vec<Warning>,
    items: Vec<Item>,
    item_at: Vec<ItemId>,
    /// By item; `None` for anonymous ones.
    position_of: Vec<Option<usize>>,
}

impl Order {
    /// The positions that must be there before `position`, ascending; anonymous nodes between are walked through.
    /// All are smaller than `position`, and none belongs to a later stage.
    pub fn needs_of(&self, position: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut open = vec![self.item_at[position]];
        while let Some(id) = open.pop() {
            for need in &self.items[id as usize].needs {
                match self.position_of[*need as usize] {
                    Some(position) => found.push(position),
                    None if seen.insert(*need) => open.push(*need),
                    None => {}
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl<K: Ord> Graph<K> {
    /// Puts the nodes into an order of creation. The result does not depend on the order of the edges.
    ///
    /// Members of a cycle are split, the cheapest first; a node of [`Stage::PreData`] that needs a later stage is
    /// postponed, or else what it needs is split or put before the data on stubs, or else it is split itself.
    /// Where nothing helps a need is cut and a [`Warning`] says so.
    ///
    /// # Panics
    /// If an edge or a stub need names a node that is not there.
    pub fn order(&self) -> Order {
        let mut natural: Vec<usize> = (0..self.nodes.len()).collect();
        natural.sort_by_key(|index| (self.nodes[*index].priority, &self.nodes[*index].key, *index));
        let mut rank_of = vec![0; natural.len()];
        for (rank, index) in natural.iter().enumerate() {
            rank_of[*index] = item_id(rank);
        }
        let facts = natural
            .iter()
            .map(|index| self.nodes[*index].facts(&rank_of));
        let mut items = Items::new(facts.collect());
        let mut edges: Vec<(ItemId, ItemId)> = (self.edges.iter())
            .map(|(node, need)| (rank_of[*node], rank_of[*need]))
            .filter(|(node, need)| node != need)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        for (node, need) in edges {
            items.get_mut(node).needs.push(need);
        }
        break_cycles(&mut items);
        settle_stages(&mut items);
        finish(items, &natural)
    }
}

impl<K> Node<K> {
    fn facts(&self, rank_of: &[u32]) -> Facts {
        let mut stub_needs: Vec<u32> = self.stub_needs.iter().map(|need| rank_of[*need]).collect();
        stub_needs.sort_unstable();
        Facts {
            stage: self.stage,
            postponable: self.postponable,
            splittable: self.splittable,
            stub_needs,
        }
    }
}

fn finish(items: Items, natural: &[usize]) -> Order {
    let item_at = sort(&items);
    let mut position_of = vec![None; items.list.len()];
    for (position, id) in item_at.iter().enumerate() {
        position_of[*id as usize] = Some(position);
    }
    let placed = |id: &ItemId| {
        let item = items.get(*id);
        Placed {
            node: natural[item.node as usize],
            half: item.half.expect("only emitted items are sorted"),
            stage: item.stage,
        }
    };
    let sequence = item_at.iter().map(placed).collect();
    let mut warnings = items.warnings;
    for warning in &mut warnings {
        let edges = warning.cut.iter_mut().flat_map(|(a, b)| [a, b]);
        for node in warning.members.iter_mut().chain(edges) {
            *node = natural[*node];
        }
    }
    Order {
        sequence,
        warnings,
        items: items.list,
        item_at,
        position_of,
    }
}

/// Sorts backwards, as `pg_dump_sort.c` does: of the items that nothing unplaced needs, the one that comes last in
/// natural order takes the last free place. So what is needed early is moved up to just before its user, and users
/// stay where they are. The other way (the first item that may come takes the first place) leaves needs in place and
/// moves users down, past everything between: a cast would follow all functions, and views recorded as needing only
/// the cast's function would come before the cast.
fn sort(items: &Items) -> Vec<ItemId> {
    let mut natural: Vec<ItemId> = items.ids().filter(|id| items.is_emitted(*id)).collect();
    natural.sort_by_key(|id| {
        let item = items.get(*id);
        (item.stage, item.node, item.half)
    });
    let mut rank_of = vec![None; items.list.len()];
    for (rank, id) in natural.iter().enumerate() {
        rank_of[*id as usize] = Some(rank);
    }
    let mut users = vec![0_usize; items.list.len()];
    for need in items.list.iter().flat_map(|item| &item.needs) {
        users[*need as usize] += 1;
    }
    let mut free = BinaryHeap::new();
    let mut open: Vec<ItemId> = items.ids().filter(|id| users[*id as usize] == 0).collect();
    let mut backwards = Vec::with_capacity(natural.len());
    loop {
        // Anonymous items take no place: they let go of their needs at once.
        while let Some(id) = open.pop() {
            if let Some(rank) = rank_of[id as usize] {
                free.push(rank);
            } else {
                release(items, id, &mut users, &mut open);
            }
        }
        let Some(rank) = free.pop() else {
            break;
        };
        backwards.push(natural[rank]);
        release(items, natural[rank], &mut users, &mut open);
    }
    assert_eq!(backwards.len(), natural.len(), "cycles were removed before");
    backwards.reverse();
    backwards
}

fn release(items: &Items, id: ItemId, users: &mut [usize], open: &mut Vec<ItemId>) {
    for need in &items.get(id).needs {
        users[*need as usize] -= 1;
        if users[*need as usize] == 0 {
            open.push(*need);
        }
    }
}
