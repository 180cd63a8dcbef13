//! What the chosen entries ask of the target: roles, tablespaces, extensions, names that must be free or there. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::forbidden;
use super::options::RestoreOptions;
use super::report::object_of;
use super::select::{Selection, relation_of};
use crate::pg::ServerVersion;
use crate::selection::{Omit, Selection as Choice};
use crate::sql::{Grantee, Sql};
use crate::toc::{DataOf, Entry, Form, Part, Stage};

/// Why a role is needed: as an owner, or in some other place; with one object as an example and their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RoleUse {
    /// Objects that it owns.
    pub(super) owns: Uses,
    /// Objects that it owns and that not everybody may create.
    pub(super) owns_privileged: Uses,
    /// Grants that name it.
    pub(super) grants: Uses,
    /// Definitions that name it.
    pub(super) defines: Uses,
}

impl RoleUse {
    /// True if the restore cannot do without the role.
    pub(super) fn matters(&self, owns: bool) -> bool {
        owns || self.grants.n > 0 || self.defines.n > 0
    }
}

/// Objects: how many, and the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) n: usize,
    pub(super) first: String,
}

impl Uses {
    fn add(&mut self, entry: &Entry) {
        if self.n == 0 {
            self.first = object_of(entry);
        }
        self.n += 1;
    }
}

/// Roles and tablespaces that will be there by the time they are needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promised {
    roles: BTreeSet<String>,
    tablespaces: BTreeSet<String>,
}

impl Promised {
    /// What restoring the entries of an archive of globals gives.
    pub(crate) fn of(globals: &[Entry]) -> Promised {
        let labelled = |label: &'static str| {
            let chosen = globals.iter().filter(move |entry| entry.label == label);
            chosen.map(|entry| entry.name.name.clone()).collect()
        };
        Promised {
            roles: labelled("role"),
            tablespaces: labelled("tablespace"),
        }
    }
}

/// A name in a schema.
pub(super) type Name = (String, String);

/// What the chosen entries ask of the target.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// True if the target must be empty.
    pub(super) is_whole: bool,
    pub(super) roles: BTreeMap<String, RoleUse>,
    pub(super) tablespaces: BTreeMap<String, Uses>,
    /// Directories that must be on the server, and for what.
    pub(super) directories: BTreeMap<String, String>,
    pub(super) access_methods: BTreeMap<String, Uses>,
    /// Access methods that are created, those of extensions not counted.
    pub(super) access_methods_new: BTreeSet<String>,
    pub(super) extensions: BTreeSet<String>,
    /// Schemas that chosen objects are in and that are not among them.
    pub(super) schemas_there: BTreeMap<String, Uses>,
    /// Schemas that are created.
    pub(super) schemas_new: BTreeSet<String>,
    /// Relations, types and functions that are created.
    pub(super) names_new: BTreeMap<Name, String>,
    /// Tables that must exist because only their rows are restored: SQL name, and the object for people.
    pub(super) tables_there: BTreeMap<String, String>,
    /// Objects of which no form serves the target.
    pub(super) unserved: Vec<String>,
    /// Definitions that not everybody may run, by who may.
    pub(super) privileged: BTreeMap<&'static str, Uses>,
    /// Grants made by others than the owner, which only a superuser or a member of the grantor can repeat.
    pub(super) foreign_grants: Uses,
    /// Objects with a step that cannot run inside a transaction.
    pub(super) outside: Vec<String>,
    /// How many large objects' pages there are to be loaded.
    pub(super) n_large_objects: usize,
}

impl Wanted {
    /// Looks through the chosen entries, with the forms that serve `version`.
    pub(super) fn new(
        selection: &Selection,
        options: &RestoreOptions,
        version: ServerVersion,
    ) -> Wanted {
        let mut wanted = Wanted {
            is_whole: selection.is_whole,
            ..Wanted::default()
        };
        for entry in selection.iter() {
            wanted.definition(entry, version);
            wanted.roles_of_parts(entry, &options.selection, version);
            wanted.place(entry, &options.selection);
            wanted.names(entry, selection, &options.selection);
        }
        // What gets another name is judged by itself, in `rename`.
        for (old, _) in &options.map_schemas {
            wanted.schemas_there.remove(old);
            wanted.names_new.retain(|(schema, _), _| schema != old);
        }
        let promised = &selection.promised;
        wanted
            .roles
            .retain(|role, _| !promised.roles.contains(role));
        wanted
            .tablespaces
            .retain(|name, _| !promised.tablespaces.contains(name));
        wanted
    }

