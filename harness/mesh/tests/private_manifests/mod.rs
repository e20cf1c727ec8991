//! Manifests that a test may edit.

use portcullis_mesh::{overlay, paths};
use tempfile::TempDir;

/// A copy of the manifests, to be edited.
pub(crate) fn private_manifests() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    overlay::copy(&paths::root().join("istio-manifests"), copy.path()).unwrap();
    copy
}
