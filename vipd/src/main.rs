//! The `vipd` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vipd::cli::main()
}
