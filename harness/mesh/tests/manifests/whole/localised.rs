//! A rendered overlay for a cluster as the mesh of one machine can run it: nothing is changed but addresses and the ports that
//! need a privilege, and whatever is not for istiod is somebody's of [`ELSEWHERE`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use portcullis_mesh::HOSTED;
use portcullis_mesh::bootstrap::LOCALITY;
use serde_json::{Value, json};

use crate::rendered::{Rendered, documents, manifests};

/// Ports below 1024 need a privilege: in a cluster, and here.
const PORTS: [(u64, u64); 2] = [(443, 8443), (80, 8081)];

/// Who takes what istiod does not, and where that is tried.
const ELSEWHERE: [(&str, &str); 18] = [
    ("Certificate", "cert-manager"),
    ("ClusterIssuer", "cert-manager"),
    ("ConfigMap", "the pods, each of which is tried with its own"),
    ("Deployment", "the kubelet: here a process of the mesh"),
    ("HorizontalPodAutoscaler", "the cluster's controllers"),
    ("Issuer", "cert-manager"),
    ("Namespace", "the API server"),
    ("NetworkPolicy", "the cluster's network: `flows`"),
    ("PodDisruptionBudget", "the cluster's controllers"),
    ("PodMonitor", "the Prometheus operator: `alerts`"),
    ("PrometheusRule", "the Prometheus operator: `alerts`"),
    ("Role", "the API server"),
    ("RoleBinding", "the API server"),
    ("Service", "istiod, from the API server: here a ServiceEntry with the same name and ports"),
    ("ServiceAccount", "the API server: here the name in a certificate"),
    ("ValidatingAdmissionPolicy", "the API server: `admission`, `guard`"),
    ("ValidatingAdmissionPolicyBinding", "the API server: `admission`, `guard`"),
    ("WorkflowTemplate", "Argo Workflows"),
];

/// Where the pods of a workload are here, by namespace and label `app`.
const PODS: [(&str, &str, &str); 4] = [
    ("alfred-platform", "api-gateway", "127.77.1.1"),
    ("portcullis", "control-service", "127.77.2.2"),
    ("portcullis", "tunnel-gateway", "127.77.4.2"),
    (HOSTED, "data-api", "127.77.3.2"),
];

/// What is run.
#[derive(Default)]
pub(crate) struct Localised {
    /// What istiod is given.
    resources: Vec<Value>,
    /// What of the overlay istiod has to have: kind, namespace and name.
    pub(crate) of_istiod: BTreeSet<String>,
    /// Every change, in words.
    pub(crate) changes: BTreeSet<String>,
}

