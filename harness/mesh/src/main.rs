//! `portcullis-mesh`: the local mesh from the command line.

mod cli;

use std::process::ExitCode;

use clap::Parser;

// One thread: everything that the harness itself does is light, and the children are processes.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
