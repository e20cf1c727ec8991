//! Why a command of the agent failed.

use std::path::PathBuf;

use portcullis_agent::connect::AddressError;
use portcullis_agent::folder::FolderError;
use portcullis_agent::join::JoinError;
use portcullis_agent::run::{RunError, TokenError};

/// Why a command of the agent failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("there is no word of an agent in {0}: does it run, with this --folder?")]
    Silent(PathBuf),
}
