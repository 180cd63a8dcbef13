//! What a user chooses of a database to dump, or of an archive to restore: plain data, and the rules that are the same on both
//! sides. What a pattern matches in a database is decided in `dump::select`, in an archive in `restore::select`. Pure.

mod brought;
pub mod condition;
pub mod filter_file;
pub mod filters;
pub mod list;
mod near;
pub mod omit;
pub mod section;

use std::collections::BTreeSet;

pub use self::brought::Brought;
pub use self::condition::RowCondition;
pub use self::omit::Omit;
pub use self::section::Section;
use crate::error::{Error, Result};
use crate::toc::{DataOf, Entry, EntryId, Part, PartSet, Stage};

/// Whose selection it is. Some options mean something on one side only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Objects of a database go into an archive.
    Dump,
    /// Entries of an archive go into a database.
    Restore,
}

/// What the user chose. The default is everything.
///
/// Patterns are PostgreSQL's (manual, psql, "Patterns"). An include pattern that matches nothing is an error, an exclude pattern
/// is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line, in any combination"
)]
pub struct Selection {
    /// `-n`: only these schemas.
    pub schemas: Vec<String>,
    /// `-N`: not these schemas.
    pub exclude_schemas: Vec<String>,
    /// `-t`: only these relations, with what hangs on them.
    pub tables: Vec<String>,
    /// `-T`: not these relations.
    pub exclude_tables: Vec<String>,
    /// Only these relations and all that inherit from them. Dump only.
    pub tables_and_children: Vec<String>,
    /// Not these relations, nor what inherits from them. Dump only.
    pub exclude_tables_and_children: Vec<String>,
    /// Definition yes, rows no.
    pub exclude_table_data: Vec<String>,
    /// The same with all that inherit. Dump only.
    pub exclude_table_data_and_children: Vec<String>,
    /// Only these extensions.
    pub extensions: Vec<String>,
    /// Not these extensions.
    pub exclude_extensions: Vec<String>,
    /// Foreign servers whose tables give their rows. Dump only.
    pub foreign_data: Vec<String>,
    /// Only these indexes. Restore only.
    pub indexes: Vec<String>,
    /// Only these functions, as `name` or `name(argument types)`. Restore only.
    pub functions: Vec<String>,
    /// Only these triggers. Restore only.
    pub triggers: Vec<String>,
    /// Only the entries of a list. Restore only.
    pub listed: Option<BTreeSet<EntryId>>,
    /// Only these sections; all if empty.
    pub sections: BTreeSet<Section>,
    /// `-s`: definitions only.
    pub schema_only: bool,
    /// `-a`: rows, sequence values and large objects only.
    pub data_only: bool,
    /// `-b` and `-B`: large objects in or out; by default they are in unless schemas, tables or extensions are named.
    pub large_objects: Option<bool>,
    /// Properties and classes of objects to leave out.
    pub omit: BTreeSet<Omit>,
    /// Rows of some tables that are left out. Dump only.
    pub conditions: Vec<RowCondition>,
    /// Planner statistics too; they hold samples of the rows. Dump only.
    pub statistics: bool,
    /// What the chosen objects need is chosen too.
    pub with_needs: bool,
}

/// An option with patterns: its name, the patterns, the only side that knows it.
type Listed<'a> = (&'static str, &'a Vec<String>, Option<Side>);

impl Selection {
    /// The selection without these classes.
    #[must_use]
    pub fn without(mut self, classes: impl IntoIterator<Item = Omit>) -> Selection {
        self.omit.extend(classes);
        self
    }

    /// True if a class is left out.
    pub fn omits(&self, class: Omit) -> bool {
        self.omit.contains(&class)
    }

