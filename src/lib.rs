//! pgark: a native logical dumper for `PostgreSQL`.

pub mod archive;
pub mod catalog;
#[doc(hidden)] // the program, not the library
pub mod cli;
pub mod dump;
pub mod error;
pub mod graph;
pub mod kinds;
pub mod manage;
pub mod pg;
pub mod progress;
pub mod restore;
pub mod sql;
pub mod store;
pub mod toc;

pub use error::{Error, Result};
