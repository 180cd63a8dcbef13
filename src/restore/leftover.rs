//! Planner statistics of what had none when its rows came: materialized views, partitioned tables, and tables whose
//! expression indexes or extended statistics are collected only after they exist.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::plan::is_table_statistics;
use super::report::{Ledger, chain};
use super::select::{Selection, relation_of};
use super::shared::Shared;
use super::work::Unit;
use super::worker::Worker;
use crate::error::Result;
use crate::pg::version::V18;
use crate::progress::Event;
use crate::sql::{QualifiedName, ReadText, SentText, sql};
use crate::toc::{Entry, EntryId};

/// Relations of `$1` (schemas) and `$2` (names) that want another look. Materialized views without rows have nothing to count;
/// of those whose statistics came with the archive (`$3`), only extended ones are missing.
const WANTED: &str = "
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind = 'p'
FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS w(schema, name, imported)
JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
WHERE c.relispopulated AND c.relkind IN ('m', 'p', 'r') AND (
  EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid)
  OR NOT w.imported AND (c.relkind <> 'r'
    OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indexprs IS NOT NULL)))
ORDER BY c.relkind = 'p', c.oid";

/// Collects the statistics that are left, on all workers at once. What fails is a warning.
///
/// Errors: if the target cannot be asked.
pub(super) async fn analyze(
    workers: &mut [Worker],
    shared: &Shared,
    selection: &Selection,
    ledger: &mut Ledger,
) -> Result<()> {
    let Some(first) = workers.first() else {
        return Ok(());
    };
    let session = first.session();
    let restored: Vec<&Entry> = selection
        .iter()
        .filter(|entry| !ledger.is_bad(entry.id))
        .collect();
    let brought = restored
        .iter()
        .filter(|entry| session.version() >= V18 && is_table_statistics(entry));
    let brought: BTreeSet<_> = brought.filter_map(|entry| relation_of(entry)).collect();
    let relations: BTreeSet<_> = restored
        .iter()
        .filter_map(|entry| relation_of(entry))
        .collect();
    let imported: Vec<bool> = relations
        .iter()
        .map(|name| brought.contains(name))
        .collect();
    let (schemas, names): (Vec<SentText<'_>>, Vec<SentText<'_>>) = relations
        .into_iter()
        .map(|(schema, name)| (SentText(schema), SentText(name)))
        .unzip();
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[
        (&schemas, Type::TEXT_ARRAY),
        (&names, Type::TEXT_ARRAY),
        (&imported, Type::BOOL_ARRAY),
    ];
    let rows = session
        .query("looking for statistics to collect", WANTED, params)
        .await?;
    let mut statements: Vec<String> = Vec::new();
    for row in &rows {
        let text = |at| row.get::<_, ReadText>(at).0;
        let name = QualifiedName::new(text(0), text(1));
        // The partitions have theirs; before 18 they are sampled again all the same.
        let only = row.get::<_, bool>(2) && session.version() >= V18;
        let statement = sql!["ANALYZE ", if only { "ONLY " } else { "" }, name].text();
        if !statements.contains(&statement) {
            statements.push(statement);
        }
    }
    let queue = std::sync::Mutex::new(statements.into_iter());
    let next = || {
        queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .next()
    };
    let next = &next;
    let runs = workers.iter_mut().map(|worker| async move {
        let mut problems = Vec::new();
        while let Some(statement) = next() {
            let unit = Unit::plain(EntryId(0), vec![statement.clone()]);
            let outcome = worker.run_together(shared, "statistics", &[&unit]).await;
            if let Err(error) = outcome {
                problems.push(format!("{statement}: {}", chain(&error)));
            }
        }
        problems
    });
    for problem in futures::future::join_all(runs).await.into_iter().flatten() {
        shared.progress.event(Event::Warning(problem.clone()));
        ledger.warnings.push(problem);
    }
    Ok(())
}
