//! What the platform tells, as files for those who use it.

use std::path::{Path, PathBuf};

use portcullis_control_contract::agents::AgentConfiguration;

use crate::folder::{self, FolderError, OwnFolder};

/// The key set that identity tokens are verified by (RFC 7517), in the agent's folder.
pub const IDENTITY_KEYS: &str = "identity-keys.json";

/// Where the Data API finds the key set, if not in the agent's folder.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// The file.
    pub identity_keys: Option<PathBuf>,
}

/// Writes all that follows from a configuration. Each file is written only if something else is to stand there, and has what it
/// had if that fails.
///
/// # Errors
/// [`FolderError`].
pub fn take_over(
    folder: &OwnFolder,
    configuration: &AgentConfiguration,
    shared: &Shared,
) -> Result<(), FolderError> {
    let path = folder.file(IDENTITY_KEYS);
    let keys = folder::json(&path, &configuration.identity.keys)?;
    put(&path, &keys)?;
    if let Some(shared) = &shared.identity_keys {
        put(shared, &keys)?;
        folder::let_others_read(shared)?;
    }
    folder.remember_configuration(configuration)
}

fn put(path: &Path, text: &str) -> Result<(), FolderError> {
    if folder::read(path)?.is_some_and(|there| *there == text) { Ok(()) } else { folder::write(path, text) }
}
