//! Workers' own locks on tables: taken without waiting, and proved to be on the tables that were planned.

use tokio_postgres::SimpleQueryMessage;

use super::plan::TablePlan;
use crate::error::{Error, Result};
use crate::pg::Session;
use crate::sql::{Literal, ReadText, Sql, sql};

/// Locks planned tables without waiting; false if somebody's wait for a stronger lock refuses it.
pub(super) async fn try_lock(session: &Session, plans: &[&TablePlan]) -> Result<bool> {
    let object = match plans {
        [one] => format!("table {}", one.name),
        many => format!("{} tables", many.len()),
    };
    let names = Sql::list(plans.iter().map(|plan| sql!["ONLY ", &plan.target]));
    let identities = Sql::list(plans.iter().map(|plan| {
        let name = plan.target.text();
        sql![
            "pg_catalog.to_regclass(",
            Literal(&name),
            ")::pg_catalog.oid"
        ]
    }));
    let statement = sql![
        "SAVEPOINT pgark; LOCK TABLE ",
        names,
        " IN ACCESS SHARE MODE NOWAIT; RELEASE SAVEPOINT pgark; SELECT pg_catalog.unnest(ARRAY[",
        identities,
        "])"
    ];
    let step = "LOCK TABLE … NOWAIT";
    match session.simple(&object, step, &statement.text()).await {
        Ok(messages) => same_tables(&messages, plans).map(|()| true),
        Err(error) if error.sqlstate() == Some("55P03") => {
            session
                .batch(&object, step, "ROLLBACK TO SAVEPOINT pgark")
                .await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Who waits for a lock on the table, for people: pid and statement.
pub(super) async fn waiters(session: &Session, plan: &TablePlan) -> Result<String> {
    let statement = sql![
        "SELECT a.pid, COALESCE(a.query, '?') FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE NOT l.granted AND l.relation = ",
        plan.relation,
        " AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
             WHERE d.datname = pg_catalog.current_database())"
    ];
    let what = format!("looking who waits for table {}", plan.name);
    let found = session.query(&what, &statement.text(), &[]).await?;
    let mut waiting = Vec::with_capacity(found.len());
    for row in &found {
        let reading = || Error::sql(&plan.name, "reading who waits");
        let pid: i32 = row.try_get(0).map_err(reading())?;
        // Whatever another session says, in whatever encoding.
        let query: ReadText = row.try_get(1).map_err(reading())?;
        waiting.push(format!("pid {pid} ({})", crate::toc::printable(&query.0)));
    }
    Ok(if waiting.is_empty() {
        "another session".to_owned()
    } else {
        waiting.join(", ")
    })
}

/// The names that were locked must still be the tables that were planned: a schema can be renamed under a lock.
fn same_tables(messages: &[SimpleQueryMessage], plans: &[&TablePlan]) -> Result<()> {
    let found: Vec<Option<u32>> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).and_then(|oid| oid.parse().ok())),
            _ => None,
        })
        .collect();
    match plans
        .iter()
        .zip(&found)
        .find(|(plan, found)| **found != Some(plan.relation))
    {
        None => Ok(()),
        Some((plan, _)) => Err(Error::failed(
            format!("table {}", plan.name),
            "its schema was renamed during the dump",
            "run the dump when no schema change is under way",
        )),
    }
}
