//! The control service of a running mesh: started, stopped, and given the sample clusters.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::cluster_id::cluster_id;
use super::guarded::Guard;
use super::{Mesh, Options};
use crate::control::{Admin, Control, IDENTITY_ISSUER};
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::paths;
use crate::process::Process;
use crate::render::Plugins;
use crate::sample::{FOREIGN, HOSTED, OFFLINE, ONPREM, SILENT, TENANT};
use crate::target::Target;

/// The component name of the control service.
const CONTROL: &str = "control";

/// How many heartbeats a cluster sends in the time after which it would be offline: some may be late.
const HEARTBEATS: u64 = 6;

impl Mesh {
    /// Starts the control service with the sample clusters, and sets up what the plugins need.
    pub(super) async fn start_guard(&mut self) -> Result<()> {
        let module = self.options.module.clone().unwrap_or_else(paths::wasm_module);
        // Sidecars need it, also beside a native gateway.
        require_built(&module, "portcullis.wasm", "Build it: `make wasm`")?;
        if self.options.gateway == Target::Native {
            require_built(&paths::native_module(), "libportcullis.so", "Build it: `make native`")?;
        }
        let mesh_token = secret()?;
        let Options { ingress, offline_after_s, .. } = self.options;
        let control = Control::prepare(&self.run_dir, self.plan, &mesh_token, ingress, offline_after_s)?;
        let admin = Admin::new(self.plan.control_platform_api(), control.line("bootstrap-admin").await?);
        let snapshot_key = public_key(&control.line("snapshot-key").await?)?;
        self.mesh_token = Some(mesh_token);
        let Options { stale_after_s, gateway, .. } = self.options;
        self.renderer.plugins = Some(Plugins { module, snapshot_key, stale_after_s, gateway });
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
        self.until("the control service", CONTROL, async |mesh| {
            let answer = Request::get(mesh.plan.control_operations(), "/readyz").send().await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text().into()) }
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
        let every = Duration::from_millis(u64::from(self.options.offline_after_s) * 1000 / HEARTBEATS);
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

    /// Waits until every reader of the gateway has the newest snapshot: each worker is one, or, with the
    /// native module, the process.
    pub(crate) async fn workers_ready(&mut self) -> Result<()> {
        self.until("the filters' snapshot", "ingressgateway", async |mesh| {
            let workers = match mesh.options.gateway {
                Target::Wasm => mesh.options.gateway_workers,
                Target::Native => 1,
            };
            let page = mesh.admin()?.call(hyper::Method::GET, "/v1/proxies", None).await?;
            let current = page["workers"].as_array().into_iter().flatten();
            let ready = current.filter(|w| w["revision"] == page["revision"]).count();
            let all = usize::try_from(workers).is_ok_and(|all| ready >= all);
            if all { Ok(()) } else { Err(format!("{ready} of {workers} workers have it: {page}").into()) }
        })
        .await
    }

    /// Lets the Data APIs trust the identity keys that the control service publishes, also when these change.
    async fn trust_identities(&mut self) -> Result<()> {
        for (name, trust) in &self.trust {
            trust.follow(self.plan.control_platform_api(), IDENTITY_ISSUER, cluster_id(name)?).await?;
        }
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

/// Fails when a module is not there.
fn require_built(module: &Path, tool: &'static str, install: &'static str) -> Result<()> {
    if module.is_file() {
        return Ok(());
    }
    Err(MeshError::ToolMissing { tool, purpose: "guard the gateway", install })
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
