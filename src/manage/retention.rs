//! Which archives stay, and why: the rules of retention applied to a listing. Pure; reading and removing belong to `prune`.
//!
//! What is decided about is a *unit*: one archive, or all archives of a cluster's set together, so that no rotation breaks a set.
//! Units follow one another in a *sequence*, a group's archives or the sets of one cluster and job, and no rule looks beyond it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::archive::digest::Digest;
use crate::archive::manifest::{ClusterSet, Group, Scope};
use crate::archive::name::ArchiveName;
use crate::archive::records::Depth;
use crate::archive::repository::Listed;
use crate::config::Keep;

/// How far the clocks of machines that make archives may be ahead of the one that prunes: a day, because a machine whose clock
/// runs in local time is up to 14 hours wrong.
const CLOCKS_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// The floor where none is given: the last good archive never goes.
const MIN_DEFAULT: u32 = 1;

/// An archive that is decided about.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name.
    pub name: ArchiveName,
    /// Its group; `None` if not even an announcement says it.
    pub group: Option<Group>,
    /// When it was made; `None` if nothing says so.
    pub created: Option<Timestamp>,
    /// The seal of its manifest, where that could be read.
    pub seal: Option<Digest>,
    /// Whether it can be trusted.
    pub trust: Trust,
    /// What users or jobs attached.
    pub tags: BTreeMap<String, String>,
    /// The set that it is part of.
    pub set: Option<ClusterSet>,
}

/// Whether an archive can be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Its stored bytes were verified and found whole.
    Verified,
    /// Nobody looked.
    NeverVerified,
    /// Its manifest cannot be read; the text says why.
    Unreadable(String),
}

impl Candidate {
    /// What a listing knows of an archive.
    pub fn of(listed: &Listed) -> Candidate {
        let depth = listed.verified.as_ref().map(|verified| verified.depth);
        let manifest = listed.manifest.as_deref();
        Candidate {
            name: listed.name.clone(),
            group: listed.group.clone(),
            created: listed.created,
            seal: listed.seal,
            trust: match (&manifest, depth) {
                (Err(error), _) => Trust::Unreadable(error.to_string()),
                (Ok(_), Some(Depth::Bytes | Depth::Full)) => Trust::Verified,
                (Ok(_), _) => Trust::NeverVerified,
            },
            tags: manifest.map_or_else(|_| BTreeMap::new(), |one| one.tags.clone()),
            set: manifest.ok().and_then(|one| one.set.clone()),
        }
    }

    /// The set that this archive closes.
    fn closes(&self) -> Option<&ClusterSet> {
        let is_globals = self
            .group
            .as_ref()
            .is_some_and(|group| group.scope == Scope::Globals);
        self.set.as_ref().filter(|_| is_globals)
    }
}

/// What follows one another and is decided about together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sequence {
    /// The single archives of a group.
    Group(Group),
    /// The sets of a cluster.
    Sets {
        /// The cluster.
        system_identifier: String,
        /// The job; `None` for dumps by hand.
        job: Option<String>,
    },
    /// Archives of which not even the group is known.
    Unknown,
}

/// What is to become of an archive, and why. The fields are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The archive.
    pub name: ArchiveName,
    /// Its group in words; empty if it is not known.
    pub group: String,
    /// The set whose fate it shares.
    pub set: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// True if it stays.
    pub keep: bool,
    /// True if it counts for the rules: complete, verified, not from the future.
    pub counts: bool,
    /// Why; never empty.
    pub reasons: Vec<String>,
    /// The sequence in which it was decided.
    #[serde(skip)]
    pub sequence: Sequence,
    /// The unit it belongs to: archives with the same number share their fate.
    #[serde(skip)]
    pub unit: usize,
}

/// What is decided about as one.
#[derive(Debug)]
struct Unit {
    /// Indexes of the candidates.
    members: Vec<usize>,
    sequence: Sequence,
    created: Option<Timestamp>,
    name: ArchiveName,
    set: Option<String>,
    tags: BTreeSet<(String, String)>,
    standing: Standing,
    kept: bool,
    reasons: Vec<String>,
}

