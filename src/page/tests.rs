//! Tests of the page: what is judged, and what the HTML promises.

use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;
use regex::Regex;

use super::sample::{drill, empty, full, group, now, run};
use super::*;
use crate::archive::fixture;
use crate::archive::records::RunOutcome;
use crate::archive::{GroupFilter, Repository};
use crate::config::{Config, Period};
use crate::store::{Key, MemoryStore, Store as _};

const BYTES_MAX: usize = 2_000_000;

fn texts(page: &PageData) -> Vec<(Weight, String)> {
    let problems = page.problems().into_iter();
    problems.map(|one| (one.weight, one.text)).collect()
}

fn of(data: GroupData) -> PageData {
    PageData {
        groups: vec![data],
        ..empty()
    }
}

/// The only problem of a page with this group.
#[track_caller]
fn only(data: GroupData) -> (Weight, String) {
    let texts = texts(&of(data));
    assert_eq!(texts.len(), 1, "{texts:?}");
    texts.into_iter().next().unwrap()
}

fn configured(more: &str) -> Job {
    let text = format!(
        "[[repository]]\nname = \"main\"\nplace = \"/b\"\n[[job]]\nname = \"nightly\"\nsource = \"shop\"\nrepository = \"main\"\n{more}"
    );
    Config::parse(&text, "test").unwrap().jobs.remove(0)
}

#[test]
fn a_page_is_what_the_golden_file_says() {
    let html = render(&full());
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/page/full.html");
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &html).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == html,
        "{} differs; run it with UPDATE_GOLDEN=1 and read the change",
        path.display()
    );
    assert_eq!(render(&full()), html);
}

#[test]
fn well_kept_archives_raise_no_problem() {
    assert_eq!(texts(&empty()), []);
    for (n, hours) in [(1, 24), (2, 24), (40, 24), (3, 24 * 30)] {
        assert_eq!(texts(&of(group("shop", n, hours))), []);
    }
    assert!(render(&of(group("shop", 3, 24))).contains("All is well"));
    assert!(render(&empty()).contains("No archives yet"));
}

#[test]
fn each_problem_is_named_and_alarms_come_first() {
    let shop = || group("shop", 20, 24);
    let mut late = shop();
    late.archives.truncate(15);
    let (weight, text) = only(late.clone());
    assert_eq!(weight, Weight::Notice);
    assert_eq!(
        text,
        "the newest archive is 5 d 5 h old; usually there is one every 1 d 0 h"
    );
    late.job = Some(configured("rpo = \"26h\""));
    let (weight, text) = only(late);
    assert_eq!(weight, Weight::Alarm);
    assert!(text.contains("recovery point objective is 1d 2h"), "{text}");

    let mut unverified = shop();
    for one in &mut unverified.archives[17..] {
        one.verified = None;
    }
    let expected = "the newest archive was never verified, nor were 2 others";
    assert_eq!(only(unverified), (Weight::Notice, expected.to_owned()));

    let mut shrunk = shop();
    shrunk.archives[19].raw_bytes /= 2;
    let (weight, text) = only(shrunk.clone());
    assert_eq!(weight, Weight::Notice);
    assert!(
        text.starts_with("4.2 GiB raw bytes, 50 % fewer than the 8.4 GiB"),
        "{text}"
    );
    shrunk.job = Some(configured("[job.trend]\nshrinks_percent = 60"));
    assert_eq!(texts(&of(shrunk)), []);
    let mut emptied = shop();
    emptied.archives[19].n_rows = 0;
    assert!(only(emptied).1.starts_with("0 rows, 100 % fewer"));

    for (outcome, weight) in [
        (RunOutcome::Failed, Weight::Alarm),
        (RunOutcome::Incomplete, Weight::Notice),
    ] {
        let mut failed = shop();
        failed.runs = vec![run(outcome), run(RunOutcome::Succeeded)];
        let (is, text) = only(failed);
        assert_eq!(is, weight);
        assert!(
            text.ends_with("replicate cold: the bucket refused the write"),
            "{text}"
        );
    }
    let mut recovered = shop();
    recovered.runs = vec![run(RunOutcome::Succeeded), run(RunOutcome::Failed)];
    assert_eq!(texts(&of(recovered)), []);

    let weights: Vec<Weight> = full().problems().iter().map(|one| one.weight).collect();
    assert!(weights.is_sorted() && weights.contains(&Weight::Notice));
    assert_eq!(
        weights.iter().filter(|one| **one == Weight::Alarm).count(),
        3,
        "{:?}",
        texts(&full())
    );
}

