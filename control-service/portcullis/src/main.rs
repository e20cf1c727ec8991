//! `portcullis`: the control service and the operator's commands.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    portcullis_control::cli::Cli::parse().run()
}
