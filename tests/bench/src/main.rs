//! `portcullis-bench`: what Portcullis costs per request on a real Envoy, beside Envoy's own filters.

mod breakdown;
mod child;
mod closed_loop;
mod control;
#[cfg(test)]
mod differential;
mod envoy;
mod error;
mod filters;
mod h2load;
mod http;
mod latency;
mod mesh_api;
mod open_loop;
mod probe;
mod proc;
mod profile;
mod report;
mod scale;
mod setup;
mod soak;
mod stats;
mod suspend;
mod trace;
mod world;
mod wrk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use portcullis_mesh::paths;
use serde_json::{Value, json};

use crate::breakdown::Breakdown;
use crate::closed_loop::Rounds;
use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::report::Report;
use crate::setup::{Effort, Setup};
use crate::soak::Bounds;

/// Measures the request path on a real Envoy.
#[derive(Debug, Parser)]
#[command(name = "portcullis-bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    bench: BenchArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct BenchArguments {
    /// Fewer and shorter rounds: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Measure this part only; may be given more than once.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Throughput over HTTP/2 instead of HTTP/1.1 (by h2load, with cached credentials).
    #[arg(long)]
    http2: bool,
    /// Another build of the module: both are measured in the same rounds, and nothing else is. It tells
    /// what a change is worth.
    #[arg(long, conflicts_with_all = ["only", "http2"])]
    against: Option<PathBuf>,
    /// Records where the proxy spends its time with perf, and prints it.
    #[arg(long)]
    profile: bool,
    /// Goes before almost everything else on the machine (as root): latency means nothing on a busy one.
    #[arg(long)]
    first: bool,
    #[command(flatten)]
    proxy: ProxyArguments,
}

#[derive(Debug, Args)]
struct ProxyArguments {
    /// The Envoy binary; otherwise the pinned one is installed.
    #[arg(long, env = "PORTCULLIS_ENVOY")]
    envoy: Option<PathBuf>,
    /// The pinned version of Envoy to install and use, for example 1.37.0.
    #[arg(long, conflicts_with = "envoy")]
    envoy_version: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Millions of requests of every kind while the snapshot changes: memory must stay flat.
    Soak {
        /// Requests after which it ends.
        #[arg(long, default_value_t = 10_000_000)]
        requests: u64,
        /// Minutes within which they must have been answered.
        #[arg(long, default_value_t = 120)]
        minutes: u64,
        #[command(flatten)]
        proxy: ProxyArguments,
    },
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests per second, beside Envoy's own filters.
    Throughput,
    /// Added latency at half of the saturation rate.
    Latency,
    /// Suspension to the last request let through.
    Suspend,
    /// Memory, start and deltas with 100,000 clusters and keys.
    Scale,
    /// Hostcalls per request and what each costs.
    Breakdown,
    /// What the control service bears: audit records, heartbeats, polls. Needs no Envoy.
    Control,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        None => bench(&arguments.bench),
        Some(Command::Soak { requests, minutes, proxy }) => soak(*requests, *minutes, proxy),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

impl ProxyArguments {
    /// The binary that was given, or the pinned one.
    fn binary(&self) -> Result<PathBuf> {
        if let Some(binary) = &self.envoy {
            return Ok(binary.clone());
        }
        let version = self.envoy_version.as_deref();
        let tools = portcullis_mesh::tools::install(&paths::root(), version, &mut |line| eprintln!("{line}"))
            .map_err(|e| BenchError::Missing { what: "Envoy".into(), remedy: e.to_string() })?;
        Ok(tools.envoy)
    }
}

fn soak(requests: u64, minutes: u64, proxy: &ProxyArguments) -> Result<()> {
    let setup = Setup::new(Effort::of(false), proxy.binary()?, false)?;
    soak::run(&setup, Bounds { requests, time: Duration::from_secs(60 * minutes) })
}

fn bench(arguments: &BenchArguments) -> Result<()> {
    if arguments.first {
        child::go_first()?;
    }
    let wanted = |part| match &arguments.against {
        Some(_) => part == Part::Throughput,
        None => arguments.only.is_empty() || arguments.only.contains(&part),
    };
    let (effort, mut report) = (Effort::of(arguments.quick), Report::default());
    if wanted(Part::Control) {
        // Before this process is pinned to one core: the service may use all of them.
        let (_dir, _lock) = setup::alone()?;
        control::measure(effort, &mut report)?;
    }
    if arguments.profile
        || arguments.only.is_empty()
        || arguments.only.iter().any(|part| *part != Part::Control)
    {
        return with_envoy(arguments, effort, report, wanted);
    }
    let environment = json!({"quick": arguments.quick, "first": arguments.first});
    finish(arguments, &report, environment, None)
}

/// Measures what stands on an Envoy.
fn with_envoy(
    arguments: &BenchArguments,
    effort: Effort,
    mut report: Report,
    wanted: impl Fn(Part) -> bool,
) -> Result<()> {
    let mut setup = Setup::new(effort, arguments.proxy.binary()?, arguments.http2)?;
    setup.other.clone_from(&arguments.against);
    if wanted(Part::Throughput) || wanted(Part::Latency) || wanted(Part::Suspend) || arguments.profile {
        let mut envoy = Envoy::start("bench", &setup.launch(), &closed_loop::chains(&setup), &setup.api)?;
        if wanted(Part::Throughput) {
            Rounds::take(&setup, &mut envoy)?.report(&setup, &mut report);
        }
        let needed = wanted(Part::Latency) || wanted(Part::Suspend) || arguments.profile;
        let saturation = if needed { closed_loop::saturation(&setup, &mut envoy)? } else { 0.0 };
        if arguments.profile {
            profile::record(&setup, &mut envoy)?;
        }
        if wanted(Part::Latency) {
            latency::measure(&setup, &mut envoy, saturation, &mut report)?;
        }
        drop(envoy);
        if wanted(Part::Suspend) {
            suspend::measure(&setup, saturation, &mut report)?;
        }
    }
    if wanted(Part::Scale) {
        scale::measure(&setup, &mut report)?;
    }
    let breakdown = if wanted(Part::Breakdown) { Some(Breakdown::measure(&setup)?) } else { None };
    let environment = json!({
        "envoy": version(&setup.binary), "wasm": setup.wasm, "quick": arguments.quick, "first": arguments.first, "http2": arguments.http2,
        "cores": {"proxy": setup.cores.proxy, "load": setup.cores.load},
    });
    finish(arguments, &report, environment, breakdown)
}

/// Prints what was measured, and writes it down.
fn finish(
    arguments: &BenchArguments,
    report: &Report,
    environment: Value,
    breakdown: Option<Breakdown>,
) -> Result<()> {
    println!("{}", report.table());
    if let Some(breakdown) = &breakdown {
        println!("{}", breakdown.table());
    }
    let path = paths::target().join(arguments.file());
    report.write(&path, environment, breakdown.map(|b| b.to_json()))?;
    println!("written to {}", path.display());
    Ok(())
}

impl BenchArguments {
    /// A run of everything with the default proxy over HTTP/1.1 has the stable name; others have their own.
    fn file(&self) -> String {
        let version = self.proxy.envoy_version.as_deref().map_or(String::new(), |v| format!("-{v}"));
        let protocol = if self.http2 { "-http2" } else { "" };
        let part = if self.only.is_empty() && self.against.is_none() { "" } else { "-part" };
        format!("bench{version}{protocol}{part}.json")
    }
}

/// What Envoy says of itself.
fn version(binary: &Path) -> String {
    let output = std::process::Command::new(binary).arg("--version").output();
    output.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
