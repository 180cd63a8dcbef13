//! When a job runs: five cron fields, and the arithmetic on them in a time zone. How other programs write the same is `jobs::timetable`'s.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A schedule of five fields: minute, hour, day of month, month, day of week.
///
/// On days when the clock is changed: a fixed time that is left out happens right after the gap, and one that comes twice happens the first
/// time; what runs every so often goes by the time that passes.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    text: String,
    cron: croner::Cron,
}

/// Times that a schedule had and at which nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The oldest of them.
    pub since: Timestamp,
    /// How many; [`Missed::COUNTED_MAX`] means as many or more.
    pub n_runs: u32,
}

impl Missed {
    /// Beyond this many runs nobody counts.
    pub const COUNTED_MAX: u32 = 1000;
}

impl Schedule {
    /// Reads five fields. The text of an error says how they are written.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let n_fields = text.split_whitespace().count();
        if n_fields != 5 {
            return Err(format!(
                "{text:?} has not five fields: minute, hour, day of month, month, day of week, such as 0 2 * * * for two o'clock each night"
            ));
        }
        let cron = text
            .parse()
            .map_err(|problem: croner::errors::CronError| format!("{text:?}: {problem}"))?;
        let schedule = Schedule {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            cron,
        };
        // Any moment does: what never happens after one happens after none.
        if schedule
            .next_after(Timestamp::UNIX_EPOCH, &TimeZone::UTC)
            .is_none()
        {
            return Err(format!("{text:?} never comes: there is no such day"));
        }
        Ok(schedule)
    }

    /// The five fields, a space between each two.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first time after `moment`, on the clock of `zone`.
    pub fn next_after(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let moment = moment.to_zoned(zone.clone());
        let next = self.cron.find_next_occurrence(&moment, false).ok()?;
        Some(next.timestamp())
    }

    /// The last time before `moment`, on the clock of `zone`.
    pub fn previous_before(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let moment = moment.to_zoned(zone.clone());
        let previous = self.cron.find_previous_occurrence(&moment, false).ok()?;
        Some(previous.timestamp())
    }

    /// The times after `last_run` and not after `now`; `None` if there were none. A run begins a little
    /// after its time, so the time that `last_run` answered is the one before it.
    pub fn missed(&self, zone: &TimeZone, last_run: Timestamp, now: Timestamp) -> Option<Missed> {
        let due = |after| self.next_after(after, zone).filter(|next| *next <= now);
        let since = due(last_run)?;
        let (mut last, mut n_runs) = (since, 1);
        while n_runs < Missed::COUNTED_MAX
            && let Some(next) = due(last)
        {
            (last, n_runs) = (next, n_runs + 1);
        }
        Some(Missed { since, n_runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn two_at_night_is_two_at_night_in_summer_and_in_winter() {
        let nightly = Schedule::parse("0 2 * * *").unwrap();
        for (after, next) in [
            ("2026-01-15T00:59:59Z", "2026-01-15T01:00:00Z"),
            ("2026-01-15T01:00:00Z", "2026-01-16T01:00:00Z"),
            ("2026-07-15T12:00:00Z", "2026-07-16T00:00:00Z"),
            // The clock is put forward at two: the run comes at three of the summer's time.
            ("2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            ("2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"),
            // It is put back at three: two o'clock comes twice, and one run is enough.
            ("2026-10-24T12:00:00Z", "2026-10-25T00:00:00Z"),
            ("2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"),
        ] {
            assert_eq!(
                nightly.next_after(at(after), &berlin()),
                Some(at(next)),
                "{after}"
            );
            let end = at(next) + jiff::SignedDuration::from_secs(1);
            assert_eq!(
                nightly.previous_before(end, &berlin()),
                Some(at(next)),
                "{next}"
            );
        }
    }

    #[test]
    fn every_night_of_a_year_has_one_run() {
        for zone in [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
        ] {
            let zone = TimeZone::get(zone).unwrap();
            for text in ["0 2 * * *", "30 2 * * *", "59 1 * * *"] {
                let schedule = Schedule::parse(text).unwrap();
                let mut moment = at("2026-01-01T12:00:00Z");
                let mut days = std::collections::BTreeSet::new();
                for _ in 0..365 {
                    moment = schedule.next_after(moment, &zone).unwrap();
                    days.insert(moment.to_zoned(zone.clone()).date());
                }
                assert_eq!(days.len(), 365, "{text} in {zone:?}");
                assert!(
                    moment < at("2027-01-02T12:00:00Z"),
                    "{text} in {zone:?}: {moment}"
                );
            }
        }
    }

    #[test]
    fn missed_runs_are_counted_from_the_last_one() {
        let nightly = Schedule::parse("0 2 * * *").unwrap();
        let missed = |last, now| nightly.missed(&TimeZone::UTC, at(last), at(now));
        assert_eq!(missed("2026-11-20T02:00:07Z", "2026-11-21T01:59:59Z"), None);
        let two = missed("2026-11-20T02:00:07Z", "2026-11-22T13:00:00Z").unwrap();
        assert_eq!((two.since, two.n_runs), (at("2026-11-21T02:00:00Z"), 2));
        // A clock that went back: the last run is in the future, and nothing is missed.
        assert_eq!(missed("2026-11-25T02:00:07Z", "2026-11-22T13:00:00Z"), None);
        let many = missed("1990-01-01T00:00:00Z", "2026-11-22T13:00:00Z").unwrap();
        assert_eq!(many.n_runs, Missed::COUNTED_MAX);
    }

    #[test]
    fn what_is_no_schedule_is_said() {
        for (text, part) in [
            ("0 2 * *", "has not five fields"),
            ("0 2 * * * *", "has not five fields"),
            ("@daily", "has not five fields"),
            ("60 2 * * *", "60 2 * * *"),
            ("0 2 30 2 *", "never comes"),
        ] {
            let problem = Schedule::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
        assert_eq!(
            Schedule::parse(" 0  2 * * 1-5 ").unwrap().as_str(),
            "0 2 * * 1-5"
        );
    }
}
