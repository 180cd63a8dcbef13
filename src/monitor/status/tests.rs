//! The state of jobs over archives and records made by hand, with the clock of the test.

use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::archive::fixture;
use crate::archive::manifest::{ClusterSet, Scope, SetMember, Skipped};
use crate::archive::records::{Depth, Drilled, Ran, RanStep, Verified};
use crate::config::Config;
use crate::store::Store;
use crate::{Error, MemoryStore};

const CONFIG: &str = r#"
timezone = "UTC"
[[repository]]
name = "main"
place = "/main"
[[repository]]
name = "cold"
place = "/cold"
[[job]]
name = "shop"
source = "shop"
repository = "main"
schedule = "0 2 * * *"
rpo = "26h"
[[job.replica]]
repository = "cold"
rpo = "3d"
[job.drill]
every = "90d"
rto = "15min"
"#;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn clock(now: &str) -> Clock {
    Clock {
        now: time(now),
        zone: TimeZone::UTC,
    }
}

async fn repository() -> Repository {
    fixture::repository(Arc::new(MemoryStore::new()) as Arc<dyn Store>).await
}

/// An archive of the job with so many rows, made at two o'clock of day `day` of November.
async fn save(repository: &Repository, day: i64, n_rows: u64) -> ArchiveName {
    let mut manifest = fixture::manifest(repository, &format!("shop-{day:02}"));
    let made = time("2026-11-01T02:00:00Z") + SignedDuration::from_hours(24 * (day - 1));
    manifest.created = made;
    manifest.source.started = made;
    manifest.source.finished = made + SignedDuration::from_mins(4);
    manifest.group.job = Some("shop".to_owned());
    let orders = fixture::Table {
        name: "orders",
        rows: (0..n_rows).map(|i| format!("{i}\torder\t\\N")).collect(),
        cell_rows: None,
    };
    let archive = fixture::dump_as(repository, &[orders], manifest).await;
    archive.unwrap().name().clone()
}

async fn ran(repository: &Repository, day: i64, outcome: RunOutcome, archive: Option<ArchiveName>) {
    let at = time("2026-11-01T02:00:00Z") + SignedDuration::from_hours(24 * (day - 1));
    let step = RanStep {
        step: "dump".to_owned(),
        outcome,
        duration_ms: 1,
        message: "no route to host".to_owned(),
    };
    let told = RanStep {
        step: "notify".to_owned(),
        outcome: RunOutcome::Succeeded,
        duration_ms: 1,
        message: "notify \"ops\": told".to_owned(),
    };
    let ran = Ran {
        job: "shop".to_owned(),
        at,
        finished: at + SignedDuration::from_mins(5),
        outcome,
        archives: archive.into_iter().collect(),
        steps: vec![step, told],
    };
    repository.note_run(&ran).await.unwrap();
}

async fn drilled(repository: &Repository, name: &ArchiveName, at: &str, problem: Option<&str>) {
    let archive = repository.read(name).await.unwrap();
    let drilled = Drilled {
        name: name.clone(),
        manifest: archive.seal(),
        job: Some("shop".to_owned()),
        at: time(at),
        server: "spare:5432".to_owned(),
        scratch: "pgark_drill_0123456789abcdef".to_owned(),
        server_version: "18".to_owned(),
        restore_ms: 60_000,
        total_ms: 90_000,
        rto_ms: Some(900_000),
        phases: Vec::new(),
        n_objects: 1,
        n_tables: 1,
        n_rows: 1,
        raw_bytes: 1,
        n_compared: 1,
        checks: Vec::new(),
        notes: Vec::new(),
        problems: problem.map(str::to_owned).into_iter().collect(),
    };
    repository.note_drill(&drilled).await.unwrap();
}

struct World {
    config: Config,
    opened: Opened,
}

impl World {
    async fn new() -> (World, Repository, Repository) {
        let (main, cold) = (repository().await, repository().await);
        let opened = [("main", &main), ("cold", &cold)]
            .map(|(name, repository)| (name.to_owned(), Ok(repository.clone())));
        let world = World {
            config: Config::parse(CONFIG, "pgark.toml").unwrap(),
            opened: opened.into(),
        };
        (world, main, cold)
    }

    async fn at(&self, now: &str) -> StatusReport {
        let jobs: Vec<&Job> = self.config.jobs.iter().collect();
        status(&jobs, &self.opened, &clock(now), StatusOptions::default()).await
    }
}

