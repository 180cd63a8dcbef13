//! The working form of a graph while it is put in order: one item per node, two once a node is split.
//! What is done to the items is up to `cycles.rs` and `stages.rs`.

use super::order::{Conflict, Half, Warning};
use crate::toc::Stage;

/// An item's place in [`Items::list`].
pub(super) type ItemId = u32;

/// Stands for "no node": the item only joins others.
pub(super) const NO_NODE: u32 = u32::MAX;

/// What the caller said of a node. Nodes are numbered in natural order here.
pub(super) struct Facts {
    pub(super) stage: Option<Stage>,
    pub(super) postponable: bool,
    pub(super) splittable: Option<u16>,
    /// Sorted.
    pub(super) stub_needs: Vec<u32>,
}

/// A node or a half of one.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) node: u32,
    /// `None` if the item is not emitted and only passes order on.
    pub(super) half: Option<Half>,
    pub(super) stage: Stage,
    pub(super) needs: Vec<ItemId>,
}

/// All items and what had to be given up. The first items are the nodes themselves, in their order.
pub(super) struct Items {
    pub(super) facts: Vec<Facts>,
    pub(super) list: Vec<Item>,
    pub(super) warnings: Vec<Warning>,
}

impl Items {
    /// One whole item per node, without needs.
    pub(super) fn new(facts: Vec<Facts>) -> Items {
        let list = (0..).zip(&facts).map(|(node, facts)| Item {
            node,
            half: facts.stage.map(|_| Half::Whole),
            stage: facts.stage.unwrap_or(Stage::PreData),
            needs: Vec::new(),
        });
        Items {
            list: list.collect(),
            facts,
            warnings: Vec::new(),
        }
    }

    pub(super) fn get(&self, id: ItemId) -> &Item {
        &self.list[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: ItemId) -> &mut Item {
        &mut self.list[id as usize]
    }

    pub(super) fn ids(&self) -> std::ops::Range<ItemId> {
        0..item_id(self.list.len())
    }

    pub(super) fn add(&mut self, item: Item) -> ItemId {
        self.list.push(item);
        item_id(self.list.len() - 1)
    }

    /// True if the item is placed in the sequence.
    pub(super) fn is_emitted(&self, id: ItemId) -> bool {
        self.get(id).half.is_some()
    }

    /// What splitting costs, if the item is whole and can be split.
    pub(super) fn split_cost(&self, id: ItemId) -> Option<u16> {
        let item = self.get(id);
        let whole = item.half == Some(Half::Whole);
        whole
            .then(|| self.facts[item.node as usize].splittable)
            .flatten()
    }

    /// True if the stub of `owner`'s node cannot do without `need`.
    pub(super) fn stub_keeps(&self, owner: ItemId, need: ItemId) -> bool {
        let (owner, need) = (self.get(owner).node, self.get(need).node);
        owner != NO_NODE
            && self.facts[owner as usize]
                .stub_needs
                .binary_search(&need)
                .is_ok()
    }

    /// Turns whole `id` into the rest of its node; the new stub has `needs`. Who needs `id` needs the rest from now on.
    pub(super) fn split(&mut self, id: ItemId, needs: Vec<ItemId>) -> ItemId {
        let &Item { node, stage, .. } = self.get(id);
        let stub = self.add(Item {
            node,
            half: Some(Half::Stub),
            stage,
            needs,
        });
        let item = self.get_mut(id);
        item.half = Some(Half::Rest);
        item.needs.push(stub);
        stub
    }

    /// Notes that needs were given up. `members` and `cut` are items.
    pub(super) fn warn(
        &mut self,
        conflict: Conflict,
        members: &[ItemId],
        cut: &[(ItemId, ItemId)],
    ) {
        let node = |id: &ItemId| self.get(*id).node as usize;
        let known = |node: &usize| *node != NO_NODE as usize;
        let warning = Warning {
            conflict,
            members: members.iter().map(node).filter(known).collect(),
            cut: cut.iter().map(|(a, b)| (node(a), node(b))).collect(),
        };
        self.warnings.push(warning);
    }
}

/// The number of the item at `index`.
pub(super) fn item_id(index: usize) -> ItemId {
    ItemId::try_from(index).expect("a catalog has fewer than 2^32 objects (OIDs have 32 bits)")
}
