//! `pgark sql`: an archive as a plain SQL script, so that nobody is locked in.

mod guard;
mod pages;
mod rows;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use self::rows::{RowWriter, Table};
use super::output::diagnostic;
use super::selection::read_list;
use super::target::{Readers, Target};
use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::index::{CopyFormat, TableIndex};
use crate::archive::manifest::Scope;
use crate::archive::marker::random_id;
use crate::archive::{Archive, Manifest};
use crate::error::{Error, Result};
use crate::pg::pin::{RestorePins, pin_restore_session};
use crate::pg::version::{ServerVersion, V12};
use crate::selection::{RowsOf, is_content};
use crate::sql::{Literal, Sql, sql, unescape};
use crate::toc::{DataOf, Entry, EntryId, Grant, Part, Stage, printable};

/// Writes an archive as a plain SQL script
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark sql > schema.sql                          definitions of the newest archive
  pgark sql shop-2026 --data -f shop.sql          with all rows, as COPY blocks for psql or pgark exec
  pgark sql --data --inserts | other-client       with all rows, as INSERTs for any client
  pgark sql --data | pgark exec -d shop_new -1 -f -
  pgark sql --no-restrict | other-client          definitions only, without psql's \\restrict

The script of an archive of globals holds the password hashes of the roles.

Owners and grants are in the script: the roles must exist where it runs, or leave them out with -O -x. Rows that only the \
binary format could carry cannot be written; they are named, with exit code 3.")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct SqlScript {
    /// Archive: its name, a unique beginning of it, or latest [default: the newest]
    #[arg(value_name = "ARCHIVE")]
    archive: Option<String>,
    /// The newest archive of this database
    #[arg(short, long, value_name = "NAME", conflicts_with = "archive")]
    dbname: Option<String>,
    /// Rows, sequence values and large objects too
    #[arg(long)]
    data: bool,
    /// Rows as INSERT statements instead of COPY blocks
    #[arg(long, requires = "data")]
    inserts: bool,
    /// Without the line `\restrict`, which only psql and pgark exec know: for other clients. --inserts implies it. With it psql runs
    /// no commands of its own that somebody may have put into the archive; one from before August 2025 does not know it
    #[arg(long)]
    no_restrict: bool,
    /// Only the entries of a list that `pgark show --list` wrote; - is standard input. The order stays pgark's
    #[arg(short = 'L', long, value_name = "FILE")]
    use_list: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Without owners
    #[arg(short = 'O', long)]
    no_owner: bool,
    /// Without grants
    #[arg(short = 'x', long)]
    no_privileges: bool,
    /// Without tablespaces
    #[arg(long)]
    no_tablespaces: bool,
}

impl SqlScript {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open(cx).await?;
        let filter = choose::of_database(self.dbname.as_deref());
        let archive = choose::archive(&repository, self.archive.as_deref(), &filter).await?;
        let entries = archive.entries().await?;
        let listed = match &self.use_list {
            Some(path) => Some(read_list(path, &entries).await?),
            None => None,
        };
        let indexes = if self.data || entries.iter().any(is_configuration) {
            archive.table_indexes().await?
        } else {
            Vec::new()
        };
        let mut script = Script {
            options: self,
            indexes: indexes
                .into_iter()
                .map(|index| (index.entry.0, index))
                .collect(),
            out: Target::open(self.file.as_deref(), Readers::Owner, &cx.output)?,
            rows: RowWriter::new(&archive),
            tablespace: None,
            access_method: None,
            listed,
            left_out: Vec::new(),
        };
        script.write(&archive, &entries).await?;
        let left_out = script.left_out;
        script.out.finish()?;
        for table in &left_out {
            diagnostic(format!(
                "left out: the rows of {table} are in binary format; `pgark restore` loads them"
            ));
        }
        // Without a file the script itself is what standard output holds.
        if cx.common.json && self.file.is_some() {
            let report = serde_json::json!({ "archive": archive.name(), "file": self.file, "left_out": left_out });
            cx.output.json(&report)?;
        }
        Ok(if left_out.is_empty() {
            Outcome::Done
        } else {
            Outcome::Incomplete
        })
    }
}

