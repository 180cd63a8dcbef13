//! Work on archives that exist: what they are, whether they are whole, which of them stay, and copying them.

pub mod diff;
pub mod heal;
mod housekeeping;
pub mod list;
mod needed;
pub mod prune;
pub mod replicate;
pub mod retention;
mod sweep;
pub mod verify;
