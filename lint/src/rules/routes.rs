//! `VirtualService`s.

use crate::node::Node;
use crate::resource::Resource;
use crate::rule::{Level, Rule};

const CLUSTER_HEADER: &str = "x-portcullis-cluster";

/// Whether a route leads nowhere.
fn answers_itself(route: &Node) -> bool {
    route.get("directResponse").is_some() || route.get("redirect").is_some()
}

/// A route at a guarded gateway that the filter's word does not choose.
pub(super) const NOT_BY_CLUSTER: Rule = Rule {
    code: "PL601",
    name: "route-not-by-cluster",
    level: Level::Error,
    why: "The filter checks one cluster and writes it into `x-portcullis-cluster`. A route that is chosen by anything else \
          can lead a request to another cluster than the one that was checked.",
    fix: "Let every match ask for `headers: {x-portcullis-cluster: {exact: CLUSTER}}`; routes of the platform itself for \
          `withoutHeaders: {x-portcullis-cluster: {}}`, and none of those to a data cluster.",
    check: |world, found| {
        let data: Vec<String> = world.guarded_routes().flat_map(clusters).collect();
        for service in world.guarded_routes() {
            for route in service.node.list_at("spec.http").iter().filter(|route| !answers_itself(route)) {
                let is_data = |to: &&Node| data.contains(&full_name(to.text_at("host"), service.namespace()));
                let matches = route.list_at("match");
                if matches.iter().any(of_no_cluster) {
                    for destination in leads_to(route).filter(is_data) {
                        found.at(service, destination, "is a data cluster, and no cluster was checked");
                    }
                }
                if matches.is_empty() {
                    found.at(service, route, "takes every request, whatever cluster was checked");
                }
                for one in matches.iter().filter(|one| !by_cluster(one)) {
                    found.at(service, one, format!("does not ask for {CLUSTER_HEADER}"));
                }
            }
            for route in ["spec.tls", "spec.tcp"].iter().flat_map(|path| service.node.list_at(path)) {
                found.at(service, route, "leads past the filter: it sees HTTP alone");
            }
        }
    },
};

fn by_cluster(one: &Node) -> bool {
    cluster_header(one, "headers").is_some_and(|value| !value.text_at("exact").is_empty())
        || of_no_cluster(one)
}

/// Whether it is for requests that the filter has placed at no cluster.
fn of_no_cluster(one: &Node) -> bool {
    cluster_header(one, "withoutHeaders").is_some_and(Node::is_empty)
}

fn cluster_header<'a>(one: &'a Node, part: &str) -> Option<&'a Node> {
    one.get(part).and_then(|headers| headers.get(CLUSTER_HEADER))
}

/// A way from outside to what filters are told.
pub(super) const TO_MESH_API: Rule = Rule {
    code: "PL602",
    name: "route-to-mesh-api",
    level: Level::Error,
    why: "The mesh API hands out the snapshot: signing key, digests of API keys, every cluster. Filters reach it inside the \
          mesh; nobody outside may.",
    fix: "Take the route away.",
    check: |world, found| {
        let upstreams: Vec<(String, i64)> =
            world.ours().iter().filter_map(|o| upstream(o.config("snapshot.upstream"))).collect();
        for service in world.of("VirtualService").filter(|service| !only_in_mesh(service)) {
            for destination in destinations(service) {
                let host = full_name(destination.text_at("host"), service.namespace());
                let port = destination.at("port.number").and_then(Node::int);
                if upstreams
                    .iter()
                    .any(|(other, number)| *other == host && port.is_none_or(|port| port == *number))
                {
                    found.at(
                        service,
                        destination,
                        "leads from a gateway to the mesh API of the control service",
                    );
                }
            }
        }
    },
};

fn only_in_mesh(service: &Resource) -> bool {
    service.node.list_at("spec.gateways").iter().all(|gateway| gateway.text() == Some("mesh"))
}

/// Host and port of `outbound|9700||HOST`.
fn upstream(name: &str) -> Option<(String, i64)> {
    let mut parts = name.split('|');
    let (port, host) = (parts.nth(1)?, parts.nth(1)?);
    Some((host.to_owned(), port.parse().ok()?))
}

/// The full name of a service of Kubernetes.
fn full_name(host: &str, namespace: &str) -> String {
    match host.matches('.').count() {
        0 => format!("{host}.{namespace}.svc.cluster.local"),
        1 => format!("{host}.svc.cluster.local"),
        2 if host.ends_with(".svc") => format!("{host}.cluster.local"),
        _ => host.to_owned(),
    }
}

