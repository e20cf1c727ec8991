//! What the tests of layouts and of bills share.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod schema;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_images::{Executable, Layout, Origin};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) const AMD64: u16 = 62;
pub(crate) const ARM64: u16 = 183;

/// The header of a static program for a kind of machine: all that an image asks of it.
pub(crate) fn program(folder: &Path, machine: u16) -> Executable {
    let mut elf = vec![0u8; 64];
    elf[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
    for (at, value) in [(16, 2), (18, machine), (20, 1), (52, 64), (54, 56), (58, 64)] {
        elf[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    let path = folder.join(machine.to_string());
    fs::write(&path, elf).unwrap();
    Executable::read(&path).unwrap()
}

pub(crate) fn module(folder: &Path) -> PathBuf {
    let path = folder.join("filter.wasm");
    fs::write(&path, wat::parse_str(r#"(module (func (export "proxy_abi_version_0_2_1")))"#).unwrap())
        .unwrap();
    path
}

pub(crate) fn origin() -> Origin {
    Origin::new("0123abcd", 1_790_000_000).unwrap()
}

/// A layout on disk.
pub(crate) struct Written {
    path: PathBuf,
    _folder: Option<TempDir>,
}

impl Written {
    pub(crate) fn new(layout: &Layout) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layout");
        layout.write(&path).unwrap();
        Self { path, _folder: Some(folder) }
    }

    /// That of a folder, which somebody else keeps.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), _folder: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for folder in ["", "blobs/sha256"] {
            for entry in fs::read_dir(self.path().join(folder)).unwrap().map(Result::unwrap) {
                if entry.path().is_file() {
                    files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
                }
            }
        }
        files
    }

    pub(crate) fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let hex = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = fs::read(self.path().join("blobs/sha256").join(hex)).unwrap();
        assert_eq!(descriptor["size"], content.len());
        assert_eq!(sha256(&content), hex);
        content
    }

    pub(crate) fn document(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&self.blob(descriptor)).unwrap()
    }

    /// The one image, or index of images.
    pub(crate) fn image(&self) -> (Value, Value) {
        let marker: Value =
            serde_json::from_slice(&fs::read(self.path().join("oci-layout")).unwrap()).unwrap();
        assert_eq!(marker["imageLayoutVersion"], "1.0.0");
        let index: Value =
            serde_json::from_slice(&fs::read(self.path().join("index.json")).unwrap()).unwrap();
        let descriptor = index["manifests"][0].clone();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
        let document = self.document(&descriptor);
        (descriptor, document)
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