    fn lists(&self) -> [Listed<'_>; 14] {
        let (dump, restore) = (Some(Side::Dump), Some(Side::Restore));
        [
            ("-n", &self.schemas, None),
            ("-N", &self.exclude_schemas, None),
            ("-t", &self.tables, None),
            ("-T", &self.exclude_tables, None),
            ("--table-and-children", &self.tables_and_children, dump),
            (
                "--exclude-table-and-children",
                &self.exclude_tables_and_children,
                dump,
            ),
            ("--exclude-table-data", &self.exclude_table_data, None),
            (
                "--exclude-table-data-and-children",
                &self.exclude_table_data_and_children,
                dump,
            ),
            ("--extension", &self.extensions, None),
            ("--exclude-extension", &self.exclude_extensions, None),
            ("--include-foreign-data", &self.foreign_data, dump),
            ("--index", &self.indexes, restore),
            ("--function", &self.functions, restore),
            ("--trigger", &self.triggers, restore),
        ]
    }

    /// True if no object is named, so that what lives in no schema is chosen too.
    pub fn includes_everything(&self) -> bool {
        self.names_nothing() && self.listed.is_none()
    }

    /// True if no pattern includes anything.
    pub fn names_nothing(&self) -> bool {
        let named = [
            &self.schemas,
            &self.tables,
            &self.tables_and_children,
            &self.extensions,
            &self.indexes,
            &self.functions,
            &self.triggers,
        ];
        named.iter().all(|patterns| patterns.is_empty())
    }

    /// True if no object is left out by its name; rows and properties may be.
    pub fn leaves_no_object_out(&self) -> bool {
        let excluded = [
            &self.exclude_schemas,
            &self.exclude_tables,
            &self.exclude_tables_and_children,
            &self.exclude_extensions,
        ];
        self.includes_everything() && excluded.iter().all(|patterns| patterns.is_empty())
    }

    /// True if the sections leave nothing out.
    pub fn has_all_sections(&self) -> bool {
        self.sections.is_empty() || self.sections.len() == Section::ALL.len()
    }

    /// True if nothing at all is left out, neither objects nor rows nor properties, so that the archive can replace its database.
    pub fn is_full(&self) -> bool {
        let all_rows = self.exclude_table_data.is_empty()
            && self.exclude_table_data_and_children.is_empty()
            && self.conditions.is_empty()
            && self.large_objects != Some(false);
        let all_parts = self.omit.is_empty() && self.has_all_sections();
        self.leaves_no_object_out() && all_rows && all_parts && !self.schema_only && !self.data_only
    }

    /// Refuses what excludes each other, and what this side does not know.
    ///
    /// Errors: [`Error::Usage`].
    pub fn check(&self, side: Side) -> Result<()> {
        let wrong = |text: &str| Err(Error::Usage(text.to_owned()));
        if self.schema_only && self.data_only {
            return wrong("only definitions (-s) and only rows (-a) exclude each other");
        }
        if self.schema_only && !self.foreign_data.is_empty() {
            return wrong("-s and --include-foreign-data exclude each other");
        }
        if self.schema_only && !self.conditions.is_empty() {
            return wrong("-s and --where exclude each other");
        }
        for (option, patterns, only) in self.lists() {
            if !patterns.is_empty() && only.is_some_and(|only| only != side) {
                let verb = match side {
                    Side::Dump => "restore",
                    Side::Restore => "dump",
                };
                return Err(Error::Usage(format!("{option} is an option of {verb}")));
            }
        }
        match side {
            Side::Dump if self.listed.is_some() => wrong("a list of entries is for a restore"),
            Side::Restore if !self.conditions.is_empty() => wrong("--where is an option of dump"),
            Side::Restore if self.omits(Omit::ToastCompression) => wrong(
                "--no-toast-compression is an option of dump: in an archive compression is part of a table's definition",
            ),
            _ => Ok(()),
        }
    }

