//! The server by itself: version, encryption, clock, standby, page checksums, limits. What its databases hold is in `database`.

use jiff::Timestamp;

use super::Check;
use crate::error::{Error, Result};
use crate::kinds::row::{CatalogRow, catalog_row};
use crate::pg::Session;
use crate::pg::version::{UNKNOWN, V18};

/// A difference of clocks that a person would want to know, in milliseconds.
const CLOCK_MS_MAX: i64 = 5_000;

catalog_row! {
    /// Settings that everybody may read.
    struct ServerRow from "(SELECT 1) AS one" {
        version: String = col("pg_catalog.current_setting('server_version')"),
        standby: bool = col("pg_catalog.pg_is_in_recovery()"),
        feedback: bool = col("pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool"),
        /// Milliseconds; -1 waits for ever.
        delay: i64 = col(
            "(SELECT s.setting::pg_catalog.int8 FROM pg_catalog.pg_settings s WHERE s.name = 'max_standby_streaming_delay')"
        ),
        checksums: bool = col("pg_catalog.current_setting('data_checksums') = 'on'"),
        now_ms: i64 = col(
            "(EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000)::pg_catalog.int8"
        ),
        wal_level: String = col("pg_catalog.current_setting('wal_level')"),
        fsync: bool = col("pg_catalog.current_setting('fsync')::pg_catalog.bool"),
    }
}

catalog_row! {
    /// How the connection travels.
    struct TransportRow from
        "(SELECT pg_catalog.inet_server_addr() IS NULL AS local) AS l \
         LEFT JOIN pg_catalog.pg_stat_ssl s ON s.pid = pg_catalog.pg_backend_pid()" {
        local: bool = col("l.local"),
        tls: Option<bool> = col("s.ssl"),
        protocol: Option<String> = col("s.version"),
    }
}

catalog_row! {
    /// Timeouts that the role or the database has, before this program sets its own.
    struct TimeoutRow from "pg_catalog.pg_settings s"
        where "s.name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'lock_timeout', \
               'idle_session_timeout') AND s.setting <> '0'" order "s.name" {
        name: String = col("s.name"),
        milliseconds: String = col("s.setting"),
    }
}

pub(super) async fn rows<R: CatalogRow>(session: &Session, what: &'static str) -> Result<Vec<R>> {
    let rows = session
        .query(what, &R::query(session.version()), &[])
        .await?;
    rows.iter()
        .map(|row| R::from_row(row).map_err(Error::sql(what, "reading its rows")))
        .collect()
}

/// Whether what travels can be read on the way.
pub(super) async fn transport(session: &Session, check: &'static str, checks: &mut Vec<Check>) {
    let found = match rows::<TransportRow>(session, "the connection").await {
        Ok(found) => found,
        Err(error) => return checks.push(Check::unseen(check, &error)),
    };
    for row in found {
        checks.push(match (row.local, row.tls) {
            (true, _) => Check::ok(
                "tls",
                "the connection is a Unix socket and leaves no machine",
            ),
            (false, Some(true)) => Check::ok(
                "tls",
                format!("encrypted, {}", row.protocol.unwrap_or_default()),
            ),
            (false, _) => Check::warning(
                "tls",
                "the connection is not encrypted; rows and secrets can be read on the way",
                "use sslmode=verify-full, or at least require, where the server has TLS",
            ),
        });
    }
}

/// Limits that a dump lifts for itself.
pub(super) async fn timeouts(session: &Session, checks: &mut Vec<Check>) {
    match rows::<TimeoutRow>(session, "timeouts").await {
        Ok(found) if found.is_empty() => {
            checks.push(Check::ok("timeouts", "none are set for this role"));
        }
        Ok(found) => {
            let set: Vec<String> = found
                .iter()
                .map(|row| format!("{} = {} ms", row.name, row.milliseconds))
                .collect();
            let text = format!(
                "{}; dump and restore lift them for their own sessions",
                set.join(", ")
            );
            checks.push(Check::ok("timeouts", text));
        }
        Err(error) => checks.push(Check::unseen("timeouts", &error)),
    }
}

