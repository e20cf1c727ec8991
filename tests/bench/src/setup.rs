//! What every measurement stands on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_mesh::paths;

use crate::child::Cores;
use crate::envoy::Launch;
use crate::error::{BenchError, Result};
use crate::mesh_api::MeshApi;
use crate::world::World;
use crate::wrk::{Wrk, require};

/// Data clusters in the snapshot of the request-path measurements.
pub(crate) const CLUSTERS: usize = 10_000;

/// API keys in the snapshot of the request-path measurements.
pub(crate) const API_KEYS: usize = 1_000;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Interleaved rounds.
    pub rounds: usize,
    /// Length of one round.
    pub round: Duration,
    /// True when only the main numbers are wanted.
    pub quick: bool,
}

impl Effort {
    /// The effort of a run.
    pub(crate) fn of(quick: bool) -> Self {
        if quick {
            Self { rounds: 2, round: Duration::from_secs(1), quick }
        } else {
            Self { rounds: 5, round: Duration::from_secs(2), quick }
        }
    }
}

/// What every measurement stands on.
pub(crate) struct Setup {
    /// How long and how often.
    pub effort: Effort,
    /// Which processor does what.
    pub cores: Cores,
    /// Throughput over HTTP/2 instead of HTTP/1.1.
    pub http2: bool,
    /// The Envoy binary.
    pub binary: PathBuf,
    /// The module.
    pub wasm: PathBuf,
    /// Another build of the module, to be compared with.
    pub other: Option<PathBuf>,
    /// Folder for configuration, logs and feeds of this run.
    pub dir: PathBuf,
    /// The load generator of the closed loop.
    pub wrk: Wrk,
    /// Keys and data.
    pub world: World,
    /// The mesh API of the request-path measurements.
    pub api: MeshApi,
    /// Held while this run lasts: two at a time would measure each other.
    _lock: File,
}

impl Setup {
    /// Checks what must be there, pins this process and makes the world.
    ///
    /// # Errors
    /// When something is missing, with what to run.
    pub(crate) fn new(effort: Effort, binary: PathBuf, http2: bool) -> Result<Self> {
        let wasm = paths::wasm_module();
        if !wasm.is_file() {
            return Err(BenchError::Missing {
                what: wasm.display().to_string(),
                remedy: "run `make wasm`".into(),
            });
        }
        let native = paths::native_module_folder().join("libportcullis.so");
        if !native.is_file() {
            let what = native.display().to_string();
            return Err(BenchError::Missing { what, remedy: "run `make native`".into() });
        }
        let (dir, lock) = alone()?;
        let cores = Cores::choose()?;
        cores.pin_self()?;
        if http2 {
            require("h2load", "nghttp2-client")?;
        }
        let wrk = Wrk::find(&dir)?;
        let world = World::new()?;
        let api = MeshApi::start(world.records(CLUSTERS, API_KEYS))?;
        Ok(Self { effort, cores, http2, binary, wasm, other: None, dir, wrk, world, api, _lock: lock })
    }

    /// An Envoy of one worker on the proxy's processor.
    pub(crate) fn launch(&self) -> Launch {
        Launch {
            binary: self.binary.clone(),
            dir: self.dir.clone(),
            cores: vec![self.cores.proxy],
            workers: 1,
            trace: false,
        }
    }
}

/// The folder of runs, once no other is under way; no other begins while the file is open.
///
/// # Errors
/// When the folder cannot be used.
pub(crate) fn alone() -> Result<(PathBuf, File)> {
    let dir = paths::target().join("bench");
    std::fs::create_dir_all(&dir).map_err(BenchError::io("create", &dir))?;
    let lock = lock(&dir)?;
    Ok((dir, lock))
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let lock = File::create(&path).map_err(BenchError::io("create", &path))?;
    if lock.try_lock().is_err() {
        eprintln!("another benchmark is running: waiting for it");
        lock.lock().map_err(BenchError::io("lock", &path))?;
    }
    Ok(lock)
}
