//! Copies archives into another repository, byte for byte, proving every chunk on the way. What happens to them there afterwards
//! belongs to the target: pruning, verifying and restoring know nothing of where an archive came from.
//!
//! An archive stands at the target when all of its chunks do, or not at all. What is there already is not sent again, so that a
//! replication that broke off goes on where it was.

mod choose;
mod chunks;
mod plan;
mod report;
mod run;

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::tz::TimeZone;

use self::chunks::Wire;
use self::plan::{Known, steps};
use self::run::Run;
use crate::archive::records::RecordKey;
use crate::archive::{ArchiveName, GroupFilter, Repository};
use crate::config::Keep;
use crate::error::{Error, Result};
use crate::progress::Progress;

pub use self::report::{CopyState, GroupLag, ReplicateReport, Replicated, lags};

/// What to copy, and how.
#[derive(Debug, Clone)]
pub struct ReplicateOptions {
    /// The groups whose archives are copied.
    pub filter: GroupFilter,
    /// Only these archives; all if there are none.
    pub names: Vec<ArchiveName>,
    /// Only archives that these rules choose in each group: of each hour, day, week, month or year the first. All without rules.
    pub only: Keep,
    /// The calendar of these rules.
    pub zone: TimeZone,
    /// How chunks are looked at that the target has already.
    pub present: PresentCheck,
    /// Chunks on their way at once.
    pub jobs: usize,
}

impl Default for ReplicateOptions {
    fn default() -> ReplicateOptions {
        ReplicateOptions {
            filter: GroupFilter::default(),
            names: Vec::new(),
            only: Keep::default(),
            zone: TimeZone::UTC,
            present: PresentCheck::default(),
            jobs: 4,
        }
    }
}

/// How a chunk is looked at that the target has already. Its size is always compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PresentCheck {
    /// The size is enough. A copy that shares chunks of which nothing more is known gets no stamp of verification.
    Size,
    /// It is read and hashed, unless a verified archive of the same group has it at the target.
    #[default]
    Unproved,
    /// It is read and hashed.
    All,
}

/// Copies archives that `to` lacks from `from`.
///
/// Damage at the source, and another archive under the same name at the target, are no errors but stand in the report; the other
/// archives are copied. An error means that nothing was begun: a repository that cannot be listed, a name that is not there, or
/// two places that are the same repository ([`Error::Usage`]). When a store fails later, the report says where it ended.
pub async fn replicate(
    from: &Repository,
    to: &Repository,
    options: &ReplicateOptions,
    progress: &dyn Progress,
) -> Result<ReplicateReport> {
    let started = Instant::now();
    from.require_key()?;
    from.require_same_key(to)?;
    let known = Known {
        here: from.archives().await?,
        there: to.archives().await?,
        removed: removed_at(to).await?,
    };
    let unknown = |name: &&ArchiveName| !known.here.iter().any(|one| one.name == **name);
    if let Some(missing) = options.names.iter().find(unknown) {
        return Err(Error::NotFound {
            what: format!("no archive {missing} in {}", from.location()),
            remedy: "`pgark list` shows the archives".to_owned(),
        });
    }
    let steps = steps(&known, options);
    let mut run = Run::begin(
        Wire {
            from,
            to,
            jobs: options.jobs,
            progress,
        },
        options.present,
        known,
    );
    run.lease_source(&steps).await?;
    let mut report = ReplicateReport {
        source: from.location(),
        target: to.location(),
        archives: Vec::new(),
        groups: Vec::new(),
        problem: None,
        n_untried: 0,
        duration_ms: 0,
    };
    run.work(steps, &mut report).await;
    run.release_source().await;
    report.groups = run.lags(&report, &options.filter);
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// The archives whose removal is on record.
async fn removed_at(repository: &Repository) -> Result<BTreeSet<ArchiveName>> {
    let stored = repository.store().list(RecordKey::FOLDER).await?;
    let removed = stored
        .iter()
        .filter_map(|one| match RecordKey::parse(&one.key) {
            Some(RecordKey::Removed(name)) => Some(name),
            _ => None,
        });
    Ok(removed.collect())
}

#[cfg(test)]
mod tests;
