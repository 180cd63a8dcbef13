//! Numbers for people: bytes, counts, durations, times. Knows nothing of where they are shown.

use std::time::Duration;

use jiff::Timestamp;

const BYTE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const COUNT_UNITS: [&str; 5] = ["", " K", " M", " G", " T"];

/// `1.0 GiB`, `310 MiB`, `17 B`.
pub fn bytes(n: u64) -> String {
    let (text, unit) = scaled(n, 1024.0, BYTE_UNITS.len());
    format!("{text} {}", BYTE_UNITS[unit])
}

/// `1.2 M`, `9,999`: exact up to five digits.
pub fn count(n: u64) -> String {
    if n < 100_000 {
        return exact(n);
    }
    let (text, unit) = scaled(n, 1000.0, COUNT_UNITS.len());
    format!("{text}{}", COUNT_UNITS[unit])
}

/// `1,234,567`.
pub fn exact(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 table`, `42 tables`; the plural takes an s.
pub fn things(n: u64, one: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(n))
}

/// One decimal below ten, none above; never `1024 MiB`.
fn scaled(n: u64, base: f64, n_units: usize) -> (String, usize) {
    if (n as f64) < base {
        return (n.to_string(), 0);
    }
    let mut value = n as f64;
    let mut unit = 0;
    while value >= base - 0.5 && unit + 1 < n_units {
        value /= base;
        unit += 1;
    }
    let text = if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    };
    (text, unit)
}

/// `0.4 s`, `12.3 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.as_secs_f64() < 59.95 {
        return format!("{:.1} s", time.as_secs_f64());
    }
    match seconds.max(60) {
        s if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        s if s < 86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `2026-11-22 02:00:00 UTC`.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_or_three_digits() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 * 1024, "10 KiB"),
            (1_048_575, "1.0 MiB"),
            (1024 * 1024 * 1024, "1.0 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn small_counts_are_exact() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (99_999, "99,999"),
            (100_000, "100 K"),
            (999_999, "1.0 M"),
            (1_240_000, "1.2 M"),
        ] {
            assert_eq!(count(n), text);
        }
        assert_eq!(exact(1_234_567), "1,234,567");
        assert_eq!(things(1, "table"), "1 table");
        assert_eq!(things(0, "row"), "0 rows");
    }

    #[test]
    fn durations_change_their_unit() {
        for (ms, text) in [
            (0, "0.0 s"),
            (12_340, "12.3 s"),
            (59_940, "59.9 s"),
            (59_990, "1 min 0 s"),
            (125_000, "2 min 5 s"),
            (12_000_000, "3 h 20 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
