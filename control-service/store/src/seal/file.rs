//! Keys in a file that only its owner can read: read, and written whole or not at all.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use portcullis_control_domain::text_file;
use zeroize::Zeroizing;

use crate::folder::settle_parent;

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
    let file = std::fs::metadata(path)?;
    if !is_private(file.mode(), file.uid(), rustix::process::geteuid().as_raw()) {
        return Err(FileError::Open(file.mode() & 0o777));
    }
    Ok(Some(text))
}

/// Whether nobody reads a file but its owner, or, where it is root's and this process is not, the process' group: so
/// Kubernetes mounts a Secret for a pod that does not run as root.
const fn is_private(mode: u32, owner: u32, me: u32) -> bool {
    let others = if owner == 0 && me != 0 { 0o037 } else { 0o077 };
    mode & others == 0
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
    settle_parent(path)
}

/// Writes a file that is not there yet; false when it is, by now.
pub(super) fn create(path: &Path, text: &str) -> std::io::Result<bool> {
    let temporary = write_beside(path, text)?;
    // A link, not a rename: of two processes that start at once, one wins and the other reads its key.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        // A key that is gone after a power failure opens nothing of what it has sealed.
        linked => linked.and_then(|()| settle_parent(path)).map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_by_its_owner_and_where_it_is_roots_by_the_process_group() {
        const ME: u32 = 65532;
        for (mode, owner, me, private) in [
            (0o100_600, ME, ME, true),
            (0o100_640, ME, ME, false),
            (0o100_440, 0, ME, true),
            (0o100_640, 0, ME, true),
            (0o100_660, 0, ME, false),
            (0o100_444, 0, ME, false),
            (0o100_440, 0, 0, false),
        ] {
            assert_eq!(is_private(mode, owner, me), private, "{mode:o} of {owner} for {me}");
        }
    }
}
