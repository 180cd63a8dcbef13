//! Which archives of one group are copied when rules choose. Pure: the time zone is a parameter, and no clock is read.
//!
//! The rules are those of retention, read the other way round: of each period the *first* archive is taken, not the newest. The
//! newest of a month changes every day until the month is over, and a store of monthly copies would be sent each of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::archive::name::ArchiveName;
use crate::config::Keep;

/// An archive that may be chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) name: &'a ArchiveName,
    pub(super) created: Timestamp,
    pub(super) tags: &'a BTreeMap<String, String>,
}

/// The archives of a group that `rules` choose; all where there are none. What the target has already must be among the
/// candidates: it stands for its period, even if the source has removed it since.
pub(super) fn chosen(
    rules: &Keep,
    group: &[Candidate<'_>],
    zone: &TimeZone,
) -> BTreeSet<ArchiveName> {
    let mut oldest_first = group.to_vec();
    oldest_first.sort_by_key(|one| (one.created, one.name));
    let newest_first = || oldest_first.iter().rev();
    let mut names: BTreeSet<&ArchiveName> = BTreeSet::new();
    if rules.is_everything() {
        names.extend(group.iter().map(|one| one.name));
    }
    let newest = |n: Option<u32>| newest_first().take(n.map_or(0, |n| n as usize));
    names.extend(newest(rules.last).map(|one| one.name));
    for (length, wanted) in lengths(rules) {
        let mut first_of: BTreeMap<(Date, i8), &ArchiveName> = BTreeMap::new();
        for one in &oldest_first {
            let period = length.of(one.created, zone);
            first_of.entry(period).or_insert(one.name);
        }
        names.extend(first_of.into_values().rev().take(wanted));
    }
    if let (Some(within), Some(last)) = (rules.within, oldest_first.last()) {
        let young = |one: &&Candidate<'_>| {
            let age = last.created.duration_since(one.created).unsigned_abs();
            age < within.duration()
        };
        names.extend(oldest_first.iter().filter(young).map(|one| one.name));
    }
    let tagged = oldest_first.iter().filter(|one| is_tagged(one, rules));
    names.extend(tagged.map(|one| one.name));
    let floor = rules.min.map_or(0, |min| min as usize);
    for one in newest_first() {
        if names.len() >= floor {
            break;
        }
        names.insert(one.name);
    }
    names.into_iter().cloned().collect()
}

fn is_tagged(one: &Candidate<'_>, rules: &Keep) -> bool {
    rules
        .tags
        .iter()
        .any(|wanted| match wanted.split_once('=') {
            Some((tag, value)) => one.tags.get(tag).is_some_and(|is| is == value),
            None => one.tags.contains_key(wanted),
        })
}

