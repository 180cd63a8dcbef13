//! The `pgark` binary.
fn main() {}
