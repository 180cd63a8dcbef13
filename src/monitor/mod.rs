//! Watching: what the repositories say about the jobs, what of it is a problem, and who is told. Reads records and archives, and
//! changes nothing in a repository. When a run tells what is `jobs`' business, printing is `cli`'s.

pub mod notify;
mod occasions;

pub use occasions::{Besides, occasions};
