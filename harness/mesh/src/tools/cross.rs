//! What compiles C and links for other machines than this one, and for musl: zig, and cargo-zigbuild, which has cargo
//! use it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::staging::Staging;
use super::wheel::Pins;
use crate::error::{MeshError, Result};

/// Which builds of zig may be used.
const ZIG: &str = "harness/tools/zig.json";

/// Which builds of cargo-zigbuild may be used.
const ZIGBUILD: &str = "harness/tools/zigbuild.json";

/// Installs both and returns the folder that they are in.
pub(super) fn install(root: &Path, cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let (zig, zigbuild) = (Pins::read(root, ZIG)?, Pins::read(root, ZIGBUILD)?);
    let (compiler, cargo) = (&zig.default, &zigbuild.default);
    let installed = cache.join("zig").join(format!("{compiler}-{cargo}"));
    if installed.is_dir() {
        return Ok(installed);
    }
    progress(&format!("installing zig {compiler} and cargo-zigbuild {cargo} from the Python package index"));
    let tree = Staging::new(cache, "zig-tree")?;
    let staging = Staging::new(cache, "zig")?;
    // zig finds its libraries beside itself.
    let package = zig.release(compiler)?.unpack(&staging)?.join("ziglang");
    for entry in fs::read_dir(&package).map_err(MeshError::io("list", &package))? {
        let entry = entry.map_err(MeshError::io("list", &package))?;
        fs::rename(entry.path(), tree.0.join(entry.file_name()))
            .map_err(MeshError::io("move", entry.path()))?;
    }
    let staging = Staging::new(cache, "zigbuild")?;
    let scripts = format!("cargo_zigbuild-{cargo}.data/scripts/cargo-zigbuild");
    let script = zigbuild.release(cargo)?.unpack(&staging)?.join(scripts);
    fs::rename(&script, tree.0.join("cargo-zigbuild")).map_err(MeshError::io("move", &script))?;
    for program in ["zig", "cargo-zigbuild"].map(|name| tree.0.join(name)) {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .map_err(MeshError::io("make executable", &program))?;
    }
    tree.publish(&installed)?;
    progress("zig and cargo-zigbuild are installed");
    Ok(installed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_pinned_for_this_machine() {
        for file in [ZIG, ZIGBUILD] {
            let pins = Pins::read(&crate::paths::root(), file).unwrap();
            assert!(pins.release(&pins.default).is_ok(), "{file}");
        }
    }
}
