//! Building the filter that is to be tested, so that a stale module cannot pass.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::LoadError;
use crate::module::Module;

/// The target of modules of the Rust SDK.
const TARGET: &str = "wasm32-wasip1";

impl Module {
    /// Builds a filter with cargo (`--release --target wasm32-wasip1`) and loads it. In a test of the filter's
    /// own crate: `Module::from_cargo(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))`. Cargo does nothing
    /// if nothing changed; keep the module in a `OnceLock` all the same.
    ///
    /// # Errors
    /// [`LoadError::Build`] with the compiler's messages if the crate does not build, or makes no module or
    /// several (is its `crate-type` `["cdylib"]`?); else as [`from_file`](Self::from_file).
    pub fn from_cargo(manifest: impl AsRef<Path>) -> Result<Self, LoadError> {
        let manifest = manifest.as_ref();
        let failed = |reason: String| LoadError::Build { manifest: manifest.to_owned(), reason };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "build",
                "--release",
                "--lib",
                "--target",
                TARGET,
                "--message-format=json-render-diagnostics",
            ])
            .arg("--manifest-path")
            .arg(manifest)
            // Cargo hands the flags of the test's own build down to the test.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(format!("cargo does not run: {error}")))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let modules = modules(&output.stdout, manifest);
        match modules.as_slice() {
            [module] => Self::from_file(module),
            [] => {
                Err(failed("it makes no .wasm file; set `crate-type = [\"cdylib\"]` under [lib]".to_owned()))
            }
            several => Err(failed(format!("it makes several .wasm files: {several:?}"))),
        }
    }
}

/// The .wasm files among the artifacts that cargo reports for this manifest.
fn modules(messages: &[u8], manifest: &Path) -> Vec<PathBuf> {
    let wanted = manifest.canonicalize().ok();
    let parsed = messages.split(|byte| *byte == b'\n').filter_map(|line| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        let path = PathBuf::from(message["manifest_path"].as_str()?);
        (path.canonicalize().ok() == wanted).then_some(message)
    });
    parsed
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|name| name.as_str().map(PathBuf::from))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect()
}
