//! The rules against cases by hand, and a year of runs against a model that is written another way: each archive is asked by itself
//! whether a rule keeps it.

use jiff::civil::Date;
use jiff::tz::Offset;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::archive::manifest::{SetMember, Skipped};
use crate::config::Period;

const CLUSTER: &str = "7301234567890123456";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn group(database: &str, scope: Scope) -> Group {
    Group {
        system_identifier: CLUSTER.into(),
        database: database.into(),
        job: None,
        scope,
    }
}

fn archive(name: &str, created: Timestamp) -> Candidate {
    Candidate {
        name: name.parse().unwrap(),
        group: Some(group("shop", Scope::Full)),
        created: Some(created),
        seal: Some(Digest::of(name.as_bytes())),
        trust: Trust::Verified,
        tags: BTreeMap::new(),
        set: None,
    }
}

/// One archive a day at 02:00 UTC, named by the day.
fn daily(n: i64) -> Vec<Candidate> {
    let first = at("2026-01-01T02:00:00Z");
    (0..n)
        .map(|day| {
            let created = first + SignedDuration::from_hours(24 * day);
            archive(&created.strftime("d%Y-%m-%d").to_string(), created)
        })
        .collect()
}

fn kept(archives: &[Candidate], keep: &Keep) -> Vec<String> {
    let decisions = decide(archives, keep, &TimeZone::UTC, at("2027-06-01T00:00:00Z"));
    let kept = decisions.iter().filter(|one| one.keep);
    kept.map(|one| one.name.to_string()).collect()
}

fn reasons<'a>(decisions: &'a [Decision], name: &str) -> &'a [String] {
    &decisions
        .iter()
        .find(|one| one.name.as_str() == name)
        .unwrap()
        .reasons
}

#[test]
fn each_archive_says_why_it_stays_or_goes() {
    let mut archives = daily(40);
    archives[3].tags = [("reason".into(), "upgrade".into())].into();
    archives[4].tags = [("reason".into(), "other".into())].into();
    let keep = Keep {
        last: Some(3),
        daily: Some(2),
        weekly: Some(2),
        monthly: Some(2),
        yearly: Some(1),
        within: Some(Period::parse("4d").unwrap()),
        tags: vec!["reason=upgrade".into()],
        ..Keep::default()
    };
    let decisions = decide(&archives, &keep, &TimeZone::UTC, at("2026-02-10T00:00:00Z"));
    let newest = [
        "last 3",
        "daily 2026-02-09",
        "weekly 2026-W07",
        "monthly 2026-02",
        "yearly 2026",
        "within 4d",
    ];
    assert_eq!(reasons(&decisions, "d2026-02-09"), newest);
    assert_eq!(
        reasons(&decisions, "d2026-02-08"),
        ["last 3", "daily 2026-02-08", "weekly 2026-W06", "within 4d"]
    );
    assert_eq!(reasons(&decisions, "d2026-02-06"), ["within 4d"]);
    assert_eq!(reasons(&decisions, "d2026-01-31"), ["monthly 2026-01"]);
    assert_eq!(reasons(&decisions, "d2026-01-04"), ["tag reason=upgrade"]);
    let gone =
        "not kept by last 3, daily 2, weekly 2, monthly 2, yearly 1, within 4d, tag reason=upgrade";
    assert_eq!(reasons(&decisions, "d2026-01-05"), [gone]);
    assert_eq!(decisions.iter().filter(|one| one.keep).count(), 6);
}

#[test]
fn without_a_rule_everything_stays_and_the_floor_holds_against_any_rule() {
    let archives = daily(5);
    assert_eq!(kept(&archives, &Keep::default()).len(), 5);
    let no_tag = |min| Keep {
        tags: vec!["none".into()],
        min,
        ..Keep::default()
    };
    assert_eq!(kept(&archives, &no_tag(None)), ["d2026-01-05"]);
    assert_eq!(kept(&archives, &no_tag(Some(3))).len(), 3);
    assert_eq!(kept(&archives, &no_tag(Some(30))).len(), 5);
}

