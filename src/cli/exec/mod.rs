//! `pgark exec`: runs SQL where there is no psql. Cutting scripts is in [`crate::sql::script`].

mod rows;
mod sources;

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::ErrorPosition;

use self::rows::{Results, StdoutSink};
use self::sources::{Source, Sources};
use super::connection::Connection;
use super::output::diagnostic;
use super::{Context, exit::Outcome, human};
use crate::error::{Error, Result};
use crate::pg::version::{V14, V17};
use crate::pg::{CopyIn, ServerVersion, Session, connect};
use crate::progress::Event;
use crate::sql::script::{CopyWith, Item, ScriptError, Splitter, Statement};
use crate::toc::printable;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;
/// How often notices of a running statement are shown.
const NOTICES: Duration = Duration::from_millis(250);

/// Runs SQL scripts, COPY FROM STDIN blocks included
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark exec -d shop -c 'SELECT count(*) FROM sales.orders'
  pgark exec -d shop -f schema.sql -f data.sql
  pgark sql shop-2026 --data | pgark exec -d shop_new -1 -f -
  pgark exec -d shop --json -c 'TABLE sales.regions' | jq '.results[0].rows'

Statements run one after another in one session, each committed by itself unless -1 is given. The first error ends the \
run and is shown with its line. Plain scripts of pg_dump run as they are; commands of psql (\\connect, \\i) do not.")]
pub(crate) struct Exec {
    #[command(flatten)]
    sources: Sources,
    /// All in one transaction: everything or nothing
    #[arg(short = '1', long)]
    single_transaction: bool,
    /// Show no rows
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `exec --json`. The fields are API.
#[derive(Debug, Default, Serialize)]
struct Report {
    statements: u64,
    copied_rows: u64,
    duration_ms: u64,
    results: Vec<rows::Table>,
}

impl Exec {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let started = Instant::now();
        let sources = self.sources.find().await?;
        let settings = self.connection.settings(cx).await?;
        let session = connect(&settings, "exec").await?;
        // A script's statements go as they are, in whatever encoding it has set.
        session.unescape_statements();
        let cancel = CancelOnDrop(Some(&session));
        let mut run = Run {
            cx,
            session: &session,
            results: Results::new(self.quiet, cx.common.json),
            report: Report::default(),
        };
        run.all(sources, self.single_transaction).await?;
        let mut report = run.report;
        report.results = run.results.into_tables();
        cancel.disarm();
        session.close().await;
        cx.shown.finish();
        report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if cx.common.json {
            cx.output.json(&report)?;
        } else if cx.common.verbose {
            diagnostic(format!(
                "{}, {} copied, {}",
                human::things(report.statements, "statement"),
                human::things(report.copied_rows, "row"),
                human::duration(started.elapsed()),
            ));
        }
        Ok(Outcome::Done)
    }
}

/// Ends the running statement on the server when the work is dropped.
struct CancelOnDrop<'a>(Option<&'a Session>);

impl CancelOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            let canceller = session.canceller();
            tokio::spawn(async move { canceller.cancel().await });
        }
    }
}

struct Run<'a> {
    cx: &'a Context,
    session: &'a Session,
    results: Results,
    report: Report,
}

impl<'a> Run<'a> {
    async fn all(&mut self, sources: &[Source], single_transaction: bool) -> Result<()> {
        if single_transaction {
            self.session
                .batch("the transaction", "BEGIN", "BEGIN")
                .await?;
        }
        for source in sources {
            match source {
                Source::Command(text) => self.script(source, text.as_bytes()).await?,
                Source::Stdin => self.script(source, tokio::io::stdin()).await?,
                Source::File(path) => {
                    let file = tokio::fs::File::open(path)
                        .await
                        .map_err(|e| source.unreadable(&e))?;
                    if self.results.are_hidden() {
                        let metadata = file.metadata().await.map_err(|e| source.unreadable(&e))?;
                        let (name, bytes) = ("exec", metadata.len());
                        let phase = Event::Phase {
                            name,
                            bytes,
                            tasks: 0,
                        };
                        self.cx.shown.progress().event(phase);
                    }
                    self.script(source, file).await?;
                }
            }
        }
        if single_transaction {
            let commit = self.session.batch("the transaction", "COMMIT", "COMMIT");
            let committed = self.with_notices(commit).await;
            committed?;
        }
        Ok(())
    }

