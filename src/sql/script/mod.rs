//! Cutting a SQL script into statements and COPY data as the bytes come in. Pure; sending them is the caller's work.
//!
//! Quotes, dollar quotes, nested comments, parentheses and `BEGIN ATOMIC` bodies are understood as psql understands them
//! (`psqlscan.l`, 18), with `standard_conforming_strings` on. COPY data passes through in pieces and is never held.

mod copy_data;
mod scan;
mod statement;

use std::fmt;
use std::ops::Range;

use self::statement::Begun;
pub use self::statement::{CopyWith, Statement};

/// The longest statement in bytes: more than the server takes in one message (`PQ_LARGE_MESSAGE_LIMIT`).
const STATEMENT_BYTES_MAX: usize = 1 << 30;

/// What a script consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A statement without its semicolon.
    Statement(Statement),
    /// A piece of the rows of the COPY statement before; it begins and ends anywhere.
    CopyData(Vec<u8>),
    /// The COPY data has ended.
    CopyEnd,
}

/// Why a script cannot be cut further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there.
    pub problem: String,
    /// What the user can do.
    pub remedy: &'static str,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for ScriptError {}

/// Cuts a script. Push bytes, then take items until there is none; push more, and at the end [`finish`](Self::finish) and take the rest.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Where the bytes that are still needed begin.
    start: usize,
    /// The next byte to look at.
    next: usize,
    ended: bool,
    line: u64,
    /// Characters of the line before `next`.
    column: u64,
    state: State,
    statement: Begun,
    n_commands: u64,
}

/// Where `next` is. Numbers of bytes are places in the buffer, others are lines where something began.
#[derive(Debug, Clone)]
enum State {
    Plain,
    /// In an unquoted word or a number that begins at this byte.
    Word(usize),
    Quoted(Quote, u64),
    /// In dollar quotes; the opening delimiter is at these bytes.
    Dollar(Range<usize>, u64),
    LineComment,
    /// In comments nested this deep.
    Comment(u32, u64),
    /// In the line of a backslash, which is at this byte.
    Backslash(usize),
    /// Between the semicolon of `COPY … FROM STDIN` and the end of the line; true in a comment.
    BeforeCopy(bool, u64),
    /// In COPY data; true at the beginning of a line.
    Copy(bool, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// `'…'`
    Text,
    /// `E'…'`, where a backslash takes the next byte with it.
    Escape,
    /// `"…"`
    Name,
}

enum Step {
    On,
    /// Nothing can be said before more bytes are there.
    More,
    Item(Item),
}

type Stepped = Result<Step, ScriptError>;

impl Default for Splitter {
    fn default() -> Splitter {
        Splitter {
            buffer: Vec::new(),
            start: 0,
            next: 0,
            ended: false,
            line: 1,
            column: 0,
            state: State::Plain,
            statement: Begun::default(),
            n_commands: 0,
        }
    }
}

impl Splitter {
    /// How many commands of psql were passed over, all of them harmless; others are errors.
    pub fn n_commands(&self) -> u64 {
        self.n_commands
    }

