//! `restore` over a database that has something in it: what is shown and asked before, replacing it, and what is kept of it then.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::connection::Connection;
use super::output::diagnostic;
use super::{Context, exit::Outcome, human, restore};
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::pg::ConnSettings;
use crate::replace::{
    self, Kept, ReplaceOptions, ReplaceReport, Standing, drop_kept, kept, standing, standing_alone,
    undo,
};
use crate::restore::RestoreOptions;
use crate::toc::printable;

/// What `restore` has for databases that are not empty.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Over a database")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Over {
    /// Restore into a database beside it, check that, then exchange both names; the old one is kept beside it
    #[arg(long, conflicts_with_all = ["all", "globals_only", "create", "clean", "single_transaction", "skip_unsupported", "map_schemas"])]
    replace: bool,
    /// Give its name back to the database that was replaced last; the other one stays in turn
    #[arg(long, conflicts_with_all = ["all", "globals_only", "replace", "archive", "create", "clean"])]
    undo: bool,
    /// Drop the databases that --replace and --undo have kept
    #[arg(long, conflicts_with_all = ["all", "globals_only", "replace", "undo", "archive", "create", "clean"])]
    drop_old: bool,
    /// Do not ask for the database's name to be typed before something of it is dropped or replaced
    #[arg(long)]
    yes: bool,
}

impl Over {
    /// True if no archive is restored.
    pub(crate) fn is_about_kept(&self) -> bool {
        self.undo || self.drop_old
    }

    /// True if the database is to be replaced.
    pub(crate) fn replaces(&self) -> bool {
        self.replace
    }

    /// Shows what will be replaced or dropped, and asks. Nothing is asked where nothing can be lost.
    pub(crate) async fn ask(
        &self,
        archive: &Archive,
        settings: &ConnSettings,
        cleans: bool,
    ) -> Result<()> {
        if self.yes || !(self.replace || cleans) {
            return Ok(());
        }
        let standing = standing(settings, archive).await?;
        if !self.replace && !standing.has_objects {
            return Ok(());
        }
        let lines = shown(&standing, archive, self.replace);
        confirm(&lines, settings.dbname()).await
    }

    /// `--undo` and `--drop-old`.
    pub(crate) async fn of_kept(
        &self,
        connection: &Connection,
        role: Option<&str>,
        cx: &Context,
    ) -> Result<Outcome> {
        let settings = connection.settings(cx).await?;
        let found = kept(&settings, role).await?;
        let name = printable(settings.dbname());
        if !found.is_empty() && !self.yes {
            let mut lines = vec![if self.undo {
                format!("This gives the name {name} back to the newest of:")
            } else {
                "This drops for good:".to_owned()
            }];
            lines.extend(found.iter().map(of_one));
            confirm(&lines, settings.dbname()).await?;
        }
        if self.undo {
            return undo_last(&settings, role, cx).await;
        }
        let dropped = drop_kept(&settings, role, &found).await?;
        if cx.common.json {
            cx.output.json(&serde_json::json!({ "dropped": dropped }))?;
        } else if dropped.is_empty() {
            cx.output
                .line(format!("nothing is kept that was {name} before"))?;
        } else {
            for name in dropped {
                cx.output.line(format!("dropped {}", printable(&name)))?;
            }
        }
        Ok(Outcome::Done)
    }
}

async fn undo_last(settings: &ConnSettings, role: Option<&str>, cx: &Context) -> Result<Outcome> {
    let undone = undo(settings, role).await?;
    if cx.common.json {
        cx.output.json(&undone)?;
    } else {
        cx.output.line(format!(
            "{} is again what was kept as {}; what it was until now is kept as {}",
            printable(&undone.database),
            printable(&undone.restored),
            printable(&undone.kept)
        ))?;
    }
    Ok(Outcome::Done)
}

/// Replaces the database, and tells what became of it.
pub(crate) async fn run(
    archive: &Archive,
    settings: &ConnSettings,
    restore: RestoreOptions,
    cx: &Context,
) -> Result<Outcome> {
    let started = Instant::now();
    let options = ReplaceOptions { restore };
    let report = Box::pin(replace::replace(
        archive,
        settings,
        &options,
        cx.shown.progress(),
    ))
    .await?;
    cx.shown.finish();
    for warning in &report.restored.warnings {
        cx.shown.warn_once(warning);
    }
    if cx.common.json {
        cx.output.json_without_secrets(&report)?;
    } else {
        print_report(&report, settings.dbname(), started.elapsed(), cx)?;
    }
    Ok(match report.kept {
        Some(_) => Outcome::Done,
        None => Outcome::Failed,
    })
}

fn print_report(report: &ReplaceReport, name: &str, time: Duration, cx: &Context) -> Result<()> {
    for name in &report.swept {
        diagnostic(format!(
            "dropped, left by a replacement that was killed: {}",
            printable(name)
        ));
    }
    let Some(kept) = &report.kept else {
        restore::print_problems(&report.restored, cx);
        diagnostic(format!(
            "the restore beside it is not whole: database {} is as it was, and in service",
            printable(name)
        ));
        return Ok(());
    };
    restore::print_report(&report.restored, time, cx)?;
    let (name, kept) = (printable(name), printable(kept));
    cx.output.line(format!(
        "{name} is now what archive {} holds; {} ended, no connections for {:.1} s",
        report.restored.archive,
        human::things(report.sessions_ended, "session"),
        Duration::from_millis(report.closed_ms).as_secs_f64()
    ))?;
    cx.output.line(format!(
        "what it was is kept as {kept}, until `pgark restore --drop-old`; `pgark restore --undo` goes back to it"
    ))
}

