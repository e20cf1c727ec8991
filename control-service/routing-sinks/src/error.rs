//! Why routes are not where they should be.

use std::io;
use std::path::PathBuf;

use portcullis_control_routing::Unreadable;

/// Why nothing could be done at all.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A file or the folder.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else writes there.
    #[error("{0} is being written by another run; try again when it has ended")]
    Busy(PathBuf),
    /// A file that is not ours stands where one of ours belongs.
    #[error(
        "{0} is none of our files and stands where one belongs; move it away, or write over it with --force-conflicts"
    )]
    ForeignFile(PathBuf),
    /// What would be written does not read back.
    #[error("{path} would not read back as what it is made of ({problem}); nothing was written")]
    NotReadable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A resource cannot be written down.
    #[error(transparent)]
    Unwritable(#[from] Unreadable),
}

impl SinkError {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
