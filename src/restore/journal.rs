//! The journal of a restore: which work is done, written on the target by the transaction that does it. So `--resume` does after
//! any crash what is missing, and nothing twice. What is in a journal and how it is written: pure. Reading it, and who may go on
//! with it, is in `on_target`.
//!
//! Work is named by the archive's numbers, which are the same in every run: a step of an entry, a segment of its rows. Rows of
//! UNLOGGED tables stand in a table that is UNLOGGED itself: after a crash of the server both are empty.

mod on_target;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub(super) use self::on_target::{
    Begin, Found, begin, claim, close, end, enlist, has_line, look, read, take_back, unlogged,
};
use super::options::RestoreOptions;
use super::report::{Failure, LeftRows};
use crate::archive::index::{Segment, TableIndex};
use crate::sql::{Literal, sql};
use crate::toc::EntryId;

/// The form of a journal; another one is not read.
const FORMAT: u32 = 1;
/// Lines in one INSERT.
const LINES_AT_ONCE: usize = 1000;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A step of an entry, counted from 0.
    Step,
    /// A step that cannot run in a transaction was begun.
    Begun,
    /// A segment of rows, counted from 0.
    Rows,
    /// The same of rows that went through a root, into partitions of which some may be UNLOGGED.
    RowsBoth,
    /// The grants of an entry.
    Grants,
    /// The statistics of the table whose rows an entry has.
    Statistics,
    /// Schemas have got their new names.
    Names,
}

impl What {
    const ALL: [(What, &'static str); 7] = [
        (What::Step, "step"),
        (What::Begun, "begun"),
        (What::Rows, "rows"),
        (What::RowsBoth, "rows, both"),
        (What::Grants, "grants"),
        (What::Statistics, "statistics"),
        (What::Names, "names"),
    ];

    fn word(self) -> &'static str {
        let found = What::ALL.iter().find(|(what, _)| *what == self);
        found.expect("all are listed").1
    }

    fn of(word: &str) -> Option<What> {
        let found = What::ALL.iter().find(|(_, known)| *known == word);
        found.map(|(what, _)| *what)
    }
}

/// A piece of work that is done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) entry: EntryId,
    pub(super) what: What,
    pub(super) n: u32,
}

impl Item {
    pub(super) fn new(entry: EntryId, what: What, n: usize) -> Item {
        Item {
            entry,
            what,
            n: u32::try_from(n).expect("fewer steps and segments than 2^32"),
        }
    }
}

/// The statistics of the table whose rows an entry has.
pub(super) fn statistics_of(rows: EntryId) -> Item {
    Item::new(rows, What::Statistics, 0)
}

/// What becomes of finished work when the server crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It is in an UNLOGGED table or sequence.
    Goes,
    /// Some of it may.
    Unknown,
}

/// A finished piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) item: Item,
    pub(super) fate: Fate,
}

impl Line {
    pub(super) fn new(item: Item, fate: Fate) -> Line {
        Line { item, fate }
    }

    /// The same work when it has only begun.
    pub(super) fn begun(self) -> Line {
        Line {
            item: Item {
                what: What::Begun,
                ..self.item
            },
            ..self
        }
    }

    /// Work that a crash of the server leaves.
    pub(super) fn lasting(item: Item) -> Line {
        Line::new(item, Fate::Stays)
    }
}

/// What a run must tell of work that a later one will not do again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Note {
    /// Rows that were left out.
    LeftOut(LeftRows),
    /// A statement after creation that the target refused; `failure` names no object.
    Refused {
        part: String,
        /// True if its text could not be read, which is a failure.
        is_failure: bool,
        failure: Failure,
    },
    /// Large objects that are the target's own.
    Foreign(Vec<u32>),
    /// What makes the schema `public` again after it has got another name.
    PublicAgain(Vec<String>),
}

/// What is written with a piece of work.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) lines: Vec<Line>,
    pub(super) notes: Vec<(EntryId, Note)>,
}

