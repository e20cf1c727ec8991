//! Why cases could not be tried.

use std::path::PathBuf;

use super::reader::Mistake;
use crate::error::MeshError;

/// Why cases could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Files of cases with mistakes.
    #[error("the files of cases have {} mistakes:\n{}", .0.len(), list(.0))]
    Mistakes(Vec<Mistake>),
    /// A file or folder that cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There was nothing to try.
    #[error("there is no case in {}; give files of cases, or folders with *.yaml of them", paths(.0))]
    Nothing(Vec<PathBuf>),
    /// A folder that cannot be run here.
    #[error("{path} {problem}")]
    Manifests {
        /// The folder.
        path: PathBuf,
        /// Why, and what to give.
        problem: String,
    },
    /// The mesh failed.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
