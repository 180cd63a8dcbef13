//! Options that choose objects and their parts, with the letters of PostgreSQL's tools: those that dump and restore share, and
//! those of one of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;

use super::output::diagnostic;
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::selection::{Brought, Omit, RowCondition, Section, Selection, Side, filter_file, list};
use crate::toc::{Entry, EntryId, printable};

/// Filter files and lists are written by people; a larger one is a mistake.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// How many objects that came along are named without being asked.
const BROUGHT_SHOWN: usize = 10;

/// Which objects, and which parts of them.
#[derive(Debug, Clone, clap::Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Choice {
    /// Only schemas that match (patterns as in psql: sales, "Odd Name", sales_*)
    #[arg(short = 'n', long = "schema", value_name = "PATTERN", help_heading = OBJECTS)]
    schemas: Vec<String>,
    /// Not schemas that match
    #[arg(short = 'N', long = "exclude-schema", value_name = "PATTERN", help_heading = OBJECTS)]
    exclude_schemas: Vec<String>,
    /// Only tables, views and sequences that match, with indexes, keys, triggers, statistics and owned sequences
    #[arg(short = 't', long = "table", value_name = "PATTERN", help_heading = OBJECTS)]
    tables: Vec<String>,
    /// Not tables that match
    #[arg(short = 'T', long = "exclude-table", value_name = "PATTERN", help_heading = OBJECTS)]
    exclude_tables: Vec<String>,
    /// Definition yes, rows no
    #[arg(long, value_name = "PATTERN", help_heading = OBJECTS)]
    exclude_table_data: Vec<String>,
    /// Only extensions that match; with nothing else named, also what is in schemas
    #[arg(long = "extension", value_name = "PATTERN", help_heading = OBJECTS)]
    extensions: Vec<String>,
    /// Not extensions that match
    #[arg(long = "exclude-extension", value_name = "PATTERN", help_heading = OBJECTS)]
    exclude_extensions: Vec<String>,
    /// Patterns from a file with lines such as `include table sales.*`, as PostgreSQL's own tools read it; - is standard input
    #[arg(long = "filter", value_name = "FILE", help_heading = OBJECTS)]
    filters: Vec<PathBuf>,
    /// Also what the chosen objects need: schemas, types, functions, extensions, referenced tables with their rows
    #[arg(long, help_heading = OBJECTS)]
    with_needs: bool,
    /// Large objects, also where schemas or tables are named
    #[arg(short = 'b', long, help_heading = OBJECTS)]
    large_objects: bool,
    /// No large objects
    #[arg(short = 'B', long, help_heading = OBJECTS)]
    no_large_objects: bool,

    /// Definitions only
    #[arg(short, long, conflicts_with = "data_only", help_heading = PARTS)]
    schema_only: bool,
    /// Rows, sequence values and large objects only
    #[arg(short = 'a', long, help_heading = PARTS)]
    data_only: bool,
    /// Only this section: pre-data, data or post-data; may be repeated
    #[arg(long = "section", value_name = "SECTION", help_heading = PARTS)]
    sections: Vec<Section>,
    /// Without owners
    #[arg(short = 'O', long, help_heading = PARTS)]
    no_owner: bool,
    /// Without grants
    #[arg(short = 'x', long, visible_alias = "no-acl", help_heading = PARTS)]
    no_privileges: bool,
    /// Without comments
    #[arg(long, help_heading = PARTS)]
    no_comments: bool,
    /// Without security labels
    #[arg(long, help_heading = PARTS)]
    no_security_labels: bool,
    /// Without policies, and row security off
    #[arg(long, help_heading = PARTS)]
    no_policies: bool,
    /// Without publications
    #[arg(long, help_heading = PARTS)]
    no_publications: bool,
    /// Without subscriptions
    #[arg(long, help_heading = PARTS)]
    no_subscriptions: bool,
    /// Without tablespaces
    #[arg(long, help_heading = PARTS)]
    no_tablespaces: bool,
    /// Without table access methods
    #[arg(long, help_heading = PARTS)]
    no_table_access_method: bool,
    /// Without the rows of unlogged tables
    #[arg(long, help_heading = PARTS)]
    no_unlogged_table_data: bool,
}

const OBJECTS: &str = "Which objects";
const PARTS: &str = "Which parts of them";

impl Choice {
    /// As the library takes it, filter files read.
    pub(crate) async fn selection(&self, side: Side) -> Result<Selection> {
        let large_objects = match (self.large_objects, self.no_large_objects) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        let mut selection = Selection {
            schemas: self.schemas.clone(),
            exclude_schemas: self.exclude_schemas.clone(),
            tables: self.tables.clone(),
            exclude_tables: self.exclude_tables.clone(),
            exclude_table_data: self.exclude_table_data.clone(),
            extensions: self.extensions.clone(),
            exclude_extensions: self.exclude_extensions.clone(),
            sections: self.sections.iter().copied().collect(),
            schema_only: self.schema_only,
            data_only: self.data_only,
            large_objects,
            omit: self.omit(),
            with_needs: self.with_needs,
            ..Selection::default()
        };
        for path in &self.filters {
            let text = text_of(path).await?;
            let file = path.display().to_string();
            filter_file::apply(
                filter_file::parse(&text, &file)?,
                &file,
                side,
                &mut selection,
            )?;
        }
        Ok(selection)
    }

