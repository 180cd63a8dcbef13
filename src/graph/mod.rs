//! Dependency order and restore scheduling as pure functions: no async, no object kinds, no I/O.
//!
//! [`Graph::order`] puts what a dump found into the order in which a restore can create it:
//! `cycles.rs` removes cycles, `stages.rs` makes needs and stages agree, `order.rs` sorts.
//! [`scheduler`] runs a restore's tasks as far side by side as needs and locks allow.

mod cycles;
mod items;
mod order;
pub mod scheduler;
mod stages;
mod tasks;
#[cfg(test)]
mod tests;

pub use order::{Conflict, Graph, Half, Node, Order, Placed, Warning};
