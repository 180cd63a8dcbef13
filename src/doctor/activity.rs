//! What others do on the server at the moment: long transactions, locks that shut a dump out, prepared transactions.

use super::server::rows;
use super::{Check, some, things};
use crate::kinds::row::catalog_row;
use crate::pg::Session;

/// A transaction as old as this holds back vacuum, and whoever waits for it.
const LONG_SECONDS: i64 = 3600;

catalog_row! {
    /// Transactions of others that are long open. Those of other roles show no start to a role without `pg_read_all_stats`.
    struct LongRow from "pg_catalog.pg_stat_activity a"
        where "a.xact_start IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'"
        order "a.xact_start" {
        pid: i32 = col("a.pid"),
        user: Option<String> = col("a.usename::pg_catalog.text"),
        seconds: i64 = col("EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::pg_catalog.int8"),
    }
}

catalog_row! {
    /// Whether other roles' sessions can be seen.
    struct SightRow from "(SELECT 1) AS one" {
        sees_all: bool = col("pg_catalog.pg_has_role(CURRENT_USER, 'pg_read_all_stats', 'USAGE')"),
    }
}

catalog_row! {
    /// Exclusive locks on tables of the database, held or waited for.
    struct ExclusiveRow from
        "pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database \
         JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        where "d.datname = pg_catalog.current_database() AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p') \
               AND n.nspname !~ '^pg_' AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()"
        order "l.granted, n.nspname, c.relname" {
        name: String = col("pg_catalog.format('%I.%I', n.nspname, c.relname)"),
        pid: Option<i32> = col("l.pid"),
        granted: bool = col("l.granted"),
    }
}

catalog_row! {
    /// Transactions that were prepared and not finished.
    struct PreparedRow from "pg_catalog.pg_prepared_xacts p"
        where "p.database = pg_catalog.current_database()" order "p.prepared" {
        name: String = col("p.gid"),
    }
}

/// Looks at what others do.
pub(super) async fn look(session: &Session, checks: &mut Vec<Check>) {
    let found = rows::<LongRow>(session, "transactions").await;
    let sight = rows::<SightRow>(session, "the role's sight").await;
    checks.push(match (found, sight) {
        (Ok(found), Ok(sight)) => long(&found, sight.iter().any(|row| row.sees_all)),
        (Err(error), _) | (_, Err(error)) => Check::unseen("transactions", &error),
    });
    checks.push(
        match rows::<ExclusiveRow>(session, "exclusive locks").await {
            Ok(found) => exclusive(&found),
            Err(error) => Check::unseen("exclusive", &error),
        },
    );
    checks.push(
        match rows::<PreparedRow>(session, "prepared transactions").await {
            Ok(found) => {
                let names: Vec<String> = found.into_iter().map(|row| row.name).collect();
                prepared(&names)
            }
            Err(error) => Check::unseen("prepared", &error),
        },
    );
}

fn long(found: &[LongRow], sees_all: bool) -> Check {
    let sight = if sees_all {
        ""
    } else {
        "; those of other roles cannot be seen (GRANT pg_read_all_stats)"
    };
    let long = found.iter().filter(|row| row.seconds >= LONG_SECONDS);
    let names: Vec<String> = long
        .map(|row| {
            let user = crate::sql::printable(row.user.as_deref().unwrap_or("?"));
            format!("pid {} of {user} since {} min", row.pid, row.seconds / 60)
        })
        .collect();
    if names.is_empty() {
        let text = format!("none is open for an hour or longer{sight}");
        return Check::ok("transactions", text);
    }
    Check::warning(
        "transactions",
        format!("open for long: {}{sight}", some(&names)),
        "end them if they are forgotten (SELECT pg_terminate_backend(pid)): an ALTER that waits for one shuts everybody out, a dump too",
    )
}

fn exclusive(found: &[ExclusiveRow]) -> Check {
    if found.is_empty() {
        return Check::ok(
            "exclusive",
            "nobody holds or awaits an exclusive lock on a table",
        );
    }
    let names: Vec<String> = found
        .iter()
        .map(|row| {
            let how = if row.granted { "held" } else { "awaited" };
            let pid = row.pid.map_or_else(
                || "a prepared transaction".to_owned(),
                |pid| format!("pid {pid}"),
            );
            format!("{} {how} by {pid}", crate::sql::printable(&row.name))
        })
        .collect();
    Check::warning(
        "exclusive",
        format!(
            "{} on tables: {}",
            things(found.len(), "exclusive lock"),
            some(&names)
        ),
        "a dump waits for these; end the sessions, or give up in time with --lock-wait-timeout",
    )
}

fn prepared(names: &[String]) -> Check {
    if names.is_empty() {
        return Check::ok("prepared", "no prepared transaction is left");
    }
    let quoted: Vec<String> = names
        .iter()
        .map(|name| crate::sql::printable(name))
        .collect();
    Check::warning(
        "prepared",
        format!(
            "{} that nobody has finished: {}",
            things(names.len(), "prepared transaction"),
            some(&quoted)
        ),
        "COMMIT PREPARED or ROLLBACK PREPARED; what they wrote is in no dump, and their locks stay",
    )
}