    fn omit(&self) -> BTreeSet<Omit> {
        let switches = [
            (Omit::Owners, self.no_owner),
            (Omit::Privileges, self.no_privileges),
            (Omit::Comments, self.no_comments),
            (Omit::SecurityLabels, self.no_security_labels),
            (Omit::Policies, self.no_policies),
            (Omit::Publications, self.no_publications),
            (Omit::Subscriptions, self.no_subscriptions),
            (Omit::Tablespaces, self.no_tablespaces),
            (Omit::AccessMethods, self.no_table_access_method),
            (Omit::UnloggedRows, self.no_unlogged_table_data),
        ];
        let given = switches.into_iter().filter(|(_, on)| *on);
        given.map(|(class, _)| class).collect()
    }
}

/// What only a database can answer.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DumpChoice {
    /// Like -t, with all tables that inherit from them and all their partitions
    #[arg(long, value_name = "PATTERN", help_heading = OBJECTS)]
    table_and_children: Vec<String>,
    /// Like -T, with all tables that inherit from them and all their partitions
    #[arg(long, value_name = "PATTERN", help_heading = OBJECTS)]
    exclude_table_and_children: Vec<String>,
    /// Like --exclude-table-data, with all tables that inherit from them and all their partitions
    #[arg(long, value_name = "PATTERN", help_heading = OBJECTS)]
    exclude_table_data_and_children: Vec<String>,
    /// Also the rows of foreign tables on servers that match; a restore writes them to the foreign server
    #[arg(long, value_name = "PATTERN", help_heading = OBJECTS)]
    include_foreign_data: Vec<String>,
    /// Of one table only the rows for which a condition in SQL is true; may be repeated for other tables
    #[arg(long = "where", value_name = "TABLE=CONDITION", help_heading = OBJECTS)]
    conditions: Vec<RowCondition>,
    /// Without compression methods of columns; a restore cannot leave them out, so they are left out here
    #[arg(long, help_heading = PARTS)]
    no_toast_compression: bool,
    /// Also what ANALYZE found, samples of the rows among it; servers since 18 take it over
    #[arg(long, help_heading = PARTS)]
    statistics: bool,
}

impl DumpChoice {
    pub(crate) fn add_to(&self, selection: &mut Selection) {
        let lists = [
            (&mut selection.tables_and_children, &self.table_and_children),
            (
                &mut selection.exclude_tables_and_children,
                &self.exclude_table_and_children,
            ),
            (
                &mut selection.exclude_table_data_and_children,
                &self.exclude_table_data_and_children,
            ),
            (&mut selection.foreign_data, &self.include_foreign_data),
        ];
        for (list, more) in lists {
            list.extend(more.iter().cloned());
        }
        selection.conditions.extend(self.conditions.iter().cloned());
        selection.statistics = self.statistics;
        if self.no_toast_compression {
            selection.omit.insert(Omit::ToastCompression);
        }
    }
}

/// What only an archive can answer.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RestoreChoice {
    /// Only indexes that match
    #[arg(short = 'I', long = "index", value_name = "PATTERN", help_heading = OBJECTS)]
    indexes: Vec<String>,
    /// Only functions, procedures and aggregates that match: sales.total, or "sales.total(integer, text)" for one of several
    #[arg(short = 'P', long = "function", value_name = "NAME(TYPES)", help_heading = OBJECTS)]
    functions: Vec<String>,
    /// Only triggers that match: stamp, or orders.stamp for that of one table
    #[arg(long = "trigger", value_name = "PATTERN", help_heading = OBJECTS)]
    triggers: Vec<String>,
    /// Only the entries of a list that `pgark show --list` wrote; - is standard input. The order stays pgark's
    #[arg(short = 'L', long, value_name = "FILE", help_heading = OBJECTS)]
    use_list: Option<PathBuf>,
    /// Without the planner statistics of the archive; they are collected anew
    #[arg(long, help_heading = PARTS)]
    no_statistics: bool,
}

impl RestoreChoice {
    pub(crate) async fn add_to(&self, selection: &mut Selection, archive: &Archive) -> Result<()> {
        selection.indexes.extend(self.indexes.iter().cloned());
        selection.functions.extend(self.functions.iter().cloned());
        selection.triggers.extend(self.triggers.iter().cloned());
        if self.no_statistics {
            selection.omit.insert(Omit::Statistics);
        }
        if let Some(path) = &self.use_list {
            let entries = archive.entries().await?;
            selection.listed = Some(read_list(path, &entries).await?);
        }
        Ok(())
    }
}

/// The entries that the list in a file leaves in.
pub(crate) async fn read_list(path: &Path, entries: &[Entry]) -> Result<BTreeSet<EntryId>> {
    let text = text_of(path).await?;
    list::parse(&text, &path.display().to_string(), entries)
}

/// A file that a person wrote, or standard input for `-`.
async fn text_of(path: &Path) -> Result<String> {
    let name = printable(&path.display().to_string());
    let mut text = String::new();
    let read = if path == Path::new("-") {
        let mut limited = tokio::io::stdin().take(FILE_BYTES_MAX);
        limited.read_to_string(&mut text).await
    } else {
        match tokio::fs::File::open(path).await {
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text).await,
            Err(error) => Err(error),
        }
    };
    match read {
        Ok(n) if n as u64 == FILE_BYTES_MAX => {
            Err(Error::Usage(format!("file {name} is larger than 64 MiB")))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(Error::Usage(format!("file {name} cannot be read: {error}"))),
    }
}

/// Names what came along, all of it if asked.
pub(crate) fn print_brought(brought: &[Brought], verbose: bool) {
    let n_shown = if verbose {
        brought.len()
    } else {
        BROUGHT_SHOWN
    };
    for one in brought.iter().take(n_shown) {
        diagnostic(format!(
            "came along: {}: {} needs it",
            one.object, one.needed_by
        ));
    }
    if brought.len() > n_shown {
        let n = brought.len() - n_shown;
        diagnostic(format!("came along: {n} more, which -v names"));
    }
}
