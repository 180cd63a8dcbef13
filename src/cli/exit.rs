//! Exit codes. They are API, listed in `docs/exit-codes.md`, and never reused.

use crate::error::Error;

/// Work that ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it was done.
    Done,
    /// It went to its end, but some objects failed, were skipped or could not be written.
    Incomplete,
    /// It went to its end, and what was asked for is not there, at none of several places; the report says why.
    Failed,
    /// A verification found damage.
    Damaged,
    /// The doctor, or a check of the configuration, found what stands in the way.
    Problems,
    /// A drill did not pass.
    NotPassed,
    /// A comparison found differences.
    Different,
    /// Jobs ended, and the worst of them with this code.
    OfJobs(u8),
}

impl Outcome {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Incomplete => 3,
            Outcome::Damaged => 11,
            Outcome::Problems => 15,
            Outcome::NotPassed => 16,
            Outcome::Different => 17,
            Outcome::OfJobs(code) => code,
        }
    }
}

/// The exit code of a failure. The match is exhaustive, so that a new kind of error gets its code on purpose.
pub(crate) fn code_of(error: &Error) -> u8 {
    match error {
        Error::Sql { .. }
        | Error::Store { .. }
        | Error::Refused { .. }
        | Error::Unreadable { .. }
        | Error::Failed { .. } => 1,
        Error::Usage(_) => 2,
        Error::NotFound { .. } => 10,
        Error::Corrupt { .. } => 11,
        Error::Feature { .. } => 12,
        Error::Connect { .. } => 13,
        Error::Busy { .. } => 14,
        Error::Key { .. } => 18,
        Error::Cancelled => 130,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors() -> Vec<Error> {
        let text = || "x".to_owned();
        vec![
            Error::failed("a", "b", "c"),
            Error::Refused {
                what: text(),
                findings: Vec::new(),
            },
            Error::Store {
                key: text(),
                action: "get",
                tries: 1,
                source: "gone".into(),
            },
            Error::Usage(text()),
            Error::NotFound {
                what: text(),
                remedy: text(),
            },
            Error::corrupt("a", "b", "c"),
            Error::Feature {
                what: text(),
                feature: text(),
            },
            Error::Connect {
                target: text(),
                problem: text(),
                remedy: text(),
                source: None,
            },
            Error::Busy {
                what: text(),
                remedy: text(),
            },
            Error::Key {
                what: text(),
                remedy: text(),
            },
            Error::Cancelled,
        ]
    }

    #[test]
    fn codes_are_those_of_the_document() {
        let document = include_str!("../../docs/exit-codes.md");
        let listed: Vec<u8> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
            .collect();
        let outcomes = [
            Outcome::Done,
            Outcome::Incomplete,
            Outcome::Failed,
            Outcome::Damaged,
            Outcome::Problems,
            Outcome::NotPassed,
            Outcome::Different,
        ];
        let mut used: Vec<u8> = errors().iter().map(code_of).collect();
        used.extend(outcomes.map(Outcome::exit_code));
        used.sort_unstable();
        used.dedup();
        assert_eq!(used, listed);
    }

    #[test]
    fn codes_never_change() {
        let codes: Vec<u8> = errors().iter().map(code_of).collect();
        assert_eq!(codes, [1, 1, 1, 2, 10, 11, 12, 13, 14, 18, 130]);
        assert_eq!(Outcome::Done.exit_code(), 0);
        assert_eq!(Outcome::Incomplete.exit_code(), 3);
        assert_eq!(Outcome::Failed.exit_code(), 1);
        assert_eq!(Outcome::Damaged.exit_code(), 11);
        assert_eq!(Outcome::Problems.exit_code(), 15);
        assert_eq!(Outcome::NotPassed.exit_code(), 16);
        assert_eq!(Outcome::Different.exit_code(), 17);
    }
}
