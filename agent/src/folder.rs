//! The agent's folder: what it holds, and how it is written. Which files are there is the whole state of an agent, and each
//! is there wholly or not at all: one that is killed at any step goes on from there.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Bytes that a file of the folder has at most.
const MOST: u64 = 4 << 20;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no room for what is to be written.
    #[error(
        "the disk of {0} is full; what was there before stays in force. Make room, and the agent goes on"
    )]
    Full(PathBuf),
    /// Others could read it.
    #[error("{0} can be used by others than its owner; its keys are for nobody else: chmod 700 {0}")]
    Open(PathBuf),
    /// Another process has it.
    #[error("another agent works in {0}; two agents need two folders, and two clusters")]
    Taken(PathBuf),
    /// A file is not what the agent wrote.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Anything else.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl FolderError {
    pub(crate) fn of(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::Io { what, path, source },
        }
    }
}

/// A folder, to look at.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// A folder in which nobody else works.
#[derive(Debug)]
pub struct OwnFolder {
    folder: Folder,
    /// Held for as long as it is open.
    _lock: File,
}

impl std::ops::Deref for OwnFolder {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Folder {
    /// A folder that may be there.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes it where it is not there, and takes it for this process alone.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn take(self) -> Result<OwnFolder, FolderError> {
        make_private(&self.path)?;
        if !is_private(&self.path).map_err(FolderError::of("look at", &self.path))? {
            return Err(FolderError::Open(self.path));
        }
        let path = self.file("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(FolderError::of("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(OwnFolder { folder: self, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Taken(self.path)),
            Err(TryLockError::Error(source)) => Err(FolderError::of("lock", &path)(source)),
        }
    }

    /// The text of a file; none where it is not there.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, FolderError> {
        read(&self.file(name))
    }

    /// The value in a file of JSON; none where it is not there.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let Some(text) = self.read(name)? else { return Ok(None) };
        let unreadable = |error: serde_json::Error| FolderError::Unreadable {
            path: self.file(name),
            // Where, and not what: a file may hold a secret.
            why: format!(
                "line {}, column {} is not what the agent writes there",
                error.line(),
                error.column()
            ),
        };
        serde_json::from_str(&text).map(Some).map_err(unreadable)
    }
}

impl OwnFolder {
    /// Puts a file in the place of what was there.
    ///
    /// # Errors
    /// [`FolderError`]; then what was there before is there still.
    pub fn write(&self, name: &str, text: &str) -> Result<(), FolderError> {
        write(&self.file(name), text)
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), FolderError> {
        let path = self.file(name);
        write(&path, &json(&path, value)?)
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn remove(&self, name: &str) -> Result<(), FolderError> {
        remove(&self.file(name))
    }
}

/// Removes a file or a link, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), FolderError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FolderError::of("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The text of a file of JSON.
pub(crate) fn json(path: &Path, value: &impl Serialize) -> Result<String, FolderError> {
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|error| FolderError::of("write", path)(error.into()))? + "\n")
}

/// Reads a bounded text; none where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, FolderError> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FolderError::of("read", path)(error)),
    }
}

/// Makes a folder that only its owner can use, and those above it.
pub(crate) fn make_private(path: &Path) -> Result<(), FolderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FolderError::of("make", path))
}

/// Writes beside, to the disk, and then in the place of what was there.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FolderError> {
    let beside = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    if let Err(error) = written {
        // It takes room, and nobody reads it.
        let _ = std::fs::remove_file(&beside);
        return Err(FolderError::of("write", path)(error));
    }
    std::fs::rename(&beside, path).map_err(FolderError::of("write", path))?;
    path.parent().map_or(Ok(()), sync)
}

/// Lets others read a file in which no secret is.
pub(crate) fn let_others_read(path: &Path) -> Result<(), FolderError> {
    let all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, all).map_err(FolderError::of("write", path))
}

/// Has the disk know the names in a folder.
pub(crate) fn sync(folder: &Path) -> Result<(), FolderError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FolderError::of("write", folder))
}

/// Whether a file is there, and nobody but its owner can read it.
pub(crate) fn is_private(path: &Path) -> io::Result<bool> {
    let metadata = path.metadata()?;
    Ok(metadata.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (tempfile::TempDir, OwnFolder) {
        let above = tempfile::tempdir().unwrap();
        let own = Folder::at(&above.path().join("a/agent")).take().unwrap();
        (above, own)
    }

    #[test]
    fn what_it_writes_is_for_its_owner_alone() {
        let (_above, own) = own();
        own.write("next.key", "secret").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(own.path()), mode(&own.file("next.key"))), (0o700, 0o600));
        assert!(is_private(&own.file("next.key")).unwrap());
        std::fs::set_permissions(own.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        let path = own.path().to_owned();
        drop(own);
        assert!(matches!(Folder::at(&path).take(), Err(FolderError::Open(_))));
    }

    #[test]
    fn two_agents_do_not_work_in_one_folder() {
        let (_above, own) = own();
        let again = || Folder::at(own.path()).take();
        assert!(matches!(again(), Err(FolderError::Taken(_))));
        let path = own.path().to_owned();
        drop(own);
        Folder::at(&path).take().unwrap();
    }

    #[test]
    fn what_was_left_half_written_is_written_over_and_never_read() {
        let (_above, own) = own();
        own.write_json("server.json", &1).unwrap();
        std::fs::write(own.file("server.new"), "{\"half").unwrap();
        assert_eq!(own.read_json::<u8>("server.json").unwrap(), Some(1));
        own.write_json("server.json", &2).unwrap();
        assert_eq!(own.read_json::<u8>("server.json").unwrap(), Some(2));
        assert_eq!(own.read_json::<u8>("nothing.json").unwrap(), None);
    }

    #[test]
    fn a_file_that_is_not_the_agents_is_told_without_what_it_holds() {
        let (_above, own) = own();
        own.write("server.json", "{\"hunter2\"}").unwrap();
        let told = own.read_json::<u8>("server.json").unwrap_err().to_string();
        assert!(told.contains("server.json") && !told.contains("hunter2"), "{told}");
    }
}
