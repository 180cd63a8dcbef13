//! `pgark clone`: a database becomes another one at once, without an archive between.

use std::time::Duration;

use super::connection::Connection;
use super::dump::parse_time;
use super::output::diagnostic;
use super::replace::ask_to_clean;
use super::restore::{How, Names, done, print_problems};
use super::selection::{Choice, DumpChoice};
use super::{Context, exit::Outcome, human};
use crate::clone::{CloneOptions, CloneReport, clone_database};
use crate::dump::DumpOptions;
use crate::error::{Error, Result};
use crate::pg::ConnSettings;
use crate::restore::RestoreOptions;
use crate::selection::{Selection, Side};

/// Copies a database into another one, without an archive between
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("check", |arg| arg.help("How the clone is compared with its source: counted, or each row streamed back as well")),
    mut_arg("jobs", |arg| arg.help("Connections that work at once, as many on each side [default: the number of cores]")),
    after_help = "\
Examples:
  pgark clone -d shop --to shop_copy -C        a new database beside it, made first
  pgark clone -d shop --to postgres://admin@new.example.com/shop -j 8
                                               into the empty database shop of another server
  pgark clone -h old.example.com -d shop --to 'host=new.example.com dbname=shop' -C --check content
                                               and each row compared
  pgark clone -d shop --to shop_dev --map-role shop_owner=dev --no-privileges
  pgark clone -d shop --to shop_copy -t sales.orders --with-needs
                                               one table with all that it needs
  pgark clone -d shop --to shop_copy -a -t sales.orders
                                               only rows, into a table that exists and is empty

The clone is what the source was at one moment, whatever is written meanwhile; the source is only read. Everything that can be \
known is checked before the first change of the target. Objects that fail do not stop the others; they are named at the end, \
with exit code 3. Nothing is kept on this machine: for a copy that can be restored again, use `pgark dump`."
)]
pub(crate) struct Clone {
    #[command(flatten)]
    connection: Connection,
    /// The target: a database of the same server and user by its name, any other as a URL or key=value settings
    #[arg(long, value_name = "DATABASE", help_heading = "Connection")]
    to: String,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    further: DumpChoice,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    names: Names,
    #[command(flatten)]
    how: How,
    /// With --clean do not ask for the target's name to be typed
    #[arg(long, help_heading = "How")]
    yes: bool,
}

/// How the source is read.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How the source is read")]
struct Reading {
    /// Give up when a table lock is not granted in time: 500ms, 30s, 5min; a bare number is milliseconds
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    lock_wait_timeout: Option<Duration>,
    /// Leave out what the role may not read; it is named at the end
    #[arg(long)]
    skip_unreadable: bool,
    /// Where row security hides rows from the role, copy the others
    #[arg(long)]
    enable_row_security: bool,
    /// Wait for a snapshot that no serializable transaction can contradict
    #[arg(long)]
    serializable_deferrable: bool,
}

impl Clone {
    async fn options(&self) -> Result<CloneOptions> {
        let mut selection = self.choice.selection(Side::Dump).await?;
        self.further.add_to(&mut selection);
        selection.check(Side::Dump)?;
        let restore = self.how.options(&self.names, Selection::default());
        Ok(CloneOptions {
            dump: DumpOptions {
                selection,
                lock_wait: self.reading.lock_wait_timeout,
                skip_unreadable: self.reading.skip_unreadable,
                enable_row_security: self.reading.enable_row_security,
                serializable_deferrable: self.reading.serializable_deferrable,
                ..DumpOptions::default()
            },
            restore: RestoreOptions {
                verify_chunks: false,
                ..restore
            },
        })
    }

    /// A bare name is a database beside the source.
    async fn target(&self, source: &ConnSettings, cx: &Context) -> Result<ConnSettings> {
        if self.to.is_empty() {
            return Err(Error::Usage("say with --to into which database".to_owned()));
        }
        if is_bare_name(&self.to) {
            return Ok(source.with_dbname(&self.to));
        }
        self.connection.elsewhere(&self.to).settings(cx).await
    }

    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let options = self.options().await?;
        let source = self.connection.settings(cx).await?;
        let target = self.target(&source, cx).await?;
        if options.restore.clean && !self.yes {
            ask_to_clean(&target).await?;
        }
        let work = clone_database(&source, &target, &options, cx.shown.progress());
        let report = Box::pin(work).await?;
        cx.shown.finish();
        for warning in &report.restored.warnings {
            cx.shown.warn_once(warning);
        }
        if cx.common.json {
            cx.output.json_without_secrets(&report)?;
        } else {
            print_report(&report, cx)?;
        }
        if report.restored.rolled_back {
            let work = format_args!(
                "clone of database {} into database {}",
                crate::toc::printable(&report.source),
                crate::toc::printable(&report.restored.database)
            );
            return Err(Error::failed(
                work,
                "rolled back, nothing has changed; what failed is named above",
                "mend that, leave it out, or clone without --single-transaction",
            ));
        }
        Ok(if report.is_complete() {
            Outcome::Done
        } else {
            Outcome::Incomplete
        })
    }
}

/// As opposed to a URL and to settings.
fn is_bare_name(text: &str) -> bool {
    !text.contains('=') && !text.contains("://")
}

fn print_report(report: &CloneReport, cx: &Context) -> Result<()> {
    print_problems(&report.restored, cx);
    if cx.common.verbose {
        for skipped in &report.not_read {
            diagnostic(format!("left out: {skipped}"));
        }
    } else if !report.not_read.is_empty() {
        let n = human::things(report.not_read.len() as u64, "object");
        diagnostic(format!("{n} of the source left out; -v names them"));
    }
    if report.restored.rolled_back {
        return Ok(());
    }
    let time = Duration::from_millis(report.duration_ms);
    cx.output.line(done(&report.source, &report.restored, time))
}

#[cfg(test)]
mod tests {
    use super::is_bare_name;

    #[test]
    fn a_name_has_no_server() {
        assert!(is_bare_name("shop copy"));
        assert!(!is_bare_name("postgres://new/shop"));
        assert!(!is_bare_name("host=new dbname=shop"));
    }
}