    /// The options as the user would type them, for the manifest.
    pub fn as_options(&self) -> Vec<String> {
        let lists = self.lists();
        let patterns = lists.iter().flat_map(|(flag, patterns, _)| {
            let typed = patterns.iter();
            typed.map(move |pattern| format!("{flag} {pattern}"))
        });
        let sections = self.sections.iter();
        let sections = sections.map(|section| format!("--section {}", section.name()));
        let conditions = self.conditions.iter();
        let conditions = conditions.map(|one| format!("--where {one}"));
        let switches = [
            ("-L FILE", self.listed.is_some()),
            ("-s", self.schema_only),
            ("-a", self.data_only),
            ("-b", self.large_objects == Some(true)),
            ("-B", self.large_objects == Some(false)),
            ("--statistics", self.statistics),
            ("--with-needs", self.with_needs),
        ];
        let switches = switches.into_iter().filter(|(_, on)| *on);
        let omitted = self.omit.iter().map(|class| class.option());
        patterns
            .chain(sections)
            .chain(conditions)
            .chain(
                switches
                    .map(|(flag, _)| flag)
                    .chain(omitted)
                    .map(str::to_owned),
            )
            .collect()
    }

    /// The parts that are wanted of any object.
    pub fn parts(&self) -> PartSet {
        [Part::Owner, Part::Acl, Part::Comment, Part::Label]
            .into_iter()
            .filter(|part| !self.wants_part(*part))
            .fold(PartSet::ALL, PartSet::without)
    }

    /// True if a part of a wanted object is wanted.
    pub fn wants_part(&self, part: Part) -> bool {
        let class = match part {
            Part::Owner => Omit::Owners,
            Part::Acl => Omit::Privileges,
            Part::Comment => Omit::Comments,
            Part::Label => Omit::SecurityLabels,
            Part::Define | Part::Data => return true,
        };
        !self.omits(class)
    }

    /// True if sections and classes leave an entry in, whatever it is called.
    pub fn wants_class(&self, label: &str, stage: Stage, rows: RowsOf) -> bool {
        let in_section =
            self.sections.is_empty() || self.sections.contains(&Section::of_stage(stage));
        let is_content = is_content(label, stage);
        let in_part = match (self.schema_only, self.data_only) {
            (true, _) => !is_content || rows == RowsOf::Configuration,
            (_, true) => is_content,
            _ => true,
        };
        let has_class = match label {
            "policy" | "row security" => !self.omits(Omit::Policies),
            "subscription" => !self.omits(Omit::Subscriptions),
            _ if label.starts_with("publication") => !self.omits(Omit::Publications),
            "planner statistics" => !self.omits(Omit::Statistics),
            _ if label.starts_with("large object") => self.large_objects != Some(false),
            _ => rows != RowsOf::Unlogged || !self.omits(Omit::UnloggedRows),
        };
        in_section && in_part && has_class
    }

    /// The same for an entry of an archive.
    pub fn wants_class_of(&self, entry: &Entry) -> bool {
        self.wants_class(&entry.label, entry.stage, RowsOf::entry(entry))
    }

    /// True if rows are wanted at all.
    pub fn wants_rows(&self) -> bool {
        let in_section = self.sections.is_empty() || self.sections.contains(&Section::Data);
        !self.schema_only && in_section
    }
}

/// Rows, and what is made of them: sequence values, large objects, the contents of materialized views.
pub fn is_content(label: &str, stage: Stage) -> bool {
    stage == Stage::Data || label == "materialized view data" || label == "planner statistics"
}

/// What sections and classes must know of the rows of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowsOf {
    /// No rows, or those of an ordinary table.
    #[default]
    Any,
    /// An unlogged table's.
    Unlogged,
    /// An extension's own tables hold configuration, which belongs to its definition.
    Configuration,
}

impl RowsOf {
    /// What the rows of an entry are.
    pub fn entry(entry: &Entry) -> RowsOf {
        match &entry.data {
            // Only an extension's rows are named as something on a relation; in an archive of rows alone no table has an entry.
            Some(DataOf::Table { table: None, .. }) if entry.name.relation.is_some() => {
                RowsOf::Configuration
            }
            Some(DataOf::Table { unlogged: true, .. }) => RowsOf::Unlogged,
            None if entry.label == "sequence value" && entry.name.relation.is_some() => {
                RowsOf::Configuration
            }
            _ => RowsOf::Any,
        }
    }
}

#[cfg(test)]
mod tests;