/// The encoding of statements: a database without one has bytes, which only stay the same under no encoding.
fn text_encoding(manifest: &Manifest) -> &'static str {
    if manifest.source.encoding == "SQL_ASCII" {
        "SQL_ASCII"
    } else {
        "UTF8"
    }
}

/// Refuses text of an archive that psql would not take for SQL alone.
fn check(text: &[u8]) -> Result<()> {
    let Some(problem) = guard::problem_of(text) else {
        return Ok(());
    };
    let beginning: String = String::from_utf8_lossy(text).chars().take(60).collect();
    Err(Error::failed(
        format_args!("a statement that begins {beginning:?}"),
        format_args!("is no SQL for a script: {problem}"),
        "somebody may have made this archive to harm: `pgark restore` runs no commands of psql",
    ))
}

/// Rows that belong to the definition: an extension's configuration tables.
fn is_configuration(entry: &Entry) -> bool {
    RowsOf::entry(entry) == RowsOf::Configuration
}

/// A script in the making.
struct Script<'a> {
    options: &'a SqlScript,
    indexes: HashMap<u32, TableIndex>,
    out: Target<'a>,
    rows: RowWriter,
    /// What the script has set last.
    tablespace: Option<String>,
    access_method: Option<String>,
    /// The only entries to write.
    listed: Option<BTreeSet<EntryId>>,
    left_out: Vec<String>,
}