/// Asks before a clone drops what it is about to make anew. Nothing is asked where nothing can be lost.
pub(crate) async fn ask_to_clean(settings: &ConnSettings) -> Result<()> {
    let standing = standing_alone(settings).await?;
    if !standing.has_objects {
        return Ok(());
    }
    let mut lines = vec!["This drops objects of a database, and clones them anew:".to_owned()];
    lines.extend(shown_there(&standing, false));
    let rows = &standing.rows;
    lines.push(format!(
        "  rows         {} there ({})",
        human::exact(rows.n_rows),
        found(rows.is_exact)
    ));
    confirm(&lines, settings.dbname()).await
}

/// What is shown of a database.
fn shown_there(standing: &Standing, ends_sessions: bool) -> [String; 4] {
    let will_end = ends_sessions && standing.n_sessions > 0;
    [
        format!("  server       {}", printable(&standing.host)),
        format!("  database     {}", printable(&standing.database)),
        format!(
            "  size         {}, {}",
            human::bytes(standing.n_bytes),
            human::things(standing.n_tables as u64, "table")
        ),
        format!(
            "  connections  {} of others{}",
            human::exact(standing.n_sessions as u64),
            if will_end {
                ", which will be ended"
            } else {
                ""
            }
        ),
    ]
}

fn found(is_exact: bool) -> &'static str {
    if is_exact { "counted" } else { "estimated" }
}

/// What is shown before the question.
fn shown(standing: &Standing, archive: &Archive, replaces: bool) -> Vec<String> {
    let manifest = archive.manifest();
    let age = Timestamp::now().duration_since(manifest.created);
    let age = Duration::try_from(age).unwrap_or_default();
    let rows = &standing.rows;
    let mut lines = vec![if replaces {
        "This replaces a database:".to_owned()
    } else {
        "This drops objects of a database, and restores them:".to_owned()
    }];
    lines.extend(shown_there(standing, replaces));
    lines.extend([
        format!(
            "  archive      {}, {} old, of database {}",
            archive.name(),
            human::duration(age),
            printable(&manifest.source.database)
        ),
        format!(
            "  rows         {} there ({}), {} in the archive: {}",
            human::exact(rows.n_rows),
            found(rows.is_exact),
            human::exact(standing.archived_rows),
            difference(rows.n_rows, standing.archived_rows)
        ),
    ]);
    let number = |n: Option<u64>| n.map_or_else(|| "no such table".to_owned(), human::exact);
    lines.extend(standing.differences.iter().map(|one| {
        format!(
            "               {}: {} there, {} in the archive",
            one.table,
            number(one.there),
            number(one.archived)
        )
    }));
    if replaces {
        lines.push("  the old one  stays as a database beside it, until --drop-old".to_owned());
        lines.extend(standing.ties.iter().map(|text| format!("  note: {text}")));
    }
    lines
}

fn difference(there: u64, archived: u64) -> String {
    match archived.cmp(&there) {
        std::cmp::Ordering::Equal => "as many".to_owned(),
        std::cmp::Ordering::Less => format!("{} fewer", human::exact(there - archived)),
        std::cmp::Ordering::Greater => format!("{} more", human::exact(archived - there)),
    }
}

fn of_one(kept: &Kept) -> String {
    let size = kept
        .n_bytes
        .map_or_else(|| "size unknown".to_owned(), human::bytes);
    format!(
        "  {}  {size}, replaced {}, {}",
        printable(&kept.name),
        human::time(kept.until),
        human::things(kept.n_sessions as u64, "connection")
    )
}

/// Shows the lines and asks for the name to be typed.
///
/// Errors: [`Error::Usage`] without a terminal, [`Error::Failed`] if another name is typed.
async fn confirm(lines: &[String], name: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(format!(
            "what is in database {} would be dropped or replaced, and there is no terminal to ask on: say --yes",
            printable(name)
        )));
    }
    for line in lines {
        diagnostic(line);
    }
    // There is nobody to tell if this fails.
    let _ = write!(io::stderr().lock(), "Type the database's name to go on: ");
    let _ = io::stderr().flush();
    // On a thread of its own, so that a signal ends the waiting.
    let typed = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        io::stdin().read_line(&mut text).map(|_| text)
    });
    let typed = typed.await.map_err(io::Error::other).and_then(|text| text);
    let typed = typed.map_err(|problem| Error::failed("the question", problem, "say --yes"))?;
    let typed = typed.strip_suffix('\n').unwrap_or(&typed);
    if typed == name || (typed == printable(name) && !typed.is_empty()) {
        return Ok(());
    }
    Err(Error::failed(
        format_args!("{:?} is not the database's name", printable(typed)),
        "nothing was changed",
        "",
    ))
}
