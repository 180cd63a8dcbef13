//! What chosen entries need, for `--with-needs`: the closure over the needs that stand in the archive. Pure.

use std::collections::{HashMap, VecDeque};

use super::names::{Matcher, locks, may_be_companion};
use super::report::object_of;
use super::select::relation_of;
use crate::selection::Brought;
use crate::toc::{Entry, EntryId, Stage};

/// Needs that only say what comes first: a partition's index after its parent's, an index after the rows. A foreign key does need
/// rows, which may be those of partitions.
fn is_only_order(entry: &Entry, need: &Entry) -> bool {
    let (ours, theirs) = (&entry.name.relation, &need.name.relation);
    let inherits =
        entry.label == need.label && ours.is_some() && theirs.is_some() && ours != theirs;
    let waits = need.stage == Stage::Data && entry.stage != Stage::Data;
    inherits || waits && entry.label != "foreign key"
}

/// Adds what chosen entries need, at any depth. A table comes as if it were named: with its rows, indexes and keys.
pub(super) struct Closure<'m, 'a> {
    matcher: &'m Matcher<'a>,
    chosen: &'m mut [bool],
    excluded: &'m [bool],
    /// The entries that bear the name of a relation.
    of_relation: HashMap<(&'a str, &'a str), Vec<EntryId>>,
    /// The entries that belong to a table without bearing its name.
    companions: HashMap<EntryId, Vec<EntryId>>,
    open: VecDeque<EntryId>,
    brought: Vec<(EntryId, Brought)>,
}

impl<'m, 'a> Closure<'m, 'a> {
    pub(super) fn new(
        matcher: &'m Matcher<'a>,
        chosen: &'m mut [bool],
        excluded: &'m [bool],
    ) -> Self {
        let ids = matcher.entries.iter().map(|entry| entry.id);
        let open = ids.filter(|id| chosen[id.0 as usize]).collect();
        let mut of_relation: HashMap<(&str, &str), Vec<EntryId>> = HashMap::new();
        let mut companions: HashMap<EntryId, Vec<EntryId>> = HashMap::new();
        for entry in matcher.entries {
            if let Some(relation) = relation_of(entry) {
                of_relation.entry(relation).or_default().push(entry.id);
            }
            if may_be_companion(entry) {
                let tables = entry.needs.iter().copied().chain(locks(entry));
                for table in tables.filter(|id| matcher.entry(*id).label == "table") {
                    companions.entry(table).or_default().push(entry.id);
                }
            }
        }
        Closure {
            matcher,
            chosen,
            excluded,
            of_relation,
            companions,
            open,
            brought: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Vec<(EntryId, Brought)> {
        while let Some(id) = self.open.pop_front() {
            let entry = self.matcher.entry(id);
            // A partition stands without its parent, a sequence without its column.
            if self.matcher.joins(entry) {
                continue;
            }
            for need in &entry.needs {
                if !is_only_order(entry, self.matcher.entry(*need)) {
                    self.bring(*need, entry);
                }
            }
        }
        self.brought
    }

    fn bring(&mut self, id: EntryId, needed_by: &Entry) {
        let entry = self.matcher.entry(id);
        if entry.label.ends_with(" attach") || !self.add(id) {
            return;
        }
        let brought = Brought {
            object: object_of(entry),
            needed_by: object_of(needed_by),
        };
        self.brought.push((id, brought));
        if let Some(relation) = relation_of(entry) {
            self.add_relation(relation);
        }
    }

    fn add_relation(&mut self, relation: (&'a str, &'a str)) {
        let mut ids = self.of_relation.get(&relation).cloned().unwrap_or_default();
        let companions = ids.iter().filter_map(|id| self.companions.get(id));
        let companions: Vec<EntryId> = companions.flatten().copied().collect();
        let sequences = companions
            .iter()
            .filter_map(|id| relation_of(self.matcher.entry(*id)));
        let aspects = sequences.filter_map(|relation| self.of_relation.get(&relation));
        ids.extend(aspects.flatten());
        ids.extend(companions);
        for id in ids {
            self.add(id);
        }
    }

    fn add(&mut self, id: EntryId) -> bool {
        let at = id.0 as usize;
        let is_new = !self.chosen[at] && !self.excluded[at];
        if is_new {
            self.chosen[at] = true;
            self.open.push_back(id);
        }
        is_new
    }
}
