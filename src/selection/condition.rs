//! Conditions that choose rows of one table: `TABLE=CONDITION`, as a user types them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Only the rows of one table that satisfy a condition in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCondition {
    /// A pattern that must match exactly one table.
    pub table: String,
    /// The condition, the user's own SQL.
    pub condition: String,
}

impl FromStr for RowCondition {
    type Err = Error;

    /// Splits at the first `=` outside double quotes.
    fn from_str(text: &str) -> Result<RowCondition> {
        let mut in_quotes = false;
        let at = text.char_indices().find(|(_, c)| {
            in_quotes ^= *c == '"';
            *c == '=' && !in_quotes
        });
        let parts = at.map(|(at, _)| (text[..at].trim(), text[at + 1..].trim()));
        match parts {
            Some((table, condition)) if !table.is_empty() && !condition.is_empty() => {
                Ok(RowCondition {
                    table: table.to_owned(),
                    condition: condition.to_owned(),
                })
            }
            _ => Err(Error::Usage(format!(
                "{text:?} is not TABLE=CONDITION, such as sales.orders=day > '2026-01-01'"
            ))),
        }
    }
}

impl fmt::Display for RowCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.table, self.condition)
    }
}
