//! Backups of the store. These commands work on the database itself, beside the running service.

use std::path::PathBuf;

use clap::Subcommand;
use portcullis_control_config::Config;
use portcullis_control_domain::backup::Manifest;
use portcullis_control_domain::clock::{now_ms, parse_rfc3339, rfc3339};
use portcullis_control_domain::recovery::{Change, Left};
use portcullis_control_store::{Backup, Database, FolderLock, Location, StoreError, create_backup, recovery};

use super::config_file::ConfigFile;
use super::error::CommandError;
use super::exported;
use super::output::print;
use crate::location;

/// What is said with each backup: without that key it is of no use.
const KEY_IS_APART: &str = "the sealing key is NOT in the backup, and without it the backup cannot be restored: keep a copy of it, \
     apart from the backup";

/// What is said with a backup of a store that was restored and does not know yet what it lacks.
const STILL_RECOVERING: &str = "WARNING: this store was restored and has not recovered. What it lacks is missing from the backup, too: restored \
     from it, a store opens only by `portcullis backup accept-loss`. Make another backup when `backup status` says that it is open";

/// Backups.
#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Save the whole store as it is now, into one file. The service may run.
    Create {
        #[command(flatten)]
        config: ConfigFile,
        /// The file to write; there must be none of this name.
        #[arg(long)]
        file: PathBuf,
    },
    /// Read all of a backup, and say whether it is as it was written.
    Verify {
        /// The backup.
        file: PathBuf,
        /// Also open its secrets with the sealing key of this configuration, which tells that nobody changed it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Make an empty store of a backup. The service then starts closed, until it has recovered what came after the backup.
    Restore {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
        /// Newer audit records (`portcullis audit export`): what they closed is closed again. In their order.
        #[arg(long, value_name = "FILE")]
        audit_export: Vec<PathBuf>,
    },
    /// Tell a restored store what was closed after the backup. The service may run.
    Recover {
        #[command(flatten)]
        config: ConfigFile,
        /// Newer audit records (`portcullis audit export`), in their order.
        #[arg(long, value_name = "FILE", required = true)]
        audit_export: Vec<PathBuf>,
    },
    /// Open a restored store although it is not known what was changed after a time. This is audited.
    AcceptLoss {
        #[command(flatten)]
        config: ConfigFile,
        /// Changes since this time may be lost, for example 2026-01-31T12:00:00Z; `backup status` tells the time.
        #[arg(long, value_name = "TIME", value_parser = parse_rfc3339)]
        since: u64,
    },
    /// Tell whether a restored store has recovered, and what it waits for.
    Status {
        #[command(flatten)]
        config: ConfigFile,
    },
}

impl BackupCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Create { config, file } => {
                let location = config.location()?;
                let recovering = recovery(&location)?.is_some();
                let manifest = create_backup(&location, &file)?;
                print(&summary(&manifest))?;
                if recovering {
                    print(STILL_RECOVERING)?;
                }
                print(KEY_IS_APART)
            }
            Self::Verify { file, config } => {
                let backup = Backup::open(&file)?;
                if let Some(config) = &config {
                    backup.check_seals(&location::of(&Config::load(config)?)?)?;
                }
                print(&summary(backup.manifest()))?;
                print(match config {
                    Some(_) => "the backup is whole, and its sealing key opens it",
                    None => "the backup is whole; whether a sealing key opens it is told with --config",
                })
            }
            Self::Restore { file, config, audit_export } => {
                let config = Config::load(&config.path)?;
                let location = location::of(&config)?;
                let backup = Backup::open(&file)?;
                let _lock = FolderLock::take(&config.data_dir)?;
                backup.restore(&location)?;
                print(&format!("restored the {}", summary(backup.manifest())))?;
                if audit_export.is_empty() { status(&location) } else { recover(&location, &audit_export) }
            }
            Self::Recover { config, audit_export } => recover(&config.location()?, &audit_export),
            Self::AcceptLoss { config, since } => {
                let location = config.location()?;
                recovery(&location)?.ok_or(StoreError::NotRecovering)?;
                Database::open(&location)?.accept_loss(since)?;
                print(
                    "the store is open again. Look through what is there (admins list, keys list, clusters list): what was \
                     revoked or suspended after the backup and is not known is good again until you say otherwise",
                )
            }
            Self::Status { config } => status(&config.location()?),
        }
    }
}

fn status(location: &Location) -> Result<(), CommandError> {
    match recovery(location)? {
        Some(recovery) => print(&["nobody is let through: ", &recovery.reason(now_ms())].concat()),
        None => print("the store was not restored from a backup, or has recovered: it is open"),
    }
}

/// Does again what the exports tell that closed something, and says what they tell besides.
fn recover(location: &Location, files: &[PathBuf]) -> Result<(), CommandError> {
    let before = recovery(location)?.ok_or(StoreError::NotRecovering)?;
    let exported::Told { export, reaches } = exported::read(files, &before)?;
    let (now, not_there) = Database::open(location)?.recover(&export, reaches)?;
    for change in &export.closings {
        let (what, at) = (&change.what, place(change));
        print(&match not_there.contains(&change.index) {
            true => format!("not there: {what}: it was made after the backup, and is gone with it ({at})"),
            false => format!("done again: {what} ({at})"),
        })?;
    }
    for change in &export.left {
        let Left { thing, why } = &change.what;
        print(&format!("NOT done again: {thing}: {why} ({})", place(change)))?;
    }
    for index in &export.unclear {
        print(&format!(
            "record {index} tells of a change, and not of what was changed: find that out, and do it again before you accept the loss"
        ))?;
    }
    print(&["nobody is let through: ", &now.reason(now_ms())].concat())
}

/// Where the audit log has a change.
fn place<T>(change: &Change<T>) -> String {
    format!("record {}, {}: {}", change.index, rfc3339(change.time_ms), change.call)
}

fn summary(manifest: &Manifest) -> String {
    let Manifest { format, program, made_at_ms, schema, revision, audit_index, tables, .. } = manifest;
    let rows: u64 = tables.iter().map(|table| table.rows).sum();
    let (tables, made_at) = (tables.len(), rfc3339(*made_at_ms));
    format!(
        "backup of {made_at}, format {format}, made by portcullis {program}, schema version {schema}: revision \
         {revision}, audit log up to {audit_index}, {rows} rows in {tables} tables"
    )
}
