//! `pgark dump`: a database becomes an archive.

use std::time::Duration;

use super::cluster::ClusterDump;
use super::connection::Connection;
use super::output::{columns, diagnostic};
use super::selection::{Choice, DumpChoice, print_brought};
use super::{Context, exit::Outcome, human, place};
use crate::archive::ArchiveName;
use crate::dump::{DumpOptions, DumpReport, Planned, PlannedTable, Spent, dump, plan};
use crate::error::{Error, Result};
use crate::selection::Side;

/// Saves a database as an archive
#[derive(Debug, clap::Args)]
#[command(mut_arg("extensions", |arg| arg.short('e')), after_help = "\
Examples:
  pgark dump -d shop                          into ./backups, as shop-<time of the snapshot>
  pgark dump -d shop -j 8 -r /mnt/backups     with eight connections that read rows
  pgark dump -d shop --plan                   what would be read, and in how many pieces
  pgark dump -d shop -n sales -T 'sales.log_*' --keep-last 10
  pgark dump -d shop -t sales.orders --with-needs
                                              one table with all that it needs: types, functions, referenced tables
  pgark dump -d shop --where \"sales.orders=day > '2026-01-01'\"
  pgark dump --all                            every database, then roles and tablespaces, as one set
  pgark dump --globals-only                   only roles and tablespaces
  pgark dump -d shop -U backup --skip-unreadable
                                              what this role may read; what it may not is named
  pgark dump -d shop --encrypt                into a new repository that only a passphrase opens
  pgark dump -d 'postgres://backup@db.example.com/shop?sslmode=verify-full'

Rows that did not change since the last dump cost no new space. Nothing is reported as done before all of it is on disk.")]
pub(crate) struct Dump {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    further: DumpChoice,
    #[command(flatten)]
    cluster: ClusterDump,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
struct How {
    /// Connections that read rows [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// The archive's name [default: database and time]
    #[arg(long, value_name = "NAME")]
    name: Option<ArchiveName>,
    /// Only show what would be read, and in how many pieces
    #[arg(long)]
    plan: bool,
    /// Attach a text to the archive, for `prune --keep-tag`; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// After success verify the new archive's stored bytes, then remove older verified archives of this database, keeping N, and sweep
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_last: Option<u32>,
    /// Make the repository encrypted if it is new; asks for a passphrase unless one is given
    #[arg(long)]
    encrypt: bool,
    /// zstd's level
    #[arg(long, value_name = "1..19", default_value = "1", value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Give up when a table lock is not granted in time: 500ms, 30s, 5min; a bare number is milliseconds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    lock_wait_timeout: Option<Duration>,
    /// Leave out what the role may not read; the archive is partial then and names it
    #[arg(long)]
    skip_unreadable: bool,
    /// Where row security hides rows from the role, save the others; the archive is partial then and says so
    #[arg(long)]
    enable_row_security: bool,
    /// Wait for a snapshot that no serializable transaction can contradict
    #[arg(long)]
    serializable_deferrable: bool,
}

/// The machine's cores.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

impl Dump {
    async fn options(&self) -> Result<DumpOptions> {
        let mut selection = self.choice.selection(Side::Dump).await?;
        self.further.add_to(&mut selection);
        selection.check(Side::Dump)?;
        Ok(DumpOptions {
            jobs: self.how.jobs.map_or_else(cores, usize::from),
            name: self.how.name.clone(),
            selection,
            level: self.how.level,
            tags: self.how.tags.iter().cloned().collect(),
            keep_last: self.how.keep_last,
            serializable_deferrable: self.how.serializable_deferrable,
            lock_wait: self.how.lock_wait_timeout,
            skip_unreadable: self.how.skip_unreadable,
            enable_row_security: self.how.enable_row_security,
            ..DumpOptions::default()
        })
    }

    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        // The place first: a wrong one should not be noticed after a password was typed.
        let options = self.options().await?;
        if self.cluster.is_asked() {
            let repository = place::open_or_create(cx, self.how.encrypt).await?;
            let cluster = &self.cluster;
            return cluster
                .run(&repository, options, &self.connection, cx)
                .await;
        }
        if self.how.plan {
            let settings = self.connection.settings(cx).await?;
            let planned = plan(&settings, &options).await?;
            return print_plan(&planned, cx);
        }
        let repository = place::open_or_create(cx, self.how.encrypt).await?;
        let settings = self.connection.settings(cx).await?;
        let report = dump(&settings, &repository, &options, cx.shown.progress()).await?;
        cx.shown.finish();
        print_report(&report, cx)?;
        Ok(if report.unreadable == 0 {
            Outcome::Done
        } else {
            Outcome::Incomplete
        })
    }
}

