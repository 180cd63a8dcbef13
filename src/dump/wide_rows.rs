//! Rows that COPY cannot carry as text, or at all.

use super::plan::TablePlan;
use crate::error::Error;

/// COPY text doubles bytea: a row can pass the server's limit of 1 GB (seen on 15: XX000 and 54000).
pub(super) fn is_too_wide(error: &Error) -> bool {
    match error {
        Error::Sql { source, .. } => source.as_db_error().is_some_and(|db| {
            db.code().code() == "54000"
                || (db.code().code() == "XX000"
                    && db
                        .message()
                        .starts_with("invalid memory alloc request size"))
        }),
        _ => false,
    }
}

/// Such an error with the table, the place and the remedy; any other error as it is.
pub(super) fn explain(error: Error, plan: &TablePlan, cell: Option<usize>) -> Error {
    if !is_too_wide(&error) {
        return error;
    }
    Error::Failed {
        object: format!("table {}", plan.name),
        problem: format!("{}: a row is wider than COPY can carry", plan.step(cell)),
        remedy: "leave the table out with -T, or shorten the value".into(),
        source: Some(Box::new(error)),
    }
}
