//! Which configuration a command reads.

use std::path::PathBuf;

use clap::Args;
use portcullis_control_config::Config;
use portcullis_control_store::{Database, Location};

use super::error::CommandError;
use crate::location;

#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration file.
    #[arg(long = "config", default_value = "control.yaml")]
    pub(super) path: PathBuf,
}

impl ConfigFile {
    /// Where the database is that it names.
    pub(super) fn location(&self) -> Result<Location, CommandError> {
        Ok(location::of(&Config::load(&self.path)?)?)
    }

    /// That database, opened beside whoever serves it.
    pub(super) fn database(&self) -> Result<Database, CommandError> {
        Ok(Database::open(&self.location()?)?)
    }
}
