//! Rows of `exec` for people, aligned as psql does it, or kept for JSON.

use std::io::{self, ErrorKind, Write as _};
use std::task::{Context, Poll};

use serde::Serialize;
use tokio_postgres::SimpleQueryMessage;

use crate::cli::human;
use crate::error::{Error, Result};
use crate::pg::CopySink;

/// The rows of one statement, all values as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// What becomes of rows.
#[derive(Debug)]
pub(super) enum Results {
    Hidden,
    Text,
    Json(Vec<Table>),
}

impl Results {
    pub(super) fn new(quiet: bool, json: bool) -> Results {
        match (quiet, json) {
            (true, _) => Results::Hidden,
            (false, true) => Results::Json(Vec::new()),
            (false, false) => Results::Text,
        }
    }

    pub(super) fn are_hidden(&self) -> bool {
        matches!(self, Results::Hidden)
    }

    /// Takes the answer to one statement; text is to be printed.
    pub(super) fn take(&mut self, messages: Vec<SimpleQueryMessage>) -> Option<String> {
        let table = match self {
            Results::Hidden => None,
            Results::Text | Results::Json(_) => Table::of(messages),
        }?;
        match self {
            Results::Json(tables) => {
                tables.push(table);
                None
            }
            _ => Some(table.text()),
        }
    }

    pub(super) fn into_tables(self) -> Vec<Table> {
        match self {
            Results::Json(tables) => tables,
            Results::Hidden | Results::Text => Vec::new(),
        }
    }
}

impl Table {
    /// `None` for a statement that returns no rows.
    fn of(messages: Vec<SimpleQueryMessage>) -> Option<Table> {
        let mut table = None;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    let names = columns.iter().map(|column| column.name().to_owned());
                    let columns = names.collect();
                    table = Some(Table {
                        columns,
                        rows: Vec::new(),
                    });
                }
                SimpleQueryMessage::Row(row) => {
                    // What is no text for the client (a name that another database's encoding left in the cluster) is
                    // not worth a failed script.
                    let cells = (0..row.len()).map(|i| match row.try_get(i) {
                        Ok(cell) => cell.map(str::to_owned),
                        Err(_) => Some("(not UTF-8)".to_owned()),
                    });
                    if let Some(table) = &mut table {
                        table.rows.push(cells.collect());
                    }
                }
                _ => {}
            }
        }
        table
    }

    fn text(&self) -> String {
        let cell = |value: &Option<String>| -> Vec<String> {
            value
                .as_deref()
                .unwrap_or_default()
                .split('\n')
                .map(str::to_owned)
                .collect()
        };
        let rows: Vec<Vec<Vec<String>>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(cell).collect())
            .collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let lines = rows.iter().flat_map(|row| &row[i]);
                let head = self.columns[i].chars().count();
                lines
                    .map(|line| line.chars().count())
                    .max()
                    .unwrap_or(0)
                    .max(head)
            })
            .collect();
        let mut text = joined(
            &widths,
            '|',
            |i| format!("{:^width$}", self.columns[i], width = widths[i]),
            " ",
        );
        text.push('\n');
        text.push_str(&joined(&widths, '+', |i| "-".repeat(widths[i]), "-"));
        for row in &rows {
            let height = row.iter().map(Vec::len).max().unwrap_or(1);
            for n in 0..height {
                text.push('\n');
                text.push_str(&line(row, n, &widths));
            }
        }
        let n_rows = self.rows.len() as u64;
        let s = if n_rows == 1 { "" } else { "s" };
        text + &format!("\n({} row{s})\n", human::exact(n_rows))
    }
}

fn joined(widths: &[usize], between: char, cell: impl Fn(usize) -> String, pad: &str) -> String {
    let cells: Vec<String> = (0..widths.len())
        .map(|i| format!("{pad}{}{pad}", cell(i)))
        .collect();
    cells.join(&between.to_string()).trim_end().to_owned()
}

/// The n-th line of a row; a cell that goes on ends with a plus.
fn line(row: &[Vec<String>], n: usize, widths: &[usize]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| {
            let text = cell.get(n).map_or("", String::as_str);
            let mark = if n + 1 < cell.len() { '+' } else { ' ' };
            format!(" {text:<width$}{mark}")
        })
        .collect();
    cells.join("|").trim_end().to_owned()
}

/// Writes the rows of `COPY … TO STDOUT` to standard output as they come.
#[derive(Debug, Default)]
pub(super) struct StdoutSink {
    problem: Option<io::Error>,
}

impl StdoutSink {
    /// What went wrong; a reader that went away did not.
    pub(super) fn check(sink: Box<dyn CopySink>) -> Result<()> {
        let sink = sink.into_any().downcast::<StdoutSink>();
        let problem = sink.ok().and_then(|sink| sink.problem);
        match problem {
            Some(problem) if problem.kind() != ErrorKind::BrokenPipe => Err(Error::failed(
                "standard output",
                problem,
                "send it where there is room",
            )),
            _ => Ok(()),
        }
    }
}

impl CopySink for StdoutSink {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn begin(&mut self, _: bool) {}

    fn data(&mut self, fragment: &[u8], _: bool) {
        if self.problem.is_none() {
            self.problem = io::stdout().lock().write_all(fragment).err();
        }
    }

    fn end(&mut self) {
        if self.problem.is_none() {
            self.problem = io::stdout().lock().flush().err();
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_aligned() {
        let cell = |text: &str| Some(text.to_owned());
        let table = Table {
            columns: vec!["id".into(), "name".into()],
            rows: vec![
                vec![cell("1"), cell("über\nmorgen")],
                vec![cell("200"), None],
            ],
        };
        assert_eq!(
            table.text(),
            " id  |  name\n-----+--------\n 1   | über  +\n     | morgen\n 200 |\n(2 rows)\n"
        );
        let empty = Table {
            columns: Vec::new(),
            rows: vec![Vec::new()],
        };
        assert_eq!(empty.text(), "\n\n\n(1 row)\n");
    }
}
