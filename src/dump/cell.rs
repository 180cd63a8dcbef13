//! One cell of a table: what a COPY of its own reads. Pure; where tables are cut is in `split` and `key_ranges`.

use super::key_ranges::Key;
use crate::archive::index::KeyRange;
use crate::sql::{Sql, sql};
use crate::toc::printable;

/// A part of a table that is read by one COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// The first block, and the first one after.
    Blocks(u32, Option<u32>),
    /// A range of a key.
    Keys {
        /// Values.
        range: KeyRange,
        /// The condition that its rows meet.
        condition: Sql,
        /// For messages.
        text: String,
    },
}

impl Cell {
    /// The cells that a key's bounds make.
    pub(super) fn of_key(key: &Key, bounds: &[i64]) -> Vec<Cell> {
        let cell = |range| Cell::Keys {
            range,
            condition: key.condition(range),
            text: key.describe(range),
        };
        key.ranges(bounds).into_iter().map(cell).collect()
    }

    /// The condition that its rows meet, and no others of the table.
    pub(super) fn condition(&self) -> Sql {
        match self {
            Cell::Blocks(from, to) => {
                let upper = to.map(|to| sql![" AND ctid < '(", to, ",0)'"]);
                sql!["ctid >= '(", *from, ",0)'", upper]
            }
            Cell::Keys { condition, .. } => condition.clone(),
        }
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Cell::Blocks(from, Some(to)) => format!("blocks {from}..{to}"),
            Cell::Blocks(from, None) => format!("blocks {from}.."),
            Cell::Keys { text, .. } => printable(text),
        }
    }

    /// Its blocks, if it is cut by them.
    pub(super) fn blocks(&self) -> Option<(u32, Option<u32>)> {
        match self {
            Cell::Blocks(from, to) => Some((*from, *to)),
            Cell::Keys { .. } => None,
        }
    }

    /// Its values, if it is cut by a key.
    pub(super) fn keys(&self) -> Option<KeyRange> {
        match self {
            Cell::Keys { range, .. } => Some(*range),
            Cell::Blocks(..) => None,
        }
    }
}
