//! Which entries the user's patterns name. What those entries need is found in `closure`. Pure.

use std::collections::BTreeSet;

use super::closure::Closure;
use super::select::{relation_of, schema_of};
use crate::error::Result;
use crate::selection::filters::{Filter, Filters};
use crate::selection::{Brought, RowsOf, Selection as Choice, is_content};
use crate::sql::PatternScope;
use crate::toc::{Entry, EntryId};

/// What the patterns chose.
pub(super) struct Named {
    /// For each entry whether it is chosen.
    pub(super) chosen: Vec<bool>,
    /// The entries that were not named, each with the one that needs it.
    pub(super) brought: Vec<(EntryId, Brought)>,
    /// What the user should know of the patterns.
    pub(super) warnings: Vec<String>,
}

/// Applies the patterns of a selection to entries.
///
/// Errors: [`Error::Usage`](crate::Error::Usage) for a pattern that is none, or an include pattern that matches nothing.
pub(super) fn choose(choice: &Choice, entries: &[Entry]) -> Result<Named> {
    let matcher = Matcher::new(choice, entries)?;
    let mut chosen: Vec<bool> = entries.iter().map(|entry| matcher.wants(entry)).collect();
    let excluded = matcher.excluded();
    if !choice.names_nothing() {
        matcher.add_companions(&mut chosen);
    }
    matcher.check_matched()?;
    subtract(&mut chosen, &excluded);
    if let Some(listed) = &choice.listed {
        for (entry, chosen) in entries.iter().zip(&mut chosen) {
            *chosen &= listed.contains(&entry.id);
        }
    }
    let mut brought = Vec::new();
    if choice.with_needs {
        brought = Closure::new(&matcher, &mut chosen, &excluded).run();
    }
    if !choice.names_nothing() {
        matcher.drop_loose_ends(&mut chosen);
    }
    Ok(Named {
        chosen,
        brought,
        warnings: matcher.filters.idle_exclusions(),
    })
}

fn subtract(chosen: &mut [bool], excluded: &[bool]) {
    for (chosen, excluded) in chosen.iter_mut().zip(excluded) {
        *chosen &= !excluded;
    }
}

/// Functions by name, and argument types where they are given.
struct FunctionFilter {
    name: Filter,
    arguments: Option<String>,
}

/// The patterns of a selection beside the entries of an archive.
pub(super) struct Matcher<'a> {
    choice: &'a Choice,
    pub(super) entries: &'a [Entry],
    filters: Filters,
    indexes: Filter,
    functions: Vec<FunctionFilter>,
    triggers: Filter,
}

