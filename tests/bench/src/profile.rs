//! Where the proxy spends its time, by perf.
//!
//! Released Envoy binaries carry no symbols, so what shows is the share of each object: Envoy, the kernel,
//! the C library, and the compiled Wasm code (memory of no file, which perf names `[JIT]` or `//anon`).

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::tie;
use crate::closed_loop;
use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::setup::Setup;
use crate::wrk::require;

/// Seconds that are recorded.
const SECONDS: u64 = 5;

/// Records the gateway under saturation, prints the shares, and says how to look deeper.
///
/// # Errors
/// When perf is missing or not allowed.
pub(crate) fn record(setup: &Setup, envoy: &mut Envoy) -> Result<()> {
    require("perf", "linux-perf")?;
    let data = setup.dir.join("perf.data");
    let mut command = Command::new("perf");
    command.args(["record", "--quiet", "--call-graph", "fp", "--pid", &envoy.id().to_string(), "--output"]);
    command.arg(&data).args(["--", "sleep", &SECONDS.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    tie(&mut command, &[setup.cores.load]);
    let perf = command.spawn().map_err(BenchError::io("start", "perf"))?;
    closed_loop::load_gateway(setup, envoy, Duration::from_secs(SECONDS + 1))?;
    let output = perf.wait_with_output().map_err(BenchError::io("wait for", "perf"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BenchError::invalid("the profile", said));
    }
    for sort in ["dso", "symbol"] {
        let report = Command::new("perf")
            .args(["report", "--stdio", "--no-children", "--call-graph=none", "--percent-limit=1", "--sort"])
            .arg(sort)
            .arg("--input")
            .arg(&data)
            .output()
            .map_err(BenchError::io("run", "perf report"))?;
        let text = String::from_utf8_lossy(&report.stdout).into_owned();
        text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).for_each(|line| println!("{line}"));
        println!();
    }
    println!("look deeper: perf report --input {}", data.display());
    Ok(())
}
