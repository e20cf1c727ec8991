//! A cluster that the platform hosts: reached by an internal address, without a tunnel. Its namespace and what stands in it
//! are not ours.

use std::collections::BTreeMap;

use portcullis_identity::ids::ClusterId;

use super::{connections, ways};
use crate::istio::{Endpoint, EntryPort, ServiceEntry};
use crate::resource::{Head, Kind, Resource};
use crate::settings::{Service, Settings};

pub(super) fn render(settings: &Settings, cluster: &ClusterId, namespace: &str) -> Vec<Resource> {
    let gateway = &settings.gateway;
    let services = settings.services_of(cluster);
    let mut all = vec![ways::of_services(gateway, cluster, services, namespace)];
    for service in services {
        let name = ["route-", &service.name].concat();
        let head = Head { namespace, name: &name, cluster: Some(cluster) };
        let policy = connections::from_gateway(gateway, "app", &service.name);
        all.push(Resource::new(Kind::AuthorizationPolicy, &head, &policy));
        let rule = connections::rule(gateway, service, ways::host(service, namespace), true);
        all.push(Resource::new(Kind::DestinationRule, &head, &rule));
        if !settings.endpoints_of(cluster).is_empty() {
            let entry = entry(settings, cluster, service, ways::host(service, namespace));
            all.push(Resource::new(Kind::ServiceEntry, &head, &entry));
        }
    }
    all
}

/// Of a cluster whose service is none of this Kubernetes: where it is, and who it is.
fn entry(settings: &Settings, cluster: &ClusterId, service: &Service, host: String) -> ServiceEntry {
    let version = service.versions.first().map(|number| ("version", format!("v{number}")));
    let labels: BTreeMap<_, _> = [("app", service.name.clone())].into_iter().chain(version).collect();
    let endpoint = |address: &std::net::IpAddr| Endpoint {
        address: address.to_string(),
        labels: labels.clone(),
        service_account: service.name.clone(),
    };
    ServiceEntry {
        hosts: [host],
        location: "MESH_INTERNAL",
        resolution: "STATIC",
        ports: [EntryPort { number: service.port, name: "http", protocol: "HTTP" }],
        endpoints: settings.endpoints_of(cluster).iter().map(endpoint).collect(),
    }
}
