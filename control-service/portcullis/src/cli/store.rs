//! The commands on the database itself.

use std::path::PathBuf;

use clap::Subcommand;
use portcullis_control_config::Config;
use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_control_store::{Checked, Copied, Database, FolderLock, Location, Migrated, StoreError};
use portcullis_protocol::audit::hex;

use super::config_file::ConfigFile;
use super::error::CommandError;
use super::output::print;
use crate::location;

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Bring the schema up to date, or make it, while nobody serves the database. `portcullis serve` does so by itself.
    Migrate {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Read the whole database, also beside a running service, and tell of everything that does not fit together: what
    /// cannot be read, secrets that do not open, gaps, and what filters are told wrongly. Exit code 1 when there is any.
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Copy the SQLite database to the PostgreSQL server that DATABASE_URL names, while nobody serves either. The store's
    /// life goes on there: no revision, key or audit record is lost, and gateways go on by what they have.
    Copy {
        #[command(flatten)]
        config: ConfigFile,
        /// The data folder to copy from, if it is not store.dataDir.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// The sealing key of that folder, if it is not DIR/sealing.key.
        #[arg(long, value_name = "FILE", requires = "from")]
        from_sealing_key: Option<PathBuf>,
    },
}

impl StoreCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Migrate { config } => {
                let config = Config::load(&config.path)?;
                let location = location::of(&config)?;
                let _lock = FolderLock::take(&config.data_dir)?;
                let Migrated { from, to } = Database::migrate(&location)?;
                print(&match (from, to) {
                    (0, to) => format!("the schema is made: version {to}"),
                    (from, to) if from == to => format!("the schema is up to date: version {to}"),
                    (from, to) => format!("the schema is brought from version {from} to {to}"),
                })
            }
            Self::Check { config } => check(&Config::load(&config.path)?),
            Self::Copy { config, from, from_sealing_key } => {
                let config = Config::load(&config.path)?;
                let to = location::of(&config)?;
                if matches!(to, Location::Folder { .. }) {
                    let told = "DATABASE_URL is not set; set it to the database to copy to";
                    return Err(StoreError::Unfit(told.to_owned()).into());
                }
                let from = match (from, from_sealing_key) {
                    (None, _) => Location::Folder {
                        folder: config.data_dir.clone(),
                        sealing_key: config.sealing_key.clone(),
                    },
                    (Some(folder), None) => Location::folder(&folder),
                    (Some(folder), Some(file)) => {
                        Location::Folder { folder, sealing_key: SealingKeySource::File(file) }
                    }
                };
                tell(&Database::copy(&from, &to)?, &config)
            }
        }
    }
}

fn check(config: &Config) -> Result<(), CommandError> {
    let mut unsaid = None;
    let checked = Database::check(&location::of(config)?, &mut |fault| {
        if let Err(error) = print(fault) {
            unsaid.get_or_insert(error);
        }
    })?;
    if let Some(error) = unsaid {
        return Err(error);
    }
    match checked {
        None => print("there is no database yet"),
        Some(Checked { tables, rows, faults: 0 }) => {
            print(&format!("{rows} rows of {tables} tables were read: everything fits together"))
        }
        Some(Checked { faults, .. }) => Err(CommandError::Faults(faults)),
    }
}

fn tell(copied: &Copied, config: &Config) -> Result<(), CommandError> {
    for table in &copied.tables {
        print(&format!("{:<20} {:>10} rows, sha256 {}", table.name, table.rows, hex(&table.sha256)))?;
    }
    print(&format!(
        "copied and compared: generation {}, revision {}. Start `portcullis serve` with DATABASE_URL from now on; the \
         folder is not served from any more. What is sealed opens with the key {} alone: keep it",
        hex(&copied.generation),
        copied.revision,
        config.sealing_key
    ))
}
