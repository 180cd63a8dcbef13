//! What differs between two archives, or between an archive and what a dump would write now: objects that came, went or changed,
//! and tables whose rows did, with the places where. Everything after the reading is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};

use crate::archive::Archive;
use crate::archive::digest::Digest;
use crate::archive::index::{ChunkPiece, Segment, TableIndex};
use crate::archive::rows_at::RowsAt;
use crate::error::Result;
use crate::toc::{DataOf, Entry, EntryId, EntryName, Form, Part, Step, printable};

/// What one side of a comparison holds.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// The entries, numbered.
    pub entries: Vec<Entry>,
    /// Where the rows are.
    pub tables: Vec<TableIndex>,
    /// False if not everything of the database is in it: what it lacks is then no difference.
    pub is_whole: bool,
}

impl Contents {
    /// What an archive holds. Rows are not read: their fingerprints and chunk names say whether they are the same.
    pub async fn of(archive: &Archive) -> Result<Contents> {
        let (entries, tables) = (archive.entries().await?, archive.table_indexes().await?);
        let is_whole = archive.manifest().group.scope != crate::archive::manifest::Scope::Partial;
        Ok(Contents {
            entries,
            tables,
            is_whole,
        })
    }

    fn rows_of(&self) -> BTreeMap<EntryId, &TableIndex> {
        let tables = self.tables.iter();
        tables.map(|table| (table.entry, table)).collect()
    }
}

/// What a part of an object is called, if it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// The statements that make it, or where it lies.
    Definition,
    /// The owner.
    Owner,
    /// Comments, labels, settings and what else follows creation.
    After(Part),
    /// Grants.
    Privileges,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Aspect::Definition => "definition",
            Aspect::Owner => "owner",
            Aspect::Privileges => "privileges",
            Aspect::After(Part::Comment) => "comment",
            Aspect::After(Part::Label) => "security label",
            Aspect::After(_) => "settings",
        };
        f.write_str(word)
    }
}

impl Serialize for Aspect {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What became of an object or a table's rows on the way from the first side to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Only the first has it.
    Removed,
    /// Only the second has it.
    Added,
    /// Both have it, and it differs.
    Changed,
}

/// An object that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    /// What became of it.
    pub change: Change,
    /// Its kind: `index`.
    pub kind: String,
    /// Its name: `public.orders orders_pkey`.
    pub name: String,
    /// What of it differs; empty unless it changed.
    pub aspects: Vec<Aspect>,
}

/// Rows of a table on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowsOf {
    /// How many.
    pub rows: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
    /// Sum of their hashes, 32 hexadecimal digits.
    pub fingerprint: String,
}

/// A table whose rows are not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowsChange {
    /// What became of them.
    pub change: Change,
    /// The table.
    pub table: String,
    /// Its rows on the first side.
    pub first: Option<RowsOf>,
    /// Its rows on the second side.
    pub second: Option<RowsOf>,
    /// Why equal rows may look different: other columns, another format.
    pub because: Option<String>,
    /// Chunks, or pieces of shared ones, that both sides have.
    pub n_same_chunks: u64,
    /// The ranges whose chunks differ, in the order of the table.
    pub ranges: Vec<RangeChange>,
}

/// A range of a table whose chunks are not the same on both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RangeChange {
    /// Which rows: `blocks 8192 to 16383`.
    pub range: String,
    /// Its rows on the first side; `None` where that was not cut so.
    pub first_rows: Option<u64>,
    /// Its rows on the second side.
    pub second_rows: Option<u64>,
    /// The first side's chunks that the second does not have.
    pub first_chunks: Vec<Digest>,
    /// The second side's chunks that the first does not have.
    pub second_chunks: Vec<Digest>,
}

/// All that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Objects, by kind and name.
    pub objects: Vec<ObjectChange>,
    /// Tables with other rows, by name.
    pub rows: Vec<RowsChange>,
    /// Objects that are the same.
    pub n_same_objects: u64,
    /// Tables whose rows are the same.
    pub n_same_tables: u64,
}

impl Diff {
    /// True if nothing differs.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.rows.is_empty()
    }
}

