//! Removes cycles: strongly connected components, then split the cheapest member that can be split,
//! again until none is left. Knows no stages and no kinds.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use super::items::{Item, ItemId, Items, NO_NODE};
use super::order::Conflict;
use crate::toc::Stage;

/// Members of a larger component are treated in batches, so that the work stays near linear.
const CAREFUL_MEMBERS_MAX: usize = 256;
/// The share of a large component that is split in one round.
const BATCH_SHARE: usize = 32;

/// Strongly connected components, each after all that it needs.
pub(super) struct Components {
    /// All items, component by component; in an acyclic graph an order with needs first.
    pub(super) items: Vec<ItemId>,
    ends: Vec<usize>,
}

impl Components {
    fn cyclic(&self) -> impl Iterator<Item = &[ItemId]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.items[start..*end])
            .filter(|members| members.len() > 1)
    }
}

/// Not taking part, or finished: both mean that edges to it are of no interest.
const OUTSIDE: u32 = 0;
const NEW: u32 = 1;

/// Tarjan's search without recursion, over any part of the graph.
#[derive(Default)]
pub(super) struct Search {
    /// `OUTSIDE`, `NEW`, or the number of the visit while on the stack.
    state: Vec<u32>,
    low: Vec<u32>,
    stack: Vec<ItemId>,
    frames: Vec<(ItemId, usize)>,
    visits: u32,
}

impl Search {
    /// The components of the graph that `among` spans.
    pub(super) fn components(&mut self, items: &Items, among: &[ItemId]) -> Components {
        self.state.resize(items.list.len(), OUTSIDE);
        self.low.resize(items.list.len(), 0);
        self.visits = NEW;
        for id in among {
            self.state[*id as usize] = NEW;
        }
        let mut found = Components {
            items: Vec::with_capacity(among.len()),
            ends: Vec::new(),
        };
        for root in among {
            if self.state[*root as usize] == NEW {
                self.enter(*root);
                self.run(items, &mut found);
            }
        }
        found
    }

    fn enter(&mut self, id: ItemId) {
        self.visits += 1;
        self.state[id as usize] = self.visits;
        self.low[id as usize] = self.visits;
        self.stack.push(id);
        self.frames.push((id, 0));
    }

    fn run(&mut self, items: &Items, found: &mut Components) {
        while let Some((id, next)) = self.frames.last_mut() {
            let (id, need) = (*id, items.get(*id).needs.get(*next));
            *next += 1;
            match need.map(|need| (*need, self.state[*need as usize])) {
                Some((_, OUTSIDE)) => {}
                Some((need, NEW)) => self.enter(need),
                Some((_, visit)) => self.lower(id, visit),
                None => {
                    self.frames.pop();
                    let low = self.low[id as usize];
                    if let Some((parent, _)) = self.frames.last() {
                        self.lower(*parent, low);
                    }
                    if low == self.state[id as usize] {
                        self.close(id, found);
                    }
                }
            }
        }
    }

    fn lower(&mut self, id: ItemId, visit: u32) {
        let low = &mut self.low[id as usize];
        *low = visit.min(*low);
    }

    fn close(&mut self, first: ItemId, found: &mut Components) {
        loop {
            let id = self
                .stack
                .pop()
                .expect("the component's first item is on the stack");
            self.state[id as usize] = OUTSIDE;
            found.items.push(id);
            if id == first {
                break;
            }
        }
        found.ends.push(found.items.len());
    }
}

/// Makes the graph acyclic. Inside a cycle others lead to a split member's stub; who stands outside
/// and needs any member waits for the rests of all, as it did for the whole cycle before.
pub(super) fn break_cycles(items: &mut Items) {
    let all: Vec<ItemId> = items.ids().collect();
    let mut search = Search::default();
    let found = search.components(items, &all);
    let mut gates = Gates {
        component: vec![None; all.len()],
        rests: Vec::new(),
    };
    let mut breaker = Breaker {
        items: &mut *items,
        search,
        inside: Vec::new(),
        users: Vec::new(),
        rests: Vec::new(),
    };
    for members in found.cyclic() {
        for id in members {
            gates.component[*id as usize] = Some(gates.rests.len());
        }
        gates.rests.push(breaker.run(members));
    }
    gates.add_to(items);
}

