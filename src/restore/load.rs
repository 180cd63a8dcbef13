//! How tables are cut into loads: one COPY each, alone or several at once, frozen or not. Pure; running them is in `copy_in`.

use std::collections::{BTreeSet, HashMap};

use super::journal::{Fate, Item, Line, What};
use super::pages;
use super::plan::{PlanCx, RowsFrom};
use super::report::{Ledger, object_of};
use super::triggers::Off;
use crate::archive::index::{ChunkPiece, CopyFormat, Segment, TableIndex};
use crate::graph::scheduler::{RelationKey, Task};
use crate::sql::{DollarQuoted, Ident, Literal, Sql, sql};
use crate::toc::{DataOf, Entry, EntryId, LockMode, Stage};

/// The least and the most raw bytes in one transaction of a table that several connections load.
const GROUP_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=256 << 20;
/// The same for large objects, which gain nothing from being loaded in one go.
const GROUP_BYTES_OF_OBJECTS: std::ops::RangeInclusive<u64> = 4 << 20..=256 << 20;
/// Tables up to this size share transactions.
pub(super) const SMALL_BYTES: u64 = 1 << 20;
/// Tables up to this size are not emptied first, so that their rows could be frozen: a new file, its entry in the catalog and
/// its removal take longer than the rows.
const TINY_BYTES: u64 = 64 << 10;
/// How much one such transaction loads.
const BUNDLE_TABLES: usize = 100;
const BUNDLE_BYTES: u64 = 8 << 20;
/// What a load costs beside its bytes.
const LOAD_COST: u64 = 64 << 10;
/// Label of the rows of foreign tables, which are written through to another server.
const FOREIGN_ROWS: &str = "foreign table data";

/// One COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) entry: EntryId,
    /// Kind and name, for people.
    pub(super) object: String,
    /// `TRUNCATE`, where the table is this run's own and gets all its rows at once.
    pub(super) empty_first: Option<String>,
    /// `COPY … FROM STDIN …`
    pub(super) copy: String,
    /// The same without `FREEZE`, which a savepoint rules out, for rows of which some may be left out.
    pub(super) copy_plain: Option<String>,
    /// The same in binary, for rows from a feed that text cannot carry.
    pub(super) copy_binary: Option<String>,
    /// True if the COPY writes the pages of large objects, and keeps no row.
    pub(super) is_pages: bool,
    /// What runs after the COPY, in its transaction.
    pub(super) then: Option<String>,
    /// What runs before it.
    pub(super) before: Option<String>,
    /// The table whose triggers are off meanwhile.
    pub(super) without_triggers: Option<Off>,
    pub(super) format: CopyFormat,
    pub(super) pieces: Vec<ChunkPiece>,
    /// The segments, by number in the table, and their rows.
    pub(super) segment_rows: Vec<(usize, u64)>,
    pub(super) n_rows: u64,
    pub(super) n_bytes: u64,
    /// What the journal says when it is done.
    pub(super) lines: Vec<Line>,
}

/// Loads of one task.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) loads: Vec<Load>,
    pub(super) task: Task,
    /// True if the table's load before this one must be done.
    pub(super) after_previous: bool,
}

/// Cuts the tables into tasks, in the order of the entries. Tables without rows have none.
pub(super) fn plan<'a>(
    cx: &PlanCx<'_>,
    tables: impl Iterator<Item = (&'a Entry, &'a TableIndex)>,
    ledger: &Ledger,
) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut bundle = Bundle::default();
    let mut roots = Roots::default();
    for (entry, index) in tables {
        if cx.is_empty(index) {
            continue;
        }
        let mut how = How::new(cx, entry, ledger);
        let there = cx.journal.segments(entry.id);
        how.is_fresh &= index.n_bytes > TINY_BYTES && there.is_empty();
        let parts = parts(cx, entry, index, &how, &there);
        if parts.len() == 1 && how.may_share && index.n_bytes <= SMALL_BYTES {
            let load = load(cx, entry, index, &how, parts[0]);
            bundle.add(load, how.locks(&mut roots, true), &mut groups);
            continue;
        }
        let alone = parts.len() == 1 && there.is_empty();
        for (at, part) in parts.into_iter().enumerate() {
            let mut how = how;
            how.is_fresh &= alone;
            let load = load(cx, entry, index, &how, part);
            let mut task = Task::new(Stage::Data, load.n_bytes + LOAD_COST);
            task.locks = how.locks(&mut roots, alone);
            groups.push(Group {
                loads: vec![load],
                task,
                after_previous: how.one_loader && at > 0,
            });
        }
    }
    bundle.close(&mut groups);
    groups
}

