//! Work on archives that exist: what they are, and whether they are whole.

pub mod list;
pub mod verify;
