//! What the integration tests share: probe modules, built on demand.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod signatures;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use portcullis_testhost::{Host, HostBuilder, Module, Plugin};

/// The path of a probe module, built by cargo if its sources changed.
pub(crate) fn probe_path(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes").join(name);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probes").join(name);
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--locked", "--target", "wasm32-wasip1", "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // Cargo hands its own flags down to the tests that it runs.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "the probe {name} does not build (is the target installed? `rustup target add wasm32-wasip1`):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("wasm32-wasip1/release").join(format!("{}_probe.wasm", name.replace('-', "_")))
}

/// A probe module in Go (`go`, `go-sdk`), built by the go tool if its sources changed.
pub(crate) fn go_probe_path(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probes/{name}_probe.wasm"));
    let output = Command::new("go")
        .args(["build", "-buildmode=c-shared", "-o"])
        .arg(&target)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("probes").join(name))
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOFLAGS", "-buildvcs=false")])
        .output()
        .expect("the go tool (1.24 or newer, https://go.dev/dl) is needed to build the Go probe");
    assert!(
        output.status.success(),
        "the Go probe does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target
}

/// The probe that does what a script says.
pub(crate) fn script_module() -> Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::from_file(probe_path("script")).expect("the script probe loads")).clone()
}

/// A plugin that runs this script.
pub(crate) fn script(lines: &str) -> Plugin {
    Plugin::new(&script_module()).name("script").config(lines)
}

/// A host with one scripted plugin.
pub(crate) fn scripted(lines: &str) -> HostBuilder {
    Host::builder().plugin(script(lines))
}
