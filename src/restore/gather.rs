//! Small work goes together: which entries after the rows share a transaction, because each takes less time than a commit. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::load::SMALL_BYTES;
use super::plan::PlanCx;
use crate::toc::{Entry, EntryId, Stage, Step};

/// The least and the most entries in one transaction: few enough for the lock table.
const AT_ONCE: std::ops::RangeInclusive<usize> = 8..=100;
/// Groups for each worker, so that none waits long for the last one.
const GROUPS_PER_WORKER: usize = 4;
/// Needs of needs that are followed; catalogs have a handful.
const LEVELS_MAX: usize = 64;

/// What each entry waits for.
pub(super) type Wanted = BTreeMap<EntryId, BTreeSet<EntryId>>;

/// True if the statements of an entry are over at once: they work on tables that this run filled, and with little.
/// `rows` are the bytes of the tables that have any.
pub(super) fn is_small(
    cx: &PlanCx<'_>,
    entry: &Entry,
    steps: &[Step],
    rows: impl Fn(EntryId) -> u64,
) -> bool {
    let mut locks = steps.iter().flat_map(|step| &step.locks).peekable();
    let runs_together = !steps.iter().any(|step| step.outside_transaction);
    entry.stage == Stage::PostData
        && runs_together
        && locks.peek().is_some()
        && locks.all(|(table, _)| {
            let is_table = || cx.selection.entry(*table).label.ends_with("table");
            cx.selection.has(*table) && is_table() && rows(*table) <= SMALL_BYTES
        })
}

/// Puts the small ones of `entries` into groups. No group waits for itself, not even by way of others.
pub(super) fn groups<'a>(
    entries: &[&'a Entry],
    small: &BTreeMap<EntryId, EntryId>,
    wanted: &Wanted,
    n_workers: usize,
) -> Vec<Vec<&'a Entry>> {
    let Some(levels) = levels(wanted) else {
        return Vec::new();
    };
    let before_rows = before_rows(entries, wanted);
    let mut by_level: BTreeMap<usize, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        if small.contains_key(&entry.id) && !before_rows.contains(&entry.id) {
            by_level.entry(levels[&entry.id]).or_default().push(entry);
        }
    }
    let mut groups = Vec::new();
    for mut members in by_level.into_values() {
        // Those of one table stand together, in the order in which the rows come.
        members.sort_by_key(|entry| (small[&entry.id], entry.id));
        let share = members.len().div_ceil(n_workers * GROUPS_PER_WORKER);
        let n = share.clamp(*AT_ONCE.start(), *AT_ONCE.end());
        groups.extend(members.chunks(n).map(<[_]>::to_vec));
    }
    groups
}

/// How many entries stand behind each one at most; `None` if needs go round or too deep.
fn levels(wanted: &Wanted) -> Option<BTreeMap<EntryId, usize>> {
    let mut levels: BTreeMap<EntryId, usize> = wanted.keys().map(|id| (*id, 0)).collect();
    for _ in 0..LEVELS_MAX {
        let mut is_same = true;
        for (id, needs) in wanted {
            let needs = needs.iter().filter(|need| *need != id);
            let below = needs.filter_map(|need| levels.get(need)).max();
            let level = below.map_or(0, |below| below + 1);
            is_same &= levels.insert(*id, level) == Some(level);
        }
        if is_same {
            return Some(levels);
        }
    }
    None
}

/// What rows wait for, by way of others too.
fn before_rows(entries: &[&Entry], wanted: &Wanted) -> BTreeSet<EntryId> {
    let with_rows = entries.iter().filter(|entry| entry.stage == Stage::Data);
    let mut open: Vec<EntryId> = with_rows.map(|entry| entry.id).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        let needs = wanted.get(&id).into_iter().flatten();
        open.extend(needs.filter(|need| found.insert(**need)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(u32, &[u32])]) -> Wanted {
        let ids = |list: &[u32]| list.iter().map(|id| EntryId(*id)).collect();
        let of = |(id, needs): &(u32, &[u32])| (EntryId(*id), ids(needs));
        pairs.iter().map(of).collect()
    }

    #[test]
    fn who_waits_stands_above_what_it_waits_for() {
        // Needs outside of the list count for nothing, and the order of numbers does not matter.
        let levels = levels(&wanted(&[
            (5, &[9, 7]),
            (6, &[5]),
            (7, &[]),
            (8, &[7, 100]),
        ]));
        let levels: Vec<usize> = levels.unwrap().into_values().collect();
        assert_eq!(levels, [1, 2, 0, 1]);
    }

    #[test]
    fn needs_that_go_round_have_no_levels() {
        assert!(levels(&wanted(&[(1, &[2]), (2, &[1])])).is_none());
    }
}
