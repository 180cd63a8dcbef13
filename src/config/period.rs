//! A length of time as people write it: `26h`, `15min`, `30d`, `1h 30m`.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A length of time above zero. A day has 24 hours, a week seven days, a month 30 days, a year 365.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// Reads `26h`; the text of an error says how it is written.
    pub fn parse(text: &str) -> Result<Period, String> {
        let problem =
            || format!("{text:?} is no length of time; write it like 15min, 26h, 30d or 1h 30min");
        let mut total = 0_u64;
        let mut rest = text.trim();
        while !rest.is_empty() {
            let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..n_digits].parse().map_err(|_| problem())?;
            rest = rest[n_digits..].trim_start();
            let n_letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let seconds = seconds_of(&rest[..n_letters]).ok_or_else(problem)?;
            rest = rest[n_letters..].trim_start();
            total = number
                .checked_mul(seconds)
                .and_then(|part| total.checked_add(part))
                .ok_or_else(problem)?;
        }
        // A century: beyond it arithmetic on times would have to be checked everywhere.
        if total == 0 || total > 100 * 365 * 86_400 {
            return Err(problem());
        }
        Ok(Period(Duration::from_secs(total)))
    }

    /// The length.
    pub fn duration(self) -> Duration {
        self.0
    }
}

fn seconds_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        "mo" | "month" | "months" => 30 * 86_400,
        "y" | "year" | "years" => 365 * 86_400,
        _ => return None,
    })
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        let mut first = true;
        for (unit, seconds) in [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)] {
            let n = rest / seconds;
            rest %= seconds;
            if n > 0 {
                let space = if first { "" } else { " " };
                write!(f, "{space}{n}{unit}")?;
                first = false;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Period, String> {
        Period::parse(text)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Period, D::Error> {
        let text = String::deserialize(from)?;
        Period::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_written_as_people_write_them() {
        for (text, seconds, shown) in [
            ("15min", 900, "15min"),
            ("15m", 900, "15min"),
            ("26h", 93_600, "1d 2h"),
            ("1h 30min", 5400, "1h 30min"),
            ("2w", 14 * 86_400, "14d"),
            ("1 year", 365 * 86_400, "365d"),
        ] {
            let period = Period::parse(text).unwrap();
            assert_eq!(period.duration().as_secs(), seconds, "{text}");
            assert_eq!(period.to_string(), shown);
        }
        for wrong in [
            "",
            "0s",
            "5",
            "h",
            "1x",
            "-1h",
            "1.5h",
            "99999999999999999999h",
            "101y",
        ] {
            assert!(Period::parse(wrong).is_err(), "{wrong}");
        }
    }
}
