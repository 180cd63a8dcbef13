//! Which server and database: the options of PostgreSQL's own tools become [`ConnSettings`], with a password from the terminal where one is wanted.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::Context;
use super::dump::parse_time;
use super::output::diagnostic;
use crate::error::{Error, Result};
use crate::pg::connect::wants_password;
use crate::pg::{ConnSettings, Environment, connect};

/// Where to connect.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The database.
    #[arg(
        short,
        long,
        value_name = "DATABASE",
        help = "Database: a name, a URL such as postgres://user@host/shop, or key=value settings"
    )]
    pub(crate) dbname: Option<String>,
    /// Server's host name or socket directory
    #[arg(short = 'h', long, value_name = "HOST")]
    host: Option<String>,
    /// Server's port
    #[arg(short, long, value_name = "PORT")]
    port: Option<String>,
    /// User name
    #[arg(short = 'U', long, value_name = "NAME")]
    username: Option<String>,
    /// Never ask for a password
    #[arg(short = 'w', long, conflicts_with = "password")]
    no_password: bool,
    /// Ask for a password before connecting
    #[arg(short = 'W', long)]
    password: bool,
    /// Try for so long to connect when the server is not there or takes nobody: 30s, 5min; 0 means never [default: 20s if it was
    /// there before or says that it is starting or full]
    #[arg(long, value_name = "TIME", value_parser = parse_retry)]
    connect_retry: Option<Duration>,
}

/// A time; nothing at all is possible too.
fn parse_retry(text: &str) -> Result<Duration> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => parse_time(text),
    }
}

impl Connection {
    /// True if the user said anything of where to connect.
    pub(crate) fn is_given(&self) -> bool {
        let texts = [&self.dbname, &self.host, &self.port, &self.username];
        texts.into_iter().any(Option::is_some) || self.no_password || self.password
    }

    /// Another server, which `dbname` says all of; a password is asked for as here.
    pub(crate) fn elsewhere(&self, dbname: &str) -> Connection {
        Connection {
            dbname: Some(dbname.to_owned()),
            host: None,
            port: None,
            username: None,
            no_password: self.no_password,
            password: self.password,
            connect_retry: self.connect_retry,
        }
    }

    /// The settings, with the warnings that came up shown.
    pub(crate) async fn settings(&self, cx: &Context) -> Result<ConnSettings> {
        let flags = [
            ("host", &self.host),
            ("port", &self.port),
            ("user", &self.username),
        ];
        let flags: Vec<(&str, &str)> = flags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)))
            .collect();
        let environment = Environment::of_process();
        let settings = ConnSettings::resolve(&environment, self.dbname.as_deref(), &flags)?;
        for warning in settings.warnings() {
            diagnostic(format!("warning: {warning}"));
        }
        let settings = settings.telling(cx.shown.progress());
        let settings = match self.connect_retry {
            Some(limit) => settings.with_connect_retry(limit),
            None => settings,
        };
        if self.password {
            return ask(&settings);
        }
        if self.no_password || !io::stdin().is_terminal() {
            return Ok(settings);
        }
        self.settings_by_trial(settings, cx).await
    }

    /// With somebody at the terminal: connects once to see whether a password is wanted. Other failures come up again with their place.
    async fn settings_by_trial(
        &self,
        settings: ConnSettings,
        cx: &Context,
    ) -> Result<ConnSettings> {
        if cx.common.verbose {
            diagnostic(format!("connecting to {settings}"));
        }
        match connect(&settings, "login").await {
            Ok(session) => {
                session.close().await;
                Ok(settings)
            }
            Err(error) if wants_password(&error) => ask(&settings),
            Err(_) => Ok(settings),
        }
    }
}

fn ask(settings: &ConnSettings) -> Result<ConnSettings> {
    let prompt = format!(
        "Password for user {}: ",
        crate::toc::printable(settings.user())
    );
    let password = rpassword::prompt_password(prompt).map_err(|problem| Error::Failed {
        object: "password".to_owned(),
        problem: format!("it cannot be asked for: {problem}"),
        remedy: "put it into ~/.pgpass or PGPASSWORD".to_owned(),
        source: None,
    })?;
    Ok(settings.with_password(&password))
}
