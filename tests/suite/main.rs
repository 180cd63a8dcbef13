//! The integration tests, all in one binary so that they link once. This file owns the list of modules; what they share
//! (servers, databases, the `pgark` program) is in `support`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says in its output what it left out and why"
)]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod archives;
mod bad_input;
mod chroot;
mod cli;
mod comparator;
mod connections;
mod consistency;
mod damage;
mod dumping;
mod encodings;
mod groups;
mod harness;
mod injection;
mod kind_docs;
mod memory;
mod oracle;
mod recipe;
mod restore_basic;
mod round_trip;
mod support;
