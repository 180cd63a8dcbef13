//! The crate's error type: variants by what the caller can do about them.
//! Printing the chain and choosing hints belongs to `cli`.

use std::fmt;

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what may be done about it.
///
/// Messages say what was being done to what; the cause is in `source()` and is never repeated in the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request itself cannot be carried out as given (options, names, patterns). Exit code 2.
    #[error("{0}")]
    Usage(String),

    /// The server refused or failed a statement. Exit code 1.
    #[error("{object}: {step} failed")]
    Sql {
        /// The object as people know it: `table "s"."t"`.
        object: String,
        /// What was being done: `COPY OUT of blocks 0..131072`.
        step: String,
        /// The server's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// No usable connection: unreachable, refused, unsupported. Exit code 13.
    #[error("cannot connect to {target}: {problem}")]
    Connect {
        /// Host, port, database and user.
        target: String,
        /// What happened, in one sentence.
        problem: String,
        /// What the user can do.
        remedy: String,
        /// The cause where there is one.
        #[source]
        source: Option<BoxError>,
    },

    /// Stored bytes are not what was written. Exit code 11.
    #[error("{object}: {place}: {problem}")]
    Corrupt {
        /// Whose bytes: an archive, a table.
        object: String,
        /// Segment, chunk, byte offset, or file.
        place: String,
        /// What is wrong with them.
        problem: String,
    },

    /// The store failed. Exit code 1.
    #[error("store {key}: {action} failed after {tries} tries")]
    Store {
        /// The key or prefix.
        key: String,
        /// What was asked: `put`, `get`, `list`, …
        action: &'static str,
        /// How often it was tried.
        tries: u32,
        /// The cause.
        #[source]
        source: BoxError,
    },

    /// No such repository or archive. Exit code 10.
    #[error("{what}")]
    NotFound {
        /// What is missing.
        what: String,
        /// What the user can do.
        remedy: String,
    },

    /// The repository is encrypted, and its key is not to be had: no passphrase, or a wrong one. Exit code 18.
    #[error("{what}")]
    Key {
        /// What cannot be opened, and why.
        what: String,
        /// What the user can do.
        remedy: String,
    },

    /// The archive was written by a newer pgark. Exit code 12.
    #[error("{what} needs {feature:?}, which this version does not have")]
    Feature {
        /// The archive or repository.
        what: String,
        /// The feature or format by name.
        feature: String,
    },

    /// Somebody else holds what is needed. Exit code 14.
    #[error("{what}")]
    Busy {
        /// What is held, and by whom.
        what: String,
        /// What the user can do.
        remedy: String,
    },

    /// A pre-flight check refused before anything was changed. Exit code 1.
    #[error("{what}: {} before anything was changed:\n{}", Count(.findings.len()), bullets(.findings))]
    Refused {
        /// What was refused.
        what: String,
        /// Every finding, with its remedy.
        findings: Vec<String>,
    },

    /// The role may not read all of what was asked for; nothing was written. Exit code 1.
    #[error("{what}: the role may not read all of it; nothing was written:\n{}", bullets(.findings))]
    Unreadable {
        /// What was to be read, and by whom.
        what: String,
        /// What cannot be read, a line for each kind of object.
        findings: Vec<String>,
        /// The statements that give the role what it lacks, to be run as they are.
        cures: Vec<String>,
        /// What else helps, in words.
        remedy: String,
    },

    /// Anything else that ended the work. Exit code 1.
    #[error("{object}: {problem}")]
    Failed {
        /// The object or the step.
        object: String,
        /// What happened.
        problem: String,
        /// What the user can do; may be empty.
        remedy: String,
        /// The cause where there is one.
        #[source]
        source: Option<BoxError>,
    },

    /// The user or the caller stopped the work. Exit code 130.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// A server error with the object and the step it belongs to; for `map_err`.
    pub fn sql(
        object: impl fmt::Display,
        step: impl fmt::Display,
    ) -> impl FnOnce(tokio_postgres::Error) -> Error {
        let (object, step) = (object.to_string(), step.to_string());
        move |source| Error::Sql {
            object,
            step,
            source,
        }
    }

    /// A failure without a cause of another library.
    pub fn failed(
        object: impl fmt::Display,
        problem: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> Error {
        Error::Failed {
            object: object.to_string(),
            problem: problem.to_string(),
            remedy: remedy.to_string(),
            source: None,
        }
    }

    /// Damaged bytes.
    pub fn corrupt(
        object: impl fmt::Display,
        place: impl fmt::Display,
        problem: impl fmt::Display,
    ) -> Error {
        Error::Corrupt {
            object: object.to_string(),
            place: place.to_string(),
            problem: problem.to_string(),
        }
    }

    /// What the user can do about it, where the error itself knows.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Error::Connect { remedy, .. }
            | Error::NotFound { remedy, .. }
            | Error::Key { remedy, .. }
            | Error::Busy { remedy, .. }
            | Error::Unreadable { remedy, .. }
            | Error::Failed { remedy, .. } => Some(remedy.as_str()).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    /// The server's message when a server error is the cause.
    pub fn server_says(&self) -> Option<&str> {
        let Error::Sql { source, .. } = self else {
            return None;
        };
        source
            .as_db_error()
            .map(tokio_postgres::error::DbError::message)
    }

    /// The SQLSTATE when a server error is the cause.
    pub fn sqlstate(&self) -> Option<&str> {
        let Error::Sql { source, .. } = self else {
            return None;
        };
        source.code().map(tokio_postgres::error::SqlState::code)
    }
}

struct Count(usize);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 finding"),
            n => write!(f, "{n} findings"),
        }
    }
}

fn bullets(findings: &[String]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str("  - ");
        text.push_str(finding);
        text.push('\n');
    }
    text.trim_end().to_owned()
}
