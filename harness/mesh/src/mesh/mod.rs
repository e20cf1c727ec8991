//! A running mesh.

mod cluster_id;
mod envoys;
mod guard;
mod guarded;
mod inside;
mod options;
mod start;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::access_log::AccessLog;
use crate::block::{Block, Plan};
use crate::data_api::Trust;
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::idp::Idp;
use crate::istiod::Istiod;
use crate::kubernetes::{Kubectl, Kubernetes};
use crate::paths;
use crate::pki::Authority;
use crate::process::Process;
use crate::render::Renderer;
use crate::tools::Tools;
use crate::wait::{self, Instead, Seen};

pub use envoys::Impostor;
use guarded::Guard;
pub use options::Options;

/// istiod, Envoys, control service, sample Data APIs and tunnels in one loopback block. Everything ends when
/// it is dropped; [`Mesh::stop`] ends it in order.
pub struct Mesh {
    plan: Plan,
    tools: Tools,
    run_dir: PathBuf,
    renderer: Renderer,
    kubernetes: Option<Kubernetes>,
    istiod: Istiod,
    idp: Idp,
    authority: Authority,
    tunnels: Authority,
    clients: Authority,
    trust: BTreeMap<&'static str, Trust>,
    processes: BTreeMap<String, Process>,
    tasks: Vec<JoinHandle<()>>,
    options: Options,
    guard: Option<Guard>,
    warnings: Mutex<Vec<String>>,
    mesh_token: Option<String>,
    // Last: the block is free again when everything in it has ended.
    _block: Block,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Mesh {
    /// Where everything listens.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// The run's folder: configuration, certificates and logs.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The installed programs.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The sample identity provider, which signs tokens with any claims.
    #[must_use]
    pub fn idp(&self) -> &Idp {
        &self.idp
    }

    /// The same, for a change of its keys.
    pub fn idp_mut(&mut self) -> &mut Idp {
        &mut self.idp
    }

    /// The authority (PEM) that clients from outside trust: by it the TLS listeners of the gateway and of the sample
    /// identity provider have their certificates.
    #[must_use]
    pub fn clients_root(&self) -> String {
        self.clients.root()
    }

    /// The folder with `overlays/local` that this mesh renders.
    #[must_use]
    pub fn manifests(&self) -> &Path {
        &self.renderer.manifests
    }

    /// `kubectl`, where the mesh has an API server.
    #[must_use]
    pub fn kubectl(&self) -> Option<&Kubectl> {
        self.kubernetes.as_ref().map(Kubernetes::kubectl)
    }

    /// A GET at the ingress gateway.
    #[must_use]
    pub fn get(&self, path: &str) -> Request {
        Request::get(self.plan.ingress(), path)
    }

    /// Checks that every component still runs.
    ///
    /// # Errors
    /// [`MeshError::Died`] for the first that does not.
    pub fn check(&mut self) -> Result<()> {
        self.kubernetes.as_mut().map_or(Ok(()), Kubernetes::check)?;
        self.processes.values_mut().try_for_each(Process::check)
    }

    /// Stops one component, as by a crash. It stays down until it is started again.
    ///
    /// Returns false if there is no such component: `control`, `istiod`, `tunnel-agent`, or an Envoy's name.
    pub async fn kill(&mut self, name: &str) -> bool {
        match self.processes.remove(name) {
            Some(mut process) => {
                process.kill().await;
                true
            }
            None => false,
        }
    }

    /// Stops one component where it is, as a machine that hangs: its connections stay. False if there is none.
    pub fn pause(&self, name: &str) -> bool {
        self.processes.get(name).map(Process::pause).is_some()
    }

    /// Lets it go on.
    pub fn unpause(&self, name: &str) -> bool {
        self.processes.get(name).map(Process::unpause).is_some()
    }

    /// Stops everything, and waits until it has ended.
    pub async fn stop(mut self) {
        if let Some(mut control) = self.processes.remove("control") {
            control.stop().await;
        }
        for process in self.processes.values_mut() {
            process.kill().await;
        }
        if let Some(kubernetes) = self.kubernetes.take() {
            kubernetes.stop().await;
        }
    }

    /// Renders and applies the manifests, and waits until every proxy has accepted them and prepares nothing
    /// any more. Returns how long that took from the moment the file was in place.
    ///
    /// Whoever needs what the edit is for waits for that besides, as [`Mesh::guard_sidecar`] does: istiod may
    /// have pushed for another reason, and workers take new filters one after the other.
    ///
    /// # Errors
    /// [`MeshError::Manifest`] if they are refused: nothing is changed then.
    pub async fn apply(&self) -> Result<Duration> {
        let mark = self.istiod.mark();
        let changed = self.render().await?;
        let start = Instant::now();
        if changed {
            self.istiod.pushed(mark, self.managed_running()).await?;
            let prepared = async || Ok(Seen::from(self.prepared().await));
            wait::until("what the proxies have accepted", &self.run_dir, prepared).await?;
        }
        Ok(start.elapsed())
    }

    /// Runs the manifests of another folder from now on, and waits until every proxy's access log says so: only what is
    /// written with the new [`AccessLog::generation`] was decided by them at every worker.
    ///
    /// # Errors
    /// [`MeshError::Manifest`] if they are refused; the ones before stay in force.
    pub async fn change_manifests(&mut self, manifests: &Path, policies_of: Option<PathBuf>) -> Result<()> {
        let manifests = paths::manifests(manifests)?;
        let changed = Renderer { manifests, policies_of, ..self.renderer.clone() };
        let before = std::mem::replace(&mut self.renderer, changed);
        if let Err(error) = self.apply().await {
            self.renderer = before;
            return Err(error);
        }
        if let Some(log) = &mut self.renderer.access_log {
            log.next();
            let mark = self.istiod.mark();
            self.renderer.write_mesh_config(&self.tools)?;
            self.istiod.pushed(mark, self.managed_running()).await?;
        }
        self.workers_ready().await
    }

    /// Has the plugins load another module from the next [`Mesh::apply`] on.
    pub fn replace_module(&mut self, module: PathBuf) {
        if let Some(plugins) = &mut self.renderer.plugins {
            plugins.module = module;
        }
    }

    /// Where the proxies write what became of each request, if [`Options::access_log`] asks for it.
    #[must_use]
    pub fn access_log(&self) -> Option<&AccessLog> {
        self.renderer.access_log.as_ref()
    }

    /// Renders and applies the manifests. True if the configuration is another one than before.
    ///
    /// The programs that render and validate run for seconds on a slow machine. That happens on a thread for
    /// it, so that the samples and the heartbeats, which live in this process, go on.
    async fn render(&self) -> Result<bool> {
        let (renderer, tools) = (self.renderer.clone(), self.tools.clone());
        let ended = |error| MeshError::io("wait for", "the renderer")(std::io::Error::other(error));
        let applied = tokio::task::spawn_blocking(move || renderer.apply(&tools)).await.map_err(ended)??;
        *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) = applied.warnings;
        Ok(applied.changed)
    }

    /// What is allowed in the manifests that were applied last, and does nothing beside the plugins:
    /// `portcullis config check --plugin` says the same.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A counter or gauge from an Envoy's admin page; 0 if Envoy does not have it (yet).
    ///
    /// # Errors
    /// When the admin page does not answer.
    pub async fn stat(&self, admin: SocketAddr, name: &str) -> Result<u64> {
        let page = Request::get(admin, "/stats?usedonly").send().await?.text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
    }

    /// Waits until something is so, as long as every component lives. A look that fails tells what is there
    /// instead.
    ///
    /// # Errors
    /// [`MeshError::NotReady`] if it does not become so, [`MeshError::Died`] when a component ends meanwhile.
    pub async fn until<T>(
        &mut self,
        what: &str,
        log: &str,
        mut look: impl AsyncFnMut(&Self) -> std::result::Result<T, Instead>,
    ) -> Result<T> {
        let log = self.log(log);
        wait::until(what, &log, async || {
            self.check()?;
            Ok(Seen::from(look(self).await))
        })
        .await
    }

    /// The log file of a component.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.run_dir.join("logs").join(format!("{component}.log"))
    }
}
