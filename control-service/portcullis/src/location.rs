//! Where the database is: on the server that `DATABASE_URL` names, or else in the data folder.

use std::sync::Arc;

use portcullis_control_config::Config;
use portcullis_control_store::{Location, Server, ServerError};

/// The variable that names a PostgreSQL database. A URL holds a password, so it stands in no file of the configuration.
const URL: &str = "DATABASE_URL";

/// `DATABASE_URL` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// It cannot be read as text.
    #[error("{URL} is no UTF-8; write postgresql://USER:PASSWORD@HOST/DATABASE?sslrootcert=FILE")]
    NoText,
    /// It names no database that can be used.
    #[error("{URL}: {0}")]
    Server(#[from] ServerError),
}

/// Where the database of a configuration is.
///
/// # Errors
/// [`LocationError`] with what to write into `DATABASE_URL`.
pub fn of(config: &Config) -> Result<Location, LocationError> {
    match std::env::var(URL) {
        Ok(url) => Ok(Location::Server {
            server: Arc::new(Server::parse(&url)?),
            sealing_key: config.sealing_key.clone(),
        }),
        Err(std::env::VarError::NotPresent) => {
            Ok(Location::Folder { folder: config.data_dir.clone(), sealing_key: config.sealing_key.clone() })
        }
        Err(std::env::VarError::NotUnicode(_)) => Err(LocationError::NoText),
    }
}
