//! The `larder` program: the server, and its client on the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    larder::cli::main()
}
