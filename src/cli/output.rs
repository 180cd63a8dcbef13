//! Standard output: results only. A reader that goes away ends the writing, not the program.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::secrets;
use crate::error::{Error, Result};
use crate::sql::{shown, shown_json};

/// Where results go.
#[derive(Debug)]
pub(crate) struct Output(Mutex<Sink>);

#[derive(Debug)]
struct Sink {
    out: BufWriter<Stdout>,
    closed: bool,
}

impl Default for Output {
    fn default() -> Output {
        Output(Mutex::new(Sink {
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            closed: false,
        }))
    }
}

impl Output {
    /// Writes a line.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<()> {
        self.write(shown(text.as_ref()).as_bytes())?;
        self.write(b"\n")
    }

    /// Writes a value as indented JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::failed("the result", e, "leave --json out"))?;
        self.write(shown_json(&text).as_bytes())?;
        self.write(b"\n")
    }

    /// The same for what may quote statements or servers' answers: secrets in it are hidden.
    pub(crate) fn json_without_secrets(&self, value: &impl Serialize) -> Result<()> {
        let mut value = serde_json::to_value(value)
            .map_err(|e| Error::failed("the result", e, "leave --json out"))?;
        secrets::hide_in(&mut value);
        self.json(&value)
    }

    /// Writes bytes.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        self.tried(|out| out.write_all(bytes))
    }

    /// Sends on what is held back.
    pub(crate) fn flush(&self) -> Result<()> {
        self.tried(Write::flush)
    }

    /// True if nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.open().closed
    }

    fn open(&self) -> MutexGuard<'_, Sink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tried(&self, act: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) -> Result<()> {
        let mut sink = self.open();
        if sink.closed {
            return Ok(());
        }
        match act(&mut sink.out) {
            Err(problem) if problem.kind() == ErrorKind::BrokenPipe => {
                sink.closed = true;
                Ok(())
            }
            outcome => outcome.map_err(|problem| {
                Error::failed("standard output", problem, "send it where there is room")
            }),
        }
    }
}

/// Writes a diagnostic line to standard error; there is nobody to tell if that fails.
pub(crate) fn diagnostic(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", shown(text.as_ref()));
}

/// A table in aligned columns, two spaces between; `right` says which columns hold numbers.
pub(crate) fn columns(head: &[&str], rows: &[Vec<String>], right: &[bool]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([head[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(i, cell)| {
            if right[i] {
                format!("{cell:>width$}", width = widths[i])
            } else {
                format!("{cell:<width$}", width = widths[i])
            }
        });
        let text = padded.collect::<Vec<String>>().join("  ");
        text.trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let mut text = line(&head);
    for row in rows {
        text.push('\n');
        text.push_str(&line(row));
    }
    text
}