    /// Adds bytes of the script.
    pub fn push(&mut self, bytes: &[u8]) {
        let gone = self.start;
        self.buffer.drain(..gone);
        self.start = 0;
        self.next -= gone;
        match &mut self.state {
            State::Word(from) | State::Backslash(from) => *from -= gone,
            State::Dollar(delimiter, _) => {
                *delimiter = delimiter.start - gone..delimiter.end - gone;
            }
            _ => {}
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that no more bytes come. [`next_item`](Self::next_item) then gives what is left.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// The next item; `None` means that more bytes are needed, or that the script has ended.
    ///
    /// # Errors
    /// psql's own commands but `\restrict` and `\unrestrict`, and what is still open at the end.
    pub fn next_item(&mut self) -> Result<Option<Item>, ScriptError> {
        loop {
            if self.next == self.buffer.len() && self.ended {
                return self.at_end();
            }
            let step = match self.state {
                _ if self.next == self.buffer.len() => Step::More,
                State::Plain => self.plain(),
                State::Word(from) => self.word(from),
                State::Quoted(quote, _) => self.quoted(quote),
                State::Dollar(ref delimiter, _) => {
                    let delimiter = delimiter.clone();
                    self.dollar(delimiter)
                }
                State::LineComment => self.line_comment(),
                State::Comment(depth, line) => self.comment(depth, line),
                State::Backslash(from) => self.backslash(from)?,
                State::BeforeCopy(in_comment, line) => self.before_copy(in_comment, line)?,
                State::Copy(line_start, line) => self.copy(line_start, line),
            };
            match step {
                Step::On => {}
                Step::Item(item) => return Ok(Some(item)),
                Step::More => return self.wait(),
            }
        }
    }

    /// Lets go of blanks and comments before a statement, and refuses to hold too much.
    fn wait(&mut self) -> Result<Option<Item>, ScriptError> {
        let is_held = matches!(
            self.state,
            State::Word(_) | State::Dollar(..) | State::Backslash(_)
        );
        if self.statement.at.is_none() && !is_held {
            self.start = self.next;
        }
        if self.buffer.len() - self.start > STATEMENT_BYTES_MAX {
            let line = self.statement.at.map_or(self.line, |(line, _)| line);
            return Err(ScriptError {
                line,
                problem: "the statement that begins here has not ended after 1 GiB".to_owned(),
                remedy: "look for a missing quote or semicolon",
            });
        }
        Ok(None)
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.buffer.get(self.next + ahead).copied()
    }

    /// True if a byte that is needed to decide may still come.
    fn lacks(&self, ahead: usize) -> bool {
        !self.ended && self.next + ahead >= self.buffer.len()
    }

    fn advance(&mut self, n: usize) {
        for byte in &self.buffer[self.next..self.next + n] {
            if *byte == b'\n' {
                self.line += 1;
                self.column = 0;
            } else if *byte & 0b1100_0000 != 0b1000_0000 {
                self.column += 1;
            }
        }
        self.next += n;
    }

    /// Goes to the first byte that `stops`, or to the end of what is there.
    fn skip_until(&mut self, stops: impl Fn(u8) -> bool) {
        let rest = &self.buffer[self.next..];
        let n = rest.iter().position(|byte| stops(*byte));
        self.advance(n.unwrap_or(rest.len()));
    }

    /// Something that belongs to a statement stands at `next`.
    fn touch(&mut self) {
        if self.statement.at.is_none() {
            self.statement.at = Some((self.line, self.column + 1));
            self.start = self.next;
        }
    }

    fn end_statement(&mut self) -> Step {
        let statement = self.take_statement();
        self.advance(1);
        self.start = self.next;
        statement.map_or(Step::On, |statement| Step::Item(Item::Statement(statement)))
    }

    /// The statement before `next`; `None` if it is empty.
    fn take_statement(&mut self) -> Option<Statement> {
        let begun = std::mem::take(&mut self.statement);
        let (line, column) = begun.at?;
        let bytes = &self.buffer[self.start..self.next];
        let text = crate::sql::escape(bytes).into_owned();
        if begun.copy == Some(CopyWith::Stdin) {
            self.state = State::BeforeCopy(false, line);
        }
        Some(Statement {
            text,
            line,
            column,
            copy: begun.copy,
        })
    }

    /// All bytes were looked at and no more come.
    fn at_end(&mut self) -> Result<Option<Item>, ScriptError> {
        let open = |line: u64, what: &str, remedy: &'static str| ScriptError {
            line,
            problem: format!("{what} that begins here has no end"),
            remedy,
        };
        let cut = "the script may be cut off, or a quote is missing";
        match self.state {
            State::Quoted(_, line) => return Err(open(line, "the quoted text", cut)),
            State::Dollar(_, line) => return Err(open(line, "the dollar-quoted text", cut)),
            State::Comment(_, line) => return Err(open(line, "the comment", cut)),
            State::Copy(_, line) | State::BeforeCopy(_, line) => {
                let remedy = "the script may be cut off; a line with \\. ends the rows";
                return Err(open(line, "the COPY data of the statement", remedy));
            }
            State::Word(from) => {
                self.word(from);
            }
            State::Backslash(from) => {
                self.backslash(from)?;
            }
            State::Plain | State::LineComment => {}
        }
        self.state = State::Plain;
        let statement = self.take_statement();
        self.start = self.next;
        Ok(statement.map(Item::Statement))
    }
}

#[cfg(test)]
mod tests;
