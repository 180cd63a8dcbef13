//! Questions and answers on a terminal. A wrong answer is asked again, with what is wrong.

use std::io::{BufRead, Write};

use crate::error::{Error, Result};

/// After so many wrong answers to one question nobody is there.
const TRIES_MAX: u32 = 20;

/// Somebody who answers.
pub(super) struct Dialogue {
    from: Box<dyn BufRead>,
    to: Box<dyn Write>,
}

impl Dialogue {
    pub(super) fn on_terminal() -> Dialogue {
        Dialogue {
            from: Box::new(std::io::BufReader::new(std::io::stdin())),
            to: Box::new(std::io::stderr()),
        }
    }

    #[cfg(test)]
    pub(super) fn of(answers: &'static str) -> Dialogue {
        Dialogue {
            from: Box::new(answers.as_bytes()),
            to: Box::new(std::io::sink()),
        }
    }

    /// Says a line.
    pub(super) fn say(&mut self, text: &str) -> Result<()> {
        writeln!(self.to, "{text}").map_err(|e| lost(&e))
    }

    /// Asks until `read` takes the answer. An empty one means `default`.
    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T> {
        for _ in 0..TRIES_MAX {
            let shown = if default.is_empty() {
                String::new()
            } else {
                format!(" [{default}]")
            };
            write!(self.to, "{question}{shown}: ").map_err(|e| lost(&e))?;
            self.to.flush().map_err(|e| lost(&e))?;
            let mut line = String::new();
            let n_bytes = self.from.read_line(&mut line).map_err(|e| lost(&e))?;
            if n_bytes == 0 {
                return Err(Error::Cancelled);
            }
            let answer = Some(line.trim()).filter(|answer| !answer.is_empty());
            match read(answer.unwrap_or(default)) {
                Ok(value) => return Ok(value),
                Err(problem) => self.say(&format!("  {problem}"))?,
            }
        }
        Err(Error::failed(
            "the questions",
            "there were too many wrong answers",
            "`pgark init --example` prints an example to start from",
        ))
    }

    /// True for yes.
    pub(super) fn yes(&mut self, question: &str) -> Result<bool> {
        self.ask(question, "no", |answer| {
            match answer.to_lowercase().as_str() {
                "y" | "yes" => Ok(true),
                "n" | "no" => Ok(false),
                _ => Err("answer yes or no".to_owned()),
            }
        })
    }
}

fn lost(problem: &std::io::Error) -> Error {
    Error::failed(
        "the terminal",
        problem,
        "`pgark init --example` prints an example to start from",
    )
}
