//! Keys in a file that only its owner can read: read, and written whole or not at all.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use portcullis_control_domain::text_file;
use zeroize::Zeroizing;

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("its mode is {0:o}; run chmod 600 on it")]
    Open(u32),
}

/// What a file holds; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    let text = match text_file::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(FileError::Open(mode & 0o777));
    }
    Ok(Some(text))
}

/// Writes a file under another name that only its owner can read, and makes it durable.
fn write_beside(path: &Path, text: &str) -> std::io::Result<PathBuf> {
    let temporary = path.with_extension(std::process::id().to_string());
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(temporary)
}

/// Writes a file that is there already anew.
pub(super) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = write_beside(path, text)?;
    std::fs::rename(&temporary, path).inspect_err(|_| {
        // What it holds is a key that nobody uses.
        let _ = std::fs::remove_file(&temporary);
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Writes a file that is not there yet; false when it is, by now.
pub(super) fn create(path: &Path, text: &str) -> std::io::Result<bool> {
    let temporary = write_beside(path, text)?;
    // A link, not a rename: of two processes that start at once, one wins and the other reads its key.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        linked => linked.map(|()| true),
    }
}
