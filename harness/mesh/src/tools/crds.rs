//! Custom resource definitions that a set of Go programs goes with: files of Go modules, pinned by version and by the sum
//! that the module proxy's own lock files have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::command::{Required, run};
use super::pin;
use crate::error::{MeshError, Result};

/// The file of a set that names them.
pub(super) const PINS: &str = "crds.json";

/// The folder among a set's programs that has them.
const FOLDER: &str = "crds";

/// What may be used of one module.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    module: String,
    version: String,
    sum: String,
    /// What they are to be called, and where they are in the module.
    files: BTreeMap<String, String>,
}

/// What `go mod download -json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: PathBuf,
    sum: String,
}

/// Where the definitions are among a set's programs.
pub(super) fn folder(programs: &Path) -> PathBuf {
    programs.join(FOLDER)
}

/// Copies what a set's file of pins names beside its programs; nothing where the set has none.
pub(super) fn install(go: &Required, set: &Path, programs: &Path) -> Result<()> {
    if !set.join(PINS).is_file() {
        return Ok(());
    }
    let folder = folder(programs);
    fs::create_dir_all(&folder).map_err(MeshError::io("create", &folder))?;
    for module in pin::read::<Vec<Module>>(set, PINS)? {
        let tree = module.download(go, &folder)?;
        for (name, file) in &module.files {
            let source = tree.join(file);
            let text = fs::read(&source).map_err(MeshError::io("read", &source))?;
            let target = folder.join(name);
            fs::write(&target, text).map_err(MeshError::io("write", &target))?;
        }
    }
    Ok(())
}

impl Module {
    /// The module's folder in the cache of Go's own.
    fn download(&self, go: &Required, outside: &Path) -> Result<PathBuf> {
        let mut command = Command::new(go.tool);
        command.args(["mod", "download", "-json", &[self.module.as_str(), "@", &self.version].concat()]);
        // Outside any module, so that no other lock file counts; the sum is compared here.
        command.current_dir(outside).env("GOFLAGS", "").env("GOWORK", "off").env("GONOSUMDB", "*");
        let output = run(&mut command, go, "Check the network and GOPROXY (`go env GOPROXY`).")?;
        let found: Downloaded = serde_json::from_slice(&output.stdout).map_err(|error| {
            MeshError::io("read what `go mod download` says of", &self.module)(error.into())
        })?;
        if found.sum == self.sum {
            return Ok(found.dir);
        }
        let (file, expected) = (self.module.clone(), self.sum.clone());
        Err(MeshError::Checksum { file, found: found.sum, pins: PINS, expected })
    }
}
