//! The Envoys of a mesh: started with their bootstraps, stopped, and impersonated.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::process::Command;

use super::Mesh;
use crate::bootstrap::{self, Dialler, Managed, Upstream, accepting_gateway};
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::paths;
use crate::pki::Workload;
use crate::process::Process;
use crate::sample::{HOSTED, ONPREM};
use crate::target::Target;
use crate::wait::{DRAIN, Instead};

/// The component name of the on-premises tunnel agent.
pub(super) const AGENT: &str = "tunnel-agent";

/// The component name of the tunnel gateway.
const TUNNEL: &str = "tunnel-gateway";

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
        for managed in Managed::all(self.plan, self.options.ingress) {
            self.start_proxy(&managed)?;
        }
        Ok(())
    }

    fn start_proxy(&mut self, managed: &Managed) -> Result<()> {
        let tunnel = managed.workload == Workload::TUNNEL;
        let bootstrap = managed.bootstrap(
            self.plan,
            &self.renderer.shown()?,
            self.options.kubernetes.unwrap_or_default().version(),
        );
        let bootstrap = if self.is_native(managed.name) {
            bootstrap::for_native_module(bootstrap)
        } else if tunnel {
            let leaf =
                self.tunnels.named(bootstrap::HUB)?.write(&self.run_dir.join("pki"), "tunnel-gateway")?;
            let manifests = &self.renderer.manifests;
            accepting_gateway(bootstrap, manifests, self.plan, &leaf, &self.tunnels.root())?
        } else {
            bootstrap
        };
        // A tunnel lives on one worker of the accepting side, so that one has a single worker.
        let workers = if managed.name == INGRESS { self.options.gateway_workers } else { 1 };
        self.start_envoy(managed.name, &bootstrap, workers)
    }

    /// Starts the proxy of this name again after it was stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart_proxy(&mut self, name: &str) -> Result<()> {
        self.kill(name).await;
        match Managed::all(self.plan, self.options.ingress).iter().find(|managed| managed.name == name) {
            Some(managed) => self.start_proxy(managed),
            None => Ok(()),
        }
    }

    /// How many proxies istiod configures at the moment.
    pub(super) fn managed_running(&self) -> usize {
        self.running().count()
    }

    fn running(&self) -> impl Iterator<Item = Managed> {
        Managed::all(self.plan, self.options.ingress)
            .into_iter()
            .filter(|managed| self.processes.contains_key(managed.name))
    }

    /// Fails with the first proxy that does not run yet what it has accepted: it compiles a module, or waits
    /// for a secret or an endpoint.
    pub(super) async fn prepared(&self) -> std::result::Result<(), Instead> {
        for Managed { name, admin, .. } in self.running() {
            let page = async |path| Request::get(admin, path).send().await;
            let state = page("/ready").await?.text();
            if state.trim() != "LIVE" {
                return Err(format!("{name} is {}", state.trim()).into());
            }
            let gauges = page("/stats?filter=_warming$|warming_clusters$").await?.text();
            if let Some(gauge) = gauges.lines().find(|line| !line.ends_with(": 0")) {
                return Err(format!("{name}: {gauge}").into());
            }
        }
        Ok(())
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
        self.until("the tunnel of acme-onprem", AGENT, async |mesh| {
            if mesh.accepted_tunnels().await? == before {
                return Err("the tunnel gateway has accepted no tunnel yet".into());
            }
            // A handshake alone carries no request.
            let probe = Request::get(mesh.plan.tunnel_egress(), "/-/probe");
            answered(&probe.header("x-portcullis-cluster", ONPREM)).await
        })
        .await
    }

    /// Waits until the sidecar of `acme-hosted` lets a request of the gateway on to the Data API.
    pub(super) async fn hosted_reached(&mut self) -> Result<()> {
        let probe = self.at_sidecar()?.at("/-/probe");
        self.until("the Data API of acme-hosted", HOSTED, async |_| answered(&probe).await).await
    }

    /// Starts an impostor that dials the tunnel gateway and would answer what it gets with a body of its own;
    /// waits until it was refused.
    ///
    /// # Errors
    /// When it cannot be started, or when the gateway accepts its tunnel.
    pub async fn refuses_impostor(&mut self, impostor: Impostor) -> Result<()> {
        let (accepted, refused) = (self.accepted_tunnels().await?, self.refused_tunnels().await?);
        self.start_impostor(impostor)?;
        let what = "the refusal of an impostor";
        self.until(what, TUNNEL, async |mesh| {
            if mesh.refused_tunnels().await? > refused {
                Ok(())
            } else {
                Err("it has not been refused".into())
            }
        })
        .await?;
        if self.accepted_tunnels().await? == accepted {
            return Ok(());
        }
        Err(MeshError::Accepted { what: format!("a tunnel of {impostor:?}"), log: self.log(TUNNEL) })
    }

    fn start_impostor(&mut self, impostor: Impostor) -> Result<()> {
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
    async fn accepted_tunnels(&self) -> Result<u64> {
        handshakes(self.plan.tunnel_admin(), "accepted").await
    }

    /// How many tunnels the gateway has refused because a claimed id is not the certificate's name.
    async fn refused_tunnels(&self) -> Result<u64> {
        handshakes(self.plan.tunnel_admin(), "validation_failed").await
    }

    /// Whether this Envoy runs the native module.
    fn is_native(&self, name: &str) -> bool {
        name == INGRESS && self.options.plugins && self.options.gateway == Target::Native
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
            // Connections leave old filters with their next answer; what is under way is not cut.
            .args(["--drain-strategy", "immediate", "--drain-time-s", &DRAIN.as_secs().to_string()])
            // Nothing of the user's environment.
            .env_clear();
        if self.options.access_log {
            command.args(["--file-flush-interval-msec", "20"]);
        }
        if let (true, Some(token)) = (GUARDED.contains(&name), &self.mesh_token) {
            command.env("PORTCULLIS_MESH_TOKEN", token);
        }
        if self.is_native(name) {
            command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", paths::native_module_folder());
            // The Wasm module asks Envoy for its node id.
            command.env("PORTCULLIS_INSTANCE", bootstrap["node"]["id"].as_str().unwrap_or_default());
        }
        let process = Process::start(name, command, &self.log(name))?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }
}

/// Fails with what comes instead of a good answer.
async fn answered(probe: &Request) -> std::result::Result<(), Instead> {
    let answer = probe.send().await?;
    if answer.status == 200 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text()).into()) }
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
