//! How memory and the server's parallel workers are shared out among index builds and checks of foreign keys that run side by
//! side.

use std::collections::HashMap;

use tokio_postgres::SimpleQueryMessage;

use super::shared::Shared;
use super::worker::Worker;
use crate::error::{Error, Result};
use crate::graph::scheduler::TaskId;

/// What there is to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Means {
    /// Memory in KiB for all builds together.
    pub(super) memory_kib: u64,
    /// The most that the server takes for one, in KiB.
    pub(super) most_kib: u64,
    /// Connections that work.
    pub(super) n_workers: u32,
    /// Parallel workers of the server for one build.
    pub(super) parallel: Parallel,
}

/// How many parallel workers of the server a build may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parallel {
    /// Always so many.
    Fixed(u32),
    /// The server has so many cores, and nothing else to do.
    Cores(u32),
    /// The server's cores are not known: so many, its own setting, or as many as connections that find nothing to do.
    Setting(u32),
}

/// What one build may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// `maintenance_work_mem`, in KiB.
    pub(super) memory_kib: u64,
    /// `max_parallel_maintenance_workers`.
    pub(super) parallel: u32,
}

impl Share {
    /// The settings, for the transaction that the build runs in.
    pub(super) fn settings(self) -> String {
        let Share {
            memory_kib,
            parallel,
        } = self;
        format!(
            "SET LOCAL maintenance_work_mem = '{memory_kib}kB';\nSET LOCAL max_parallel_maintenance_workers = {parallel}"
        )
    }
}

/// Who works at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Connections at work, those that begin now included.
    pub(super) n_busy: u32,
    /// Builds that begin now.
    pub(super) n_builds: u32,
}

/// Shares that are given away.
#[derive(Debug)]
pub(super) struct Shares {
    means: Means,
    held: HashMap<TaskId, u64>,
}

/// No server refuses this little for `maintenance_work_mem`.
const LEAST_KIB: u64 = 1024;

impl Shares {
    /// Nothing is given away.
    pub(super) fn new(means: Means) -> Shares {
        Shares {
            means,
            held: HashMap::new(),
        }
    }

    /// What a build gets that begins now. A part for each connection at work: one that builds alone has everything. Whoever comes
    /// later has at least its part of all connections, so that all together never hold twice what there is.
    pub(super) fn give(&mut self, id: TaskId, moment: Moment) -> Share {
        let Means {
            memory_kib,
            most_kib,
            n_workers,
            parallel,
        } = self.means;
        let n_busy = moment.n_busy.max(1);
        let held: u64 = self.held.values().sum();
        let wanted = memory_kib / u64::from(n_busy);
        let least = memory_kib / u64::from(n_workers.max(1));
        let memory_kib = wanted.min(memory_kib.saturating_sub(held)).max(least);
        let memory_kib = memory_kib.min(most_kib).max(LEAST_KIB);
        self.held.insert(id, memory_kib);
        let parallel = match parallel {
            Parallel::Fixed(n) => n,
            Parallel::Cores(n_cores) => n_cores.saturating_sub(n_busy) / n_busy,
            Parallel::Setting(n) => {
                n.max(n_workers.saturating_sub(n_busy) / moment.n_builds.max(1))
            }
        };
        Share {
            memory_kib,
            parallel,
        }
    }

    /// A task is over.
    pub(super) fn take_back(&mut self, id: TaskId) {
        self.held.remove(&id);
    }
}

/// A number of tasks or connections.
pub(super) fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// What the target has for index builds: unless the user says otherwise, as much as so many sessions would have by themselves.
pub(super) async fn means(shared: &Shared, worker: &Worker, n_workers: usize) -> Result<Means> {
    let session = worker.session();
    let of = "FROM pg_catalog.pg_settings WHERE name = ";
    let ask = format!(
        "SELECT setting, max_val, (SELECT setting {of}'max_parallel_maintenance_workers') {of}'maintenance_work_mem'"
    );
    let rows = session.simple("the target", "settings", &ask).await?;
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let number = |column: usize| -> Option<u64> { row?.try_get(column).ok()??.parse().ok() };
    let (Some(own_kib), Some(most_kib), Some(parallel)) = (number(0), number(1), number(2)) else {
        return Err(Error::failed(
            "the target",
            "does not say what maintenance_work_mem is",
            "",
        ));
    };
    let parallel = match shared.index_workers {
        Some(n) => Parallel::Fixed(n),
        None if session.is_on_this_machine() => {
            Parallel::Cores(std::thread::available_parallelism().map_or(1, |n| small(n.get())))
        }
        None => Parallel::Setting(u32::try_from(parallel).unwrap_or(0)),
    };
    let given_kib = shared.index_memory_mib.map(|mib| u64::from(mib) * 1024);
    Ok(Means {
        memory_kib: given_kib.unwrap_or(own_kib.saturating_mul(n_workers as u64)),
        most_kib,
        n_workers: small(n_workers),
        parallel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024;

    fn shares(n_workers: u32, parallel: Parallel) -> Shares {
        Shares::new(Means {
            memory_kib: u64::from(n_workers) * 64 * MIB,
            most_kib: u64::MAX,
            n_workers,
            parallel,
        })
    }

    fn begins(n_busy: u32) -> Moment {
        Moment {
            n_busy,
            n_builds: 1,
        }
    }

    #[test]
    fn who_builds_alone_has_all_memory_and_the_free_cores() {
        let mut shares = shares(4, Parallel::Cores(4));
        let alone = shares.give(TaskId(0), begins(1));
        assert_eq!((alone.memory_kib, alone.parallel), (256 * MIB, 3));
        shares.take_back(TaskId(0));
        let among_all = shares.give(TaskId(1), begins(4));
        assert_eq!((among_all.memory_kib, among_all.parallel), (64 * MIB, 0));
    }

    #[test]
    fn together_they_never_hold_twice_what_there_is() {
        for n_workers in 1..=9 {
            let mut shares = shares(n_workers, Parallel::Fixed(0));
            for n_busy in 1..=n_workers {
                shares.give(TaskId(n_busy), begins(n_busy));
            }
            let held: u64 = shares.held.values().sum();
            assert!(held < 2 * shares.means.memory_kib, "{n_workers}: {held}");
        }
    }

    #[test]
    fn a_server_elsewhere_keeps_its_setting_and_takes_over_for_idle_connections() {
        let mut shares = shares(8, Parallel::Setting(2));
        let n = |shares: &mut Shares, n_busy, n_builds| {
            shares
                .give(TaskId(n_busy), Moment { n_busy, n_builds })
                .parallel
        };
        assert_eq!(n(&mut shares, 8, 1), 2);
        assert_eq!(n(&mut shares, 2, 2), 3);
        assert_eq!(n(&mut shares, 1, 1), 7);
    }

    #[test]
    fn settings_are_within_what_the_server_takes() {
        let mut shares = Shares::new(Means {
            memory_kib: u64::MAX,
            most_kib: 2_097_151,
            n_workers: 1,
            parallel: Parallel::Fixed(5),
        });
        let settings = shares.give(TaskId(0), begins(1)).settings();
        assert_eq!(
            settings,
            "SET LOCAL maintenance_work_mem = '2097151kB';\nSET LOCAL max_parallel_maintenance_workers = 5"
        );
        shares.means.memory_kib = 0;
        shares.take_back(TaskId(0));
        assert_eq!(shares.give(TaskId(1), begins(1)).memory_kib, 1024);
    }
}
