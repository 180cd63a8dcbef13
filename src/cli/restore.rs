//! `pgark restore`: an archive becomes a database again.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::connection::Connection;
use super::dump::cores;
use super::output::diagnostic;
use super::selection::Choice;
use super::{Context, choose, exit::Outcome, human, place, secrets};
use crate::error::{Error, Result};
use crate::restore::{Check, RestoreOptions, RestoreReport, restore};

/// Restores an archive into a database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark restore -d shop                        the newest whole archive of shop into the empty database shop
  pgark restore -d shop_new -C --from-database shop
                                               the same into a database that is made first
  pgark restore shop-20261122T020000Z -d shop_new -j 8 --check content
  pgark restore -d shop -t sales.orders        one table, with its indexes and rows
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
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How")]
struct How {
    /// Connections that work at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Make the database first
    #[arg(short = 'C', long)]
    create: bool,
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Comparison {
    Counts,
    Content,
}

impl Restore {
    fn options(&self) -> RestoreOptions {
        let Restore { choice, how, .. } = self;
        RestoreOptions {
            jobs: how.jobs.map_or_else(cores, usize::from),
            schema_only: choice.schema_only,
            data_only: choice.data_only,
            no_owner: choice.no_owner,
            no_privileges: choice.no_privileges,
            no_comments: choice.no_comments,
            no_tablespaces: choice.no_tablespaces,
            schemas: choice.schemas.clone(),
            exclude_schemas: choice.exclude_schemas.clone(),
            tables: choice.tables.clone(),
            exclude_tables: choice.exclude_tables.clone(),
            exclude_table_data: choice.exclude_table_data.clone(),
            create: how.create,
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

    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        if self.connection.dbname.is_none() {
            return Err(Error::Usage(
                "say with -d into which database to restore".to_owned(),
            ));
        }
        let repository = place::open(&cx.common.repo).await?;
        let settings = self.connection.settings(cx).await?;
        let database = self.from_database.as_deref().unwrap_or(settings.dbname());
        let filter = match self.archive {
            Some(_) => choose::of_database(None),
            None => choose::whole_of(database),
        };
        let archive = choose::archive(&repository, self.archive.as_deref(), &filter).await?;
        let started = Instant::now();
        let progress = cx.shown.progress();
        let report = restore(&archive, &settings, &self.options(), progress).await?;
        cx.shown.finish();
        for warning in &report.warnings {
            cx.shown.warn_once(warning);
        }
        if cx.common.json {
            let mut value = serde_json::to_value(&report)
                .map_err(|e| Error::failed("the report", e, "leave --json out"))?;
            secrets::hide_in(&mut value);
            cx.output.json(&value)?;
        } else {
            print_report(&report, started.elapsed(), cx)?;
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

fn print_report(report: &RestoreReport, time: Duration, cx: &Context) -> Result<()> {
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
    for skip in &report.skipped {
        diagnostic(format!("skipped: {}: {}", skip.object, skip.reason));
    }
    for loss in &report.lost {
        diagnostic(format!("not as before: {}: {}", loss.object, loss.what));
    }
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
    cx.output.line(summary(report, time))
}

fn summary(report: &RestoreReport, time: Duration) -> String {
    let mut parts = vec![format!(
        "{} → {}: {}, {}, {}, {}",
        report.archive,
        crate::toc::printable(&report.database),
        human::things(report.n_tables, "table"),
        human::things(report.n_rows, "row"),
        human::bytes(report.raw_bytes),
        human::duration(time),
    )];
    if let Some(checked) = &report.checked {
        let same = checked
            .n_tables
            .saturating_sub(checked.different.len() as u64);
        parts.push(format!(
            "content of {} compared and equal",
            human::things(same, "table")
        ));
    }
    for (n, what) in [
        (report.failed.len(), "failed"),
        (report.skipped.len(), "skipped"),
    ] {
        if n > 0 {
            parts.push(format!("{} {what}", human::things(n as u64, "object")));
        }
    }
    let n_left_out: u64 = report.left_out.iter().map(|table| table.n_rows).sum();
    if n_left_out > 0 {
        parts.push(format!("{} left out", human::things(n_left_out, "row")));
    }
    parts.join("; ")
}
