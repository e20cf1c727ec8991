//! `portcullis policy`: handed over to `portcullis-mesh`, which has the mesh that cases are tried on.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

const MESH: &str = "portcullis-mesh";

/// What is handed over.
#[derive(Debug, Args)]
pub(super) struct Policy {
    /// `test FILE…` or `diff BEFORE AFTER --cases FILE`; `--help` tells more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// Why it could not be.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyError {
    /// The program is not there.
    #[error(
        "portcullis-mesh was not found beside this program or on the PATH. It runs the mesh that policies are tried on, and is \
         not in the image of the control service: run `make build` in a clone, and target/debug/portcullis there"
    )]
    Missing,
    /// The program cannot be run.
    #[error("cannot run {program}: {source}")]
    Unrunnable {
        /// Which one.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Policy {
    /// Becomes `portcullis-mesh policy …`, whose exit code is then that of the command.
    pub(super) fn hand_over(&self) -> PolicyError {
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(|folder| folder.join(MESH));
        let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(MESH));
        let source = Command::new(&program).arg("policy").args(&self.arguments).exec();
        match source.kind() {
            ErrorKind::NotFound => PolicyError::Missing,
            _ => PolicyError::Unrunnable { program, source },
        }
    }
}
