//! The Go tools, built from the pinned module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::command::{Required, run_counting};
use super::staging::Staging;
use crate::error::{MeshError, Result};

const GO: Required = Required {
    tool: "go",
    purpose: "build istiod, istioctl, kustomize, kubeconform and func-e from harness/tools",
    install: "Install Go 1.26 or later from https://go.dev/dl/ and put it on PATH",
};

/// Builds the tools unless this very go.mod and go.sum were built before; returns the folder they are in.
pub(super) fn install(module: &Path, cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let bin = cache.join("tools").join(fingerprint(module)?);
    if bin.is_dir() {
        return Ok(bin);
    }
    progress("building istiod, istioctl, kustomize, kubeconform and func-e (about 5 minutes the first time)");
    let staging = Staging::new(cache, "tools")?;
    let mut command = Command::new(GO.tool);
    command.args(["build", "-v", "-o"]).arg(staging.0.join("")).arg("tool").current_dir(module);
    // Whatever the user has set must not change what is built.
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
    let hint = "The first build downloads Go modules: check the network and GOPROXY (`go env GOPROXY`).";
    run_counting(&mut command, &GO, hint, &mut |packages, elapsed| {
        progress(&format!("  … {packages} packages compiled, {} s", elapsed.as_secs()));
    })?;
    staging.publish(&bin)?;
    progress("the Go tools are built");
    Ok(bin)
}

/// What decides about the tools: the pinned module and its checksums.
fn fingerprint(module: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["go.mod", "go.sum"] {
        let path = module.join(name);
        hash.update(fs::read(&path).map_err(MeshError::io("read", &path))?);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