    fn definition(&mut self, entry: &Entry, version: ServerVersion) {
        match form_for(entry, version) {
            Some(form) => {
                let statements = form.steps.iter().flat_map(|step| &step.sql);
                for role in statements.flat_map(Sql::roles) {
                    self.role(role).defines.add(entry);
                }
                if form.steps.iter().any(|step| step.outside_transaction) {
                    self.outside.push(object_of(entry));
                }
                if let Some(who) = forbidden::needs(entry, form) {
                    self.privileged.entry(who).or_default().add(entry);
                }
            }
            None if entry.forms.is_empty() => {}
            None => self.unserved.push(object_of(entry)),
        }
        if entry.label == "extension" && !entry.forms.is_empty() {
            self.extensions.insert(entry.name.name.clone());
        }
        if entry.label == "access method" && !entry.forms.is_empty() {
            self.access_methods_new.insert(entry.name.name.clone());
        }
    }

    fn role(&mut self, name: &str) -> &mut RoleUse {
        self.roles.entry(name.to_owned()).or_default()
    }

    fn roles_of_parts(&mut self, entry: &Entry, choice: &Choice, version: ServerVersion) {
        if let Some(owner) = entry
            .owner
            .as_ref()
            .filter(|_| choice.wants_part(Part::Owner))
        {
            let form = form_for(entry, version);
            let is_privileged = form.is_some_and(|form| forbidden::needs(entry, form).is_some());
            let uses = self.role(&owner.role.0);
            if is_privileged {
                uses.owns_privileged.add(entry);
            } else {
                uses.owns.add(entry);
            }
        }
        let after = entry.after.iter();
        let kept = after.filter(|after| choice.wants_part(after.part));
        for role in kept.flat_map(|after| after.sql.roles()) {
            self.role(role).defines.add(entry);
        }
        if choice.omits(Omit::Privileges) {
            return;
        }
        for grant in &entry.grants {
            if let Grantee::Role(role) = &grant.grantee {
                self.role(&role.0).grants.add(entry);
            }
            for role in grant.prefix.roles().chain(grant.target.roles()) {
                self.role(role).grants.add(entry);
            }
            if let Some(role) = &grant.grantor {
                self.role(&role.0).grants.add(entry);
                self.foreign_grants.add(entry);
            }
        }
    }

    fn place(&mut self, entry: &Entry, choice: &Choice) {
        let tablespace = entry.tablespace.as_ref();
        let keeps = !choice.omits(Omit::Tablespaces);
        if let Some(name) = tablespace.filter(|name| !name.is_empty() && keeps) {
            self.tablespaces.entry(name.clone()).or_default().add(entry);
        }
        if let Some(directory) = entry.directory.as_ref().filter(|_| !entry.forms.is_empty()) {
            self.directories.insert(directory.clone(), object_of(entry));
        }
        let access_method = entry.access_method.as_ref();
        if let Some(name) = access_method.filter(|_| !choice.omits(Omit::AccessMethods)) {
            self.access_methods
                .entry(name.clone())
                .or_default()
                .add(entry);
        }
    }

    fn names(&mut self, entry: &Entry, selection: &Selection, choice: &Choice) {
        if let Some(DataOf::Table { target, table, .. }) = &entry.data
            && table.is_none_or(|table| !selection.has(table))
            && (choice.data_only || !selection.is_whole)
        {
            self.tables_there.insert(target.text(), object_of(entry));
        }
        if matches!(entry.data, Some(DataOf::LargeObjects)) {
            self.n_large_objects += 1;
        }
        if choice.data_only || entry.forms.is_empty() || entry.stage != Stage::PreData {
            return;
        }
        // `public` is there from the beginning: its entry makes nothing.
        let mut steps = entry.forms.iter().flat_map(|form| &form.steps);
        if entry.label == "schema" && steps.any(|step| !step.sql.is_empty()) {
            self.schemas_new.insert(entry.name.name.clone());
        }
        let Some(schema) = &entry.name.schema else {
            return;
        };
        self.schemas_there
            .entry(schema.clone())
            .or_default()
            .add(entry);
        if relation_of(entry).is_none_or(|(_, name)| name == entry.name.name)
            && entry.label.split(' ').next_back().is_some_and(is_created)
        {
            self.names_new
                .insert((schema.clone(), entry.name.name.clone()), object_of(entry));
        }
    }
}

/// Last words of labels of objects whose names a target can be searched for.
fn is_created(word: &str) -> bool {
    matches!(
        word,
        "table"
            | "view"
            | "sequence"
            | "type"
            | "domain"
            | "function"
            | "procedure"
            | "aggregate"
            | "stub"
    )
}

/// The first form that serves the version.
pub(super) fn form_for(entry: &Entry, version: ServerVersion) -> Option<&Form> {
    entry.forms.iter().find(|form| form.serves(version))
}