/// What a unit is to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It counts and may go.
    Counts,
    /// A set without some of its databases: it may go, but takes no place of a complete one.
    Incomplete,
    /// It neither counts nor goes, for this reason.
    Aside(String),
}

/// Decides about each of `archives`, in their order. `now` serves only to recognise archives from the future; days, weeks, months and
/// years begin in `zone`.
pub fn decide(
    archives: &[Candidate],
    keep: &Keep,
    zone: &TimeZone,
    now: Timestamp,
) -> Vec<Decision> {
    let mut units = units(archives);
    for unit in &mut units {
        set_future_aside(unit, now);
        if let Standing::Aside(reason) = &unit.standing {
            unit.kept = true;
            unit.reasons = vec![reason.clone()];
        }
    }
    let mut sequences: BTreeMap<Sequence, Vec<usize>> = BTreeMap::new();
    for (i, unit) in units.iter().enumerate() {
        if !matches!(unit.standing, Standing::Aside(_)) {
            sequences.entry(unit.sequence.clone()).or_default().push(i);
        }
    }
    for mut members in sequences.into_values() {
        // Newest first; of the same moment the later name.
        members.sort_by(|a, b| {
            let key = |i: usize| (units[i].created, &units[i].name);
            key(*b).cmp(&key(*a))
        });
        decide_sequence(&mut units, &members, keep, zone);
    }
    told(archives, &units)
}

fn decide_sequence(units: &mut [Unit], newest_first: &[usize], keep: &Keep, zone: &TimeZone) {
    let complete: Vec<usize> = newest_first
        .iter()
        .copied()
        .filter(|i| units[*i].standing == Standing::Counts)
        .collect();
    // An incomplete set is kept where it would be if it counted, but what counts is decided without it.
    apply(units, newest_first, &Standing::Incomplete, (keep, zone));
    apply(units, &complete, &Standing::Counts, (keep, zone));
    let floor = keep.min.unwrap_or(MIN_DEFAULT) as usize;
    let n_kept = complete.iter().filter(|i| units[**i].kept).count();
    let below = floor.saturating_sub(n_kept);
    let dropped: Vec<usize> = complete
        .iter()
        .copied()
        .filter(|i| !units[*i].kept)
        .collect();
    for i in dropped.into_iter().take(below) {
        units[i].kept = true;
        units[i].reasons.push(format!("min {floor}"));
    }
    for i in newest_first
        .iter()
        .filter(|i| !units[**i].kept)
        .copied()
        .collect::<Vec<_>>()
    {
        units[i].reasons = vec![format!("not kept by {}", in_words(keep))];
    }
}

/// Notes for the units of `standing` among `newest_first` which rules keep them.
fn apply(
    units: &mut [Unit],
    newest_first: &[usize],
    standing: &Standing,
    (keep, zone): (&Keep, &TimeZone),
) {
    let times: Vec<Timestamp> = newest_first
        .iter()
        .map(|i| units[*i].created.unwrap_or(Timestamp::MIN))
        .collect();
    let mut kept_by: Vec<Vec<String>> = vec![Vec::new(); times.len()];
    if keep.is_everything() {
        for reasons in &mut kept_by {
            reasons.push("no rule was given".to_owned());
        }
    }
    for (rule, n) in keep.counts() {
        if let Some(n) = n {
            by_count(rule, n, &times, zone, &mut kept_by);
        }
    }
    if let (Some(within), Some(newest)) = (keep.within, times.first()) {
        let within_is = SignedDuration::try_from(within.duration()).unwrap_or(SignedDuration::MAX);
        for (time, reasons) in times.iter().zip(&mut kept_by) {
            if newest.duration_since(*time) < within_is {
                reasons.push(format!("within {within}"));
            }
        }
    }
    for (i, mut reasons) in newest_first.iter().copied().zip(kept_by) {
        let tags = keep.tags.iter();
        let tags = tags.filter(|wanted| has_tag(&units[i].tags, wanted));
        reasons.extend(tags.map(|tag| format!("tag {tag}")));
        if units[i].standing == *standing {
            units[i].kept |= !reasons.is_empty();
            units[i].reasons.extend(reasons);
        }
    }
}

