//! Pruning: removes the archives that no rule keeps, then sweeps. Which those are is `retention`'s, sweeping is `sweep`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::retention::{Candidate, Decision, Sequence, decide};
pub use super::sweep::{Amount, Swept};
use super::sweep::{AtWork, Sweep, at_work};
use super::verify::{VerifyOptions, verify};
use super::{housekeeping, sweep};
use crate::archive::chunks::trash_key;
use crate::archive::lease::{Lease, LeaseKind};
use crate::archive::manifest::Scope;
use crate::archive::name::ArchiveName;
use crate::archive::records::Depth;
use crate::archive::repository::{GroupFilter, Repository, manifest_key};
use crate::config::Keep;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};

/// How long what was removed stays in the trash: longer than a restore or a copy of an archive takes that had begun to read it.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only say what would be done; nothing is written, not even a lease.
    pub dry_run: bool,
    /// How long what nobody needs stays in the trash before it is deleted, by the store's clock.
    pub grace: Duration,
    /// Where days, weeks, months and years begin.
    pub zone: TimeZone,
    /// The time that it is; serves to recognise archives from the future.
    pub now: Timestamp,
    /// Sweep chunks that no archive needs.
    pub sweep: bool,
    /// Archives that go by their names instead of by rules, each with the others of its set. The last good one of a group never goes.
    pub remove: Vec<ArchiveName>,
}

impl Default for PruneOptions {
    fn default() -> PruneOptions {
        PruneOptions {
            dry_run: false,
            grace: GRACE,
            zone: TimeZone::system(),
            now: Timestamp::now(),
            sweep: true,
            remove: Vec::new(),
        }
    }
}

/// What a prune did, or would do. The fields are API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// The repository.
    pub location: String,
    /// True if nothing was done.
    pub dry_run: bool,
    /// What was decided about each archive of the chosen groups, oldest first.
    pub archives: Vec<Decision>,
    /// The archives that were removed, or would be.
    pub removed: Vec<ArchiveName>,
    /// What was swept; `None` if that was not asked for or not possible.
    pub swept: Option<Swept>,
    /// Why nothing was swept although it was asked for.
    pub not_swept: Option<String>,
    /// Old records that were deleted.
    pub n_records_deleted: u64,
}

/// Removes the archives of the groups that `filter` chooses and that `keep` does not keep, then sweeps the whole repository.
///
/// A set is chosen if `filter` fits all of its archives. Only complete, verified archives count, and only they go. Without a rule
/// no archive goes.
///
/// # Errors
/// [`Error::Usage`] for rules that cannot be meant, [`Error::Busy`] while another prune is at work, and those of the store. An archive that
/// cannot be read is no error: [`PruneReport::not_swept`] says so.
pub async fn prune(
    repository: &Repository,
    filter: &GroupFilter,
    keep: &Keep,
    options: &PruneOptions,
    progress: &dyn Progress,
) -> Result<PruneReport> {
    check(keep, options)?;
    let fits = |archive: &Candidate| match &archive.group {
        Some(group) => filter.fits(group),
        None => *filter == GroupFilter::default(),
    };
    let choose = |archives: &[Candidate], decisions: &[Decision]| {
        let mut units: BTreeSet<usize> = decisions.iter().map(|one| one.unit).collect();
        for (archive, decision) in archives.iter().zip(decisions) {
            if !fits(archive) {
                units.remove(&decision.unit);
            }
        }
        units
    };
    exclusively(repository, &choose, (keep, options), progress).await
}

fn check(keep: &Keep, options: &PruneOptions) -> Result<()> {
    let problems = keep.problems();
    if !problems.is_empty() {
        return Err(Error::Usage(problems.join("\n")));
    }
    if !options.remove.is_empty() && !keep.is_everything() {
        return Err(Error::Usage(
            "archives go either by their names or by rules, not by both at once".to_owned(),
        ));
    }
    Ok(())
}

