//! Where in its table a segment's rows are, in the table's order and in words. Pure.

use std::fmt;

use super::index::{CellKey, KeyRange, Segment};
use crate::sql::printable;

/// The place of a segment's rows; the order is the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowsAt {
    /// From a block to before another.
    Blocks(u32, u32),
    /// From a value of the key to before another.
    Keys(i64, i64),
    /// The key is NULL.
    NullKeys,
    /// The n-th segment of a table that was cut otherwise.
    Number(usize),
}

impl RowsAt {
    /// The place of the segment that is the table's `number`-th, counted from 0.
    pub fn of(segment: &Segment, number: usize) -> RowsAt {
        match (segment.blocks, segment.keys) {
            (Some((from, to)), _) => RowsAt::Blocks(from, to.unwrap_or(u32::MAX)),
            (None, Some(KeyRange::Values(from, to))) => {
                RowsAt::Keys(from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX))
            }
            (None, Some(KeyRange::Null)) => RowsAt::NullKeys,
            (None, None) => RowsAt::Number(number),
        }
    }

    /// The place in words; `key` is what the table was cut by.
    pub fn words(self, key: Option<&CellKey>) -> impl fmt::Display {
        let value = |value: i64| key.map_or_else(|| value.to_string(), |key| key.of.text(value));
        let key = key.map_or_else(|| "key".to_owned(), |key| printable(&key.column));
        match self {
            RowsAt::Blocks(from, u32::MAX) => format!("from block {from}"),
            RowsAt::Blocks(from, to) => format!("blocks {from} to {}", to.saturating_sub(1)),
            RowsAt::Keys(i64::MIN, i64::MAX) => format!("any {key}"),
            RowsAt::Keys(i64::MIN, to) => format!("{key} below {}", value(to)),
            RowsAt::Keys(from, i64::MAX) => format!("{key} from {}", value(from)),
            RowsAt::Keys(from, to) => {
                format!("{key} from {} to below {}", value(from), value(to))
            }
            RowsAt::NullKeys => format!("{key} is NULL"),
            RowsAt::Number(0) => "the first part".to_owned(),
            RowsAt::Number(number) => format!("part {}", number + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::index::KeyType;

    #[test]
    fn places_are_in_the_order_of_the_table_and_named_as_the_server_writes_values() {
        let day = CellKey {
            column: "day".into(),
            of: KeyType::Date,
        };
        let words = |at: RowsAt| at.words(Some(&day)).to_string();
        assert_eq!(words(RowsAt::Keys(i64::MIN, 0)), "day below 2000-01-01");
        assert_eq!(
            words(RowsAt::Keys(0, 59)),
            "day from 2000-01-01 to below 2000-02-29"
        );
        assert_eq!(words(RowsAt::NullKeys), "day is NULL");
        assert_eq!(words(RowsAt::Blocks(8, 16)), "blocks 8 to 15");
        assert_eq!(words(RowsAt::Blocks(16, u32::MAX)), "from block 16");
        assert!(RowsAt::Blocks(8, 16) < RowsAt::Blocks(16, u32::MAX));
        assert!(RowsAt::Keys(i64::MIN, 0) < RowsAt::Keys(0, i64::MAX));
        assert!(RowsAt::Keys(0, i64::MAX) < RowsAt::NullKeys);
    }
}
