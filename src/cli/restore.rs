//! `pgark restore`: an archive becomes a database again.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::cluster::ClusterRestore;
use super::connection::Connection;
use super::dump::cores;
use super::output::diagnostic;
use super::replace::{self, Over};
use super::selection::{Choice, RestoreChoice, print_brought};
use super::{Context, choose, exit::Outcome, human, place, secrets};
use crate::error::{Error, Result};
use crate::restore::{Check, RestoreOptions, RestoreReport, restore};
use crate::selection::{Selection, Side};
use crate::sql::leading_quoted;

/// Restores an archive into a database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark restore -d shop                        the newest whole archive of shop into the empty database shop
  pgark restore -d shop_new -C --from-database shop
                                               the same into a database that is made first
  pgark restore shop-20261122T020000Z -d shop_new -j 8 --check content
  pgark restore -d shop -t sales.orders        one table, with its indexes and rows
  pgark restore -d shop -1 -t sales.orders --map-schema sales=yesterday
                                               the same as yesterday.orders, beside the present one
  pgark restore -d shop -c -1                  over the old objects, in one transaction: all of it or nothing
  pgark restore -d shop_dev --map-role shop_owner=dev --map-role shop_reader=dev
  pgark restore -d shop_copy -a --disable-triggers
                                               only rows, into tables that exist
  pgark restore -d empty -t sales.orders --with-needs
                                               and all that it needs
  pgark show --list > toc; $EDITOR toc; pgark restore -d shop_new -L toc
                                               what a list leaves in
  pgark restore -d shop --replace              the newest archive instead of what is in shop now, which stays
                                               as shop_before_TIME until --drop-old; --undo goes back to it
  pgark restore -d shop --drop-old             drop what --replace has kept of shop
  pgark restore -d shop --resume               the same command again after it was interrupted: nothing twice
  pgark restore shop-20261122T020000Z -d shop_saved --salvage
                                               what is whole of a damaged archive
  pgark restore -d shop --skip-unsupported     into an older server, without what it cannot hold
  pgark restore --all -h new.example.com       the newest set of `pgark dump --all` into a new cluster
  pgark restore --globals-only -h new.example.com
                                               only roles and tablespaces
  pgark restore -d shop_utf8 --from-database shop --text-encoding LATIN1
                                               a SQL_ASCII database whose bytes are LATIN1 into one with an encoding

Everything that can be known is checked before the first change: the archive's bytes, roles, extensions, names in the way. \
Objects that fail do not stop the others; they are named at the end, with exit code 3.")]
pub(crate) struct Restore {
    /// Archive: its name, a unique beginning of it, or latest [default: the newest whole archive of the database]
    #[arg(value_name = "ARCHIVE")]
    archive: Option<String>,
    /// Take the newest whole archive of this database instead of that named by -d
    #[arg(long, value_name = "NAME", conflicts_with = "archive")]
    from_database: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    further: RestoreChoice,
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    cluster: ClusterRestore,
    #[command(flatten)]
    how: How,
    /// Go on where an earlier restore into this database ended: killed, cut off, or with objects that failed
    #[arg(long, help_heading = "How", conflicts_with_all = ["single_transaction", "replace", "all", "globals_only"])]
    resume: bool,
    /// Take what is whole from a damaged archive; the ranges of rows that are lost are named, and the exit code is 3
    #[arg(long, help_heading = "How", conflicts_with_all = ["replace", "all", "globals_only"])]
    salvage: bool,
    /// Somebody else may have made the archive: take no planner statistics and no subscriptions from it, and refuse a user whose rights
    /// reach beyond the database, such as a superuser, because the archive's statements run with them
    #[arg(long, help_heading = "How", conflicts_with_all = ["replace", "all", "globals_only"])]
    untrusted: bool,
}

