//! In which order rows go into tables that foreign keys watch already. Pure; the keys are read in `target`.

use std::collections::{BTreeMap, BTreeSet};

use super::report::object_of;
use super::select::Selection;
use crate::toc::{DataOf, EntryId};

/// The order that foreign keys of the target ask for.
#[derive(Debug, Default)]
pub(super) struct RowOrder {
    /// The rows that must be there before an entry's.
    needs: BTreeMap<EntryId, BTreeSet<EntryId>>,
    /// Tables that reference themselves: all their rows must come in one statement.
    whole: BTreeSet<EntryId>,
}

impl RowOrder {
    /// Looks at `keys`, pairs of the SQL names of a referencing and a referenced table.
    ///
    /// Errors: the objects that reference each other in a circle, for which there is no order.
    pub(super) fn new(
        selection: &Selection,
        keys: &[(String, String)],
    ) -> Result<RowOrder, Vec<String>> {
        let mut by_name = BTreeMap::new();
        for entry in selection.iter() {
            // A table that the restore makes gets its keys after its rows, unless an earlier run has come so far.
            if let Some(DataOf::Table { target, table, .. }) = &entry.data
                && !table.is_some_and(|table| selection.has(table))
            {
                by_name.insert(target.text(), entry.id);
            }
        }
        let mut order = RowOrder::default();
        for (from, to) in keys {
            let (Some(from), Some(to)) = (by_name.get(from), by_name.get(to)) else {
                continue;
            };
            if from == to {
                order.whole.insert(*from);
            } else {
                order.needs.entry(*from).or_default().insert(*to);
            }
        }
        let circle = circle(&order.needs);
        if circle.is_empty() {
            return Ok(order);
        }
        let name = |id: &EntryId| object_of(selection.entry(*id));
        Err(circle.iter().map(name).collect())
    }

    /// The rows that must be there before those of `id`.
    pub(super) fn before(&self, id: EntryId) -> impl Iterator<Item = EntryId> {
        self.needs.get(&id).into_iter().flatten().copied()
    }

    /// True if the rows of `id` must come in one statement.
    pub(super) fn is_whole(&self, id: EntryId) -> bool {
        self.whole.contains(&id)
    }
}

/// What lies on circles, or between them: what is left when all that has nothing before or nothing behind it is taken away.
fn circle(needs: &BTreeMap<EntryId, BTreeSet<EntryId>>) -> BTreeSet<EntryId> {
    let mut left: BTreeSet<EntryId> = needs.keys().copied().collect();
    loop {
        let is_needed: BTreeSet<EntryId> = left.iter().flat_map(|id| &needs[id]).copied().collect();
        let stays = |id: &EntryId| {
            is_needed.contains(id) && needs[id].iter().any(|need| left.contains(need))
        };
        let next: BTreeSet<EntryId> = left.iter().filter(|id| stays(id)).copied().collect();
        if next.len() == left.len() {
            return next;
        }
        left = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle_of(pairs: &[(u32, u32)]) -> Vec<u32> {
        let mut needs: BTreeMap<EntryId, BTreeSet<EntryId>> = BTreeMap::new();
        for (from, to) in pairs {
            needs
                .entry(EntryId(*from))
                .or_default()
                .insert(EntryId(*to));
        }
        circle(&needs).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn only_what_lies_on_a_circle_is_named() {
        assert!(circle_of(&[(1, 2), (2, 3), (1, 3)]).is_empty());
        assert_eq!(circle_of(&[(1, 2), (2, 1)]), [1, 2]);
        assert_eq!(
            circle_of(&[(0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (4, 5)]),
            [1, 2, 3]
        );
    }
}
