//! Server versions as a type: compare with the named constants only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A server's `server_version_num`, such as 150018 for 15.18.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ServerVersion(pub u32);

/// The oldest server that pgark reads.
pub const V12: ServerVersion = ServerVersion(120_000);
/// PostgreSQL 13.
pub const V13: ServerVersion = ServerVersion(130_000);
/// PostgreSQL 14.
pub const V14: ServerVersion = ServerVersion(140_000);
/// PostgreSQL 15.
pub const V15: ServerVersion = ServerVersion(150_000);
/// PostgreSQL 16.
pub const V16: ServerVersion = ServerVersion(160_000);
/// PostgreSQL 17.
pub const V17: ServerVersion = ServerVersion(170_000);
/// PostgreSQL 18, the newest that pgark knows.
pub const V18: ServerVersion = ServerVersion(180_000);
/// The first version that pgark does not know.
pub const UNKNOWN: ServerVersion = ServerVersion(190_000);

impl ServerVersion {
    /// The major version, such as 15.
    pub fn major(self) -> u32 {
        self.0 / 10_000
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10_000, self.0 % 10_000)
    }
}