    async fn script(&mut self, source: &Source, mut input: impl AsyncRead + Unpin) -> Result<()> {
        let progress = self.cx.shown.progress();
        let mut splitter = Splitter::default();
        let mut copy: Option<(CopyIn<'a>, Statement)> = None;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let n = input
                .read(&mut buffer)
                .await
                .map_err(|e| source.unreadable(&e))?;
            if n == 0 {
                splitter.finish();
            } else {
                splitter.push(&buffer[..n]);
                progress.event(Event::Bytes(n as u64));
            }
            while let Some(item) = splitter.next_item().map_err(|e| source.cut_off(&e))? {
                self.item(source, item, &mut copy).await?;
            }
            if n == 0 {
                return Ok(());
            }
        }
    }

    async fn item(
        &mut self,
        source: &Source,
        item: Item,
        copy: &mut Option<(CopyIn<'a>, Statement)>,
    ) -> Result<()> {
        match item {
            Item::Statement(statement) => {
                self.report.statements += 1;
                let outcome = match statement.copy {
                    Some(CopyWith::Stdin) => self.begin_copy(source, &statement).await.map(Some),
                    _ => self.statement(source, &statement).await.map(|()| None),
                };
                let begun = outcome.map_err(|e| place(source, &statement, e))?;
                *copy = begun.map(|begun| (begun, statement));
            }
            Item::CopyData(data) => {
                let (running, statement) = copy.as_mut().expect("data follows its statement");
                let sent = running.send(Bytes::from(data)).await;
                sent.map_err(|e| place(source, statement, e))?;
            }
            Item::CopyEnd => {
                let (running, statement) = copy.take().expect("data follows its statement");
                let finished = self.with_notices(running.finish()).await;
                self.report.copied_rows += finished.map_err(|e| place(source, &statement, e))?;
            }
        }
        Ok(())
    }

    async fn begin_copy(&self, source: &Source, statement: &Statement) -> Result<CopyIn<'a>> {
        let (object, step) = (source, printable(&statement.beginning()));
        self.session.copy_in(object, step, &statement.text).await
    }

    async fn statement(&mut self, source: &Source, statement: &Statement) -> Result<()> {
        if lifts_unknown_limit(&statement.text, self.session.version()) {
            return Ok(());
        }
        let (object, step, text) = (source, printable(&statement.beginning()), &statement.text);
        if statement.copy == Some(CopyWith::Stdout) {
            self.cx.output.flush()?;
            let sink = Box::new(StdoutSink::default());
            let copied = self.session.copy_out(object, step, text, sink);
            let (sink, outcome) = self.with_notices(copied).await;
            outcome?;
            return StdoutSink::check(sink);
        }
        let running = self.session.simple(object, step, text);
        let messages = self.with_notices(running).await?;
        self.show(messages)
    }

    fn show(&mut self, messages: Vec<SimpleQueryMessage>) -> Result<()> {
        match self.results.take(messages) {
            Some(text) => self
                .cx
                .output
                .line(text)
                .and_then(|()| self.cx.output.flush()),
            None => Ok(()),
        }
    }

    /// Shows what the server says beside its results while `work` runs.
    async fn with_notices<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let ended = tokio::time::timeout(NOTICES, &mut work).await;
            for notice in self.session.take_notices() {
                let lines = [
                    (notice.severity.as_str(), notice.message),
                    ("DETAIL", notice.detail),
                    ("HINT", notice.hint),
                ];
                for (label, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
                    self.cx.shown.say(&format!("{label}:  {text}"));
                }
            }
            if let Ok(ended) = ended {
                return ended;
            }
        }
    }
}

/// True for `SET … = 0` of a limit that the server does not have: scripts of a newer `pg_dump` begin so on every server.
fn lifts_unknown_limit(statement: &str, server: ServerVersion) -> bool {
    match statement {
        "SET idle_session_timeout = 0" => server < V14,
        "SET transaction_timeout = 0" => server < V17,
        _ => false,
    }
}

/// Gives a server's error its place in the script.
fn place(source: &Source, statement: &Statement, error: Error) -> Error {
    let Error::Sql {
        step,
        source: cause,
        ..
    } = error
    else {
        return error;
    };
    let position = match cause.as_db_error().and_then(|server| server.position()) {
        Some(ErrorPosition::Original(position)) => Some(*position),
        _ => None,
    };
    let (line, column) = statement.place_of(position.unwrap_or(1));
    let object = match position {
        Some(_) => format!("{source}, line {line}, column {column}"),
        None => format!("{source}, line {line}"),
    };
    Error::Sql {
        object,
        step,
        source: cause,
    }
}

impl Source {
    fn unreadable(&self, problem: &std::io::Error) -> Error {
        Error::failed(self, problem, "give a file that can be read")
    }

    fn cut_off(&self, problem: &ScriptError) -> Error {
        Error::Failed {
            object: format!("{self}, line {}", problem.line),
            problem: printable(&problem.problem),
            remedy: problem.remedy.to_owned(),
            source: None,
        }
    }
}