/// What users outside a cycle wait for beside the member that they name.
struct Gates {
    /// The cyclic component of each original item.
    component: Vec<Option<usize>>,
    rests: Vec<Vec<ItemId>>,
}

impl Gates {
    fn add_to(&self, items: &mut Items) {
        let mut gate_of: Vec<Option<ItemId>> = vec![None; self.rests.len()];
        for id in 0..self.component.len() {
            let mut gates = Vec::new();
            for need in &items.list[id].needs {
                // A number past the original items is a stub of the same component.
                let Some(Some(component)) = self.component.get(*need as usize).copied() else {
                    continue;
                };
                let rests = &self.rests[component];
                let open = rests.is_empty() || *rests == [*need];
                if self.component[id] != Some(component) && !open {
                    gates.push(component);
                }
            }
            gates.sort_unstable();
            gates.dedup();
            for component in gates {
                let gate = *gate_of[component].get_or_insert_with(|| {
                    items.add(Item {
                        node: NO_NODE,
                        half: None,
                        stage: Stage::PreData,
                        needs: self.rests[component].clone(),
                    })
                });
                items.list[id].needs.push(gate);
            }
        }
    }
}

/// Breaks components one by one. What is kept by item lives as long as the breaker, and only the members' values are
/// touched: there may be thousands of small components.
struct Breaker<'a> {
    items: &'a mut Items,
    search: Search,
    /// By item: true while it is a member of the component at hand.
    inside: Vec<bool>,
    /// By item: how many members need it; of use in `cheapest` only.
    users: Vec<usize>,
    /// What was split in the component at hand.
    rests: Vec<ItemId>,
}