#[test]
fn drills_are_held_against_the_objective_and_the_calendar() {
    let with = |drills: Vec<Drilled>, job: Option<Job>| GroupData {
        job,
        drills,
        ..group("shop", 20, 24)
    };
    assert_eq!(texts(&of(with(vec![drill("shop-00001", 119)], None))), []);
    let overdue = only(with(vec![drill("shop-00001", 121)], None));
    assert_eq!(overdue.0, Weight::Notice);
    assert!(overdue.1.contains("121 d 0 h ago"), "{}", overdue.1);

    let asked = configured("[job.drill]\nevery = \"30d\"");
    assert_eq!(
        asked.drill.as_ref().unwrap().every,
        Some(Period::parse("30d").unwrap())
    );
    let never = only(with(Vec::new(), Some(asked.clone())));
    assert_eq!(never, (Weight::Alarm, "no drill was ever made".to_owned()));
    let overdue = only(with(vec![drill("shop-00001", 31)], Some(asked)));
    assert!(overdue.1.contains("one is due every 30 d"), "{}", overdue.1);

    let slow = Drilled {
        restore_ms: 900_001,
        ..drill("shop-00001", 1)
    };
    let page = of(with(vec![slow], None));
    assert_eq!(texts(&page)[0].0, Weight::Alarm);
    assert!(render(&page).contains("Too slow"));
    let failed = Drilled {
        problems: vec!["table orders differs".to_owned()],
        ..drill("shop-00001", 1)
    };
    let (weight, text) = only(with(vec![failed], None));
    assert_eq!(weight, Weight::Alarm);
    assert_eq!(text, "the last drill failed: table orders differs");
}

#[test]
fn ten_thousand_archives_give_a_page_of_bounded_size() {
    let one = group("shop", 10_000, 24);
    let hourly = render(&of(group("shop", 10_000, 1))).len();
    let many = PageData {
        groups: vec![one.clone(); 40],
        ..empty()
    };
    let (one, many) = (render(&of(one)).len(), render(&many).len());
    let few = render(&of(group("shop", 400, 24))).len();
    assert!(one < 150_000 && hourly < 150_000, "{one} {hourly}");
    assert!(one < few + 20_000, "{one} {few}");
    assert!(many < BYTES_MAX, "{many}");

    let singles = (0..10_000).map(|i| group(&format!("db{i}"), 1, 24));
    let page = PageData {
        groups: singles.collect(),
        lost: vec![
            DamagedArchive {
                name: "x".parse().unwrap(),
                error: "e".repeat(300),
            };
            10_000
        ],
        ..empty()
    };
    let html = render(&page);
    assert!(html.len() < BYTES_MAX, "{}", html.len());
    assert!(html.contains("and 9940 more") && html.contains("and 9800 more groups"));
}

#[test]
fn nothing_is_loaded_and_nothing_runs_but_the_pages_own_script() {
    let html = render(&full());
    let policy = "default-src 'none'; style-src 'sha256-";
    assert_eq!(html.matches(policy).count(), 1);
    for forbidden in [
        "http:", "https:", "//cdn", "url(", "@import", " src=", " style=", " onclick", "unsafe-",
    ] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    let hrefs = Regex::new(r#"href="([^"]*)""#).unwrap();
    for found in hrefs.captures_iter(&html) {
        assert!(
            found[1].starts_with('#') || &found[1] == "data:,",
            "{}",
            &found[1]
        );
    }
    assert_eq!(html.matches("<script").count(), 1);
}

/// Every `<svg role="img">` has a title, ids are there once, and what links point to is there.
#[test]
fn pictures_have_titles_and_links_have_targets() {
    let html = render(&full());
    assert_eq!(
        html.matches("role=\"img\">").count(),
        html.matches("role=\"img\"><title>").count()
    );
    assert_eq!(
        html.matches("<svg").count(),
        html.matches("role=\"img\"").count() + html.matches("aria-hidden=\"true\"").count()
    );
    let ids = Regex::new(r#" id="([^"]*)""#).unwrap();
    let mut ids: Vec<&str> = ids
        .captures_iter(&html)
        .map(|found| found.extract::<1>().1[0])
        .collect();
    let n = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), n);
    let to = Regex::new("(?:href=\"#|aria-labelledby=\")([^\"]*)\"").unwrap();
    for found in to.captures_iter(&html) {
        assert!(ids.contains(&&found[1]), "{}", &found[1]);
    }
}

