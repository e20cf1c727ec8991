//! A cluster behind Skupper: a namespace, a site and so a network of its own, since routing keys have no authorisation. In a
//! network of several clusters each could publish and use the others' keys.

use portcullis_identity::ids::ClusterId;

use super::{connections, ways};
use crate::resource::{Head, Kind, Resource};
use crate::settings::Settings;
use crate::skupper::{AccessGrant, Listener, Site};

/// The label by which Skupper's routers are found.
const ROUTER: (&str, &str) = ("skupper.io/component", "router");

fn head<'a>(namespace: &'a str, name: &'a str, cluster: &'a ClusterId) -> Head<'a> {
    Head { namespace, name, cluster: Some(cluster) }
}

pub(super) fn render(settings: &Settings, cluster: &ClusterId, namespace: &str) -> Vec<Resource> {
    let gateway = &settings.gateway;
    let services = settings.services_of(cluster);
    let site = Site { link_access: Some(settings.skupper.link_access), edge: false };
    let expiration_window = format!("{}m", settings.skupper.grant_minutes);
    let grant = AccessGrant { redemptions_allowed: 1, expiration_window };
    let id = cluster.as_str();
    let mut all = vec![
        namespace_of(cluster, namespace),
        Resource::new(Kind::Site, &head(namespace, id, cluster), &site),
        Resource::new(Kind::AccessGrant, &head(namespace, id, cluster), &grant),
        Resource::new(
            Kind::AuthorizationPolicy,
            &head(namespace, "route-router", cluster),
            &connections::from_gateway(gateway, ROUTER.0, ROUTER.1),
        ),
        ways::of_services(gateway, cluster, services, namespace),
    ];
    for service in services {
        // The Service that Skupper makes names its port after the listener, and Istio takes the protocol from that.
        let listener = ["http-", &service.name].concat();
        let spec =
            Listener { routing_key: service.name.clone(), host: service.name.clone(), port: service.port };
        all.push(Resource::new(Kind::Listener, &head(namespace, &listener, cluster), &spec));
        let rule = connections::rule(gateway, service, ways::host(service, namespace), false);
        let name = ["route-", &service.name].concat();
        all.push(Resource::new(Kind::DestinationRule, &head(namespace, &name, cluster), &rule));
    }
    all
}

/// With a sidecar for the router: without one the hop from the gateway would be in clear.
fn namespace_of(cluster: &ClusterId, namespace: &str) -> Resource {
    let head = Head { namespace: "", name: namespace, cluster: Some(cluster) };
    let resource = Resource::new(Kind::Namespace, &head, &());
    [
        ("istio-injection", "enabled"),
        ("pod-security.kubernetes.io/enforce", "restricted"),
        ("pod-security.kubernetes.io/enforce-version", "latest"),
    ]
    .into_iter()
    .fold(resource, |resource, (label, value)| resource.with("labels", label, value))
}
