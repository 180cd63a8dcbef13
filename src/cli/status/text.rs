//! The state of the jobs as people read it: problems first, then a line for each job, or all that is known if there is only one.

use std::time::Duration;

use jiff::Timestamp;

use crate::archive::records::RunOutcome;
use crate::cli::output::columns;
use crate::human;
use crate::monitor::status::{DrillStatus, JobStatus, LastRun, ReplicaStatus, Saved, StatusReport};
use crate::toc::printable;

/// Problems first, then the jobs.
pub(super) fn shown(report: &StatusReport) -> String {
    if report.jobs.is_empty() && report.problems.is_empty() {
        return "there are no archives".to_owned();
    }
    let mut lines = vec![match report.problems.len() as u64 {
        0 => "all is well".to_owned(),
        n => format!("{}:", human::things(n, "problem")),
    }];
    for problem in &report.problems {
        let (job, text) = (printable(&problem.job), printable(&problem.text));
        lines.push(format!("  {job}: {text}"));
        if !problem.remedy.is_empty() {
            lines.push(format!("    {}", problem.remedy));
        }
    }
    match report.jobs.as_slice() {
        [] => {}
        [job] => {
            lines.push(String::new());
            lines.extend(alone(job, report));
        }
        _ => {
            lines.push(String::new());
            lines.push(table(report));
        }
    }
    lines.join("\n")
}

fn table(report: &StatusReport) -> String {
    let head = [
        "JOB", "STATE", "AGE", "RPO", "RAW", "NEW", "LAST RUN", "NEXT RUN", "DRILL", "COPIES",
    ];
    let right = [
        false, false, true, true, true, true, false, false, false, false,
    ];
    let rows: Vec<Vec<String>> = report.jobs.iter().map(|job| row(job, report)).collect();
    columns(&head, &rows, &right)
}

fn row(job: &JobStatus, report: &StatusReport) -> Vec<String> {
    let newest = job.newest.as_ref();
    let of = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        printable(&job.job),
        state(job, report),
        job.age_ms.map_or_else(|| "none".to_owned(), duration_of),
        of(job.rpo_ms.map(duration_of)),
        of(newest.map(|one| human::bytes(one.raw_bytes))),
        of(newest.map(|one| human::bytes(one.new_bytes))),
        of(job.last_run.as_ref().map(|run| run_of(run, report))),
        of(job.next_run.map(|next| ahead(next, report))),
        of(job.drill.as_ref().map(|drill| drill_of(drill, report))),
        of(copies(job)),
    ]
}

/// A line for each thing that is known of the only job.
fn alone(job: &JobStatus, report: &StatusReport) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", printable(&job.job), state(job, report))];
    let mut line = |what: &str, text: String| lines.push(format!("  {what:<11} {text}"));
    line("repository", printable(&job.repository));
    match &job.newest {
        Some(newest) => {
            line("newest", age(newest, job));
            line("contents", contents(newest));
            if job.n_archives > 1 {
                line("archives", human::count(job.n_archives));
            }
        }
        None if job.readable => line("newest", "none".to_owned()),
        None => line("newest", "nobody knows".to_owned()),
    }
    if job.newest.is_some() {
        let verified = job
            .verified
            .map_or_else(|| "never".to_owned(), |at| since(at, report));
        line("verified", verified);
    }
    if let Some(run) = &job.last_run {
        line("last run", run_of(run, report));
    }
    if let Some(next) = job.next_run {
        let time = human::time(next);
        line("next run", format!("{}, {time}", ahead(next, report)));
    }
    if let Some(drill) = &job.drill {
        line("drill", drill_in_full(drill, report));
    }
    for replica in &job.replicas {
        line("copies", copy_of(replica));
    }
    lines
}

fn state(job: &JobStatus, report: &StatusReport) -> String {
    let problems = report.problems.iter().filter(|one| one.job == job.job);
    match problems.count() {
        0 => "ok".to_owned(),
        n => human::things(n as u64, "problem"),
    }
}

fn age(newest: &Saved, job: &JobStatus) -> String {
    let name = printable(newest.archive.as_str());
    let old = duration_of(job.age_ms.unwrap_or(0));
    let limit = job.rpo_ms.map_or_else(String::new, |rpo| {
        format!(" (objective {})", duration_of(rpo))
    });
    format!("{name}, {old} old{limit}")
}

fn contents(newest: &Saved) -> String {
    format!(
        "{}, {}, {} raw, {} stored, {} of them new, in {}",
        human::things(newest.tables, "table"),
        human::things(newest.rows, "row"),
        human::bytes(newest.raw_bytes),
        human::bytes(newest.stored_bytes),
        human::bytes(newest.new_bytes),
        duration_of(newest.duration_ms),
    )
}

fn run_of(run: &LastRun, report: &StatusReport) -> String {
    let word = match run.outcome {
        RunOutcome::Succeeded => "succeeded",
        RunOutcome::Incomplete => "INCOMPLETE",
        RunOutcome::Failed => "FAILED",
    };
    format!("{word} {}", since(run.at, report))
}

fn drill_of(drill: &DrillStatus, report: &StatusReport) -> String {
    match &drill.last {
        Some(last) if last.passed => format!(
            "passed {} in {}",
            since(last.at, report),
            duration_of(last.restore_ms)
        ),
        Some(last) => format!("FAILED {}", since(last.at, report)),
        None => "never".to_owned(),
    }
}

fn drill_in_full(drill: &DrillStatus, report: &StatusReport) -> String {
    let rto = drill.last.as_ref().and_then(|last| last.rto_ms);
    let limit = rto.map_or_else(String::new, |rto| {
        format!(" (objective {})", duration_of(rto))
    });
    let due = drill.due_by.map_or_else(String::new, |due| {
        format!("; one must pass by {}", human::time(due))
    });
    format!("{}{limit}{due}", drill_of(drill, report))
}

/// Each replica with how far it is behind.
fn copies(job: &JobStatus) -> Option<String> {
    let each = job.replicas.iter().map(copy_of);
    let all = each.collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then_some(all)
}

fn copy_of(replica: &ReplicaStatus) -> String {
    let state = match (replica.readable, replica.created, replica.lag_ms) {
        (false, ..) => "not readable".to_owned(),
        (_, None, _) => "none".to_owned(),
        (.., Some(0)) => "newest".to_owned(),
        (.., Some(ms)) => format!("{} behind", duration_of(ms)),
        // Of the source nothing is known to compare with.
        (_, Some(created), None) => format!("of {}", human::time(created)),
    };
    format!("{}: {state}", printable(&replica.replica))
}

fn since(at: Timestamp, report: &StatusReport) -> String {
    format!("{} ago", duration_of(ms_between(at, report.at)))
}

fn ahead(at: Timestamp, report: &StatusReport) -> String {
    format!("in {}", duration_of(ms_between(report.at, at)))
}

/// None if the clock was put back in between.
fn ms_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}

fn duration_of(ms: u64) -> String {
    human::duration(Duration::from_millis(ms))
}
