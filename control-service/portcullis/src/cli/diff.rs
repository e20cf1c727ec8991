//! `portcullis config diff`: in what a file differs from what a running service uses, and what a reload would do.

use std::io::Write;

use portcullis_control_config::{Config, Document, differences};
use portcullis_control_contract::configuration::{Difference, Effect, RunningConfiguration};
use serde::Serialize;
use serde_json::Value;

use super::client::{Call, ClientError, Connection, ask};

/// Why the answer is not that both say the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiffError {
    /// They differ.
    #[error("{all} field(s) differ: {live} taken over by a running service, {restart} in use after a restart", all = live + restart)]
    Different {
        /// Fields that a reload takes over.
        live: usize,
        /// Fields that it does not.
        restart: usize,
    },
    /// The service cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer cannot be printed.
    #[error("the answer cannot be printed: {0}")]
    Print(#[from] std::io::Error),
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report {
    differences: Vec<Difference>,
    refused: Vec<String>,
}

/// Compares a file with what the service uses, and prints the differences.
///
/// # Errors
/// [`DiffError`], also when they differ.
pub(super) async fn diff(connection: &Connection, file: &Config) -> Result<(), DiffError> {
    let RunningConfiguration { settings, pending, refused } =
        ask(connection, Call::get(&["v1", "configuration"])).await?;
    let mut differences = differences(&Document::told(settings), &file.document);
    // What a file holds that both name is not compared here: the service says that of its own.
    differences.extend(pending.into_iter().filter(|d| d.running == d.file));
    let report = Report { differences, refused };
    let text = if connection.prints_json() {
        [serde_json::to_string(&report).map_err(std::io::Error::from)?, "\n".to_owned()].concat()
    } else {
        render(&report)
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let live = report.differences.iter().filter(|d| d.effect == Effect::Live).count();
    match report.differences.len() - live {
        0 if live == 0 => Ok(()),
        restart => Err(DiffError::Different { live, restart }),
    }
}

fn render(report: &Report) -> String {
    let mut lines = Vec::new();
    if !report.refused.is_empty() {
        let fields = report.refused.join(", ");
        lines.push(format!("warning: the service refuses the file that it has itself, for: {fields}"));
    }
    for Difference { field, running, file, effect } in &report.differences {
        let effect = match effect {
            Effect::Live => "taken over by a running service",
            Effect::Restart => "needs a restart",
        };
        lines.push(format!("{field}: {effect}"));
        if running == file {
            lines.push("  the file that it names holds something else than what is in use".to_owned());
            continue;
        }
        lines.extend(side('-', running.as_ref()).into_iter().chain(side('+', file.as_ref())));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// One side of a difference; JSON escapes what could fool a terminal.
fn side(sign: char, value: Option<&Value>) -> Option<String> {
    value.map(|value| format!("  {sign} {value}"))
}