impl<'a> Matcher<'a> {
    fn new(choice: &'a Choice, entries: &'a [Entry]) -> Result<Matcher<'a>> {
        let functions = choice.functions.iter().map(|text| {
            let (name, arguments) = split_arguments(text);
            let name = Filter::new("function", &[name.to_owned()], PatternScope::Relation)?;
            Ok(FunctionFilter { name, arguments })
        });
        let functions: Result<Vec<FunctionFilter>> = functions.collect();
        Ok(Matcher {
            choice,
            entries,
            filters: Filters::new(choice)?,
            indexes: Filter::new("index", &choice.indexes, PatternScope::Relation)?,
            functions: functions?,
            triggers: Filter::new("trigger", &choice.triggers, PatternScope::Relation)?,
        })
    }

    pub(super) fn entry(&self, id: EntryId) -> &'a Entry {
        &self.entries[id.0 as usize]
    }

    fn wants(&self, entry: &Entry) -> bool {
        if self.choice.names_nothing() {
            return true;
        }
        if entry.label == "extension" {
            return self.filters.extensions.matches_name(&entry.name.name);
        }
        if entry.label.starts_with("large object") {
            return self.choice.large_objects == Some(true);
        }
        let schema = schema_of(entry);
        let in_schema = self.filters.schemas.is_empty() && schema.is_some()
            || schema.is_some_and(|schema| self.filters.schemas.matches_name(schema));
        if self.names_objects() {
            return in_schema && self.is_named(entry);
        }
        in_schema && RowsOf::entry(entry) != RowsOf::Configuration
    }

    /// True if tables or single objects are named: then schemas only say where to look for them.
    fn names_objects(&self) -> bool {
        let others = self.indexes.is_empty() && self.triggers.is_empty();
        !(self.filters.tables.is_empty() && others && self.functions.is_empty())
    }

    fn is_named(&self, entry: &Entry) -> bool {
        let schema = entry.name.schema.as_deref().unwrap_or_default();
        let name = entry.name.name.as_str();
        let relation = relation_of(entry).is_some_and(|(schema, relation)| {
            self.filters
                .tables
                .matches_relation(schema, relation, &|| true)
        });
        let single = match entry.label.as_str() {
            "index" => self.indexes.matches_relation(schema, name, &|| true),
            "trigger" => self.is_named_trigger(entry),
            "function" | "procedure" | "aggregate" => self
                .functions
                .iter()
                .filter(|function| function.matches(schema, name))
                // Each is asked, because each must match something.
                .count()
                .gt(&0),
            _ => false,
        };
        relation || single
    }

    /// A trigger's pattern may name its table, and the table's schema.
    fn is_named_trigger(&self, entry: &Entry) -> bool {
        let table = entry.name.relation.as_deref().unwrap_or_default();
        self.triggers.any(|pattern| {
            let schema = pattern.database();
            schema.is_none_or(|schema| entry.name.schema.as_deref() == Some(schema))
                && pattern.matches_relation(table, &entry.name.name, true)
        })
    }

    /// What belongs to chosen tables and extensions without bearing their name.
    fn add_companions(&self, chosen: &mut [bool]) {
        let mut sequences = BTreeSet::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let of_extension =
                |id: &EntryId| chosen[id.0 as usize] && self.entry(*id).label == "extension";
            let configures = RowsOf::entry(entry) == RowsOf::Configuration;
            if configures && entry.needs.iter().any(of_extension) {
                chosen[at] = true;
            }
            if !self.filters.tables.is_empty() && self.is_companion(entry, chosen) {
                chosen[at] = true;
                sequences.extend(relation_of(entry));
            }
        }
        for (at, entry) in self.entries.iter().enumerate() {
            chosen[at] |= relation_of(entry).is_some_and(|name| sequences.contains(&name));
        }
    }

    /// Sequences that need or lock a chosen table (those that a column owns, and identities), and statistics on one.
    fn is_companion(&self, entry: &Entry, chosen: &[bool]) -> bool {
        let is_table = |id: &EntryId| chosen[id.0 as usize] && self.entry(*id).label == "table";
        may_be_companion(entry)
            && (entry.needs.iter().any(is_table) || locks(entry).any(|id| is_table(&id)))
    }

    /// True for what joins two objects, or is there because they are joined: the clone of a trigger on a partition.
    pub(super) fn joins(&self, entry: &Entry) -> bool {
        let mut needs = entry.needs.iter().map(|id| self.entry(*id).label.as_str());
        entry.label.ends_with(" attach")
            || entry.label == "sequence owned by"
            || entry.label == "trigger" && needs.any(|label| label == "table attach")
    }

    /// What joins two objects of which only one is chosen.
    fn drop_loose_ends(&self, chosen: &mut [bool]) {
        for (at, entry) in self.entries.iter().enumerate() {
            let mut ends = entry.needs.iter().copied().chain(locks(entry));
            let is_loose = |id: EntryId| {
                let end = self.entry(id);
                let kinds = ["table", "foreign table", "sequence", "table attach"];
                let is_end = kinds.contains(&end.label.as_str());
                is_end && !chosen[id.0 as usize]
            };
            if self.joins(entry) && ends.any(is_loose) {
                chosen[at] = false;
            }
        }
    }

    fn excluded(&self) -> Vec<bool> {
        let filters = &self.filters;
        let mut excluded: Vec<bool> = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            let relation = relation_of(entry);
            let schema = schema_of(entry);
            let is_rows = is_content(&entry.label, entry.stage);
            let matches = |filter: &Filter| {
                relation
                    .is_some_and(|(schema, name)| filter.matches_relation(schema, name, &|| true))
            };
            let by_schema =
                schema.is_some_and(|schema| filters.exclude_schemas.matches_name(schema));
            let by_table = matches(&filters.exclude_tables);
            let by_rows = is_rows && matches(&filters.exclude_data);
            let by_extension = if entry.label == "extension" {
                filters.exclude_extensions.matches_name(&entry.name.name)
            } else {
                self.is_of_excluded_extension(entry, &excluded)
            };
            excluded.push(by_schema || by_table || by_rows || by_extension);
        }
        excluded
    }

    /// What is left of an extension's members in an archive, privileges and configuration, goes with the extension.
    fn is_of_excluded_extension(&self, entry: &Entry, excluded: &[bool]) -> bool {
        let bare = entry.forms.is_empty() && entry.data.is_none();
        let depends = bare || RowsOf::entry(entry) == RowsOf::Configuration;
        let mut needs = entry.needs.iter().map(|id| id.0 as usize);
        depends
            && needs.any(|need| {
                self.entries[need].label == "extension" && excluded.get(need) == Some(&true)
            })
    }

    fn check_matched(&self) -> Result<()> {
        let place = " in the archive";
        let names = |noun: &str| self.names_of(noun);
        self.filters.check_matched(place, &names)?;
        let functions = self.functions.iter().map(|function| &function.name);
        for filter in [&self.indexes, &self.triggers].into_iter().chain(functions) {
            filter.check_matched(place, &names)?;
        }
        Ok(())
    }

    /// What there is of a noun, for hints.
    fn names_of(&self, noun: &str) -> Vec<(String, String)> {
        let is_it = |entry: &&Entry| match noun {
            "table" => relation_of(entry).is_some_and(|(_, name)| name == entry.name.name),
            "function" => matches!(entry.label.as_str(), "function" | "procedure" | "aggregate"),
            _ => entry.label == noun,
        };
        let bare = |name: &str| name.split('(').next().unwrap_or_default().to_owned();
        let found = self.entries.iter().filter(is_it);
        found
            .map(|entry| (entry.name.to_string(), bare(&entry.name.name)))
            .collect()
    }
}

