//! Cutting a SQL script into statements and COPY data as the bytes come in. Pure; sending them is the caller's work.
//!
//! Quotes, dollar quotes, nested comments, parentheses and `BEGIN ATOMIC` bodies are understood as psql understands them
//! (`psqlscan.l`, 18), with `standard_conforming_strings` on. COPY data passes through in pieces and is never held.

use std::fmt;
use std::ops::Range;

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

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text from its first word on, comments inside included.
    pub text: String,
    /// The line of its first word, from 1.
    pub line: u64,
    /// The column of its first word in characters, from 1.
    pub column: u64,
    /// Whether it is a COPY that speaks with the client.
    pub copy: Option<CopyWith>,
}

/// A COPY that speaks with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyWith {
    /// `COPY … FROM STDIN`: data follows.
    Stdin,
    /// `COPY … TO STDOUT`: the server sends data.
    Stdout,
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

/// What is known of the statement that has begun.
#[derive(Debug, Clone, Copy, Default)]
struct Begun {
    /// Line and column of its first byte; `None` if there is nothing but blanks and comments yet.
    at: Option<(u64, u64)>,
    routine: Routine,
    last: Last,
    is_copy: bool,
    copy: Option<CopyWith>,
    parentheses: usize,
    /// Nested `BEGIN ATOMIC` and the `CASE`s in it.
    blocks: usize,
    /// Behind an `E'…'` string; true once a line has ended, so that another quote continues the string.
    after_escape: Option<bool>,
}

/// How far the first words read `CREATE [OR REPLACE] FUNCTION | PROCEDURE`: only there `BEGIN ATOMIC` opens a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Routine {
    #[default]
    Unknown,
    Create,
    CreateOr,
    CreateOrReplace,
    Yes,
    No,
}

/// The word before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Other,
    From,
    To,
    Begin,
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
        }
    }
}

