//! The state of the jobs as a text file for Prometheus, as the node exporter's textfile collector takes it.
//!
//! The job's name is the label `pgark_job`, because Prometheus itself has a label `job` and would rename ours.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::status::{JobStatus, StatusReport};
use crate::archive::records::RunOutcome;
use crate::config::Occasion;

/// What a number is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfJob {
    pgark_job: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOccasion {
    pgark_job: String,
    occasion: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReplica {
    pgark_job: String,
    replica: String,
}

type Number = Gauge<f64, AtomicU64>;

/// What is asked of a job's state; `None` leaves the line out.
type Ask = fn(&JobStatus) -> Option<f64>;

const OF_JOBS: &[(&str, &str, Ask)] = &[
    (
        "pgark_readable",
        "1 if the job's repository could be read",
        |job| Some(flag(job.readable)),
    ),
    ("pgark_archives", "Complete archives of the job", |job| {
        job.readable.then_some(job.n_archives as f64)
    }),
    (
        "pgark_last_success_timestamp_seconds",
        "When the newest complete archive was made",
        |job| Some(seconds(job.newest.as_ref()?.created)),
    ),
    (
        "pgark_rpo_seconds",
        "How old the newest archive may be",
        |job| job.rpo_ms.map(of_ms),
    ),
    (
        "pgark_archive_duration_seconds",
        "How long the newest archive took",
        |job| Some(of_ms(job.newest.as_ref()?.duration_ms)),
    ),
    (
        "pgark_archive_tables",
        "Tables in the newest archive",
        |job| Some(job.newest.as_ref()?.tables as f64),
    ),
    ("pgark_archive_rows", "Rows in the newest archive", |job| {
        Some(job.newest.as_ref()?.rows as f64)
    }),
    (
        "pgark_archive_raw_bytes",
        "Raw bytes of the rows in the newest archive",
        |job| Some(job.newest.as_ref()?.raw_bytes as f64),
    ),
    (
        "pgark_archive_stored_bytes",
        "Stored bytes of the newest archive, shared ones included",
        |job| Some(job.newest.as_ref()?.stored_bytes as f64),
    ),
    (
        "pgark_archive_new_bytes",
        "Stored bytes that the newest archive added",
        |job| Some(job.newest.as_ref()?.new_bytes as f64),
    ),
    (
        "pgark_last_verified_timestamp_seconds",
        "When an archive of the job was last found whole",
        |job| job.verified.map(seconds),
    ),
    (
        "pgark_last_run_timestamp_seconds",
        "When the last run ended",
        |job| Some(seconds(job.last_run.as_ref()?.finished)),
    ),
    (
        "pgark_last_run_succeeded",
        "1 if the last run did all that it was asked for",
        |job| {
            Some(flag(
                job.last_run.as_ref()?.outcome == RunOutcome::Succeeded,
            ))
        },
    ),
    (
        "pgark_next_run_timestamp_seconds",
        "When the next run is due",
        |job| job.next_run.map(seconds),
    ),
    (
        "pgark_missed_runs",
        "Runs that were due and did not begin",
        |job| {
            job.next_run
                .map(|_| job.missed.map_or(0.0, |missed| f64::from(missed.n_runs)))
        },
    ),
    (
        "pgark_last_drill_timestamp_seconds",
        "When the last drill began",
        |job| Some(seconds(job.drill.as_ref()?.last.as_ref()?.at)),
    ),
    (
        "pgark_last_drill_passed",
        "1 if the last drill passed",
        |job| Some(flag(job.drill.as_ref()?.last.as_ref()?.passed)),
    ),
    (
        "pgark_last_passed_drill_timestamp_seconds",
        "When the last drill that passed began",
        |job| job.drill.as_ref()?.last_passed.map(seconds),
    ),
    (
        "pgark_drill_restore_seconds",
        "How long the restore of the last drill took",
        |job| Some(of_ms(job.drill.as_ref()?.last.as_ref()?.restore_ms)),
    ),
    (
        "pgark_drill_rto_seconds",
        "How long the restore of the last drill could have taken",
        |job| job.drill.as_ref()?.last.as_ref()?.rto_ms.map(of_ms),
    ),
];

/// The problems that are counted, with or without one.
const COUNTED: [Occasion; 6] = [
    Occasion::Failure,
    Occasion::Absence,
    Occasion::Trend,
    Occasion::Verify,
    Occasion::Drill,
    Occasion::Replica,
];

/// The text of the file.
pub fn text(report: &StatusReport) -> String {
    let mut registry = Registry::default();
    let looked = Number::default();
    looked.set(seconds(report.at));
    registry.register(
        "pgark_status_timestamp_seconds",
        "When pgark looked",
        looked,
    );
    for (name, help, ask) in OF_JOBS {
        let family = Family::<OfJob, Number>::default();
        for job in &report.jobs {
            if let Some(value) = ask(job) {
                let of = OfJob {
                    pgark_job: job.job.clone(),
                };
                family.get_or_create(&of).set(value);
            }
        }
        registry.register(*name, *help, family);
    }
    problems(&mut registry, report);
    replicas(&mut registry, report);
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

fn problems(registry: &mut Registry, report: &StatusReport) {
    let family = Family::<OfOccasion, Number>::default();
    for job in &report.jobs {
        for occasion in COUNTED {
            let of = OfOccasion {
                pgark_job: job.job.clone(),
                occasion: occasion.word(),
            };
            family.get_or_create(&of).set(0.0);
        }
    }
    for problem in &report.problems {
        let of = OfOccasion {
            pgark_job: problem.job.clone(),
            occasion: problem.occasion.word(),
        };
        family.get_or_create(&of).inc();
    }
    registry.register("pgark_problems", "Problems of the job", family);
}

fn replicas(registry: &mut Registry, report: &StatusReport) {
    let newest = Family::<OfReplica, Number>::default();
    let lag = Family::<OfReplica, Number>::default();
    for job in &report.jobs {
        for replica in &job.replicas {
            let of = OfReplica {
                pgark_job: job.job.clone(),
                replica: replica.replica.clone(),
            };
            if let Some(created) = replica.created {
                newest.get_or_create(&of).set(seconds(created));
            }
            if let Some(ms) = replica.lag_ms {
                lag.get_or_create(&of).set(of_ms(ms));
            }
        }
    }
    registry.register(
        "pgark_replica_newest_timestamp_seconds",
        "When the newest copy was made as an archive",
        newest,
    );
    registry.register(
        "pgark_replica_lag_seconds",
        "How much older the newest copy is than the newest archive",
        lag,
    );
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn of_ms(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}
