//! Reads from a repository what the page shows: manifests, records, and the tables of each group's newest archive. Judges nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{
    ArchiveFacts, DamagedArchive, GROUPS_IN_DETAIL, GroupData, PageData, TABLES_SHOWN, TableFacts,
};
use crate::archive::manifest::Group;
use crate::archive::records::Drilled;
use crate::archive::{Archive, ArchiveName, GroupFilter, Listed, Manifest, Repository};
use crate::config::Config;
use crate::error::Result;
use crate::toc::EntryId;

/// Drills that are looked at, the newest.
const DRILLS_READ: usize = 500;
/// Runs that are looked at, for each job the newest.
const RUNS_READ: usize = 30;

/// What a page is made of besides the repository.
#[derive(Debug, Clone)]
pub struct PageOptions {
    /// Only groups of these jobs; of all if it is empty.
    pub jobs: Vec<String>,
    /// Only groups that fit.
    pub filter: GroupFilter,
    /// What is asked of the jobs, if there is a configuration.
    pub config: Option<Config>,
    /// The moment that ages are counted to.
    pub now: Timestamp,
    /// The zone in which times are shown and days begin.
    pub zone: TimeZone,
}

impl PageOptions {
    fn fits(&self, group: &Group) -> bool {
        let job = |wanted: &String| group.job.as_ref() == Some(wanted);
        self.filter.fits(group) && (self.jobs.is_empty() || self.jobs.iter().any(job))
    }
}

/// Reads what the page shows. A damaged archive or record is part of the page, not an error.
pub async fn gather(repository: &Repository, options: &PageOptions) -> Result<PageData> {
    let mut page = PageData {
        location: repository.location(),
        now: options.now,
        zone: options.zone.clone(),
        tool: Manifest::this_tool(),
        repository_problems: repository
            .marker_problem()
            .iter()
            .map(ToString::to_string)
            .collect(),
        missing_jobs: Vec::new(),
        groups: Vec::new(),
        lost: Vec::new(),
        other_drills: Vec::new(),
    };
    let mut groups: BTreeMap<Group, GroupData> = BTreeMap::new();
    for listed in repository.archives().await? {
        sort_in(&listed, options, &mut groups, &mut page.lost);
    }
    page.missing_jobs = without_archives(options, &groups);
    page.groups = groups.into_values().collect();
    let drills = repository.drills(DRILLS_READ).await?;
    page.other_drills = share_out(drills, &mut page.groups, options);
    for data in &mut page.groups {
        let Some(job) = data.group.job.clone() else {
            continue;
        };
        let config = options.config.as_ref();
        data.job = config.and_then(|config| config.job(&job)).cloned();
    }
    let n_detailed = page.groups.len().min(GROUPS_IN_DETAIL);
    for data in &mut page.groups[..n_detailed] {
        read_details(repository, data).await?;
    }
    Ok(page)
}

fn sort_in(
    listed: &Listed,
    options: &PageOptions,
    groups: &mut BTreeMap<Group, GroupData>,
    lost: &mut Vec<DamagedArchive>,
) {
    let damaged = |listed: &Listed| {
        listed.manifest.as_ref().err().map(|error| DamagedArchive {
            name: listed.name.clone(),
            error: error.to_string(),
        })
    };
    let Some(group) = &listed.group else {
        lost.extend(damaged(listed));
        return;
    };
    if !options.fits(group) {
        return;
    }
    let data = groups
        .entry(group.clone())
        .or_insert_with(|| GroupData::new(group.clone()));
    match &listed.manifest {
        Ok(manifest) => data.archives.push(facts(listed, manifest)),
        Err(_) => data.damaged.extend(damaged(listed)),
    }
}

fn facts(listed: &Listed, manifest: &Manifest) -> ArchiveFacts {
    let source = &manifest.source;
    let took = source.finished.duration_since(source.started);
    ArchiveFacts {
        name: manifest.name.clone(),
        created: manifest.created,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(0),
        n_tables: manifest.totals.n_tables,
        n_rows: manifest.totals.n_rows,
        raw_bytes: manifest.totals.raw_bytes,
        stored_bytes: manifest.totals.stored_bytes,
        new_bytes: manifest.totals.new_bytes,
        verified: listed.verified.as_ref().map(|one| (one.at, one.depth)),
    }
}

