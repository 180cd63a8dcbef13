//! The table of contents: what one archived object is, as text and facts.
//! Plain data shared by the dump side and the restore side; no kinds, no I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pg::version::ServerVersion;
pub use crate::sql::printable;
use crate::sql::{Grantee, Role, Sql, sql};

/// The schema in which a restore keeps its journal on the target; no part of any dump.
pub const JOURNAL_SCHEMA: &str = "pgark_restore";

/// The number of an entry inside one archive; dense, in restore order, meaningless elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(pub u32);

/// When an entry is restored. The user's three sections are a view of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Definitions that rows need.
    PreData,
    /// Rows, sequence values, large objects.
    Data,
    /// Indexes, keys, triggers, policies, and what depends on them.
    PostData,
    /// Grants and default privileges.
    Privileges,
    /// Event triggers, refreshes: what must see everything else in place.
    Final,
    /// The database itself: owner, limits, settings. Only where the restore made the database, and last of all.
    Database,
}

/// What a user may leave out of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The object itself.
    Define,
    /// Its owner.
    Owner,
    /// Comments on it and on its columns.
    Comment,
    /// Security labels.
    Label,
    /// Grants.
    Acl,
    /// Rows.
    Data,
}

/// A set of [`Part`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartSet(u8);

impl PartSet {
    /// No part.
    pub const NONE: PartSet = PartSet(0);
    /// Every part.
    pub const ALL: PartSet = PartSet(0b11_1111);

    /// The set with `part` added.
    #[must_use]
    pub fn with(self, part: Part) -> Self {
        PartSet(self.0 | 1 << part as u8)
    }

    /// The set with `part` removed.
    #[must_use]
    pub fn without(self, part: Part) -> Self {
        PartSet(self.0 & !(1 << part as u8))
    }

    /// What both sets have.
    #[must_use]
    pub fn and(self, other: PartSet) -> Self {
        PartSet(self.0 & other.0)
    }

    /// True if `part` is in the set.
    pub fn has(self, part: Part) -> bool {
        self.0 & (1 << part as u8) != 0
    }

    /// True if nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// PostgreSQL's eight table lock modes, weakest first (manual 13.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// `SELECT`
    AccessShare,
    /// `SELECT FOR UPDATE`
    RowShare,
    /// `INSERT`, `COPY FROM`
    RowExclusive,
    /// `ANALYZE`, `VALIDATE CONSTRAINT`, `CREATE STATISTICS`
    ShareUpdateExclusive,
    /// `CREATE INDEX`
    Share,
    /// `ADD FOREIGN KEY`, `CREATE TRIGGER`
    ShareRowExclusive,
    /// `REFRESH MATERIALIZED VIEW CONCURRENTLY`
    Exclusive,
    /// `ALTER TABLE`, `TRUNCATE`
    AccessExclusive,
}

impl LockMode {
    /// True if two transactions cannot hold both modes on one relation at once (manual table 13.2).
    pub fn conflicts(self, other: LockMode) -> bool {
        use LockMode::{
            AccessExclusive, AccessShare, Exclusive, RowExclusive, RowShare, Share,
            ShareRowExclusive, ShareUpdateExclusive,
        };
        let (weak, strong) = if self <= other {
            (self, other)
        } else {
            (other, self)
        };
        match weak {
            AccessShare => strong == AccessExclusive,
            RowShare => strong >= Exclusive,
            RowExclusive => strong >= Share,
            Share => strong != Share,
            ShareUpdateExclusive | ShareRowExclusive | Exclusive | AccessExclusive => true,
        }
    }
}

/// How people and filters name an entry. Never spliced into SQL.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryName {
    /// The schema, where the object lives in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The relation that the object belongs to (indexes, constraints, triggers, policies, table data).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
    /// The object's own name; functions with their argument types.
    pub name: String,
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", printable(schema))?;
        }
        if let Some(relation) = self
            .relation
            .as_ref()
            .filter(|relation| **relation != self.name)
        {
            write!(f, "{} ", printable(relation))?;
        }
        f.write_str(&printable(&self.name))
    }
}

/// Statements that run together, with the locks they take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The statements, in order, each without a semicolon.
    pub sql: Vec<Sql>,
    /// The locks that the statements take, by the relation's entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<(EntryId, LockMode)>,
    /// True if the statements cannot run inside a transaction block.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outside_transaction: bool,
    /// True if the step builds an index or sorts (it wants `maintenance_work_mem`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub builds_index: bool,
}

/// One way to create the object. Restore takes the first form that serves the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// The oldest target that understands the form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<ServerVersion>,
    /// The first target that no longer understands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<ServerVersion>,
    /// What this form loses, for the report; absent when nothing is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// The steps in order. Between steps other work may run, so each step is a task with its own locks.
    pub steps: Vec<Step>,
}

