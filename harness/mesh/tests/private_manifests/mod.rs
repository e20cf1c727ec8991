//! Manifests that a test may edit.

use std::path::Path;

use portcullis_mesh::paths;
use tempfile::TempDir;

/// A copy of the manifests, to be edited.
pub(crate) fn private_manifests() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(&paths::root().join("istio-manifests"), copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