pub(crate) fn title(resource: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &resource["metadata"];
    format!("{} {}/{}", text(&resource["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

fn is_of_istio(resource: &Value) -> bool {
    let group = resource["apiVersion"].as_str().unwrap().split('/').next().unwrap();
    group.ends_with(".istio.io")
}

impl Localised {
    pub(crate) fn of(overlay: &Rendered) -> Self {
        let mut all = Self::default();
        let mut seen = BTreeSet::new();
        for resource in overlay.resources() {
            let kind = resource["kind"].as_str().unwrap();
            if is_of_istio(resource) {
                all.of_istiod.insert(title(resource));
                let mut here = resource.clone();
                all.localise(&mut here);
                all.resources.push(here);
            } else if title(resource) == "ConfigMap istio-system/istio" {
                // Which the renderer makes istiod's mesh configuration.
                all.resources.push(resource.clone());
            } else {
                assert!(
                    ELSEWHERE.iter().any(|(known, _)| *known == kind),
                    "nobody takes {}",
                    title(resource)
                );
                seen.insert(kind);
                if kind == "Service" && resource["spec"]["type"] != "LoadBalancer" {
                    all.service(resource, overlay);
                }
            }
        }
        assert_eq!(seen.len(), ELSEWHERE.len(), "ELSEWHERE has what the overlay has not: {seen:?}");
        all.data_api_sidecar();
        all.customers_side();
        all
    }

    fn note(&mut self, resource: &Value, what: &str) {
        self.changes.insert(format!("{}: {what}", title(resource)));
    }

    fn localise(&mut self, resource: &mut Value) {
        match resource["kind"].as_str().unwrap() {
            "Gateway" => {
                for server in resource["spec"]["servers"].as_array_mut().unwrap() {
                    server["bind"] = "127.77.1.1".into();
                    moved(&mut server["port"]["number"]);
                }
                self.note(resource, "addresses and ports of servers");
            }
            "WasmPlugin" => {
                let mut changed = false;
                for matched in resource["spec"]["match"].as_array_mut().into_iter().flatten() {
                    for port in matched["ports"].as_array_mut().into_iter().flatten() {
                        changed |= moved(&mut port["number"]);
                    }
                }
                self.note(resource, if changed { "file and key, ports" } else { "file and key" });
            }
            "AuthorizationPolicy" if resource["metadata"]["namespace"] == "alfred-platform" => {
                let rules = resource["spec"]["rules"].as_array_mut().into_iter().flatten();
                let to = rules.flat_map(|rule| rule["to"].as_array_mut().into_iter().flatten());
                let ports = to.flat_map(|to| to["operation"]["ports"].as_array_mut().into_iter().flatten());
                let changed = ports.map(moved).fold(false, |some, one| some | one);
                assert!(changed, "{}", title(resource));
                self.note(resource, "ports");
            }
            "Sidecar" => {
                let app = resource["spec"]["workloadSelector"]["labels"]["app"].as_str().unwrap().to_owned();
                let namespace = resource["metadata"]["namespace"].as_str().unwrap().to_owned();
                resource["spec"]["ingress"] = ingress(&namespace, &app);
                // A proxy whose traffic is not intercepted would listen on 127.0.0.1 for each of them.
                resource["spec"]["egress"] = json!([{"hosts": ["~/*"]}]);
                self.note(resource, "where its proxy listens; it calls nobody");
            }
            _ => {}
        }
    }

    /// What istiod would read of the API server.
    fn service(&mut self, service: &Value, overlay: &Rendered) {
        let (metadata, spec) = (&service["metadata"], &service["spec"]);
        let (namespace, name) = (metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap());
        let app = spec["selector"]["app"].as_str().unwrap();
        let deployments = overlay.resources().iter().filter(|one| {
            let labels = &one["spec"]["template"]["metadata"]["labels"];
            let selects =
                spec["selector"].as_object().unwrap().iter().all(|(name, value)| labels[name] == *value);
            one["kind"] == "Deployment" && one["metadata"]["namespace"] == namespace && selects
        });
        let pods: Vec<_> = deployments.map(|one| &one["spec"]["template"]).collect();
        let [pod] = pods[..] else { panic!("{}: {pods:?}", title(service)) };
        let protocol = |name: &str| match name.split('-').next() {
            Some("http") => "HTTP",
            other => panic!("{}: a port of protocol {other:?}", title(service)),
        };
        let port = |port: &Value| {
            json!({"number": port["port"], "name": port["name"],
            "protocol": protocol(port["name"].as_str().unwrap())})
        };
        let ports: Vec<Value> = spec["ports"].as_array().unwrap().iter().map(port).collect();
        let endpoint = json!({"address": address(namespace, app), "labels": pod["metadata"]["labels"],
            "serviceAccount": pod["spec"]["serviceAccountName"], "locality": format!("{}/{}", LOCALITY.0, LOCALITY.1)});
        self.resources.push(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": format!("service-{name}"), "namespace": namespace},
            "spec": {"hosts": [format!("{name}.{namespace}.svc.cluster.local")], "location": "MESH_INTERNAL",
                "resolution": "STATIC", "ports": ports, "endpoints": [endpoint]},
        }));
        self.note(service, "a ServiceEntry");
    }

    /// In a cluster the proxy of a pod without one listens by itself.
    fn data_api_sidecar(&mut self) {
        let sidecar = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": {"name": "data-api", "namespace": HOSTED},
            "spec": {"workloadSelector": {"labels": {"app": "data-api"}}, "ingress": ingress(HOSTED, "data-api"),
                "egress": [{"hosts": ["~/*"]}]},
        });
        self.note(&sidecar, "added: where its proxy listens");
        self.resources.push(sidecar);
    }

    /// Which is no part of the platform's overlay: what stands behind the tunnel.
    fn customers_side(&mut self) {
        let file = manifests().join("overlays/local/workloads/acme-onprem.yaml");
        for resource in documents(&std::fs::read_to_string(file).unwrap()) {
            self.note(&resource, "added: the customer's side");
            self.resources.push(resource);
        }
    }

    /// A folder of manifests that the mesh runs.
    pub(crate) fn write(&self, folder: &Path) {
        let texts: Vec<String> =
            self.resources.iter().map(|one| serde_norway::to_string(one).unwrap()).collect();
        let local = folder.join("overlays/local");
        std::fs::create_dir_all(&local).unwrap();
        std::fs::write(local.join("rendered.yaml"), texts.join("---\n")).unwrap();
        std::fs::write(local.join("kustomization.yaml"), "resources: [rendered.yaml]\n").unwrap();
        for file in ["components/tunnel-gateway/envoy.yaml", "components/gateway/deployment.yaml"] {
            std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            std::fs::copy(manifests().join(file), folder.join(file)).unwrap();
        }
    }
}

/// Makes a port one that needs no privilege.
fn moved(port: &mut Value) -> bool {
    let found = PORTS.iter().find(|(there, _)| *port == *there || *port == there.to_string().as_str());
    if let Some((_, here)) = found {
        *port = if port.is_string() { here.to_string().into() } else { (*here).into() };
    }
    found.is_some()
}

fn address(namespace: &str, app: &str) -> &'static str {
    let found = PODS.iter().find(|(of, name, _)| (*of, *name) == (namespace, app));
    found.unwrap_or_else(|| panic!("the mesh has no pods of {app} in {namespace}")).2
}

/// Where a proxy without interception listens, and what stands behind.
fn ingress(namespace: &str, app: &str) -> Value {
    let own = address(namespace, app);
    let listener = |port: u16, behind: u16| {
        let name = format!("http-{port}");
        json!({"port": {"number": port, "name": name, "protocol": "HTTP"}, "bind": own, "captureMode": "NONE",
            "defaultEndpoint": format!("0.0.0.0:{behind}")})
    };
    match app {
        "control-service" => json!([listener(9700, 9700), listener(9701, 9701)]),
        // Where the harness has the way into the tunnels.
        "tunnel-gateway" => json!([listener(8080, 8081)]),
        _ => json!([listener(8080, 8080)]),
    }
}

/// Where clients without TLS come to.
pub(crate) fn redirect(ingress: SocketAddr) -> SocketAddr {
    SocketAddr::new(ingress.ip(), u16::try_from(PORTS[1].1).unwrap())
}
