//! Single rows of COPY text: choosing them by their values, putting their fields in order, writing them as CSV.

use crate::cli::row_text::unescaped;
use crate::error::{Error, Result};
use crate::toc::printable;

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) column: String,
    /// `None` for NULL.
    pub(super) value: Option<String>,
}

impl Condition {
    /// Reads `COLUMN=VALUE`; a column with an equals sign stands in double quotes.
    pub(super) fn parse(text: &str) -> Result<Condition, String> {
        let problem = || format!("{text:?} is not COLUMN=VALUE");
        let (column, value) = if let Some(rest) = text.strip_prefix('"') {
            let (column, value) = rest.rsplit_once("\"=").ok_or_else(problem)?;
            (column.replace("\"\"", "\""), value)
        } else {
            let (column, value) = text.split_once('=').ok_or_else(problem)?;
            (column.to_owned(), value)
        };
        Ok(Condition {
            column,
            value: Some(value.to_owned()),
        })
    }
}

/// Conditions on the fields of a row, all of which must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions(Vec<(usize, Option<Vec<u8>>)>);

impl Conditions {
    /// Looks the columns up.
    pub(super) fn new(conditions: &[Condition], columns: &[String]) -> Result<Conditions> {
        let place = |condition: &Condition| {
            let wanted = &condition.column;
            let at = columns.iter().position(|column| column == wanted);
            let at = at.ok_or_else(|| {
                let columns: Vec<String> = columns.iter().map(|one| printable(one)).collect();
                Error::Usage(format!(
                    "the table has no column {wanted:?}; it has {}",
                    columns.join(", ")
                ))
            })?;
            Ok((
                at,
                condition
                    .value
                    .as_ref()
                    .map(|text| text.clone().into_bytes()),
            ))
        };
        Ok(Conditions(
            conditions.iter().map(place).collect::<Result<_>>()?,
        ))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if all hold of a row, given by its fields.
    pub(super) fn hold(&self, fields: &[&[u8]]) -> bool {
        self.0
            .iter()
            .all(|(at, value)| match (fields.get(*at), value) {
                (None, _) => false,
                (Some(field), None) => is_null(field),
                (Some(field), Some(value)) => !is_null(field) && unescaped(field) == *value,
            })
    }
}

fn is_null(field: &[u8]) -> bool {
    field == b"\\N"
}

/// A row's fields. A table without columns has rows without fields.
pub(super) fn fields(row: &[u8], n_columns: usize) -> Vec<&[u8]> {
    if n_columns == 0 {
        return Vec::new();
    }
    row.split(|byte| *byte == b'\t').collect()
}

/// Where the columns of `order` stand in `columns`; `None` if they are the same, an error if some are missing.
pub(super) fn reordered(order: &[String], columns: &[String]) -> Result<Option<Vec<usize>>> {
    if order == columns {
        return Ok(None);
    }
    let places: Option<Vec<usize>> = order
        .iter()
        .map(|wanted| columns.iter().position(|column| column == wanted))
        .collect();
    match places {
        Some(places) if order.len() == columns.len() => Ok(Some(places)),
        _ => Err(Error::Usage(
            "the partitions have not the same columns; name one of them".to_owned(),
        )),
    }
}

/// A row as a line of CSV, as the server writes it: NULL is nothing, an empty text is `""`.
pub(super) fn csv_line(fields: &[&[u8]]) -> Vec<u8> {
    let mut line = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            line.push(b',');
        }
        if !is_null(field) {
            csv_value(&unescaped(field), fields.len() == 1, &mut line);
        }
    }
    line.push(b'\n');
    line
}

/// A value is quoted where it could be read as something else; alone on its line also if it looks like the end of data.
pub(super) fn csv_value(value: &[u8], alone: bool, line: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    let quoted = value.is_empty() || value.iter().any(special) || (alone && value == b"\\.");
    if !quoted {
        line.extend_from_slice(value);
        return;
    }
    line.push(b'"');
    for byte in value {
        if *byte == b'"' {
            line.push(b'"');
        }
        line.push(*byte);
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn values_are_compared_as_they_are_and_null_is_none() {
        let columns = columns(&["id", "a=b", "note"]);
        let parsed = |text: &str| Condition::parse(text).unwrap();
        let null = Condition {
            column: "note".to_owned(),
            value: None,
        };
        for (condition, row, holds) in [
            (parsed("id=1"), r"1	x	y", true),
            (parsed("id=1"), r"11	x	y", false),
            (parsed(r#""a=b"=x=y"#), r"1	x=y	z", true),
            (parsed("note=a\tb\\"), r"1	x	a\tb\\", true),
            (parsed("note="), "1\tx\t", true),
            (parsed("note="), r"1	x	\N", false),
            (parsed(r"note=\N"), r"1	x	\N", false),
            (parsed(r"note=\N"), r"1	x	\\N", true),
            (null.clone(), r"1	x	\N", true),
            (null, "1\tx\t", false),
        ] {
            let conditions = Conditions::new(std::slice::from_ref(&condition), &columns).unwrap();
            let fields = fields(row.as_bytes(), 3);
            assert_eq!(conditions.hold(&fields), holds, "{condition:?} {row}");
        }
        assert!(Condition::parse("id").is_err());
        let problem = Conditions::new(&[parsed("ident=1")], &columns).unwrap_err();
        assert!(
            problem.to_string().contains("it has id, a=b, note"),
            "{problem}"
        );
    }

    #[test]
    fn csv_is_what_the_server_writes() {
        for (row, expected) in [
            (r"1	\N	", "1,,\"\"\n"),
            (
                r#"a,b	say "x"	l\nm"#,
                "\"a,b\",\"say \"\"x\"\"\",\"l\nm\"\n",
            ),
            (r"\\x00	t\tt	\\.", "\\x00,t\tt,\\.\n"),
        ] {
            let line = csv_line(&fields(row.as_bytes(), 3));
            assert_eq!(String::from_utf8(line).unwrap(), expected, "{row}");
        }
        assert_eq!(csv_line(&fields(br"\\.", 1)), b"\"\\.\"\n");
        assert_eq!(csv_line(&fields(b"", 0)), b"\n");
    }

    #[test]
    fn columns_in_another_order_are_found() {
        let order = columns(&["a", "b"]);
        assert_eq!(reordered(&order, &order).unwrap(), None);
        let places = reordered(&order, &columns(&["b", "a"])).unwrap();
        assert_eq!(places, Some(vec![1, 0]));
        assert!(reordered(&order, &columns(&["a"])).is_err());
        assert!(reordered(&order, &columns(&["a", "b", "c"])).is_err());
    }
}