/// Jobs that the page should show and that have no archive: the first run has yet to come, or never came.
fn without_archives(options: &PageOptions, groups: &BTreeMap<Group, GroupData>) -> Vec<String> {
    let there: BTreeSet<&str> = groups
        .keys()
        .filter_map(|group| group.job.as_deref())
        .collect();
    let missing = options
        .jobs
        .iter()
        .filter(|job| !there.contains(job.as_str()));
    missing.cloned().collect()
}

/// Gives each drill to its archive's group, or to its job's; returns those of neither, unless only some jobs are wanted.
fn share_out(
    drills: Vec<Drilled>,
    groups: &mut [GroupData],
    options: &PageOptions,
) -> Vec<Drilled> {
    let mut of_archive: HashMap<ArchiveName, usize> = HashMap::new();
    let mut of_job: HashMap<String, usize> = HashMap::new();
    for (i, data) in groups.iter().enumerate() {
        let names = data.archives.iter().map(|one| &one.name);
        let names = names.chain(data.damaged.iter().map(|one| &one.name));
        of_archive.extend(names.map(|name| (name.clone(), i)));
        of_job.extend(data.group.job.clone().map(|job| (job, i)));
    }
    let mut others = Vec::new();
    for drill in drills {
        let by_job = || drill.job.as_ref().and_then(|job| of_job.get(job));
        match of_archive.get(&drill.name).or_else(by_job) {
            Some(i) => groups[*i].drills.push(drill),
            None => others.push(drill),
        }
    }
    let is_all = options.jobs.is_empty() && options.filter == GroupFilter::default();
    if is_all { others } else { Vec::new() }
}

async fn read_details(repository: &Repository, data: &mut GroupData) -> Result<()> {
    if let Some(job) = &data.group.job {
        data.runs = repository.runs(job, RUNS_READ).await?;
    }
    let Some(newest) = data.newest() else {
        return Ok(());
    };
    let read = match repository.read(&newest.name).await {
        Ok(archive) => largest_tables(&archive).await,
        Err(error) => Err(error),
    };
    match read {
        Ok(tables) => data.tables = tables,
        Err(error) => data.tables_problem = Some(error.to_string()),
    }
    Ok(())
}

/// The largest tables. Both streams are read row by row: nothing but the chosen ones is held.
async fn largest_tables(archive: &Archive) -> Result<Vec<TableFacts>> {
    let mut largest: BinaryHeap<Reverse<(u64, u64, EntryId)>> = BinaryHeap::new();
    let mut indexes = archive.table_index_reader();
    while let Some(index) = indexes.next().await? {
        largest.push(Reverse((index.n_bytes, index.n_rows, index.entry)));
        if largest.len() > TABLES_SHOWN {
            largest.pop();
        }
    }
    let mut names: HashMap<EntryId, String> = HashMap::new();
    let chosen: BTreeSet<EntryId> = largest.iter().map(|one| one.0.2).collect();
    let mut entries = archive.entry_reader();
    while let Some(entry) = entries.next().await? {
        if chosen.contains(&entry.id) {
            names.insert(entry.id, entry.name.to_string());
        }
    }
    // Of those that are turned round the smallest is the largest.
    let sorted = largest.into_sorted_vec();
    let facts = sorted
        .into_iter()
        .map(|Reverse((raw_bytes, n_rows, entry))| TableFacts {
            name: names
                .remove(&entry)
                .unwrap_or_else(|| format!("entry {}", entry.0)),
            n_rows,
            raw_bytes,
        });
    Ok(facts.collect())
}

impl GroupData {
    /// A group of which nothing is known yet.
    pub fn new(group: Group) -> GroupData {
        GroupData {
            group,
            job: None,
            archives: Vec::new(),
            damaged: Vec::new(),
            drills: Vec::new(),
            runs: Vec::new(),
            tables: Vec::new(),
            tables_problem: None,
        }
    }
}
