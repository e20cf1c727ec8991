//! What every workload must have to be run by others: whatever is rendered and makes pods is held against it.

use serde_json::Value;

use crate::rendered::{OVERLAYS, Rendered, built, kind_and_name, pods};

/// Kinds of volumes that the Pod Security level `restricted` knows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Pods that end with their work, and pods that stay.
fn ends(kind: &Value) -> bool {
    match kind.as_str().unwrap() {
        "Deployment" | "StatefulSet" | "DaemonSet" => false,
        "Job" | "CronJob" => true,
        other => panic!("{other} makes pods: say here whether they end"),
    }
}

/// Everything that makes pods, with their spec and their labels, in every overlay.
fn each(mut look: impl FnMut(&str, &Rendered, &Value, &Value, &Value)) {
    let mut seen = 0;
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        for workload in rendered.resources() {
            let Some(pod) = pods(workload) else { continue };
            let name = format!("{overlay}: {}", kind_and_name(workload));
            let template = workload["spec"].pointer("/jobTemplate/spec").unwrap_or(&workload["spec"]);
            look(&name, rendered, workload, pod, &template["template"]["metadata"]["labels"]);
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} workloads");
}

/// How many pods there are at least: by its scaling, if it is scaled.
fn replicas(rendered: &Rendered, workload: &Value) -> u64 {
    let scaled = rendered.resources().iter().find(|one| {
        one["kind"] == "HorizontalPodAutoscaler"
            && one["metadata"]["namespace"] == workload["metadata"]["namespace"]
            && one["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]
            && one["spec"]["scaleTargetRef"]["kind"] == workload["kind"]
    });
    let count = scaled.map_or(&workload["spec"]["replicas"], |scaling| &scaling["spec"]["maxReplicas"]);
    count.as_u64().unwrap_or_else(|| panic!("{}: how many?", kind_and_name(workload)))
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object().unwrap();
    !wanted.is_empty() && wanted.iter().all(|(name, value)| labels[name] == *value)
}

/// Maintenance of nodes takes one pod at a time, and is never held up by one.
#[test]
fn every_workload_that_stays_has_one_disruption_budget_that_lets_a_pod_go() {
    each(|name, rendered, workload, _, labels| {
        if ends(&workload["kind"]) {
            return;
        }
        let budgets: Vec<_> = rendered
            .resources()
            .iter()
            .filter(|one| {
                one["kind"] == "PodDisruptionBudget"
                    && one["metadata"]["namespace"] == workload["metadata"]["namespace"]
                    && selects(&one["spec"]["selector"], labels)
            })
            .collect();
        // The API server refuses every eviction of a pod with two.
        assert_eq!(budgets.len(), 1, "{name}");
        assert_eq!(budgets[0]["spec"]["maxUnavailable"], 1, "{name}");
        assert_eq!(budgets[0]["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow", "{name}");
    });
}

/// A node that is lost takes no more than its share.
#[test]
fn every_workload_of_several_pods_spreads_them() {
    each(|name, rendered, workload, pod, labels| {
        if ends(&workload["kind"]) || replicas(rendered, workload) == 1 {
            return;
        }
        let spread = pod["topologySpreadConstraints"].as_array();
        let nodes = spread.into_iter().flatten().find(|one| one["topologyKey"] == "kubernetes.io/hostname");
        let nodes = nodes.unwrap_or_else(|| panic!("{name}: over nodes"));
        assert!(selects(&nodes["labelSelector"], labels), "{name}: {nodes}");
    });
}

#[test]
fn every_workload_that_stays_says_when_it_is_ready_and_when_it_lives() {
    each(|name, _, workload, pod, _| {
        if ends(&workload["kind"]) {
            return;
        }
        for container in pod["containers"].as_array().unwrap() {
            // A sidecar of the mesh that somebody else's image is: its agent ends with it.
            let lives = if container["name"] == "istio-proxy" { "startupProbe" } else { "livenessProbe" };
            for probe in ["readinessProbe", lives] {
                // What speaks no HTTP is asked for a connection.
                let (http, tcp) = (&container[probe]["httpGet"], &container[probe]["tcpSocket"]);
                assert!(
                    http["path"].is_string() != tcp.is_object(),
                    "{name}, {}: {probe}",
                    container["name"]
                );
                let port = if tcp.is_object() { &tcp["port"] } else { &http["port"] };
                let own = container["ports"].as_array().into_iter().flatten();
                let known = own.clone().any(|one| one["name"] == *port || one["containerPort"] == *port);
                // 15021 is the agent's.
                assert!(known || *port == 15021, "{name}: {probe} asks at {port}");
            }
        }
    });
}

/// The Pod Security level that the namespaces ask for, and what a scheduler needs to know. `cluster.rs` has the rest of it.
#[test]
fn every_pod_keeps_to_what_restricted_allows_and_says_what_it_takes() {
    each(|name, rendered, workload, pod, _| {
        let namespace = &workload["metadata"]["namespace"];
        let own = rendered.named("Namespace", namespace.as_str().unwrap());
        assert_eq!(own["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted", "{name}");
        for shared in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[shared].is_null(), "{name}: {shared}");
        }
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let known = VOLUMES.iter().filter(|kind| !volume[**kind].is_null()).count();
            assert_eq!(known, 1, "{name}: {volume}");
        }
        for sysctl in pod["securityContext"]["sysctls"].as_array().into_iter().flatten() {
            assert_eq!(sysctl["name"], "net.ipv4.ip_unprivileged_port_start", "{name}");
        }
        let more = pod["initContainers"].as_array().into_iter().flatten();
        for container in more.chain(pod["containers"].as_array().unwrap()) {
            let user = container["securityContext"]["runAsUser"].as_u64();
            let user = user.or(pod["securityContext"]["runAsUser"].as_u64());
            assert!(user.is_some_and(|user| user > 0), "{name}: as whom?");
            let takes = &container["resources"];
            for said in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                assert!(takes.pointer(said).is_some(), "{name}: {said}");
            }
            for port in container["ports"].as_array().into_iter().flatten() {
                assert!(port["hostPort"].is_null(), "{name}: {port}");
            }
        }
    });
}

