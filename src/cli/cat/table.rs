//! Which table a pattern means, and where its rows are: in one entry, or in those of its partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::Archive;
use crate::archive::index::TableIndex;
use crate::error::{Error, Result};
use crate::selection::filters::Filter;
use crate::sql::{Pattern, PatternScope, QualifiedName};
use crate::toc::{DataOf, Entry, EntryId, printable};

/// Tables that are named where a pattern means several.
const SHOWN: usize = 10;

/// One table of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name, quoted.
    pub(super) target: String,
    /// The entries that hold its rows.
    entries: BTreeSet<EntryId>,
}

/// Schema and name.
type Named = (String, String);

/// The table that `pattern` means; it must be exactly one with rows in the archive.
pub(super) fn find(pattern: &str, database: &str, entries: &[Entry]) -> Result<Table> {
    if let Some(other) = Pattern::parse(pattern, PatternScope::Relation)?.database()
        && other != database
    {
        return Err(Error::Usage(format!(
            "pattern {pattern:?} names another database than {database:?}, of which the archive is"
        )));
    }
    let (with_rows, without) = tables(entries);
    let filter = Filter::new("table", &[pattern.to_owned()], PatternScope::Relation)?;
    let fits = |named: &Named| filter.matches_relation(&named.0, &named.1, &|| true);
    let found: Vec<&Named> = with_rows.keys().filter(|named| fits(named)).collect();
    if let [named] = found.as_slice() {
        return Ok(Table {
            target: QualifiedName::new(&named.0, &named.1).quoted(),
            entries: with_rows[*named].clone(),
        });
    }
    if found.is_empty() {
        if let Some(named) = without.iter().find(|named| fits(named)) {
            return Err(Error::NotFound {
                what: format!("the archive has no rows of table {}", shown(named)),
                remedy: "they were left out of the dump, or stand in its partitions: name the topmost partitioned table, or one partition"
                    .to_owned(),
            });
        }
        let names = |_: &str| -> Vec<(String, String)> {
            let names = with_rows.keys();
            names.map(|named| (shown(named), named.1.clone())).collect()
        };
        filter.check_matched(" of the archive", &names)?;
    }
    let names: Vec<String> = found.iter().take(SHOWN).map(|named| shown(named)).collect();
    let more = match found.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Error::Usage(format!(
        "{pattern:?} means {} tables, and rows can be had of one at a time: {}{more}",
        found.len(),
        names.join(", ")
    )))
}

fn shown((schema, name): &Named) -> String {
    format!("{}.{}", printable(schema), printable(name))
}

/// Tables with rows, those of partitions under their root too; and tables without.
fn tables(entries: &[Entry]) -> (BTreeMap<Named, BTreeSet<EntryId>>, BTreeSet<Named>) {
    let mut with_rows: BTreeMap<Named, BTreeSet<EntryId>> = BTreeMap::new();
    let mut by_root: BTreeMap<String, BTreeSet<EntryId>> = BTreeMap::new();
    for entry in entries {
        if let (Some(DataOf::Table { root, .. }), Some(named)) = (&entry.data, named(entry)) {
            with_rows.entry(named).or_default().insert(entry.id);
            if let Some(root) = root {
                by_root.entry(root.text()).or_default().insert(entry.id);
            }
        }
    }
    let mut without = BTreeSet::new();
    let is_table = |entry: &&Entry| entry.label == "table" && entry.name.relation.is_none();
    for named in entries.iter().filter(is_table).filter_map(named) {
        let target = QualifiedName::new(&named.0, &named.1).quoted();
        if let Some(of_root) = by_root.get(&target) {
            with_rows.entry(named).or_default().extend(of_root);
        } else if !with_rows.contains_key(&named) {
            without.insert(named);
        }
    }
    (with_rows, without)
}

/// The relation that an entry is of.
fn named(entry: &Entry) -> Option<Named> {
    let name = &entry.name;
    let relation = name.relation.as_ref().unwrap_or(&name.name);
    Some((name.schema.clone()?, relation.clone()))
}

impl Table {
    /// Where the rows are, in the archive's order.
    pub(super) async fn indexes(&self, archive: &Archive) -> Result<Vec<TableIndex>> {
        let mut found = Vec::new();
        let mut reader = archive.table_index_reader();
        while let Some(index) = reader.next().await? {
            if self.entries.contains(&index.entry) {
                found.push(index);
            }
        }
        if found.len() == self.entries.len() {
            return Ok(found);
        }
        Err(Error::corrupt(
            format_args!("archive {}", archive.name()),
            "data index",
            format_args!("has not all rows of {}", printable(&self.target)),
        ))
    }
}