/// A calendar's period.
#[derive(Debug, Clone, Copy)]
enum Length {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// The counting rules that are given, but for `last`, which knows no calendar.
fn lengths(rules: &Keep) -> impl Iterator<Item = (Length, usize)> {
    [
        (Length::Hour, rules.hourly),
        (Length::Day, rules.daily),
        (Length::Week, rules.weekly),
        (Length::Month, rules.monthly),
        (Length::Year, rules.yearly),
    ]
    .into_iter()
    .filter_map(|(length, n)| Some((length, n? as usize)))
}

impl Length {
    /// The period that `at` is in, by its first day and hour. An hour that a change of the clock repeats is one.
    fn of(self, at: Timestamp, zone: &TimeZone) -> (Date, i8) {
        let local = at.to_zoned(zone.clone()).datetime();
        let day = local.date();
        match self {
            Length::Hour => (day, local.hour()),
            Length::Day => (day, 0),
            Length::Week => {
                let since_monday = i32::from(day.weekday().to_monday_zero_offset());
                let monday = day.saturating_sub(jiff::Span::new().days(since_monday));
                (monday, 0)
            }
            Length::Month => (day.first_of_month(), 0),
            Length::Year => (day.first_of_year(), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(times: &[&str], change: impl FnOnce(&mut Keep)) -> Vec<String> {
        let tags = BTreeMap::from([("kind".to_owned(), "full".to_owned())]);
        let none = BTreeMap::new();
        let names: Vec<ArchiveName> = times
            .iter()
            .map(|time| format!("a-{}", &time[..13]).parse().unwrap())
            .collect();
        let group: Vec<Candidate<'_>> = times
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(i, (time, name))| Candidate {
                name,
                created: time.parse().unwrap(),
                tags: if i == 1 { &tags } else { &none },
            })
            .collect();
        let mut rules = Keep::default();
        change(&mut rules);
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let chosen = chosen(&rules, &group, &zone);
        chosen
            .into_iter()
            .map(|name| name.to_string()[2..].to_owned())
            .collect()
    }

    const DAYS: [&str; 6] = [
        "2026-10-30T02:00:00Z",
        "2026-10-31T02:00:00Z",
        // In Berlin this is November already.
        "2026-10-31T23:30:00Z",
        "2026-11-01T02:00:00Z",
        "2026-11-02T02:00:00Z",
        "2026-11-03T02:00:00Z",
    ];

    #[test]
    fn without_rules_all_are_chosen() {
        assert_eq!(choose(&DAYS, |_| {}).len(), DAYS.len());
    }

    #[test]
    fn the_first_of_each_of_the_newest_periods_is_chosen() {
        assert_eq!(
            choose(&DAYS, |rules| rules.monthly = Some(2)),
            ["2026-10-30T02", "2026-10-31T23"]
        );
        assert_eq!(
            choose(&DAYS, |rules| rules.monthly = Some(1)),
            ["2026-10-31T23"]
        );
        assert_eq!(
            choose(&DAYS, |rules| rules.weekly = Some(9)),
            ["2026-10-30T02", "2026-11-02T02"]
        );
        assert_eq!(
            choose(&DAYS, |rules| rules.daily = Some(3)),
            ["2026-10-31T23", "2026-11-02T02", "2026-11-03T02"]
        );
        assert_eq!(
            choose(&DAYS, |rules| rules.yearly = Some(5)),
            ["2026-10-30T02"]
        );
        assert_eq!(choose(&DAYS, |rules| rules.hourly = Some(99)).len(), 6);
    }

    #[test]
    fn a_choice_by_the_month_stays_while_the_month_goes_on() {
        for n in 1..=DAYS.len() {
            let chosen = choose(&DAYS[..n], |rules| rules.monthly = Some(1));
            let expected = if n < 3 {
                "2026-10-30T02"
            } else {
                "2026-10-31T23"
            };
            assert_eq!(chosen, [expected], "after {n} days");
        }
    }

    #[test]
    fn the_newest_the_young_the_tagged_and_the_floor_are_chosen() {
        assert_eq!(
            choose(&DAYS, |rules| rules.last = Some(2)),
            ["2026-11-02T02", "2026-11-03T02"]
        );
        assert_eq!(
            choose(&DAYS, |rules| rules.within = Some("2d".parse().unwrap())),
            ["2026-11-02T02", "2026-11-03T02"]
        );
        for tag in ["kind", "kind=full"] {
            let chosen = choose(&DAYS, |rules| rules.tags = vec![tag.to_owned()]);
            assert_eq!(chosen, ["2026-10-31T02"]);
        }
        let other = |rules: &mut Keep| rules.tags = vec!["kind=part".to_owned()];
        assert!(choose(&DAYS, other).is_empty());
        let with_floor = |rules: &mut Keep| {
            other(rules);
            rules.min = Some(2);
        };
        assert_eq!(
            choose(&DAYS, with_floor),
            ["2026-11-02T02", "2026-11-03T02"]
        );
        assert!(choose(&[], with_floor).is_empty());
    }
}
