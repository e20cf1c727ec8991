//! Reverse tunnels: the gateway that accepts them, and the agents that dial out.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::managed::grpc_cluster;
use super::{endpoint, forward_all, http2, runtime, socket, typed};
use crate::block::Plan;
use crate::error::{MeshError, Result};
use crate::pki::{LeafFiles, Workload};

/// The DNS name in the accepting gateway's certificate.
pub(crate) const HUB: &str = "tunnels.portcullis.local";

const TLS: &str = "envoy.extensions.transport_sockets.tls.v3";
const REVERSE: &str = "envoy.extensions.bootstrap.reverse_tunnel";

/// What the tunnel gateway runs in a cluster, below the folder of the manifests.
const GATEWAY: &str = "components/tunnel-gateway/envoy.yaml";

/// Adds to an istiod-configured proxy what accepts tunnels, as the tunnel gateway of a cluster does: its listener for data
/// clusters, and its way from the proxy's mesh side into the tunnels. Addresses and certificates are those of this run.
///
/// # Errors
/// When the file cannot be read, or has no such listener.
pub fn accepting_gateway(
    mut bootstrap: Value,
    manifests: &Path,
    plan: Plan,
    certificate: &LeafFiles,
    roots: &str,
) -> Result<Value> {
    let file = manifests.join(GATEWAY);
    let text = std::fs::read_to_string(&file).map_err(MeshError::io("read", &file))?;
    let broken = |message: String| MeshError::Manifest { path: file.clone(), message };
    let gateway: Value = serde_norway::from_str(&text).map_err(|error| broken(error.to_string()))?;
    let named = |list: &str, name: &str| {
        let all = gateway["static_resources"][list].as_array().into_iter().flatten();
        let found = all.clone().find(|one| one["name"] == name).cloned();
        found.ok_or_else(|| broken(format!("static_resources.{list} has no {name}")))
    };
    let mut tunnels = named("listeners", "tunnels")?;
    tunnels["address"] = socket(plan.tunnel_accept());
    for chain in tunnels["filter_chains"].as_array_mut().into_iter().flatten() {
        let tls = chain.pointer_mut("/transport_socket/typed_config/common_tls_context");
        let tls = tls.ok_or_else(|| broken("the listener tunnels has a chain without TLS".to_owned()))?;
        let of_this_run = json!({
            "tls_params": tls["tls_params"],
            "tls_certificates": [files(certificate)],
            "validation_context": {"trusted_ca": {"inline_string": roots}},
        });
        *tls = of_this_run;
    }
    let mut egress = named("listeners", "egress")?;
    egress["address"] = socket(plan.tunnel_egress());
    bootstrap["bootstrap_extensions"] = gateway["bootstrap_extensions"].clone();
    bootstrap["static_resources"]["listeners"] = json!([tunnels, egress]);
    if let Some(clusters) = bootstrap["static_resources"]["clusters"].as_array_mut() {
        clusters.push(named("clusters", "tunnels")?);
    }
    Ok(bootstrap)
}