impl Record {
    /// Work of which there is nothing to tell.
    pub(super) fn of(lines: impl IntoIterator<Item = Line>) -> Record {
        Record {
            lines: lines.into_iter().collect(),
            notes: Vec::new(),
        }
    }

    /// The statements that write it.
    pub(super) fn statements(&self) -> Vec<String> {
        let stays = |line: &&Line| line.fate != Fate::Goes;
        let goes = |line: &&Line| line.fate != Fate::Stays;
        let mut statements = inserts(DONE, self.lines.iter().filter(stays));
        statements.extend(inserts(UNLOGGED, self.lines.iter().filter(goes)));
        let notes = self.notes.iter();
        statements.extend(notes.map(|(entry, note)| note.insert(*entry)));
        statements
    }
}

/// The statement that takes back that work was begun.
pub(super) fn forget(lines: &[Line]) -> String {
    let item = |line: &Line| {
        let Item { entry, what, n } = line.begun().item;
        format!("({}, '{}', {n})", entry.0, what.word())
    };
    let items: Vec<String> = lines.iter().map(item).collect();
    format!(
        "DELETE FROM {DONE} WHERE (entry, what, n) IN ({})",
        items.join(", ")
    )
}

/// Finished work that stays.
const DONE: &str = "\"pgark_restore\".\"done\"";
/// Finished work that goes with a crash of the server.
const UNLOGGED: &str = "\"pgark_restore\".\"done_unlogged\"";

fn inserts<'a>(table: &str, lines: impl Iterator<Item = &'a Line>) -> Vec<String> {
    let value = |line: &Line| {
        let Item { entry, what, n } = line.item;
        format!("({}, '{}', {n})", entry.0, what.word())
    };
    let values: Vec<String> = lines.map(value).collect();
    let statement = |some: &[String]| format!("INSERT INTO {table} VALUES {}", some.join(", "));
    values.chunks(LINES_AT_ONCE).map(statement).collect()
}

impl Note {
    pub(super) fn insert(&self, entry: EntryId) -> String {
        let json = serde_json::to_string(self).expect("notes have string keys and no I/O");
        let note = ascii(&json);
        sql![
            "INSERT INTO \"pgark_restore\".\"note\" VALUES (",
            i64::from(entry.0),
            ", ",
            Literal(&note),
            ")"
        ]
        .text()
    }
}

/// JSON that every encoding can hold.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// What the lines of a journal hold for: entries and segments of one archive, made into statements in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bond {
    format: u32,
    /// The version of the program: another one may make other statements of an entry.
    pgark: String,
    pub(super) archive: String,
    /// The manifest's SHA-256.
    manifest: String,
    /// Options that decide what is restored.
    options: BTreeMap<String, String>,
}

