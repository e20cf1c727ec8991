//! Closed-loop load by wrk.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::error::{BenchError, Result};
use crate::world::Credential;

/// Connections of the closed loop.
pub(crate) const CONNECTIONS: usize = 32;

/// The program: sends the credentials of a file in turn, and prints what it counted as JSON.
const SCRIPT: &str = include_str!("wrk.lua");

/// What a round counted.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Round {
    /// Answers.
    pub requests: f64,
    /// Answers of status 400 and above.
    pub refused: f64,
    /// Connections that failed, answers that did not come.
    pub failed: f64,
    /// How long it took.
    pub microseconds: f64,
    /// Processor time that the proxy used meanwhile, in microseconds.
    #[serde(default)]
    pub processor_us: f64,
}

impl Round {
    /// Answers per second.
    pub(crate) fn rate(self) -> f64 {
        self.requests / self.microseconds * 1e6
    }

    /// Processor time of the proxy per answer, in microseconds.
    pub(crate) fn cost_us(self) -> f64 {
        self.processor_us / self.requests
    }

    /// The part of the time in which the proxy ran: well below 1 when other programs took its core, or
    /// when the load generator could not keep up.
    pub(crate) fn busy(self) -> f64 {
        self.processor_us / self.microseconds
    }

    /// Processor time of the proxy per answer below status 400, in microseconds.
    pub(crate) fn good_cost_us(self) -> f64 {
        self.processor_us / (self.requests - self.refused)
    }
}

/// Credentials in a file that wrk reads: a line each of header value and cluster.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    path: PathBuf,
}

impl Feed {
    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(dir: &Path, name: &str, credentials: &[Credential]) -> Result<Self> {
        let path = dir.join(format!("{name}.feed"));
        let lines: Vec<_> =
            credentials.iter().map(|c| format!("{}\t{}\n", c.authorization, c.cluster)).collect();
        std::fs::write(&path, lines.concat()).map_err(BenchError::io("write", &path))?;
        Ok(Self { path })
    }
}

impl Feed {
    /// The header lines of the first credential.
    pub(crate) fn first(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let (authorization, cluster) = text.lines().next()?.split_once('\t')?;
        Some(format!("authorization: {authorization}\r\nx-target-cluster: {cluster}\r\n"))
    }
}

/// wrk itself.
#[derive(Debug)]
pub(crate) struct Wrk {
    script: PathBuf,
}

impl Wrk {
    /// Finds wrk.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn find(dir: &Path) -> Result<Self> {
        require("wrk", "wrk")?;
        let script = dir.join("wrk.lua");
        std::fs::write(&script, SCRIPT).map_err(BenchError::io("write", &script))?;
        Ok(Self { script })
    }

    /// Loads a listener for a time.
    ///
    /// # Errors
    /// When wrk fails, or an answer did not come.
    pub(crate) fn run(&self, target: SocketAddr, feed: &Feed, duration: Duration) -> Result<Round> {
        let seconds = duration.as_secs().max(1);
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "-s"]);
        command.arg(&self.script).arg(format!("http://{target}/v1/objects/42")).arg("--").arg(&feed.path);
        let output = command.stdin(Stdio::null()).output().map_err(BenchError::io("run", "wrk"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let round = text.lines().find(|l| l.starts_with('{')).and_then(|l| serde_json::from_str(l).ok());
        let error = String::from_utf8_lossy(&output.stderr);
        let round: Round =
            round.ok_or_else(|| BenchError::invalid("the load", format!("wrk said {text}{error}")))?;
        if round.failed > 0.0 || round.requests == 0.0 {
            return Err(BenchError::invalid("the load", format!("connections failed: {round:?}")));
        }
        Ok(round)
    }
}

/// Checks that a program is installed.
///
/// # Errors
/// With the package that has it.
pub(crate) fn require(program: &str, package: &str) -> Result<()> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if found {
        return Ok(());
    }
    Err(BenchError::Missing { what: program.into(), remedy: format!("apt-get install {package}") })
}
