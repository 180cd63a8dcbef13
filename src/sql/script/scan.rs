//! Going through statements byte by byte: quotes, comments, words, commands of psql.

use std::ops::Range;

use super::statement::Last;
use super::{Quote, ScriptError, Splitter, State, Step, Stepped};

#[derive(Debug, PartialEq, Eq)]
enum Delimiter {
    None,
    Unknown,
    Bytes(usize),
}

impl Splitter {
    pub(super) fn plain(&mut self) -> Step {
        let byte = self.buffer[self.next];
        match byte {
            b'-' | b'/' if self.lacks(1) => return Step::More,
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
            _ => return self.token(byte),
        }
        Step::On
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

    pub(super) fn word(&mut self, from: usize) -> Step {
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

    pub(super) fn quoted(&mut self, quote: Quote) -> Step {
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

    pub(super) fn dollar(&mut self, delimiter: Range<usize>) -> Step {
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

    pub(super) fn line_comment(&mut self) -> Step {
        self.skip_until(|byte| byte == b'\n');
        if self.peek(0).is_some() {
            self.state = State::Plain;
        }
        Step::On
    }

    pub(super) fn comment(&mut self, depth: u32, line: u64) -> Step {
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
    pub(super) fn backslash(&mut self, from: usize) -> Stepped {
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
            self.n_commands += 1;
            return Ok(Step::On);
        }
        let command: String = String::from_utf8_lossy(command).chars().take(40).collect();
        Err(ScriptError {
            line: self.line,
            problem: format!("{command:?} is a command of psql, not SQL").replace("\\\\", "\\"),
            remedy: "take it out; databases are chosen with -d, files with -f",
        })
    }
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
