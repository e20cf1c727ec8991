//! How a program gets into the cache folder: whole, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{MeshError, Result};

/// A fresh folder beside its destination, so that a rename moves it there; removed if that never happens.
pub(super) struct Staging(pub(super) PathBuf);

impl Staging {
    pub(super) fn new(cache: &Path, name: &str) -> Result<Self> {
        let dir = cache.join(format!(".{name}.{}", std::process::id()));
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(MeshError::io("empty", &dir))?;
        }
        fs::create_dir_all(&dir).map_err(MeshError::io("create", &dir))?;
        Ok(Self(dir))
    }

    pub(super) fn publish(self, destination: &Path) -> Result<()> {
        if let Some(parent) = destination.parent() {
            fs::create_dir_all(parent).map_err(MeshError::io("create", parent))?;
        }
        fs::rename(&self.0, destination).map_err(MeshError::io("move into place", destination))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After a successful rename there is nothing left to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}
