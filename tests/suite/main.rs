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
mod benching;
mod cat;
mod chroot;
mod cli;
mod cloning;
mod cluster;
mod comparator;
mod comparing;
mod connections;
mod consistency;
mod copies;
mod cross_version;
mod damage;
mod doctor;
mod drill;
mod dumping;
mod encodings;
mod encryption;
mod extensions;
mod faults;
mod fuzzing;
mod groups;
mod guide;
mod harness;
mod hostile_archives;
mod hostile_servers;
mod injection;
mod jobs;
mod key_ranges;
mod kind_docs;
mod kind_matrix;
mod large_objects;
mod load;
mod many_tables;
mod memory;
mod operating;
mod oracle;
mod ordinary_user;
mod packaging;
mod planner_statistics;
mod recipe;
mod replacing;
mod report;
mod restore_basic;
mod restore_names;
mod restore_ways;
mod resume;
mod retention;
mod retrying;
mod round_trip;
mod s3;
mod salvage;
mod secrets;
mod selecting;
mod small_restore;
mod small_tables;
mod speed;
mod standby;
mod support;
mod traps;
mod unknown;
mod watching;
