//! The patterns of a selection, parsed, with what each has matched so far: the same for a database and an archive.

use std::cell::Cell;

use super::{Selection, near};
use crate::error::{Error, Result};
use crate::sql::{Pattern, PatternScope};

/// The patterns of one option.
#[derive(Debug)]
pub struct Filter {
    noun: &'static str,
    patterns: Vec<(Pattern, Cell<bool>)>,
}

impl Filter {
    /// Parses the patterns of an option that names things called `noun`.
    ///
    /// Errors: [`Error::Usage`] for a pattern that is none.
    pub fn new(noun: &'static str, texts: &[String], scope: PatternScope) -> Result<Filter> {
        let parsed = texts
            .iter()
            .map(|text| Ok((Pattern::parse(text, scope)?, Cell::new(false))));
        let patterns: Result<Vec<_>> = parsed.collect();
        Ok(Filter {
            noun,
            patterns: patterns?,
        })
    }

    /// True if the option was not given.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// True if any pattern matches a plain name.
    pub fn matches_name(&self, name: &str) -> bool {
        self.any(|pattern| pattern.matches_name(name))
    }

    /// True if any pattern matches a relation. `visible` is asked for patterns without a schema.
    pub fn matches_relation(&self, schema: &str, name: &str, visible: &dyn Fn() -> bool) -> bool {
        self.any(|pattern| {
            let visible = !pattern.has_schema() && visible();
            pattern.matches_relation(schema, name, visible)
        })
    }

    /// True if `fits` holds for any pattern; each pattern is asked, because each must match something.
    pub fn any(&self, fits: impl Fn(&Pattern) -> bool) -> bool {
        self.patterns.iter().fold(false, |any, (pattern, matched)| {
            let fits = fits(pattern);
            matched.set(matched.get() || fits);
            any || fits
        })
    }

    /// The patterns that have matched nothing.
    pub fn unmatched(&self) -> impl Iterator<Item = &Pattern> {
        let unmatched = self.patterns.iter().filter(|(_, matched)| !matched.get());
        unmatched.map(|(pattern, _)| pattern)
    }
}

/// The patterns that both sides have.
#[derive(Debug)]
pub struct Filters {
    /// `-n`
    pub schemas: Filter,
    /// `-N`
    pub exclude_schemas: Filter,
    /// `-t`
    pub tables: Filter,
    /// `-T`
    pub exclude_tables: Filter,
    /// `--table-and-children`
    pub tables_and_children: Filter,
    /// `--exclude-table-and-children`
    pub exclude_tables_and_children: Filter,
    /// `--exclude-table-data`
    pub exclude_data: Filter,
    /// `--exclude-table-data-and-children`
    pub exclude_data_and_children: Filter,
    /// `--extension`
    pub extensions: Filter,
    /// `--exclude-extension`
    pub exclude_extensions: Filter,
    /// `--include-foreign-data`
    pub foreign_data: Filter,
}

impl Filters {
    /// Parses all patterns of a selection.
    ///
    /// Errors: [`Error::Usage`] for a pattern that is none.
    pub fn new(selection: &Selection) -> Result<Filters> {
        let schema = |texts: &[String]| Filter::new("schema", texts, PatternScope::Schema);
        let table = |texts: &[String]| Filter::new("table", texts, PatternScope::Relation);
        let extension = |texts: &[String]| Filter::new("extension", texts, PatternScope::Name);
        let server = |texts: &[String]| Filter::new("foreign server", texts, PatternScope::Name);
        Ok(Filters {
            schemas: schema(&selection.schemas)?,
            exclude_schemas: schema(&selection.exclude_schemas)?,
            tables: table(&selection.tables)?,
            exclude_tables: table(&selection.exclude_tables)?,
            tables_and_children: table(&selection.tables_and_children)?,
            exclude_tables_and_children: table(&selection.exclude_tables_and_children)?,
            exclude_data: table(&selection.exclude_table_data)?,
            exclude_data_and_children: table(&selection.exclude_table_data_and_children)?,
            extensions: extension(&selection.extensions)?,
            exclude_extensions: extension(&selection.exclude_extensions)?,
            foreign_data: server(&selection.foreign_data)?,
        })
    }

    fn included(&self) -> [&Filter; 5] {
        [
            &self.schemas,
            &self.tables,
            &self.tables_and_children,
            &self.extensions,
            &self.foreign_data,
        ]
    }

    fn excluded(&self) -> [&Filter; 6] {
        [
            &self.exclude_schemas,
            &self.exclude_tables,
            &self.exclude_tables_and_children,
            &self.exclude_data,
            &self.exclude_data_and_children,
            &self.exclude_extensions,
        ]
    }

    /// Every pattern that names a database must name this one.
    ///
    /// Errors: [`Error::Usage`].
    pub fn check_database(&self, database: &str) -> Result<()> {
        let filters = self.included().into_iter().chain(self.excluded());
        let mut patterns = filters.flat_map(|filter| &filter.patterns);
        let other =
            patterns.find(|(pattern, _)| pattern.database().is_some_and(|name| name != database));
        match other {
            None => Ok(()),
            Some((pattern, _)) => Err(Error::Usage(format!(
                "pattern {:?} names another database than {database:?}, which is connected",
                pattern.text(),
            ))),
        }
    }

    /// Every include pattern must have matched something; `candidates` names what there is of a noun, as printed and as compared.
    ///
    /// Errors: [`Error::Usage`] with what is near.
    pub fn check_matched(
        &self,
        place: &str,
        candidates: &dyn Fn(&str) -> Vec<(String, String)>,
    ) -> Result<()> {
        for filter in self.included() {
            filter.check_matched(place, candidates)?;
        }
        Ok(())
    }

    /// Exclude patterns that matched nothing: no error, but perhaps a slip.
    pub fn idle_exclusions(&self) -> Vec<String> {
        let excluded = self.excluded().into_iter();
        excluded
            .flat_map(|filter| {
                filter
                    .unmatched()
                    .map(move |pattern| (filter.noun, pattern))
            })
            .map(|(noun, pattern)| {
                format!("no {noun} matches {:?}, which is excluded", pattern.text())
            })
            .collect()
    }
}

impl Filter {
    /// Every pattern must have matched something.
    ///
    /// Errors: [`Error::Usage`] with what is near.
    pub fn check_matched(
        &self,
        place: &str,
        candidates: &dyn Fn(&str) -> Vec<(String, String)>,
    ) -> Result<()> {
        let Some(pattern) = self.unmatched().next() else {
            return Ok(());
        };
        let hint = near::hint(pattern.text(), candidates(self.noun).into_iter());
        let elsewhere = if self.noun == "table" && !pattern.has_schema() && place.is_empty() {
            " in the search path (write schema.table to look elsewhere)"
        } else {
            ""
        };
        Err(Error::Usage(format!(
            "no {}{place} matches {:?}{elsewhere}{hint}",
            self.noun,
            pattern.text()
        )))
    }
}
