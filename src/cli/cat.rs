//! `pgark cat`: the rows of one table out of an archive, on standard output.

mod rows;
mod table;

use self::rows::{Condition, Conditions, csv_line, csv_value, fields, reordered};
use super::output::Output;
use super::row_text::{PieceReader, escaped};
use super::{Context, choose, exit::Outcome, place};
use crate::archive::Archive;
use crate::archive::index::{CopyFormat, TableIndex};
use crate::error::{Error, Result};
use crate::sql::{Ident, Literal, Sql, sql, unescape};
use crate::toc::printable;

/// What stands before and after the tuples of a stream of binary COPY.
const BINARY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const BINARY_END: &[u8] = b"\xff\xff";

/// Writes the rows of one table of an archive
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark cat sales.orders                       the newest archive's rows, as COPY text
  pgark cat sales.orders --csv --header > orders.csv
  pgark cat sales.orders shop-2026 --match id=4711
  pgark cat sales.orders --match state=open --null shipped --limit 10 --csv
  pgark cat sales.orders --copy | pgark exec -d shop_old -f -
                                               into a table that is there; restore -t makes the table too

Every chunk is proved before its rows are written. A partitioned table gives the rows of all its partitions. Values are \
those of COPY text, in the database's encoding.")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Cat {
    /// The table, as a pattern that means exactly one: orders, sales.orders, '\"Odd name\"'
    #[arg(value_name = "TABLE")]
    table: String,
    /// Archive: its name, a unique beginning of it, or latest [default: the newest]
    #[arg(value_name = "ARCHIVE")]
    archive: Option<String>,
    /// The newest archive of this database
    #[arg(
        short,
        long,
        visible_alias = "from-database",
        value_name = "NAME",
        conflicts_with = "archive"
    )]
    dbname: Option<String>,
    /// As CSV
    #[arg(long)]
    csv: bool,
    /// With the column names in the first line
    #[arg(long)]
    header: bool,
    /// As a COPY block that psql and pgark exec run
    #[arg(long, conflicts_with_all = ["csv", "header"])]
    copy: bool,
    /// Rows that only the binary format could carry, as a stream of binary COPY
    #[arg(long, conflicts_with_all = ["csv", "header", "copy", "matches", "null", "limit"])]
    binary: bool,
    /// Only rows whose column has exactly this value; all of several must hold. A name with = in it stands in double quotes
    #[arg(long = "match", id = "matches", value_name = "COLUMN=VALUE", value_parser = Condition::parse)]
    matches: Vec<Condition>,
    /// Only rows whose column is NULL
    #[arg(long, value_name = "COLUMN")]
    null: Vec<String>,
    /// Not more than N rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Cat {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open(cx).await?;
        let filter = choose::of_database(self.dbname.as_deref());
        let archive = choose::archive(&repository, self.archive.as_deref(), &filter).await?;
        let entries = archive.entries().await?;
        let database = &archive.manifest().source.database;
        let table = table::find(&self.table, database, &entries)?;
        drop(entries);
        let indexes = table.indexes(&archive).await?;
        self.check_format(&table.target, &indexes)?;
        let columns = indexes.first().map_or(&[][..], |index| &index.columns);
        let mut writing = Writing {
            options: self,
            conditions: self.conditions(columns, &archive)?,
            columns,
            left: self.limit.unwrap_or(u64::MAX),
            pieces: PieceReader::new(&archive),
            out: &cx.output,
        };
        writing.begin(&table.target, &archive)?;
        for index in &indexes {
            writing.table(index).await?;
        }
        writing.end()?;
        Ok(Outcome::Done)
    }

    /// Rows are in one format, and it is the one that was asked for.
    fn check_format(&self, target: &str, indexes: &[TableIndex]) -> Result<()> {
        let is_binary = |index: &TableIndex| index.format == CopyFormat::Binary;
        let target = printable(target);
        match (self.binary, indexes.iter().any(is_binary)) {
            (false, true) => Err(Error::Usage(format!(
                "rows of {target} are in binary format, because text could not carry one of them: say --binary, or restore the table with restore -t"
            ))),
            (true, _) if !indexes.iter().all(is_binary) => Err(Error::Usage(format!(
                "rows of {target} are text: leave --binary out, or name one partition"
            ))),
            _ => Ok(()),
        }
    }

    fn conditions(&self, columns: &[String], archive: &Archive) -> Result<Conditions> {
        let encoding = archive.manifest().source.encoding.as_str();
        let null = self.null.iter().map(|column| Condition {
            column: column.clone(),
            value: None,
        });
        let all: Vec<Condition> = self.matches.iter().cloned().chain(null).collect();
        let values = all.iter().filter_map(|one| one.value.as_deref());
        let is_foreign = |value: &str| !value.is_ascii();
        if !matches!(encoding, "UTF8" | "SQL_ASCII") && values.clone().any(is_foreign) {
            return Err(Error::Usage(format!(
                "the rows are in {encoding}: --match compares bytes, and knows values of ASCII only there"
            )));
        }
        Conditions::new(&all, columns)
    }
}

