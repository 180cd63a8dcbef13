//! Options that choose objects and their parts, with the letters of PostgreSQL's tools. Dump and restore share them.

use crate::dump::select::Selection;

/// Which objects.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Choice {
    /// Only schemas that match (patterns as in psql: sales, "Odd Name", sales_*)
    #[arg(short = 'n', long = "schema", value_name = "PATTERN")]
    pub(crate) schemas: Vec<String>,
    /// Not schemas that match
    #[arg(short = 'N', long = "exclude-schema", value_name = "PATTERN")]
    pub(crate) exclude_schemas: Vec<String>,
    /// Only tables, views and sequences that match
    #[arg(short = 't', long = "table", value_name = "PATTERN")]
    pub(crate) tables: Vec<String>,
    /// Not tables that match
    #[arg(short = 'T', long = "exclude-table", value_name = "PATTERN")]
    pub(crate) exclude_tables: Vec<String>,
    /// Definition yes, rows no
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude_table_data: Vec<String>,
    /// Definitions only
    #[arg(short, long, conflicts_with = "data_only")]
    pub(crate) schema_only: bool,
    /// Rows, sequence values and large objects only
    #[arg(short = 'a', long)]
    pub(crate) data_only: bool,
    /// Without owners
    #[arg(short = 'O', long)]
    pub(crate) no_owner: bool,
    /// Without grants
    #[arg(short = 'x', long)]
    pub(crate) no_privileges: bool,
    /// Without comments
    #[arg(long)]
    pub(crate) no_comments: bool,
    /// Without tablespaces
    #[arg(long)]
    pub(crate) no_tablespaces: bool,
}

impl Choice {
    /// As a dump takes it.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            schemas: self.schemas.clone(),
            exclude_schemas: self.exclude_schemas.clone(),
            tables: self.tables.clone(),
            exclude_tables: self.exclude_tables.clone(),
            exclude_table_data: self.exclude_table_data.clone(),
            schema_only: self.schema_only,
            data_only: self.data_only,
            no_owner: self.no_owner,
            no_privileges: self.no_privileges,
            no_comments: self.no_comments,
            no_tablespaces: self.no_tablespaces,
            statistics: false,
        }
    }
}