/// How the rows of an entry may be loaded.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct How<'a> {
    data: &'a DataOf,
    /// The table's own entry, or the rows'.
    key: EntryId,
    /// True if this run made the table, so that it may be emptied and its rows frozen.
    is_fresh: bool,
    /// True if its parts are loaded in order by one connection at a time.
    one_loader: bool,
    /// True if it may share a transaction with others.
    may_share: bool,
    /// Whether its triggers are off meanwhile: all, or those that guard no foreign key.
    without_triggers: Option<AllTriggers>,
}

impl<'a> How<'a> {
    fn new(cx: &PlanCx<'_>, entry: &'a Entry, ledger: &Ledger) -> How<'a> {
        let data = entry
            .data
            .as_ref()
            .expect("only entries with rows have an index");
        match data {
            DataOf::LargeObjects => How {
                data,
                key: entry.id,
                is_fresh: false,
                one_loader: false,
                may_share: false,
                without_triggers: None,
            },
            DataOf::Table {
                table,
                keep_order,
                via_root,
                ..
            } => {
                let of_this_run = |id: &EntryId| {
                    let is_plain = cx.selection.entry(*id).label == "table";
                    cx.selection.has(*id) && !ledger.is_bad(*id) && is_plain
                };
                How {
                    data,
                    key: table.unwrap_or(entry.id),
                    is_fresh: table.as_ref().is_some_and(of_this_run) && via_root.is_none(),
                    one_loader: *keep_order || via_root.is_some(),
                    may_share: via_root.is_none() && !needs_rows(cx, entry),
                    without_triggers: without_triggers(cx, entry),
                }
            }
        }
    }

    fn locks(&self, roots: &mut Roots, alone: bool) -> Vec<(RelationKey, LockMode)> {
        let mode = if self.is_fresh && alone {
            LockMode::AccessExclusive
        } else if self.without_triggers.is_some() {
            LockMode::ShareRowExclusive
        } else {
            LockMode::RowExclusive
        };
        let mut locks = vec![(RelationKey(self.key.0), mode)];
        if let DataOf::Table {
            via_root: Some(root),
            ..
        } = self.data
        {
            // Conflicts with itself: one loader per root.
            locks.push((roots.key(root), LockMode::ShareUpdateExclusive));
        }
        locks
    }
}

/// True if even the triggers that guard foreign keys are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AllTriggers(bool);

/// Whether triggers are off while rows come: if that is wanted, and where a crash of the server has emptied a table that has
/// triggers by now.
fn without_triggers(cx: &PlanCx<'_>, entry: &Entry) -> Option<AllTriggers> {
    let comes_again = cx.journal.is_resumed && cx.fate(entry) != Fate::Stays;
    match (cx.options.disable_triggers, comes_again) {
        (true, _) => Some(AllTriggers(true)),
        (false, true) => Some(AllTriggers(!cx.is_ordinary)),
        (false, false) => None,
    }
}

/// True if rows must wait for other rows, which tables of one transaction cannot do.
fn needs_rows(cx: &PlanCx<'_>, entry: &Entry) -> bool {
    let needs = cx.selection.needs(entry.id);
    let mut others = needs.into_iter().chain(cx.order.before(entry.id));
    others.any(|need| cx.selection.entry(need).stage == Stage::Data)
}

/// Keys for partitioned tables that are known by name only.
#[derive(Debug, Default)]
struct Roots(HashMap<Sql, u32>);

impl Roots {
    fn key(&mut self, root: &Sql) -> RelationKey {
        let next = u32::try_from(self.0.len()).expect("fewer roots than 2^32");
        // Counted from the end, where no entry's number is.
        RelationKey(u32::MAX - *self.0.entry(root.clone()).or_insert(next))
    }
}