fn texts(report: &StatusReport) -> Vec<&str> {
    report
        .problems
        .iter()
        .map(|one| one.text.as_str())
        .collect()
}

#[tokio::test]
async fn a_job_that_keeps_its_promises_is_well() {
    let (world, main, cold) = World::new().await;
    for day in 1..=9 {
        let name = save(&main, day, 100).await;
        ran(&main, day, RunOutcome::Succeeded, Some(name)).await;
        save(&cold, day, 100).await;
    }
    let name: ArchiveName = "shop-09".parse().unwrap();
    let verified = Verified {
        name: name.clone(),
        manifest: main.read(&name).await.unwrap().seal(),
        depth: Depth::Full,
        at: time("2026-11-09T02:04:00Z"),
    };
    main.stamp(&verified).await.unwrap();
    drilled(&main, &name, "2026-11-09T05:00:00Z", None).await;
    let report = world.at("2026-11-10T01:00:00Z").await;
    assert_eq!(texts(&report), Vec::<&str>::new());
    assert!(report.is_well());
    let job = &report.jobs[0];
    let newest = job.newest.as_ref().unwrap();
    assert_eq!((&newest.archive, newest.rows), (&name, 100));
    assert_eq!(newest.duration_ms, 4 * 60_000);
    assert_eq!(job.age_ms, Some(23 * 3_600_000));
    assert_eq!(job.verified, Some(verified.at));
    assert_eq!(job.next_run, Some(time("2026-11-10T02:00:00Z")));
    let outcome = job.last_run.as_ref().map(|run| run.outcome);
    assert_eq!(outcome, Some(RunOutcome::Succeeded));
    assert_eq!(job.n_archives, 9);
    assert_eq!(job.replicas[0].lag_ms, Some(0));
    let drill = job.drill.as_ref().unwrap();
    assert!(drill.last.as_ref().unwrap().passed);
    assert_eq!(drill.due_by, Some(time("2027-02-07T05:00:00Z")));
    // A run that is a little late is not missed yet; one that is later is.
    assert!(world.at("2026-11-10T02:20:00Z").await.is_well());
    let late = world.at("2026-11-10T03:00:00Z").await;
    assert_eq!(
        texts(&late),
        [
            "the newest archive, shop-09, is 1 d 1 h old; 1 run since 2026-11-10 02:00:00 UTC did not begin"
        ]
    );
    assert_eq!(late.problems[0].occasion, Occasion::Absence);
}

#[tokio::test]
async fn broken_promises_are_named() {
    let (world, main, cold) = World::new().await;
    let empty = world.at("2026-11-01T01:00:00Z").await;
    assert_eq!(texts(&empty), ["there is no archive yet"]);

    let name = save(&main, 1, 100).await;
    ran(&main, 1, RunOutcome::Succeeded, Some(name.clone())).await;
    let fresh = world.at("2026-11-01T03:00:00Z").await;
    assert_eq!(
        texts(&fresh),
        [
            "no drill has ever passed: nobody knows whether the archives can be restored",
            "replica cold has no copy",
        ]
    );
    save(&cold, 1, 100).await;
    drilled(&main, &name, "2026-07-01T05:00:00Z", None).await;
    drilled(&main, &name, "2026-11-01T05:00:00Z", Some("it took 20 min")).await;
    ran(&main, 2, RunOutcome::Failed, None).await;
    ran(&main, 3, RunOutcome::Failed, None).await;
    let report = world.at("2026-11-05T01:00:00Z").await;
    assert_eq!(
        texts(&report),
        [
            "the run of 2026-11-03 02:00:00 UTC failed, as 1 run before it did not succeed: dump: no route to host",
            "the newest archive, shop-01, is 3 d 23 h old; it must never be older than 1 d 2 h; 1 run since 2026-11-04 02:00:00 UTC did not begin",
            "the drill of 2026-11-01 05:00:00 UTC failed: it took 20 min",
            "the last drill that passed is 126 d 20 h ago; one must pass every 90 d 0 h",
            "the newest copy in cold is 3 d 23 h old; it must never be older than 3 d 0 h",
        ]
    );
    let told: Vec<bool> = report.problems.iter().map(|one| one.told_by_run).collect();
    assert_eq!(told, [true, false, false, false, false]);
}