#[test]
fn what_was_never_verified_or_cannot_be_read_neither_counts_nor_goes() {
    let mut archives = daily(6);
    archives[5].trust = Trust::NeverVerified;
    archives[4].trust = Trust::Unreadable("it is torn".into());
    archives[1].trust = Trust::NeverVerified;
    let keep = Keep {
        last: Some(1),
        ..Keep::default()
    };
    let decisions = decide(&archives, &keep, &TimeZone::UTC, at("2026-02-10T00:00:00Z"));
    let kept: Vec<bool> = decisions.iter().map(|one| one.keep).collect();
    assert_eq!(kept, [false, true, false, true, true, true]);
    assert_eq!(
        reasons(&decisions, "d2026-01-06"),
        ["never verified, so it neither counts nor goes: pgark verify d2026-01-06"]
    );
    assert!(reasons(&decisions, "d2026-01-05")[0].contains("it is torn"));
    assert_eq!(reasons(&decisions, "d2026-01-04"), ["last 1"]);
}

#[test]
fn an_archive_from_the_future_evicts_nothing() {
    let mut archives = daily(5);
    archives.push(archive("future", at("2040-01-01T00:00:00Z")));
    let keep = Keep {
        last: Some(1),
        within: Some(Period::parse("2d").unwrap()),
        ..Keep::default()
    };
    let now = at("2026-01-05T03:00:00Z");
    let decisions = decide(&archives, &keep, &TimeZone::UTC, now);
    let kept = |decisions: &[Decision]| decisions.iter().filter(|one| one.keep).count();
    assert_eq!(kept(&decisions), 3);
    assert!(reasons(&decisions, "future")[0].contains("by a clock that is wrong"));
    // A pruner whose own clock is far behind removes nothing at all.
    let decisions = decide(&archives, &keep, &TimeZone::UTC, at("1970-01-02T00:00:00Z"));
    assert_eq!(kept(&decisions), 6);
}

#[test]
fn days_begin_in_the_given_zone_and_an_hour_that_comes_twice_is_two() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    // The clocks go from 03:00 back to 02:00 at 01:00 UTC.
    let archives: Vec<Candidate> = [
        "2026-10-24T22:30:00Z",
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
    ]
    .iter()
    .zip(["a", "b", "c"])
    .map(|(created, name)| archive(name, at(created)))
    .collect();
    let rule = |hourly, daily| Keep {
        hourly,
        daily,
        ..Keep::default()
    };
    let now = at("2026-10-26T00:00:00Z");
    let decisions = decide(&archives, &rule(Some(2), None), &berlin, now);
    assert_eq!(reasons(&decisions, "c"), ["hourly 2026-10-25 02:00+01:00"]);
    assert_eq!(reasons(&decisions, "b"), ["hourly 2026-10-25 02:00+02:00"]);
    let n_kept = |zone: &TimeZone| {
        let decisions = decide(&archives, &rule(None, Some(9)), zone, now);
        decisions.iter().filter(|one| one.keep).count()
    };
    // All of one day there, of two days in UTC.
    assert_eq!((n_kept(&berlin), n_kept(&TimeZone::UTC)), (1, 2));
}

/// The archives of a set made at `created`: those of two databases, and the list.
fn set(name: &str, created: Timestamp) -> Vec<Candidate> {
    let mut members: Vec<Candidate> = ["crm", "shop"]
        .iter()
        .map(|database| {
            let mut one = archive(&format!("{database}-of-{name}"), created);
            one.group = Some(group(database, Scope::Full));
            one.set = Some(ClusterSet::named(name.into()));
            one
        })
        .collect();
    let mut list = archive(name, created + SignedDuration::from_secs(60));
    list.group = Some(group("", Scope::Globals));
    let member = |one: &Candidate| SetMember {
        name: one.name.clone(),
        manifest: one.seal.unwrap(),
        database: one.group.as_ref().unwrap().database.clone(),
    };
    list.set = Some(ClusterSet {
        members: members.iter().map(member).collect(),
        ..ClusterSet::named(name.into())
    });
    members.push(list);
    members
}

fn sets(n: i64) -> Vec<Candidate> {
    let first = at("2026-01-01T02:00:00Z");
    let made = |i| first + SignedDuration::from_hours(24 * i);
    (1..=n)
        .flat_map(|i| set(&format!("set-{i}"), made(i)))
        .collect()
}

