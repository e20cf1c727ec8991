//! Where things are in the source tree.

use std::path::{Path, PathBuf};

use crate::error::{MeshError, Result};

/// The root of the source tree.
#[must_use]
pub fn root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.ancestors().nth(2).unwrap_or(crate_dir).to_owned()
}

/// The folder that cargo builds into.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The Wasm module as it ships, which `make wasm` makes.
#[must_use]
pub fn wasm_module() -> PathBuf {
    target().join("portcullis.wasm")
}

/// The folder of the native module.
#[must_use]
pub fn native_module_folder() -> PathBuf {
    target().join("native")
}

/// The native module, which `make native` makes.
#[must_use]
pub fn native_module() -> PathBuf {
    native_module_folder().join("libportcullis.so")
}

/// The folder of a run: configuration, certificates and logs.
#[must_use]
pub fn run_dir(block: u8) -> PathBuf {
    target().join("mesh").join(block.to_string())
}

/// A folder of manifests, as it is called from everywhere.
pub(crate) fn manifests(folder: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(folder).map_err(MeshError::io("find the manifests in", folder))
}
