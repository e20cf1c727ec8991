//! Which configuration a command reads.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration file.
    #[arg(long = "config", default_value = "control.yaml")]
    pub(super) path: PathBuf,
}