/// How a restore works.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct How {
    /// Connections that work at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Make the database first, and give it its owner, settings, limits and privileges at the end
    #[arg(short = 'C', long)]
    create: bool,
    /// First drop the objects that are to be restored, in one transaction; nothing else is ever dropped with them
    #[arg(short, long, conflicts_with = "create")]
    clean: bool,
    /// Goes with --clean, and may be left out: what is not there is never an error
    #[arg(long, requires = "clean")]
    if_exists: bool,
    /// All in one transaction on one connection: after any failure nothing has changed
    #[arg(short = '1', long, conflicts_with_all = ["create", "jobs"])]
    single_transaction: bool,
    /// Stop at the first object that fails, instead of going on and naming it at the end
    #[arg(short, long)]
    exit_on_error: bool,
    /// With --data-only: switch each table's triggers, foreign keys' too, off while its rows come, and back to what they were
    #[arg(long)]
    disable_triggers: bool,
    /// Let partitioned tables find each row's partition anew (by itself where encoding or collation may have changed it)
    #[arg(long)]
    load_via_partition_root: bool,
    /// Leave out what the server's version cannot hold, with all that needs it, instead of refusing; it is named at the end
    #[arg(long)]
    skip_unsupported: bool,
    /// Become this role after connecting
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// What the bytes of a database without an encoding are, such as LATIN1, to restore it into one that has one
    #[arg(long, value_name = "ENCODING")]
    text_encoding: Option<String>,
    /// How the result is compared with the archive: counted, or each row streamed back as well
    #[arg(long, value_name = "CHECK", default_value = "counts")]
    check: Comparison,
    /// Collect no planner statistics
    #[arg(long)]
    no_analyze: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Names")]
pub(crate) struct Names {
    /// Give what belongs to role OLD, or was granted to or by it, to role NEW; may be given several times
    #[arg(long = "map-role", value_name = "OLD=NEW", value_parser = pair)]
    map_roles: Vec<(String, String)>,
    /// Restore schema OLD under the name NEW; may be given several times
    #[arg(long = "map-schema", value_name = "OLD=NEW", value_parser = pair, conflicts_with_all = ["clean", "data_only"])]
    map_schemas: Vec<(String, String)>,
}

/// Reads `OLD=NEW`. Names are taken as they are; in double quotes they may have an equals sign.
fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let problem = || "give it as OLD=NEW; a name with an equals sign in double quotes".to_owned();
    let (old, rest) = name(text).ok_or_else(problem)?;
    let rest = rest.strip_prefix('=').ok_or_else(problem)?;
    match name(rest) {
        Some((new, "")) => Ok((old, new)),
        _ => Err(problem()),
    }
}

/// The name at the beginning of the text, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    if text.starts_with('"') {
        return leading_quoted(text).filter(|(name, _)| !name.is_empty());
    }
    let end = text.find('=').unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Comparison {
    Counts,
    Content,
}

impl How {
    /// As the library takes it.
    pub(crate) fn options(&self, names: &Names, selection: Selection) -> RestoreOptions {
        let how = self;
        RestoreOptions {
            jobs: how.jobs.map_or_else(cores, usize::from),
            selection,
            skip_unsupported: how.skip_unsupported,
            create: how.create,
            clean: how.clean,
            single_transaction: how.single_transaction,
            exit_on_error: how.exit_on_error,
            disable_triggers: how.disable_triggers,
            load_via_partition_root: how.load_via_partition_root,
            map_roles: names.map_roles.clone(),
            map_schemas: names.map_schemas.clone(),
            role: how.role.clone(),
            text_encoding: how.text_encoding.clone(),
            analyze: !how.no_analyze,
            check: match how.check {
                Comparison::Counts => Check::Counts,
                Comparison::Content => Check::Content,
            },
            ..RestoreOptions::default()
        }
    }
}

