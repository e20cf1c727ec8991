//! istiod: its command line, and what its log and debug pages tell.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::process::Command;

use crate::block::Plan;
use crate::error::{MeshError, Result};
use crate::http::Request;
use crate::tools::Tools;
use crate::wait::{Instead, Seen, until};

/// The command that starts istiod with the rendered configuration: that of the folder which the mesh file names, or that of an
/// API server.
#[must_use]
pub(crate) fn command(tools: &Tools, plan: Plan, mesh_file: &Path, kubeconfig: Option<&Path>) -> Command {
    let mut command = Command::new(&tools.istiod);
    command.arg("discovery").arg(
        kubeconfig
            .map_or_else(|| "--registries=".to_owned(), |file| format!("--kubeconfig={}", file.display())),
    );
    command
        .args(["--networksConfig=/none", "--httpsAddr=", "--secureGRPCAddr="])
        // It cannot be left out, and 0 is any port.
        .arg(format!("--ctrlz_address={}", plan.istiod_control().ip()))
        .arg(format!("--ctrlz_port={}", plan.istiod_control().port()))
        .arg("--meshConfig")
        .arg(mesh_file)
        .arg(format!("--grpcAddr={}", plan.istiod_xds()))
        .arg(format!("--httpAddr={}", plan.istiod_http()))
        .arg(format!("--monitoringAddr={}", plan.istiod_monitoring()));
    command
        .env("POD_NAMESPACE", "istio-system")
        .env("POD_NAME", "istiod")
        // It is no pod, so the API server could not reach its webhooks.
        .env("VALIDATION_WEBHOOK_CONFIG_NAME", "")
        .env("INJECTION_WEBHOOK_CONFIG_NAME", "")
        // Envoy as released lacks Istio's own extensions.
        .env("PILOT_ENABLE_METADATA_EXCHANGE", "false")
        .env("PILOT_ENABLE_ALPN_FILTER", "false")
        // The control service has no route of its own at the gateway, only the filter's callouts.
        .env("PILOT_FILTER_GATEWAY_CLUSTER_CONFIG", "false")
        .env("ENABLE_CA_SERVER", "false");
    command
}

/// A running istiod, as seen from outside.
#[derive(Debug, Clone)]
pub struct Istiod {
    plan: Plan,
    log: PathBuf,
}

/// A place in istiod's log. What is written after it belongs to a later change.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

/// One proxy in `/debug/syncz`.
#[derive(Debug, Deserialize)]
struct Synced {
    #[serde(default)]
    proxy: String,
    #[serde(default)]
    cluster_sent: String,
    #[serde(default)]
    cluster_acked: String,
    #[serde(default)]
    listener_sent: String,
    #[serde(default)]
    listener_acked: String,
    #[serde(default)]
    route_sent: String,
    #[serde(default)]
    route_acked: String,
}

impl Synced {
    fn done(&self) -> bool {
        !self.listener_sent.is_empty()
            && self.listener_sent == self.listener_acked
            && self.cluster_sent == self.cluster_acked
            && self.route_sent == self.route_acked
    }
}

impl Istiod {
    pub(crate) fn new(plan: Plan, log: PathBuf) -> Self {
        Self { plan, log }
    }

    /// Where the log stands now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.log).map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(0)))
    }

    /// True when proxies can connect. istiod's own `/ready` waits for Kubernetes webhooks, which are not there.
    pub async fn is_ready(&self) -> bool {
        let pages = Request::get(self.plan.istiod_http(), "/debug/syncz").send().await;
        pages.is_ok_and(|page| page.status == 200)
            && tokio::net::TcpStream::connect(self.plan.istiod_xds()).await.is_ok()
    }

    /// Waits until a change that was applied after the mark has been pushed to every proxy and accepted.
    /// That a proxy has accepted it does not mean that it acts by it yet.
    ///
    /// # Errors
    /// [`MeshError::Manifest`] when istiod cannot read the configuration, [`MeshError::NotReady`] when the
    /// proxies do not have it in time.
    pub async fn pushed(&self, mark: Mark, proxies: usize) -> Result<()> {
        until("the pushed configuration", &self.log, async || {
            let log = self.since(mark);
            if let Some(line) = log.lines().find(|line| line.contains("Failed to parse")) {
                let message = format!("istiod cannot read its configuration: {line}");
                return Err(MeshError::Manifest { path: self.log.clone(), message });
            }
            if !log.contains("XDS: Pushing") {
                return Ok(Seen::NotYet("no push after the change".to_owned()));
            }
            Ok(self.all_synced(proxies).await.into())
        })
        .await
    }

    /// Whether this many proxies are connected and have accepted what istiod sent them last.
    pub(crate) async fn all_synced(&self, proxies: usize) -> std::result::Result<(), Instead> {
        let missing = self.unsynced(proxies).await?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("still without the configuration: {}", missing.join(", ")).into())
    }

    /// The proxies that have not accepted what istiod sent them last.
    async fn unsynced(&self, proxies: usize) -> Result<Vec<String>> {
        let response = Request::get(self.plan.istiod_http(), "/debug/syncz").send().await?;
        let states: Vec<Synced> = serde_json::from_slice(&response.body).unwrap_or_default();
        let mut missing: Vec<_> =
            states.iter().filter(|state| !state.done()).map(|state| state.proxy.clone()).collect();
        if states.len() < proxies {
            missing.push(format!("{} that have not connected", proxies - states.len()));
        }
        Ok(missing)
    }

    fn since(&self, mark: Mark) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(mark.0..).unwrap_or_default()).into_owned()
    }
}
