//! Reads what the repositories say: archives, runs, drills, copies. Decides nothing but which archive is a job's last success.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Saved, StatusOptions};
use crate::archive::manifest::{Group, Manifest, Scope};
use crate::archive::records::{Drilled, Ran, RunOutcome};
use crate::archive::{Archive, ArchiveName, Listed, Repository};
use crate::config::{Job, Trend};
use crate::error::{Error, Result};
use crate::monitor::trend;

/// The newest drills that are looked at, of all jobs of a repository.
const DRILLS_MAX: usize = 100;
/// The newest runs of a job that are looked at.
const RUNS_MAX: usize = 20;

/// What is in a repository.
pub(super) struct Contents {
    pub(super) repository: Repository,
    /// Oldest first.
    pub(super) listed: Vec<Listed>,
    /// Newest first.
    pub(super) drills: Vec<Drilled>,
}

impl Contents {
    pub(super) fn groups(&self) -> BTreeSet<Group> {
        let groups = self.listed.iter().filter_map(|one| one.group.clone());
        groups.collect()
    }
}

/// What is in a repository of the configuration; `Ok(None)` if there is none yet, or the reason why it cannot be read.
pub(super) type Readable = Result<Option<Contents>, String>;

pub(super) async fn contents(opened: &Result<Repository>) -> Readable {
    match opened {
        Ok(repository) => read(repository).await.map(Some).map_err(|e| worded(&e)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(worded(error)),
    }
}

/// An error with its causes in one line.
fn worded(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    crate::sql::hide_passwords(&text).into_owned()
}

pub(super) async fn read(repository: &Repository) -> Result<Contents> {
    Ok(Contents {
        repository: repository.clone(),
        listed: repository.archives().await?,
        drills: repository.drills(DRILLS_MAX).await?,
    })
}

/// What is known of one job or group.
#[derive(Default)]
pub(super) struct Facts {
    /// Where its repository is.
    pub(super) location: String,
    /// Why its repository cannot be read.
    pub(super) unreadable: Option<String>,
    /// What is wrong with the repository's own file, although its archives can be read.
    pub(super) marker: Option<String>,
    /// Complete archives.
    pub(super) n_archives: u64,
    /// The last success.
    pub(super) newest: Option<Saved>,
    /// The newest verification of any of the archives.
    pub(super) verified: Option<Timestamp>,
    /// Archives whose manifests cannot be read, with reasons.
    pub(super) damaged: Vec<(ArchiveName, String)>,
    /// Newest first.
    pub(super) runs: Vec<Ran>,
    /// Newest first.
    pub(super) drills: Vec<Drilled>,
    /// What is strange about the newest archive, or why that could not be found out.
    pub(super) strange: Vec<Result<trend::Finding, String>>,
    /// In the order of the configuration.
    pub(super) copies: Vec<Copies>,
}

/// The copies in one replica.
pub(super) struct Copies {
    pub(super) unreadable: Option<String>,
    pub(super) n_archives: u64,
    pub(super) newest: Option<(ArchiveName, Timestamp)>,
}

/// What is known of `job`.
pub(super) async fn of_job(
    job: &Job,
    contents: &BTreeMap<&str, Readable>,
    options: StatusOptions,
) -> Facts {
    let is_ours = |group: &Group| group.job.as_deref() == Some(job.name.as_str());
    let readable = contents.get(job.repository.as_str());
    let mut facts = match readable {
        Some(Ok(Some(contents))) => {
            let of = Of {
                contents,
                trend: &job.trend,
                sets: job.all_databases,
            };
            of.facts(&is_ours, Some(&job.name), options).await
        }
        Some(Err(reason)) => Facts {
            unreadable: Some(reason.clone()),
            ..Facts::default()
        },
        _ => Facts::default(),
    };
    if facts.location.is_empty() {
        facts.location.clone_from(&job.repository);
    }
    for replica in &job.replicas {
        let readable = contents.get(replica.repository.as_str());
        facts.copies.push(match readable {
            Some(Ok(Some(there))) => {
                let ours = there.listed.iter().filter(|one| fits(one, &is_ours));
                let whole: Vec<&Manifest> = ours
                    .filter_map(|one| one.manifest.as_deref().ok())
                    .filter(|one| !job.all_databases || is_whole_set(one))
                    .collect();
                Copies {
                    unreadable: there.repository.marker_problem().map(worded),
                    n_archives: whole.len() as u64,
                    newest: whole.last().map(|one| (one.name.clone(), one.created)),
                }
            }
            other => Copies {
                unreadable: other.and_then(|readable| readable.as_ref().err().cloned()),
                n_archives: 0,
                newest: None,
            },
        });
    }
    facts
}

/// What is known of a group.
pub(super) async fn of_group(
    contents: &Contents,
    group: &Group,
    trend: &Trend,
    options: StatusOptions,
) -> Facts {
    let of = Of {
        contents,
        trend,
        sets: false,
    };
    of.facts(&|one| one == group, group.job.as_deref(), options)
        .await
}

fn fits(listed: &Listed, is_ours: &impl Fn(&Group) -> bool) -> bool {
    listed.group.as_ref().is_some_and(is_ours)
}

fn is_whole_set(manifest: &Manifest) -> bool {
    manifest.closes().is_some_and(|set| set.missing.is_empty())
}

/// Reads the facts of one job or group.
struct Of<'a> {
    contents: &'a Contents,
    trend: &'a Trend,
    /// True if only complete sets count.
    sets: bool,
}

