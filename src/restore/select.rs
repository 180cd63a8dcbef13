//! Which entries of an archive are restored: those that `names` finds, without the sections and classes that are left out. Pure. Labels serve the user's filters here, as everywhere in a restore;
//! an entry whose label is unknown is restored like any other.

use std::collections::BTreeSet;

use super::adapt::{self, Route};
use super::names;
use super::options::RestoreOptions;
use super::wanted::Promised;
use crate::error::{Error, Result};
use crate::selection::{Brought, Omit, Side};
use crate::toc::{DataOf, Entry, EntryId, Stage};

/// Labels of entries that are a relation, or one aspect of it that carries its name.
const RELATIONS: [&str; 12] = [
    "table",
    "view",
    "materialized view",
    "foreign table",
    "sequence",
    "table data",
    "materialized view data",
    "sequence value",
    "sequence owned by",
    "table attach",
    "row security",
    "foreign table data",
];

/// The entries of an archive, and which of them are wanted.
#[derive(Debug)]
pub(super) struct Selection {
    entries: Vec<Entry>,
    chosen: Vec<bool>,
    /// True if nothing was left out by name or section, so that the target must be empty.
    pub(super) is_whole: bool,
    /// What came along because a chosen entry needs it.
    pub(super) brought: Vec<Brought>,
    /// What the user should know of the options.
    pub(super) warnings: Vec<String>,
    /// What will be there although the target does not have it yet.
    pub(super) promised: Promised,
}

impl Selection {
    /// Applies the options to the entries of `archive` (its name, for errors).
    ///
    /// Errors: [`Error::Usage`] for options that exclude each other, bad patterns and those that match nothing;
    /// [`Error::Corrupt`] if the entries refer to others that are not there.
    pub(super) fn new(
        archive: &str,
        entries: Vec<Entry>,
        options: &RestoreOptions,
    ) -> Result<Selection> {
        check_toc(archive, &entries)?;
        let choice = &options.selection;
        choice.check(Side::Restore)?;
        let named = names::choose(choice, &entries)?;
        // The database itself goes with its making, whatever is chosen of its contents.
        let is_made = (options.create || options.database_properties) && !choice.data_only;
        let chosen: Vec<bool> = entries
            .iter()
            .zip(named.chosen)
            .map(|(entry, named)| match entry.stage {
                Stage::Database => is_made,
                _ => named && choice.wants_class_of(entry),
            })
            .collect();
        let is_whole = choice.leaves_no_object_out()
            && choice.has_all_sections()
            && !choice.data_only
            && !options.clean;
        let has_entry = |id: EntryId| chosen[id.0 as usize];
        let brought = named.brought.into_iter();
        let brought = brought.filter(|(id, _)| has_entry(*id));
        Ok(Selection {
            brought: brought.map(|(_, brought)| brought).collect(),
            warnings: named.warnings,
            entries,
            chosen,
            is_whole,
            promised: Promised::default(),
        })
    }

    /// Everything of an archive of globals but the entries that have nothing to do.
    ///
    /// Errors: [`Error::Corrupt`] if the entries refer to others that are not there.
    pub(super) fn of_globals(archive: &str, entries: Vec<Entry>) -> Result<Selection> {
        check_toc(archive, &entries)?;
        Ok(Selection {
            chosen: entries.iter().map(|entry| !entry.is_idle()).collect(),
            promised: Promised::of(&entries),
            entries,
            is_whole: false,
            brought: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// The tablespace that the database was in, if it was not the default one and is wanted.
    pub(super) fn database_tablespace(&self, options: &RestoreOptions) -> Option<&str> {
        if options.selection.omits(Omit::Tablespaces) {
            return None;
        }
        let mut databases = self.iter().filter(|entry| entry.stage == Stage::Database);
        databases.find_map(|entry| entry.tablespace.as_deref())
    }

    /// The wanted entries, in TOC order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .zip(&self.chosen)
            .filter_map(|(entry, chosen)| chosen.then_some(entry))
    }

    /// Sends the rows of partitions through their root; see `adapt`.
    pub(super) fn route_partitions(&mut self, route: Route) -> BTreeSet<String> {
        adapt::route_partitions(&mut self.entries, &self.chosen, route)
    }

    /// One entry, wanted or not.
    pub(super) fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id.0 as usize]
    }

    /// The wanted event triggers, with their names.
    pub(super) fn event_triggers(&self) -> impl Iterator<Item = (EntryId, &str)> {
        let made = self.iter().filter(|entry| entry.label == "event trigger");
        made.map(|entry| (entry.id, entry.name.name.as_str()))
    }

    /// True if the archive has the entry.
    pub(super) fn knows(&self, id: EntryId) -> bool {
        (id.0 as usize) < self.entries.len()
    }

    /// How many entries the archive has.
    pub(super) fn n_entries(&self) -> usize {
        self.entries.len()
    }

    /// True if the entry is wanted.
    pub(super) fn has(&self, id: EntryId) -> bool {
        self.chosen[id.0 as usize]
    }

    /// How many entries are wanted.
    pub(super) fn n_chosen(&self) -> usize {
        self.chosen.iter().filter(|chosen| **chosen).count()
    }

    /// The wanted entries that `id` needs, directly or over entries that are not wanted.
    pub(super) fn needs(&self, id: EntryId) -> BTreeSet<EntryId> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open = self.entry(id).needs.clone();
        while let Some(need) = open.pop() {
            if !seen.insert(need) {
                continue;
            }
            if self.has(need) {
                found.insert(need);
            } else {
                open.extend(&self.entry(need).needs);
            }
        }
        found.remove(&id);
        found
    }
}

/// Numbers that name an entry must do so: they come from outside.
fn check_toc(archive: &str, entries: &[Entry]) -> Result<()> {
    let known = |id: &EntryId| (id.0 as usize) < entries.len();
    for (index, entry) in entries.iter().enumerate() {
        let steps = entry.forms.iter().flat_map(|form| &form.steps);
        let locks = steps.flat_map(|step| step.locks.iter().map(|(id, _)| id));
        let table = match &entry.data {
            Some(DataOf::Table { table, .. }) => table.as_ref(),
            _ => None,
        };
        let is_sound =
            entry.id.0 as usize == index && entry.needs.iter().chain(locks).chain(table).all(known);
        if !is_sound {
            return Err(Error::corrupt(
                format_args!("archive {archive}"),
                format_args!("TOC, line {}", index + 1),
                format_args!(
                    "{} {} refers to entries that are not there",
                    entry.label, entry.name
                ),
            ));
        }
    }
    Ok(())
}

/// The relation that the entry is, or belongs to.
pub(super) fn relation_of(entry: &Entry) -> Option<(&str, &str)> {
    let name = &entry.name;
    let label = entry.label.strip_suffix(" stub").unwrap_or(&entry.label);
    let relation = match &name.relation {
        Some(relation) => relation,
        None if RELATIONS.contains(&label) => &name.name,
        None => return None,
    };
    Some((name.schema.as_deref()?, relation))
}

/// The schema that the entry is, or is in.
pub(super) fn schema_of(entry: &Entry) -> Option<&str> {
    match &entry.name.schema {
        Some(schema) => Some(schema),
        None => (entry.label == "schema").then_some(entry.name.name.as_str()),
    }
}
