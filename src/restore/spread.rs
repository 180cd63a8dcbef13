//! Which definitions are made side by side: parts of a batch that need nothing of each other. Pure.

use std::collections::HashMap;

use super::work::Definition;
use crate::toc::{Entry, EntryId};

/// True if making the entry touches nothing but itself and what it needs, so that it may be made beside others of its kind.
pub(super) fn is_self_contained(entry: &Entry) -> bool {
    matches!(
        entry.label.as_str(),
        "table" | "sequence" | "column default"
    )
}

/// Deals a batch out to at most `n` transactions; what needs each other stays together and in order.
pub(super) fn deal(batch: &[&Definition], n: usize) -> Vec<Vec<usize>> {
    let places: HashMap<EntryId, usize> = (0..)
        .zip(batch)
        .map(|(at, definition)| (definition.entry, at))
        .collect();
    let mut roots: Vec<usize> = (0..batch.len()).collect();
    for (at, definition) in batch.iter().enumerate() {
        for need in definition.needs.iter().filter_map(|id| places.get(id)) {
            let (one, other) = (root(&mut roots, at), root(&mut roots, *need));
            roots[one.max(other)] = one.min(other);
        }
    }
    let mut families: Vec<Vec<usize>> = vec![Vec::new(); batch.len()];
    for at in 0..batch.len() {
        families[root(&mut roots, at)].push(at);
    }
    let mut hands: Vec<Vec<usize>> = vec![Vec::new(); n.clamp(1, batch.len().max(1))];
    for family in families.into_iter().filter(|family| !family.is_empty()) {
        let hand = hands.iter_mut().min_by_key(|hand| hand.len());
        hand.expect("there is at least one").extend(family);
    }
    for hand in &mut hands {
        hand.sort_unstable();
    }
    hands.retain(|hand| !hand.is_empty());
    hands
}

fn root(roots: &mut [usize], mut at: usize) -> usize {
    while roots[at] != at {
        roots[at] = roots[roots[at]];
        at = roots[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_each_other_stays_together_and_in_order() {
        let definition = |(entry, needs): (u32, &[u32])| Definition {
            entry: EntryId(entry),
            needs: needs.iter().map(|id| EntryId(*id)).collect(),
            units: Vec::new(),
        };
        // 3 joins 0 and 2; 100 is no part of the batch.
        let list: [(u32, &[u32]); 6] = [
            (0, &[]),
            (1, &[100]),
            (2, &[]),
            (3, &[2, 0]),
            (4, &[1]),
            (5, &[]),
        ];
        let list = list.map(definition);
        let batch: Vec<&Definition> = list.iter().collect();
        assert_eq!(deal(&batch, 2), [vec![0, 2, 3], vec![1, 4, 5]]);
        assert_eq!(deal(&batch, 1), [vec![0, 1, 2, 3, 4, 5]]);
        assert_eq!(deal(&[], 3), Vec::<Vec<usize>>::new());
    }
}
