//! The kinds of Istio, as far as routes use them.

use std::collections::BTreeMap;

use serde::Serialize;

/// The header that the filter writes, by which alone a request is routed.
pub(crate) const CLUSTER_HEADER: &str = "x-portcullis-cluster";

/// How a value is matched.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Match {
    Exact(String),
    Prefix(String),
    Regex(String),
}

/// A way for some requests.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Route {
    pub(crate) name: String,
    #[serde(rename = "match")]
    pub(crate) matches: Vec<RequestMatch>,
    pub(crate) route: Vec<WeightedDestination>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<&'static str>,
    pub(crate) retries: Retries,
}

/// Which requests.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uri: Option<Match>,
    pub(crate) headers: BTreeMap<&'static str, Match>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) without_headers: BTreeMap<&'static str, Match>,
}

impl RequestMatch {
    /// The same with one more header.
    pub(crate) fn and(&self, header: &'static str, value: Match) -> Self {
        let mut more = self.clone();
        more.headers.insert(header, value);
        more
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct WeightedDestination {
    pub(crate) destination: Destination,
}

/// Where to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) port: Port,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subset: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Port {
    pub(crate) number: u16,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Retries {
    attempts: u8,
    retry_on: &'static str,
}

impl Retries {
    /// What was not sent yet, whatever it is. What was sent is never repeated: a proxy does not know whether it may be.
    pub(crate) const UNSENT: Self =
        Self { attempts: 2, retry_on: "connect-failure,refused-stream,reset-before-request" };
}

#[derive(Debug, Serialize)]
pub(crate) struct VirtualService {
    pub(crate) hosts: [&'static str; 1],
    pub(crate) gateways: [String; 1],
    pub(crate) http: Vec<Route>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DestinationRule {
    pub(crate) host: String,
    pub(crate) export_to: [String; 1],
    pub(crate) traffic_policy: TrafficPolicy,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) subsets: Vec<Subset>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Subset {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<&'static str, String>,
    #[serde(rename = "trafficPolicy", skip_serializing_if = "Option::is_none")]
    pub(crate) traffic_policy: Option<SubsetPolicy>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubsetPolicy {
    pub(crate) connection_pool: ConnectionPool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrafficPolicy {
    pub(crate) tls: Tls,
    pub(crate) connection_pool: ConnectionPool,
    pub(crate) outlier_detection: OutlierDetection,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_balancer: Option<LoadBalancer>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tls {
    pub(crate) mode: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct ConnectionPool {
    pub(crate) tcp: TcpPool,
    pub(crate) http: HttpPool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcpPool {
    pub(crate) max_connections: u32,
    pub(crate) connect_timeout: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HttpPool {
    pub(crate) h2_upgrade_policy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http1_max_pending_requests: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http2_max_requests: Option<u32>,
    pub(crate) max_retries: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutlierDetection {
    consecutive_gateway_errors: u32,
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_5xx_errors: u32,
    #[serde(rename = "splitExternalLocalOriginErrors", skip_serializing_if = "std::ops::Not::not")]
    local_apart: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    consecutive_local_origin_failures: Option<u32>,
    interval: &'static str,
    base_ejection_time: &'static str,
    max_ejection_percent: u32,
}

impl OutlierDetection {
    /// By what the mesh says of a replica, and not by 5xx of the application, which may be right.
    pub(crate) const REPLICAS: Self = Self {
        consecutive_gateway_errors: 5,
        consecutive_5xx_errors: 0,
        local_apart: false,
        consecutive_local_origin_failures: None,
        interval: "5s",
        base_ejection_time: "30s",
        max_ejection_percent: 50,
    };
    /// By connections that fail, and by nothing that is answered: a router answers for whoever is behind it.
    pub(crate) const ROUTERS: Self = Self {
        consecutive_gateway_errors: 0,
        local_apart: true,
        consecutive_local_origin_failures: Some(5),
        ..Self::REPLICAS
    };
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoadBalancer {
    pub(crate) simple: &'static str,
    pub(crate) locality_lb_setting: Locality,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Locality {
    pub(crate) enabled: bool,
    pub(crate) failover_priority: [&'static str; 2],
}

#[derive(Debug, Serialize)]
pub(crate) struct ServiceEntry {
    pub(crate) hosts: [String; 1],
    pub(crate) location: &'static str,
    pub(crate) resolution: &'static str,
    pub(crate) ports: [EntryPort; 1],
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Serialize)]
pub(crate) struct EntryPort {
    pub(crate) number: u16,
    pub(crate) name: &'static str,
    pub(crate) protocol: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) labels: BTreeMap<&'static str, String>,
    pub(crate) service_account: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct AuthorizationPolicy {
    pub(crate) selector: Selector,
    pub(crate) action: &'static str,
    pub(crate) rules: [Rule; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Selector {
    pub(crate) match_labels: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Rule {
    pub(crate) from: [From; 1],
}

#[derive(Debug, Serialize)]
pub(crate) struct From {
    pub(crate) source: Source,
}

#[derive(Debug, Serialize)]
pub(crate) struct Source {
    pub(crate) principals: [String; 1],
}