const LAST_TWO: Keep = Keep {
    last: Some(2),
    hourly: None,
    daily: None,
    weekly: None,
    monthly: None,
    yearly: None,
    within: None,
    tags: Vec::new(),
    min: None,
};

#[test]
fn the_archives_of_a_set_live_and_die_together() {
    // Many newer single archives of one database push no archive out of an older set.
    let mut archives = sets(4);
    for mut single in daily(30).into_iter().skip(10) {
        single.group = Some(group("crm", Scope::Full));
        archives.push(single);
    }
    let expected = [
        "crm-of-set-3",
        "shop-of-set-3",
        "set-3",
        "crm-of-set-4",
        "shop-of-set-4",
        "set-4",
        "d2026-01-29",
        "d2026-01-30",
    ];
    assert_eq!(kept(&archives, &LAST_TWO), expected);
    let decisions = decide(
        &archives,
        &LAST_TWO,
        &TimeZone::UTC,
        at("2026-03-01T00:00:00Z"),
    );
    assert_eq!(decisions[0].set.as_deref(), Some("set-1"));
    assert_eq!(decisions[0].unit, decisions[2].unit);
}

#[test]
fn a_set_that_is_not_whole_neither_counts_nor_goes() {
    let names = |archives: &[Candidate], which: &str| {
        let kept = kept(archives, &LAST_TWO);
        kept.iter().filter(|name| name.ends_with(which)).count()
    };
    for damage in [
        (|all: &mut Vec<Candidate>| _ = all.remove(9)) as fn(&mut Vec<Candidate>),
        |all| all[9].trust = Trust::NeverVerified,
        |all| all[9].seal = Some(Digest::of(b"another")),
        |all| all[10].trust = Trust::Unreadable("torn".into()),
        |all| all[11].trust = Trust::NeverVerified,
    ] {
        let mut archives = sets(4);
        damage(&mut archives);
        let n = archives
            .iter()
            .filter(|one| one.name.as_str().ends_with("set-4"))
            .count();
        assert_eq!(names(&archives, "set-4"), n);
        assert_eq!(
            [names(&archives, "set-3"), names(&archives, "set-2")],
            [3, 3]
        );
        assert_eq!(names(&archives, "set-1"), 0);
    }
    // Where the list itself cannot be read, its archives cannot be told from others: none of them goes.
    let mut archives = sets(4);
    archives[2].trust = Trust::Unreadable("torn".into());
    archives[2].set = None;
    assert_eq!(names(&archives, "set-1"), 3);
    assert_eq!(names(&archives, "set-2"), 0);
}

#[test]
fn an_incomplete_set_takes_no_place_of_a_complete_one_and_goes_in_its_time() {
    let mut archives = sets(5);
    for i in [3, 4] {
        let missing = Skipped {
            what: "database x".into(),
            reason: "broken".into(),
        };
        archives[3 * i + 2]
            .set
            .as_mut()
            .unwrap()
            .missing
            .push(missing);
    }
    let lists = |archives: &[Candidate]| -> Vec<String> {
        let kept = kept(archives, &LAST_TWO);
        kept.into_iter()
            .filter(|name| name.starts_with("set"))
            .collect()
    };
    assert_eq!(lists(&archives), ["set-2", "set-3", "set-4", "set-5"]);
    archives.extend(set("set-6", at("2026-02-01T00:00:00Z")));
    archives.extend(set("set-7", at("2026-02-02T00:00:00Z")));
    assert_eq!(lists(&archives), ["set-6", "set-7"]);
}

/// One archive of the model: when it was made, its name's number, and the buckets that it falls into.
struct Asked {
    key: (Timestamp, u32),
    hour: (Date, i8, Offset),
    day: Date,
    monday: Date,
    month: (i16, i8),
    year: i16,
}

