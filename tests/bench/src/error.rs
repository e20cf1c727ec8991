//! What can go wrong in a measurement, and what the operator should do about it.

use std::path::{Path, PathBuf};

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Something that must be there is not.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to run.
        remedy: String,
    },
    /// An operation of the operating system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program of the measurement ended or never became ready.
    #[error("{name} {what}; the end of {}:\n{tail}", log.display())]
    Program {
        /// The program.
        name: String,
        /// What happened.
        what: String,
        /// Its log.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// A measurement whose numbers would mean nothing.
    #[error("{what} was not measured: {why}")]
    Invalid {
        /// The measurement.
        what: String,
        /// Why its numbers would mean nothing, and what to look at.
        why: String,
    },
    /// What a run must show does not hold.
    #[error("{what} does not hold: {why}")]
    Failed {
        /// What must hold.
        what: &'static str,
        /// What was seen instead.
        why: String,
    },
}

/// The result of a step.
pub(crate) type Result<T> = std::result::Result<T, BenchError>;

impl BenchError {
    /// Names the action and the path of an I/O error.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A program's failure, with the end of its log.
    pub(crate) fn program(name: &str, what: impl Into<String>, log: &Path) -> Self {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(15)).map(|l| format!("  {l}"));
        Self::Program {
            name: name.to_owned(),
            what: what.into(),
            log: log.to_owned(),
            tail: tail.collect::<Vec<_>>().join("\n"),
        }
    }

    /// A measurement whose numbers would mean nothing.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }
}

/// A measurement that something came between.
pub(crate) fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> BenchError {
    move |error| BenchError::invalid(what, error.to_string())
}
