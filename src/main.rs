//! The `tomoflow` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tomoflow::cli::main()
}
