//! What a cluster would make of it: addresses, pods, images, network policies.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rendered::{OVERLAYS, built, kind_and_name, pods};

/// A1, A4: nothing is open to the world but the gateway, and where agents dial in.
#[test]
fn only_the_gateway_and_the_end_of_tunnels_have_an_address_outside() {
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        for resource in rendered.resources() {
            let outside = match resource["kind"].as_str().unwrap() {
                "Service" => !matches!(resource["spec"]["type"].as_str(), None | Some("ClusterIP")),
                "Ingress" | "HTTPRoute" => true,
                _ => pods(resource)
                    .is_some_and(|pod| pod["hostNetwork"] == true || pod.to_string().contains("hostPort")),
            };
            let (namespace, name) = (&resource["metadata"]["namespace"], &resource["metadata"]["name"]);
            let meant = resource["kind"] == "Service"
                && ((namespace == "alfred-platform" && name == "api-gateway")
                    || (namespace == "portcullis" && name == "tunnels"));
            assert_eq!(outside, meant, "{overlay}: {}", kind_and_name(resource));
        }
    }
}

#[test]
fn every_pod_is_restricted_has_its_share_and_holds_no_secret() {
    let mut checked = 0;
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        for resource in rendered.resources() {
            let name = format!("{overlay}: {}", kind_and_name(resource));
            assert_ne!(resource["kind"], "Secret", "{name}: secrets are named, never written");
            let Some(pod) = pods(resource) else { continue };
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            for container in pod["containers"].as_array().unwrap() {
                restricted(container, &name);
                checked += 1;
            }
        }
    }
    assert!(checked >= 8, "only {checked} containers");
}

/// What the Pod Security level `restricted` asks of a container, a bound for its memory, and no secret in its variables.
pub(crate) fn restricted(container: &Value, name: &str) {
    let context = &container["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
    assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
    assert_eq!(context["capabilities"]["drop"][0], "ALL", "{name}");
    assert!(context["capabilities"]["add"].is_null(), "{name}");
    assert!(container["resources"]["requests"]["cpu"].is_string(), "{name}");
    assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
    for variable in container["env"].as_array().into_iter().flatten() {
        let secret = ["TOKEN", "PASSWORD", "KEY", "DATABASE_URL"]
            .iter()
            .any(|word| variable["name"].as_str().unwrap().ends_with(word));
        assert!(!secret || variable["valueFrom"]["secretKeyRef"].is_object(), "{name}: {variable}");
    }
}

#[test]
fn every_image_is_pinned_by_its_digest() {
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        let mut images = Vec::new();
        rendered.resources().iter().for_each(|resource| images_of(resource, &mut images));
        assert!(images.len() >= 2, "{overlay}: {images:?}");
        for image in images {
            // `auto`: the proxy of the installed Istio, which its injector fills in.
            assert!(image == "auto" || image.contains("@sha256:"), "{overlay}: {image}");
        }
    }
}

fn images_of(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| images_of(item, found)),
        Value::Object(fields) => {
            found.extend(fields.get("image").and_then(Value::as_str).map(ToOwned::to_owned));
            fields.values().for_each(|field| images_of(field, found));
        }
        _ => {}
    }
}

/// B17: in each namespace with pods or policies nothing passes but what a policy names.
#[test]
fn every_namespace_denies_by_default() {
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        let used: BTreeSet<_> = rendered
            .resources()
            .iter()
            .filter(|resource| pods(resource).is_some() || resource["kind"] == "Namespace")
            .map(|resource| {
                let field = if resource["kind"] == "Namespace" { "name" } else { "namespace" };
                resource["metadata"][field].as_str().unwrap().to_owned()
            })
            .collect();
        let denied: BTreeSet<_> = rendered
            .all("NetworkPolicy", "default-deny")
            .into_iter()
            .filter(|policy| {
                let spec = &policy["spec"];
                spec["podSelector"] == serde_json::json!({})
                    && spec["policyTypes"] == serde_json::json!(["Ingress", "Egress"])
                    && spec["ingress"].is_null()
                    && spec["egress"].is_null()
            })
            .map(|policy| policy["metadata"]["namespace"].as_str().unwrap().to_owned())
            .collect();
        assert!(!used.is_empty() && used == denied, "{overlay}: pods in {used:?}, denied in {denied:?}");
    }
}

/// Who may list the secrets of a namespace has all of them, and names (`resourceNames`) do not narrow that.
#[test]
fn no_account_reads_secrets() {
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        for resource in rendered.resources() {
            for rule in resource["rules"].as_array().into_iter().flatten() {
                let read = rule["resources"].as_array().into_iter().flatten();
                let read = read.filter(|name| *name == "secrets" || *name == "*").count();
                assert_eq!(read, 0, "{overlay}: {}", kind_and_name(resource));
            }
            let bound = &resource["roleRef"]["name"];
            let wide = ["admin", "cluster-admin", "edit"].iter().any(|role| bound == role);
            assert!(!wide, "{overlay}: {}", kind_and_name(resource));
        }
    }
}

/// A14: the certificate comes to the gateway as a volume.
#[test]
fn the_gateway_has_the_one_certificate_that_it_shows_and_no_other() {
    for overlay in OVERLAYS.iter().filter(|overlay| overlay.starts_with("overlays/")) {
        let rendered = built(overlay);
        let gateway = rendered.named("Gateway", "ingress");
        let tls =
            gateway["spec"]["servers"].as_array().unwrap().iter().find(|one| one["port"]["number"] == 443);
        let tls = &tls.unwrap()["tls"];
        assert!(tls["credentialName"].is_null(), "{overlay}: {tls}");

        let deployment = rendered.named("Deployment", "api-gateway");
        let pod = pods(&deployment).unwrap();
        let volumes = pod["volumes"].as_array().unwrap();
        let secrets: Vec<_> = volumes.iter().filter(|volume| !volume["secret"].is_null()).collect();
        assert_eq!(secrets.len(), 1, "{overlay}: {volumes:?}");
        let certificate = rendered.named("Certificate", "client-tls");
        assert_eq!(secrets[0]["secret"]["secretName"], certificate["spec"]["secretName"], "{overlay}");

        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == secrets[0]["name"]).unwrap();
        assert_eq!(mount["readOnly"], true, "{overlay}");
        let folder = mount["mountPath"].as_str().unwrap();
        assert_eq!(tls["serverCertificate"], format!("{folder}/tls.crt"), "{overlay}");
        assert_eq!(tls["privateKey"], format!("{folder}/tls.key"), "{overlay}");
    }
}
