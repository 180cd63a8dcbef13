//! Drills and runs as lists: when, what became of it, how long it took, what went wrong.

use std::time::Duration;

use super::chart::bar;
use super::html::{Html, put};
use super::shell::time;
use super::{GroupData, PageData};
use crate::archive::records::{Drilled, RunOutcome};
use crate::human;

/// Runs that are listed.
const RUNS_SHOWN: usize = 8;

/// Drills with the verdict about the recovery time.
pub(super) fn drill_table(page: &PageData, drills: &[Drilled], to: &mut Html) {
    let ms = |ms| human::duration(Duration::from_millis(ms));
    to.markup("<ul class=\"drills\">\n");
    for drill in drills {
        let late = drill.rto_ms.is_some_and(|rto| drill.restore_ms > rto);
        to.markup(match (drill.passed(), late) {
            (false, _) => "<li><b class=\"tag alarm\">Failed</b> ",
            (true, true) => "<li><b class=\"tag alarm\">Too slow</b> ",
            (true, false) => "<li><b class=\"tag good\">Passed</b> ",
        });
        time(drill.at, page, to);
        put!(
            to,
            " <span class=\"what\">",
            { &drill.name },
            " on ",
            { &drill.server },
            "</span>"
        );
        let whole = drill.rto_ms.unwrap_or(0).max(drill.restore_ms);
        let class = if late || !drill.passed() {
            "over"
        } else {
            "under"
        };
        if drill.rto_ms.is_some() {
            bar(drill.restore_ms, whole, class, to);
        }
        put!(
            to,
            "<p>In service after <b>",
            { ms(drill.restore_ms) },
            "</b>"
        );
        if let Some(rto) = drill.rto_ms {
            put!(to, ", objective ", { ms(rto) });
        }
        let passed = drill.checks.iter().filter(|check| check.passed).count();
        put!(
            to,
            "; ",
            { human::things(drill.n_rows, "row") },
            ", ",
            { human::things(drill.n_compared, "table") },
            " compared"
        );
        if !drill.checks.is_empty() {
            put!(
                to,
                ", ",
                { passed },
                " of ",
                { human::things(drill.checks.len() as u64, "check") },
                " passed"
            );
        }
        to.markup(".</p>");
        for problem in drill.problems.iter().take(3) {
            put!(to, "<p class=\"wrong\">", { problem }, "</p>");
        }
        to.markup("</li>\n");
    }
    to.markup("</ul>");
}

/// The last runs of the group's job, with what went wrong.
pub(super) fn runs(page: &PageData, data: &GroupData, to: &mut Html) {
    if data.runs.is_empty() {
        return;
    }
    to.markup("<h3>Runs</h3><ul class=\"drills\">\n");
    for run in data.runs.iter().take(RUNS_SHOWN) {
        to.markup(match run.outcome {
            RunOutcome::Succeeded => "<li><b class=\"tag good\">Done</b> ",
            RunOutcome::Incomplete => "<li><b class=\"tag notice\">Incomplete</b> ",
            RunOutcome::Failed => "<li><b class=\"tag alarm\">Failed</b> ",
        });
        time(run.at, page, to);
        let took = super::problems::elapsed(run.at, run.finished);
        put!(
            to,
            " <span class=\"what\">",
            { human::duration(took) },
            "</span>"
        );
        let bad = run
            .steps
            .iter()
            .filter(|step| step.outcome != RunOutcome::Succeeded);
        for step in bad.take(3) {
            put!(
                to,
                "<p class=\"wrong\">",
                { &step.step },
                ": ",
                { &step.message },
                "</p>"
            );
        }
        to.markup("</li>\n");
    }
    to.markup("</ul>");
}
