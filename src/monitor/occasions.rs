//! On which occasions a finished run tells. Pure.

use crate::archive::records::{Ran, RunOutcome};
use crate::config::Occasion;

/// What is known of a run besides its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Besides {
    /// Its archive left the trend of its size or its number of rows.
    pub left_trend: bool,
}

/// Why somebody is told of the run `this`, gravest first. `previous` is the job's run before it.
///
/// A step tells by its name: `verify`, `drill`, and `replicate` with the replica's name behind it.
pub fn occasions(previous: Option<&Ran>, this: &Ran, besides: Besides) -> Vec<Occasion> {
    let went_wrong = |word: &str| {
        let mut steps = this.steps.iter();
        steps.any(|step| {
            step.outcome != RunOutcome::Succeeded && step.step.split(' ').next() == Some(word)
        })
    };
    let succeeded = this.outcome == RunOutcome::Succeeded;
    let failed_before = previous.is_some_and(|ran| ran.outcome != RunOutcome::Succeeded);
    let all = [
        (Occasion::Failure, !succeeded),
        (Occasion::Verify, went_wrong("verify")),
        (Occasion::Drill, went_wrong("drill")),
        (Occasion::Replica, went_wrong("replicate")),
        (Occasion::Trend, besides.left_trend),
        (Occasion::Recovery, succeeded && failed_before),
        (Occasion::Success, succeeded),
    ];
    let true_ones = all.into_iter().filter(|(_, holds)| *holds);
    true_ones.map(|(occasion, _)| occasion).collect()
}

#[cfg(test)]
mod tests {
    use Occasion::{Drill, Failure, Recovery, Replica, Success, Trend, Verify};
    use RunOutcome::{Failed, Incomplete, Succeeded};

    use super::*;
    use crate::archive::records::RanStep;

    type Steps = &'static [(&'static str, RunOutcome)];
    /// The run before, this one with its steps, whether it left the trend, and what is told.
    type Case = (
        Option<RunOutcome>,
        RunOutcome,
        Steps,
        bool,
        &'static [Occasion],
    );

    fn ran(outcome: RunOutcome, steps: &[(&str, RunOutcome)]) -> Ran {
        let at = "2026-11-22T02:00:00Z".parse().unwrap();
        let step = |(step, outcome): &(&str, RunOutcome)| RanStep {
            step: (*step).to_owned(),
            outcome: *outcome,
            duration_ms: 1,
            message: String::new(),
        };
        Ran {
            job: "shop".to_owned(),
            at,
            finished: at,
            outcome,
            archives: Vec::new(),
            steps: steps.iter().map(step).collect(),
        }
    }

    #[test]
    fn each_end_of_a_run_has_its_occasions() {
        let well: Steps = &[("dump", Succeeded), ("verify", Succeeded)];
        let table: &[Case] = &[
            (None, Succeeded, well, false, &[Success]),
            (Some(Succeeded), Succeeded, well, false, &[Success]),
            (Some(Failed), Succeeded, well, false, &[Recovery, Success]),
            (
                Some(Incomplete),
                Succeeded,
                well,
                false,
                &[Recovery, Success],
            ),
            (Some(Succeeded), Succeeded, well, true, &[Trend, Success]),
            (None, Failed, &[("dump", Failed)], false, &[Failure]),
            (Some(Failed), Failed, &[("hook", Failed)], false, &[Failure]),
            (
                Some(Succeeded),
                Failed,
                &[("dump", Succeeded), ("verify", Failed)],
                true,
                &[Failure, Verify, Trend],
            ),
            (
                Some(Succeeded),
                Incomplete,
                &[("replicate near", Succeeded), ("replicate cold", Failed)],
                false,
                &[Failure, Replica],
            ),
            (
                None,
                Incomplete,
                &[("drill", Failed)],
                false,
                &[Failure, Drill],
            ),
            // A hook may be called like a step; only whole words count.
            (None, Failed, &[("verifying", Failed)], false, &[Failure]),
        ];
        for (previous, outcome, steps, left_trend, expected) in table {
            let previous = previous.map(|outcome| ran(outcome, &[]));
            let this = ran(*outcome, steps);
            let besides = Besides {
                left_trend: *left_trend,
            };
            let found = occasions(previous.as_ref(), &this, besides);
            assert_eq!(found, *expected, "{previous:?} then {outcome:?} {steps:?}");
        }
    }
}
