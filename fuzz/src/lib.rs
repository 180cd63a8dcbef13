//! The targets, which the tests have too; each program in `fuzz_targets` feeds one of them.

#[path = "../../tests/suite/fuzzing/targets.rs"]
mod targets;

pub use targets::*;
