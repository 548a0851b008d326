//! The `weir` binary: parses the arguments and calls the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::cli::main()
}
