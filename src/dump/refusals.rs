//! What the server's limits and a standby's replay mean for a dump: errors that name the setting to change.

use super::reading::FIRST_CONNECTION;
use super::source::SourceFacts;
use crate::error::{Error, Result};

/// Adds the setting to change where the server's error follows from one; other errors stay as they are.
pub(super) fn explain(error: Error, facts: &SourceFacts, n_relations: usize) -> Error {
    let error = facts.lock_table.explain(error, n_relations);
    // A dump's transactions cannot fail to serialize, so on a standby this code is always a conflict with the replay.
    // Who is idle then is disconnected, and may see no more than that.
    if facts.database.standby && is_conflict(&error) {
        return Error::Failed {
            object: "the dump's snapshot".into(),
            problem: "the standby gave it up to go on replaying the primary's changes".into(),
            remedy: "set hot_standby_feedback = on on the standby, or raise its max_standby_streaming_delay \
                     (max_standby_archive_delay where it reads archived WAL) above the time that a dump takes, and run the dump again"
                .into(),
            source: Some(Box::new(error)),
        };
    }
    error
}

/// True if the error comes of a connection that was ended, or of a snapshot that was given up.
fn is_conflict(error: &Error) -> bool {
    let told: Option<&tokio_postgres::Error> = match error {
        Error::Sql { source, .. } => Some(source),
        Error::Failed { object, source, .. } if object == FIRST_CONNECTION => match source {
            Some(source) => source.downcast_ref(),
            None => return true,
        },
        _ => None,
    };
    told.is_some_and(|told| {
        let code = told.code().map(tokio_postgres::error::SqlState::code);
        told.is_closed() || matches!(code, Some("40001" | "57P01"))
    })
}

/// Refuses before anything is done what a standby cannot do.
pub(super) fn refuse_serializable(in_recovery: bool, serializable_deferrable: bool) -> Result<()> {
    if in_recovery && serializable_deferrable {
        return Err(Error::Usage(
            "the server is a hot standby, where no transaction can be serializable: leave --serializable-deferrable out, or \
             connect to the primary"
                .to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_standby_refuses() {
        assert!(refuse_serializable(false, true).is_ok());
        assert!(refuse_serializable(true, false).is_ok());
        let error = refuse_serializable(true, true).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error}");
    }
}