fn destinations(service: &Resource) -> impl Iterator<Item = &Node> {
    let routes = ["spec.http", "spec.tls", "spec.tcp"].iter().flat_map(|path| service.node.list_at(path));
    routes.flat_map(leads_to)
}

fn leads_to(route: &Node) -> impl Iterator<Item = &Node> {
    let mirrors = route.list_at("mirrors").iter();
    let sent = route.list_at("route").iter().chain(mirrors).filter_map(|to| to.get("destination"));
    sent.chain(route.get("mirror"))
}

/// A `corsPolicy` that never sees a preflight.
pub(super) const HIDDEN_CORS: Rule = Rule {
    code: "PL603",
    name: "cors-policy-hidden",
    level: Level::Warning,
    why: "Istio's CORS filter comes after the plugin, which answers or refuses preflights itself: a `corsPolicy` at its \
          gateway never sees one.",
    fix: "Write it into `browser.cors` of the pluginConfig, or of `resources` in control.yaml.",
    check: |world, found| {
        for service in world.guarded_routes() {
            for policy in service.node.list_at("spec.http").iter().filter_map(|route| route.get("corsPolicy"))
            {
                found.at(service, policy, "has no effect beside the plugin");
            }
        }
    },
};

/// A way to a data cluster through a gateway without the filter.
pub(super) const UNGUARDED_WAY: Rule = Rule {
    code: "PL604",
    name: "data-cluster-without-filter",
    level: Level::Error,
    why: "Where a data cluster is reached through another gateway than the guarded ones, nobody is authenticated, checked or \
          recorded on that way.",
    fix: "Bind the route to the guarded gateway, or run the plugin at that one.",
    check: |world, found| {
        let guarded: Vec<String> = world.guarded_routes().map(Resource::title).collect();
        let data: Vec<String> = world.guarded_routes().flat_map(clusters).collect();
        let others = world.of("VirtualService").filter(|service| !guarded.contains(&service.title()));
        for service in others.filter(|service| !only_in_mesh(service)) {
            for destination in destinations(service) {
                if data.contains(&full_name(destination.text_at("host"), service.namespace())) {
                    found.at(service, destination, "leads to a data cluster past every filter");
                }
            }
        }
    },
};

/// A way in of another kind.
pub(super) const OTHER_KIND: Rule = Rule {
    code: "PL605",
    name: "way-in-of-another-kind",
    level: Level::Error,
    why: "Istio also opens ways by Kubernetes' `Ingress` and by the routes of the Gateway API. They are chosen by host and \
          path, not by the cluster that was checked, and a `WasmPlugin` with a selector does not run at every gateway that \
          they make.",
    fix: "Write a `VirtualService` for the guarded gateway. An `Ingress` that leads to that gateway itself may say so where \
          it is silenced.",
    check: |world, found| {
        const ROUTES: [&str; 5] = ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "Gateway"];
        let gateway_api =
            |r: &Resource| r.group() == "gateway.networking.k8s.io" && ROUTES.contains(&r.kind());
        let ingress = |r: &Resource| r.group() == "networking.k8s.io" && r.kind() == "Ingress";
        let guarded = !world.ours().is_empty();
        for way in world.all().filter(|resource| guarded && (gateway_api(resource) || ingress(resource))) {
            found.path(way, "spec", "opens a way that the cluster that was checked does not choose");
        }
    },
};

/// Hosts to which a guarded route leads when the filter has placed a request.
fn clusters(service: &Resource) -> Vec<String> {
    let placed = |route: &&Node| {
        let mut matches = route.list_at("match").iter();
        matches.any(|one| cluster_header(one, "headers").is_some())
    };
    let routes = service.node.list_at("spec.http").iter().filter(placed);
    let hosts = routes.flat_map(|route| route.list_at("route")).map(|to| to.text_at("destination.host"));
    hosts.map(|host| full_name(host, service.namespace())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_filled_up() {
        assert_eq!(full_name("control", "portcullis"), "control.portcullis.svc.cluster.local");
        assert_eq!(full_name("control.portcullis", "x"), "control.portcullis.svc.cluster.local");
        assert_eq!(full_name("control.portcullis.svc", "x"), "control.portcullis.svc.cluster.local");
        assert_eq!(full_name("api.example.com", "x"), "api.example.com");
        let known = upstream("outbound|9700||control.portcullis.svc.cluster.local");
        assert_eq!(known, Some(("control.portcullis.svc.cluster.local".to_owned(), 9700)));
        assert_eq!(upstream("control"), None);
    }
}