/// `KEY` or `KEY=VALUE`.
fn has_tag(tags: &BTreeSet<(String, String)>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => tags.iter().any(|(k, v)| k == key && v == value),
        None => tags.iter().any(|(k, _)| k == wanted),
    }
}

/// The rules in words: `last 3, daily 7`.
fn in_words(keep: &Keep) -> String {
    let counts = keep.counts().into_iter();
    let counts = counts.filter_map(|(rule, n)| Some(format!("{rule} {}", n?)));
    let within = keep.within.map(|within| format!("within {within}"));
    let tags = keep.tags.iter().map(|tag| format!("tag {tag}"));
    let rules: Vec<String> = counts.chain(within).chain(tags).collect();
    rules.join(", ")
}

/// The newest of each of the newest `n` buckets.
fn by_count(
    rule: &str,
    n: u32,
    newest_first: &[Timestamp],
    zone: &TimeZone,
    kept_by: &mut [Vec<String>],
) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, time) in newest_first.iter().enumerate() {
        let Some(bucket) = bucket(rule, *time, zone) else {
            if i < n as usize {
                kept_by[i].push(format!("{rule} {n}"));
            }
            continue;
        };
        if seen.len() < n as usize && seen.insert(bucket.clone()) {
            kept_by[i].push(format!("{rule} {bucket}"));
        }
    }
}

/// The hour, day, … in which `time` is; `None` for the rule that looks at no calendar. An hour that a clock change repeats is two.
fn bucket(rule: &str, time: Timestamp, zone: &TimeZone) -> Option<String> {
    let local = time.to_zoned(zone.clone());
    Some(match rule {
        "hourly" => local.strftime("%Y-%m-%d %H:00%:z").to_string(),
        "daily" => local.strftime("%Y-%m-%d").to_string(),
        "weekly" => {
            let week = local.date().iso_week_date();
            format!("{}-W{:02}", week.year(), week.week())
        }
        "monthly" => local.strftime("%Y-%m").to_string(),
        "yearly" => local.strftime("%Y").to_string(),
        _ => return None,
    })
}

/// The archives as units: sets whose list can be read, and everything else alone.
fn units(archives: &[Candidate]) -> Vec<Unit> {
    let by_name: HashMap<&ArchiveName, usize> = archives
        .iter()
        .enumerate()
        .map(|(i, one)| (&one.name, i))
        .collect();
    let mut in_set: BTreeSet<usize> = BTreeSet::new();
    let mut units = Vec::new();
    for (i, closer) in archives.iter().enumerate() {
        if let Some(set) = closer.closes() {
            let mut unit = set_unit(archives, i, set, &by_name);
            // Only damage lets two lists name one archive; its fate is that of the first.
            unit.members.retain(|member| in_set.insert(*member));
            units.push(unit);
        }
    }
    for (i, archive) in archives.iter().enumerate() {
        if !in_set.contains(&i) {
            units.push(single_unit(archives, i, archive));
        }
    }
    units
}

