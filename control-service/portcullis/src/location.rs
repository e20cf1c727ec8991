//! Where the database is: on the server that `DATABASE_URL` names, or else in the data folder.

use std::sync::Arc;

use portcullis_control_config::{Backend, Config};
use portcullis_control_store::{Location, Server, ServerError};

/// The variable that names a PostgreSQL database. A URL holds a password, so it stands in no file of the configuration.
const URL: &str = "DATABASE_URL";

/// `DATABASE_URL` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// It cannot be read as text.
    #[error("{URL} is no UTF-8; write postgresql://USER:PASSWORD@HOST/DATABASE?sslrootcert=FILE")]
    NoText,
    /// The configuration says that it must be set.
    #[error(
        "store.backend is postgresql, but {URL} is not set; set it to postgresql://USER:PASSWORD@HOST/DATABASE?sslrootcert=FILE"
    )]
    Unset,
    /// The configuration says that it must not be set.
    #[error("store.backend is sqlite, but {URL} is set; unset it, or write postgresql")]
    Set,
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
        Ok(_) if config.backend == Some(Backend::Sqlite) => Err(LocationError::Set),
        Ok(url) => Ok(Location::Server {
            server: Arc::new(Server::parse(&url)?),
            folder: config.data_dir.clone(),
            sealing_key: config.sealing_key.clone(),
        }),
        Err(std::env::VarError::NotPresent) if config.backend == Some(Backend::Postgresql) => {
            Err(LocationError::Unset)
        }
        Err(std::env::VarError::NotPresent) => {
            Ok(Location::Folder { folder: config.data_dir.clone(), sealing_key: config.sealing_key.clone() })
        }
        Err(std::env::VarError::NotUnicode(_)) => Err(LocationError::NoText),
    }
}
