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
mod cluster;
mod comparator;
mod connections;
mod consistency;
mod cross_version;
mod damage;
mod doctor;
mod dumping;
mod encodings;
mod extensions;
mod groups;
mod harness;
mod injection;
mod kind_docs;
mod kind_matrix;
mod many_tables;
mod memory;
mod oracle;
mod ordinary_user;
mod planner_statistics;
mod recipe;
mod replacing;
mod restore_basic;
mod restore_names;
mod restore_ways;
mod round_trip;
mod selecting;
mod standby;
mod support;
mod traps;
mod unknown;
