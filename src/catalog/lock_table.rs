//! The server's table of locks: how many it has room for, and what to set when a dump needs more.

use crate::error::Error;

/// The settings that the lock table's size follows from (manual 19.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTable {
    /// `max_locks_per_transaction`.
    pub per_transaction: u32,
    /// `max_connections` and `max_prepared_transactions` together.
    pub n_transactions: u32,
}

impl LockTable {
    /// Names the setting and its value in a refusal for want of room; other errors stay as they are.
    ///
    /// The dump locks what it reads until its end: tables for their rows, sequences for their values, what views deparse to.
    pub fn explain(self, error: Error, n_relations: usize) -> Error {
        if !is_full(&error) {
            return error;
        }
        let needed = self.needed(n_relations);
        Error::Failed {
            object: "the tables to dump".into(),
            problem: "the server has no room for their locks".into(),
            remedy: format!(
                "raise max_locks_per_transaction from {} to {needed} and restart the server ({n_relations} relations, \
                 {} transactions at once), or dump fewer tables at once with -n or -t",
                self.per_transaction, self.n_transactions
            ),
            source: Some(Box::new(error)),
        }
    }

    /// A value of `max_locks_per_transaction` with room for a lock on each relation and as many for everybody else as before.
    fn needed(self, n_relations: usize) -> u64 {
        let n_relations = u64::try_from(n_relations).unwrap_or(u64::MAX);
        n_relations.div_ceil(u64::from(self.n_transactions.max(1)))
            + u64::from(self.per_transaction)
    }
}

/// "Out of memory" is 53200 too, but only a full lock table has the setting in its hint, whatever the messages' language.
fn is_full(error: &Error) -> bool {
    let Error::Sql { source, .. } = error else {
        return false;
    };
    error.sqlstate() == Some("53200")
        && source
            .as_db_error()
            .and_then(tokio_postgres::error::DbError::hint)
            .is_some_and(|hint| hint.contains("max_locks_per_transaction"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_has_room_for_every_relation() {
        let table = LockTable {
            per_transaction: 64,
            n_transactions: 100,
        };
        assert_eq!(table.needed(20_000), 264);
        assert_eq!(table.needed(20_001), 265);
        assert_eq!(table.needed(0), 64);
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        let table = LockTable {
            per_transaction: 64,
            n_transactions: 100,
        };
        let error = table.explain(Error::Cancelled, 5);
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
}
