//! Running the programs that build and download, with progress and with errors that carry their output.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::{MeshError, Result};
use crate::process::die_with_parent;

/// A program that has to be there already.
pub(super) struct Required {
    /// Its name.
    pub(super) tool: &'static str,
    /// What it is needed for.
    pub(super) purpose: &'static str,
    /// What to install.
    pub(super) install: &'static str,
}

impl Required {
    /// Maps a failure to start it.
    pub(super) fn error(&self, error: std::io::Error) -> MeshError {
        if error.kind() == std::io::ErrorKind::NotFound {
            return MeshError::ToolMissing { tool: self.tool, purpose: self.purpose, install: self.install };
        }
        MeshError::io("start", self.tool)(error)
    }
}

/// Runs a command whose stderr has a line for each step; reports every five seconds how many there were.
pub(super) fn run_counting(
    command: &mut Command,
    required: &Required,
    hint: &str,
    report: &mut dyn FnMut(usize, Duration),
) -> Result<()> {
    const EVERY: Duration = Duration::from_secs(5);
    die_with_parent(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| required.error(e))?;
    let (sender, lines) = channel();
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(std::result::Result::ok) {
                // The receiver is gone only when the caller has failed already.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    let (start, mut next, mut count) = (Instant::now(), EVERY, 0);
    let mut last = VecDeque::new();
    loop {
        match lines.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => {
                count += 1;
                last.push_back(line);
                if last.len() > 20 {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if start.elapsed() >= next {
            next += EVERY;
            report(count, start.elapsed());
        }
    }
    let status = child.wait().map_err(MeshError::io("wait for", required.tool))?;
    if status.success() {
        return Ok(());
    }
    Err(failure(command, &status.to_string(), Vec::from(last).join("\n"), hint))
}

/// Runs a command to its end.
pub(super) fn run(command: &mut Command, required: &Required, hint: &str) -> Result<Output> {
    die_with_parent(command);
    let output = command.stdin(Stdio::null()).output().map_err(|e| required.error(e))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(failure(command, &output.status.to_string(), String::from_utf8_lossy(&text).into_owned(), hint))
}

fn failure(command: &Command, status: &str, output: String, hint: &str) -> MeshError {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    MeshError::Command {
        command: words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" "),
        status: status.to_owned(),
        output,
        hint: hint.to_owned(),
    }
}