fn asked(created: Timestamp, number: u32, zone: &TimeZone) -> Asked {
    let local = created.to_zoned(zone.clone());
    let day = local.date();
    let since_monday = i64::from(day.weekday().to_monday_zero_offset());
    Asked {
        key: (created, number),
        hour: (day, local.hour(), local.offset()),
        day,
        monday: day - jiff::Span::new().days(since_monday),
        month: (day.year(), day.month()),
        year: day.year(),
    }
}

/// Whether `one` is the newest of its bucket, and fewer than `n` other buckets have a newer archive.
fn stays<B: PartialEq>(
    all: &[Asked],
    one: &Asked,
    n: Option<u32>,
    bucket: impl Fn(&Asked) -> B,
) -> bool {
    let Some(n) = n else { return false };
    let own = bucket(one);
    let newer = all.iter().filter(|other| other.key > one.key);
    let mut others: Vec<B> = Vec::new();
    for other in newer.map(&bucket) {
        if other == own {
            return false;
        }
        if !others.contains(&other) {
            others.push(other);
        }
        if others.len() >= n as usize {
            return false;
        }
    }
    true
}

/// The keys that stay of archives which all count.
fn model(made: &[(Timestamp, u32)], keep: &Keep, zone: &TimeZone) -> BTreeSet<(Timestamp, u32)> {
    let all: Vec<Asked> = made
        .iter()
        .map(|(at, number)| asked(*at, *number, zone))
        .collect();
    let newest = made.iter().max();
    let within = keep
        .within
        .map(|within| i64::try_from(within.duration().as_secs()).unwrap());
    let mut stay: BTreeSet<(Timestamp, u32)> = all
        .iter()
        .filter(|one| {
            keep.is_everything()
                || keep.last.is_some_and(|n| {
                    all.iter().filter(|other| other.key > one.key).count() < n as usize
                })
                || stays(&all, one, keep.hourly, |one| one.hour)
                || stays(&all, one, keep.daily, |one| one.day)
                || stays(&all, one, keep.weekly, |one| one.monday)
                || stays(&all, one, keep.monthly, |one| one.month)
                || stays(&all, one, keep.yearly, |one| one.year)
                || within.is_some_and(|seconds| {
                    let age_ms = newest.unwrap().0.as_millisecond() - one.key.0.as_millisecond();
                    age_ms < seconds * 1000
                })
        })
        .map(|one| one.key)
        .collect();
    let mut newest_first: Vec<_> = made.to_vec();
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    for key in newest_first {
        if stay.len() < keep.min.unwrap_or(1) as usize {
            stay.insert(key);
        }
    }
    stay
}

/// A small generator, so that a seed tells a whole year.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/Havana",
];

/// One archive of the simulated repository.
#[derive(Clone)]
struct Made {
    key: (Timestamp, u32),
    verified: bool,
}

fn check_step(made: &mut Vec<Made>, keep: &Keep, zone: &TimeZone, now: Timestamp) {
    let candidates: Vec<Candidate> = made
        .iter()
        .map(|one| {
            let mut candidate = archive(&format!("a{:06}", one.key.1), one.key.0);
            if !one.verified {
                candidate.trust = Trust::NeverVerified;
            }
            candidate
        })
        .collect();
    let counts = |one: &&Made| one.verified && one.key.0.duration_since(now) <= CLOCKS_AHEAD;
    let counting: Vec<(Timestamp, u32)> = made.iter().filter(counts).map(|one| one.key).collect();
    let expected = model(&counting, keep, zone);
    let decisions = decide(&candidates, keep, zone, now);
    for (one, decision) in made.iter().zip(&decisions) {
        let stays = !counts(&one) || expected.contains(&one.key);
        assert_eq!(
            decision.keep, stays,
            "{keep:?} at {now} in {zone:?}: {decision:?}"
        );
        assert!(!decision.reasons.is_empty());
    }
    let floor = counting.len().min(keep.min.unwrap_or(1) as usize);
    let n_left = decisions
        .iter()
        .filter(|one| one.keep && one.counts)
        .count();
    assert!(n_left >= floor, "the floor of {floor} is broken: {n_left}");
    let mut decisions = decisions.iter();
    made.retain(|_| decisions.next().unwrap().keep);
}

