//! Reads a database's catalog: tables are listed, locked, then looked at in one snapshot, and what was read is compared with a
//! fresh look at the end. What the rows mean is `kinds`' business.

pub mod facts;
pub mod fresh;
pub mod listing;
pub mod loader;
pub mod lock;
pub mod lock_table;
pub mod rights;
pub mod unknown;
pub mod wanted;
