//! Envoys that istiod configures: gateways and sidecars.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::stats::Shown;
use super::{endpoint, http2, runtime, socket};
use crate::block::Plan;
use crate::pki::Workload;

/// Region and zone of every proxy.
pub const LOCALITY: (&str, &str) = ("local", "local-a");

/// What kind of proxy istiod is to configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A gateway.
    Router,
    /// A sidecar. Its traffic is not intercepted: it binds real addresses.
    Sidecar {
        /// Address of the workload that it stands before.
        workload: IpAddr,
    },
}

/// A proxy that istiod configures.
#[derive(Debug, Clone)]
pub struct Managed {
    /// Short name: of the node, its log and its `app` label.
    pub name: &'static str,
    /// Whose identity it has.
    pub workload: Workload,
    /// Gateway or sidecar.
    pub kind: NodeKind,
    /// The address it listens on.
    pub address: IpAddr,
    /// Its admin page.
    pub admin: SocketAddr,
    /// Labels that selectors match.
    pub labels: Vec<(&'static str, &'static str)>,
}

impl Managed {
    /// Every istiod-configured proxy of the local mesh, whose ingress gateway is this workload.
    #[must_use]
    pub fn all(plan: Plan, ingress: Workload) -> Vec<Self> {
        let sidecar = |name, workload, app: SocketAddr, address: SocketAddr, admin| Self {
            name,
            workload,
            kind: NodeKind::Sidecar { workload: app.ip() },
            address: address.ip(),
            admin,
            labels: vec![("app", workload.account)],
        };
        vec![
            Self {
                name: "ingressgateway",
                workload: ingress,
                kind: NodeKind::Router,
                address: plan.ingress().ip(),
                admin: plan.ingress_admin(),
                labels: vec![("app", "api-gateway"), ("istio", "ingressgateway")],
            },
            sidecar(
                "control-service",
                Workload::CONTROL,
                plan.control_mesh_api(),
                plan.control_sidecar(),
                plan.control_admin(),
            ),
            sidecar(
                "acme-hosted",
                Workload::HOSTED,
                plan.hosted_api(),
                plan.hosted_sidecar(),
                plan.hosted_admin(),
            ),
            sidecar(
                "tunnel-gateway",
                Workload::TUNNEL,
                plan.tunnel_egress(),
                plan.tunnel_inbound(),
                plan.tunnel_admin(),
            ),
            sidecar(
                "acme-onprem",
                Workload::ONPREM,
                plan.onprem_api(),
                plan.onprem_sidecar(),
                plan.onprem_admin(),
            ),
        ]
    }

    /// The node id, by which istiod and the SDS server know the proxy.
    #[must_use]
    pub fn node_id(&self) -> String {
        let kind = match self.kind {
            NodeKind::Router => "router",
            NodeKind::Sidecar { .. } => "sidecar",
        };
        let namespace = self.workload.namespace;
        format!("{kind}~{}~{}.{namespace}~{namespace}.svc.cluster.local", self.address, self.name)
    }

    /// The bootstrap of a proxy that shows so much of its metrics, for an istiod of this version.
    #[must_use]
    pub fn bootstrap(&self, plan: Plan, shown: &Shown, istio: &str) -> Value {
        json!({
            "node": {
                "id": self.node_id(),
                "cluster": self.name,
                "metadata": self.metadata(istio),
                "locality": {"region": LOCALITY.0, "zone": LOCALITY.1},
            },
            "admin": {"address": socket(self.admin)},
            "layered_runtime": runtime(),
            "stats_config": shown.config(),
            "dynamic_resources": dynamic_resources(),
            "static_resources": {"clusters": [
                grpc_cluster("xds-grpc", plan.istiod_xds()),
                grpc_cluster("sds-grpc", plan.sds()),
            ]},
        })
    }

    fn metadata(&self, istio: &str) -> Value {
        let labels: serde_json::Map<String, Value> =
            self.labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let mut metadata = json!({
            "LABELS": labels,
            // Selectors are matched against these; without them nothing is selected.
            "STATIC_LABELS": labels,
            "NAMESPACE": self.workload.namespace,
            "SERVICE_ACCOUNT": self.workload.account,
            "ISTIO_VERSION": istio,
            "CLUSTER_ID": "Kubernetes",
        });
        if let NodeKind::Sidecar { workload } = self.kind {
            metadata["INTERCEPTION_MODE"] = "NONE".into();
            // A Sidecar resource's `defaultEndpoint: 0.0.0.0:PORT` goes to the first address; the second finds
            // the ServiceEntry's endpoint.
            metadata["INSTANCE_IPS"] = format!("{workload},{}", self.address).into();
        }
        metadata
    }
}

fn dynamic_resources() -> Value {
    let ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    json!({
        "lds_config": ads,
        "cds_config": ads,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
        },
    })
}

/// A cluster that speaks gRPC with the harness.
pub(super) fn grpc_cluster(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": http2(),
        "load_assignment": endpoint(name, address),
    })
}
