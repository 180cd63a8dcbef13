//! The command line: what is parsed, which verb runs, what is printed, how the program ends. The work itself is the library's.

mod cat;
mod choose;
mod clone;
mod cluster;
mod completions;
mod config;
mod config_file;
mod connection;
mod diff;
mod doctor;
mod drill;
mod dump;
mod exec;
mod exit;
mod failure;
mod init;
mod keys;
mod list;
mod manual;
mod output;
mod passphrase;
mod place;
mod progress;
mod prune;
mod replace;
mod replicate;
mod report;
mod restore;
mod row_text;
mod run;
mod schedule;
mod secrets;
mod selection;
mod show;
mod signals;
mod sql;
mod status;
mod target;
mod verify;
mod watchdog;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::error::Result;
use crate::human;
use exit::Outcome;
use output::Output;
use progress::{Shown, Style};

/// How long work on other threads may go on after the end was decided.
const SHUTDOWN: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Examples:
  pgark doctor -d shop                 what stands in the way of a dump
  pgark dump -d shop                   save the database shop in ./backups
  pgark list                           which archives there are
  pgark status                         whether all jobs are well
  pgark verify --all                   prove every stored byte, without a server
  pgark restore -d shop_new -C --from-database shop
                                       the newest archive of shop as a new database
  pgark clone -d shop --to shop_copy -C
                                       a copy as a new database, without an archive
  pgark prune --keep-daily 7           which archives would go, and why; --yes removes them
  pgark sql > shop.sql                 an archive as a plain SQL script
  pgark init                           a configuration with jobs, by a few questions; pgark run runs them
  pgark replicate /mnt/second          copies in another place
  pgark keys list                      who can open an encrypted repository

A database is a name, a URL (postgres://user@host/shop) or key=value settings; PG* variables, ~/.pgpass and \
service files are honoured. `pgark VERB --help` shows the options of a verb, docs/exit-codes.md the exit codes.";

/// Dumps PostgreSQL databases into archives that share their data, verifies them, and restores them.
#[derive(Debug, Parser)]
#[command(
    name = "pgark",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    after_help = AFTER_HELP,
    max_term_width = 110
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "General")]
pub(crate) struct Common {
    /// Where the archives are
    #[arg(
        short,
        long,
        global = true,
        help = "Where the archives are: a folder, s3://BUCKET/PREFIX, or @NAME of the configuration (gs:// and az:// are untested)",
        value_name = "PLACE",
        env = "PGARK_REPO",
        hide_env_values = true,
        default_value = "./backups"
    )]
    repo: String,
    /// Where the passphrase is
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "The passphrase of an encrypted repository is in this file [default: what the configuration names, else PGARK_PASSPHRASE, else a question]"
    )]
    passphrase_file: Option<std::path::PathBuf>,
    /// Configuration [default: pgark.toml here, else /etc/pgark/pgark.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PGARK_CONFIG",
        hide_env_values = true
    )]
    config: Option<std::path::PathBuf>,
    /// Say more about what is done and left out
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// How progress is shown on standard error: bars on a terminal, a line every 10 seconds elsewhere
    #[arg(long, global = true, value_name = "STYLE", default_value = "auto")]
    progress: Style,
    /// Give up when nothing has moved for so long, no row, byte or statement: 30s, 10min, 2h [default: wait for ever]
    #[arg(long, global = true, value_name = "TIME", value_parser = dump::parse_time)]
    stall_timeout: Option<Duration>,
    /// Print help
    #[arg(long, global = true, action = clap::ArgAction::HelpShort)]
    help: Option<bool>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dump(dump::Dump),
    List(list::List),
    Show(show::Show),
    Sql(sql::SqlScript),
    Cat(cat::Cat),
    Exec(exec::Exec),
    Verify(verify::Verify),
    Restore(restore::Restore),
    Clone(clone::Clone),
    Diff(diff::DiffVerb),
    Prune(prune::Prune),
    Replicate(replicate::Replicate),
    Keys(keys::Keys),
    Doctor(doctor::Doctor),
    Drill(drill::Drill),
    Status(status::Status),
    Run(run::Run),
    Schedule(schedule::ScheduleVerb),
    Config(config::ConfigVerb),
    Init(init::Init),
    Report(report::Report),
    Man(manual::Man),
    Completions(completions::Completions),
}

/// What a running verb needs of the command line besides its own options.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) common: Common,
    pub(crate) output: Output,
    pub(crate) shown: Shown,
}

impl Verb {
    async fn run(&self, cx: &Context) -> Result<Outcome> {
        match self {
            Verb::Dump(verb) => Box::pin(verb.run(cx)).await,
            Verb::List(verb) => verb.run(cx).await,
            Verb::Show(verb) => verb.run(cx).await,
            Verb::Sql(verb) => verb.run(cx).await,
            Verb::Cat(verb) => verb.run(cx).await,
            Verb::Exec(verb) => verb.run(cx).await,
            Verb::Verify(verb) => Box::pin(verb.run(cx)).await,
            Verb::Restore(verb) => Box::pin(verb.run(cx)).await,
            Verb::Clone(verb) => Box::pin(verb.run(cx)).await,
            Verb::Diff(verb) => verb.run(cx).await,
            Verb::Prune(verb) => verb.run(cx).await,
            Verb::Replicate(verb) => verb.run(cx).await,
            Verb::Keys(verb) => verb.run(cx).await,
            Verb::Doctor(verb) => verb.run(cx).await,
            Verb::Drill(verb) => Box::pin(verb.run(cx)).await,
            Verb::Status(verb) => Box::pin(verb.run(cx)).await,
            Verb::Run(verb) => Box::pin(verb.run(cx)).await,
            Verb::Schedule(verb) => verb.run(cx).await,
            Verb::Config(verb) => verb.run(cx).await,
            Verb::Init(verb) => verb.run(cx).await,
            Verb::Report(verb) => verb.run(cx).await,
            Verb::Man(verb) => verb.run(cx),
            Verb::Completions(verb) => verb.run(cx),
        }
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    ExitCode::from(run_with(std::env::args_os()))
}

fn run_with(arguments: impl Iterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(problem) => return failure::of_arguments(&problem, &arguments),
    };
    let shown = Shown::new(cli.common.progress, cli.common.json, cli.common.verbose);
    let cx = Context {
        output: Output::default(),
        shown,
        common: cli.common,
    };
    let ended = run(&cli.verb, &cx);
    cx.shown.finish();
    match ended.and_then(|outcome| cx.output.flush().map(|()| outcome)) {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => failure::print(&error, cx.common.json),
    }
}

fn run(verb: &Verb, cx: &Context) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| crate::Error::failed("starting", e, "allow the process more threads"))?;
    let work = watchdog::guarded(verb.run(cx), cx.common.stall_timeout, &cx.shown);
    let ended = runtime.block_on(signals::interruptible(work));
    runtime.shutdown_timeout(SHUTDOWN);
    ended
}