/// Small tables that will share a transaction. They stay in TOC order, which is the order in which they share chunks.
#[derive(Debug, Default)]
struct Bundle {
    loads: Vec<Load>,
    locks: Vec<(RelationKey, LockMode)>,
    n_bytes: u64,
}

impl Bundle {
    fn add(&mut self, load: Load, locks: Vec<(RelationKey, LockMode)>, groups: &mut Vec<Group>) {
        let is_full =
            self.loads.len() >= BUNDLE_TABLES || self.n_bytes + load.n_bytes > BUNDLE_BYTES;
        if is_full {
            self.close(groups);
        }
        self.n_bytes += load.n_bytes;
        self.loads.push(load);
        self.locks.extend(locks);
    }

    fn close(&mut self, groups: &mut Vec<Group>) {
        let bundle = std::mem::take(self);
        if bundle.loads.is_empty() {
            return;
        }
        let n_loads = bundle.loads.len() as u64;
        let mut task = Task::new(Stage::Data, bundle.n_bytes + n_loads * LOAD_COST);
        task.locks = bundle.locks;
        groups.push(Group {
            loads: bundle.loads,
            task,
            after_previous: false,
        });
    }
}

/// Runs of segments that go into one COPY each; those that are there are left out.
fn parts<'a>(
    cx: &PlanCx<'_>,
    entry: &Entry,
    index: &'a TableIndex,
    how: &How<'_>,
    there: &BTreeSet<usize>,
) -> Vec<&'a [Segment]> {
    let all = index.segments.as_slice();
    let mut runs = Vec::new();
    let mut start = 0;
    for at in there.iter().copied().chain([all.len()]) {
        runs.extend(all.get(start..at).filter(|run| !run.is_empty()));
        start = at + 1;
    }
    let n_workers = cx.options.n_workers() as u64;
    let share = index.n_bytes / (n_workers * 4);
    let is_objects = matches!(how.data, DataOf::LargeObjects);
    let bounds = if is_objects {
        GROUP_BYTES_OF_OBJECTS
    } else {
        GROUP_BYTES
    };
    let goal = share.clamp(*bounds.start(), *bounds.end());
    let is_small = index.n_bytes < 2 * goal;
    // In one go the rows of a fresh table are frozen, and not logged where wal_level is minimal; that is worth more
    // than a second connection unless the table is large.
    let is_one = all.len() <= 1 || cx.order.is_whole(entry.id);
    if is_one || is_small && !is_objects {
        return runs;
    }
    let cut = |run| cut(run, goal, |segment| bytes_of(index, segment));
    runs.into_iter().flat_map(cut).collect()
}

/// Cuts a run of segments when `goal` bytes are reached.
fn cut(run: &[Segment], goal: u64, bytes_of: impl Fn(&Segment) -> u64) -> Vec<&[Segment]> {
    let mut parts = Vec::new();
    let (mut start, mut n_bytes) = (0, 0);
    for (at, segment) in run.iter().enumerate() {
        n_bytes += bytes_of(segment);
        if n_bytes >= goal {
            parts.push(&run[start..=at]);
            (start, n_bytes) = (at + 1, 0);
        }
    }
    if start < run.len() {
        parts.push(&run[start..]);
    }
    parts
}

/// The numbers of some of a table's segments, with their rows.
fn numbered(index: &TableIndex, part: &[Segment]) -> Vec<(usize, u64)> {
    let first = index.segments.iter().position(|segment| {
        part.first()
            .is_some_and(|first| std::ptr::eq(first, segment))
    });
    let numbers = first.unwrap_or(0)..;
    numbers
        .zip(part.iter().map(|segment| segment.n_rows))
        .collect()
}

/// Raw bytes of a segment. Of rows that come from a feed only the whole is known, roughly.
fn bytes_of(index: &TableIndex, segment: &Segment) -> u64 {
    if segment.pieces.is_empty() && segment.n_rows == 0 {
        return index.n_bytes / index.segments.len() as u64;
    }
    segment.pieces.iter().map(|piece| piece.n_bytes).sum()
}