/// Compares two sides.
pub fn diff(first: &Contents, second: &Contents) -> Diff {
    let mut diff = Diff::default();
    let (names, other_names) = (Names::of(&first.entries), Names::of(&second.entries));
    let (rows, other_rows) = (first.rows_of(), second.rows_of());
    for (mine, theirs) in pairs(&first.entries, &second.entries) {
        let is_lack = match (mine, theirs) {
            (None, Some(_)) => !first.is_whole,
            (Some(_), None) => !second.is_whole,
            _ => false,
        };
        if is_lack {
            continue;
        }
        let of = |rows: &BTreeMap<EntryId, &TableIndex>, entry: Option<&Entry>| {
            entry.and_then(|entry| rows.get(&entry.id).map(|index| (*index).clone()))
        };
        let sides = (of(&rows, mine), of(&other_rows, theirs));
        let entry = mine.or(theirs).expect("a pair has a side");
        let object = match (mine, theirs) {
            (Some(mine), Some(theirs)) => {
                let mut aspects = aspects(mine, theirs);
                // Of what is not whole, what an object needs is not all there either.
                let needs_are_known = first.is_whole && second.is_whole;
                if needs_are_known && names.all(&mine.needs) != other_names.all(&theirs.needs) {
                    aspects.insert(Aspect::Definition);
                }
                let aspects: Vec<Aspect> = aspects.into_iter().collect();
                (!aspects.is_empty()).then(|| ObjectChange::new(Change::Changed, entry, aspects))
            }
            (Some(_), None) => Some(ObjectChange::new(Change::Removed, entry, Vec::new())),
            (None, _) => Some(ObjectChange::new(Change::Added, entry, Vec::new())),
        };
        // Rows that came or went are told of once, with their number.
        let is_told = object
            .as_ref()
            .is_some_and(|object| object.change != Change::Changed && entry.data.is_some());
        match object {
            Some(object) if !is_told => diff.objects.push(object),
            _ if !is_told => diff.n_same_objects += 1,
            _ => {}
        }
        if entry.data.is_some() {
            match rows_change(entry, sides.0.as_ref(), sides.1.as_ref()) {
                Some(change) => diff.rows.push(change),
                None => diff.n_same_tables += 1,
            }
        }
    }
    diff.objects
        .sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    diff.rows.sort_by(|a, b| a.table.cmp(&b.table));
    diff
}

/// What an object is known by.
type Identity<'a> = (&'a str, &'a EntryName);

/// What entries are called, by number: numbers mean something in one archive only.
struct Names<'a>(BTreeMap<EntryId, Identity<'a>>);

impl<'a> Names<'a> {
    fn of(entries: &'a [Entry]) -> Names<'a> {
        Names(entries.iter().map(|one| (one.id, identity(one))).collect())
    }

    fn all(&self, ids: &[EntryId]) -> BTreeSet<Identity<'a>> {
        let known = ids.iter().filter_map(|id| self.0.get(id));
        known.copied().collect()
    }
}

fn identity(entry: &Entry) -> Identity<'_> {
    (&entry.label, &entry.name)
}

/// Entries of the same kind and name side by side; several of one are paired in their order.
fn pairs<'a>(
    first: &'a [Entry],
    second: &'a [Entry],
) -> Vec<(Option<&'a Entry>, Option<&'a Entry>)> {
    let mut by_identity: BTreeMap<Identity<'a>, (Vec<&Entry>, Vec<&Entry>)> = BTreeMap::new();
    for entry in first {
        by_identity
            .entry(identity(entry))
            .or_default()
            .0
            .push(entry);
    }
    for entry in second {
        by_identity
            .entry(identity(entry))
            .or_default()
            .1
            .push(entry);
    }
    let mut pairs = Vec::new();
    for (mine, theirs) in by_identity.into_values() {
        let n = mine.len().max(theirs.len());
        pairs.extend((0..n).map(|at| (mine.get(at).copied(), theirs.get(at).copied())));
    }
    pairs
}

impl ObjectChange {
    fn new(change: Change, entry: &Entry, aspects: Vec<Aspect>) -> ObjectChange {
        ObjectChange {
            change,
            kind: printable(&entry.label),
            name: entry.name.to_string(),
            aspects,
        }
    }
}

fn aspects(mine: &Entry, theirs: &Entry) -> BTreeSet<Aspect> {
    let mut aspects = BTreeSet::new();
    let places = |entry: &Entry| {
        let Entry {
            tablespace,
            access_method,
            directory,
            stage,
            ..
        } = entry.clone();
        (tablespace, access_method, directory, stage)
    };
    let is_same = places(mine) == places(theirs)
        && forms(mine) == forms(theirs)
        && data(mine) == data(theirs);
    if !is_same {
        aspects.insert(Aspect::Definition);
    }
    if mine.owner != theirs.owner {
        aspects.insert(Aspect::Owner);
    }
    for after in mine
        .after
        .iter()
        .filter(|after| !theirs.after.contains(after))
    {
        aspects.insert(Aspect::After(after.part));
    }
    for after in theirs
        .after
        .iter()
        .filter(|after| !mine.after.contains(after))
    {
        aspects.insert(Aspect::After(after.part));
    }
    if mine.grants != theirs.grants {
        aspects.insert(Aspect::Privileges);
    }
    aspects
}

