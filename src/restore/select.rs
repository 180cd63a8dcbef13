//! Which entries of an archive are restored. Pure. Labels serve the user's filters here, as everywhere in a restore;
//! an entry whose label is unknown is restored like any other.

use std::collections::BTreeSet;

use super::options::RestoreOptions;
use super::wanted::Promised;
use crate::error::{Error, Result};
use crate::sql::{Pattern, PatternScope};
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
        if options.schema_only && options.data_only {
            return Err(Error::Usage(
                "only definitions and only rows exclude each other".to_owned(),
            ));
        }
        let filters = Filters::new(options)?;
        let by_name = filters.choose(&entries);
        filters.check_all_matched()?;
        // The database itself goes with its making, whatever is chosen of its contents.
        let is_made = (options.create || options.database_properties) && !options.data_only;
        let chosen: Vec<bool> = entries
            .iter()
            .zip(by_name)
            .map(|(entry, named)| match entry.stage {
                Stage::Database => is_made,
                _ => named && in_sections(entry, options),
            })
            .collect();
        let is_whole = filters.are_empty() && !options.data_only;
        Ok(Selection {
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
        })
    }

    /// The tablespace that the database was in, if it was not the default one and is wanted.
    pub(super) fn database_tablespace(&self, options: &RestoreOptions) -> Option<&str> {
        if options.no_tablespaces {
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

    /// One entry, wanted or not.
    pub(super) fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id.0 as usize]
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

/// True if the sections that the user wants include the entry.
fn in_sections(entry: &Entry, options: &RestoreOptions) -> bool {
    let is_content = entry.label.starts_with("large object")
        || entry.label == "materialized view data"
        || entry.stage == Stage::Data;
    // An extension's own tables hold configuration, which belongs to its definition.
    let is_configuration = matches!(entry.data, Some(DataOf::Table { table: None, .. }));
    match (options.schema_only, options.data_only) {
        (true, _) => !is_content || is_configuration,
        (_, true) => is_content,
        _ => true,
    }
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

/// A pattern, and whether it has matched anything.
#[derive(Debug)]
struct Filter {
    pattern: Pattern,
    option: &'static str,
    matched: std::cell::Cell<bool>,
}

#[derive(Debug)]
struct Filters {
    schemas: Vec<Filter>,
    exclude_schemas: Vec<Filter>,
    tables: Vec<Filter>,
    exclude_tables: Vec<Filter>,
    exclude_data: Vec<Filter>,
}

impl Filters {
    fn new(options: &RestoreOptions) -> Result<Filters> {
        let parse = |texts: &[String], scope, option| -> Result<Vec<Filter>> {
            let one = |text: &String| {
                Ok(Filter {
                    pattern: Pattern::parse(text, scope)?,
                    option,
                    matched: false.into(),
                })
            };
            texts.iter().map(one).collect()
        };
        let (schema, relation) = (PatternScope::Schema, PatternScope::Relation);
        Ok(Filters {
            schemas: parse(&options.schemas, schema, "schema")?,
            exclude_schemas: parse(&options.exclude_schemas, schema, "excluded schema")?,
            tables: parse(&options.tables, relation, "table")?,
            exclude_tables: parse(&options.exclude_tables, relation, "excluded table")?,
            exclude_data: parse(
                &options.exclude_table_data,
                relation,
                "table without its rows",
            )?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Filter> {
        [
            &self.schemas,
            &self.exclude_schemas,
            &self.tables,
            &self.exclude_tables,
            &self.exclude_data,
        ]
        .into_iter()
        .flatten()
    }

    /// True if no object is left out; rows may be.
    fn are_empty(&self) -> bool {
        self.all().count() == self.exclude_data.len()
    }

    fn check_all_matched(&self) -> Result<()> {
        match self.all().find(|filter| !filter.matched.get()) {
            None => Ok(()),
            Some(filter) => Err(Error::Usage(format!(
                "no {} in the archive matches {:?}; `pgark show` lists what is in it",
                filter.option,
                filter.pattern.text()
            ))),
        }
    }

    fn choose(&self, entries: &[Entry]) -> Vec<bool> {
        let mut chosen: Vec<bool> = entries.iter().map(|entry| self.wants(entry)).collect();
        if !self.tables.is_empty() {
            for sequence in owned_sequences(entries, &chosen) {
                for (entry, chosen) in entries.iter().zip(&mut chosen) {
                    *chosen |= relation_of(entry) == Some(sequence);
                }
            }
        }
        for (entry, chosen) in entries.iter().zip(&mut chosen) {
            *chosen &= !self.excludes(entry);
        }
        chosen
    }

    fn wants(&self, entry: &Entry) -> bool {
        if self.schemas.is_empty() && self.tables.is_empty() {
            return true;
        }
        let relation = relation_of(entry);
        let as_table = relation.is_some_and(|relation| any_relation(&self.tables, relation));
        let as_schema = schema_of(entry).is_some_and(|schema| any_schema(&self.schemas, schema));
        as_table || as_schema
    }

    fn excludes(&self, entry: &Entry) -> bool {
        let relation = relation_of(entry);
        let schema = schema_of(entry);
        let is_rows = entry.stage == Stage::Data || entry.label == "materialized view data";
        schema.is_some_and(|schema| any_schema(&self.exclude_schemas, schema))
            || relation.is_some_and(|relation| any_relation(&self.exclude_tables, relation))
            || relation
                .is_some_and(|relation| is_rows && any_relation(&self.exclude_data, relation))
    }
}

/// The schema that the entry is, or is in.
fn schema_of(entry: &Entry) -> Option<&str> {
    match &entry.name.schema {
        Some(schema) => Some(schema),
        None => (entry.label == "schema").then_some(entry.name.name.as_str()),
    }
}

fn any_schema(filters: &[Filter], schema: &str) -> bool {
    filters.iter().fold(false, |any, filter| {
        let fits = filter.pattern.matches_name(schema);
        filter.matched.set(filter.matched.get() || fits);
        any || fits
    })
}

fn any_relation(filters: &[Filter], (schema, name): (&str, &str)) -> bool {
    filters.iter().fold(false, |any, filter| {
        let fits = filter.pattern.matches_relation(schema, name, true);
        filter.matched.set(filter.matched.get() || fits);
        any || fits
    })
}

/// Sequences that need or lock a chosen table: those that a column owns, and identities.
fn owned_sequences<'a>(entries: &'a [Entry], chosen: &[bool]) -> BTreeSet<(&'a str, &'a str)> {
    let is_table = |id: &EntryId| chosen[id.0 as usize] && entries[id.0 as usize].label == "table";
    let of_table = |entry: &&Entry| {
        let steps = entry.forms.iter().flat_map(|form| &form.steps);
        let mut locks = steps.flat_map(|step| step.locks.iter().map(|(id, _)| id));
        entry.label.starts_with("sequence")
            && (entry.needs.iter().any(is_table) || locks.any(is_table))
    };
    entries
        .iter()
        .filter(of_table)
        .filter_map(relation_of)
        .collect()
}
