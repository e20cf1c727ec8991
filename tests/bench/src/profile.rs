//! Where the proxy spends its time, by perf.
//!
//! Released Envoy binaries carry no symbols but keep their frame pointers, so the stack of a sample tells
//! whether the module was running, or something that the module called: compiled Wasm is memory of no file,
//! which perf names `/tmp/perf-<pid>.map`, `[JIT]` or `//anon`, and the native module has a file.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::tie;
use crate::closed_loop::{self, Load};
use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::setup::Setup;
use crate::wrk::{Feed, require};

/// Seconds that are recorded of each chain.
const SECONDS: u64 = 5;

/// How perf names the objects of compiled Wasm, and what the native module's file is called.
const MODULE: [&str; 4] = ["/tmp/perf-", "[JIT]", "//anon", "libportcullis"];

/// Where a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the module's own code.
    Module,
    /// In something that the module called: a hostcall.
    Hostcall,
    /// In the kernel.
    Kernel,
    /// Everything else in Envoy, its C library and its VM.
    Proxy,
}

const PLACES: [(Place, &str); 4] = [
    (Place::Module, "the module's own code"),
    (Place::Hostcall, "hostcalls, from the module's call on"),
    (Place::Kernel, "the kernel"),
    (Place::Proxy, "everything else of Envoy"),
];

impl Place {
    /// The place of a stack, which names the objects of its frames from the innermost outwards.
    fn of<'a>(mut objects: impl Iterator<Item = &'a str>) -> Option<Self> {
        let ours = |object: &str| MODULE.iter().any(|name| object.contains(name));
        let innermost = objects.next()?;
        Some(if ours(innermost) {
            Self::Module
        } else if objects.any(ours) {
            Self::Hostcall
        } else if innermost.starts_with("[kernel") {
            Self::Kernel
        } else {
            Self::Proxy
        })
    }
}

/// Records the worker under saturation, load by load, and prints what a request costs at each place.
///
/// # Errors
/// When perf is missing or not allowed.
pub(crate) fn record(setup: &Setup, envoy: &mut Envoy) -> Result<()> {
    require("perf", "linux-perf")?;
    let feeds = closed_loop::feeds(setup)?;
    let mut columns = Vec::new();
    for load in closed_loop::PROFILED {
        if let Some(feed) = feeds.get(&load.present) {
            columns.push((load.title(), profile(setup, envoy, load, feed)?));
        }
    }
    print!("{:<44}", "µs a request, by the samples of the worker");
    columns.iter().for_each(|(title, _)| print!(" {title:>19}"));
    println!();
    for (at, (_, place)) in PLACES.iter().enumerate() {
        print!("  {place:<42}");
        columns.iter().filter_map(|(_, costs)| costs.get(at)).for_each(|cost| print!(" {cost:>19.1}"));
        println!();
    }
    print!("  {:<42}", "all");
    columns.iter().for_each(|(_, costs)| print!(" {:>19.1}", costs.iter().sum::<f64>()));
    println!("\nlook deeper: perf report --input {}/perf-….data", setup.dir.display());
    Ok(())
}

/// The costs of a load in microseconds a request, in the order of [`PLACES`].
fn profile(setup: &Setup, envoy: &mut Envoy, load: Load, feed: &Feed) -> Result<[f64; 4]> {
    let data = setup.dir.join(format!("perf-{}.data", load.title().replace(' ', "-")));
    let mut command = Command::new("perf");
    command.args(["record", "--quiet", "--call-graph", "fp", "--pid", &envoy.id().to_string(), "--output"]);
    command.arg(&data).args(["--", "sleep", &SECONDS.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    tie(&mut command, &[setup.cores.load]);
    let perf = command.spawn().map_err(BenchError::io("start", "perf"))?;
    let round = closed_loop::one(setup, envoy, load, feed, Duration::from_secs(SECONDS + 1))?;
    let output = perf.wait_with_output().map_err(BenchError::io("wait for", "perf"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BenchError::invalid("the profile", said));
    }
    Ok(shares(&stacks(&data)?).map(|share| share * round.cost_us()))
}

/// The stacks of the samples as perf prints them.
fn stacks(data: &Path) -> Result<String> {
    let mut command = Command::new("perf");
    command.args(["script", "--fields", "comm,ip,dso", "--input"]).arg(data);
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::io("run", "perf script"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The share of each of [`PLACES`] among the samples of the workers. A sample is a line with the thread's
/// name, a line `address (object)` for each frame, and an empty one.
fn shares(stacks: &str) -> [f64; 4] {
    let mut counts = [0.0; 4];
    for sample in stacks.split("\n\n").filter(|sample| sample.trim_start().starts_with("wrk:")) {
        let objects = sample.lines().skip(1).filter_map(|line| line.split_once(" (").map(|(_, o)| o));
        let place = Place::of(objects);
        if let Some(at) = PLACES.iter().position(|(known, _)| Some(*known) == place) {
            counts[at] += 1.0;
        }
    }
    let all: f64 = counts.iter().sum();
    counts.map(|count| if all > 0.0 { count / all } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_apart_by_their_stacks() {
        let stacks = "wrk:worker_0 \n\t  1 (/bin/envoy)\n\t  2 (/lib/libc.so.6)\n\n\
                      envoy \n\t  1 (/bin/envoy)\n\n\
                      wrk:worker_0 \n\t  9 (/tmp/perf-7.map)\n\t  1 (/bin/envoy)\n\n\
                      wrk:worker_0 \n\t  f ([kernel.kallsyms])\n\t  1 (/bin/envoy)\n\n\
                      wrk:worker_0 \n\t  3 (/lib/libc.so.6)\n\t  9 (//anon)\n\t  1 (/bin/envoy)\n\n";
        assert_eq!(shares(stacks), [0.25; 4]);
        let native = "wrk:worker_0 \n\t  9 (/x/libportcullis.so)\n\t  1 (/bin/envoy)\n\n\
                      wrk:worker_0 \n\t  1 (/bin/envoy)\n\t  9 (/x/libportcullis.so)\n\n";
        assert_eq!(shares(native), [0.5, 0.5, 0.0, 0.0]);
        assert_eq!(shares(""), [0.0; 4]);
    }
}
