//! The table of contents as a list of lines that a user can shorten, and reading such a list back. A line is
//! `number; label; schema; name; owner`; one that begins with a semicolon is a comment.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::toc::{Entry, EntryId, EntryName, printable};

/// The line of an entry, without its end. No name can break out of it.
pub fn line(entry: &Entry) -> String {
    format!("{}; {}", entry.id.0, description(entry))
}

fn description(entry: &Entry) -> String {
    let schema = entry.name.schema.as_deref().unwrap_or("-");
    let name = EntryName {
        schema: None,
        ..entry.name.clone()
    };
    let owner = entry.owner.as_ref().map_or("-", |owner| &owner.role.0);
    format!(
        "{}; {}; {name}; {}",
        printable(&entry.label),
        printable(schema),
        printable(owner)
    )
}

/// The entries that a list leaves in. A number may stand alone; what follows it must be the entry's own description, so that the
/// list of another archive is noticed. `file` is named in errors.
///
/// Errors: [`Error::Usage`] with file and line.
pub fn parse(text: &str, file: &str, entries: &[Entry]) -> Result<BTreeSet<EntryId>> {
    let mut listed = BTreeSet::new();
    for (at, text) in text.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with(';') {
            continue;
        }
        let wrong = |problem: String| {
            let file = printable(file);
            Error::Usage(format!("list {file}, line {}: {problem}", at + 1))
        };
        let (number, rest) = text.split_once(';').unwrap_or((text, ""));
        let number: u32 = number.trim().parse().map_err(|_| {
            wrong(
                "it does not begin with an entry's number; `pgark show --list` writes a list"
                    .to_owned(),
            )
        })?;
        let entry = entries
            .get(number as usize)
            .ok_or_else(|| wrong(format!("the archive has no entry {number}")))?;
        let rest = rest.trim();
        if !rest.is_empty() && rest != description(entry).trim() {
            return Err(wrong(format!(
                "entry {number} of this archive is {} {}; the list is of another archive",
                entry.label, entry.name
            )));
        }
        listed.insert(entry.id);
    }
    if listed.is_empty() {
        let file = printable(file);
        return Err(Error::Usage(format!("list {file} leaves nothing in")));
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Role, Sql};
    use crate::toc::{Owner, Stage};

    fn entry(id: u32, name: &str) -> Entry {
        let name = EntryName {
            schema: Some("s".into()),
            relation: None,
            name: name.into(),
        };
        Entry {
            owner: Some(Owner {
                role: Role("o; x".into()),
                target: Sql::default(),
            }),
            ..Entry::new(EntryId(id), "table", name, Stage::PreData)
        }
    }

    #[test]
    fn a_shortened_list_is_read_back_and_names_cannot_break_out() {
        let entries = [
            entry(0, "a"),
            entry(1, "b\n0; table; s; a\r; \u{1b}[2J"),
            entry(2, "c "),
        ];
        let lines: Vec<String> = entries.iter().map(line).collect();
        assert_eq!(lines[0], "0; table; s; a; o; x");
        assert!(lines.iter().all(|line| line.lines().count() == 1));
        let text = format!("; comment\n;{}\n\n {}\r\n2", lines[0], lines[1]);
        let listed = parse(&text, "f", &entries).unwrap();
        assert_eq!(listed, BTreeSet::from([EntryId(1), EntryId(2)]));
        assert_eq!(parse(&lines.join("\n"), "f", &entries).unwrap().len(), 3);
    }

    #[test]
    fn a_list_of_another_archive_is_refused_with_its_line() {
        let entries = [entry(0, "a")];
        for (text, problem) in [
            (
                "\n0; table; s; other; -",
                "line 2: entry 0 of this archive is table s.a",
            ),
            ("7", "line 1: the archive has no entry 7"),
            ("a table", "does not begin"),
            ("-1", "does not begin"),
            ("; 0", "leaves nothing in"),
        ] {
            let error = parse(text, "f", &entries).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
