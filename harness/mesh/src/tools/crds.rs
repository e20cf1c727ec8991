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
        self.verified(found)
    }

    /// The folder of what was downloaded, if it is what is pinned.
    fn verified(&self, found: Downloaded) -> Result<PathBuf> {
        if found.sum == self.sum {
            return Ok(found.dir);
        }
        Err(MeshError::Checksum {
            what: [self.module.as_str(), "@", &self.version].concat(),
            digest: "the sum",
            found: found.sum,
            pins: PINS,
            expected: self.sum.clone(),
            hint: "Check where modules come from (`go env GOPROXY`); `go clean -modcache` removes what Go keeps of \
                   them. Was the version changed on purpose, `sum` changes with it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_module_than_the_pinned_one_is_refused_by_what_goes_for_modules() {
        let pins: Vec<Module> =
            pin::read(&crate::paths::root().join("harness/tools/kubernetes"), PINS).unwrap();
        let downloaded = |sum: &str| Downloaded { dir: "/modules/istio".into(), sum: sum.to_owned() };
        assert!(pins[0].verified(downloaded(&pins[0].sum)).is_ok());
        let told = pins[0].verified(downloaded("h1:another=")).unwrap_err().to_string();
        let module = [pins[0].module.as_str(), "@", &pins[0].version].concat();
        for part in [module.as_str(), "h1:another=", &pins[0].sum, PINS, "GOPROXY", "go clean -modcache"] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
        for foreign in ["SHA-256", "package index", "pip"] {
            assert!(!told.contains(foreign), "{foreign}: {told}");
        }
    }
}
