//! A page's data made by hand, for the tests of what is shown and judged.

use jiff::tz::{self, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::{ArchiveFacts, DamagedArchive, GroupData, PageData, TableFacts};
use crate::archive::manifest::{Group, Scope};
use crate::archive::records::{Depth, Drilled, DrilledCheck, Ran, RanStep, RunOutcome};

/// The clock of the samples.
pub(super) fn now() -> Timestamp {
    "2026-11-23T07:30:00Z".parse().unwrap()
}

/// A page without groups.
pub(super) fn empty() -> PageData {
    PageData {
        location: "/var/backups/pg".to_owned(),
        now: now(),
        zone: TimeZone::fixed(tz::offset(1)),
        tool: "pgark 1.2.3".to_owned(),
        repository_problems: Vec::new(),
        missing_jobs: Vec::new(),
        groups: Vec::new(),
        lost: Vec::new(),
        other_drills: Vec::new(),
    }
}

/// A group with an archive every `hours`, the newest five and a half hours old, all verified and well.
pub(super) fn group(database: &str, n: u32, hours: i64) -> GroupData {
    let mut data = GroupData::new(Group {
        system_identifier: "7301234567890123456".to_owned(),
        database: database.to_owned(),
        job: None,
        scope: Scope::Full,
    });
    for i in 0..n {
        let back = SignedDuration::from_hours(i64::from(n - 1 - i) * hours);
        let created = now() - back - SignedDuration::from_mins(330);
        let grown = u64::from(i) * 3_000_000;
        data.archives.push(ArchiveFacts {
            name: format!("shop-{i:05}").parse().unwrap(),
            created,
            duration_ms: 40_000 + u64::from(i * 7919 % 9000),
            n_tables: 98,
            n_rows: 8_222_500 + u64::from(i) * 1000,
            raw_bytes: 9_000_000_000 + grown,
            stored_bytes: 2_200_000_000 + grown / 4,
            new_bytes: 30_000_000 + u64::from(i * 104_729 % 9_000_000),
            verified: Some((created + SignedDuration::from_mins(5), Depth::Bytes)),
        });
    }
    data.tables = ["public.orders", "public.order_lines", "public.customers"]
        .into_iter()
        .zip(1_u64..)
        .map(|(name, i)| TableFacts {
            name: name.to_owned(),
            n_rows: 4_000_000 / i,
            raw_bytes: 5_000_000_000 / i,
        })
        .collect();
    data
}

/// A drill that passed in ten of fifteen minutes, so many days ago.
pub(super) fn drill(name: &str, days: i64) -> Drilled {
    Drilled {
        name: name.parse().unwrap(),
        manifest: crate::archive::digest::Digest::of(b"x"),
        job: None,
        at: now() - SignedDuration::from_hours(24 * days),
        server: "drill.example.com:5432".to_owned(),
        scratch: "pgark_drill_0123456789abcdef".to_owned(),
        server_version: "18.1".to_owned(),
        restore_ms: 600_000,
        total_ms: 700_000,
        rto_ms: Some(900_000),
        phases: Vec::new(),
        n_objects: 400,
        n_tables: 98,
        n_rows: 8_000_000,
        raw_bytes: 9_000_000_000,
        n_compared: 98,
        checks: vec![DrilledCheck {
            name: "orders".to_owned(),
            sql: "SELECT count(*) > 0 FROM orders".to_owned(),
            expect: "t".to_owned(),
            got: "t".to_owned(),
            passed: true,
        }],
        notes: Vec::new(),
        problems: Vec::new(),
    }
}

/// A run of a job that ended so.
pub(super) fn run(outcome: RunOutcome) -> Ran {
    Ran {
        job: "nightly".to_owned(),
        at: now() - SignedDuration::from_mins(330),
        finished: now() - SignedDuration::from_mins(325),
        outcome,
        archives: Vec::new(),
        steps: vec![RanStep {
            step: "replicate cold".to_owned(),
            outcome,
            duration_ms: 1000,
            message: "the bucket refused the write".to_owned(),
        }],
    }
}

/// A page with all that a page can have, problems of every sort among it.
pub(super) fn full() -> PageData {
    let mut page = empty();
    let mut shop = group("shop", 45, 24);
    shop.drills = vec![drill("shop-00044", 20), drill("shop-00003", 110)];
    let mut crm = group("crm", 6, 24);
    crm.group.job = Some("nightly".to_owned());
    crm.runs = vec![run(RunOutcome::Failed), run(RunOutcome::Succeeded)];
    crm.damaged = vec![DamagedArchive {
        name: "crm-20261120T020000Z".parse().unwrap(),
        error: "archive crm-20261120T020000Z: the seal does not fit".to_owned(),
    }];
    crm.drills = vec![Drilled {
        restore_ms: 1_200_000,
        problems: vec!["the restore took 20 min 0 s, longer than 15 min 0 s".to_owned()],
        ..drill("crm-x", 3)
    }];
    if let Some(newest) = crm.archives.last_mut() {
        newest.raw_bytes /= 2;
        newest.verified = None;
    }
    let mut globals = group("", 6, 24);
    globals.group.scope = Scope::Globals;
    globals.tables = Vec::new();
    page.groups = vec![crm, shop, globals];
    page
}