/// A18: a pipeline's pods are made by Argo.
#[test]
fn every_pipeline_is_restricted_says_what_it_takes_and_ends() {
    let mut seen = 0;
    for overlay in ["overlays/dev", "data-cluster/on-premises"] {
        let workflows = built(overlay).resources().iter().filter(|one| one["kind"] == "WorkflowTemplate");
        for workflow in workflows {
            let (name, spec) = (format!("{overlay}: {}", kind_and_name(workflow)), &workflow["spec"]);
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
            assert!(spec["activeDeadlineSeconds"].is_number(), "{name}");
            for template in spec["templates"].as_array().unwrap() {
                crate::cluster::restricted(&template["container"], &name);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 2);
}

/// A2: the gateway has the mesh token by reference. Who may read the Deployment must not have it.
#[test]
fn the_mesh_token_comes_from_its_secret() {
    for overlay in OVERLAYS.iter().filter(|overlay| overlay.starts_with("overlays/")) {
        let gateway = built(overlay).named("Deployment", "api-gateway");
        let variables = pods(&gateway).unwrap()["containers"][0]["env"].as_array().unwrap().clone();
        let token = variables.iter().find(|one| one["name"] == "PORTCULLIS_MESH_TOKEN").unwrap();
        let from = &token["valueFrom"]["secretKeyRef"];
        assert!(token["value"].is_null(), "{overlay}");
        assert_eq!((&from["name"], &from["key"]), (&"portcullis-mesh".into(), &"token".into()), "{overlay}");
        assert!(from["optional"].is_null(), "{overlay}: a gateway without it must not start");
    }
}
