//! Feeds `conninfo` of `tests/suite/fuzzing/targets.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pgark_fuzz::conninfo(bytes));
