//! Judges what a restore reports, as sentences for the record: pure.

use std::time::Duration;

use crate::restore::RestoreReport;

/// Objects of one sort that a record names; the rest is counted.
const NAMED_MAX: usize = 20;

/// What a restore was worth.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Tables that were compared.
    pub(super) n_compared: u64,
    pub(super) notes: Vec<String>,
    pub(super) problems: Vec<String>,
}

impl Verdict {
    /// Everything that did not come back as it was archived is a problem; what the server's version cannot have, and what
    /// the restore warns of, are notes.
    pub(super) fn of(report: &RestoreReport) -> Verdict {
        let mut verdict = Verdict::default();
        let problems = &mut verdict.problems;
        few(problems, &report.failed, "failures", |one| {
            format!("{} was not restored: {}", one.object, one.message)
        });
        few(
            problems,
            &report.skipped,
            "objects that were not restored",
            |one| format!("{} was not restored: {}", one.object, one.reason),
        );
        few(
            problems,
            &report.forbidden,
            "things that are forbidden",
            |one| format!("{}: {} is forbidden: {}", one.object, one.part, one.reason),
        );
        few(
            problems,
            &report.left_out,
            "tables without some rows",
            |one| format!("{}: {} rows were left out", one.object, one.n_rows),
        );
        match &report.checked {
            None => problems.push("the contents were not compared".to_owned()),
            Some(checked) => {
                verdict.n_compared = checked.n_tables;
                few(problems, &checked.different, "tables that differ", |one| {
                    format!(
                        "{} differs: archived {}, restored {}",
                        one.object, one.archived, one.restored
                    )
                });
                few(
                    problems,
                    &checked.not_compared,
                    "tables that were not compared",
                    |one| format!("{} was not compared: {}", one.object, one.reason),
                );
            }
        }
        few(&mut verdict.notes, &report.lost, "losses", |one| {
            format!("{} is not as before: {}", one.object, one.what)
        });
        few(
            &mut verdict.notes,
            &report.warnings,
            "warnings",
            String::clone,
        );
        verdict
    }
}

fn few<T>(into: &mut Vec<String>, all: &[T], what: &str, say: impl Fn(&T) -> String) {
    into.extend(all.iter().take(NAMED_MAX).map(say));
    if all.len() > NAMED_MAX {
        into.push(format!("and {} more {what}", all.len() - NAMED_MAX));
    }
}

/// What is wrong with the time that a restore took, if anything.
pub(super) fn lateness(took: Duration, rto: Option<Duration>) -> Option<String> {
    let rto = rto.filter(|rto| took > *rto)?;
    Some(format!(
        "the restore took {:.1} s, longer than the recovery time objective of {:.1} s",
        took.as_secs_f64(),
        rto.as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::{Checked, Difference, Loss, Skip};

    fn skip(n: usize) -> Skip {
        Skip {
            object: format!("view v{n}"),
            reason: "needs t".to_owned(),
        }
    }

    #[test]
    fn what_did_not_come_back_is_a_problem_and_what_cannot_be_there_a_note() {
        let mut report = RestoreReport {
            checked: Some(Checked {
                n_tables: 3,
                ..Checked::default()
            }),
            ..RestoreReport::default()
        };
        report.lost.push(Loss {
            object: "table t".into(),
            what: "compression".into(),
        });
        let verdict = Verdict::of(&report);
        assert_eq!((verdict.n_compared, verdict.problems.len()), (3, 0));
        assert_eq!(verdict.notes, ["table t is not as before: compression"]);
        report.skipped = (0..25).map(skip).collect();
        report.checked.as_mut().unwrap().different.push(Difference {
            object: "table data t".into(),
            archived: "a".into(),
            restored: "b".into(),
        });
        let problems = Verdict::of(&report).problems;
        assert_eq!(problems.len(), 22);
        assert_eq!(problems[0], "view v0 was not restored: needs t");
        assert_eq!(problems[20], "and 5 more objects that were not restored");
        assert_eq!(problems[21], "table data t differs: archived a, restored b");
        report.checked = None;
        assert!(
            Verdict::of(&report)
                .problems
                .contains(&"the contents were not compared".to_owned())
        );
    }

    #[test]
    fn a_restore_is_late_only_beyond_the_objective() {
        let second = Duration::from_secs(1);
        assert_eq!(lateness(second, None), None);
        assert_eq!(lateness(second, Some(second)), None);
        assert_eq!(
            lateness(second * 61, Some(second * 60)).unwrap(),
            "the restore took 61.0 s, longer than the recovery time objective of 60.0 s"
        );
    }
}
