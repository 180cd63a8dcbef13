//! The user's questions to the restored database, and what it answers.
//!
//! Each is a query that gives one value, asked in a transaction of its own that can change nothing and is rolled back. Values
//! are compared as text, with fixed settings (ISO dates, UTC); null reads as `NULL`.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use crate::archive::records::DrilledCheck;
use crate::config::SqlCheck;
use crate::error::{Error, Result};
use crate::pg::{ConnSettings, Session, connect};
use crate::sql::sql;

/// Characters of an answer that a record keeps.
const SHOWN_CHARS: usize = 500;

/// Finds checks that cannot be asked.
///
/// Errors: [`Error::Usage`].
pub(super) fn refuse(checks: &[SqlCheck]) -> Result<()> {
    match checks.iter().find(|check| check.sql.trim().is_empty()) {
        None => Ok(()),
        Some(check) => Err(Error::Usage(format!("check {:?} has no query", check.name))),
    }
}

/// Asks all checks, one after another. A query that fails is a check that did not pass.
///
/// Errors: if there is no connection to be had.
pub(super) async fn ask(
    target: &ConnSettings,
    checks: &[SqlCheck],
    timeout: Duration,
) -> Result<Vec<DrilledCheck>> {
    let mut session = open(target, timeout).await?;
    let mut asked = Vec::with_capacity(checks.len());
    for check in checks {
        let answer = answer(&session, check).await;
        // What failed has failed; a check may also have ended the session.
        let ended = session.batch("the check", "ROLLBACK", "ROLLBACK").await;
        if ended.is_err() {
            session = open(target, timeout).await?;
        }
        let (passed, got) = match answer {
            Ok(got) => (got == check.expect, got),
            Err(error) => (false, crate::restore::chain(&error)),
        };
        asked.push(DrilledCheck {
            name: check.name.clone(),
            sql: check.sql.clone(),
            expect: check.expect.clone(),
            got: shortened(got),
            passed,
        });
    }
    session.close().await;
    Ok(asked)
}

async fn open(target: &ConnSettings, timeout: Duration) -> Result<Session> {
    let session = connect(target, "drill").await?;
    let timeout = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    let timeout = timeout.clamp(1, i64::from(i32::MAX));
    session
        .pin(&[
            sql!["SET statement_timeout = ", timeout],
            sql!["SET default_transaction_read_only = on"],
            sql!["SET datestyle = 'ISO, MDY'"],
            sql!["SET intervalstyle = 'postgres'"],
            sql!["SET timezone = 'UTC'"],
            sql!["SET extra_float_digits = 1"],
            sql!["SET bytea_output = 'hex'"],
            sql!["SET lc_monetary = 'C'"],
            // The one row is all that is wanted of a cursor.
            sql!["SET cursor_tuple_fraction = 1"],
        ])
        .await?;
    Ok(session)
}

/// Asks by a cursor: it takes queries only, and no more than two rows ever travel.
async fn answer(session: &Session, check: &SqlCheck) -> Result<String> {
    let object = format!("check {}", check.name);
    session.batch(&object, "BEGIN", "BEGIN READ ONLY").await?;
    // By the extended protocol, which takes one statement and no more.
    let declare = format!(
        "DECLARE pgark_check NO SCROLL CURSOR FOR {}",
        check.sql.trim()
    );
    session.query(&object, &declare, &[]).await?;
    let messages = session
        .simple(&object, "FETCH", "FETCH 2 FROM pgark_check")
        .await?;
    Ok(value(&messages))
}

/// The one value of the one row, or what there is instead.
fn value(messages: &[SimpleQueryMessage]) -> String {
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    match (rows.next(), rows.next()) {
        (None, _) => "(no row)".to_owned(),
        (Some(_), Some(_)) => "(more than one row)".to_owned(),
        (Some(row), None) if row.len() != 1 => format!("({} columns)", row.len()),
        (Some(row), None) => match row.try_get(0) {
            Ok(Some(text)) => text.to_owned(),
            Ok(None) => "NULL".to_owned(),
            Err(_) => "(not UTF-8)".to_owned(),
        },
    }
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_short_and_queries_must_be_there() {
        assert_eq!(shortened("ä".repeat(500)), "ä".repeat(500));
        assert_eq!(shortened("ä".repeat(501)), format!("{}…", "ä".repeat(500)));
        let check = |sql: &str| SqlCheck {
            name: "n".into(),
            sql: sql.into(),
            expect: String::new(),
        };
        assert!(refuse(&[check("SELECT 1")]).is_ok());
        assert!(refuse(&[check("SELECT 1"), check(" ")]).is_err());
    }
}