impl Restore {
    fn options(&self, selection: Selection) -> RestoreOptions {
        RestoreOptions {
            salvage: self.salvage,
            resume: self.resume,
            untrusted: self.untrusted,
            ..self.how.options(&self.names, selection)
        }
    }

    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        if self.cluster.is_asked() {
            let archive = self.archive.as_deref();
            let options = self.options(self.choice.selection(Side::Restore).await?);
            let run = self.cluster.run(archive, options, &self.connection, cx);
            return Box::pin(run).await;
        }
        if self.connection.dbname.is_none() {
            return Err(Error::Usage(
                "say with -d into which database to restore".to_owned(),
            ));
        }
        if self.over.is_about_kept() {
            return self
                .over
                .of_kept(&self.connection, self.how.role.as_deref(), cx)
                .await;
        }
        let mut selection = self.choice.selection(Side::Restore).await?;
        let repository = place::open(cx).await?;
        let settings = self.connection.settings(cx).await?;
        let database = self.from_database.as_deref().unwrap_or(settings.dbname());
        let filter = match self.archive {
            Some(_) => choose::of_database(None),
            None => choose::whole_of(database),
        };
        let archive = choose::archive(&repository, self.archive.as_deref(), &filter).await?;
        self.further.add_to(&mut selection, &archive).await?;
        let options = self.options(selection);
        self.over.ask(&archive, &settings, options.clean).await?;
        if self.over.replaces() {
            return Box::pin(replace::run(&archive, &settings, options, cx)).await;
        }
        let started = Instant::now();
        let progress = cx.shown.progress();
        let report = restore(&archive, &settings, &options, progress).await?;
        cx.shown.finish();
        for warning in &report.warnings {
            cx.shown.warn_once(warning);
        }
        if cx.common.json {
            cx.output.json_without_secrets(&report)?;
        } else {
            print_report(&report, started.elapsed(), cx)?;
        }
        if report.rolled_back {
            return Err(rolled_back(&report));
        }
        Ok(if report.is_complete() {
            Outcome::Done
        } else {
            Outcome::Incomplete
        })
    }
}

/// Rows of a table that are named when they were left out; `--json` names a hundred.
const ROWS_SHOWN: usize = 10;

/// Where nothing stayed, the restore has failed.
fn rolled_back(report: &RestoreReport) -> Error {
    Error::failed(
        format_args!(
            "restore of archive {} into database {}",
            report.archive,
            crate::toc::printable(&report.database)
        ),
        "rolled back, nothing has changed; what failed is named above",
        "mend that, leave it out, or restore without --single-transaction",
    )
}

pub(crate) fn print_report(report: &RestoreReport, time: Duration, cx: &Context) -> Result<()> {
    print_problems(report, cx);
    if report.rolled_back {
        return Ok(());
    }
    cx.output.line(done(&report.archive, report, time))
}

/// What came along, failed, was skipped, is lost or differs.
pub(crate) fn print_problems(report: &RestoreReport, cx: &Context) {
    print_brought(&report.brought, cx.common.verbose);
    for failure in &report.failed {
        let parts = [
            ("SQLSTATE", &failure.sqlstate),
            ("DETAIL", &failure.detail),
            ("CONTEXT", &failure.context),
            ("STATEMENT", &failure.statement),
            ("hint", &failure.hint),
        ];
        diagnostic(format!("failed: {}: {}", failure.object, failure.message));
        for (label, text) in parts {
            if let Some(text) = text {
                diagnostic(secrets::hidden(&format!("  {label}: {text}")));
            }
        }
    }
    for table in &report.left_out {
        diagnostic(format!(
            "left out: {}: {} that the target's encoding cannot hold",
            table.object,
            human::things(table.n_rows, "row")
        ));
        for row in table.rows.iter().take(ROWS_SHOWN) {
            diagnostic(format!(
                "  segment {}, line {}, beginning with {}: {}",
                row.segment, row.line, row.begins, row.message
            ));
        }
        let n_more = table.n_rows.saturating_sub(ROWS_SHOWN as u64);
        if n_more > 0 {
            diagnostic(format!("  and {n_more} more"));
        }
    }
    for lost in &report.lost_rows {
        diagnostic(format!(
            "lost: {}, {}: {} of {}: {}",
            lost.object,
            lost.range,
            human::exact(lost.n_rows),
            human::things(lost.n_rows + lost.n_kept, "row"),
            lost.chunks.join("; ")
        ));
    }
    for skip in &report.skipped {
        diagnostic(format!("skipped: {}: {}", skip.object, skip.reason));
    }
    for one in &report.forbidden {
        let text = format!("forbidden: {}: {}: {}", one.object, one.part, one.reason);
        diagnostic(secrets::hidden(&text));
        if let Some(statement) = &one.statement {
            diagnostic(secrets::hidden(&format!("  STATEMENT: {statement}")));
        }
    }
    if report.resumable {
        diagnostic(
            "the same command with --resume tries again what failed; until then its journal, schema pgark_restore, stays in the database",
        );
    }
    for loss in &report.lost {
        diagnostic(format!("not as before: {}: {}", loss.object, loss.what));
    }
    print_names(report);
    if let Some(checked) = &report.checked {
        for different in &checked.different {
            diagnostic(format!(
                "differs: {}: archived {}, restored {}",
                different.object, different.archived, different.restored
            ));
        }
        for skip in &checked.not_compared {
            diagnostic(format!("not compared: {}: {}", skip.object, skip.reason));
        }
    }
    if cx.common.verbose {
        for phase in &report.phases {
            diagnostic(format!("{}: {:.1} s", phase.name, phase.seconds));
        }
    }
}