/// Verifies the archives `made`, one or those of a set, and then prunes what they follow, keeping the newest `keep_last`.
///
/// # Errors
/// As [`prune`], and [`Error::Corrupt`] if one of `made` is damaged; nothing was removed then.
pub async fn rotate(
    repository: &Repository,
    made: &[ArchiveName],
    keep_last: u32,
    progress: &dyn Progress,
) -> Result<PruneReport> {
    let options = VerifyOptions {
        depth: Depth::Bytes,
        ..VerifyOptions::default()
    };
    let verified = verify(repository, Some(made), &options, progress).await?;
    if let Some(found) = verified.findings.iter().find(|finding| finding.damage) {
        return Err(Error::corrupt(
            format_args!(
                "the archive that was just made in {}",
                repository.location()
            ),
            &found.key,
            format_args!("{}; no older archive was removed", found.problem),
        ));
    }
    let keep = Keep {
        last: Some(keep_last),
        ..Keep::default()
    };
    let choose = |_: &[Candidate], decisions: &[Decision]| {
        let of_made = decisions.iter().filter(|one| made.contains(&one.name));
        let sequences: BTreeSet<&Sequence> = of_made.map(|one| &one.sequence).collect();
        let same = decisions
            .iter()
            .filter(|one| sequences.contains(&one.sequence));
        same.map(|one| one.unit).collect()
    };
    exclusively(
        repository,
        &choose,
        (&keep, &PruneOptions::default()),
        progress,
    )
    .await
}

/// Which units a prune is about.
type Choose<'a> = &'a (dyn Fn(&[Candidate], &[Decision]) -> BTreeSet<usize> + Sync);

/// Prunes under a lease that keeps other prunes away; a dry run needs none.
async fn exclusively(
    repository: &Repository,
    choose: Choose<'_>,
    (keep, options): (&Keep, &PruneOptions),
    progress: &dyn Progress,
) -> Result<PruneReport> {
    let mut run = Run {
        repository,
        keep,
        options,
        progress,
        lease: None,
        report: PruneReport {
            location: repository.location(),
            dry_run: options.dry_run,
            ..PruneReport::default()
        },
    };
    if options.dry_run {
        let now_ms = options.now.as_millisecond();
        let at_work = at_work(repository, None, now_ms).await?;
        run.prune(choose, &at_work, now_ms).await?;
        return Ok(run.report);
    }
    let lease = Lease::take(repository, LeaseKind::Prune, "prune", Vec::new()).await?;
    run.lease = Some(&lease);
    let pruned = run.with_lease(choose, &lease).await;
    let report = run.report;
    let released = lease.release().await;
    pruned?;
    released?;
    Ok(report)
}

struct Run<'a> {
    repository: &'a Repository,
    keep: &'a Keep,
    options: &'a PruneOptions,
    progress: &'a dyn Progress,
    lease: Option<&'a Lease>,
    report: PruneReport,
}