impl Of<'_> {
    async fn facts(
        &self,
        is_ours: &impl Fn(&Group) -> bool,
        job: Option<&str>,
        options: StatusOptions,
    ) -> Facts {
        let repository = &self.contents.repository;
        let runs = match job {
            Some(job) => repository.runs(job, RUNS_MAX).await,
            None => Ok(Vec::new()),
        };
        let (runs, unreadable) = match runs {
            Ok(runs) => (runs, None),
            Err(error) => (Vec::new(), Some(worded(&error))),
        };
        let ours: Vec<&Listed> = self
            .contents
            .listed
            .iter()
            .filter(|one| fits(one, is_ours))
            .collect();
        let whole: Vec<(&Listed, &Arc<Manifest>)> = ours
            .iter()
            .filter_map(|one| Some((*one, one.manifest.as_ref().ok()?)))
            .filter(|(one, manifest)| {
                (!self.sets || is_whole_set(manifest)) && !was_refused(one, &runs)
            })
            .collect();
        let damaged = ours
            .iter()
            .filter_map(|one| Some((one.name.clone(), one.manifest.as_ref().err()?.to_string())))
            .collect();
        let drills = self.contents.drills.iter().filter(|drilled| {
            let by_hand = || ours.iter().any(|one| one.name == drilled.name);
            match drilled.job.as_deref() {
                Some(of) => Some(of) == job,
                None => by_hand(),
            }
        });
        let newest = whole.last().copied();
        let verified = ours
            .iter()
            .filter_map(|one| Some(one.verified.as_ref()?.at));
        Facts {
            location: repository.location(),
            unreadable,
            marker: repository.marker_problem().map(worded),
            n_archives: whole.len() as u64,
            newest: newest.map(|(listed, manifest)| self.saved(listed, manifest)),
            verified: verified.max(),
            damaged,
            drills: drills.cloned().collect(),
            strange: match newest {
                Some((_, manifest)) => self.strange(manifest, options).await,
                None => Vec::new(),
            },
            runs,
            copies: Vec::new(),
        }
    }

    fn saved(&self, listed: &Listed, manifest: &Manifest) -> Saved {
        let mut saved = Saved {
            archive: manifest.name.clone(),
            created: manifest.created,
            duration_ms: duration_ms(manifest.source.started, manifest.source.finished),
            tables: 0,
            rows: 0,
            raw_bytes: 0,
            stored_bytes: 0,
            new_bytes: 0,
            verified: listed.verified.as_ref().map(|verified| verified.at),
        };
        let parts = self.parts(manifest);
        for part in &parts {
            saved.tables += part.totals.n_tables;
            saved.rows += part.totals.n_rows;
            saved.raw_bytes += part.totals.raw_bytes;
            saved.stored_bytes += part.totals.stored_bytes;
            saved.new_bytes += part.totals.new_bytes;
        }
        if let Some(began) = parts.iter().map(|part| part.source.started).min() {
            saved.duration_ms = duration_ms(began, manifest.source.finished);
        }
        saved
    }

    /// The archive itself, and, where sets count, those of the set that it closes.
    fn parts<'a>(&'a self, manifest: &'a Manifest) -> Vec<&'a Manifest> {
        let set = manifest.closes().filter(|_| self.sets);
        let members = set.map_or(&[][..], |set| &set.members);
        let found = self.contents.listed.iter().filter_map(|one| {
            let is_member = members.iter().any(|member| member.name == one.name);
            one.manifest.as_deref().ok().filter(|_| is_member)
        });
        found.chain([manifest]).collect()
    }

    async fn strange(
        &self,
        manifest: &Manifest,
        options: StatusOptions,
    ) -> Vec<Result<trend::Finding, String>> {
        let mut strange = Vec::new();
        for part in self.parts(manifest) {
            // Roles and tablespaces have no rows.
            if part.group.scope == Scope::Globals {
                continue;
            }
            match self.compared(&part.name, options).await {
                Ok(findings) => strange.extend(findings.into_iter().map(|mut finding| {
                    if self.sets {
                        finding.text =
                            format!("database {}: {}", part.group.database, finding.text);
                        finding.about =
                            format!("{} of database {}", finding.about, part.group.database);
                    }
                    Ok(finding)
                })),
                Err(error) => strange.push(Err(worded(&error))),
            }
        }
        strange
    }

    async fn compared(
        &self,
        name: &ArchiveName,
        options: StatusOptions,
    ) -> Result<Vec<trend::Finding>> {
        let archive: Archive = self.contents.repository.read(name).await?;
        trend::of_archive(&archive, &self.contents.listed, self.trend, options.tables).await
    }
}

/// True if the run that made the archive failed, as one whose verification found damage, and nobody has found it whole since.
fn was_refused(listed: &Listed, runs: &[Ran]) -> bool {
    let refused = runs
        .iter()
        .any(|ran| ran.outcome == RunOutcome::Failed && ran.archives.contains(&listed.name));
    refused && listed.verified.is_none()
}

fn duration_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_millis()).unwrap_or(0)
}
