//! The data folder: who may use it, and whether the database is in it or on a server.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use portcullis_protocol::audit::hex;

use crate::StoreError;

/// The SQLite file.
const DATABASE: &str = "portcullis.db";

/// Says that the database is on a server.
const ELSEWHERE: &str = "postgresql.json";

/// The right to be the one process that uses a data folder for more than a moment. It ends when this is dropped, or with
/// the process.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "the lock is the open file's")] File);

impl FolderLock {
    /// Takes it. The folder is made where there is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it; [`StoreError::DataDir`] when the folder cannot be used.
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        make(folder)?;
        let path = folder.join("serve.lock");
        let fail = |error: std::io::Error| StoreError::data_dir(folder, refused(&path, &error));
        let file = File::create(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse(folder.to_owned())),
            Err(std::fs::TryLockError::Error(error)) => Err(fail(error)),
        }
    }
}

/// Makes a folder that is this user's alone.
pub(crate) fn make(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    if folder.exists() {
        return Err(StoreError::data_dir(folder, "it is a file; name a folder"));
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| StoreError::data_dir(folder, refused(folder, &error)))
}

/// What the system says of a path, and where another user owns it, that it is so.
pub(crate) fn refused(path: &Path, error: &std::io::Error) -> String {
    let owner = |path: &Path| path.metadata().ok().map(|found| found.uid());
    let told = format!("{}: {error}", path.display());
    match (path.ancestors().find_map(owner), owner(Path::new("/proc/self"))) {
        (Some(owner), Some(own)) if error.kind() == ErrorKind::PermissionDenied && owner != own => format!(
            "{told}: it belongs to user {owner}, and this runs as user {own}; run it as that user, or give the folder to this one (chown -R {own})"
        ),
        _ => told,
    }
}

/// The SQLite file of a folder.
pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join(DATABASE)
}

/// What a folder says of a database that is on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// Whose life it is, in hexadecimal.
    pub(crate) generation: String,
    /// It was to be copied there, and it is not known whether that was done.
    pub(crate) copying: bool,
}

impl Elsewhere {
    pub(crate) fn new(generation: [u8; 16], copying: bool) -> Self {
        Self { generation: hex(&generation), copying }
    }

