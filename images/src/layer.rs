//! A layer: a file system as an archive, in which nothing depends on who built it.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::error::ImageError;

/// Who owns a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner(pub(crate) u32);

/// The system's files: who runs the program cannot change them.
pub(crate) const ROOT: Owner = Owner(0);

/// A file system that is being written.
pub(crate) struct Files {
    archive: Builder<Vec<u8>>,
    seconds: u64,
}

/// A layer as it is stored.
pub(crate) struct Layer {
    pub(crate) compressed: Vec<u8>,
    /// The digest of the archive within.
    pub(crate) diff_id: String,
}

impl Files {
    /// None yet; all will have this time.
    pub(crate) fn new(seconds: u64) -> Self {
        Self { archive: Builder::new(Vec::new()), seconds }
    }

    /// Adds a folder; those above it come first.
    pub(crate) fn folder(&mut self, path: &str, owner: Owner, mode: u32) -> Result<(), ImageError> {
        self.entry(&[path, "/"].concat(), EntryType::Directory, owner, mode, &[])
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), ImageError> {
        self.entry(path, EntryType::Regular, ROOT, mode, content)
    }

    fn entry(
        &mut self,
        path: &str,
        kind: EntryType,
        owner: Owner,
        mode: u32,
        content: &[u8],
    ) -> Result<(), ImageError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0.into());
        header.set_gid(owner.0.into());
        header.set_mtime(self.seconds);
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        self.archive.append_data(&mut header, path, content).map_err(ImageError::Layer)
    }

    /// The layer of what was added.
    pub(crate) fn layer(self) -> Result<Layer, ImageError> {
        let archive = self.archive.into_inner().map_err(ImageError::Layer)?;
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        gzip.write_all(&archive).map_err(ImageError::Layer)?;
        let compressed = gzip.finish().map_err(ImageError::Layer)?;
        Ok(Layer { compressed, diff_id: digest(&archive) })
    }
}

/// How OCI writes a SHA-256.
pub(crate) fn digest(content: &[u8]) -> String {
    ["sha256:", &sha256(content)].concat()
}

/// Its digits.
pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