/// Looks at the server.
pub(super) async fn look(session: &Session, checks: &mut Vec<Check>) {
    let before = Timestamp::now().as_millisecond();
    let found = match rows::<ServerRow>(session, "the server").await {
        Ok(found) => found,
        Err(error) => return checks.push(Check::unseen("server", &error)),
    };
    let after = Timestamp::now().as_millisecond();
    for row in found {
        version(session, &row, checks);
        checks.push(clock(row.now_ms, before, after));
        standby(&row, checks);
        checks.push(pages(&row, session.version() >= V18));
        checks.push(writes(&row));
    }
}

fn version(session: &Session, row: &ServerRow, checks: &mut Vec<Check>) {
    let ours = env!("CARGO_PKG_VERSION");
    let text = format!("PostgreSQL {}, seen by pgark {ours}", row.version);
    checks.push(if session.version() >= UNKNOWN {
        let text =
            format!("{text}, which does not know this version: what is new in it may be missing");
        Check::warning("server", text, "use a newer pgark when there is one")
    } else {
        Check::ok("server", text)
    });
}

/// The server's clock must lie between two looks at ours.
fn clock(server: i64, before: i64, after: i64) -> Check {
    let off = if server < before {
        server - before
    } else {
        (server - after).max(0)
    };
    let seconds = off.abs() / 1000;
    let direction = if off < 0 { "behind" } else { "ahead of" };
    if off.abs() > CLOCK_MS_MAX {
        let text = format!("the server's clock is {seconds} s {direction} this machine's");
        let remedy = "set both by NTP: archives are named and ordered by this machine's clock";
        Check::warning("clock", text, remedy)
    } else {
        Check::ok("clock", "the server's and this machine's agree")
    }
}

fn standby(row: &ServerRow, checks: &mut Vec<Check>) {
    if !row.standby {
        return checks.push(Check::ok("standby", "the server is a primary"));
    }
    let waits = match row.delay {
        -1 => "for ever".to_owned(),
        ms => format!("{ms} ms"),
    };
    let text = format!(
        "the server is a standby, with hot_standby_feedback {} and max_standby_streaming_delay {waits}",
        if row.feedback { "on" } else { "off" }
    );
    checks.push(if row.feedback || row.delay == -1 {
        Check::ok("standby", text)
    } else {
        Check::warning(
            "standby",
            format!("{text}: the primary's vacuum may cancel a long dump"),
            "ALTER SYSTEM SET hot_standby_feedback = on, or raise max_standby_streaming_delay, on the standby",
        )
    });
}

fn pages(row: &ServerRow, usual: bool) -> Check {
    if row.checksums {
        return Check::ok("checksums", "the server checks its pages");
    }
    let remedy = if usual {
        "pg_checksums --enable, as a new cluster of this version has it"
    } else {
        "pg_checksums --enable, while the server is stopped"
    };
    Check::warning(
        "checksums",
        "the server does not check its pages: damage on its disk is dumped as it is, or not noticed",
        remedy,
    )
}

fn writes(row: &ServerRow) -> Check {
    if row.fsync {
        Check::ok("wal", format!("wal_level is {}", row.wal_level))
    } else {
        Check::warning(
            "wal",
            "fsync is off: a power loss can ruin the whole cluster",
            "ALTER SYSTEM SET fsync = on",
        )
    }
}

/// What would make restoring faster, for a target.
pub(super) async fn of_target(session: &Session) -> Result<Vec<Check>> {
    let found = rows::<ServerRow>(session, "the target").await?;
    Ok(found
        .iter()
        .map(|row| {
            let gain = if row.wal_level == "minimal" {
                "rows that are loaded cost no WAL"
            } else {
                "with wal_level = minimal loaded rows would cost no WAL"
            };
            let text = format!(
                "PostgreSQL {}, wal_level {}: {gain}",
                row.version, row.wal_level
            );
            Check::ok("target", text)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_lies_between_two_looks() {
        assert_eq!(clock(1_000, 500, 1_500).level, Level::Ok);
        assert_eq!(clock(6_400, 500, 1_500).level, Level::Ok);
        let ahead = clock(61_500, 500, 1_500);
        assert!(ahead.found.contains("60 s ahead of"), "{ahead:?}");
        let behind = clock(-60_000, 0, 1_500);
        assert!(behind.found.contains("60 s behind"), "{behind:?}");
    }
}
