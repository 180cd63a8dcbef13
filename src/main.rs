//! The `pgark` binary: everything is in [`pgark::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    pgark::cli::main()
}