impl Run<'_> {
    async fn with_lease(&mut self, choose: Choose<'_>, lease: &Lease) -> Result<()> {
        let now_ms = lease.store_now_ms().await;
        let at_work = at_work(self.repository, Some(lease), now_ms).await?;
        if let Some(other) = &at_work.prune {
            let minutes = other
                .expires_ms
                .saturating_sub(now_ms)
                .saturating_add(59_999)
                / 60_000;
            return Err(Error::Busy {
                what: format!("another prune is at work in {}", self.repository.location()),
                remedy: format!(
                    "wait for it; if it was killed, its lease ({}) ends within {minutes} minutes",
                    other.key
                ),
            });
        }
        self.prune(choose, &at_work, now_ms).await?;
        let now_ms = lease.store_now_ms().await;
        self.report.n_records_deleted = housekeeping::delete_old(self.repository, now_ms).await?;
        Ok(())
    }

    async fn prune(&mut self, choose: Choose<'_>, at_work: &AtWork, now_ms: i64) -> Result<()> {
        self.phase("choosing archives");
        let listed = self.repository.archives().await?;
        let archives: Vec<Candidate> = listed.iter().map(Candidate::of).collect();
        drop(listed);
        let mut decisions = decide(&archives, self.keep, &self.options.zone, self.options.now);
        let units = choose(&archives, &decisions);
        self.finish_broken_sets(&archives, &mut decisions).await?;
        let named = self.go_by_name(&archives, &mut decisions)?;
        let mut gone: Vec<(usize, &Decision)> = decisions.iter().enumerate().collect();
        gone.retain(|(_, one)| {
            !one.keep && (units.contains(&one.unit) || named.contains(&one.unit))
        });
        // The set's list first: without it no reader takes the rest for a set.
        gone.sort_by_key(|(i, one)| (one.unit, !is_globals(&archives[*i])));
        for (_, decision) in gone {
            self.remove(&decision.name, &decision.reasons.join("; "))
                .await?;
        }
        for name in &self.options.remove {
            if !archives.iter().any(|one| one.name == *name) {
                self.remove(name, "it had vanished; removed by its name")
                    .await?;
            }
        }
        decisions.retain(|one| units.contains(&one.unit));
        self.report.archives = decisions;
        if self.options.sweep {
            self.sweep(at_work, now_ms).await?;
        }
        Ok(())
    }

    async fn remove(&mut self, name: &ArchiveName, why: &str) -> Result<()> {
        if let Some(lease) = self.lease {
            lease.prove().await?;
            self.repository.remove(name, why).await?;
            self.progress.event(Event::Task(format!("removed {name}")));
        }
        self.report.removed.push(name.clone());
        Ok(())
    }

    async fn sweep(&mut self, at_work: &AtWork, now_ms: i64) -> Result<()> {
        self.phase("sweeping chunks");
        let gone: BTreeSet<ArchiveName> = self.report.removed.iter().cloned().collect();
        let none = BTreeSet::new();
        let sweep = Sweep {
            repository: self.repository,
            lease: self.lease,
            at_work,
            now_ms,
            grace_ms: i64::try_from(self.options.grace.as_millis()).unwrap_or(i64::MAX),
            without: if self.lease.is_some() { &none } else { &gone },
            done: sweep::Swept::default(),
        };
        match sweep.run().await {
            Ok(swept) => self.report.swept = Some(swept),
            Err(error @ (Error::Corrupt { .. } | Error::Feature { .. })) => {
                self.report.not_swept = Some(format!(
                    "nothing is swept while it is not known which chunks an archive needs: {error}"
                ));
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// Archives that are left of a set whose removal broke off: its list lies in the trash already.
    async fn finish_broken_sets(
        &self,
        archives: &[Candidate],
        decisions: &mut [Decision],
    ) -> Result<()> {
        for (archive, decision) in archives.iter().zip(decisions) {
            let Some(set) = archive.set.as_ref().filter(|_| decision.set.is_none()) else {
                continue;
            };
            let Ok(list) = set.name.parse::<ArchiveName>() else {
                continue;
            };
            let key = manifest_key(&list);
            let store = self.repository.store();
            if store.head(&key).await?.is_none() && store.head(&trash_key(&key)).await?.is_some() {
                decision.keep = false;
                decision.reasons = vec![format!("the set {} was removed", set.name)];
            }
        }
        Ok(())
    }

    /// Marks the archives that go by their names, with those of their sets; gives their units.
    fn go_by_name(
        &self,
        archives: &[Candidate],
        decisions: &mut [Decision],
    ) -> Result<BTreeSet<usize>> {
        let named = |decision: &&Decision| self.options.remove.contains(&decision.name);
        let units: BTreeSet<usize> = decisions.iter().filter(named).map(|one| one.unit).collect();
        let goes = |one: &Decision| units.contains(&one.unit);
        for going in decisions.iter().filter(|one| goes(one) && one.counts) {
            let stays =
                |one: &&Decision| one.counts && one.sequence == going.sequence && !goes(one);
            if !decisions.iter().any(|one| stays(&one)) {
                return Err(Error::Usage(format!(
                    "{} is the last good archive of {}, which never goes",
                    going.name, going.group
                )));
            }
        }
        debug_assert_eq!(archives.len(), decisions.len());
        for decision in decisions.iter_mut().filter(|one| units.contains(&one.unit)) {
            decision.keep = false;
            decision.reasons = vec!["named".to_owned()];
        }
        Ok(units)
    }

    fn phase(&self, name: &'static str) {
        self.progress.event(Event::Phase {
            name,
            bytes: 0,
            tasks: 0,
        });
    }
}

fn is_globals(archive: &Candidate) -> bool {
    let group = archive.group.as_ref();
    group.is_some_and(|group| group.scope == Scope::Globals)
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
