//! How a mesh is started.

use std::path::PathBuf;

use crate::kubernetes::Istio;
use crate::pki::Workload;
use crate::target::Target;

/// How a mesh is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The loopback block; any free one if there is none.
    pub block: Option<u8>,
    /// Whether the `WasmPlugin`s and the control service run. Without them the gateway is not guarded: only
    /// for tests of the mesh itself.
    pub plugins: bool,
    /// The Envoy version; the pinned default if there is none.
    pub envoy: Option<String>,
    /// Which module guards the ingress gateway.
    pub gateway: Target,
    /// Who the ingress gateway is in the mesh: [`Workload::INGRESS`] with `overlays/local`.
    pub ingress: Workload,
    /// The file of the Wasm module, instead of the one that was built.
    pub module: Option<PathBuf>,
    /// Worker threads of the ingress gateway.
    pub gateway_workers: u32,
    /// The folder with `overlays/local`, instead of the `istio-manifests` of this source tree.
    pub manifests: Option<PathBuf>,
    /// The overlay for a cluster whose policies and plugins are run in the place of those of `overlays/local`.
    pub policies_of: Option<PathBuf>,
    /// Work on a copy of the manifests, so that a test may edit them.
    pub private_manifests: bool,
    /// Seconds without a heartbeat after which a cluster is offline.
    pub offline_after_s: u32,
    /// Runs a Kubernetes API server, from which this istiod reads. Without it istiod watches a folder.
    pub kubernetes: Option<Istio>,
    /// Overrides `staleAfterSeconds` of the plugins, so that a test need not wait for minutes.
    pub stale_after_s: Option<u32>,
    /// Let every proxy write what became of each request into one file, at once, in place of the access log that the
    /// manifests ask for.
    pub access_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block: None,
            plugins: true,
            envoy: None,
            gateway: Target::default(),
            ingress: Workload::INGRESS,
            module: None,
            gateway_workers: 2,
            manifests: None,
            policies_of: None,
            private_manifests: false,
            offline_after_s: 30,
            kubernetes: None,
            stale_after_s: None,
            access_log: false,
        }
    }
}
