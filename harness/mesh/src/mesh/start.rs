//! Starting a mesh, in the order in which its parts need each other.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::task::JoinHandle;

use super::Mesh;
use super::cluster_id::cluster_id;
use super::envoys::{AGENT, AGENT_NODE};
use super::options::Options;
use crate::access_log::AccessLog;
use crate::block::{Block, Plan};
use crate::bootstrap::Managed;
use crate::data_api::{self, DataApi};
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::idp::{self, Idp};
use crate::istiod::{self, Istiod};
use crate::kubernetes::{Kubernetes, Programs};
use crate::pki::{Authority, Workload};
use crate::process::Process;
use crate::render::{CLIENT_TLS, Renderer};
use crate::sample::{HOSTED, ONPREM};
use crate::sds::{self, Secrets};
use crate::wait::Instead;
use crate::{overlay, paths, port, tools};

/// The hosts of all clusters.
const CLUSTER_HOSTS: &str = "*.clusters.alfred-platform.example.com";

/// The host of an https URL.
fn host(url: &str) -> &str {
    url.trim_start_matches("https://").split('/').next().unwrap_or_default()
}

impl Mesh {
    /// Starts a mesh and waits until both data clusters can be reached.
    ///
    /// # Errors
    /// When a tool is missing, an address is in use, a manifest is refused, or a component does not become
    /// ready. What was started until then is stopped.
    pub async fn start(options: Options, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let mut tools = tools::install(&paths::root(), options.envoy.as_deref(), progress)?;
        let programs = options.kubernetes.map(|istio| Programs::install(istio, progress)).transpose()?;
        programs.iter().for_each(|programs| programs.take_place(&mut tools));
        let block = options.block.map_or_else(Block::take_any, Block::take)?;
        let plan = block.plan();
        require_free(plan)?;
        let run_dir = prepare(plan)?;
        let manifests = manifests(&run_dir, &options)?;
        let access_log = options.access_log.then(|| AccessLog::new(&run_dir));
        let policies_of = options.policies_of.clone();
        let renderer = Renderer {
            manifests,
            plan,
            plugins: None,
            run_dir: run_dir.clone(),
            policies_of,
            access_log,
            kubectl: None,
        };
        let istiod = Istiod::new(plan, run_dir.join("logs/istiod.log"));
        progress("making keys and certificates");
        let mut mesh = Self {
            plan,
            tools,
            renderer,
            istiod,
            idp: Idp::new()?,
            authority: Authority::new("Portcullis local mesh")?,
            tunnels: Authority::new("Portcullis local tunnels")?,
            clients: Authority::new("Portcullis local clients")?,
            trust: BTreeMap::new(),
            kubernetes: None,
            processes: BTreeMap::new(),
            tasks: Vec::new(),
            run_dir,
            options,
            guard: None,
            warnings: Mutex::default(),
            mesh_token: None,
            _block: block,
        };
        mesh.start_services().await?;
        if mesh.options.plugins {
            progress("starting the control service");
            mesh.start_guard().await?;
        }
        if let Some(programs) = programs {
            progress("starting the Kubernetes API server");
            mesh.start_kubernetes(&programs).await?;
        }
        progress("starting istiod");
        mesh.start_istiod().await?;
        mesh.warnings().iter().for_each(|warning| progress(&format!("warning: {warning}")));
        progress("starting the Envoys: gateway, sidecars, tunnel gateway and tunnel agent");
        mesh.start_proxies().await?;
        if mesh.options.plugins {
            progress("waiting for the filters to have their snapshot");
            mesh.workers_ready().await?;
        }
        progress("the mesh is up");
        Ok(mesh)
    }

    async fn start_services(&mut self) -> Result<()> {
        let managed = Managed::all(self.plan, self.options.ingress);
        let nodes: Vec<(String, Workload)> = managed
            .iter()
            .map(|m| (m.node_id(), m.workload))
            .chain([(AGENT_NODE.to_owned(), Workload::AGENT)])
            .collect();
        let root = &self.authority;
        let secrets = Secrets::new(root, nodes.iter().map(|(node, workload)| (node.as_str(), *workload)))?;
        self.tasks.push(sds::serve(secrets, self.plan.sds()).await?);
        self.tasks.push(idp::serve(self.idp.served().clone(), self.plan.idp()).await?);
        let sign_in = self.clients.server(&[host(idp::ISSUER)])?;
        let served = self.idp.served().clone();
        self.tasks.push(idp::serve_sign_in(served, self.plan.idp_sign_in(), &sign_in).await?);
        let names = [host(idp::AUDIENCE), CLUSTER_HOSTS];
        self.clients.server(&names)?.write(&self.run_dir.join("pki"), CLIENT_TLS)?;
        for (name, address) in [(HOSTED, self.plan.hosted_api()), (ONPREM, self.plan.onprem_api())] {
            let task = self.start_data_api(name, address).await?;
            self.tasks.push(task);
        }
        Ok(())
    }

