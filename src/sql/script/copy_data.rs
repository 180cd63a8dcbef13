//! Going through the rows that follow `COPY … FROM STDIN`. They are given out as they come.

use super::scan::is_blank;
use super::{Item, ScriptError, Splitter, State, Step, Stepped};

#[derive(Debug, PartialEq, Eq)]
enum Marker {
    No,
    Unknown,
    Bytes(usize),
}

impl Splitter {
    pub(super) fn before_copy(&mut self, in_comment: bool, line: u64) -> Stepped {
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

    pub(super) fn copy(&mut self, mut line_start: bool, line: u64) -> Step {
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
}