/// Rows on their way out.
struct Writing<'a> {
    options: &'a Cat,
    conditions: Conditions,
    /// The columns in the order in which they are written.
    columns: &'a [String],
    /// Rows that may still be written.
    left: u64,
    pieces: PieceReader,
    out: &'a Output,
}

impl Writing<'_> {
    fn begin(&self, target: &str, archive: &Archive) -> Result<()> {
        if self.options.binary {
            return self.out.write(BINARY_HEAD);
        }
        if self.options.copy {
            let names: Vec<Ident> = self.columns.iter().map(Ident::new).collect();
            let columns = (!names.is_empty()).then(|| sql![" (", Sql::list(&names), ")"]);
            let encoding = Literal(&archive.manifest().source.encoding);
            // The target's text is made of quoted names.
            let rest = sql![columns, " FROM stdin WITH (ENCODING ", encoding, ");\n"];
            let text = format!("COPY {target}{}", rest.text());
            return self.out.write(&unescape(&text));
        }
        if !self.options.header {
            return Ok(());
        }
        let names = self.columns.iter().map(|name| unescape(name).into_owned());
        let mut line = Vec::new();
        for (i, name) in names.enumerate() {
            if self.options.csv {
                line.extend((i > 0).then_some(b','));
                csv_value(&name, self.columns.len() == 1, &mut line);
            } else {
                line.extend((i > 0).then_some(b'\t'));
                line.extend(escaped(&name));
            }
        }
        line.push(b'\n');
        self.out.write(&line)
    }

    fn end(&self) -> Result<()> {
        if self.options.binary {
            self.out.write(BINARY_END)
        } else if self.options.copy {
            self.out.write(b"\\.\n")
        } else {
            Ok(())
        }
    }

    /// True if nobody wants more.
    fn is_over(&self) -> bool {
        self.left == 0 || self.out.is_closed()
    }

    async fn table(&mut self, index: &TableIndex) -> Result<()> {
        let order = reordered(self.columns, &index.columns)?;
        let as_they_are = !self.options.csv && self.conditions.is_empty() && order.is_none();
        let mut held = Vec::new();
        for piece in index.segments.iter().flat_map(|segment| &segment.pieces) {
            if self.is_over() {
                return Ok(());
            }
            let bytes = self.pieces.read(piece).await?;
            if as_they_are {
                self.pass(&bytes)?;
                continue;
            }
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                held.extend_from_slice(part);
                if let Some(row) = held.strip_suffix(b"\n") {
                    self.row(row, order.as_deref())?;
                    held.clear();
                }
                if self.is_over() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Bytes as they are, as far as the limit goes. No row is held, however wide.
    fn pass(&mut self, bytes: &[u8]) -> Result<()> {
        if self.options.limit.is_none() {
            return self.out.write(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.left == 0 {
                break;
            }
            self.out.write(part)?;
            self.left -= u64::from(part.ends_with(b"\n"));
        }
        Ok(())
    }

    /// One row, if the conditions hold of it.
    fn row(&mut self, row: &[u8], order: Option<&[usize]>) -> Result<()> {
        let mut fields = fields(row, self.columns.len());
        if let Some(order) = order {
            let places = order.iter().map(|place| fields.get(*place).copied());
            fields = places.collect::<Option<_>>().ok_or_else(|| {
                Error::corrupt("the table", "a row", "has fewer fields than columns")
            })?;
        }
        if !self.conditions.hold(&fields) {
            return Ok(());
        }
        self.left -= 1;
        if self.options.csv {
            return self.out.write(&csv_line(&fields));
        }
        self.out.write(&fields.join(&b'\t'))?;
        self.out.write(b"\n")
    }
}
