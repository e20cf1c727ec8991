//! A real Kubernetes API server with its etcd. There is no kubelet and no controller: resources are taken, refused, kept and
//! watched as on a cluster, and no pod ever starts.

mod accounts;
mod api;
mod definitions;
mod kubectl;
mod manifests;
mod programs;
mod server;

use std::path::{Path, PathBuf};

use crate::block::Plan;
use crate::error::{MeshError, Result};
use crate::paths;
use crate::pki::Authority;
use crate::process::Process;
use crate::tls::Tls;

pub use api::Api;
pub use kubectl::{Kubectl, Said};
pub(crate) use manifests::hand_over;
pub use programs::{Istio, Programs};

/// A running API server. It ends when this is dropped.
#[derive(Debug)]
pub struct Kubernetes {
    kubectl: Kubectl,
    api: Api,
    reader: PathBuf,
    // The API server before its etcd.
    processes: [Process; 2],
}

impl Kubernetes {
    /// Starts an empty API server in a block, and gives it the definitions of custom resources. What stood in the folder
    /// before is removed.
    ///
    /// # Errors
    /// When a program does not become ready, or a definition is refused.
    pub async fn start(programs: &Programs, plan: Plan, folder: &Path) -> Result<Self> {
        let authority = Authority::new("Kubernetes of the local mesh")?;
        let processes = server::start(programs, plan, folder, &authority).await?;
        let admin = authority.user("admin", "system:masters")?;
        let config = server::kubeconfig(plan, &authority.root(), &admin);
        let program = link(&programs.program("kubectl"), &folder.join("bin"))?;
        let kubectl = Kubectl::new(program.clone(), folder, "admin", &config)?;
        let api = Api::new(plan.kubernetes(), Tls::new(&authority.root(), Some(&admin))?);
        let mut sources = programs.definitions();
        let others = folder.join("definitions.yaml");
        definitions::write_missing(&sources, &paths::root().join("harness/schemas/crds"), &others)?;
        sources.push(others);
        let istiod = authority.user(accounts::ISTIOD, accounts::ISTIOD)?;
        let config = server::kubeconfig(plan, &authority.root(), &istiod);
        let reader = Kubectl::new(program, folder, accounts::ISTIOD, &config)?;
        let client = kubectl.clone();
        blocking(move || {
            client.define(&sources)?;
            client.apply(accounts::RIGHTS)?.or_failed("kubectl apply").map(drop)
        })
        .await?;
        Ok(Self { kubectl, api, reader: reader.config().to_owned(), processes })
    }

    /// `kubectl` as an administrator.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The `kubeconfig` of istiod, which reads everything and keeps its leases.
    #[must_use]
    pub fn reader(&self) -> &Path {
        &self.reader
    }

    /// The API, as an administrator.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Checks that both still run.
    ///
    /// # Errors
    /// [`MeshError::Died`] with the end of the log of the one that does not.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Ends both.
    pub async fn stop(mut self) {
        for process in &mut self.processes {
            process.kill().await;
        }
    }
}

/// A program in a folder that can stand in `PATH`: it has nothing else.
fn link(program: &Path, folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(MeshError::io("create", folder))?;
    let link = folder.join(program.file_name().unwrap_or_default());
    std::os::unix::fs::symlink(program, &link).map_err(MeshError::io("link", &link))?;
    Ok(link)
}

/// Programs run for seconds on a slow machine: on a thread for it, so that whatever else lives in this process goes on.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = |error| MeshError::io("wait for", "kubectl")(std::io::Error::other(error));
    tokio::task::spawn_blocking(run).await.map_err(ended)?
}
