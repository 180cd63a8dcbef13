//! Work on archives that exist: what they are, whether they are whole, and copying them.

pub mod list;
pub mod replicate;
pub mod verify;