impl Form {
    /// True if a server of `version` understands the form.
    pub fn serves(&self, version: ServerVersion) -> bool {
        self.since.is_none_or(|since| version >= since)
            && self.until.is_none_or(|until| version < until)
    }
}

impl Form {
    /// True if the form makes nothing: the target gets no such object, as `lost` says.
    pub fn leaves_out(&self) -> bool {
        self.lost.is_some() && self.steps.iter().all(|step| step.sql.is_empty())
    }
}

/// Which targets a single statement is for; all of them by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// The oldest target that understands the statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<ServerVersion>,
    /// The first target that does without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<ServerVersion>,
    /// What other targets lose, for the report; absent when nothing is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

impl Targets {
    /// True if the statement is for a server of `version`.
    pub fn serve(&self, version: ServerVersion) -> bool {
        self.since.is_none_or(|since| version >= since)
            && self.until.is_none_or(|until| version < until)
    }
}

/// A statement that follows the object's creation: a comment, a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// What it is, for those who leave some out.
    pub part: Part,
    /// The statement.
    pub sql: Sql,
    /// For which targets.
    #[serde(flatten)]
    pub targets: Targets,
}

impl After {
    /// A statement for every target.
    pub fn new(part: Part, sql: Sql) -> After {
        let targets = Targets::default();
        After { part, sql, targets }
    }
}

/// The owner, set right after creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The role.
    pub role: Role,
    /// What `ALTER … OWNER TO` names: `VIEW "s"."v"`.
    pub target: Sql,
}

/// One `GRANT` or `REVOKE`, as facts. Order within an entry matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// False for `REVOKE`.
    pub grant: bool,
    /// Privileges as words: `SELECT`, `UPDATE ("c")`; `ALL` when the set is complete.
    pub privileges: Vec<Sql>,
    /// What stands after `ON`: `TABLE "s"."t"`, `FUNCTION "s"."f"(integer)`.
    pub target: Sql,
    /// To or from whom.
    pub grantee: Grantee,
    /// `WITH GRANT OPTION`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_grant_option: bool,
    /// Who granted it, where that is not the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantor: Option<Role>,
    /// What stands before the verb: `ALTER DEFAULT PRIVILEGES FOR ROLE r IN SCHEMA s `.
    #[serde(default, skip_serializing_if = "Sql::is_empty")]
    pub prefix: Sql,
    /// For which targets.
    #[serde(flatten)]
    pub targets: Targets,
}

impl Grant {
    /// The statement; three of them in one text where the grantor is not the owner, which only a superuser can run.
    ///
    /// `GRANTED BY` is no substitute: for object privileges it is refused unless it names the current role (seen on 15).
    pub fn statement(&self) -> Sql {
        self.by_grantor(
            "SET SESSION AUTHORIZATION ",
            "; RESET SESSION AUTHORIZATION",
        )
    }

    /// The same for a role that is no superuser: it can be the grantor where it is a member of it.
    pub fn statement_of_member(&self) -> Sql {
        self.by_grantor("SET ROLE ", "; RESET ROLE")
    }

    fn by_grantor(&self, enter: &'static str, leave: &'static str) -> Sql {
        let verb = if self.grant { "GRANT " } else { "REVOKE " };
        let direction = if self.grant { " TO " } else { " FROM " };
        let option = if self.with_grant_option {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        let privileges = Sql::list(&self.privileges);
        let text = sql![
            &self.prefix,
            verb,
            privileges,
            " ON ",
            &self.target,
            direction,
            &self.grantee,
            option
        ];
        match &self.grantor {
            Some(grantor) => {
                sql![enter, grantor, "; ", text, leave]
            }
            None => text,
        }
    }
}

/// What kind of rows an entry of [`Stage::Data`] holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum DataOf {
    /// Rows of a table, loaded by `COPY`.
    Table {
        /// The table as SQL names it, quoted.
        target: Sql,
        /// The table's own entry, if this archive creates it; `None` for an extension's table.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<EntryId>,
        /// True if the table is UNLOGGED.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unlogged: bool,
        /// True if rows must stay in their order (BRIN index, CLUSTER mark): one loader.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keep_order: bool,
        /// The topmost partitioned ancestor, when rows must be routed anew (spec: hash on an enum).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via_root: Option<Sql>,
        /// The topmost partitioned ancestor of any partition: rows may be routed through it where that is wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<Sql>,
        /// True if a collation decides which partition a row is in (range or hash of a text on the way to the root).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_collation: bool,
        /// `WHERE …`, if these are not all rows: an extension's configuration beside the rows that its script makes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        condition: Option<Sql>,
    },
    /// Large object pages: rows of (loid, byte offset, data).
    LargeObjects,
}

