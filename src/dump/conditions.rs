//! Conditions that choose rows: the server proves that each is one whole expression before any row is read.

use std::collections::BTreeMap;

use crate::catalog::lock::Locked;
use crate::error::{Error, Result};
use crate::kinds::row::Oid;
use crate::pg::Session;
use crate::sql::{Condition, Sql, sql};

/// Asks the server about every condition. Nothing is read: the limit is zero rows.
///
/// Errors: [`Error::Failed`] with the server's own message.
pub(super) async fn prove(session: &Session, locked: &Locked) -> Result<BTreeMap<Oid, String>> {
    let conditions = &locked.wanted.conditions;
    for (oid, text) in conditions {
        let name = locked.listing.relations[oid].qualified();
        // A text such as `true) OR (true` fits into parentheses but not into brackets, and the other way round.
        let condition = Condition(text);
        for whole in [sql![condition], condition.in_brackets()] {
            let query = sql!["SELECT 1 FROM ONLY ", &name, " WHERE ", whole, " LIMIT 0"];
            ask(session, &name.quoted(), &query).await?;
        }
    }
    Ok(conditions.clone())
}

async fn ask(session: &Session, table: &str, query: &Sql) -> Result<()> {
    let object = format!("the condition on table {table}");
    let asked = session.query(&object, &query.text(), &[]).await;
    asked.map(drop).map_err(|error| Error::Failed {
        object,
        problem: "the server does not take it".into(),
        remedy: "it must be one whole expression of type boolean; names in it need their schema, because the search path is empty"
            .into(),
        source: Some(Box::new(error)),
    })
}
