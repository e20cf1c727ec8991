//! `portcullis-testhost`: runs a Proxy-Wasm module against a scenario, without writing Rust.

mod answers;
mod bench;
mod inspect;
mod modules;
mod out;
mod run;
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs Proxy-Wasm filters in a scripted world, as Envoy would.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays a scenario and prints what happened. Exit code 1: an expectation was not met.
    Run {
        /// The scenario (YAML).
        scenario: PathBuf,
        /// A module in the place of the scenario's, or of that of one plugin. Give it as often as needed.
        #[arg(long, value_name = "[PLUGIN=]PATH")]
        module: Vec<String>,
        /// Print only the verdicts, not the exchanges with their traces.
        #[arg(long)]
        quiet: bool,
    },
    /// Says whether a module can run here (and in Envoy), and what it imports and exports.
    Inspect {
        /// The module (.wasm or .wat).
        module: PathBuf,
    },
    /// Repeats the requests of a scenario and prints how many a second go through, on one thread.
    Bench {
        /// The scenario (YAML).
        scenario: PathBuf,
        /// A module in the place of the scenario's, or of that of one plugin. Give it as often as needed.
        #[arg(long, value_name = "[PLUGIN=]PATH")]
        module: Vec<String>,
        /// For how long.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
}

/// Bad input: the scenario, the module, or its configuration.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { scenario, module, quiet } => run::run(&scenario, &module, quiet),
        Command::Inspect { module } => inspect::inspect(&module),
        Command::Bench { scenario, module, seconds } => bench::bench(&scenario, &module, seconds),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(BAD_INPUT)
        }
    }
}
