//! What cargo knows of crates: where each is from, its licence, and which one it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::compiled::{Crates, PackageId};
use crate::error::ImageError;

/// The packages of a workspace for one target.
#[derive(Debug)]
pub struct Graph {
    target: String,
    packages: BTreeMap<PackageId, Package>,
    edges: BTreeMap<PackageId, Vec<Edge>>,
    checksums: BTreeMap<(String, String), String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    id: PackageId,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

/// What a manifest asks for.
#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
    optional: bool,
    #[serde(flatten)]
    kind: Kind,
}

/// For what, and for which targets.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Kind {
    /// Of the program, if it is none of those for tests and for building.
    kind: Option<String>,
    target: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: PackageId,
    dep_kinds: Vec<Kind>,
}

/// What `cargo metadata` tells.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_root: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: PackageId,
    deps: Vec<Edge>,
}

/// What `Cargo.lock` tells.
#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Graph {
    /// Asks cargo for the workspace that a folder is in.
    ///
    /// # Errors
    /// When cargo does not answer, or its lock file cannot be read.
    pub fn ask(workspace: &Path, target: &str) -> Result<Self, ImageError> {
        let arguments = ["metadata", "--locked", "--format-version", "1", "--filter-platform", target];
        let told: Metadata = serde_json::from_slice(&ask("CARGO", "cargo", &arguments, workspace)?)?;
        let lock = told.workspace_root.join("Cargo.lock");
        let text = fs::read_to_string(&lock).map_err(ImageError::file(&lock))?;
        let locked: Lock = toml::from_str(&text)
            .map_err(|error| ImageError::Build { path: lock, why: error.to_string() })?;
        let checksum = |one: Locked| one.checksum.map(|checksum| ((one.name, one.version), checksum));
        Ok(Self {
            target: target.to_owned(),
            packages: told.packages.into_iter().map(|package| (package.id.clone(), package)).collect(),
            edges: told.resolve.nodes.into_iter().map(|node| (node.id, node.deps)).collect(),
            checksums: locked.package.into_iter().filter_map(checksum).collect(),
        })
    }

    /// What it was asked for, as rustc calls it.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn package(&self, id: &PackageId) -> Result<&Package, ImageError> {
        self.packages.get(id).ok_or_else(|| ImageError::Crate(id.to_string()))
    }

    /// The one package that has a name.
    pub(crate) fn named(&self, name: &str) -> Result<&Package, ImageError> {
        let mut named = self.packages.values().filter(|package| package.name == name);
        match (named.next(), named.next()) {
            (Some(package), None) => Ok(package),
            _ => Err(ImageError::Crate(name.to_owned())),
        }
    }

    /// The SHA-256 of a package's source, if it comes from a registry.
    pub(crate) fn checksum(&self, package: &Package) -> Option<&str> {
        self.checksums.get(&(package.name.clone(), package.version.clone())).map(String::as_str)
    }

    /// Those of the crates that one of them uses.
    pub(crate) fn uses<'g>(
        &'g self,
        id: &PackageId,
        crates: &Crates,
    ) -> Result<Vec<&'g Package>, ImageError> {
        let (user, none) = (self.package(id)?, BTreeSet::new());
        let features = crates.get(id).unwrap_or(&none);
        let edges = self.edges.get(id).into_iter().flatten();
        let mut uses = Vec::new();
        for edge in edges.filter(|edge| crates.contains_key(&edge.pkg)) {
            let used = self.package(&edge.pkg)?;
            if user.asks_for(edge, used, features) {
                uses.push(used);
            }
        }
        Ok(uses)
    }
}

impl Package {
    /// A file of its source.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.manifest_path.with_file_name(path)
    }

    /// Whether the program needs another package for this one. Cargo's graph is that of the whole workspace: what is
    /// optional may be asked for by features that this program does not have.
    fn asks_for(&self, edge: &Edge, used: &Self, features: &BTreeSet<String>) -> bool {
        self.dependencies.iter().any(|asked| {
            asked.kind.kind.is_none()
                && asked.name == used.name
                && edge.dep_kinds.contains(&asked.kind)
                && (!asked.optional || self.enables(asked.rename.as_ref().unwrap_or(&asked.name), features))
        })
    }

    /// Whether features ask for what is optional.
    fn enables(&self, dependency: &str, features: &BTreeSet<String>) -> bool {
        let asks = |asked: &String| {
            asked.strip_prefix("dep:") == Some(dependency)
                || asked.split_once('/').is_some_and(|(name, _)| name == dependency)
        };
        features.iter().filter_map(|feature| self.features.get(feature)).flatten().any(asks)
    }
}

/// What a program of the toolchain says. The variable names another one.
pub(crate) fn ask(
    variable: &str,
    program: &str,
    arguments: &[&str],
    folder: &Path,
) -> Result<Vec<u8>, ImageError> {
    let program = std::env::var_os(variable).unwrap_or_else(|| OsString::from(program));
    let failed = |why: String| ImageError::Toolchain {
        command: [&program.to_string_lossy(), arguments.join(" ").as_str()].join(" "),
        why,
    };
    let told = Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if told.status.success() {
        Ok(told.stdout)
    } else {
        Err(failed(String::from_utf8_lossy(&told.stderr).trim().to_owned()))
    }
}
