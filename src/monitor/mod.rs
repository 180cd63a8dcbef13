//! Watching: what the repositories say about the jobs, what of it is a problem, and who is told. Reads records and archives, and
//! changes nothing in a repository. When a run tells what is `jobs`' business, printing is `cli`'s.

pub mod alerts;
pub mod metrics;
pub mod notify;
mod occasions;
pub mod small_file;
pub mod status;
pub mod trend;

pub use occasions::{Besides, occasions};
pub use status::{Clock, StatusReport, status};
