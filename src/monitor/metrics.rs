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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::status::{DrillStatus, LastDrill, LastRun, Problem, ReplicaStatus, Saved};
    use super::*;

    /// Values by name and labels.
    type Samples = BTreeMap<(String, Vec<(String, String)>), f64>;

    /// Reads the text exposition format as strictly as it is written down: each family once, its HELP, its TYPE, its samples; names,
    /// labels and escapes as they must be; no sample twice; no time stamps, which the textfile collector refuses; a newline at the end.
    fn parsed(text: &str) -> Samples {
        assert!(text.ends_with('\n') && !text.contains("\n\n"), "{text}");
        let mut samples = Samples::new();
        let mut families = BTreeSet::new();
        let mut helped = String::new();
        let mut typed = String::new();
        for line in text.lines() {
            if line == "# EOF" {
                continue;
            }
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                assert!(is_name(name) && !help.is_empty(), "{line}");
                helped = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert_eq!(rest, format!("{helped} gauge"));
                typed.clone_from(&helped);
            } else {
                let (name, labels, value) = sample(line);
                assert_eq!(name, typed, "{line} stands in another family");
                let before = samples.insert((name, labels), value);
                assert_eq!(before, None, "{line} comes twice");
            }
        }
        samples
    }

    fn is_name(name: &str) -> bool {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    }

    fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
        let end = line.find(['{', ' ']).expect(line);
        let (name, mut rest) = line.split_at(end);
        assert!(is_name(name), "{line}");
        let mut labels: Vec<(String, String)> = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (label, after) = rest.split_once("=\"").expect(line);
                assert!(is_name(label), "{line}");
                assert!(labels.iter().all(|(one, _)| one != label), "{line}");
                let (value, after) = unescaped(after);
                labels.push((label.to_owned(), value));
                if let Some(after) = after.strip_prefix(',') {
                    rest = after;
                } else {
                    rest = after.strip_prefix('}').expect(line);
                    break;
                }
            }
        }
        let value = rest.strip_prefix(' ').expect(line);
        // A second word would be a time stamp.
        assert!(!value.contains(' '), "{line}");
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite(), "{line}");
        (name.to_owned(), labels, value)
    }

    /// A label's value up to its quotation mark, and what follows that.
    fn unescaped(text: &str) -> (String, &str) {
        let mut value = String::new();
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return (value, &text[at + 1..]),
                '\\' => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, same @ ('\\' | '"'))) => same,
                    other => panic!("{other:?} is escaped in {text}"),
                }),
                other => value.push(other),
            }
        }
        panic!("{text} does not end");
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A job of which everything is known.
    fn full(job: &str) -> JobStatus {
        JobStatus {
            job: job.to_owned(),
            readable: true,
            n_archives: 7,
            newest: Some(Saved {
                archive: "shop-1".parse().unwrap(),
                created: at("2026-11-22T02:00:00.25Z"),
                duration_ms: 61_500,
                tables: 3,
                rows: 20_000_000_000,
                raw_bytes: 9_007_199_254_740_000,
                stored_bytes: 5,
                new_bytes: 4,
                verified: None,
            }),
            age_ms: Some(1),
            rpo_ms: Some(93_600_000),
            last_run: Some(LastRun {
                at: at("2026-11-22T02:00:00Z"),
                finished: at("2026-11-22T02:05:00Z"),
                outcome: RunOutcome::Incomplete,
                problem: None,
            }),
            next_run: Some(at("2026-11-23T02:00:00Z")),
            missed: None,
            verified: Some(at("2026-11-22T02:04:00Z")),
            drill: Some(DrillStatus {
                last: Some(LastDrill {
                    at: at("2026-11-21T04:00:00Z"),
                    archive: "shop-1".parse().unwrap(),
                    passed: true,
                    restore_ms: 500,
                    rto_ms: Some(900_000),
                }),
                last_passed: Some(at("2026-11-21T04:00:00Z")),
                ..DrillStatus::default()
            }),
            replicas: vec![ReplicaStatus {
                replica: "cold".to_owned(),
                readable: true,
                n_archives: 6,
                newest: None,
                created: Some(at("2026-11-21T02:00:00Z")),
                lag_ms: Some(86_400_000),
                rpo_ms: None,
            }],
            ..JobStatus::default()
        }
    }

    const HOSTILE: &str = "sh\"op\\ \n# TYPE x} ä,";

    fn report() -> StatusReport {
        let problem = |job: &str, occasion, about: &str| Problem {
            job: job.to_owned(),
            occasion,
            about: about.to_owned(),
            text: String::new(),
            remedy: String::new(),
            told_by_run: false,
        };
        StatusReport {
            at: at("2026-11-22T03:00:00Z"),
            problems: vec![
                problem("shop", Occasion::Trend, "rows"),
                problem("shop", Occasion::Trend, "raw bytes"),
                problem("unknown group", Occasion::Verify, "x"),
            ],
            jobs: vec![
                full("shop"),
                full(HOSTILE),
                JobStatus {
                    job: "bare".to_owned(),
                    ..JobStatus::default()
                },
            ],
            compared_tables: true,
        }
    }

    fn of(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        samples.get(&(name.to_owned(), labels.collect())).copied()
    }

    #[test]
    fn the_text_is_what_the_textfile_collector_takes() {
        let samples = parsed(&text(&report()));
        let shop = [("pgark_job", "shop")];
        for (name, expected) in [
            ("pgark_readable", 1.0),
            ("pgark_archives", 7.0),
            ("pgark_last_success_timestamp_seconds", 1_795_312_800.25),
            ("pgark_rpo_seconds", 93_600.0),
            ("pgark_archive_duration_seconds", 61.5),
            ("pgark_archive_rows", 2e10),
            ("pgark_archive_raw_bytes", 9_007_199_254_740_000.0),
            ("pgark_last_run_succeeded", 0.0),
            ("pgark_missed_runs", 0.0),
            ("pgark_last_drill_passed", 1.0),
        ] {
            assert_eq!(of(&samples, name, &shop), Some(expected), "{name}");
            // Names are text, whatever is in them.
            let hostile = [("pgark_job", HOSTILE)];
            assert_eq!(of(&samples, name, &hostile), Some(expected), "{name}");
        }
        let trend = [("pgark_job", "shop"), ("occasion", "trend")];
        assert_eq!(of(&samples, "pgark_problems", &trend), Some(2.0));
        let stray = [("pgark_job", "unknown group"), ("occasion", "verify")];
        assert_eq!(of(&samples, "pgark_problems", &stray), Some(1.0));
        let cold = [("pgark_job", "shop"), ("replica", "cold")];
        assert_eq!(
            of(&samples, "pgark_replica_lag_seconds", &cold),
            Some(86_400.0)
        );
        // Nothing stands for what is not known: an alert must not take 0 for a time or an age.
        let bare: Vec<&str> = samples
            .keys()
            .filter(|(_, labels)| labels[..] == [("pgark_job".to_owned(), "bare".to_owned())])
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(bare, ["pgark_readable"]);
    }

    #[test]
    fn nobody_at_all_is_a_text_too() {
        let nobody = StatusReport {
            problems: Vec::new(),
            jobs: Vec::new(),
            ..report()
        };
        assert_eq!(parsed(&text(&nobody)).len(), 1);
    }

    #[test]
    fn each_metric_that_the_documentation_names_is_there() {
        let samples = parsed(&text(&report()));
        let there: BTreeSet<&str> = samples.keys().map(|(name, _)| name.as_str()).collect();
        let page = include_str!("../../docs/operating.md");
        let (_, section) = page.split_once("### Prometheus").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let words = section.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> = words
            .filter(|word| word.starts_with("pgark_") && *word != "pgark_job")
            .collect();
        assert!(named.len() > 6, "{named:?}");
        let strangers: Vec<_> = named.difference(&there).collect();
        assert_eq!(strangers, Vec::<&&str>::new());
    }
}
