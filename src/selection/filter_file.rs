//! Filter files, in the syntax of `pg_dump --filter` (manual, `pg_dump`; seen on 18): one rule a line, patterns in quotes may
//! span lines. Reading the file is the caller's.

use super::{Selection, Side};
use crate::error::{Error, Result};
use crate::toc::printable;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// True for `include`, false for `exclude`.
    pub include: bool,
    /// What it is about: `table`, `schema`, …
    pub kind: String,
    /// The pattern, blanks that mean nothing taken out.
    pub pattern: String,
    /// The line on which it begins.
    pub line: usize,
}

/// Kinds that `pg_dump` knows. Which of them a rule may have is decided when it is applied.
const KINDS: [&str; 11] = [
    "table_data",
    "table_data_and_children",
    "database",
    "extension",
    "foreign_data",
    "function",
    "index",
    "schema",
    "table",
    "table_and_children",
    "trigger",
];

/// Reads the rules of `text`. `file` is named in errors.
///
/// Errors: [`Error::Usage`] with file and line.
pub fn parse(text: &str, file: &str) -> Result<Vec<Rule>> {
    let mut reader = Reader {
        text,
        line: 1,
        file,
    };
    let mut rules = Vec::new();
    while !reader.text.is_empty() {
        reader.blanks();
        match reader.peek() {
            None => {}
            Some('#') => reader.rest_of_line(),
            Some('\n') => reader.next_line(),
            Some(_) => rules.push(reader.rule()?),
        }
    }
    Ok(rules)
}

/// Adds the rules to a selection.
///
/// Errors: [`Error::Usage`] with file and line for a kind that this side does not select by, or not this way.
pub fn apply(rules: Vec<Rule>, file: &str, side: Side, selection: &mut Selection) -> Result<()> {
    for rule in rules {
        let dump = side == Side::Dump;
        let list = match (rule.include, rule.kind.as_str()) {
            (true, "schema") => &mut selection.schemas,
            (false, "schema") => &mut selection.exclude_schemas,
            (true, "table") => &mut selection.tables,
            (false, "table") => &mut selection.exclude_tables,
            (true, "extension") => &mut selection.extensions,
            (false, "extension") => &mut selection.exclude_extensions,
            (false, "table_data") => &mut selection.exclude_table_data,
            (true, "table_and_children") if dump => &mut selection.tables_and_children,
            (false, "table_and_children") if dump => &mut selection.exclude_tables_and_children,
            (false, "table_data_and_children") if dump => {
                &mut selection.exclude_table_data_and_children
            }
            (true, "foreign_data") if dump => &mut selection.foreign_data,
            (true, "index") if !dump => &mut selection.indexes,
            (true, "function") if !dump => &mut selection.functions,
            (true, "trigger") if !dump => &mut selection.triggers,
            (include, kind) => {
                let word = if include { "include" } else { "exclude" };
                let verb = if dump { "dump" } else { "restore" };
                let problem = format!("{word} {kind} is no filter of a {verb}");
                return Err(wrong(file, rule.line, &problem));
            }
        };
        list.push(rule.pattern);
    }
    Ok(())
}

fn wrong(file: &str, line: usize, problem: &str) -> Error {
    let place = match file {
        "-" => "the filter on standard input".to_owned(),
        file => format!("filter file {}", printable(file)),
    };
    Error::Usage(format!("{place}, line {line}: {problem}"))
}

struct Reader<'a> {
    text: &'a str,
    line: usize,
    file: &'a str,
}

/// What C's `isspace` calls a blank, but for the end of a line.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.text.chars().next()
    }

    fn skip(&mut self, c: char) {
        self.text = &self.text[c.len_utf8()..];
    }

    fn blanks(&mut self) -> bool {
        let rest = self.text.trim_start_matches(is_blank);
        let any = rest.len() < self.text.len();
        self.text = rest;
        any
    }

    fn rest_of_line(&mut self) {
        let end = self.text.find('\n').unwrap_or(self.text.len());
        self.text = &self.text[end..];
    }

    fn next_line(&mut self) {
        self.skip('\n');
        self.line += 1;
    }

    fn wrong(&self, problem: &str) -> Error {
        wrong(self.file, self.line, problem)
    }

    /// A run of anything but blanks, in lower case.
    fn word(&mut self) -> &'a str {
        self.blanks();
        let end = self.text.find(|c| is_blank(c) || c == '\n');
        let (word, rest) = self.text.split_at(end.unwrap_or(self.text.len()));
        self.text = rest;
        word
    }

    fn rule(&mut self) -> Result<Rule> {
        let line = self.line;
        let include = match self.word() {
            word if word.eq_ignore_ascii_case("include") => true,
            word if word.eq_ignore_ascii_case("exclude") => false,
            word => {
                let problem = format!("{:?} is neither include nor exclude", printable(word));
                return Err(self.wrong(&problem));
            }
        };
        let kind = self.word();
        if kind.is_empty() {
            return Err(self.wrong("the kind of object is missing"));
        }
        let kind = kind.to_ascii_lowercase();
        if !KINDS.contains(&kind.as_str()) {
            let problem = format!("{:?} is no kind of object to filter by", printable(&kind));
            return Err(self.wrong(&problem));
        }
        self.blanks();
        let pattern = self.pattern()?;
        if pattern.is_empty() {
            return Err(self.wrong("the pattern is missing"));
        }
        Ok(Rule {
            include,
            kind,
            pattern,
            line,
        })
    }

    /// A pattern up to the end of the line or a comment. Blanks around punctuation mean nothing, others count as one.
    fn pattern(&mut self) -> Result<String> {
        let mut out = String::new();
        // True where a blank, if there was one, stands between two words.
        let mut after_word = false;
        let mut blank = false;
        while let Some(c) = self.peek().filter(|c| !matches!(c, '\n' | '#')) {
            match c {
                '"' => {
                    if blank && after_word {
                        out.push(' ');
                    }
                    self.quoted(&mut out)?;
                    after_word = true;
                }
                ',' => {
                    self.skip(c);
                    out.push_str(", ");
                    after_word = false;
                }
                '.' | '(' | ')' => {
                    self.skip(c);
                    out.push(c);
                    after_word = false;
                }
                _ => {
                    if blank && after_word {
                        out.push(' ');
                    }
                    self.skip(c);
                    out.push(c);
                    after_word = true;
                }
            }
            blank = self.blanks();
        }
        Ok(out)
    }

    /// A quoted name with its quotes. `\n` is a line's end, which may also be there as such.
    fn quoted(&mut self, out: &mut String) -> Result<()> {
        self.skip('"');
        out.push('"');
        loop {
            let Some(c) = self.peek() else {
                return Err(self.wrong("a double quote is not closed"));
            };
            self.skip(c);
            match c {
                '\n' => {
                    self.line += 1;
                    out.push('\n');
                }
                '\r' => {}
                '"' if self.peek() == Some('"') => {
                    self.skip('"');
                    out.push_str("\"\"");
                }
                '"' => {
                    out.push('"');
                    return Ok(());
                }
                '\\' => {
                    match self.peek() {
                        Some('n') => out.push('\n'),
                        Some('\\') => out.push('\\'),
                        _ => {}
                    }
                    if let Some(escaped) = self.peek().filter(|c| *c != '\n') {
                        self.skip(escaped);
                    }
                }
                c => out.push(c),
            }
        }
    }
}

#[cfg(test)]
#[path = "filter_file_tests.rs"]
mod tests;
