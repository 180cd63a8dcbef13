//! Statements, and what the words of one that has begun say about where it ends.

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

    /// The first words on one line, for messages; control characters that are no blanks are still in it.
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
        crate::sql::printable(&text)
    }
}

/// What is known of the statement that has begun.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begun {
    /// Line and column of its first byte; `None` if there is nothing but blanks and comments yet.
    pub(super) at: Option<(u64, u64)>,
    pub(super) routine: Routine,
    pub(super) last: Last,
    pub(super) is_copy: bool,
    pub(super) copy: Option<CopyWith>,
    pub(super) parentheses: usize,
    /// Nested `BEGIN ATOMIC` and the `CASE`s in it.
    pub(super) blocks: usize,
    /// Behind an `E'…'` string; true once a line has ended, so that another quote continues the string.
    pub(super) after_escape: Option<bool>,
}

/// How far the first words read `CREATE [OR REPLACE] FUNCTION | PROCEDURE`: only there `BEGIN ATOMIC` opens a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Routine {
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
pub(super) enum Last {
    #[default]
    Other,
    From,
    To,
    Begin,
}

impl Begun {
    /// Takes note of an unquoted word.
    pub(super) fn word(&mut self, word: &[u8]) {
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