/// Where a dialler sends the requests that come through its tunnel.
#[derive(Debug, Clone, Copy)]
pub enum Upstream {
    /// To a sidecar with mutual TLS: its address, and the identity that it must show.
    Sidecar(SocketAddr, Workload),
    /// Nowhere: it answers by itself with this body, to show in tests who got a request.
    Answer(&'static str),
}

/// A data cluster's tunnel agent, or an impostor of one.
#[derive(Debug, Clone)]
pub struct Dialler {
    /// The node id of the Envoy itself; the SDS server picks its SPIFFE certificate by it.
    pub envoy_node: String,
    /// The node id that it claims in the handshake.
    pub node_id: String,
    /// The cluster id that it claims in the handshake.
    pub cluster_id: String,
    /// The certificate that it dials with.
    pub certificate: LeafFiles,
    /// The authority of the accepting gateway's certificate, PEM.
    pub roots: String,
    /// What the tunnel leads to.
    pub upstream: Upstream,
    /// Its admin page.
    pub admin: SocketAddr,
}

impl Dialler {
    /// The bootstrap.
    #[must_use]
    pub fn bootstrap(&self, plan: Plan) -> Value {
        let mut clusters = vec![self.hub(plan.tunnel_accept())];
        let filter = match self.upstream {
            Upstream::Sidecar(address, workload) => {
                clusters.push(grpc_cluster("sds-grpc", plan.sds()));
                clusters.push(sidecar_cluster("sidecar", "h2", address, workload));
                clusters.push(sidecar_cluster(WEB_SOCKETS, "http/1.1", address, workload));
                to_sidecar()
            }
            Upstream::Answer(body) => answer(body),
        };
        json!({
            "node": {"id": self.envoy_node, "cluster": self.cluster_id},
            "admin": {"address": socket(self.admin)},
            "layered_runtime": runtime(),
            "bootstrap_extensions": [{
                "name": "envoy.bootstrap.reverse_tunnel.downstream_socket_interface",
                "typed_config": typed(
                    &format!("{REVERSE}.downstream_socket_interface.v3.DownstreamReverseConnectionSocketInterface"),
                    json!({"stat_prefix": "agent"}),
                ),
            }],
            "static_resources": {"listeners": [self.listener(filter)], "clusters": clusters},
        })
    }

    /// A listener that waits on no port: it takes requests from a connection that it dials itself.
    fn listener(&self, filter: Value) -> Value {
        let address = format!("rc://{}:{}:{}@hub:1", self.node_id, self.cluster_id, self.cluster_id);
        json!({
            "name": "tunnel",
            "listener_filters_timeout": "0s",
            "address": {"socket_address": {"address": address, "port_value": 0,
                "resolver_name": "envoy.resolvers.reverse_connection"}},
            "filter_chains": [{"filters": [filter]}],
        })
    }

    fn hub(&self, address: SocketAddr) -> Value {
        let context = typed(
            &format!("{TLS}.UpstreamTlsContext"),
            json!({
                "sni": HUB,
                "common_tls_context": {
                    // As a client Envoy stops at TLS 1.2 unless told otherwise.
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                    "tls_certificates": [files(&self.certificate)],
                    "validation_context": {
                        "trusted_ca": {"inline_string": self.roots},
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": HUB}}],
                    },
                },
            }),
        );
        json!({
            "name": "hub",
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": endpoint("hub", address),
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        })
    }
}

fn answer(body: &str) -> Value {
    let mut filter = forward_all("tunnel", "none");
    filter["typed_config"]["route_config"]["virtual_hosts"][0]["routes"] = json!([{
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
    }]);
    filter
}

/// The cluster of WebSockets: Istio's sidecars take no extended CONNECT, and answer one by closing the connection with
/// everything on it.
const WEB_SOCKETS: &str = "sidecar-websockets";

/// Sends everything to the sidecar, WebSockets over connections of their own.
fn to_sidecar() -> Value {
    let mut filter = forward_all("tunnel", "sidecar");
    let routes = &mut filter["typed_config"]["route_config"]["virtual_hosts"][0]["routes"];
    let upgrade = json!({"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": true}});
    if let Some(routes) = routes.as_array_mut() {
        routes.insert(
            0,
            json!({
                "match": {"prefix": "/", "headers": [upgrade]},
                "route": {"cluster": WEB_SOCKETS, "timeout": "0s"},
            }),
        );
    }
    filter
}

fn sidecar_cluster(name: &str, protocol: &str, address: SocketAddr, workload: Workload) -> Value {
    let sds = json!({"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}]}, "resource_api_version": "V3"});
    let san = json!({"san_type": "URI", "matcher": {"exact": workload.spiffe_id()}});
    let context = typed(
        &format!("{TLS}.UpstreamTlsContext"),
        json!({"common_tls_context": {
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": [protocol],
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": sds}],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [san]},
                "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": sds},
            },
        }}),
    );
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": endpoint(name, address),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    });
    if protocol == "h2" {
        cluster["typed_extension_protocol_options"] = http2();
    }
    cluster
}

fn files(leaf: &LeafFiles) -> Value {
    json!({"certificate_chain": {"filename": leaf.certificate}, "private_key": {"filename": leaf.key}})
}