/// The forms without numbers of entries.
fn forms(entry: &Entry) -> Vec<Form> {
    let without_locks = |step: &Step| Step {
        locks: Vec::new(),
        ..step.clone()
    };
    let forms = entry.forms.iter();
    forms
        .map(|form| Form {
            steps: form.steps.iter().map(without_locks).collect(),
            ..form.clone()
        })
        .collect()
}

/// What is said of the rows, without numbers of entries.
fn data(entry: &Entry) -> Option<DataOf> {
    let mut data = entry.data.clone();
    if let Some(DataOf::Table { table, .. }) = &mut data {
        *table = None;
    }
    data
}

fn rows_change(
    entry: &Entry,
    first: Option<&TableIndex>,
    second: Option<&TableIndex>,
) -> Option<RowsChange> {
    let change = match (first, second) {
        (None, None) => return None,
        (Some(a), Some(b)) if is_same(a, b) => return None,
        (Some(_), Some(_)) => Change::Changed,
        (Some(_), None) => Change::Removed,
        (None, Some(_)) => Change::Added,
    };
    let because = first.zip(second).and_then(|(a, b)| {
        if a.columns != b.columns {
            return Some("the columns differ".to_owned());
        }
        (a.format != b.format)
            .then(|| "one side has a row that text cannot carry, and is in binary".to_owned())
    });
    let (n_same_chunks, ranges) = match (first, second) {
        (Some(a), Some(b)) if because.is_none() => ranges(a, b),
        _ => (0, Vec::new()),
    };
    let table = match entry.data {
        Some(DataOf::LargeObjects) => "large objects".to_owned(),
        _ => entry.name.to_string(),
    };
    Some(RowsChange {
        change,
        table,
        first: first.map(RowsOf::of),
        second: second.map(RowsOf::of),
        because,
        n_same_chunks,
        ranges,
    })
}

fn is_same(a: &TableIndex, b: &TableIndex) -> bool {
    let facts = |index: &TableIndex| (index.format, index.n_rows, index.fingerprint.clone());
    // Without rows a fingerprint says nothing of columns, which the definition does.
    facts(a) == facts(b) && (a.columns == b.columns || a.n_rows == 0)
}

impl RowsOf {
    fn of(index: &TableIndex) -> RowsOf {
        RowsOf {
            rows: index.n_rows,
            raw_bytes: index.n_bytes,
            fingerprint: index.fingerprint.clone(),
        }
    }
}

/// A piece's bytes: the same piece of the same chunk holds the same rows.
type Piece = (Digest, u64, u64);

fn piece(piece: &ChunkPiece) -> Piece {
    (piece.chunk, piece.offset, piece.n_bytes)
}

/// The pieces that are on both sides, and the ranges that have others.
fn ranges(a: &TableIndex, b: &TableIndex) -> (u64, Vec<RangeChange>) {
    let all = |index: &TableIndex| -> BTreeSet<Piece> {
        let pieces = index.segments.iter().flat_map(|one| &one.pieces);
        pieces.map(piece).collect()
    };
    let (mine, theirs) = (all(a), all(b));
    let mut by_range: BTreeMap<RowsAt, RangeChange> = BTreeMap::new();
    let lacking = |segment: &Segment, there: &BTreeSet<Piece>| -> Vec<Digest> {
        let pieces = segment.pieces.iter();
        let lacking = pieces.filter(|one| !there.contains(&piece(one)));
        lacking.map(|one| one.chunk).collect()
    };
    for (at, segment) in a.segments.iter().enumerate() {
        let range = by_range.entry(RowsAt::of(segment, at)).or_default();
        range.first_rows = Some(segment.n_rows);
        range.first_chunks = lacking(segment, &theirs);
    }
    for (at, segment) in b.segments.iter().enumerate() {
        let range = by_range.entry(RowsAt::of(segment, at)).or_default();
        range.second_rows = Some(segment.n_rows);
        range.second_chunks = lacking(segment, &mine);
    }
    let key = a.cell_key.as_ref().or(b.cell_key.as_ref());
    let named = |(place, range): (RowsAt, RangeChange)| {
        let differs = !range.first_chunks.is_empty() || !range.second_chunks.is_empty();
        differs.then(|| RangeChange {
            range: place.words(key).to_string(),
            ..range
        })
    };
    let ranges = by_range.into_iter().filter_map(named).collect();
    (mine.intersection(&theirs).count() as u64, ranges)
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