impl Breaker<'_> {
    /// Returns the items that are rests now.
    fn run(&mut self, members: &[ItemId]) -> Vec<ItemId> {
        let mut open = vec![members.to_vec()];
        while let Some(mut members) = open.pop() {
            members.sort_unstable();
            let first_new = self.items.ids().end;
            self.inside.resize(first_new as usize, false);
            self.users.resize(first_new as usize, 0);
            self.mark(&members, true);
            self.loosen(&members);
            self.mark(&members, false);
            members.extend(first_new..self.items.ids().end);
            let found = self.search.components(self.items, &members);
            open.extend(found.cyclic().map(<[ItemId]>::to_vec));
        }
        std::mem::take(&mut self.rests)
    }

    fn mark(&mut self, members: &[ItemId], inside: bool) {
        for id in members {
            self.inside[*id as usize] = inside;
        }
    }

    fn is_inside(&self, id: ItemId) -> bool {
        self.inside.get(id as usize).copied().unwrap_or(false)
    }

    /// Takes the component one step nearer to having no cycle.
    fn loosen(&mut self, members: &[ItemId]) {
        let emitted = members.iter().filter(|id| self.items.is_emitted(**id));
        if emitted.take(2).count() < 2 {
            self.collapse(members);
            return;
        }
        let chosen = self.cheapest(members);
        if !chosen.is_empty() {
            self.split(members, &chosen);
        } else if members.len() <= CAREFUL_MEMBERS_MAX {
            self.cut_shortest(members);
        } else {
            self.cut_all(members);
        }
    }

    /// A cycle of one emitted item and anonymous ones is the item needing itself. Nothing is lost:
    /// the item takes over what all of them need outside, the others need the item.
    fn collapse(&mut self, members: &[ItemId]) {
        let emitted = members.iter().find(|id| self.items.is_emitted(**id));
        let centre = *emitted.unwrap_or(&members[0]);
        let mut outer = Vec::new();
        for id in members {
            let mut needs = std::mem::take(&mut self.items.get_mut(*id).needs);
            needs.retain(|need| !self.is_inside(*need));
            outer.extend_from_slice(&needs);
            if *id != centre {
                needs.push(centre);
                self.items.get_mut(*id).needs = needs;
            }
        }
        outer.sort_unstable();
        outer.dedup();
        self.items.get_mut(centre).needs = outer;
    }

    /// The members to split now: first those whose stub leaves the cycle, then the cheap, then those with most edges in it.
    fn cheapest(&mut self, members: &[ItemId]) -> Vec<ItemId> {
        for id in members {
            self.users[*id as usize] = 0;
        }
        for id in members {
            for need in &self.items.get(*id).needs {
                if self.is_inside(*need) {
                    self.users[*need as usize] += 1;
                }
            }
        }
        let mut chosen = Vec::new();
        for id in members {
            if let Some(cost) = self.items.split_cost(*id) {
                let stays = self
                    .inner_needs(*id)
                    .any(|need| self.items.stub_keeps(*id, need));
                let breadth = self.users[*id as usize].min(self.inner_needs(*id).count());
                chosen.push((stays, cost, Reverse(breadth), *id));
            }
        }
        chosen.sort_unstable();
        let batch = match members.len() {
            ..=CAREFUL_MEMBERS_MAX => 1,
            n => n / BATCH_SHARE,
        };
        chosen.truncate(batch);
        chosen.into_iter().map(|(.., id)| id).collect()
    }

    fn inner_needs(&self, id: ItemId) -> impl Iterator<Item = ItemId> {
        let needs = self.items.get(id).needs.iter().copied();
        needs.filter(|need| self.is_inside(*need))
    }

    fn split(&mut self, members: &[ItemId], chosen: &[ItemId]) {
        let mut stub_of = HashMap::new();
        for id in chosen {
            let mut needs = self.items.get(*id).needs.clone();
            needs.retain(|need| !self.is_inside(*need) || self.items.stub_keeps(*id, *need));
            stub_of.insert(*id, self.items.split(*id, needs));
        }
        for id in members.iter().chain(stub_of.values()) {
            for need in &mut self.items.get_mut(*id).needs {
                if let Some(stub) = stub_of.get(need) {
                    *need = *stub;
                }
            }
        }
        self.rests.extend_from_slice(chosen);
    }

    /// Cuts one edge of the shortest cycle through the member that comes first in natural order.
    fn cut_shortest(&mut self, members: &[ItemId]) {
        let first = members.iter().find(|id| self.items.is_emitted(**id));
        let cycle = self.shortest_cycle(*first.expect("two members are emitted"));
        let next = |at: usize| cycle[(at + 1) % cycle.len()];
        let anonymous = (0..cycle.len()).find(|at| !self.items.is_emitted(next(*at)));
        let at = anonymous.unwrap_or(0);
        let cut = (cycle[at], next(at));
        self.items
            .get_mut(cut.0)
            .needs
            .retain(|need| *need != cut.1);
        self.items.warn(Conflict::Cycle, &cycle, &[cut]);
    }

    fn shortest_cycle(&self, start: ItemId) -> Vec<ItemId> {
        let mut reached_from: HashMap<ItemId, ItemId> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(id) = queue.pop_front() {
            for need in self.inner_needs(id) {
                if need == start {
                    let mut cycle = vec![id];
                    while cycle[cycle.len() - 1] != start {
                        cycle.push(reached_from[&cycle[cycle.len() - 1]]);
                    }
                    cycle.reverse();
                    return cycle;
                }
                reached_from.entry(need).or_insert_with(|| {
                    queue.push_back(need);
                    id
                });
            }
        }
        unreachable!("every member of a strongly connected component lies on a cycle")
    }

    /// Cuts every edge that leads back on the path of a depth-first walk: linear, for large components.
    fn cut_all(&mut self, members: &[ItemId]) {
        let mut seen: HashMap<ItemId, bool> = HashMap::new();
        let mut cut = Vec::new();
        let root = members[0];
        let mut path = vec![(root, 0)];
        seen.insert(root, true);
        // All members can be reached from any.
        while let Some((id, next)) = path.last_mut() {
            let id = *id;
            let need = self.items.get(id).needs.get(*next).copied();
            *next += 1;
            match need {
                None => {
                    path.pop();
                    seen.insert(id, false);
                }
                Some(need) if !self.is_inside(need) => {}
                Some(need) => match seen.get(&need) {
                    None => {
                        seen.insert(need, true);
                        path.push((need, 0));
                    }
                    Some(true) => cut.push((id, need)),
                    Some(false) => {}
                },
            }
        }
        for (id, back) in &cut {
            let needs = &mut self.items.get_mut(*id).needs;
            needs.retain(|need| need != back);
        }
        self.items.warn(Conflict::Cycle, members, &cut);
    }
}
