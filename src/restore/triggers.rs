//! Switches a table's triggers off while its rows are loaded, and each back to the state that it had.
//!
//! All of it happens in the transaction that loads the rows, under a lock that keeps other writers out. So nobody ever sees
//! the table without its triggers, and a failure, a lost connection or a crash leaves them as they were.

use tokio_postgres::types::Type;

use crate::error::Result;
use crate::pg::Session;
use crate::sql::{Ident, QualifiedName, sql};

/// The triggers of a table that are not off already, and those of the partitions below it, from the top down: switching one
/// of a partitioned table switches its clones too, so that each partition's own state must be set after its parent's.
const ENABLED: &str = "
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, t.tgname::pg_catalog.text, t.tgenabled::pg_catalog.text, tree.level
  FROM (SELECT pg_catalog.to_regclass($1)::pg_catalog.oid, 0
        UNION SELECT p.relid, p.level FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) p WHERE p.level > 0) AS tree(oid, level)
  JOIN pg_catalog.pg_trigger t ON t.tgrelid = tree.oid
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE (t.tgenabled <> 'D' OR tree.level > 0) AND ($2 OR NOT t.tgisinternal) ORDER BY tree.level, tree.oid, t.oid";

/// Which triggers of a table are off while its rows come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Off {
    /// Its SQL name.
    pub(super) table: String,
    /// False if those stay on that guard foreign keys, which only a superuser may switch.
    pub(super) of_keys: bool,
}

/// Switches triggers of a table off; gives the statements that switch each back.
///
/// Errors: if the table cannot be locked, or a trigger not be switched.
pub(super) async fn disable(session: &Session, object: &str, off: &Off) -> Result<Vec<String>> {
    let Off { table, of_keys } = off;
    let lock = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
    session.batch(object, "locking it", &lock).await?;
    let rows = session
        .query(
            "looking at triggers",
            ENABLED,
            &[(&table.as_str(), Type::TEXT), (of_keys, Type::BOOL)],
        )
        .await?;
    let (mut disable, mut back) = (Vec::new(), Vec::new());
    for row in &rows {
        let name = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let trigger = Ident::new(row.get::<_, String>(2));
        let state: String = row.get(3);
        let alter = |word: &'static str| {
            sql!["ALTER TABLE ", &name, " ", word, " TRIGGER ", &trigger].text()
        };
        disable.push(alter("DISABLE"));
        back.push(alter(match state.as_str() {
            "A" => "ENABLE ALWAYS",
            "R" => "ENABLE REPLICA",
            "D" => "DISABLE",
            _ => "ENABLE",
        }));
    }
    if !disable.is_empty() {
        let step = "switching its triggers off";
        session.batch(object, step, &disable.join(";\n")).await?;
    }
    Ok(back)
}
