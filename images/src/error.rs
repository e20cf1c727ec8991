//! Why there is no image.

use std::path::PathBuf;

use crate::document::Machine;

/// Why an image was not made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file that cannot be read or written.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A program that the image cannot have.
    #[error("{path}: {why}", path = path.display())]
    Program {
        /// Which.
        path: PathBuf,
        /// What it is instead of what it has to be.
        why: String,
    },
    /// Two programs for the same kind of machine.
    #[error("there are two programs for {0:?}: an index names each kind of machine once")]
    Twice(Machine),
    /// A time that no calendar has.
    #[error("{0} is no time: give the seconds since 1970 of the commit, as SOURCE_DATE_EPOCH has them")]
    Time(i64),
    /// A layer that could not be written.
    #[error("the layer could not be written: {0}")]
    Layer(#[source] std::io::Error),
    /// A file that does not tell what was built.
    #[error("{path}: {why}", path = path.display())]
    Build {
        /// Which.
        path: PathBuf,
        /// What it does not tell.
        why: String,
    },
    /// A program of the toolchain that does not say what it was asked.
    #[error("`{command}`: {why}")]
    Toolchain {
        /// What was run.
        command: String,
        /// What it said instead.
        why: String,
    },
    /// A crate that a bill of materials must name, and cannot.
    #[error("{0} is not one of the crates that were built, or there are several: build it anew")]
    Crate(String),
    /// A document that is no JSON.
    #[error("the documents: {0}")]
    Json(#[from] serde_json::Error),
}

impl ImageError {
    /// Maps a failure to read or write a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }
}
