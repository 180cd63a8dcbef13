//! What became of a restore: counts, and every object that failed, was skipped, or lost something, with the reason.
//! Plain data; printing it belongs to `cli`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::careful::{self, LeftOut};
use super::forbidden::{forbids, part_name};
use super::journal::Note;
use super::salvage::LostRows;
use super::select::Selection;
use super::text;
use super::worker::Refused;
use crate::error::Error;
use crate::selection::Brought;
use crate::sql::hide_passwords;
use crate::toc::{Entry, EntryId, Part};

/// An object that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Kind and name: `index sales.orders orders_day`.
    pub object: String,
    /// What was being done: `COPY IN`, `statement`.
    pub step: String,
    /// The server's message, or what else happened.
    pub message: String,
    /// The SQLSTATE of a server's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// The server's detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The server's or our advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where the server was: a function, a line of COPY.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The beginning of the statement, without passwords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// An object that was not tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skip {
    /// Kind and name.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// Something that the target does not let the restoring role do. What does not depend on it was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forbidden {
    /// Kind and name.
    pub object: String,
    /// What of it is not there: `definition`, `rows`, `owner`, `comment`, `security label`, `privileges`.
    pub part: Cow<'static, str>,
    /// The server's reason.
    pub reason: String,
    /// The SQLSTATE of the server's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// The beginning of the statement, for whoever may run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// A row that the target's encoding cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRow {
    /// Its segment, counted from 0 in the archive's data index.
    pub segment: usize,
    /// Its line there, counted from 1.
    pub line: u64,
    /// The beginning of its first column.
    pub begins: String,
    /// The server's message.
    pub message: String,
}

/// A table of which rows were left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRows {
    /// Kind and name.
    pub object: String,
    /// How many.
    pub n_rows: u64,
    /// The first of them, a hundred at most.
    pub rows: Vec<LeftRow>,
}

/// Something that the target's version cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Kind and name.
    pub object: String,
    /// What is lost.
    pub what: String,
}

/// A table whose restored rows are not the archive's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Kind and name.
    pub object: String,
    /// The archive's rows: fingerprint and count.
    pub archived: String,
    /// The target's.
    pub restored: String,
}

/// What the comparison of content found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Tables compared.
    pub n_tables: u64,
    /// Tables that differ.
    pub different: Vec<Difference>,
    /// Tables that could not be compared, and why.
    pub not_compared: Vec<Skip>,
}

/// What `--clean` dropped before the restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// How many objects.
    pub n_objects: u64,
    /// The first of them.
    pub first: Vec<String>,
}

/// A schema that got another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// The archive's name.
    pub from: String,
    /// The target's.
    pub to: String,
}

/// A text that names a renamed schema and that no server mends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mention {
    /// Kind and name of the object that has the text.
    pub object: String,
    /// Which text: its body, its setting.
    pub place: String,
    /// The old name.
    pub schema: String,
}

/// How long a part of the restore took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// The part.
    pub name: &'static str,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// What became of a restore.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RestoreReport {
    /// The archive.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub archive: String,
    /// The database that was restored to.
    pub database: String,
    /// Entries that were restored.
    pub n_entries: u64,
    /// Tables whose rows are in, empty ones included.
    pub n_tables: u64,
    /// Rows that the server took.
    pub n_rows: u64,
    /// Their raw bytes.
    pub raw_bytes: u64,
    /// What was not chosen and came along because something chosen needs it.
    pub brought: Vec<Brought>,
    /// What failed.
    pub failed: Vec<Failure>,
    /// What was not tried because something that it needs failed.
    pub skipped: Vec<Skip>,
    /// Rows that the target's encoding cannot hold; the others of their tables are there.
    pub left_out: Vec<LeftRows>,
    /// Rows that are lost with damaged chunks of the archive, where a restore of the others was asked for.
    pub lost_rows: Vec<LostRows>,
    /// What the target forbids the restoring role.
    pub forbidden: Vec<Forbidden>,
    /// Entries that were not tried because the restore stopped at the first failure.
    pub not_tried: u64,
    /// True if all was one transaction, which was rolled back: nothing is there.
    pub rolled_back: bool,
    /// What was dropped first, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Dropped>,
    /// Schemas that got another name.
    pub renamed: Vec<Renamed>,
    /// Texts that still name a schema by its old name.
    pub mentions: Vec<Mention>,
    /// What the target's version cannot have.
    pub lost: Vec<Loss>,
    /// What the user should know although the work went on.
    pub warnings: Vec<String>,
    /// How long each part took, in order.
    pub phases: Vec<Phase>,
    /// The comparison of content, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
    /// What an earlier run had done, where this one went on with it. The other numbers count it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
    /// True if the journal stays on the target, so that another run may try again what failed or was not tried.
    pub resumable: bool,
}

