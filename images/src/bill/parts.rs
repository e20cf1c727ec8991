//! What an image has in it: the crates of its program, the C libraries that some of them bring, and what no crate is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::compiled::Compiled;
use super::document::{Component, Hash, Property};
use super::graph::{Graph, Package, ask};
use crate::error::ImageError;

/// The parts of an image, by the names that refer to them.
#[derive(Debug, Default)]
pub struct Parts {
    pub(super) components: BTreeMap<String, Component>,
    /// Which of them needs which.
    pub(super) uses: BTreeMap<String, BTreeSet<String>>,
    /// Those that the image has for its own sake.
    pub(super) roots: BTreeSet<String>,
}

/// A C library that a crate brings the source of.
struct Bundled {
    by: &'static str,
    name: &'static str,
    license: &'static str,
    vendor: &'static str,
    header: &'static str,
    version: &'static str,
}

const BUNDLED: [Bundled; 2] = [
    Bundled {
        by: "aws-lc-sys",
        name: "aws-lc",
        license: "ISC AND (Apache-2.0 OR ISC)",
        vendor: "amazon",
        header: "aws-lc/include/openssl/base.h",
        version: "AWSLC_VERSION_NUMBER_STRING",
    },
    Bundled {
        by: "libsqlite3-sys",
        name: "sqlite",
        license: "blessing",
        vendor: "sqlite",
        header: "sqlite3/sqlite3.h",
        version: "SQLITE_VERSION",
    },
];

impl Parts {
    /// What was compiled of a package for the graph's target, and the standard library that it is linked with.
    ///
    /// # Errors
    /// When something was compiled that the graph does not know, or the version of something cannot be told.
    pub fn compiled(
        program: &str,
        compiled: &Compiled,
        graph: &Graph,
        workspace: &Path,
    ) -> Result<Self, ImageError> {
        let crates = compiled.crates(graph.target())?;
        let mut parts = Self::default();
        for (id, features) in &crates {
            let package = graph.package(id)?;
            let part = parts.add(component(package, graph, features));
            let used = graph.uses(id, &crates)?.into_iter().map(reference).collect();
            parts.uses.insert(part.clone(), used);
            for library in BUNDLED.iter().filter(|library| library.by == package.name) {
                let library = parts.add(library.component(package)?);
                parts.uses.entry(part.clone()).or_default().insert(library);
            }
        }
        let program = reference(graph.named(program)?);
        if !parts.components.contains_key(&program) {
            return Err(ImageError::Crate(program));
        }
        parts.roots.insert(program);
        for library in standard_library(graph.target(), workspace)? {
            let library = parts.add(library);
            parts.roots.insert(library);
        }
        Ok(parts)
    }

    /// A package whose data is in the image although no program uses it.
    ///
    /// # Errors
    /// When the graph has none of that name, or several.
    pub fn with_data_of(mut self, package: &str, graph: &Graph) -> Result<Self, ImageError> {
        let part = self.add(component(graph.named(package)?, graph, &BTreeSet::new()));
        self.roots.insert(part);
        Ok(self)
    }

    /// The C library that a static program is linked with: zig compiles it of its own copy of the source.
    ///
    /// # Errors
    /// When zig's folder does not have it.
    pub fn with_musl_of(mut self, zig: &Path) -> Result<Self, ImageError> {
        let version = defined("VERSION", &zig.join("lib/libc/musl/src/internal/version.h"))?;
        let musl = Component::new("library", "musl", "musl")
            .version(&version)
            .description("The C library, as zig has it")
            .license("MIT")
            .known_as("musl-libc", "musl", &version);
        let part = self.add(musl);
        self.roots.insert(part);
        Ok(self)
    }

    fn add(&mut self, component: Component) -> String {
        let reference = component.reference.clone();
        self.components.insert(reference.clone(), component);
        reference
    }
}

impl Bundled {
    fn component(&self, package: &Package) -> Result<Component, ImageError> {
        let version = defined(self.version, &package.file(self.header))?;
        Ok(Component::new("library", self.name, self.name)
            .version(&version)
            .description(["As the crate ", self.by, " has it"].concat())
            .license(self.license)
            .known_as(self.vendor, self.name, &version))
    }
}

/// How others refer to a package.
fn reference(package: &Package) -> String {
    [&package.name, "@", &package.version].concat()
}

fn component(package: &Package, graph: &Graph, features: &BTreeSet<String>) -> Component {
    let mut component =
        Component::new("library", reference(package), &package.name).version(&package.version);
    if let Some(license) = &package.license {
        // As it was written before there were expressions.
        component = component.license(license.replace(" / ", "/").replace('/', " OR "));
    }
    // A crate of ours is in no registry: what has its name there would be somebody else's.
    if package.source.is_some() {
        component.purl =
            Some(["pkg:cargo/", &package.name, "@", &package.version.replace('+', "%2B")].concat());
    }
    let hash = |checksum: &str| Hash { alg: "SHA-256", content: checksum.to_owned() };
    component.hashes = graph.checksum(package).map(hash).into_iter().collect();
    let feature = |value: &String| Property { name: "portcullis:feature", value: value.clone() };
    component.properties = features.iter().map(feature).collect();
    component
}

/// What every program of Rust is linked with; for WebAssembly its C library comes with it.
fn standard_library(target: &str, workspace: &Path) -> Result<Vec<Component>, ImageError> {
    let told = String::from_utf8_lossy(&ask("RUSTC", "rustc", &["-vV"], workspace)?).into_owned();
    let unknown =
        || ImageError::Toolchain { command: "rustc -vV".to_owned(), why: "it names no release".into() };
    let version = told.lines().find_map(|line| line.strip_prefix("release: ")).ok_or_else(unknown)?;
    let rust = Component::new("library", "rust-std", "rust-std")
        .version(version)
        .description(["The standard library of Rust for ", target].concat())
        .license("MIT OR Apache-2.0")
        .known_as("rust-lang", "rust", version);
    let wasi = Component::new("library", "wasi-libc", "wasi-libc")
        .description("The C library, as the standard library of Rust brings it for WASI")
        .license("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT");
    Ok(if target.contains("-wasi") { vec![rust, wasi] } else { vec![rust] })
}

/// The text that a header defines a name as.
fn defined(name: &str, header: &Path) -> Result<String, ImageError> {
    let text = fs::read(header).map_err(ImageError::file(header))?;
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| {
        let rest = line.strip_prefix("#define ")?.strip_prefix(name)?;
        rest.starts_with([' ', '\t']).then(|| rest.trim().strip_prefix('"')?.strip_suffix('"'))?
    });
    let why = || ["it defines no ", name].concat();
    value.map(str::to_owned).ok_or_else(|| ImageError::Build { path: header.to_owned(), why: why() })
}