/// One archived object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub id: EntryId,
    /// Its kind for people and filters: `policy`. A label that a reader does not know still restores.
    pub label: String,
    /// Its name.
    pub name: EntryName,
    /// When it is restored.
    pub stage: Stage,
    /// How it is created; empty if it only carries grants or comments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<Form>,
    /// How it is dropped; `None` if it cannot or goes with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<Sql>,
    /// Its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The tablespace, for kinds that have one; an empty name is the database's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// The table access method, for kinds that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_method: Option<String>,
    /// The directory on the server that must be there, for tablespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Comments and labels, run after creation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// Grants and revokes, run in [`Stage::Privileges`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// The entries that must be there first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<EntryId>,
    /// For [`Stage::Data`]: whose rows. The rows themselves stand in the data index under this entry's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataOf>,
}

impl Entry {
    /// Hands every role that the entry names to `visit`, which may change it.
    pub fn for_each_role(&mut self, visit: &mut impl FnMut(&mut String)) {
        let steps = self.forms.iter_mut().flat_map(|form| &mut form.steps);
        let statements = steps.flat_map(|step| &mut step.sql).chain(&mut self.drop);
        let statements = statements.chain(self.after.iter_mut().map(|after| &mut after.sql));
        statements.flat_map(Sql::roles_mut).for_each(&mut *visit);
        if let Some(owner) = &mut self.owner {
            visit(&mut owner.role.0);
            owner.target.roles_mut().for_each(&mut *visit);
        }
        for grant in &mut self.grants {
            let parts = grant.privileges.iter_mut();
            let parts = parts.chain([&mut grant.target, &mut grant.prefix]);
            parts.flat_map(Sql::roles_mut).for_each(&mut *visit);
            if let Grantee::Role(role) = &mut grant.grantee {
                visit(&mut role.0);
            }
            if let Some(role) = &mut grant.grantor {
                visit(&mut role.0);
            }
        }
    }

    /// An entry that does nothing yet.
    pub fn new(id: EntryId, label: &str, name: EntryName, stage: Stage) -> Entry {
        Entry {
            id,
            label: label.to_owned(),
            name,
            stage,
            forms: Vec::new(),
            drop: None,
            owner: None,
            tablespace: None,
            access_method: None,
            directory: None,
            after: Vec::new(),
            grants: Vec::new(),
            needs: Vec::new(),
            data: None,
        }
    }

    /// True if restoring the entry would run nothing.
    pub fn is_idle(&self) -> bool {
        self.forms.iter().all(|form| form.steps.is_empty())
            && self.owner.is_none()
            && self.after.is_empty()
            && self.grants.is_empty()
            && self.data.is_none()
    }

    /// Makes the entry one of the database `name`, whatever the archived one was called.
    pub fn set_database(&mut self, name: &str) {
        let steps = self.forms.iter_mut().flat_map(|form| &mut form.steps);
        let statements = steps.flat_map(|step| &mut step.sql);
        let after = self.after.iter_mut().map(|after| &mut after.sql);
        let grants = self.grants.iter_mut().map(|grant| &mut grant.target);
        let owner = self.owner.iter_mut().map(|owner| &mut owner.target);
        for statement in statements.chain(after).chain(grants).chain(owner) {
            *statement = statement.in_database(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockMode::*;

    /// The manual's table 13.2, row by row: X where the modes conflict.
    #[test]
    fn locks_conflict_as_the_manual_says() {
        let modes = [
            AccessShare,
            RowShare,
            RowExclusive,
            ShareUpdateExclusive,
            Share,
            ShareRowExclusive,
            Exclusive,
            AccessExclusive,
        ];
        let table = [
            ".......X", "......XX", "....XXXX", "...XXXXX", "..XX.XXX", "..XXXXXX", ".XXXXXXX",
            "XXXXXXXX",
        ];
        for (i, a) in modes.iter().enumerate() {
            for (j, b) in modes.iter().enumerate() {
                assert_eq!(
                    a.conflicts(*b),
                    table[i].as_bytes()[j] == b'X',
                    "{a:?} {b:?}"
                );
            }
        }
    }

    #[test]
    fn control_characters_cannot_break_a_line() {
        let name = EntryName {
            schema: Some("s".into()),
            relation: None,
            name: "a\nDROP\u{1b}[2J".into(),
        };
        assert_eq!(name.to_string(), "s.a\\nDROP\\u{1b}[2J");
    }

    #[test]
    fn part_sets_add_and_remove() {
        let set = PartSet::NONE.with(Part::Acl).with(Part::Data);
        assert!(
            set.has(Part::Acl)
                && !set.has(Part::Define)
                && set.without(Part::Data).without(Part::Acl).is_empty()
        );
        assert!(PartSet::ALL.has(Part::Data));
    }
}
