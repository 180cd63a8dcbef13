//! Values of keys between numbers, which ranges are planned with, and the literals that the server reads. Pure.

use std::ops::Range;

use super::index::KeyType;
use crate::sql::{Literal, Sql, sql};

const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// Days from 0000-03-01, when the leap day ends a year, to 2000-01-01.
const DAYS_TO_EPOCH: i64 = 730_425;

/// From 4714-11-24 BC, Julian day 0, to before 5874898-06-03 (`datatype/timestamp.h`, 18).
const DATES: Range<i64> = -2_451_545..2_145_031_949;

/// From 4714-11-24 BC to before 294277-01-01 (`datatype/timestamp.h`, 18).
const TIMESTAMPS: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

impl KeyType {
    /// True if the type has the value, infinities included.
    pub(crate) fn has(self, value: i64) -> bool {
        match self {
            KeyType::Int2 => i16::try_from(value).is_ok(),
            KeyType::Int4 => i32::try_from(value).is_ok(),
            KeyType::Int8 => true,
            KeyType::Date => DATES.contains(&value) || self.is_infinite(value),
            KeyType::Timestamp | KeyType::Timestamptz => {
                TIMESTAMPS.contains(&value) || self.is_infinite(value)
            }
        }
    }

    /// True for `infinity` and `-infinity`: between them and other values lies nothing that could divide rows.
    pub(crate) fn is_infinite(self, value: i64) -> bool {
        match self {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => false,
            KeyType::Date => [i64::from(i32::MIN), i64::from(i32::MAX)].contains(&value),
            KeyType::Timestamp | KeyType::Timestamptz => [i64::MIN, i64::MAX].contains(&value),
        }
    }

    /// The value as the server writes it with ISO dates, in UTC.
    pub(crate) fn text(self, value: i64) -> String {
        if self.is_infinite(value) {
            let sign = if value < 0 { "-" } else { "" };
            return format!("{sign}infinity");
        }
        match self {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => value.to_string(),
            KeyType::Date => {
                let (date, era) = date(value);
                format!("{date}{era}")
            }
            KeyType::Timestamp => timestamp(value, ""),
            KeyType::Timestamptz => timestamp(value, "+00"),
        }
    }

    /// The value as a literal of the key's own type, so that the comparison is the one of the index.
    pub(crate) fn literal(self, value: i64) -> Sql {
        let name = match self {
            KeyType::Int2 => "int2",
            KeyType::Int4 => "int4",
            KeyType::Int8 => "int8",
            KeyType::Date => "date",
            KeyType::Timestamp => "timestamp",
            KeyType::Timestamptz => "timestamptz",
        };
        sql![Literal(&self.text(value)), "::pg_catalog.", name]
    }
}

fn timestamp(value: i64, zone: &str) -> String {
    let (date, era) = date(value.div_euclid(DAY_MICROSECONDS));
    let microseconds = value.rem_euclid(DAY_MICROSECONDS);
    let seconds = microseconds / 1_000_000;
    format!(
        "{date} {:02}:{:02}:{:02}.{:06}{zone}{era}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        microseconds % 1_000_000
    )
}

/// The day so many days after 2000-01-01 in the Gregorian calendar, and ` BC` before the year 1.
///
/// Counted in years that begin in March and in cycles of 400 years, 146,097 days each.
fn date(days: i64) -> (String, &'static str) {
    let days = days + DAYS_TO_EPOCH;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = cycle * 400 + year + later;
    let (year, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_microseconds_are_written_as_the_server_writes_them() {
        let dates = [
            (0, "2000-01-01"),
            (-1, "1999-12-31"),
            (59, "2000-02-29"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (DATES.start, "4714-11-24 BC"),
            (DATES.end - 1, "5874897-12-31"),
            (i64::from(i32::MAX), "infinity"),
            (i64::from(i32::MIN), "-infinity"),
        ];
        for (value, text) in dates {
            assert_eq!(KeyType::Date.text(value), text);
            assert!(KeyType::Date.has(value), "{text}");
        }
        let times = [
            (-1, "1999-12-31 23:59:59.999999"),
            (TIMESTAMPS.start, "4714-11-24 00:00:00.000000 BC"),
            (TIMESTAMPS.end - 1, "294276-12-31 23:59:59.999999"),
            (i64::MIN, "-infinity"),
        ];
        for (value, text) in times {
            assert_eq!(KeyType::Timestamp.text(value), text);
            assert!(KeyType::Timestamp.has(value), "{text}");
        }
        assert_eq!(
            KeyType::Timestamptz.literal(TIMESTAMPS.start).text(),
            "'4714-11-24 00:00:00.000000+00 BC'::pg_catalog.timestamptz"
        );
    }

    #[test]
    fn values_beyond_a_type_are_none_of_its_own() {
        assert!(KeyType::Int2.has(-32_768) && !KeyType::Int2.has(32_768));
        assert!(KeyType::Int4.has(i64::from(i32::MIN)) && !KeyType::Int4.has(1 << 31));
        assert!(!KeyType::Date.has(DATES.end) && !KeyType::Timestamptz.has(TIMESTAMPS.end));
        assert_eq!(
            KeyType::Int8.literal(i64::MIN).text(),
            "'-9223372036854775808'::pg_catalog.int8"
        );
    }
}