impl Splitter {
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
    /// psql's own commands but `\restrict` and `\unrestrict`, statements that are not UTF-8, and what is still open at the end.
    pub fn next_item(&mut self) -> Result<Option<Item>, ScriptError> {
        loop {
            if self.next == self.buffer.len() && self.ended {
                return self.at_end();
            }
            let step = match self.state {
                _ if self.next == self.buffer.len() => Step::More,
                State::Plain => self.plain()?,
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

    fn plain(&mut self) -> Stepped {
        let byte = self.buffer[self.next];
        match byte {
            b'-' | b'/' if self.lacks(1) => return Ok(Step::More),
            b'-' if self.peek(1) == Some(b'-') => {
                self.state = State::LineComment;
                self.advance(2);
            }
            b'/' if self.peek(1) == Some(b'*') => {
                self.state = State::Comment(1, self.line);
                self.advance(2);
            }
            _ if is_blank(byte) => self.blank(byte),
            b';' if self.statement.parentheses == 0 && self.statement.blocks == 0 => {
                return self.end_statement();
            }
            b'\\' => {
                self.state = State::Backslash(self.next);
                self.advance(1);
            }
            _ => return Ok(self.token(byte)),
        }
        Ok(Step::On)
    }

    fn blank(&mut self, byte: u8) {
        if byte == b'\n'
            && let Some(line_ended) = &mut self.statement.after_escape
        {
            *line_ended = true;
        }
        self.advance(1);
    }

    /// A byte that belongs to the statement.
    fn token(&mut self, byte: u8) -> Step {
        if byte == b'$' {
            match self.dollar_delimiter() {
                Delimiter::Unknown => return Step::More,
                Delimiter::Bytes(length) => {
                    self.begin_token();
                    self.state = State::Dollar(self.next..self.next + length, self.line);
                    self.advance(length);
                    return Step::On;
                }
                Delimiter::None => {}
            }
        }
        let continued = self.statement.after_escape == Some(true);
        if is_word(byte) && byte != b'$' {
            self.touch();
            self.statement.after_escape = None;
            self.state = State::Word(self.next);
            return Step::On;
        }
        self.begin_token();
        match byte {
            b'\'' if continued => self.state = State::Quoted(Quote::Escape, self.line),
            b'\'' => self.state = State::Quoted(Quote::Text, self.line),
            b'"' => self.state = State::Quoted(Quote::Name, self.line),
            b'(' => self.statement.parentheses += 1,
            b')' => {
                self.statement.parentheses = self.statement.parentheses.saturating_sub(1);
            }
            _ => {}
        }
        self.advance(1);
        Step::On
    }

    /// A token that is no word begins at `next`.
    fn begin_token(&mut self) {
        self.touch();
        self.statement.after_escape = None;
        self.statement.last = Last::Other;
    }

    /// `$tag$`, where the tag is empty or reads like an identifier without dollars.
    fn dollar_delimiter(&self) -> Delimiter {
        let rest = &self.buffer[self.next + 1..];
        let is_tag = |byte: u8| is_word(byte) && byte != b'$';
        match rest.iter().position(|byte| !is_tag(*byte)) {
            None if self.ended => Delimiter::None,
            None => Delimiter::Unknown,
            Some(n) if rest[n] == b'$' && !rest[0].is_ascii_digit() => Delimiter::Bytes(n + 2),
            Some(_) => Delimiter::None,
        }
    }

    fn word(&mut self, from: usize) -> Step {
        self.skip_until(|byte| !is_word(byte));
        if self.lacks(0) {
            return Step::More;
        }
        let word = &self.buffer[from..self.next];
        if word.eq_ignore_ascii_case(b"e") && self.peek(0) == Some(b'\'') {
            self.begin_token();
            self.state = State::Quoted(Quote::Escape, self.line);
            self.advance(1);
        } else {
            self.statement.word(word);
            self.state = State::Plain;
        }
        Step::On
    }

    fn quoted(&mut self, quote: Quote) -> Step {
        let end = if quote == Quote::Name { b'"' } else { b'\'' };
        self.skip_until(|byte| byte == end || (byte == b'\\' && quote == Quote::Escape));
        let Some(byte) = self.peek(0) else {
            return Step::On;
        };
        if byte == end && quote != Quote::Escape {
            // A doubled quote closes and opens again, which comes to the same.
            self.advance(1);
            self.state = State::Plain;
            return Step::On;
        }
        if self.lacks(1) {
            return Step::More;
        }
        let takes_next = byte == b'\\' || self.peek(1) == Some(end);
        if takes_next && self.peek(1).is_some() {
            self.advance(2);
        } else {
            self.advance(1);
            if byte == end {
                self.state = State::Plain;
                self.statement.after_escape = Some(false);
            }
        }
        Step::On
    }

    fn dollar(&mut self, delimiter: Range<usize>) -> Step {
        self.skip_until(|byte| byte == b'$');
        let length = delimiter.len();
        let rest = &self.buffer[self.next..];
        let delimiter = &self.buffer[delimiter];
        if rest.starts_with(delimiter) {
            self.advance(length);
            self.state = State::Plain;
        } else if !self.ended && delimiter.starts_with(rest) {
            return Step::More;
        } else if !rest.is_empty() {
            self.advance(1);
        }
        Step::On
    }

    fn line_comment(&mut self) -> Step {
        self.skip_until(|byte| byte == b'\n');
        if self.peek(0).is_some() {
            self.state = State::Plain;
        }
        Step::On
    }

    fn comment(&mut self, depth: u32, line: u64) -> Step {
        self.skip_until(|byte| byte == b'*' || byte == b'/');
        if self.peek(0).is_none() {
            return Step::On;
        }
        if self.lacks(1) {
            return Step::More;
        }
        match (self.peek(0), self.peek(1)) {
            (Some(b'*'), Some(b'/')) => {
                self.advance(2);
                self.state = match depth {
                    1 => State::Plain,
                    _ => State::Comment(depth - 1, line),
                };
            }
            (Some(b'/'), Some(b'*')) => {
                self.advance(2);
                self.state = State::Comment(depth.saturating_add(1), line);
            }
            _ => self.advance(1),
        }
        Step::On
    }

    /// psql's own commands reach to the end of the line.
    fn backslash(&mut self, from: usize) -> Stepped {
        self.skip_until(|byte| byte == b'\n');
        if self.lacks(0) {
            return Ok(Step::More);
        }
        let command = self.buffer[from..self.next]
            .split(|byte| is_blank(*byte))
            .next();
        let command = command.unwrap_or_default();
        let is_harmless = matches!(command, b"\\restrict" | b"\\unrestrict");
        if is_harmless && self.statement.at.is_none() {
            self.state = State::Plain;
            return Ok(Step::On);
        }
        let command: String = String::from_utf8_lossy(command).chars().take(40).collect();
        Err(ScriptError {
            line: self.line,
            problem: format!("{command:?} is a command of psql, not SQL").replace("\\\\", "\\"),
            remedy: "take it out; databases are chosen with -d, files with -f",
        })
    }

    fn end_statement(&mut self) -> Stepped {
        let statement = self.take_statement()?;
        self.advance(1);
        self.start = self.next;
        Ok(statement.map_or(Step::On, |statement| Step::Item(Item::Statement(statement))))
    }

    /// The statement before `next`; `None` if it is empty.
    fn take_statement(&mut self) -> Result<Option<Statement>, ScriptError> {
        let begun = std::mem::take(&mut self.statement);
        let Some((line, column)) = begun.at else {
            return Ok(None);
        };
        let bytes = &self.buffer[self.start..self.next];
        let text = std::str::from_utf8(bytes).map_err(|problem| {
            let before = &bytes[..problem.valid_up_to()];
            let n_lines = before.split(|byte| *byte == b'\n').count() - 1;
            ScriptError {
                line: line + n_lines as u64,
                problem: "the statement is not UTF-8".to_owned(),
                remedy: "convert the script, for example with iconv -t UTF-8, and its SET client_encoding",
            }
        })?;
        let text = text.to_owned();
        if begun.copy == Some(CopyWith::Stdin) {
            self.state = State::BeforeCopy(false, line);
        }
        Ok(Some(Statement {
            text,
            line,
            column,
            copy: begun.copy,
        }))
    }

    fn before_copy(&mut self, in_comment: bool, line: u64) -> Stepped {
        let byte = self.buffer[self.next];
        if byte == b'-' && self.lacks(1) {
            return Ok(Step::More);
        }
        if byte == b'\n' {
            self.advance(1);
            self.state = State::Copy(true, line);
            return Ok(Step::On);
        }
        let comment_begins = byte == b'-' && self.peek(1) == Some(b'-');
        if !in_comment && !comment_begins && !is_blank(byte) {
            return Err(ScriptError {
                line: self.line,
                problem: "the rows of COPY … FROM STDIN begin on the next line, but something follows on this one".to_owned(),
                remedy: "begin a new line after the semicolon",
            });
        }
        self.state = State::BeforeCopy(in_comment || comment_begins, line);
        self.advance(1);
        Ok(Step::On)
    }

    fn copy(&mut self, mut line_start: bool, line: u64) -> Step {
        let mut end = self.next;
        let mut marker = Marker::No;
        while end < self.buffer.len() {
            let rest = &self.buffer[end..];
            if line_start {
                marker = self.marker(rest);
                if marker != Marker::No {
                    break;
                }
            }
            let n = rest.iter().position(|byte| *byte == b'\n');
            line_start = n.is_some();
            end += n.map_or(rest.len(), |n| n + 1);
        }
        if end > self.next {
            let piece = self.buffer[self.next..end].to_vec();
            self.advance(end - self.next);
            self.start = self.next;
            self.state = State::Copy(line_start, line);
            return Step::Item(Item::CopyData(piece));
        }
        match marker {
            Marker::Bytes(n) => {
                self.advance(n);
                self.start = self.next;
                self.state = State::Plain;
                Step::Item(Item::CopyEnd)
            }
            Marker::No | Marker::Unknown => Step::More,
        }
    }

    /// Whether a line that begins `rest` is `\.`, which ends the rows.
    fn marker(&self, rest: &[u8]) -> Marker {
        for marker in [&b"\\.\n"[..], b"\\.\r\n"] {
            if rest.starts_with(marker) {
                return Marker::Bytes(marker.len());
            }
        }
        let is_beginning = b"\\.\r\n".starts_with(rest);
        match (is_beginning, self.ended) {
            (true, false) => Marker::Unknown,
            (true, true) if rest.len() >= 2 => Marker::Bytes(rest.len()),
            _ => Marker::No,
        }
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
        let statement = self.take_statement()?;
        self.start = self.next;
        Ok(statement.map(Item::Statement))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Delimiter {
    None,
    Unknown,
    Bytes(usize),
}

#[derive(Debug, PartialEq, Eq)]
enum Marker {
    No,
    Unknown,
    Bytes(usize),
}

impl Begun {
    /// Takes note of an unquoted word.
    fn word(&mut self, word: &[u8]) {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword.as_bytes());
        let last = std::mem::take(&mut self.last);
        let is_first = self.routine == Routine::Unknown;
        self.is_copy |= is_first && is("copy");
        self.routine = match self.routine {
            Routine::Unknown if is("create") => Routine::Create,
            Routine::Create if is("or") => Routine::CreateOr,
            Routine::CreateOr if is("replace") => Routine::CreateOrReplace,
            Routine::Create | Routine::CreateOrReplace if is("function") || is("procedure") => {
                Routine::Yes
            }
            Routine::Yes => Routine::Yes,
            _ => Routine::No,
        };
        if self.parentheses > 0 {
            return;
        }
        if self.is_copy {
            match last {
                Last::From if is("stdin") || is("stdout") => self.copy = Some(CopyWith::Stdin),
                Last::To if is("stdin") || is("stdout") => self.copy = Some(CopyWith::Stdout),
                _ if is("from") => self.last = Last::From,
                _ if is("to") => self.last = Last::To,
                _ => {}
            }
        } else if self.routine == Routine::Yes {
            match last {
                Last::Begin if is("atomic") => self.blocks += 1,
                _ if is("begin") => self.last = Last::Begin,
                _ if is("case") && self.blocks > 0 => self.blocks += 1,
                _ if is("end") => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
    }
}

impl Statement {
    /// The line and column in the script, from 1, of the character at `position`, from 1, which is how servers count.
    pub fn place_of(&self, position: u32) -> (u64, u64) {
        let (mut line, mut column) = (self.line, self.column);
        let n_before = (position as usize).saturating_sub(1);
        for character in self.text.chars().take(n_before) {
            if character == '\n' {
                line += 1;
                column = 1;
            } else {
                column += 1;
            }
        }
        (line, column)
    }

    /// The first words on one line, for messages.
    pub fn beginning(&self) -> String {
        const CHARS_MAX: usize = 60;
        let mut text = String::new();
        // Enough text for the words shown, however long the statement is.
        let head: String = self.text.chars().take(20 * CHARS_MAX).collect();
        for word in head.split_whitespace() {
            let n_chars = text.chars().count();
            if n_chars + word.chars().count() >= CHARS_MAX {
                if n_chars == 0 {
                    text.extend(word.chars().take(CHARS_MAX));
                }
                text.push('…');
                break;
            }
            if n_chars > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        crate::toc::printable(&text)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
