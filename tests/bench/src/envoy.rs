//! A running Envoy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis_mesh::paths;
use portcullis_mesh::wait::PATIENCE;
use serde_json::Value;

use crate::child::Background;
use crate::error::{BenchError, Result};
use crate::filters::{self, Chain, READY};
use crate::http;
use crate::mesh_api::{MeshApi, TOKEN};
use crate::proc;

/// How to start an Envoy.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The binary.
    pub binary: PathBuf,
    /// Folder for configuration and logs.
    pub dir: PathBuf,
    /// The processors to run on.
    pub cores: Vec<usize>,
    /// Worker threads.
    pub workers: usize,
    /// Traces every call of its Wasm VMs into the log.
    pub trace: bool,
}

/// An Envoy with its listeners.
#[derive(Debug)]
pub(crate) struct Envoy {
    process: Background,
    listeners: BTreeMap<String, SocketAddr>,
    /// From the start of the process until a worker answered on every chain, with whatever status.
    pub answered_in: Duration,
    /// Processor time used until then, in nanoseconds.
    pub processor_at_answer_ns: u64,
}

impl Envoy {
    /// Starts an Envoy with these chains and waits until every worker serves.
    ///
    /// # Errors
    /// With the end of its log, when it ends or does not become ready.
    pub(crate) fn start(name: &str, launch: &Launch, chains: &[Chain], api: &MeshApi) -> Result<Self> {
        let file = |suffix: &str| launch.dir.join(format!("{name}.{suffix}"));
        let (config, log, admin_file) = (file("json"), file("log"), file("admin"));
        let bootstrap = filters::bootstrap(chains, api.address());
        std::fs::write(&config, bootstrap.to_string()).map_err(BenchError::io("write", &config))?;
        if admin_file.exists() {
            std::fs::remove_file(&admin_file).map_err(BenchError::io("remove", &admin_file))?;
        }
        let mut command = Command::new(&launch.binary);
        command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", paths::native_module_folder());
        command.env("PORTCULLIS_MESH_TOKEN", TOKEN);
        command.arg("--config-path").arg(&config).arg("--admin-address-path").arg(&admin_file);
        command.args(["--concurrency", &launch.workers.to_string(), "--log-level", "warning"]);
        command.args(["--disable-hot-restart", "--file-flush-interval-msec", "1000"]);
        if launch.trace {
            command.args(["--component-log-level", "wasm:trace"]);
        }
        let start = Instant::now();
        let mut process = Background::start(&format!("Envoy ({name})"), command, &launch.cores, &log)?;
        let admin = await_live(&mut process, &admin_file)?;
        let listeners = listeners(admin).ok_or_else(|| process.failure("tells no listeners"))?;
        for address in listeners.values() {
            wait(&mut process, "does not answer", || http::get(*address, READY))?;
        }
        let answered_in = start.elapsed();
        let mut envoy = Self { process, listeners, answered_in, processor_at_answer_ns: 0 };
        envoy.processor_at_answer_ns = envoy.processor_ns();
        for chain in chains.iter().filter(|c| c.is_ours() && c.name != "audit") {
            envoy.await_snapshot(chain.name)?;
        }
        Ok(envoy)
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Processor time that all threads of the process have used, in nanoseconds. What other programs
    /// take away from its core does not count, so it tells costs apart also on a busy machine.
    pub(crate) fn processor_ns(&self) -> u64 {
        proc::processor_ns(self.id(), |_| true)
    }

    /// The same of the worker threads alone.
    pub(crate) fn worker_ns(&self) -> u64 {
        proc::processor_ns(self.id(), |name| name.starts_with("wrk:"))
    }

    /// The id of the (first) worker's thread.
    pub(crate) fn worker_thread(&self) -> Option<u32> {
        proc::thread(self.id(), "wrk:worker_0")
    }

    /// Bytes in the log so far.
    pub(crate) fn log_length(&self) -> u64 {
        std::fs::metadata(self.process.log()).map_or(0, |m| m.len())
    }

    /// The log from a byte on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn log_from(&self, begin: u64) -> Result<String> {
        let log = self.process.log();
        let bytes = std::fs::read(log).map_err(BenchError::io("read", log))?;
        let rest = bytes.get(usize::try_from(begin).unwrap_or(usize::MAX)..).unwrap_or_default();
        Ok(String::from_utf8_lossy(rest).into_owned())
    }

    /// Resident memory of the process in MiB.
    pub(crate) fn resident_mib(&self) -> Option<f64> {
        proc::resident_mib(self.id())
    }

    /// The greatest linear memory among the VMs of the process, in MiB.
    pub(crate) fn wasm_memory_mib(&self) -> Option<f64> {
        proc::wasm_memory_mib(self.id())
    }

    /// Where a chain listens.
    ///
    /// # Errors
    /// When there is no such chain.
    pub(crate) fn address(&self, chain: &str) -> Result<SocketAddr> {
        self.listeners
            .get(chain)
            .copied()
            .ok_or_else(|| self.process.failure(format!("has no chain {chain}")))
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// With the end of its log, when it does not.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Waits until a worker of a chain of ours has its snapshot.
    fn await_snapshot(&mut self, chain: &str) -> Result<()> {
        let address = self.address(chain)?;
        self.wait(&format!("has no snapshot ({chain})"), || {
            http::get(address, READY).is_some_and(|(status, _)| status == 200).then_some(())
        })
    }

    fn wait<T>(&mut self, what: &str, ask: impl FnMut() -> Option<T>) -> Result<T> {
        wait(&mut self.process, what, ask)
    }
}

fn wait<T>(process: &mut Background, what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        process.check()?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(process.failure(format!("{what} after {} s", PATIENCE.as_secs())))
}

fn await_live(process: &mut Background, admin_file: &Path) -> Result<SocketAddr> {
    wait(process, "is not ready", || {
        let admin = std::fs::read_to_string(admin_file).ok()?.trim().parse().ok()?;
        let (status, _) = http::get(admin, "/ready")?;
        (status == 200).then_some(admin)
    })
}

fn listeners(admin: SocketAddr) -> Option<BTreeMap<String, SocketAddr>> {
    let (_, text) = http::get(admin, "/listeners?format=json")?;
    let value: Value = serde_json::from_str(&text).ok()?;
    let statuses = value["listener_statuses"].as_array()?;
    statuses
        .iter()
        .map(|status| {
            let socket = &status["local_address"]["socket_address"];
            let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
            let ip = socket["address"].as_str()?.parse().ok()?;
            Some((status["name"].as_str()?.to_owned(), SocketAddr::new(ip, port)))
        })
        .collect()
}