/// 380 days of runs: some fail, some are hourly, some archives are never verified, the machine's clock jumps and comes back, its zone changes.
fn simulate(seed: u64, keep: &Keep) {
    let mut dice = Dice(seed);
    let mut zone = TimeZone::get("Europe/Berlin").unwrap();
    let mut truth = at("2025-12-30T01:00:00Z");
    let end = truth + SignedDuration::from_hours(24 * 380);
    let mut ahead = SignedDuration::ZERO;
    let (mut made, mut number, mut hourly) = (Vec::new(), 0, 0);
    while truth < end {
        let hours = if hourly > 0 { 1 } else { 24 };
        hourly = if dice.once_in(40) {
            30
        } else {
            i32::max(hourly - 1, 0)
        };
        truth += SignedDuration::from_secs(
            hours * 3600 + i64::try_from(dice.below(1200)).unwrap() - 600,
        );
        if dice.once_in(30) {
            let days = i64::try_from(dice.below(80)).unwrap() - 40;
            ahead = SignedDuration::from_secs(days * 86_400 + 1234);
        } else if dice.once_in(5) {
            ahead = SignedDuration::ZERO;
        }
        if dice.once_in(60) {
            let chosen = usize::try_from(dice.below(6)).unwrap();
            zone = TimeZone::get(ZONES[chosen]).unwrap();
        }
        if dice.once_in(12) {
            continue; // It failed: no archive, and no rotation.
        }
        let now = truth + ahead;
        number += 1;
        made.push(Made {
            key: (now, number),
            verified: !dice.once_in(25),
        });
        check_step(&mut made, keep, &zone, now);
    }
    assert!(number > 300 && !made.is_empty());
}

fn rules() -> impl Strategy<Value = Keep> {
    let n = |max: u32| prop::option::weighted(0.4, 1..max);
    let within = prop::option::weighted(0.3, 1_u64..200);
    let counts = (n(12), n(30), n(14), n(9), n(14), n(3));
    (counts, within, prop::option::weighted(0.5, 1_u32..8)).prop_map(|(counts, within, min)| Keep {
        last: counts.0,
        hourly: counts.1,
        daily: counts.2,
        weekly: counts.3,
        monthly: counts.4,
        yearly: counts.5,
        within: within.map(|hours| Period::parse(&format!("{}h", hours * 5)).unwrap()),
        tags: Vec::new(),
        min,
    })
}

/// The same cases every time.
fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn a_year_of_runs_keeps_what_a_plain_model_keeps_and_never_breaks_the_floor() {
    let one = |text: &str| Keep {
        within: Some(Period::parse(text).unwrap()),
        ..Keep::default()
    };
    let each = [
        Keep {
            last: Some(10),
            ..Keep::default()
        },
        Keep {
            hourly: Some(24),
            ..Keep::default()
        },
        Keep {
            daily: Some(7),
            min: Some(3),
            ..Keep::default()
        },
        Keep {
            weekly: Some(5),
            ..Keep::default()
        },
        Keep {
            monthly: Some(12),
            ..Keep::default()
        },
        Keep {
            yearly: Some(2),
            min: Some(2),
            ..Keep::default()
        },
        one("30d"),
    ];
    for (seed, keep) in each.iter().enumerate() {
        simulate(seed as u64, keep);
    }
    let years = runner(4).run(&(any::<u64>(), rules()), |(seed, keep)| {
        simulate(seed, &keep);
        Ok(())
    });
    years.unwrap();
}

#[test]
fn any_archives_are_decided_as_the_plain_model_decides() {
    let moments = prop::collection::vec(0_i64..40_000_000, 1..60);
    let cases = (moments, rules(), 0..ZONES.len());
    let checked = runner(200).run(&cases, |(moments, keep, zone)| {
        let zone = TimeZone::get(ZONES[zone]).unwrap();
        let first = at("2025-12-01T00:00:00Z");
        let made = moments.iter().zip(0..).map(|(seconds, number)| Made {
            key: (first + SignedDuration::from_secs(*seconds), number),
            verified: number % 7 != 3,
        });
        check_step(
            &mut made.collect(),
            &keep,
            &zone,
            at("2026-12-01T00:00:00Z"),
        );
        Ok(())
    });
    checked.unwrap();
}
