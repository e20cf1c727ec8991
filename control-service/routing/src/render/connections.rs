//! How the gateway opens connections to a cluster, and who may call there.

use std::collections::BTreeMap;

use super::ways::subset;
use crate::istio::{
    AuthorizationPolicy, ConnectionPool, DestinationRule, From, HttpPool, LoadBalancer, Locality,
    OutlierDetection, Rule, Selector, Source, Subset, SubsetPolicy, TcpPool, Tls, TrafficPolicy,
};
use crate::settings::{Gateway, Service};

/// The rule for one service. `spread`: over zones and regions, where there are replicas of ours.
pub(super) fn rule(gateway: &Gateway, service: &Service, host: String, spread: bool) -> DestinationRule {
    let upgrade = if spread { "UPGRADE" } else { "DO_NOT_UPGRADE" };
    DestinationRule {
        host,
        // Seen by the gateway alone, which is the only caller.
        export_to: [gateway.namespace.clone()],
        traffic_policy: TrafficPolicy {
            tls: Tls { mode: "ISTIO_MUTUAL" },
            connection_pool: pool(upgrade),
            outlier_detection: if spread { OutlierDetection::REPLICAS } else { OutlierDetection::ROUTERS },
            load_balancer: spread.then_some(LoadBalancer {
                simple: "LEAST_REQUEST",
                locality_lb_setting: Locality {
                    enabled: true,
                    failover_priority: ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"],
                },
            }),
        },
        subsets: subsets(service),
    }
}

fn pool(upgrade: &'static str) -> ConnectionPool {
    let over_http2 = upgrade == "UPGRADE";
    ConnectionPool {
        tcp: TcpPool { max_connections: 1024, connect_timeout: "2s" },
        http: HttpPool {
            h2_upgrade_policy: upgrade,
            http1_max_pending_requests: (!over_http2).then_some(256),
            http2_max_requests: over_http2.then_some(1024),
            max_retries: 16,
        },
    }
}

/// Each version, and its WebSockets: a sidecar of Istio's takes none over HTTP/2.
fn subsets(service: &Service) -> Vec<Subset> {
    let versions: Vec<Option<u16>> = match service.versions.as_slice() {
        [] => vec![None],
        some => some.iter().copied().map(Some).collect(),
    };
    let both = versions.into_iter().flat_map(|version| {
        let labels: BTreeMap<_, _> =
            version.map(|number| ("version", format!("v{number}"))).into_iter().collect();
        let sockets = SubsetPolicy { connection_pool: pool("DO_NOT_UPGRADE") };
        let plain =
            subset(version, false).map(|name| Subset { name, labels: labels.clone(), traffic_policy: None });
        let apart = subset(version, true).map(|name| Subset { name, labels, traffic_policy: Some(sockets) });
        [plain, apart].into_iter().flatten()
    });
    both.collect()
}

/// The gateway alone, which has authenticated who asks.
pub(super) fn from_gateway(gateway: &Gateway, label: &'static str, value: &str) -> AuthorizationPolicy {
    AuthorizationPolicy {
        selector: Selector { match_labels: BTreeMap::from([(label, value.to_owned())]) },
        action: "ALLOW",
        rules: [Rule { from: [From { source: Source { principals: [gateway.principal.clone()] } }] }],
    }
}
