//! The control service of a running mesh: started, stopped, and given the sample clusters.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_identity::{ClusterId, Verifier};
use tokio::task::JoinHandle;

use super::{HOSTED, Mesh, ONPREM, READY};
use crate::control::{Admin, Control, IDENTITY_ISSUER};
use crate::data_api::Trust;
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::paths;
use crate::process::Process;
use crate::render::Plugins;

/// The tenant that owns `acme-hosted` and `acme-onprem`.
pub const TENANT: &str = "acme";
/// A cluster of tenant `acme` that has never sent a heartbeat.
pub const SILENT: &str = "acme-silent";
/// An online cluster of another tenant.
pub const FOREIGN: &str = "globex-hosted";

/// A cluster of tenant `acme` that sent one heartbeat and no more: it goes offline.
pub const OFFLINE: &str = "acme-offline";

/// The component name of the control service.
const CONTROL: &str = "control";

/// How often the Data APIs fetch the key set: a new key signs a second after it is published at the earliest.
const RENEW: Duration = Duration::from_millis(300);

/// What guards a mesh: the control service, and what the harness does in the clusters' name.
pub(super) struct Guard {
    control: Control,
    admin: Admin,
    heartbeats: BTreeMap<&'static str, JoinHandle<()>>,
    tokens: BTreeMap<&'static str, String>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.heartbeats.values().for_each(JoinHandle::abort);
    }
}

impl Mesh {
    /// Starts the control service with the sample clusters, and sets up what the plugins need.
    pub(super) async fn start_guard(&mut self) -> Result<()> {
        let module = paths::wasm_module();
        if !module.is_file() {
            return Err(MeshError::ToolMissing {
                tool: "portcullis.wasm",
                purpose: "guard the gateway",
                install: "Build it: `make wasm`",
            });
        }
        let mesh_token = secret()?;
        let control = Control::prepare(&self.run_dir, self.plan, &mesh_token, self.options.offline_after_s)?;
        let admin = Admin::new(self.plan.control_platform_api(), control.line("bootstrap-admin").await?);
        let snapshot_key = public_key(&control.line("snapshot-key").await?)?;
        self.mesh_token = Some(mesh_token);
        self.renderer.plugins =
            Some(Plugins { module, snapshot_key, stale_after_s: self.options.stale_after_s });
        self.guard = Some(Guard { control, admin, heartbeats: BTreeMap::new(), tokens: BTreeMap::new() });
        self.start_control().await?;
        for (id, tenant, placement) in [
            (HOSTED, TENANT, "platform_hosted"),
            (ONPREM, TENANT, "on_premises"),
            (SILENT, TENANT, "platform_hosted"),
            (OFFLINE, TENANT, "on_premises"),
            (FOREIGN, "globex", "platform_hosted"),
        ] {
            let token = self.admin()?.register(id, tenant, placement).await?;
            if let Some(guard) = &mut self.guard {
                guard.tokens.insert(id, token);
            }
        }
        for id in [HOSTED, ONPREM, FOREIGN, OFFLINE] {
            self.start_heartbeat(id).await?;
        }
        self.stop_heartbeat(OFFLINE);
        self.trust_identities().await
    }

    /// The platform API with an administrator's token.
    ///
    /// # Errors
    /// When the mesh runs without plugins: then there is no control service.
    pub fn admin(&self) -> Result<&Admin> {
        self.guard().map(|guard| &guard.admin)
    }

