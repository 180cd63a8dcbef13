//! From chosen entries to statements: which ones, in which transaction, as whom. Pure. Definitions before the rows are a plain list
//! that runs in order; everything after them is for the scheduler, see `tasks`.

use std::collections::BTreeSet;

use super::forbidden::{Extra, part_name};
use super::journal::{Fate, Item, Journal, Line, What};
use super::options::RestoreOptions;
use super::row_order::RowOrder;
use super::select::{Selection, relation_of};
use super::wanted::form_for;
use super::work::{Definition, Unit};
use crate::archive::index::TableIndex;
use crate::pg::ServerVersion;
use crate::selection::Omit;
use crate::sql::{Ident, Sql, sql};
use crate::toc::{After, DataOf, Entry, EntryId, Part, Stage, Step};

/// What decides over the shape of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlanCx<'a> {
    pub(super) selection: &'a Selection,
    pub(super) options: &'a RestoreOptions,
    /// The target's version.
    pub(super) version: ServerVersion,
    /// The archive's encoding.
    pub(super) encoding: &'a str,
    /// Roles that only newer servers bring along, and that the target therefore cannot have.
    pub(super) absent_roles: &'a BTreeSet<String>,
    /// In which order rows go into tables that foreign keys watch.
    pub(super) order: &'a RowOrder,
    /// False if the restoring role is a superuser.
    pub(super) is_ordinary: bool,
    /// Where the rows are.
    pub(super) rows: RowsFrom,
    /// The restoring role.
    pub(super) role: &'a str,
    /// Large objects of the target that are not this run's.
    pub(super) foreign_objects: &'a [u32],
    /// What earlier runs have done.
    pub(super) journal: &'a Journal,
    /// The target's UNLOGGED tables and sequences; empty before there are any.
    pub(super) unlogged: &'a BTreeSet<(String, String)>,
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowsFrom {
    /// The archive's chunks: all is known of them.
    Chunks,
    /// A feed, which knows how many they are when they have gone through.
    Feed {
        /// True if they may come in binary too, where text cannot carry them.
        binary: bool,
    },
}

