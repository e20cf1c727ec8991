//! Go programs, each set of them built from a pinned module of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::command::{Required, run_counting};
use super::crds;
use super::staging::Staging;
use crate::error::{MeshError, Result};

const GO: Required = Required {
    tool: "go",
    purpose: "build the programs of harness/tools",
    install: "Install Go 1.26 or later from https://go.dev/dl/ and put it on PATH",
};

/// The programs of a mesh itself.
pub(super) const MESH: &str = "mesh";

/// The module of a set: `harness/tools` itself for [`MESH`], else the folder in it that has the set's name.
///
/// # Errors
/// When there is no such set; the error names those that there are.
fn module(root: &Path, set: &str) -> Result<PathBuf> {
    let modules = root.join("harness/tools");
    let module = if set == MESH { modules.clone() } else { modules.join(set) };
    let a_name = !set.is_empty() && !set.contains(['/', '.']);
    if a_name && module.join("go.mod").is_file() {
        return Ok(module);
    }
    let mut sets = vec![MESH.to_owned()];
    for entry in fs::read_dir(&modules).map_err(MeshError::io("list", &modules))? {
        let entry = entry.map_err(MeshError::io("list", &modules))?;
        if entry.path().join("go.mod").is_file() {
            sets.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    sets.sort();
    let told = format!("`{set}` is no set of programs: there are {}", sets.join(", "));
    Err(MeshError::io("find go.mod in", &module)(std::io::Error::other(told)))
}

/// The folder of a set's programs, whether they are installed or not.
pub(super) fn programs(root: &Path, set: &str, cache: &Path) -> Result<PathBuf> {
    Ok(cache.join("tools").join(fingerprint(&module(root, set)?)?))
}

/// Builds a set of programs unless this very go.mod and go.sum were built before; returns the folder they are in.
pub(super) fn install(
    root: &Path,
    set: &str,
    cache: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let module = module(root, set)?;
    let bin = programs(root, set, cache)?;
    if bin.is_dir() {
        return Ok(bin);
    }
    progress(&format!("building the Go programs of the set `{set}` (minutes, the first time)"));
    let staging = Staging::new(cache, "tools")?;
    let mut command = Command::new(GO.tool);
    command.args(["build", "-v", "-o"]).arg(staging.0.join("")).arg("tool").current_dir(&module);
    // Whatever the user has set must not change what is built.
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
    let hint = "The first build downloads Go modules: check the network and GOPROXY (`go env GOPROXY`).";
    run_counting(&mut command, &GO, hint, &mut |packages, elapsed| {
        progress(&format!("  … {packages} packages compiled, {} s", elapsed.as_secs()));
    })?;
    crds::install(&GO, &module, &staging.0)?;
    staging.publish(&bin)?;
    progress(&format!("the Go programs of the set `{set}` are built"));
    Ok(bin)
}

/// What decides about the tools: the pinned module, its checksums, the definitions that go with it, and programs of
/// its own.
fn fingerprint(module: &Path) -> Result<String> {
    let mut files = vec![module.join("go.mod"), module.join("go.sum")];
    files.extend(Some(module.join(crds::PINS)).filter(|file| file.is_file()));
    files.extend(own_programs(module)?);
    let mut hash = Sha256::new();
    for path in files {
        hash.update(fs::read(&path).map_err(MeshError::io("read", &path))?);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The `main.go` of each folder that is a program and no set of its own, by name.
fn own_programs(module: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(module).map_err(MeshError::io("list", module))? {
        let folder = entry.map_err(MeshError::io("list", module))?.path();
        let main = folder.join("main.go");
        if main.is_file() && !folder.join("go.mod").is_file() {
            found.push(main);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_not_there_is_told_with_those_that_are() {
        for unknown in ["kubernetis", "", "..", "../tools"] {
            let told = module(&crate::paths::root(), unknown).unwrap_err().to_string();
            assert!(told.contains("is no set of programs") && told.contains(MESH), "{told}");
        }
        assert!(module(&crate::paths::root(), MESH).unwrap().ends_with("harness/tools"));
    }

    #[test]
    fn a_program_of_a_sets_own_is_built_anew_when_it_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir(folder.path().join("agent")).unwrap();
        file("go.mod", "module tools");
        file("go.sum", "");
        let without = fingerprint(folder.path()).unwrap();
        file("agent/main.go", "package main");
        let first = fingerprint(folder.path()).unwrap();
        file("agent/main.go", "package main // changed");
        let second = fingerprint(folder.path()).unwrap();
        assert!(without != first && first != second);
    }
}
