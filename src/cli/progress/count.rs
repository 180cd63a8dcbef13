//! The arithmetic of progress: what was counted in a phase, and what that means for people.

use std::time::Duration;

use super::super::human;
use crate::progress::Event;

/// Counters of one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) phase: &'static str,
    pub(super) bytes_expected: u64,
    pub(super) tasks_expected: u64,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) stored: u64,
    pub(super) tasks: u64,
    pub(super) last_task: String,
}

impl Count {
    /// Adds an event; true if it began a phase.
    pub(super) fn add(&mut self, event: &Event) -> bool {
        match event {
            Event::Phase { name, bytes, tasks } => {
                *self = Count {
                    phase: name,
                    bytes_expected: *bytes,
                    tasks_expected: *tasks,
                    ..Count::default()
                };
                return true;
            }
            Event::Bytes(n) => self.bytes += n,
            Event::Rows(n) => self.rows += n,
            Event::Stored(n) => self.stored += n,
            Event::Task(name) => {
                self.tasks += 1;
                self.last_task.clone_from(name);
            }
            Event::Warning(_) | Event::Retry { .. } => {}
        }
        false
    }

    /// How much of the phase is done, 0 to 1, where that is known. Estimates may be exceeded; then it is almost done.
    pub(super) fn share(&self) -> Option<f64> {
        let (done, expected) = if self.bytes_expected > 0 {
            (self.bytes, self.bytes_expected)
        } else {
            (self.tasks, self.tasks_expected)
        };
        (expected > 0).then(|| (done as f64 / expected as f64).min(0.99))
    }

    /// True if nothing but steps is left: the indexes of a restore, say.
    fn bytes_are_in(&self) -> bool {
        self.bytes >= self.bytes_expected
    }

    /// Time until the end of the phase at the pace so far. Bytes say nothing of the steps that come after them.
    pub(super) fn remaining(&self, elapsed: Duration) -> Option<Duration> {
        if self.bytes_expected > 0 && self.bytes_are_in() {
            return None;
        }
        let share = self.share().filter(|share| *share > 0.005)?;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * (1.0 - share) / share).ok()
    }

    /// `12 GiB of 40 GiB, 1.2 M rows, 85 MiB/s, 9.1 K rows/s, 5 min 3 s left`
    pub(super) fn text(&self, elapsed: Duration) -> String {
        let mut parts = Vec::new();
        let seconds = elapsed.as_secs_f64().max(0.001);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people, never negative"
        )]
        let pace = |n: u64| (n as f64 / seconds) as u64;
        match (self.bytes, self.bytes_expected) {
            (0, 0) => {}
            (bytes, 0) => parts.push(human::bytes(bytes)),
            (bytes, expected) => {
                // Sizes on the server and bytes of COPY differ: what was expected is never less than what is there.
                let expected = human::bytes(expected.max(bytes));
                parts.push(format!("{} of {expected}", human::bytes(bytes)));
            }
        }
        if self.tasks_expected > 0 && self.bytes_are_in() {
            let expected = human::count(self.tasks_expected.max(self.tasks));
            parts.push(format!("{} of {expected} steps", human::count(self.tasks)));
        }
        if self.rows > 0 {
            parts.push(human::things(self.rows, "row"));
        }
        if self.bytes > 0 {
            parts.push(format!("{}/s", human::bytes(pace(self.bytes))));
        }
        if self.rows > 0 {
            parts.push(format!("{} rows/s", human::count(pace(self.rows))));
        }
        if let Some(left) = self.remaining(elapsed) {
            parts.push(format!("{} left", human::duration(left)));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(bytes: u64, tasks: u64, events: &[Event]) -> Count {
        let mut count = Count::default();
        assert!(count.add(&Event::Phase {
            name: "data",
            bytes,
            tasks
        }));
        for event in events {
            assert!(!count.add(event));
        }
        count
    }

    #[test]
    fn bytes_rows_and_time_left_agree() {
        let mib = 1024 * 1024;
        let events = [
            Event::Bytes(10 * mib),
            Event::Rows(1000),
            Event::Bytes(10 * mib),
            Event::Rows(1000),
        ];
        let count = counted(40 * mib, 3, &events);
        assert_eq!(count.share(), Some(0.5));
        assert_eq!(
            count.text(Duration::from_secs(10)),
            "20 MiB of 40 MiB, 2,000 rows, 2.0 MiB/s, 200 rows/s, 10.0 s left"
        );
    }

    #[test]
    fn an_exceeded_estimate_never_shows_more_than_all() {
        let count = counted(100, 0, &[Event::Bytes(300)]);
        assert_eq!(count.share(), Some(0.99));
        assert!(
            count
                .text(Duration::from_secs(1))
                .starts_with("300 B of 300 B")
        );
    }

    #[test]
    fn when_the_bytes_are_in_the_steps_count() {
        let count = counted(
            100,
            4,
            &[Event::Bytes(100), Event::Task("index a".to_owned())],
        );
        assert_eq!(
            count.text(Duration::from_secs(1)),
            "100 B of 100 B, 1 of 4 steps, 100 B/s"
        );
    }

    #[test]
    fn without_an_estimate_nothing_is_promised() {
        let count = counted(0, 0, &[Event::Bytes(2048)]);
        assert_eq!(count.text(Duration::from_secs(2)), "2.0 KiB, 1.0 KiB/s");
        let count = counted(0, 4, &[Event::Task("index a".to_owned())]);
        assert_eq!(
            count.text(Duration::from_secs(1)),
            "1 of 4 steps, 3.0 s left"
        );
    }

    #[test]
    fn a_phase_begins_from_nothing() {
        let mut count = counted(10, 0, &[Event::Bytes(5)]);
        count.add(&Event::Phase {
            name: "archive",
            bytes: 0,
            tasks: 0,
        });
        assert_eq!(
            count,
            Count {
                phase: "archive",
                ..Count::default()
            }
        );
    }
}
