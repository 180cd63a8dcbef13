//! How errors are told: the chain once, a server's error unfolded, a hint where there is one. Never a password.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::ffi::OsString;

use clap::error::ErrorKind;
use serde::Serialize;
use tokio_postgres::error::{DbError, ErrorPosition};

use super::exit::code_of;
use super::output::diagnostic;
use super::secrets::hidden;
use crate::error::Error;

/// An error in the parts that people and programs want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    message: String,
    sqlstate: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    context: Option<String>,
    position: Option<u32>,
    /// Statements that would cure it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cures: Vec<String>,
    exit_code: u8,
}

impl Failure {
    pub(crate) fn new(error: &Error) -> Failure {
        let mut failure = Failure {
            message: error.to_string(),
            sqlstate: None,
            detail: None,
            hint: error.remedy().map(str::to_owned),
            context: None,
            position: None,
            cures: match error {
                Error::Unreadable { cures, .. } => cures.clone(),
                _ => Vec::new(),
            },
            exit_code: code_of(error),
        };
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(server) = server_error(error) {
                failure.unfold(server);
                break;
            }
            failure.add(&error.to_string());
            cause = error.source();
        }
        failure.hide_passwords();
        failure
    }

    fn hide_passwords(&mut self) {
        let optional = [&mut self.detail, &mut self.hint, &mut self.context];
        for text in optional.into_iter().flatten().chain([&mut self.message]) {
            *text = hidden(text).into_owned();
        }
    }

    fn unfold(&mut self, server: &DbError) {
        self.add(server.message());
        self.sqlstate = Some(server.code().code().to_owned());
        self.detail = server.detail().map(str::to_owned);
        self.hint = self
            .hint
            .take()
            .or_else(|| server.hint().map(str::to_owned));
        self.context = server.where_().map(str::to_owned);
        self.position = match server.position() {
            Some(ErrorPosition::Original(position)) => Some(*position),
            _ => None,
        };
    }

    /// Adds a cause unless its text is there already: libraries repeat their causes in their own texts.
    fn add(&mut self, cause: &str) {
        if !cause.is_empty() && !self.message.contains(cause) {
            self.message.push_str(": ");
            self.message.push_str(cause);
        }
    }

    /// The lines for people.
    pub(crate) fn text(&self) -> String {
        let position = self
            .position
            .map(|n| format!("character {n} of the statement"));
        let parts = [
            ("SQLSTATE", &self.sqlstate),
            ("DETAIL", &self.detail),
            ("CONTEXT", &self.context),
            ("POSITION", &position),
            ("hint", &self.hint),
        ];
        let lines = parts
            .iter()
            .filter_map(|(label, value)| Some(format!("\n  {label}: {}", value.as_ref()?)));
        // Statements stand alone on their lines, to be copied as they are.
        let cures: Vec<String> = self.cures.iter().map(|sql| format!("\n{sql}")).collect();
        let lines = lines.collect::<String>();
        format!("pgark: {}{lines}{}", self.message, cures.concat())
    }
}

/// The server's words, if the error is theirs.
fn server_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a DbError> {
    error.downcast_ref::<DbError>().or_else(|| {
        let error = error.downcast_ref::<tokio_postgres::Error>()?;
        error.as_db_error()
    })
}

/// Tells the error and returns the exit code.
pub(crate) fn print(error: &Error, json: bool) -> u8 {
    let failure = Failure::new(error);
    if json {
        print_json(&failure);
    } else if matches!(error, Error::Cancelled) {
        diagnostic("cancelled");
    } else {
        diagnostic(failure.text());
    }
    failure.exit_code
}

/// Standard output, because a program that asked for JSON reads it there.
fn print_json(failure: &Failure) {
    let value = serde_json::json!({ "error": failure });
    let output = super::output::Output::default();
    // There is nobody to tell if this fails.
    let _ = output.json(&value).and_then(|()| output.flush());
}

/// Tells what is wrong with the command line, or prints the help or the version that was asked for.
pub(crate) fn of_arguments(problem: &clap::Error, arguments: &[OsString]) -> u8 {
    let is_answer = matches!(
        problem.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if !is_answer && arguments.iter().any(|argument| argument == "--json") {
        let text = problem.render().to_string();
        let text = text.trim_end().strip_prefix("error: ").unwrap_or(&text);
        return print(&Error::Usage(text.to_owned()), true);
    }
    let text = problem.render().to_string();
    match hidden(&text) {
        // A closed pipe is no failure of the help.
        Cow::Borrowed(_) => drop(problem.print()),
        Cow::Owned(text) => diagnostic(text.trim_end()),
    }
    if is_answer { 0 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("disk on fire");
        let outer = std::io::Error::other(format!("cannot write: {inner}"));
        let error = Error::Failed {
            object: "table s.t".to_owned(),
            problem: "saving failed".to_owned(),
            remedy: "put it out".to_owned(),
            source: Some(Box::new(outer)),
        };
        let failure = Failure::new(&error);
        assert_eq!(
            failure.text(),
            "pgark: table s.t: saving failed: cannot write: disk on fire\n  hint: put it out"
        );
        assert_eq!(failure.exit_code, 1);
    }

    #[test]
    fn json_has_the_promised_fields() {
        let failure = Failure::new(&Error::Usage("no".to_owned()));
        let value = serde_json::to_value(&failure).unwrap();
        for field in ["message", "sqlstate", "detail", "hint", "exit_code"] {
            assert!(value.get(field).is_some(), "{field}");
        }
        assert_eq!(value["exit_code"], 2);
    }
}
