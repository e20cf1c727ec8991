//! A real `portcullis serve` in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::child::{Background, usable};
use crate::error::{BenchError, Result};
use crate::proc;

/// The bearer token of the mesh API.
pub(super) const MESH_TOKEN: &str = "bench-mesh-token-0123456789-abcdef";
/// Who polls.
pub(super) const GATEWAY: &str = "spiffe://cluster.local/ns/istio-system/sa/ingressgateway";
/// How long the service may take to read its database.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where it listens.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Bound {
    mesh: SocketAddr,
    platform: SocketAddr,
}

/// A running service.
pub(super) struct Service {
    process: Background,
    bound: Bound,
}

/// What a service has used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    at: Instant,
    processor: Duration,
}

/// The program of the same build as this one.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(BenchError::io("find", "this program"))?;
    let program = own.with_file_name("portcullis");
    if program.is_file() {
        return Ok(program);
    }
    let remedy =
        "run `cargo build --locked --release -p portcullis-bench -p portcullis-control`, or `make bench`";
    Err(BenchError::Missing { what: program.display().to_string(), remedy: remedy.into() })
}

impl Service {
    /// Serves the store in `data` of a folder, or that of a server's database. Call it on the main thread.
    ///
    /// # Errors
    /// When the program is missing, or does not come to serve; the message shows its log.
    pub(super) async fn start(folder: &Path, database: Option<&str>) -> Result<Self> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(BenchError::io("write", path))
        };
        write("token", MESH_TOKEN)?;
        write("control.yaml", &configuration().to_string())?;
        let ready = folder.join("ready");
        let mut command = Command::new(program()?);
        command.args(["serve", "--config"]).arg(folder.join("control.yaml")).arg("--ready-file").arg(&ready);
        command.env_remove("DATABASE_URL").envs(database.map(|url| ("DATABASE_URL", url)));
        let mut process = Background::start("portcullis", command, &usable()?, &folder.join("log"))?;
        let begun = Instant::now();
        loop {
            process.check()?;
            if let Some(bound) =
                std::fs::read(&ready).ok().and_then(|text| serde_json::from_slice(&text).ok())
            {
                return Ok(Self { process, bound });
            }
            if begun.elapsed() > PATIENCE {
                return Err(process.failure("does not come to serve"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Where filters poll.
    pub(super) fn mesh(&self) -> SocketAddr {
        self.bound.mesh
    }

    /// Where clusters report, and where administrators change things.
    pub(super) fn platform(&self) -> SocketAddr {
        self.bound.platform
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// When it runs no more.
    pub(super) fn used(&self) -> Result<Used> {
        let processor = proc::processor_time(self.process.id());
        let processor = processor.ok_or_else(|| self.process.failure("runs no more"))?;
        Ok(Used { at: Instant::now(), processor })
    }

    /// Cores that it used since.
    ///
    /// # Errors
    /// When it runs no more.
    pub(super) fn cores_since(&self, before: Used) -> Result<f64> {
        let now = self.used()?;
        let processor = now.processor.saturating_sub(before.processor);
        Ok(processor.as_secs_f64() / now.at.saturating_duration_since(before.at).as_secs_f64())
    }

    /// Milliseconds of processor time that it used since.
    ///
    /// # Errors
    /// When it runs no more.
    pub(super) fn processor_ms_since(&self, before: Used) -> Result<f64> {
        Ok(self.used()?.processor.saturating_sub(before.processor).as_secs_f64() * 1e3)
    }

    /// Its resident memory in MiB.
    ///
    /// # Errors
    /// When it runs no more.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        proc::resident_mib(self.process.id()).ok_or_else(|| self.process.failure("runs no more"))
    }
}

fn configuration() -> serde_json::Value {
    // JSON is YAML. The key is that of RFC 8037, appendix A; nobody signs by it.
    json!({
        "listeners": {"mesh": "127.0.0.1:0", "platform": "127.0.0.1:0", "operations": "127.0.0.1:0"},
        "store": {"dataDir": "data"},
        "mesh": {"tokenFile": "token", "gateways": [GATEWAY]},
        "identity": {"issuer": "https://portcullis.example.com/identity"},
        "issuers": [{
            "issuer": "https://idp.example.com",
            "audiences": ["portcullis"],
            "algorithms": ["EdDSA"],
            "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]},
        }],
        "sourceRules": [{"name": "people", "sourceType": "human", "when": {"credential": ["jwt"]}}],
    })
}
