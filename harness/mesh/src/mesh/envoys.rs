//! The Envoys of a mesh: started with their bootstraps, stopped, and impersonated.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::process::Command;

use super::{HOSTED, Mesh, ONPREM, READY};
use crate::bootstrap::{self, Dialler, Managed, Upstream, accepting_gateway};
use crate::error::Result;
use crate::http::Request;
use crate::pki::Workload;
use crate::process::Process;

/// The component name of the on-premises tunnel agent.
pub(super) const AGENT: &str = "tunnel-agent";

/// The component name of the ingress gateway.
const INGRESS: &str = "ingressgateway";

/// The proxies that may run a filter: they have the mesh token.
const GUARDED: [&str; 2] = [INGRESS, HOSTED];

/// The node id of the tunnel agent's Envoy.
pub(super) const AGENT_NODE: &str = "acme-onprem/tunnel-agent";

/// Who dials in with what claims.
#[derive(Debug, Clone, Copy)]
pub struct Impostor {
    /// The name in the certificate that it holds.
    pub certificate: &'static str,
    /// The node id that it claims.
    pub node_id: &'static str,
    /// The cluster id that it claims.
    pub cluster_id: &'static str,
}

impl Mesh {
    /// Starts every proxy that istiod configures.
    pub(super) fn start_managed(&mut self) -> Result<()> {
        for managed in Managed::all(self.plan) {
            self.start_proxy(&managed)?;
        }
        Ok(())
    }

    fn start_proxy(&mut self, managed: &Managed) -> Result<()> {
        let tunnel = managed.workload == Workload::TUNNEL;
        let bootstrap = if tunnel {
            let leaf =
                self.tunnels.named(bootstrap::HUB)?.write(&self.run_dir.join("pki"), "tunnel-gateway")?;
            accepting_gateway(managed, self.plan, &leaf, &self.tunnels.root())
        } else {
            managed.bootstrap(self.plan)
        };
        // A tunnel lives on one worker of the accepting side, so that one has a single worker.
        let workers = if managed.workload == Workload::INGRESS { self.options.gateway_workers } else { 1 };
        self.start_envoy(managed.name, &bootstrap, workers)
    }

    /// Starts the proxy of this name again after it was stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart_proxy(&mut self, name: &str) -> Result<()> {
        self.kill(name).await;
        match Managed::all(self.plan).iter().find(|managed| managed.name == name) {
            Some(managed) => self.start_proxy(managed),
            None => Ok(()),
        }
    }

    /// How many proxies istiod configures at the moment.
    pub(super) fn managed_running(&self) -> usize {
        Managed::all(self.plan).iter().filter(|managed| self.processes.contains_key(managed.name)).count()
    }

    /// Starts the tunnel agent of `acme-onprem` and waits until its tunnel is up.
    ///
    /// # Errors
    /// When it does not get through.
    pub async fn start_tunnel(&mut self) -> Result<()> {
        let before = self.accepted_tunnels().await?;
        let certificate = self.tunnels.named(ONPREM)?.write(&self.run_dir.join("pki"), AGENT)?;
        let dialler = Dialler {
            envoy_node: AGENT_NODE.to_owned(),
            node_id: ONPREM.to_owned(),
            cluster_id: ONPREM.to_owned(),
            certificate,
            roots: self.tunnels.root(),
            upstream: Upstream::Sidecar(self.plan.onprem_sidecar(), Workload::ONPREM),
            admin: self.plan.agent_admin(),
        };
        self.start_envoy(AGENT, &dialler.bootstrap(self.plan), 1)?;
        self.until("the tunnel of acme-onprem", AGENT, READY, |plan| async move {
            match accepted(plan.tunnel_admin()).await {
                Ok(now) if now > before => Ok(()),
                Ok(_) => Err("the tunnel gateway has accepted no tunnel yet".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Starts an impostor that dials the tunnel gateway and would answer what it gets with a body of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_impostor(&mut self, impostor: Impostor) -> Result<()> {
        let name = format!("impostor-{}-{}", impostor.node_id, impostor.cluster_id);
        let leaf = self.tunnels.named(impostor.certificate)?;
        let dialler = Dialler {
            envoy_node: name.clone(),
            node_id: impostor.node_id.to_owned(),
            cluster_id: impostor.cluster_id.to_owned(),
            certificate: leaf.write(&self.run_dir.join("pki"), &name)?,
            roots: self.tunnels.root(),
            upstream: Upstream::Answer("the impostor"),
            admin: self.plan.spare(1, 15000),
        };
        self.start_envoy(&name, &dialler.bootstrap(self.plan), 1)
    }

    /// Kills every impostor.
    pub async fn stop_impostors(&mut self) {
        let names: Vec<String> =
            self.processes.keys().filter(|name| name.starts_with("impostor-")).cloned().collect();
        for name in names {
            self.kill(&name).await;
        }
    }

    /// How many tunnels the gateway has accepted since it started.
    ///
    /// # Errors
    /// When its admin page does not answer.
    pub async fn accepted_tunnels(&self) -> Result<u64> {
        accepted(self.plan.tunnel_admin()).await
    }

    /// How many tunnels the gateway has refused because a claimed id is not the certificate's name.
    ///
    /// # Errors
    /// When its admin page does not answer.
    pub async fn refused_tunnels(&self) -> Result<u64> {
        handshakes(self.plan.tunnel_admin(), "validation_failed").await
    }

    fn start_envoy(&mut self, name: &str, bootstrap: &Value, workers: u32) -> Result<()> {
        let file = self.run_dir.join("envoy").join(format!("{name}.json"));
        bootstrap::write(bootstrap, &file)?;
        let mut command = Command::new(&self.tools.envoy);
        command
            .arg("-c")
            .arg(&file)
            .arg("--disable-hot-restart")
            .args(["--concurrency", &workers.to_string(), "--log-level", "info"])
            .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"])
            // Nothing of the user's environment.
            .env_clear();
        if let (true, Some(token)) = (GUARDED.contains(&name), &self.mesh_token) {
            command.env("PORTCULLIS_MESH_TOKEN", token);
        }
        let process = Process::start(name, command, &self.log(name))?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }
}

async fn accepted(admin: SocketAddr) -> Result<u64> {
    handshakes(admin, "accepted").await
}

/// The sum over listeners of a handshake counter.
async fn handshakes(admin: SocketAddr, outcome: &str) -> Result<u64> {
    let page = Request::get(admin, "/stats?filter=reverse_tunnel.handshake").send().await?.text();
    let values = page.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.ends_with(outcome).then(|| value.parse::<u64>().ok())?
    });
    Ok(values.sum())
}