fn load(
    cx: &PlanCx<'_>,
    entry: &Entry,
    index: &TableIndex,
    how: &How<'_>,
    part: &[Segment],
) -> Load {
    let pieces: Vec<ChunkPiece> = part
        .iter()
        .flat_map(|segment| segment.pieces.clone())
        .collect();
    let statements = match how.data {
        DataOf::LargeObjects => large_objects(index.format, cx.foreign_objects),
        DataOf::Table {
            target, via_root, ..
        } => {
            let target = via_root.as_ref().unwrap_or(target);
            Statements {
                before: (entry.label == FOREIGN_ROWS).then(|| refuse_rows(target)),
                ..table(target, index, how, cx)
            }
        }
    };
    let segment_rows = numbered(index, part);
    let fate = cx.fate(entry);
    let what = match fate {
        Fate::Unknown => What::RowsBoth,
        Fate::Stays | Fate::Goes => What::Rows,
    };
    let line = |(n, _): &(usize, u64)| Line::new(Item::new(entry.id, what, *n), fate);
    Load {
        lines: segment_rows.iter().map(line).collect(),
        entry: entry.id,
        object: object_of(entry),
        before: statements.before,
        without_triggers: statements.without_triggers,
        empty_first: statements.empty_first,
        copy: statements.copy,
        copy_plain: statements.copy_plain,
        copy_binary: statements.copy_binary,
        is_pages: matches!(how.data, DataOf::LargeObjects),
        then: statements.then,
        format: index.format,
        segment_rows,
        n_rows: part.iter().map(|segment| segment.n_rows).sum(),
        n_bytes: part.iter().map(|segment| bytes_of(index, segment)).sum(),
        pieces,
    }
}

#[derive(Default)]
struct Statements {
    before: Option<String>,
    empty_first: Option<String>,
    copy: String,
    copy_plain: Option<String>,
    copy_binary: Option<String>,
    then: Option<String>,
    without_triggers: Option<Off>,
}

fn table(target: &Sql, index: &TableIndex, how: &How<'_>, cx: &PlanCx<'_>) -> Statements {
    let columns: Vec<Ident> = index.columns.iter().map(Ident::new).collect();
    let columns = (!columns.is_empty()).then(|| sql![" (", Sql::list(&columns), ")"]);
    let copy = |format: CopyFormat, freeze: Option<&'static str>| {
        let format = match format {
            CopyFormat::Text => "text",
            CopyFormat::Binary => "binary",
        };
        sql![
            "COPY ",
            target,
            &columns,
            " FROM STDIN (FORMAT ",
            format,
            ", ENCODING ",
            Literal(cx.encoding),
            freeze,
            ")"
        ]
        .text()
    };
    let freeze = how.is_fresh.then_some(", FREEZE");
    Statements {
        empty_first: how
            .is_fresh
            .then(|| sql!["TRUNCATE TABLE ONLY ", target].text()),
        without_triggers: how.without_triggers.map(|all| Off {
            table: target.text(),
            of_keys: all.0,
        }),
        copy: copy(index.format, freeze),
        copy_plain: (index.format == CopyFormat::Text).then(|| copy(CopyFormat::Text, None)),
        copy_binary: (cx.rows == RowsFrom::Feed { binary: true })
            .then(|| copy(CopyFormat::Binary, freeze)),
        ..Statements::default()
    }
}

/// Whatever a foreign server has is not this run's, even if the foreign table is.
fn refuse_rows(target: &Sql) -> String {
    let problem = format!(
        "foreign table {} has rows already: is its server the one that they came from?",
        target.text()
    );
    let block = sql![
        " BEGIN IF EXISTS (SELECT FROM ONLY ",
        target,
        ") THEN RAISE EXCEPTION USING MESSAGE = ",
        Literal(&problem),
        "; END IF; END "
    ];
    sql!["DO ", DollarQuoted(&block.text())].text()
}

/// The pages of large objects; see `pages`.
fn large_objects(format: CopyFormat, foreign: &[u32]) -> Statements {
    Statements {
        before: Some(pages::BEFORE.to_owned()),
        copy: pages::copy(format, foreign),
        then: Some(pages::THEN.to_owned()),
        ..Statements::default()
    }
}