    /// Starts the control service again, or for the first time.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_control(&mut self) -> Result<()> {
        let command = self.guard()?.control.serve();
        let process = Process::start(CONTROL, command, &self.log(CONTROL))?;
        self.processes.insert(CONTROL.to_owned(), process);
        self.until("the control service", CONTROL, READY, |plan| async move {
            match Request::get(plan.control_operations(), "/readyz").send().await {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(response.text()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Stops the control service in order. Filters go on with what they know until it is stale.
    pub async fn stop_control(&mut self) {
        if let Some(mut process) = self.processes.remove(CONTROL) {
            process.stop().await;
        }
    }

    /// Sends heartbeats in the name of one of the sample clusters, the first one at once.
    ///
    /// # Errors
    /// When the first one is refused.
    pub async fn start_heartbeat(&mut self, id: &'static str) -> Result<()> {
        let guard = self.guard()?;
        let (admin, token) = (guard.admin.clone(), guard.tokens.get(id).cloned().unwrap_or_default());
        admin.heartbeat(id, &token).await?;
        let every = Duration::from_millis(u64::from(self.options.offline_after_s) * 1000 / 4);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                // While the control service is stopped by a test, heartbeats are lost, as they would be.
                let _ = admin.heartbeat(id, &token).await;
            }
        });
        if let Some(old) = self.guard.as_mut().and_then(|guard| guard.heartbeats.insert(id, task)) {
            old.abort();
        }
        Ok(())
    }

    /// Stops the heartbeats of a cluster: it goes offline.
    pub fn stop_heartbeat(&mut self, id: &str) {
        if let Some(task) = self.guard.as_mut().and_then(|guard| guard.heartbeats.remove(id)) {
            task.abort();
        }
    }

    /// Waits until every worker of the gateway decides by the newest snapshot.
    pub(super) async fn workers_ready(&mut self) -> Result<()> {
        let (admin, workers) = (self.admin()?.clone(), self.options.gateway_workers);
        self.until("the filters' snapshot", "ingressgateway", READY, |_| {
            let admin = admin.clone();
            async move {
                let page =
                    admin.call(hyper::Method::GET, "/v1/proxies", None).await.map_err(|e| e.to_string())?;
                let current = page["workers"].as_array().into_iter().flatten();
                let ready = current.filter(|w| w["revision"] == page["revision"]).count();
                let all = usize::try_from(workers).is_ok_and(|all| ready >= all);
                if all { Ok(()) } else { Err(format!("{ready} of {workers} workers have it: {page}")) }
            }
        })
        .await
    }

    /// Lets the Data APIs trust the identity keys that the control service publishes, also when these change.
    async fn trust_identities(&mut self) -> Result<()> {
        let platform = self.plan.control_platform_api();
        let trust: Vec<_> = self.trust.iter().map(|(name, trust)| (*name, trust.clone())).collect();
        renew(platform, &trust).await?;
        self.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW).await;
                // While the control service is down, the last key set stays in use.
                let _ = renew(platform, &trust).await;
            }
        }));
        Ok(())
    }

    fn guard(&self) -> Result<&Guard> {
        self.guard.as_ref().ok_or_else(|| MeshError::Control {
            what: "the platform API".to_owned(),
            status: 0,
            body: "this mesh was started without plugins, so there is no control service".to_owned(),
        })
    }
}

/// Fetches the key set of identity tokens and hands it to the Data APIs.
async fn renew(platform: SocketAddr, trust: &[(&'static str, Trust)]) -> Result<()> {
    let jwks = Request::get(platform, "/v1/identity/jwks").send().await?.text();
    for (name, trust) in trust {
        let failed = |reason: String| MeshError::Token { what: format!("trust of {name}"), reason };
        let cluster = ClusterId::new(name).map_err(|e| failed(e.to_string()))?;
        let verifier =
            Verifier::from_jwks(&jwks, IDENTITY_ISSUER, cluster).map_err(|e| failed(e.to_string()))?;
        trust.set(verifier);
    }
    Ok(())
}

/// 256 random bits in hexadecimal.
fn secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|e| MeshError::Token { what: "the mesh token".to_owned(), reason: e.to_string() })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn public_key(text: &str) -> Result<[u8; 32]> {
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    decoded.ok_or_else(|| MeshError::Token {
        what: "the snapshot key".to_owned(),
        reason: format!("`portcullis snapshot-key` printed {text:?}"),
    })
}