impl Script<'_> {
    async fn write(&mut self, archive: &Archive, entries: &[Entry]) -> Result<()> {
        let manifest = archive.manifest();
        // Nobody who made the archive can know the word that ends it.
        let restricts = !(self.options.no_restrict || self.options.inserts);
        let key = restricts.then(random_id);
        if let Some(key) = &key {
            self.out.write(format!("\\restrict {key}\n\n").as_bytes())?;
        }
        self.head(manifest)?;
        let wanted: Vec<&Entry> = entries.iter().filter(|entry| self.wants(entry)).collect();
        let n_before = wanted.partition_point(|entry| entry.stage < Stage::Privileges);
        let (objects, last) = wanted.split_at(n_before);
        for entry in objects {
            self.entry(entry, manifest).await?;
            if self.out.is_closed() {
                return Ok(());
            }
        }
        if !self.options.no_privileges {
            for entry in &wanted {
                self.grants(entry, manifest.source.server_version)?;
            }
        }
        for entry in last {
            self.entry(entry, manifest).await?;
        }
        if let Some(key) = key {
            self.out
                .write(format!("\n\\unrestrict {key}\n").as_bytes())?;
        }
        self.comment(&format!("End of archive {}", manifest.name))
    }

    fn wants(&self, entry: &Entry) -> bool {
        // The script runs in a database that somebody made.
        if entry.stage == Stage::Database {
            return false;
        }
        let listed = self.listed.as_ref();
        let is_content = is_content(&entry.label, entry.stage);
        let in_part = self.options.data || !is_content || is_configuration(entry);
        in_part && listed.is_none_or(|listed| listed.contains(&entry.id))
    }

    fn head(&mut self, manifest: &Manifest) -> Result<()> {
        let source = &manifest.source;
        let what = match manifest.group.scope {
            Scope::Globals => "what all databases share".to_owned(),
            Scope::Full | Scope::Partial => format!("database {}", source.database),
        };
        self.comment(&format!(
            "Archive {} of {what}, {}, PostgreSQL {}",
            manifest.name,
            human::time(manifest.created),
            source.server_version_text,
        ))?;
        self.comment(&format!("Written by {}", Manifest::this_tool()))?;
        // Only what every server knows, so that the script runs on an older one too.
        let pins = RestorePins {
            encoding: Some(text_encoding(manifest)),
            ..RestorePins::default()
        };
        for statement in pin_restore_session(V12, &pins) {
            self.statement(&statement)?;
        }
        Ok(())
    }

    async fn entry(&mut self, entry: &Entry, manifest: &Manifest) -> Result<()> {
        let form = entry
            .forms
            .iter()
            .find(|form| form.serves(manifest.source.server_version));
        let form = form.or_else(|| entry.forms.first());
        let has_text = form.is_some() || entry.data.is_some() || !entry.after.is_empty();
        if !has_text {
            return Ok(());
        }
        let owner = entry.owner.as_ref().filter(|_| !self.options.no_owner);
        let by = owner.map_or_else(String::new, |owner| format!("; owner {}", owner.role.0));
        let title = format!("{} {}{by}", entry.label, entry.name);
        self.out.write(b"\n")?;
        self.comment(&title)?;
        if form.is_some() {
            self.defaults(entry)?;
        }
        for step in form.iter().flat_map(|form| &form.steps) {
            for statement in &step.sql {
                self.statement(statement)?;
            }
        }
        if let Some(owner) = owner {
            self.statement(&sql!["ALTER ", &owner.target, " OWNER TO ", &owner.role])?;
        }
        for after in &entry.after {
            let wanted = after.part != Part::Acl || !self.options.no_privileges;
            if wanted && after.targets.serve(manifest.source.server_version) {
                self.statement(&after.sql)?;
            }
        }
        match &entry.data {
            Some(data) => self.data(entry, data, manifest).await,
            None => Ok(()),
        }
    }

    /// Tablespace and table access method, which definitions take from the session.
    fn defaults(&mut self, entry: &Entry) -> Result<()> {
        let tablespace = entry
            .tablespace
            .clone()
            .filter(|_| !self.options.no_tablespaces);
        if tablespace.is_some() && tablespace != self.tablespace {
            let name = tablespace.as_deref().unwrap_or_default();
            self.statement(&sql!["SET default_tablespace = ", Literal(name)])?;
            self.tablespace = tablespace;
        }
        if entry.access_method.is_some() && entry.access_method != self.access_method {
            let name = entry.access_method.as_deref().unwrap_or_default();
            self.statement(&sql!["SET default_table_access_method = ", Literal(name)])?;
            self.access_method.clone_from(&entry.access_method);
        }
        Ok(())
    }

    async fn data(&mut self, entry: &Entry, data: &DataOf, manifest: &Manifest) -> Result<()> {
        let Some(index) = self.indexes.remove(&entry.id.0) else {
            return Ok(());
        };
        if index.format == CopyFormat::Binary && !matches!(data, DataOf::LargeObjects) {
            self.comment("Its rows are in PostgreSQL's binary format, which no script can carry: load them with pgark restore.")?;
            self.left_out.push(entry.name.to_string());
            return Ok(());
        }
        // Statements are in the script's encoding, rows in their own.
        let encoding = manifest.source.encoding.as_str();
        let foreign = (encoding != text_encoding(manifest)).then_some(encoding);
        match data {
            DataOf::Table {
                target, via_root, ..
            } => {
                check(&unescape(&via_root.as_ref().unwrap_or(target).text()))?;
                let table = Table {
                    target: via_root.as_ref().unwrap_or(target),
                    index: &index,
                    foreign,
                };
                if self.options.inserts {
                    self.rows.inserts(&table, &mut self.out).await
                } else {
                    self.rows.copy(&table, &mut self.out).await
                }
            }
            // Numbers and hexadecimal digits.
            DataOf::LargeObjects => {
                let inserts = self.options.inserts;
                self.rows
                    .large_objects(&index, inserts, &mut self.out)
                    .await
            }
        }
    }

    fn grants(&mut self, entry: &Entry, version: ServerVersion) -> Result<()> {
        let grants = entry.grants.iter();
        let grants: Vec<&Grant> = grants
            .filter(|grant| grant.targets.serve(version))
            .collect();
        if grants.is_empty() {
            return Ok(());
        }
        self.out.write(b"\n")?;
        self.comment(&format!("Privileges of {} {}", entry.label, entry.name))?;
        for grant in grants {
            self.statement(&grant.statement())?;
        }
        Ok(())
    }

    /// A comment of one line, whatever the text: a name must not end it and become SQL.
    fn comment(&mut self, text: &str) -> Result<()> {
        self.out
            .write(format!("-- {}\n", printable(text)).as_bytes())
    }

    fn statement(&mut self, statement: &Sql) -> Result<()> {
        let text = statement.text();
        let text = unescape(&text);
        check(&text)?;
        self.out.write(&text)?;
        self.out.write(b";\n")
    }
}