/// What was there when a restore went on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// Pieces of work: steps of objects, segments of rows.
    pub n_done: u64,
    /// Rows.
    pub n_rows: u64,
}

impl RestoreReport {
    /// True if nothing failed, was skipped, was forbidden or left out, or differs.
    pub fn is_complete(&self) -> bool {
        let same = self.checked.as_ref().is_none_or(|c| c.different.is_empty());
        let done = self.failed.is_empty() && self.skipped.is_empty() && self.not_tried == 0;
        let all_rows = self.left_out.is_empty() && self.lost_rows.is_empty();
        done && self.forbidden.is_empty() && all_rows && same
    }
}

/// A failed piece of work: the error, and the statement if one is to blame.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: Error,
    pub(super) statement: Option<String>,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble {
            error,
            statement: None,
        }
    }
}

/// An entry as people know it.
pub(super) fn object_of(entry: &Entry) -> String {
    format!("{} {}", entry.label, entry.name)
}

/// The longest part of a statement that a report shows, in characters.
const STATEMENT_CHARS: usize = 400;

impl Failure {
    pub(super) fn new(object: String, trouble: &Trouble) -> Failure {
        let mut failure = Failure {
            object,
            step: String::new(),
            message: chain(&trouble.error),
            sqlstate: None,
            detail: None,
            hint: trouble.error.remedy().map(str::to_owned),
            context: None,
            statement: trouble.statement.as_deref().map(beginning),
        };
        if let Error::Sql { step, source, .. } = &trouble.error {
            failure.step.clone_from(step);
            if let Some(server) = source.as_db_error() {
                server.message().clone_into(&mut failure.message);
                failure.sqlstate = Some(server.code().code().to_owned());
                failure.detail = server.detail().map(str::to_owned);
                failure.hint = server.hint().map(str::to_owned);
                failure.context = server.where_().map(str::to_owned);
            }
        }
        failure
    }
}

impl Forbidden {
    fn new(object: String, part: &'static str, trouble: &Trouble) -> Forbidden {
        let mut failure = Failure::new(object, trouble);
        if let Error::Failed { problem, .. } = &trouble.error {
            failure.message.clone_from(problem);
        }
        Forbidden::of(failure, part.into())
    }

    fn of(failure: Failure, part: Cow<'static, str>) -> Forbidden {
        Forbidden {
            object: failure.object,
            part,
            reason: failure.message,
            sqlstate: failure.sqlstate,
            statement: failure.statement,
        }
    }
}

fn beginning(statement: &str) -> String {
    let statement = hide_passwords(statement);
    let mut text: String = statement.chars().take(STATEMENT_CHARS).collect();
    if text.len() < statement.len() {
        text.push('…');
    }
    text
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Keeps score while the work goes on.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Entries that failed or were skipped.
    bad: BTreeMap<EntryId, String>,
    pub(super) failed: Vec<Failure>,
    pub(super) skipped: Vec<Skip>,
    /// Entries that were not tried because the restore stopped.
    pub(super) not_tried: u64,
    pub(super) forbidden: Vec<Forbidden>,
    /// True if the restoring role is no superuser: what it may not do is forbidden rather than failed.
    pub(super) is_ordinary: bool,
    /// Rows that were left out, by entry.
    pub(super) left_out: BTreeMap<EntryId, LeftRows>,
    pub(super) warnings: Vec<String>,
    pub(super) n_rows: u64,
    pub(super) raw_bytes: u64,
}

impl Ledger {
    /// True if the entry failed or was skipped.
    pub(super) fn is_bad(&self, id: EntryId) -> bool {
        self.bad.contains_key(&id)
    }

    /// How many of the entries failed or were skipped.
    pub(super) fn n_bad(&self) -> usize {
        self.bad.len()
    }