    async fn start_data_api(&mut self, name: &'static str, address: SocketAddr) -> Result<JoinHandle<()>> {
        let cluster = cluster_id(name)?;
        let trust = self.trust.entry(name).or_default().clone();
        let api = DataApi { cluster, trust, require_identity: self.options.plugins };
        data_api::serve(api, address).await
    }

    async fn start_kubernetes(&mut self, programs: &Programs) -> Result<()> {
        let folder = self.run_dir.join("kubernetes");
        let kubernetes = Kubernetes::start(programs, self.plan, &folder).await?;
        self.renderer.kubectl = Some(kubernetes.kubectl().clone());
        self.kubernetes = Some(kubernetes);
        Ok(())
    }

    /// Starts istiod with an empty folder, and gives it the configuration when its caches are in step: services
    /// that it reads while it starts are lost now and then.
    async fn start_istiod(&mut self) -> Result<()> {
        self.renderer.write_mesh_config(&self.tools)?;
        let reader = self.kubernetes.as_ref().map(Kubernetes::reader);
        let command = istiod::command(&self.tools, self.plan, &self.renderer.mesh_file(), reader);
        let process = Process::start("istiod", command, &self.log("istiod"))?;
        self.processes.insert("istiod".to_owned(), process);
        self.until("istiod", "istiod", async |mesh| {
            if mesh.istiod.is_ready().await { Ok(()) } else { Err("it does not say so yet".into()) }
        })
        .await?;
        let mark = self.istiod.mark();
        self.render().await?;
        self.istiod.pushed(mark, 0).await
    }

    async fn start_proxies(&mut self) -> Result<()> {
        self.start_managed()?;
        // A proxy that died explains a missing acknowledgement better than the time-out does.
        self.until("the proxies' configuration", "istiod", async |mesh| {
            mesh.istiod.all_synced(mesh.managed_running()).await?;
            mesh.prepared().await
        })
        .await?;
        self.until("endpoints at the ingress gateway", "ingressgateway", async |mesh| {
            has_endpoints(mesh.plan).await
        })
        .await?;
        self.hosted_reached().await?;
        self.start_tunnel().await
    }
}

/// istiod may push services before it has matched their workloads; the endpoints follow.
async fn has_endpoints(plan: Plan) -> std::result::Result<(), Instead> {
    let page = Request::get(plan.ingress_admin(), "/clusters").send().await?.text();
    let needed = [plan.control_sidecar(), plan.hosted_sidecar(), plan.tunnel_inbound()];
    let missing = needed.iter().find(|address| !page.contains(&format!("::{address}::")));
    missing.map_or(Ok(()), |address| Err(format!("no cluster has the endpoint {address} yet").into()))
}

/// An address of every component, so that a busy one is reported before anything is started.
fn require_free(plan: Plan) -> Result<()> {
    let needed = [
        (plan.istiod_xds(), "istiod"),
        (plan.kubernetes(), "the Kubernetes API server"),
        (plan.etcd(), "etcd"),
        (plan.istiod_http(), "istiod"),
        (plan.istiod_monitoring(), "istiod"),
        (plan.ingress(), "the ingress gateway"),
        (plan.ingress_mesh(), "the ingress gateway"),
        (plan.ingress_admin(), "the ingress gateway's admin page"),
        (plan.control_mesh_api(), "the control service"),
        (plan.control_platform_api(), "the control service"),
        (plan.control_operations(), "the control service"),
        (plan.control_sidecar(), "the control service's sidecar"),
        (plan.platform_sidecar(), "the control service's sidecar"),
        (plan.control_admin(), "the control service's sidecar"),
        (plan.hosted_sidecar(), "acme-hosted's sidecar"),
        (plan.hosted_admin(), "acme-hosted's sidecar"),
        (plan.tunnel_accept(), "the tunnel gateway"),
        (plan.tunnel_egress(), "the tunnel gateway"),
        (plan.tunnel_inbound(), "the tunnel gateway"),
        (plan.tunnel_admin(), "the tunnel gateway"),
        (plan.onprem_sidecar(), "acme-onprem's sidecar"),
        (plan.onprem_admin(), "acme-onprem's sidecar"),
        (plan.agent_admin(), AGENT),
    ];
    needed.into_iter().try_for_each(|(address, component)| port::require_free(address, component))
}

/// An empty folder for the run; the block's lock keeps other runs away.
fn prepare(plan: Plan) -> Result<PathBuf> {
    let dir = paths::run_dir(plan.number());
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(MeshError::io("empty", &dir))?;
    }
    for sub in ["logs", "envoy", "pki", "config"] {
        let path = dir.join(sub);
        fs::create_dir_all(&path).map_err(MeshError::io("create", &path))?;
    }
    fs::canonicalize(&dir).map_err(MeshError::io("find", &dir))
}

fn manifests(run_dir: &Path, options: &Options) -> Result<PathBuf> {
    let source = options.manifests.clone().unwrap_or_else(|| paths::root().join("istio-manifests"));
    let source = paths::manifests(&source)?;
    if !options.private_manifests {
        return Ok(source);
    }
    let copy = run_dir.join("istio-manifests");
    overlay::copy(&source, &copy)?;
    Ok(copy)
}
