//! From one major to another: everything to a newer one; to an older one what it can hold, with all rows, and a report
//! before the first change that names each thing that is lost or left out.

use std::path::Path;
use std::sync::{Arc, Mutex};

use pgark::archive::Archive;
use pgark::dump::DumpOptions;
use pgark::progress::{Event, Progress};
use pgark::restore::{Check, RestoreOptions, RestoreReport, restore};

use crate::kind_matrix::load_all_kinds;
use crate::round_trip::{dump_to_memory, settings};
use crate::support::compare::{CompareOptions, Excuse, report};
use crate::support::pair::{Pair, snapshot};
use crate::support::{Database, Major};

/// Keeps what is told before the first change.
#[derive(Debug, Default)]
struct Foretold {
    told: Mutex<Vec<String>>,
    begun: Mutex<bool>,
}

impl Progress for Foretold {
    fn event(&self, event: Event) {
        match event {
            Event::Phase { name, .. } if name == "definitions" => {
                *self.begun.lock().unwrap() = true
            }
            Event::Warning(text) if !*self.begun.lock().unwrap() => {
                self.told.lock().unwrap().push(text)
            }
            _ => {}
        }
    }
}

/// The same database in two majors.
struct Crossing {
    pair: Pair,
    source: Database,
    target: Database,
    archive: Archive,
}

impl Crossing {
    async fn prepare(from: u16, to: u16) -> Crossing {
        let major = |number: u16| number.to_string().parse::<Major>().unwrap();
        let pair = Pair::across(major(from), major(to));
        let source = pair.source.create_database("source");
        load_all_kinds(&source);
        let target = pair.target.create_database("target");
        pair.copy_globals(&source, &target);
        let options = DumpOptions {
            jobs: 4,
            ..DumpOptions::default()
        };
        let archive = dump_to_memory(&settings(&source.conninfo()), &options)
            .await
            .unwrap();
        Crossing {
            pair,
            source,
            target,
            archive,
        }
    }

    /// What the restore says, and what it said before the first change.
    async fn restore(&self, skip_unsupported: bool) -> (pgark::Result<RestoreReport>, Vec<String>) {
        let options = RestoreOptions {
            jobs: 4,
            check: Check::Content,
            skip_unsupported,
            ..RestoreOptions::default()
        };
        let foretold = Arc::new(Foretold::default());
        let target = settings(&self.target.conninfo());
        let outcome = restore(
            &self.archive,
            &target,
            &options,
            Arc::<Foretold>::clone(&foretold),
        )
        .await;
        let told = std::mem::take(&mut *foretold.told.lock().unwrap());
        (outcome, told)
    }

    async fn differences(&self, excuses: &[(&str, &'static str)]) -> String {
        let options = CompareOptions {
            cross_version: true,
            excuse: excuses
                .iter()
                .map(|(pattern, reason)| Excuse::new(pattern, reason))
                .collect(),
            ..CompareOptions::default()
        };
        let left = snapshot(&self.source, &options).await;
        let right = snapshot(&self.target, &options).await;
        report(&left.differences(&right, &options))
    }
}

fn installed(majors: &[u16]) -> bool {
    let there = crate::support::matrix();
    let all = majors
        .iter()
        .all(|wanted| there.iter().any(|major| major.number() == *wanted));
    if !all {
        println!("left out: not all of {majors:?} are asked for");
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe() {
    for (from, to) in [(12, 18), (14, 17), (15, 18), (18, 15), (18, 12)] {
        if !installed(&[from, to]) {
            continue;
        }
        let crossing = Crossing::prepare(from, to).await;
        let (outcome, told) = crossing.restore(false).await;
        println!(
            "##### {from} -> {to} without: {told:#?} {:#?}",
            outcome
                .as_ref()
                .map(|r| (&r.failed, &r.skipped, &r.lost))
                .map_err(|e| format!("{e}"))
        );
        if outcome.is_err() {
            let (outcome, told) = crossing.restore(true).await;
            println!(
                "##### {from} -> {to} with: {told:#?} {:#?}",
                outcome
                    .as_ref()
                    .map(|r| (&r.failed, &r.skipped, &r.lost, &r.checked))
                    .map_err(|e| format!("{e}"))
            );
        }
        println!("{}", crossing.differences(&[]).await);
    }
}