pub(super) fn may_be_companion(entry: &Entry) -> bool {
    entry.label.starts_with("sequence") || entry.label == "statistics"
}

pub(super) fn locks(entry: &Entry) -> impl Iterator<Item = EntryId> + '_ {
    let steps = entry.forms.iter().flat_map(|form| &form.steps);
    steps.flat_map(|step| step.locks.iter().map(|(id, _)| *id))
}

/// `name(types)` as pattern and types, blanks in these as one; without parentheses any types.
fn split_arguments(text: &str) -> (&str, Option<String>) {
    let mut in_quotes = false;
    let open = text.char_indices().find(|(_, c)| {
        in_quotes ^= *c == '"';
        *c == '(' && !in_quotes
    });
    match open {
        Some((at, _)) if text.ends_with(')') => (
            text[..at].trim_end(),
            Some(same_blanks(&text[at + 1..text.len() - 1])),
        ),
        _ => (text, None),
    }
}

fn same_blanks(types: &str) -> String {
    let types = types.split(',').map(|one| {
        let words: Vec<&str> = one.split_whitespace().collect();
        words.join(" ")
    });
    types.collect::<Vec<String>>().join(", ")
}

impl FunctionFilter {
    /// An entry's name is the bare name with the types, so each parenthesis may be the one between them.
    fn matches(&self, schema: &str, name: &str) -> bool {
        let splits = name.char_indices().filter(|(_, c)| *c == '(');
        let mut splits = splits.map(|(at, _)| (&name[..at], name[at + 1..].trim_end_matches(')')));
        splits.any(|(bare, types)| {
            let same = self.arguments.as_ref();
            same.is_none_or(|wanted| *wanted == same_blanks(types))
                && self.name.matches_relation(schema, bare, &|| true)
        })
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
