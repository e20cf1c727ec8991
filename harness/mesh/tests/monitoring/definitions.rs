//! What `components/monitoring` of a mesh's manifests says, as kustomize builds it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use portcullis_mesh::Mesh;
use serde::Deserialize;
use serde_json::{Value, json};

const OVERLAY: &str = "overlays/watched";

pub(crate) struct Definitions(Vec<Value>);

impl Definitions {
    /// Those of a mesh that has manifests of its own.
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let folder = mesh.manifests().join(OVERLAY);
        std::fs::create_dir_all(&folder).unwrap();
        let overlay = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "components": ["../../components/monitoring"]});
        std::fs::write(folder.join("kustomization.yaml"), overlay.to_string()).unwrap();
        let built = Command::new(&mesh.tools().kustomize).arg("build").arg(&folder).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let text = String::from_utf8(built.stdout).unwrap();
        // Each hosted cluster has its own.
        let of_cluster = mesh.manifests().join("components/hosted-cluster/monitor.yaml");
        let of_cluster = std::fs::read_to_string(of_cluster).unwrap();
        let texts = [text, of_cluster];
        let documents = texts.iter().flat_map(|text| serde_norway::Deserializer::from_str(text));
        Self(documents.map(|document| Value::deserialize(document).unwrap()).collect())
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |resource| resource["kind"] == kind)
    }

    /// The rules, each second, and none waits longer than that: the test has no hour.
    pub(crate) fn hurried_rules(&self) -> Value {
        let mut groups: Vec<Value> = self
            .of_kind("PrometheusRule")
            .flat_map(|rules| rules["spec"]["groups"].as_array().unwrap().clone())
            .collect();
        for group in &mut groups {
            group["interval"] = "1s".into();
            let rules = group["rules"].as_array_mut().unwrap();
            rules
                .iter_mut()
                .filter(|rule| rule["for"].is_string())
                .for_each(|rule| rule["for"] = "1s".into());
        }
        json!({"groups": groups})
    }

    /// What Prometheus scrapes: each endpoint of a monitor, each second, at the addresses that the mesh has for its pods.
    pub(crate) fn scrapes(&self, mesh: &Mesh) -> Value {
        let monitors = self.of_kind("PodMonitor").flat_map(|monitor| {
            let endpoints = monitor["spec"]["podMetricsEndpoints"].as_array().unwrap().iter();
            endpoints.flat_map(move |endpoint| scrapes(mesh, monitor, endpoint))
        });
        json!({"scrape_configs": monitors.collect::<Vec<_>>(), "rule_files": ["rules.yaml"],
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}})
    }

    /// The metrics that rules ask for, but for what they record themselves.
    pub(crate) fn metrics(&self) -> BTreeSet<String> {
        let rules =
            self.of_kind("PrometheusRule").flat_map(|rules| rules["spec"]["groups"].as_array().unwrap());
        let rules = rules.flat_map(|group| group["rules"].as_array().unwrap());
        let expressions = rules.map(|rule| rule["expr"].as_str().unwrap());
        let words = expressions
            .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c)));
        let ours = ["portcullis_", "envoy_", "container_", "kube_"];
        let named =
            words.filter(|word| ours.iter().any(|start| word.starts_with(start)) && !word.ends_with('_'));
        named.map(ToOwned::to_owned).collect()
    }

    /// Each query of each panel, with where it stands.
    pub(crate) fn queries(&self) -> Vec<(String, String)> {
        let maps = self.of_kind("ConfigMap").flat_map(|map| map["data"].as_object().unwrap());
        let mut found = Vec::new();
        for (file, text) in maps {
            let dashboard: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            for panel in dashboard["panels"].as_array().unwrap() {
                for target in panel["targets"].as_array().unwrap() {
                    let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
                    found.push((format!("{file}, {}", panel["title"]), query));
                }
            }
        }
        found
    }
}

/// The job is the pod's label `app`, as `jobLabel` has it.
fn scrapes(mesh: &Mesh, monitor: &Value, endpoint: &Value) -> Vec<Value> {
    let spec = &monitor["spec"];
    let label = spec["jobLabel"].as_str().unwrap();
    let job = &spec["selector"]["matchLabels"][label];
    assert_eq!(endpoint["port"], "http-envoy-prom");
    let merged = endpoint["relabelings"][0]["replacement"] == "$1:15020";
    let places = targets(mesh, job.as_str().unwrap(), endpoint["path"].as_str().unwrap(), merged);
    places.into_iter().map(|(path, address)| {
        let target = json!({"targets": [address.to_string()], "labels": {"job": job}});
        json!({"job_name": format!("{}{path} {address}", monitor["metadata"]["name"]), "metrics_path": path, "static_configs": [target]})
    }).collect()
}

/// Where pods with this label are. What an agent would merge at 15020 stands at two places here: there is no agent, and the
/// tunnel gateway is one Envoy.
fn targets<'a>(mesh: &Mesh, app: &str, path: &'a str, merged: bool) -> Vec<(&'a str, SocketAddr)> {
    let plan = mesh.plan();
    let proxies = match app {
        "api-gateway" => vec![plan.ingress_admin()],
        "control-service" => vec![plan.control_admin()],
        "tunnel-gateway" => vec![plan.tunnel_admin()],
        "data-api" => vec![plan.hosted_admin(), plan.onprem_admin()],
        other => panic!("the mesh has no {other}"),
    };
    let mut found: Vec<_> = proxies.into_iter().map(|address| (path, address)).collect();
    if merged && app == "control-service" {
        found.push(("/metrics", plan.control_operations()));
    }
    found
}