/// What was dropped and renamed, and what still has old names.
fn print_names(report: &RestoreReport) {
    if let Some(dropped) = report.dropped.as_ref().filter(|d| d.n_objects > 0) {
        let more = dropped.n_objects > dropped.first.len() as u64;
        diagnostic(format!(
            "dropped first: {}: {}{}",
            human::things(dropped.n_objects, "object"),
            dropped.first.join(", "),
            if more { ", …" } else { "" }
        ));
    }
    for renamed in &report.renamed {
        let [from, to] = [&renamed.from, &renamed.to].map(|name| crate::toc::printable(name));
        diagnostic(format!("schema {from} is now {to}"));
    }
    for mention in &report.mentions {
        diagnostic(secrets::hidden(&format!(
            "still names schema {}: {}: {}; change it by hand if it is meant",
            crate::toc::printable(&mention.schema),
            crate::toc::printable(&mention.object),
            mention.place
        )));
    }
    if report.not_tried > 0 && !report.rolled_back {
        diagnostic(format!(
            "stopped at the first failure: {} not tried",
            human::things(report.not_tried, "object")
        ));
    }
}

/// What became of a restore from `source`, in a line.
pub(crate) fn done(source: &str, report: &RestoreReport, time: Duration) -> String {
    let mut parts = vec![format!(
        "{} → {}: {}, {}, {}, {}",
        crate::toc::printable(source),
        crate::toc::printable(&report.database),
        human::things(report.n_tables, "table"),
        human::things(report.n_rows, "row"),
        human::bytes(report.raw_bytes),
        human::duration(time),
    )];
    if let Some(resumed) = report.resumed.as_ref().filter(|resumed| resumed.n_rows > 0) {
        parts.push(format!(
            "{} were there from an earlier run",
            human::things(resumed.n_rows, "row")
        ));
    }
    if let Some(checked) = &report.checked {
        let same = checked
            .n_tables
            .saturating_sub(checked.different.len() as u64);
        parts.push(format!(
            "content of {} compared and equal",
            human::things(same, "table")
        ));
    }
    for (n, thing, what) in [
        (report.failed.len(), "object", "failed"),
        (report.skipped.len(), "object", "skipped"),
        (report.forbidden.len(), "thing", "forbidden to this user"),
    ] {
        if n > 0 {
            parts.push(format!("{} {what}", human::things(n as u64, thing)));
        }
    }
    let n_left_out: u64 = report.left_out.iter().map(|table| table.n_rows).sum();
    if n_left_out > 0 {
        parts.push(format!("{} left out", human::things(n_left_out, "row")));
    }
    let n_lost: u64 = report.lost_rows.iter().map(|lost| lost.n_rows).sum();
    if n_lost > 0 {
        parts.push(format!("{} lost", human::things(n_lost, "row")));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn pairs_of_names_may_be_quoted() {
        let read = |text| pair(text).map(|(a, b)| format!("{a}|{b}"));
        assert_eq!(read("a=b").unwrap(), "a|b");
        assert_eq!(read("A b=\"c\"").unwrap(), "A b|c");
        assert_eq!(read("\"a=b/\"\"c\"=d").unwrap(), "a=b/\"c|d");
        for wrong in ["", "a", "=b", "a=", "a=b=c", "\"a=b", "\"a\"b=c", "\"\"=b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