fn set_unit(
    archives: &[Candidate],
    closer: usize,
    set: &ClusterSet,
    by_name: &HashMap<&ArchiveName, usize>,
) -> Unit {
    let of = &archives[closer];
    let mut members = vec![closer];
    let mut aside = trust_problem(of);
    for member in &set.members {
        let Some(i) = by_name.get(&member.name).copied() else {
            aside = Some(format!(
                "its set lacks the archive {}, so it neither counts nor goes by a rule: remove the set's archives by their names",
                member.name
            ));
            continue;
        };
        members.push(i);
        let problem = match archives[i].seal {
            Some(seal) if seal != member.manifest => Some(format!(
                "its set means another archive than {}, so it neither counts nor goes: pgark verify {}",
                member.name, member.name
            )),
            _ => trust_problem(&archives[i]),
        };
        aside = aside.or(problem);
    }
    let standing = match aside {
        Some(reason) => Standing::Aside(reason),
        None if set.missing.is_empty() => Standing::Counts,
        None => Standing::Incomplete,
    };
    let sequence = match &of.group {
        Some(group) => Sequence::Sets {
            system_identifier: group.system_identifier.clone(),
            job: group.job.clone(),
        },
        None => Sequence::Unknown,
    };
    let tags = members.iter().flat_map(|i| archives[*i].tags.clone());
    Unit {
        tags: tags.collect(),
        members,
        sequence,
        created: of.created,
        name: of.name.clone(),
        set: Some(set.name.clone()),
        standing,
        kept: false,
        reasons: Vec::new(),
    }
}

fn single_unit(archives: &[Candidate], i: usize, archive: &Candidate) -> Unit {
    let aside = trust_problem(archive).or_else(|| list_lost(archives, archive));
    Unit {
        members: vec![i],
        sequence: match &archive.group {
            Some(group) => Sequence::Group(group.clone()),
            None => Sequence::Unknown,
        },
        created: archive.created,
        name: archive.name.clone(),
        tags: archive.tags.clone().into_iter().collect(),
        set: None,
        standing: aside.map_or(Standing::Counts, Standing::Aside),
        kept: false,
        reasons: Vec::new(),
    }
}

/// Why an archive neither counts nor goes.
fn trust_problem(archive: &Candidate) -> Option<String> {
    let name = &archive.name;
    match &archive.trust {
        Trust::Verified => None,
        Trust::NeverVerified => Some(format!(
            "never verified, so it neither counts nor goes: pgark verify {name}"
        )),
        Trust::Unreadable(problem) => Some(format!(
            "unreadable, so it neither counts nor goes ({problem}): bring its manifest back, or remove it by its name"
        )),
    }
}

/// An archive that names a set whose list may be the one that cannot be read: rotating it alone could break that set.
fn list_lost(archives: &[Candidate], archive: &Candidate) -> Option<String> {
    let set = archive.set.as_ref()?;
    let own = archive.group.as_ref()?;
    let lost = archives.iter().find(|other| {
        matches!(other.trust, Trust::Unreadable(_))
            && other.group.as_ref().is_none_or(|group| {
                group.scope == Scope::Globals
                    && group.system_identifier == own.system_identifier
                    && group.job == own.job
            })
    })?;
    Some(format!(
        "part of the set {}, whose list may be the unreadable {}, so it neither counts nor goes",
        set.name, lost.name
    ))
}

fn set_future_aside(unit: &mut Unit, now: Timestamp) {
    let ahead = |created: &Timestamp| created.duration_since(now) > CLOCKS_AHEAD;
    if let (Some(created), false) = (
        unit.created.filter(ahead),
        matches!(unit.standing, Standing::Aside(_)),
    ) {
        unit.standing = Standing::Aside(format!(
            "made in the future ({created}) by a clock that is wrong, so it neither counts nor goes until then"
        ));
    }
}

/// The decisions in the order of the archives.
fn told(archives: &[Candidate], units: &[Unit]) -> Vec<Decision> {
    let mut decisions: Vec<(usize, Decision)> = Vec::with_capacity(archives.len());
    for (number, unit) in units.iter().enumerate() {
        for i in &unit.members {
            let archive = &archives[*i];
            let decision = Decision {
                name: archive.name.clone(),
                group: archive
                    .group
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                set: unit.set.clone(),
                created: archive.created,
                keep: unit.kept,
                counts: unit.standing == Standing::Counts,
                reasons: unit.reasons.clone(),
                sequence: unit.sequence.clone(),
                unit: number,
            };
            decisions.push((*i, decision));
        }
    }
    decisions.sort_by_key(|(i, _)| *i);
    decisions
        .into_iter()
        .map(|(_, decision)| decision)
        .collect()
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
