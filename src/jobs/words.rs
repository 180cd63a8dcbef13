//! A job in words: what a run of it would do, step by step. Pure.

use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Command, Config, Job, Keep, Schedule, VerifyDepth};

/// What a run of a job would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobPlan {
    /// The job.
    pub job: String,
    /// Its steps in words, in order.
    pub steps: Vec<PlannedStep>,
    /// When it runs next, if it has a schedule.
    pub next: Option<Timestamp>,
}

/// A step that a run would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// As a run's report names it.
    pub step: String,
    /// What it would do.
    pub does: String,
}

/// What a run of `job` would do, and when the next one is due after `now`.
pub fn plan(config: &Config, job: &Job, now: Timestamp) -> JobPlan {
    let mut steps = Vec::new();
    let mut add = |step: &str, does: String| {
        steps.push(PlannedStep {
            step: step.to_owned(),
            does,
        });
    };
    for command in &job.hooks.before {
        add("hook before", command_line(command));
    }
    add("dump", dumped(config, job));
    add("verify", proved(job.verify).to_owned());
    if !job.keep.is_everything() {
        add("prune", kept(&job.keep));
    }
    for replica in &job.replicas {
        let mut does = format!("copy to {}", named_place(config, &replica.repository));
        if !replica.only.is_everything() {
            does = format!("{does} what these rules choose: {}", rules(&replica.only));
        }
        if !replica.keep.is_everything() {
            does = format!("{does}; {}", kept(&replica.keep));
        }
        add(&format!("replicate {}", replica.repository), does);
    }
    if !job.notify.is_empty() {
        add("notify", format!("tell {}", job.notify.join(", ")));
    }
    for command in &job.hooks.after {
        add("hook after", command_line(command));
    }
    let schedule = job.schedule.as_deref();
    let schedule = schedule.and_then(|text| Schedule::parse(text).ok());
    JobPlan {
        job: job.name.clone(),
        steps,
        next: schedule.and_then(|schedule| schedule.next_after(now, &config.zone())),
    }
}

fn dumped(config: &Config, job: &Job) -> String {
    let what = if job.all_databases {
        "every database of the cluster at"
    } else if job.select == crate::config::Tables::default() {
        "all of"
    } else {
        "chosen objects of"
    };
    let place = named_place(config, &job.repository);
    format!("{what} {} into {place}", job.source)
}

fn proved(depth: VerifyDepth) -> &'static str {
    match depth {
        VerifyDepth::Bytes => "hash every stored byte of the new archive again",
        VerifyDepth::Full => "hash, decode and count every stored byte of the new archive",
    }
}

fn kept(keep: &Keep) -> String {
    format!(
        "remove archives of this job that no rule keeps: {}",
        rules(keep)
    )
}

fn rules(keep: &Keep) -> String {
    let counts = keep.counts().into_iter();
    let mut rules: Vec<String> = counts
        .filter_map(|(rule, n)| Some(format!("{rule} {}", n?)))
        .collect();
    rules.extend(keep.within.map(|period| format!("within {period}")));
    rules.extend(keep.tags.iter().map(|tag| format!("tag {tag}")));
    rules.extend(keep.min.map(|min| format!("never fewer than {min}")));
    rules.join(", ")
}

fn named_place(config: &Config, name: &str) -> String {
    let place = config.repository(name);
    place.map_or_else(
        || name.to_owned(),
        |place| format!("{name} ({})", place.place),
    )
}

/// The words of a command, quoted where a word would not be seen to be one.
fn command_line(command: &Command) -> String {
    let plain = |word: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-=:@%+,".contains(&b);
        !word.is_empty() && word.bytes().all(is_plain)
    };
    let words = command.0.iter().map(|word| {
        if plain(word) {
            word.clone()
        } else {
            format!("{word:?}")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