#[test]
fn text_and_ground_differ_enough_in_light_and_dark() {
    let style = include_str!("style.css");
    let colour = Regex::new(r"--([a-z0-9-]+): #([0-9a-f]{6});").unwrap();
    let (light, dark) = style
        .split_once("@media (prefers-color-scheme: dark)")
        .unwrap();
    for part in [light, dark.split_once("* {").unwrap().0] {
        let brightness = |name: &str| {
            let hex = colour.captures_iter(part).find(|found| &found[1] == name);
            let hex = hex.unwrap_or_else(|| panic!("{name}"))[2].to_owned();
            let channel = |i: usize| {
                let value = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 {
                    value / 12.92
                } else {
                    ((value + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
        };
        for (text, ground) in [
            ("text", "page"),
            ("text", "card"),
            ("text", "rail"),
            ("soft", "page"),
            ("soft", "card"),
            ("link", "page"),
            ("link", "card"),
            ("good", "good-back"),
            ("notice", "notice-back"),
            ("alarm", "alarm-back"),
            ("alarm", "card"),
            ("notice", "page"),
            ("day-text", "day1"),
            ("day-text", "day2"),
            ("day-text", "day3"),
        ] {
            let (a, b) = (brightness(text), brightness(ground));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
        }
        for line in ["one", "two"] {
            let (a, b) = (brightness(line), brightness("card"));
            assert!((a.max(b) + 0.05) / (a.min(b) + 0.05) >= 3.0, "{line}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Names come from databases, and anybody may give them: the page has the same elements whatever they are.
    #[test]
    fn hostile_names_are_only_text(name in r#"[<>/"'&;a-z \-!\[\]\u{202e}\x00-\x1f=`{}\\]{0,40}"#) {
        let plain = hostile("plain");
        let hostile = hostile(&name);
        let elements = |html: &str| -> Vec<String> {
            Regex::new(r"</?[a-zA-Z!][a-z0-9]*").unwrap().find_iter(html).map(|found| found.as_str().to_owned()).collect()
        };
        prop_assert_eq!(elements(&plain), elements(&hostile));
        prop_assert_eq!(plain.matches('"').count(), hostile.matches('"').count());
    }
}

/// A page in which everything that comes from outside is `name`.
fn hostile(name: &str) -> String {
    let mut page = full();
    page.location = name.to_owned();
    for data in &mut page.groups {
        data.group.database = name.to_owned();
        data.group.job = data.group.job.as_ref().map(|_| name.to_owned());
        data.group.system_identifier = name.to_owned();
        data.tables_problem = Some(name.to_owned());
        for damaged in &mut data.damaged {
            damaged.error = name.to_owned();
        }
        for drill in &mut data.drills {
            drill.server = name.to_owned();
            drill.problems = drill.problems.iter().map(|_| name.to_owned()).collect();
        }
        for step in data.runs.iter_mut().flat_map(|run| &mut run.steps) {
            step.message = name.to_owned();
            step.step = name.to_owned();
        }
    }
    if let Some(data) = page.groups.last_mut() {
        data.tables_problem = None;
        data.tables = vec![TableFacts {
            name: name.to_owned(),
            n_rows: 1,
            raw_bytes: 1,
        }];
    }
    render(&page)
}

#[test]
fn days_are_those_of_the_zone() {
    let mut page = of(group("shop", 1, 24));
    // 02:00 UTC: the day before in New York.
    for (zone, made, day) in [
        (
            "UTC",
            "2026-11-23 02:00",
            "<td class=\"k1 now\" title=\"1 archive\">23",
        ),
        (
            "America/New_York",
            "2026-11-22 21:00",
            "<td class=\"k1\" title=\"1 archive\">22",
        ),
    ] {
        page.zone = TimeZone::get(zone).unwrap();
        let html = render(&page);
        assert!(
            html.contains(made) && html.contains(day) && html.contains(zone),
            "{zone}"
        );
    }
}

#[test]
fn clocks_that_disagree_are_no_reason_to_fail() {
    let mut page = of(group("shop", 20, 24));
    page.now = now() - SignedDuration::from_hours(24 * 30);
    page.groups[0].drills = vec![drill("shop-00001", -5)];
    assert_eq!(texts(&page), []);
    assert!(render(&page).contains("0.0 s old"));
    for at in [Timestamp::MIN, Timestamp::MAX] {
        page.now = at;
        page.groups[0].archives[0].created = Timestamp::MIN;
        page.groups[0].archives[19].created = Timestamp::MAX;
        assert!(render(&page).contains("</html>"));
    }
}

#[tokio::test]
async fn a_repository_becomes_a_page_with_its_tables_drills_and_damage() {
    let store = Arc::new(MemoryStore::new());
    let repository: Repository = fixture::repository(store.clone()).await;
    for name in ["one", "two"] {
        fixture::dump(&repository, name, &fixture::shop())
            .await
            .unwrap();
    }
    repository.note_drill(&drill("two", 1)).await.unwrap();
    repository.note_drill(&drill("gone", 2)).await.unwrap();
    let options = PageOptions {
        jobs: Vec::new(),
        filter: GroupFilter::default(),
        config: None,
        now: now(),
        zone: TimeZone::UTC,
    };
    let page = gather(&repository, &options).await.unwrap();
    assert_eq!(page.groups.len(), 1);
    let shop = &page.groups[0];
    assert_eq!(
        (
            shop.archives.len(),
            shop.drills.len(),
            page.other_drills.len()
        ),
        (2, 1, 1)
    );
    let tables: Vec<(&str, u64)> = shop
        .tables
        .iter()
        .map(|table| (table.name.as_str(), table.n_rows))
        .collect();
    assert_eq!(
        tables,
        [
            ("public.orders", 120),
            ("public.units", 30),
            ("public.countries", 9),
            ("public.empty", 0)
        ]
    );
    assert!(shop.tables.is_sorted_by(|a, b| a.raw_bytes >= b.raw_bytes));
    // What the second shares with the first was stored once.
    assert!(shop.kept_bytes() < shop.archives[0].stored_bytes * 2);
    // Another job's archive of the same database shares as well.
    let (mut both, mut other) = (page.clone(), shop.clone());
    other.group.job = Some("other".to_owned());
    other
        .archives
        .retain(|one| one.new_bytes < one.stored_bytes);
    let added: u64 = other.archives.iter().map(|one| one.new_bytes).sum();
    both.groups.push(other);
    assert_eq!(both.kept_bytes(), page.kept_bytes() + added);

    let filtered = PageOptions {
        jobs: vec!["weekly".to_owned()],
        ..options.clone()
    };
    let page = gather(&repository, &filtered).await.unwrap();
    assert!(page.groups.is_empty() && page.other_drills.is_empty());
    assert_eq!(texts(&page).len(), 1);

    let manifest = Key::new("archives/two.json");
    let mut bytes = store.get(&manifest).await.unwrap().unwrap().to_vec();
    bytes[40] ^= 1;
    store.delete(&manifest).await.unwrap();
    store.put_new(&manifest, bytes.into()).await.unwrap();
    let page = gather(&repository, &options).await.unwrap();
    assert_eq!(
        (page.groups[0].archives.len(), page.groups[0].damaged.len()),
        (1, 1)
    );
    let html = render(&page);
    assert!(
        html.contains("archive two cannot be read") && html.contains("public.orders"),
        "{html}"
    );
}
