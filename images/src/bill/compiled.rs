//! What cargo compiled, as it told it: the messages of `cargo build --message-format json`. They name each crate that
//! the compiler was given, with the features that it had there. A lock file has those of the whole workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::ImageError;

/// What cargo calls a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub(crate) struct PackageId(String);

impl std::fmt::Display for PackageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The crates that are in a program, each with its features.
pub(crate) type Crates = BTreeMap<PackageId, BTreeSet<String>>;

/// A build that succeeded, for one target or several.
#[derive(Debug)]
pub struct Compiled {
    path: PathBuf,
    artifacts: Vec<Artifact>,
}

/// A message of cargo's. Those that are not known tell of something else.
#[derive(Debug, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(Artifact),
    BuildFinished {
        success: bool,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    package_id: PackageId,
    target: Target,
    features: Vec<String>,
    filenames: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

impl Compiled {
    /// Reads the messages of a build.
    ///
    /// # Errors
    /// When they cannot be read, or do not end with a build that succeeded: then some are missing.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let refused = |why: String| ImageError::Build { path: path.to_owned(), why };
        let text = fs::read_to_string(path).map_err(ImageError::file(path))?;
        let (mut artifacts, mut finished) = (Vec::new(), false);
        for line in text.lines() {
            let message = serde_json::from_str(line)
                .map_err(|error| refused(format!("a line is no message of cargo's: {error}")))?;
            match message {
                Message::CompilerArtifact(artifact) => artifacts.push(artifact),
                Message::BuildFinished { success } => finished = success,
                Message::Other => {}
            }
        }
        if !finished {
            return Err(refused("the build did not succeed, or was cut off".to_owned()));
        }
        Ok(Self { path: path.to_owned(), artifacts })
    }

    /// The crates that were compiled for a target: not those that ran on the machine that built.
    pub(crate) fn crates(&self, target: &str) -> Result<Crates, ImageError> {
        let mut crates = Crates::new();
        for artifact in self.artifacts.iter().filter(|artifact| artifact.is_in_a_program_for(target)) {
            crates.entry(artifact.package_id.clone()).or_default().extend(artifact.features.iter().cloned());
        }
        if crates.is_empty() {
            let why = format!("nothing was compiled for {target}");
            return Err(ImageError::Build { path: self.path.clone(), why });
        }
        Ok(crates)
    }
}

impl Artifact {
    /// Whether it lies where cargo puts what it makes for a target: `TARGET/PROFILE`, or `deps` in there.
    fn is_in_a_program_for(&self, target: &str) -> bool {
        let ran_here = ["proc-macro", "custom-build"];
        let is_there = |file: &PathBuf| {
            file.ancestors()
                .skip(2)
                .take(2)
                .any(|folder| folder.file_name().is_some_and(|name| name == target))
        };
        !self.target.kind.iter().any(|kind| ran_here.contains(&kind.as_str()))
            && self.filenames.iter().any(is_there)
    }
}