pub(crate) fn print_report(report: &DumpReport, cx: &Context) -> Result<()> {
    for warning in &report.warnings {
        cx.shown.warn_once(warning);
    }
    if cx.common.json {
        return cx.output.json(report);
    }
    cx.output.line(summary(report))?;
    print_brought(&report.brought, cx.common.verbose);
    if cx.common.verbose {
        diagnostic(spent(&report.spent));
        for skipped in &report.skipped {
            diagnostic(format!("left out: {skipped}"));
        }
    } else if !report.skipped.is_empty() {
        let n = human::things(report.skipped.len() as u64, "object");
        diagnostic(format!("{n} left out; -v or `pgark show` names them"));
    }
    for name in &report.removed {
        cx.output.line(format!("removed {name}"))?;
    }
    Ok(())
}

/// Where the time went, in words: what to change if it was too long.
fn spent(spent: &Spent) -> String {
    let time = |ms| human::duration(Duration::from_millis(ms));
    let possible = spent.rows_ms * spent.busy_ms.len() as u64;
    let share = |ms: u64| ms * 100 / possible.max(1);
    format!(
        "catalog {}, rows {}, lists {}; {} read {} % of that time and waited {} % for chunks to be packed and stored; \
         packing took {}, storing {}",
        time(spent.catalog_ms),
        time(spent.rows_ms),
        time(spent.archive_ms),
        human::things(spent.busy_ms.len() as u64, "connection"),
        share(
            spent
                .busy_ms
                .iter()
                .sum::<u64>()
                .saturating_sub(spent.stalled_ms)
        ),
        share(spent.stalled_ms),
        time(spent.packing_ms),
        time(spent.storing_ms),
    )
}

fn summary(report: &DumpReport) -> String {
    let manifest = format!("/archives/{}.json", report.name);
    let repository = report.location.strip_suffix(&manifest);
    format!(
        "{}: {}, {}, {} → {} ({} new) in {}, {}",
        report.name,
        human::things(report.tables, "table"),
        human::things(report.rows, "row"),
        human::bytes(report.raw_bytes),
        human::bytes(report.stored_bytes),
        human::bytes(report.new_bytes),
        repository.unwrap_or(&report.location),
        human::duration(Duration::from_millis(report.duration_ms)),
    )
}

fn print_plan(planned: &Planned, cx: &Context) -> Result<Outcome> {
    if cx.common.json {
        cx.output.json(planned)?;
        return Ok(Outcome::Done);
    }
    let tables = &planned.tables;
    let rows: Vec<Vec<String>> = tables
        .iter()
        .map(|table| {
            vec![
                table.table.clone(),
                human::bytes(table.bytes),
                read_as(table),
                human::count(table.segments as u64),
                table.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let head = ["TABLE", "SIZE", "READ", "PIECES", "BECAUSE"];
    cx.output
        .line(columns(&head, &rows, &[false, true, false, true, false]))?;
    let n_bytes = tables.iter().map(|table| table.bytes).sum();
    let n_tables = tables
        .iter()
        .filter(|table| table.method != "pages")
        .count();
    cx.output.line(format!(
        "{}, {} on the server",
        human::things(n_tables as u64, "table"),
        human::bytes(n_bytes)
    ))?;
    for one in &planned.brought {
        cx.output.line(format!(
            "{} comes along: {} needs it",
            one.object, one.needed_by
        ))?;
    }
    Ok(Outcome::Done)
}

/// How a table is read, in words.
fn read_as(table: &PlannedTable) -> String {
    match (table.method, &table.key) {
        ("cells", _) => "cells of blocks".to_owned(),
        ("keys", Some(key)) => format!("ranges of \"{key}\""),
        (method, _) => method.to_owned(),
    }
}

/// A time as PostgreSQL writes settings: a number, with `ms`, `s`, `min` or `h`; milliseconds without.
pub(crate) fn parse_time(text: &str) -> Result<Duration> {
    let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(n_digits);
    let unit_ms = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let number: Option<u64> = number.parse().ok();
    match number.and_then(|number| number.checked_mul(unit_ms)) {
        Some(ms) if ms > 0 && i32::try_from(ms).is_ok() => Ok(Duration::from_millis(ms)),
        _ => Err(Error::Usage(
            "a time is a number above 0 with ms, s, min or h, such as 30s; 24 days at most"
                .to_owned(),
        )),
    }
}

/// `KEY=VALUE`; a key may stand alone in `--keep-tag`, so it has no `=`.
fn parse_tag(text: &str) -> Result<(String, String)> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() && printable(text) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err(Error::Usage(
            "a tag is KEY=VALUE, such as reason=before-upgrade".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_a_key_and_a_value() {
        let tag = |text| parse_tag(text).ok();
        let owned = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
        assert_eq!(tag("reason=a=b"), owned("reason", "a=b"));
        assert_eq!(tag("reason="), owned("reason", ""));
        for wrong in ["reason", "=x", " =x", "a=\n"] {
            assert_eq!(tag(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("500", 500),
            ("500ms", 500),
            ("30s", 30_000),
            ("5 min", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                parse_time(text).unwrap(),
                Duration::from_millis(ms),
                "{text}"
            );
        }
        for wrong in [
            "",
            "s",
            "0",
            "1d",
            "-1s",
            "99999999999",
            "999999999999999999999s",
        ] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