    /// What a folder says; `None` where it says nothing.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(ELSEWHERE);
        let unfit = |problem: String| StoreError::data_dir(folder, format!("{ELSEWHERE}: {problem}"));
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unfit(error.to_string())),
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| unfit(e.to_string()))?;
        match (
            value.get("generation").and_then(|g| g.as_str()),
            value.get("copying").and_then(|c| c.as_bool()),
        ) {
            (Some(generation), Some(copying)) => {
                Ok(Some(Self { generation: generation.to_owned(), copying }))
            }
            _ => Err(unfit("it does not say which database it means".to_owned())),
        }
    }

    /// Has a folder say it, durably.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let fail = |e: std::io::Error| StoreError::data_dir(folder, format!("{ELSEWHERE}: {e}"));
        let text = serde_json::json!({ "generation": self.generation, "copying": self.copying });
        let temporary = folder.join([ELSEWHERE, ".new"].concat());
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut file = file.map_err(fail)?;
        writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(fail)?;
        std::fs::rename(&temporary, folder.join(ELSEWHERE)).map_err(fail)?;
        settle(folder).map_err(fail)
    }

    /// Has folders say it; those that are not there are made.
    pub(crate) fn write_all(&self, folders: &[&Path]) -> Result<(), StoreError> {
        folders.iter().try_for_each(|folder| {
            make(folder)?;
            self.write(folder)
        })
    }

    /// Has a folder say nothing any more.
    pub(crate) fn remove(folder: &Path) -> Result<(), StoreError> {
        match std::fs::remove_file(folder.join(ELSEWHERE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::data_dir(folder, format!("{ELSEWHERE}: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// A folder whose database is on a server must not be served from: what it has itself is old, or nothing at all, and
/// what was revoked since would be good again.
pub(crate) fn expect_here(folder: &Path) -> Result<(), StoreError> {
    if Elsewhere::read(folder)?.is_none() {
        return Ok(());
    }
    Err(StoreError::Unfit(format!(
        "DATABASE_URL is not set, but the database of this service is on a PostgreSQL server, as {path} says; set \
         DATABASE_URL. What store.dataDir has itself is older, or nothing: what was suspended or revoked since would be \
         open again. To begin anew all the same, remove {path} and portcullis.db",
        path = folder.join(ELSEWHERE).display()
    )))
}

/// A database on a server must be the one that belongs to this folder. `empty`: it was never served from.
pub(crate) fn expect_elsewhere(folder: &Path, empty: bool) -> Result<(), StoreError> {
    let marker = folder.join(ELSEWHERE);
    let told = match Elsewhere::read(folder)? {
        None if database(folder).is_file() => format!(
            "DATABASE_URL is set, but {file} holds a database that the server does not know of; copy it with `portcullis \
             store copy`, unset DATABASE_URL, or move the file away when it is of no use",
            file = database(folder).display()
        ),
        Some(Elsewhere { copying: true, .. }) if empty => format!(
            "the copy of {} to a server was not ended, and the database of DATABASE_URL is empty; run `portcullis store \
             copy` again",
            database(folder).display()
        ),
        Some(_) if empty => format!(
            "the database of DATABASE_URL is empty, but this service had one on a server, as {path} says; see that \
             DATABASE_URL names that one. To begin anew, remove {path}",
            path = marker.display()
        ),
        _ => return Ok(()),
    };
    Err(StoreError::Unfit(told))
}

/// Makes durable what names a folder holds.
fn settle(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The same of the folder in which a file is.
pub(crate) fn settle_parent(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    settle(folder.unwrap_or_else(|| Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_says_where_its_database_is() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        expect_here(folder).unwrap();
        expect_elsewhere(folder, true).unwrap();
        std::fs::write(database(folder), "").unwrap();
        let told = expect_elsewhere(folder, false).unwrap_err().to_string();
        assert!(told.contains("store copy"), "{told}");
        let marker = Elsewhere::new([7; 16], true);
        marker.write(folder).unwrap();
        assert_eq!(Elsewhere::read(folder).unwrap(), Some(marker));
        let told = expect_here(folder).unwrap_err().to_string();
        assert!(told.contains("set DATABASE_URL"), "{told}");
        expect_elsewhere(folder, false).unwrap();
        let told = expect_elsewhere(folder, true).unwrap_err().to_string();
        assert!(told.contains("run `portcullis store copy` again"), "{told}");
        Elsewhere::new([7; 16], false).write(folder).unwrap();
        let told = expect_elsewhere(folder, true).unwrap_err().to_string();
        assert!(told.contains("is empty"), "{told}");
        std::fs::write(folder.join(ELSEWHERE), "{}").unwrap();
        assert!(expect_here(folder).is_err(), "what cannot be read is not passed over");
        Elsewhere::remove(folder).unwrap();
        expect_here(folder).unwrap();
    }

    #[test]
    fn a_refusal_names_the_file_and_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let error = std::io::Error::from(ErrorKind::PermissionDenied);
        let own = refused(&folder.path().join("serve.lock"), &error);
        assert!(own.contains("serve.lock: permission denied") && !own.contains("user"), "{own}");
        // Of whoever the first process belongs to.
        let uid = folder.path().metadata().unwrap().uid();
        let others = refused(Path::new("/proc/1/nowhere"), &error);
        assert_eq!(others.contains("it belongs to user 0, "), uid != 0, "{others}");
        std::fs::write(folder.path().join("file"), "").unwrap();
        let told = FolderLock::take(&folder.path().join("file")).unwrap_err().to_string();
        assert!(told.contains("it is a file; name a folder"), "{told}");
    }

    #[test]
    fn one_process_has_a_folder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        assert!(matches!(FolderLock::take(folder.path()), Err(StoreError::InUse(_))));
        drop(first);
        FolderLock::take(folder.path()).unwrap();
    }
}
