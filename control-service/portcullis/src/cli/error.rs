//! Why a command failed, and what the shell learns of it.

use std::io::Write;
use std::process::ExitCode;

use portcullis_control_config::LoadError;
use portcullis_control_store::{BackupError, StoreError};

use super::agent_error::AgentError;
use super::client::ClientError;
use super::diff::DiffError;
use super::explain::ExplainError;
use super::exported::ExportedError;
use super::lint::LintError;
use super::plugins::PluginsError;
use super::policy::PolicyError;
use super::test_identity::TestIdentityError;
use crate::location::LocationError;
use crate::serve::ServeError;

/// The exit code of a program whose reader went away, as a shell shows it: 128 and SIGPIPE.
const NO_READER: u8 = 128 + 13;

#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Exported(#[from] ExportedError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "there is an administrator already; use its token, or, if it is lost, run again with --break-glass"
    )]
    AdministratorExists,
    #[error(transparent)]
    Diff(#[from] DiffError),
    /// The file that is to be compared cannot be used.
    #[error(transparent)]
    DiffFile(LoadError),
    #[error(transparent)]
    Plugins(#[from] PluginsError),
    #[error(transparent)]
    Lint(#[from] LintError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Something was found, and is printed already.
    #[error("{0} findings")]
    Found(usize),
    #[error(transparent)]
    Explain(#[from] ExplainError),
    #[error(transparent)]
    TestIdentity(#[from] TestIdentityError),
    #[error(
        "{0} things in the database do not fit together; restore a backup, or ask for help with what was told"
    )]
    Faults(u64),
    #[error("the system refuses to start: {0}")]
    Runtime(std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl CommandError {
    /// Says it, and with which exit code the program ends.
    pub(super) fn tell(self) -> ExitCode {
        match self {
            // Who reads the output has had enough: `portcullis audit records | head`.
            Self::Output(error)
            | Self::Client(ClientError::Print(error))
            | Self::Diff(DiffError::Print(error))
                if error.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                ExitCode::from(NO_READER)
            }
            Self::Found(_) => ExitCode::FAILURE,
            error => {
                // Nothing is left to tell when standard error is gone.
                let _ = writeln!(std::io::stderr(), "portcullis: {error}");
                match error {
                    Self::Client(
                        ClientError::Pending(..) | ClientError::Silent(_) | ClientError::NoWorker,
                    ) => ExitCode::from(3),
                    Self::Explain(ExplainError::Refused(_)) => ExitCode::from(4),
                    Self::Diff(DiffError::Different { .. }) => ExitCode::FAILURE,
                    Self::Diff(_) | Self::DiffFile(_) | Self::Lint(_) | Self::Policy(_) => ExitCode::from(2),
                    _ => ExitCode::FAILURE,
                }
            }
        }
    }
}
