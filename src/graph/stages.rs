//! Makes needs and stages agree in an acyclic graph: what needs a later stage moves there if it may,
//! or is split, or leans on an early form of what it needs. Knows no kinds.

use super::cycles::Search;
use super::items::{Item, ItemId, Items};
use super::order::{Conflict, Half};
use crate::toc::Stage;

/// Whether an item that is not itself restored before the data can be there in part.
#[derive(Clone, Copy)]
enum Early {
    Never,
    Possible,
    At(ItemId),
}

/// Afterwards no item needs one of a later stage.
pub(super) fn settle_stages(items: &mut Items) {
    let all: Vec<ItemId> = items.ids().collect();
    let needs_first = Search::default().components(items, &all).items;
    let mut settling = Settling {
        early: vec![Early::Never; all.len()],
        items,
    };
    for id in needs_first {
        settling.settle(id);
    }
}

struct Settling<'a> {
    items: &'a mut Items,
    /// For the items that were there at the start and are later than the data's definitions.
    early: Vec<Early>,
}

impl Settling<'_> {
    fn stage(&self, id: ItemId) -> Stage {
        self.items.get(id).stage
    }

    fn own_stage(&self, id: ItemId) -> Stage {
        let node = self.items.get(id).node as usize;
        self.items.facts[node].stage.unwrap_or(Stage::PreData)
    }

    /// The latest stage that an emitted item may have.
    fn reach(&self, id: ItemId) -> Stage {
        let (item, own) = (self.items.get(id), self.own_stage(id));
        let postponable = self.items.facts[item.node as usize].postponable;
        if own == Stage::PreData && (postponable || item.half == Some(Half::Rest)) {
            Stage::PostData
        } else {
            own
        }
    }

    fn settle(&mut self, id: ItemId) {
        if self.items.is_emitted(id) {
            self.settle_emitted(id);
        } else {
            let needs = self.items.get(id).needs.iter();
            let latest = needs.map(|need| self.stage(*need)).max();
            self.items.get_mut(id).stage = latest.unwrap_or(Stage::PreData);
        }
        if self.stage(id) > Stage::PreData {
            self.early[id as usize] = self.early_form(id);
        }
    }

    fn settle_emitted(&mut self, id: ItemId) {
        let (own, reach) = (self.own_stage(id), self.reach(id));
        let mut needs = std::mem::take(&mut self.items.get_mut(id).needs);
        if self.items.get(id).half == Some(Half::Stub) {
            needs.retain(|need| self.stage(*need) <= own || self.items.stub_keeps(id, *need));
        }
        let may_split = own == Stage::PreData && self.items.split_cost(id).is_some();
        let mut split = false;
        needs.retain(|need| {
            if self.stage(*need) <= reach || self.can_be_early(*need) {
                return true;
            }
            let rest_reaches = self.stage(*need) <= Stage::PostData;
            let splits = may_split && rest_reaches && !self.items.stub_keeps(id, *need);
            split |= splits;
            if !splits {
                self.cut(id, *need, reach);
            }
            splits
        });
        if split {
            self.items.get_mut(id).needs = needs;
            self.split(id);
            return;
        }
        for need in &mut needs {
            if self.stage(*need) > reach {
                *need = self.early_item(*need);
            }
        }
        let late = needs.iter().any(|need| self.stage(*need) > own);
        let item = self.items.get_mut(id);
        item.needs = needs;
        item.stage = if late { reach } else { own };
    }

    /// Gives up the need, naming the emitted items behind it.
    fn cut(&mut self, id: ItemId, need: ItemId, reach: Stage) {
        let (mut open, mut cut) = (vec![need], Vec::new());
        let mut seen = std::collections::HashSet::new();
        while let Some(need) = open.pop() {
            if self.stage(need) <= reach || !seen.insert(need) {
                continue;
            }
            if self.items.is_emitted(need) {
                cut.push((id, need));
            } else {
                open.extend_from_slice(&self.items.get(need).needs);
            }
        }
        cut.sort_unstable();
        let members: Vec<ItemId> = std::iter::once(id)
            .chain(cut.iter().map(|(_, need)| *need))
            .collect();
        self.items.warn(Conflict::Stage, &members, &cut);
    }

    fn can_be_early(&self, id: ItemId) -> bool {
        self.stage(id) == Stage::PreData || !matches!(self.early[id as usize], Early::Never)
    }

    /// Whether a late item can be there before the data, at least as far as others must refer to it.
    fn early_form(&self, id: ItemId) -> Early {
        let item = self.items.get(id);
        let possible = match item.half {
            Some(Half::Rest) => {
                let stub = self.stub_of_rest(id);
                return match stub {
                    Some(stub) if self.stage(stub) == Stage::PreData => Early::At(stub),
                    _ => Early::Never,
                };
            }
            Some(Half::Stub) => false,
            Some(Half::Whole) if self.own_stage(id) != Stage::PreData => false,
            Some(Half::Whole) if self.items.split_cost(id).is_some() => item
                .needs
                .iter()
                .all(|need| self.can_be_early(*need) || !self.items.stub_keeps(id, *need)),
            Some(Half::Whole) | None => item.needs.iter().all(|need| self.can_be_early(*need)),
        };
        if possible {
            Early::Possible
        } else {
            Early::Never
        }
    }

    fn stub_of_rest(&self, id: ItemId) -> Option<ItemId> {
        let node = self.items.get(id).node;
        let mut needs = self.items.get(id).needs.iter().copied();
        needs.find(|need| {
            let need = self.items.get(*need);
            need.node == node && need.half == Some(Half::Stub)
        })
    }

    /// Splits an item that must stay where it is but needs something later; its rest goes there.
    fn split(&mut self, id: ItemId) {
        let stub = self.items.split(id, Vec::new());
        self.items.get_mut(id).stage = Stage::PostData;
        self.early[id as usize] = Early::At(stub);
        let mut open = Vec::new();
        self.fill_early(id, stub, &mut open);
        self.fill_all(open);
    }

    /// The item that stands for `id` before the data, made if need be.
    fn early_item(&mut self, id: ItemId) -> ItemId {
        let mut open = Vec::new();
        let early = self.claim_early(id, &mut open);
        self.fill_all(open);
        early
    }

    fn fill_all(&mut self, mut open: Vec<(ItemId, ItemId)>) {
        while let Some((late, early)) = open.pop() {
            self.fill_early(late, early, &mut open);
        }
    }

    /// Numbers the early item of `id`; where it is new its needs are still to be filled in (`open`).
    fn claim_early(&mut self, id: ItemId, open: &mut Vec<(ItemId, ItemId)>) -> ItemId {
        if self.stage(id) == Stage::PreData {
            return id;
        }
        if let Early::At(early) = self.early[id as usize] {
            return early;
        }
        let early = if self.items.split_cost(id).is_some() {
            let stub = self.items.split(id, Vec::new());
            self.items.get_mut(stub).stage = Stage::PreData;
            stub
        } else {
            self.bring_forward(id)
        };
        self.early[id as usize] = Early::At(early);
        open.push((id, early));
        early
    }

    /// A whole item moves before the data, onto the stubs of what it needs. Its old item stays as an
    /// anonymous one, so that later users still wait for all that it needs to work.
    fn bring_forward(&mut self, id: ItemId) -> ItemId {
        let item = self.items.get_mut(id);
        let (node, half) = (item.node, item.half.take());
        let early = self.items.add(Item {
            node,
            half,
            stage: Stage::PreData,
            needs: Vec::new(),
        });
        if half.is_some() {
            self.items.get_mut(id).needs.push(early);
        }
        early
    }

    fn fill_early(&mut self, late: ItemId, early: ItemId, open: &mut Vec<(ItemId, ItemId)>) {
        let stub = self.items.get(early).half == Some(Half::Stub);
        let mut needs = self.items.get(late).needs.clone();
        needs.retain(|need| {
            *need != early
                && (!stub
                    || self.stage(*need) == Stage::PreData
                    || self.items.stub_keeps(late, *need))
        });
        for need in &mut needs {
            *need = self.claim_early(*need, open);
        }
        self.items.get_mut(early).needs = needs;
    }
}
