//! The ways of one kind of cluster: a `VirtualService` of the gateway.

use portcullis_identity::ids::ClusterId;

use crate::istio::{
    CLUSTER_HEADER, Destination, Match, Port, RequestMatch, Retries, Route, VirtualService,
    WeightedDestination,
};
use crate::resource::{Head, Kind, Resource};
use crate::settings::{Gateway, Service};

/// What takes longer is ended, unless it is a stream, whose end is the filter's.
const LONGEST: &str = "60s";
/// By which a caller asks for a version (B6).
const VERSION_HEADER: &str = "x-api-version";

/// A way with this name in it.
pub(super) fn route(name: String, matches: Vec<RequestMatch>, to: Destination, timeout: bool) -> Route {
    let route = vec![WeightedDestination { destination: to }];
    Route { name, matches, route, timeout: timeout.then_some(LONGEST), retries: Retries::UNSENT }
}

/// Requests of this cluster alone.
pub(super) fn of_cluster(cluster: &ClusterId) -> RequestMatch {
    RequestMatch::default().and(CLUSTER_HEADER, Match::Exact(cluster.as_str().to_owned()))
}

pub(super) fn grpc() -> Match {
    Match::Prefix("application/grpc".to_owned())
}

pub(super) fn events() -> Match {
    Match::Prefix("text/event-stream".to_owned())
}

pub(super) fn web_socket() -> Match {
    Match::Regex("(?i)websocket".to_owned())
}

pub(super) fn at_gateway(
    gateway: &Gateway,
    name: &str,
    cluster: Option<&ClusterId>,
    http: Vec<Route>,
) -> Resource {
    let spec = VirtualService { hosts: ["*"], gateways: [gateway.name.clone()], http };
    Resource::new(Kind::VirtualService, &Head { namespace: &gateway.namespace, name, cluster }, &spec)
}

/// The ways to the services of a cluster.
pub(super) fn of_services(
    gateway: &Gateway,
    cluster: &ClusterId,
    services: &[Service],
    namespace: &str,
) -> Resource {
    let http = to_services(cluster, services, namespace);
    at_gateway(gateway, &["cluster-", cluster.as_str()].concat(), Some(cluster), http)
}

/// The name of a service of this Kubernetes.
pub(super) fn host(service: &Service, namespace: &str) -> String {
    format!("{}.{namespace}.svc.cluster.local", service.name)
}

/// The subset of a version, and that of its WebSockets, which go by connections of their own.
pub(super) fn subset(version: Option<u16>, sockets: bool) -> Option<String> {
    match (version, sockets) {
        (Some(version), true) => Some(format!("v{version}-websockets")),
        (Some(version), false) => Some(format!("v{version}")),
        (None, true) => Some("websockets".to_owned()),
        (None, false) => None,
    }
}

/// All ways to the services of a cluster: longer paths before shorter ones, versions that are asked for
/// before the one for whoever asks for none.
fn to_services(cluster: &ClusterId, services: &[Service], namespace: &str) -> Vec<Route> {
    let mut sorted: Vec<&Service> = services.iter().collect();
    sorted.sort_by_key(|service| std::cmp::Reverse(service.path.as_ref().map_or(0, String::len)));
    let mut all = Vec::new();
    for service in sorted {
        let host = host(service, namespace);
        let bases = at_paths(service, &of_cluster(cluster));
        for version in service.versions.iter().skip(1) {
            let asked = Match::Exact(version.to_string());
            let bases: Vec<_> = bases.iter().map(|base| base.and(VERSION_HEADER, asked.clone())).collect();
            all.extend(of_version(
                service,
                &host,
                Some(*version),
                &bases,
                &format!("{}-v{version}", service.name),
            ));
        }
        let first = service.versions.first().copied();
        all.extend(of_version(service, &host, first, &bases, &service.name));
    }
    all
}

/// The service's paths: itself and what is below it, and not another name that begins alike.
fn at_paths(service: &Service, base: &RequestMatch) -> Vec<RequestMatch> {
    let Some(path) = &service.path else { return vec![base.clone()] };
    let at = |uri| RequestMatch { uri: Some(uri), ..base.clone() };
    vec![at(Match::Exact(path.clone())), at(Match::Prefix([path, "/"].concat()))]
}

fn of_version(
    service: &Service,
    host: &str,
    version: Option<u16>,
    bases: &[RequestMatch],
    name: &str,
) -> [Route; 3] {
    let to = |sockets| Destination {
        host: host.to_owned(),
        port: Port { number: service.port },
        subset: subset(version, sockets),
    };
    let each = |header, value: Match| bases.iter().map(move |base| base.and(header, value.clone()));
    let streams = each("content-type", grpc()).chain(each("accept", events())).collect();
    [
        route(format!("{name}-websockets"), each("upgrade", web_socket()).collect(), to(true), false),
        route(format!("{name}-streams"), streams, to(false), false),
        route(name.to_owned(), bases.to_vec(), to(false), true),
    ]
}