impl PlanCx<'_> {
    /// True if a table is known to have no rows.
    pub(super) fn is_empty(&self, index: &TableIndex) -> bool {
        match self.rows {
            RowsFrom::Chunks => index.n_rows == 0,
            RowsFrom::Feed { .. } => index.segments.is_empty(),
        }
    }

    fn text(&self, statement: &Sql) -> String {
        let mut text = statement.text();
        // RESET SESSION AUTHORIZATION takes the role of the session back too (manual, SET SESSION AUTHORIZATION).
        if let Some(role) = &self.options.role
            && (text.contains("RESET SESSION AUTHORIZATION") || text.ends_with("; RESET ROLE"))
        {
            text.push_str(&sql!["; SET ROLE ", Ident::new(role)].text());
        }
        text
    }

    fn unit(&self, entry: &Entry, statements: &[Sql], outside: bool, item: Item) -> Unit {
        let keeps = |class| !self.options.selection.omits(class);
        Unit {
            entry: entry.id,
            tablespace: entry
                .tablespace
                .clone()
                .filter(|_| keeps(Omit::Tablespaces)),
            access_method: entry
                .access_method
                .clone()
                .filter(|_| keeps(Omit::AccessMethods)),
            statements: statements.iter().map(|sql| self.text(sql)).collect(),
            extras: Vec::new(),
            outside,
            lines: vec![self.line(entry, item)],
        }
    }

    fn with_extras(&self, mut unit: Unit, extras: impl IntoIterator<Item = (Part, Sql)>) -> Unit {
        let extra = |(part, sql): (Part, Sql)| Extra {
            part: part_name(part),
            statement: self.text(&sql),
        };
        unit.extras.extend(extras.into_iter().map(extra));
        unit
    }

    /// What runs right after creation: owner, comments, labels.
    fn afterwards(&self, entry: &Entry) -> Vec<(Part, Sql)> {
        if !self.is_made(entry) {
            return Vec::new();
        }
        let choice = &self.options.selection;
        let owner = entry
            .owner
            .as_ref()
            .filter(|_| choice.wants_part(Part::Owner));
        let owner = owner.filter(|_| self.keeps_owner(entry));
        let owner = owner.map(|owner| sql!["ALTER ", &owner.target, " OWNER TO ", &owner.role]);
        let owner = owner.map(|sql| (Part::Owner, sql));
        let after = self.wanted_after(entry);
        let after = after.filter(|after| self.keeps_after(after));
        let after = after.filter(|after| !self.is_idle(entry, after));
        owner
            .into_iter()
            .chain(after.map(|after| (after.part, after.sql.clone())))
            .collect()
    }

    /// True if it gives an object of the data stage, which the restoring role has just made, to that role.
    fn is_idle(&self, entry: &Entry, after: &After) -> bool {
        let to_self = || after.sql.roles().next() == Some(self.role);
        entry.stage == Stage::Data && after.part == Part::Owner && to_self()
    }

    /// The comments, labels and so on that the user wants.
    pub(super) fn wanted_after<'e>(&self, entry: &'e Entry) -> impl Iterator<Item = &'e After> {
        let choice = &self.options.selection;
        let after = entry.after.iter();
        after.filter(|after| choice.wants_part(after.part))
    }

    /// What must be there before an entry: for rows also the table.
    pub(super) fn needs(&self, entry: &Entry) -> BTreeSet<EntryId> {
        let mut needs = self.selection.needs(entry.id);
        if let Some(DataOf::Table { table, .. }) = &entry.data {
            needs.extend(table);
        }
        needs
    }

    pub(super) fn steps<'e>(&self, entry: &'e Entry) -> &'e [Step] {
        form_for(entry, self.version).map_or(&[], |form| &form.steps)
    }

    /// What the journal says of finished work.
    fn line(&self, entry: &Entry, item: Item) -> Line {
        Line::new(item, self.fate(entry))
    }

    /// What a crash of the server leaves of an entry. Definitions are logged whatever they define.
    pub(super) fn fate(&self, entry: &Entry) -> Fate {
        if entry.stage != Stage::Data || self.unlogged.is_empty() {
            return Fate::Stays;
        }
        let is_via_root = matches!(
            &entry.data,
            Some(DataOf::Table {
                via_root: Some(_),
                ..
            })
        );
        if is_via_root {
            return Fate::Unknown;
        }
        let relation = relation_of(entry);
        let relation = relation.map(|(schema, name)| (schema.to_owned(), name.to_owned()));
        if relation.is_some_and(|relation| self.unlogged.contains(&relation)) {
            Fate::Goes
        } else {
            Fate::Stays
        }
    }

    /// What is left to do of an entry: one unit per step; what follows creation goes with the last one.
    pub(super) fn units(&self, entry: &Entry) -> Vec<Unit> {
        let mut units = self.all_units(entry);
        units.retain(|unit| !unit.lines.iter().any(|line| self.journal.has(line.item)));
        units
    }

    fn all_units(&self, entry: &Entry) -> Vec<Unit> {
        let steps = self.steps(entry);
        let item = |n| Item::new(entry.id, What::Step, n);
        let numbered = steps.iter().enumerate();
        let mut units: Vec<Unit> = numbered
            .map(|(n, step)| self.unit(entry, &step.sql, step.outside_transaction, item(n)))
            .collect();
        let afterwards = self.afterwards(entry);
        match units.last_mut() {
            _ if afterwards.is_empty() => {}
            Some(last) if !last.outside => {
                let unit = units.pop().expect("it was just looked at");
                units.push(self.with_extras(unit, afterwards));
            }
            _ => {
                let unit = self.unit(entry, &[], false, item(steps.len()));
                units.push(self.with_extras(unit, afterwards));
            }
        }
        units
    }

    /// The table whose planner statistics the entry brings, if the target takes them.
    pub(super) fn imports_for(&self, entry: &Entry) -> Option<EntryId> {
        let locks = &self.steps(entry).first()?.locks;
        is_table_statistics(entry).then(|| locks.first().map(|(table, _)| *table))?
    }

    pub(super) fn grants(&self, entry: &Entry) -> Option<Unit> {
        if self.options.selection.omits(Omit::Privileges) || !self.is_made(entry) {
            return None;
        }
        let statement = if self.is_ordinary {
            crate::toc::Grant::statement_of_member
        } else {
            crate::toc::Grant::statement
        };
        let grants = entry.grants.iter().filter(|grant| self.keeps_grant(grant));
        let grants: Vec<(Part, Sql)> = grants.map(|grant| (Part::Acl, statement(grant))).collect();
        let item = Item::new(entry.id, What::Grants, 0);
        let is_left = !grants.is_empty() && !self.journal.has(item);
        let unit = is_left.then(|| self.unit(entry, &[], false, item));
        unit.map(|unit| self.with_extras(unit, grants))
    }
}

/// True if the entry brings the planner statistics of a relation itself, not of an index on it.
pub(super) fn is_table_statistics(entry: &Entry) -> bool {
    entry.label == "planner statistics" && entry.name.relation.as_ref() == Some(&entry.name.name)
}

/// The entries before the rows, in TOC order.
pub(super) fn definitions(cx: &PlanCx<'_>) -> Vec<Definition> {
    let entries = cx
        .selection
        .iter()
        .filter(|entry| entry.stage == Stage::PreData);
    entries
        .map(|entry| definition(cx, entry, cx.selection.needs(entry.id)))
        .collect()
}

/// An entry whose steps need no pause between them.
pub(super) fn definition(cx: &PlanCx<'_>, entry: &Entry, needs: BTreeSet<EntryId>) -> Definition {
    let mut units = cx.units(entry);
    units.dedup_by(|next, unit| {
        let joins = !unit.outside && !next.outside;
        if joins {
            unit.statements.append(&mut next.statements);
            unit.extras.append(&mut next.extras);
            unit.lines.append(&mut next.lines);
        }
        joins
    });
    Definition {
        entry: entry.id,
        needs,
        units,
    }
}
