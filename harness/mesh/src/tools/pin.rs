//! What every pinned file has to be: the one whose digest stands in a file of pins.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::command::Required;
use crate::error::{MeshError, Result};

/// What fetches and unpacks.
pub(super) const PYTHON: Required = Required {
    tool: "python3",
    purpose: "fetch and unpack programs from package indexes",
    install: "Install Python 3 with pip (Debian: `apt install python3 python3-pip`)",
};

/// Reads a file of pins of the source tree.
pub(super) fn read<T: DeserializeOwned>(root: &Path, file: &str) -> Result<T> {
    let path = root.join(file);
    let text = fs::read(&path).map_err(MeshError::io("read", &path))?;
    serde_json::from_slice(&text).map_err(|error| MeshError::io("read", &path)(error.into()))
}

/// Refuses another file than the one that `pins` pins. `hint` says where to look then.
pub(super) fn verify(file: &Path, expected: &str, pins: &'static str, hint: &'static str) -> Result<()> {
    let bytes = fs::read(file).map_err(MeshError::io("read", file))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        return Ok(());
    }
    Err(MeshError::Checksum {
        what: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        digest: "SHA-256",
        found,
        pins,
        expected: expected.to_owned(),
        hint,
    })
}

/// The one file of a folder that fits.
pub(super) fn only_file(dir: &Path, fits: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(MeshError::io("list", dir))? {
        let path = entry.map_err(MeshError::io("list", dir))?.path();
        if fits(&path) {
            found.push(path);
        }
    }
    match (found.pop(), found.pop()) {
        (Some(file), None) => Ok(file),
        _ => {
            Err(MeshError::io("find the package in", dir)(std::io::Error::other("expected exactly one file")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_than_the_pinned_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("envoy.whl");
        fs::write(&file, b"something else").unwrap();
        let text = verify(&file, &"0".repeat(64), "envoy.json", "Look there").unwrap_err().to_string();
        assert!(
            text.contains("envoy.whl has SHA-256")
                && text.contains("envoy.json")
                && text.ends_with("Look there"),
            "{text}"
        );
        let digest = "f41f3fa625ff120ddca7ef456bf66371ecea23c129f4e4c32367101edb516cf8";
        verify(&file, digest, "envoy.json", "").unwrap();
    }
}