impl Bond {
    pub(super) fn new(archive: &str, manifest: &str, options: &RestoreOptions) -> Bond {
        // Every field is named, so that a new option cannot be forgotten.
        let RestoreOptions {
            jobs: _,
            selection,
            skip_unsupported,
            create,
            clean: _,
            single_transaction: _,
            exit_on_error: _,
            disable_triggers,
            load_via_partition_root,
            map_roles,
            map_schemas,
            database_properties,
            role,
            text_encoding,
            analyze: _,
            check: _,
            verify_chunks: _,
            salvage,
            untrusted,
            resume: _,
            index_memory_mib: _,
            index_workers: _,
        } = options;
        let properties = *create || *database_properties;
        let options = [
            ("the choice of objects", format!("{selection:?}")),
            ("--skip-unsupported", skip_unsupported.to_string()),
            ("--create", properties.to_string()),
            ("--disable-triggers", disable_triggers.to_string()),
            (
                "--load-via-partition-root",
                load_via_partition_root.to_string(),
            ),
            ("--map-role", format!("{map_roles:?}")),
            ("--map-schema", format!("{map_schemas:?}")),
            ("--role", format!("{role:?}")),
            ("--text-encoding", format!("{text_encoding:?}")),
            ("--salvage", salvage.to_string()),
            ("--untrusted", untrusted.to_string()),
        ];
        Bond {
            format: FORMAT,
            pgark: env!("CARGO_PKG_VERSION").to_owned(),
            archive: archive.to_owned(),
            manifest: manifest.to_owned(),
            options: options.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    fn json(&self) -> String {
        ascii(&serde_json::to_string(self).expect("bonds have string keys and no I/O"))
    }

    /// Why a restore so bound cannot go on where one bound by `self` ended.
    pub(super) fn problem(&self, now: &Bond) -> Option<String> {
        if (self.format, &self.pgark) != (now.format, &now.pgark) {
            let (then, now) = (&self.pgark, &now.pgark);
            return Some(format!("it was begun by pgark {then}, and this is {now}"));
        }
        if self.manifest != now.manifest {
            let then = crate::sql::printable(&self.archive);
            return Some(format!("it was a restore of archive {then}"));
        }
        let differs = |name: &&String| self.options.get(*name) != now.options.get(*name);
        let different: Vec<&str> = now
            .options
            .keys()
            .filter(differs)
            .map(String::as_str)
            .collect();
        (!different.is_empty())
            .then(|| format!("it was begun with other options: {}", different.join(", ")))
    }
}

/// What there is without a journal.
pub(super) static NOTHING: Journal = Journal {
    done: BTreeSet::new(),
    notes: Vec::new(),
    is_resumed: false,
    has_crashed: false,
    torn: BTreeSet::new(),
};

/// What earlier runs have done; empty for the first one.
#[derive(Debug, Default)]
pub(super) struct Journal {
    done: BTreeSet<Item>,
    pub(super) notes: Vec<(EntryId, Note)>,
    /// True if there was an earlier run.
    pub(super) is_resumed: bool,
    /// True if the server has crashed since, and emptied what is UNLOGGED.
    has_crashed: bool,
    /// Rows of which a crash has taken some and left others.
    torn: BTreeSet<EntryId>,
}

impl Journal {
    /// True if the work is done.
    pub(super) fn has(&self, item: Item) -> bool {
        self.done.contains(&item)
    }

    /// True if anything of an entry is done.
    pub(super) fn knows(&self, entry: EntryId) -> bool {
        self.done.iter().any(|item| item.entry == entry)
    }

    /// Forgets that anything of an entry is done.
    pub(super) fn forget(&mut self, entry: EntryId) {
        self.done.retain(|item| item.entry != entry);
        self.notes.retain(|(id, _)| *id != entry);
    }

    /// How many pieces of work are done.
    pub(super) fn n_done(&self) -> u64 {
        self.done.len() as u64
    }

    /// The segments of an entry that are there.
    pub(super) fn segments(&self, entry: EntryId) -> BTreeSet<usize> {
        let of = |what| {
            let range = Item::new(entry, what, 0)..=Item {
                entry,
                what,
                n: u32::MAX,
            };
            self.done.range(range).map(|item| item.n as usize)
        };
        of(What::Rows).chain(of(What::RowsBoth)).collect()
    }

    /// Rows and raw bytes that are there of a table.
    pub(super) fn amount(&self, index: &TableIndex) -> (u64, u64) {
        let there = self.segments(index.entry);
        let segments = there.iter().filter_map(|at| index.segments.get(*at));
        let bytes = |segment: &Segment| {
            segment
                .pieces
                .iter()
                .map(|piece| piece.n_bytes)
                .sum::<u64>()
        };
        segments.fold((0, 0), |(n_rows, n_bytes), segment| {
            (n_rows + segment.n_rows, n_bytes + bytes(segment))
        })
    }

    /// Entries of which a step was begun outside of a transaction, so that nobody knows what became of it.
    pub(super) fn begun(&self) -> impl Iterator<Item = EntryId> {
        let begun = self.done.iter().filter(|item| item.what == What::Begun);
        let open = begun.filter(|item| {
            !self.has(Item {
                what: What::Step,
                ..**item
            })
        });
        open.map(|item| item.entry)
    }

    /// True if schemas have their new names: all that is left to do is outside of the database's contents.
    pub(super) fn has_names(&self) -> bool {
        self.has(Item::new(EntryId(0), What::Names, 0))
    }

    /// What a crash of the server has taken that cannot be loaded again by itself: entries, or everything UNLOGGED where schemas have
    /// other names by now.
    pub(super) fn is_beyond_repair(&self) -> bool {
        !self.torn.is_empty() || (self.has_crashed && self.has_names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(entry: u32, what: What, n: usize) -> Item {
        Item::new(EntryId(entry), what, n)
    }

    #[test]
    fn each_piece_of_work_stands_where_its_fate_puts_it() {
        let record = Record::of([
            Line::lasting(item(7, What::Step, 0)),
            Line::new(item(8, What::Rows, 2), Fate::Goes),
            Line::new(item(9, What::RowsBoth, 0), Fate::Unknown),
        ]);
        assert_eq!(
            record.statements(),
            [
                "INSERT INTO \"pgark_restore\".\"done\" VALUES (7, 'step', 0), (9, 'rows, both', 0)",
                "INSERT INTO \"pgark_restore\".\"done_unlogged\" VALUES (8, 'rows', 2), (9, 'rows, both', 0)",
            ]
        );
        assert!(Record::default().statements().is_empty());
    }

    #[test]
    fn every_word_reads_back() {
        for (what, word) in What::ALL {
            assert_eq!((What::of(word), what.word()), (Some(what), word));
        }
        assert_eq!(What::of("other"), None);
    }

    #[test]
    fn notes_are_plain_ascii_and_quoted() {
        let note = Note::PublicAgain(vec!["it's ä €😀".to_owned()]);
        let statement = note.insert(EntryId(3));
        assert!(statement.is_ascii(), "{statement}");
        assert!(statement.contains("it''s"), "{statement}");
        let json = ascii(&serde_json::to_string(&note).unwrap());
        assert_eq!(serde_json::from_str::<Note>(&json).unwrap(), note);
    }

    #[test]
    fn another_archive_or_other_options_are_named_and_others_do_not_matter() {
        let options = RestoreOptions::default();
        let bond = Bond::new("a", "1", &options);
        assert_eq!(bond.problem(&bond), None);
        let faster = RestoreOptions {
            jobs: 99,
            analyze: false,
            resume: true,
            ..options.clone()
        };
        assert_eq!(bond.problem(&Bond::new("a", "1", &faster)), None);
        let other = bond.problem(&Bond::new("b", "2", &options)).unwrap();
        assert!(other.contains("archive a"), "{other}");
        let mapped = RestoreOptions {
            map_roles: vec![("x".into(), "y".into())],
            salvage: true,
            ..options
        };
        let problem = bond.problem(&Bond::new("a", "1", &mapped)).unwrap();
        assert!(problem.ends_with(": --map-role, --salvage"), "{problem}");
        let older = Bond {
            pgark: "0.0.1".to_owned(),
            ..bond.clone()
        };
        assert!(older.problem(&bond).unwrap().contains("0.0.1"));
    }

    #[test]
    fn segments_and_open_steps_are_found() {
        let done = [
            item(1, What::Step, 0),
            item(1, What::Begun, 0),
            item(2, What::Begun, 0),
            item(3, What::Rows, 0),
            item(3, What::RowsBoth, 4),
            item(3, What::Statistics, 9),
        ];
        let journal = Journal {
            done: done.into(),
            ..Journal::default()
        };
        assert_eq!(journal.begun().collect::<Vec<_>>(), [EntryId(2)]);
        assert_eq!(journal.segments(EntryId(3)), [0, 4].into());
        assert!(journal.segments(EntryId(2)).is_empty());
        assert!(!journal.has_names() && !journal.is_beyond_repair());
    }
}