#[tokio::test]
async fn an_archive_whose_run_failed_is_no_success_until_it_is_verified() {
    let (world, main, _) = World::new().await;
    save(&main, 1, 100).await;
    let refused = save(&main, 2, 100).await;
    ran(&main, 2, RunOutcome::Failed, Some(refused.clone())).await;
    let newest = |report: &StatusReport| {
        let newest = report.jobs[0].newest.as_ref();
        newest.map(|newest| newest.archive.to_string())
    };
    let before = world.at("2026-11-02T03:00:00Z").await;
    assert_eq!(newest(&before).as_deref(), Some("shop-01"));
    let verified = Verified {
        manifest: main.read(&refused).await.unwrap().seal(),
        name: refused,
        depth: Depth::Bytes,
        at: time("2026-11-02T02:30:00Z"),
    };
    main.stamp(&verified).await.unwrap();
    let after = world.at("2026-11-02T03:00:00Z").await;
    assert_eq!(newest(&after).as_deref(), Some("shop-02"));
}

#[tokio::test]
async fn sizes_that_leave_the_trend_are_named() {
    let (world, main, _) = World::new().await;
    for day in 1..=4 {
        save(&main, day, 1200).await;
    }
    save(&main, 5, 0).await;
    let report = world.at("2026-11-05T03:00:00Z").await;
    let trend = report.problems.iter();
    let trend: Vec<(&str, &str)> = trend
        .filter(|one| one.occasion == Occasion::Trend)
        .map(|one| (one.about.as_str(), one.text.as_str()))
        .collect();
    assert_eq!(trend[0].0, "rows");
    assert_eq!(
        trend[2],
        (
            "table public.orders",
            "shop-05: table public.orders has lost all its 1,200 rows"
        )
    );
    let by_hand = report.problems.iter().all(|one| !one.told_by_run);
    assert!(by_hand);
    let quick = StatusOptions { tables: false };
    let of_groups = status_of_repository(&main, &clock("2026-11-05T03:00:00Z"), quick).await;
    let of_groups = of_groups.unwrap();
    assert_eq!(of_groups.problems.len(), 2, "{:?}", of_groups.problems);
    assert_eq!(
        of_groups.jobs[0].job,
        "shop full by job shop of cluster 7301234567890123456"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_and_damage_too() {
    let (mut world, main, cold) = World::new().await;
    save(&main, 1, 100).await;
    save(&main, 2, 100).await;
    save(&cold, 2, 100).await;
    let key = crate::archive::repository::manifest_key(&"shop-02".parse().unwrap());
    let bytes = main.store().get(&key).await.unwrap().unwrap();
    main.store().delete(&key).await.unwrap();
    let mut bytes = bytes.to_vec();
    bytes[20] ^= 1;
    main.store().put_new(&key, bytes.into()).await.unwrap();
    let report = world.at("2026-11-02T03:00:00Z").await;
    let damage = report.problems.iter();
    let damage: Vec<&str> = damage
        .filter(|one| one.occasion == Occasion::Verify)
        .map(|one| one.about.as_str())
        .collect();
    assert_eq!(damage, ["shop-02"]);
    assert_eq!(report.jobs[0].n_archives, 1);

    // Archives can be read without the repository's own file, and runs cannot go on.
    let key = crate::archive::marker::Marker::key();
    for repository in [&main, &cold] {
        repository.store().delete(&key).await.unwrap();
        let damaged = b"{}".as_slice().into();
        repository.store().put_new(&key, damaged).await.unwrap();
    }
    for (name, repository) in [("main", &main), ("cold", &cold)] {
        let again = Repository::open_for_reading(Arc::clone(repository.store())).await;
        world.opened.insert(name.to_owned(), again);
    }
    let report = world.at("2026-11-02T03:00:00Z").await;
    let of_marker = |about: &str| {
        let mut problems = report.problems.iter();
        problems.any(|one| one.about == about && one.text.contains("pgark.json"))
    };
    assert!(of_marker("repository"), "{:?}", report.problems);
    assert!(of_marker("replica cold"), "{:?}", report.problems);

    let refused = Error::failed("s3://bucket", "access denied", "");
    world.opened.insert("main".to_owned(), Err(refused));
    let refused = Error::failed("s3://cold", "no such host", "");
    world.opened.insert("cold".to_owned(), Err(refused));
    let report = world.at("2026-11-02T03:00:00Z").await;
    assert_eq!(
        texts(&report),
        [
            "repository main cannot be read, so nobody knows whether there are archives: s3://bucket: access denied",
            "replica cold cannot be read: s3://cold: no such host",
        ]
    );
    assert!(!report.jobs[0].readable);
}

/// A set of the job of day `day`: databases with their rows, those that are missing, and the globals that close it.
async fn save_set(repository: &Repository, day: i64, databases: &[(&str, u64)], missing: &[&str]) {
    let made = time("2026-11-01T02:00:00Z") + SignedDuration::from_hours(24 * (day - 1));
    let manifest = |name: &str, database: &str, minutes: i64| {
        let mut manifest = fixture::manifest(repository, name);
        manifest.created = made + SignedDuration::from_mins(minutes);
        manifest.source.started = manifest.created;
        manifest.source.finished = manifest.created + SignedDuration::from_mins(1);
        manifest.group.job = Some("all".to_owned());
        manifest.group.database = database.to_owned();
        manifest
    };
    let mut members = Vec::new();
    for ((database, n_rows), minutes) in databases.iter().zip(0..) {
        let table = fixture::Table {
            name: "orders",
            rows: (0..*n_rows).map(|i| format!("{i}\torder\t\\N")).collect(),
            cell_rows: None,
        };
        let part = manifest(&format!("{database}-{day:02}"), database, minutes);
        let part = fixture::dump_as(repository, &[table], part).await.unwrap();
        members.push(SetMember {
            name: part.name().clone(),
            manifest: part.seal(),
            database: (*database).to_owned(),
        });
    }
    let name = format!("globals-{day:02}");
    let mut last = manifest(&name, "", 9);
    last.group.scope = Scope::Globals;
    last.set = Some(ClusterSet {
        members,
        missing: missing
            .iter()
            .map(|database| Skipped {
                what: format!("database {database}"),
                reason: "no route".to_owned(),
            })
            .collect(),
        ..ClusterSet::named(name)
    });
    fixture::dump_as(repository, &[], last).await.unwrap();
}

#[tokio::test]
async fn of_whole_clusters_only_complete_sets_count_and_each_database_has_its_trend() {
    let text = CONFIG
        .replace(
            "name = \"shop\"\nsource = \"shop\"",
            "name = \"all\"\nsource = \"x\"\nall_databases = true",
        )
        .replace("schedule = \"0 2 * * *\"\n", "");
    let (mut world, main, cold) = World::new().await;
    world.config = Config::parse(&text[..text.find("[job.drill]").unwrap()], "x").unwrap();
    for day in 1..=4 {
        save_set(&main, day, &[("crm", 50), ("shop", 1200)], &[]).await;
    }
    save_set(&cold, 4, &[("crm", 50), ("shop", 1200)], &[]).await;
    let report = world.at("2026-11-04T03:00:00Z").await;
    assert_eq!(texts(&report), Vec::<&str>::new());
    let job = &report.jobs[0];
    let newest = job.newest.as_ref().unwrap();
    assert_eq!(job.n_archives, 4);
    assert_eq!(newest.archive.as_str(), "globals-04");
    assert_eq!((newest.rows, newest.tables), (1250, 2));
    // From the first database to the globals.
    assert_eq!(newest.duration_ms, 10 * 60_000);
    assert_eq!(job.replicas[0].lag_ms, Some(0));

    // A database that lost its rows is named; the other one's trend is its own.
    save_set(&main, 5, &[("crm", 50), ("shop", 0)], &[]).await;
    let report = world.at("2026-11-05T03:00:00Z").await;
    let about: Vec<&str> = report
        .problems
        .iter()
        .map(|one| one.about.as_str())
        .collect();
    assert_eq!(
        about,
        [
            "rows of database shop",
            "raw bytes of database shop",
            "table public.orders of database shop"
        ]
    );
    assert_eq!(
        texts(&report)[2],
        "globals-05: database shop: table public.orders has lost all its 1,200 rows"
    );
    // A set without one of its databases is no success.
    save_set(&main, 6, &[("crm", 50)], &["shop"]).await;
    let report = world.at("2026-11-06T12:00:00Z").await;
    let newest = report.jobs[0].newest.as_ref().unwrap();
    assert_eq!(newest.archive.as_str(), "globals-05");
    assert_eq!(report.problems[0].occasion, Occasion::Absence);
    // Without a configuration each database tells its own, once.
    let noon = clock("2026-11-06T12:00:00Z");
    let of_groups = status_of_repository(&main, &noon, StatusOptions::default()).await;
    let of_groups = of_groups.unwrap();
    assert_eq!(of_groups.jobs.len(), 3);
    assert_eq!(of_groups.problems.len(), 3, "{:?}", of_groups.problems);
}