    /// True if anything failed.
    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Notes a failure; the first of an entry with several tasks counts.
    pub(super) fn fail(&mut self, entry: &Entry, trouble: &Trouble) {
        let object = object_of(entry);
        if self.bad.insert(entry.id, object.clone()).is_some() {
            return;
        }
        if self.is_ordinary && forbids(&trouble.error, &entry.label) {
            let part = if entry.data.is_some() {
                Part::Data
            } else {
                Part::Define
            };
            self.forbidden
                .push(Forbidden::new(object, part_name(part), trouble));
        } else {
            self.failed.push(Failure::new(object, trouble));
        }
    }

    /// Notes the failure of work that belongs to no entry.
    pub(super) fn fail_object(&mut self, object: &str, trouble: &Trouble) {
        self.failed.push(Failure::new(object.to_owned(), trouble));
    }

    /// Notes that `entry` was not tried because the restore stopped at the first failure. They are counted, not listed.
    pub(super) fn leave(&mut self, entry: &Entry) {
        if self.bad.insert(entry.id, object_of(entry)).is_none() {
            self.not_tried += 1;
        }
    }

    /// Notes statements after creation that the target forbade; their objects are there.
    pub(super) fn forbid_all(&mut self, refused: Vec<Refused>, selection: &Selection) {
        for one in refused {
            let object = object_of(selection.entry(one.entry));
            if text::is_unreadable(&one.trouble.error) {
                let object = format!("{} of {object}", one.part);
                self.failed.push(Failure::new(object, &one.trouble));
            } else {
                self.forbidden
                    .push(Forbidden::new(object, one.part, &one.trouble));
            }
        }
    }

    /// Tells again what an earlier run had to tell of work that stays done.
    pub(super) fn recall(&mut self, notes: &[(EntryId, Note)], selection: &Selection) {
        for (entry, note) in notes.iter().filter(|(id, _)| selection.knows(*id)) {
            let entry = selection.entry(*entry);
            match note.clone() {
                Note::LeftOut(LeftRows { n_rows, rows, .. }) => {
                    self.leave_out(entry, LeftOut { n_rows, rows });
                }
                Note::Refused {
                    part,
                    is_failure,
                    mut failure,
                } => {
                    failure.object = object_of(entry);
                    if is_failure {
                        failure.object = format!("{part} of {}", failure.object);
                        self.failed.push(failure);
                    } else {
                        self.forbidden.push(Forbidden::of(failure, part.into()));
                    }
                }
                Note::PublicAgain(_) | Note::Foreign(_) => {}
            }
        }
    }

    /// Notes what was left out of `entry`, if there is anything.
    pub(super) fn leave_out(&mut self, entry: &Entry, found: LeftOut) {
        if found.n_rows == 0 {
            return;
        }
        let known = self.left_out.entry(entry.id);
        let known = known.or_insert_with(|| LeftRows {
            object: object_of(entry),
            n_rows: 0,
            rows: Vec::new(),
        });
        known.n_rows += found.n_rows;
        known.rows.extend(found.rows);
        known.rows.sort_by_key(|row| (row.segment, row.line));
        known.rows.truncate(careful::LISTED_MAX);
    }

    /// Notes that `entry` was not tried because `cause` failed or was skipped.
    pub(super) fn skip(&mut self, entry: &Entry, cause: EntryId) {
        let reason = match self.bad.get(&cause) {
            Some(object) => format!("needs {object}, which is not there"),
            None => "needs something that is not there".to_owned(),
        };
        self.skip_because(entry, reason);
    }

    /// Notes that `entry` was not tried.
    pub(super) fn skip_because(&mut self, entry: &Entry, reason: String) {
        let object = object_of(entry);
        if self.bad.insert(entry.id, object.clone()).is_none() {
            self.skipped.push(Skip { object, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_statements_are_cut_between_characters() {
        let text = "ä".repeat(STATEMENT_CHARS + 1);
        let cut = beginning(&text);
        assert_eq!(cut.chars().count(), STATEMENT_CHARS + 1);
        assert!(cut.ends_with('…'));
        assert_eq!(beginning("SELECT 1"), "SELECT 1");
        let secret = format!("ALTER ROLE r PASSWORD '{}'", "x".repeat(STATEMENT_CHARS));
        assert_eq!(beginning(&secret), "ALTER ROLE r PASSWORD ***");
    }

    #[test]
    fn a_restore_is_complete_only_if_nothing_is_missing_or_differs() {
        let mut report = RestoreReport::default();
        assert!(report.is_complete());
        report.checked = Some(Checked::default());
        assert!(report.is_complete());
        report.skipped.push(Skip {
            object: "a".into(),
            reason: "b".into(),
        });
        assert!(!report.is_complete());
    }
}
