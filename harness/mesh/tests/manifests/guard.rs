//! What guards, as `components/admission` keeps it, on a real API server: who may change it, and who may write EnvoyFilters
//! beside it.

use std::sync::Once;
use std::time::{Duration, Instant};

use portcullis_mesh::kubernetes::Said;
use portcullis_mesh::wait::PATIENCE;
use serde_json::{Value, json};

use crate::apiserver::kubectl;
use crate::rendered::{OVERLAYS, built, kind_and_name};
use crate::schema::{edge, plugin};

/// In which namespace: it has what `components/namespaces` gives those of the platform.
const GUARDED: &str = "guard-test";

/// The policies that keep what guards, and what puts each in force, which has its name.
pub(crate) const POLICIES: [&str; 2] = ["portcullis-guard", "portcullis-envoy-filters"];

/// The group of the settings' example.
const OPERATORS: &str = "platform-operators";

/// Whoever may do everything by the cluster's RBAC, in this group besides.
fn by<'a>(group: &'a str, words: &[&'a str]) -> Said {
    let who = ["--as=alice", "--as-group=editors", "--as-group", group];
    kubectl().run(words.iter().copied().chain(who)).unwrap()
}

fn resource(kind: &str, version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": GUARDED, "labels": {"portcullis.dev/guard": "true"}}})
}

/// What is guarded here, one of each kind, and the same of somebody else.
fn guarded() -> Vec<(&'static str, &'static str, Value)> {
    let select = json!({"selector": {"matchLabels": {"istio": "ingressgateway"}}});
    let mut ours = plugin(&edge(), |_| ());
    ours["metadata"]["namespace"] = json!(GUARDED);
    vec![
        ("wasmplugin", r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#, ours),
        (
            "authorizationpolicy",
            r#"{"spec":{"action":"AUDIT"}}"#,
            resource("AuthorizationPolicy", "security.istio.io/v1", "p", &select),
        ),
        (
            "peerauthentication",
            r#"{"spec":{"mtls":{"mode":"PERMISSIVE"}}}"#,
            resource("PeerAuthentication", "security.istio.io/v1", "p", &json!({"mtls": {"mode": "STRICT"}})),
        ),
        (
            "envoyfilter",
            r#"{"spec":{"workloadSelector":{"labels":{"app":"other"}}}}"#,
            resource("EnvoyFilter", "networking.istio.io/v1alpha3", "p", &json!({"configPatches": []})),
        ),
        (
            "gateways.networking.istio.io",
            r#"{"spec":{"selector":{"app":"other"}}}"#,
            resource(
                "Gateway",
                "networking.istio.io/v1",
                "p",
                &json!({"selector": {"istio": "ingressgateway"}, "servers": [{"hosts": ["*"],
                    "port": {"number": 443, "name": "http", "protocol": "HTTP"}}]}),
            ),
        ),
        (
            "networkpolicy",
            r#"{"spec":{"podSelector":{"matchLabels":{"app":"other"}}}}"#,
            resource("NetworkPolicy", "networking.k8s.io/v1", "p", &json!({"podSelector": {}})),
        ),
    ]
}

/// The policies as they are rendered are in force, and what they are about is there.
fn in_force() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let policies = built("overlays/prod").resources().iter().filter(|one| {
            let name = one["metadata"]["name"].as_str().unwrap();
            one["apiVersion"] == "admissionregistration.k8s.io/v1" && POLICIES.contains(&name)
        });
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": GUARDED, "labels": {"portcullis.dev/guard": "true"}}});
        let outside = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "unguarded"}});
        let mut all: Vec<Value> = policies.cloned().collect();
        assert_eq!(all.len(), 4);
        all.extend([namespace, outside]);
        all.extend(guarded().into_iter().map(|(_, _, resource)| resource));
        let text: Vec<String> = all.iter().map(|one| ["---\n", &one.to_string(), "\n"].concat()).collect();
        let said = kubectl().apply(&text.concat()).unwrap();
        assert!(said.done && said.complaints.is_empty(), "{}", said.complaints);
        let rights =
            ["create", "clusterrolebinding", "editors", "--clusterrole=cluster-admin", "--group=editors"];
        assert!(kubectl().run(rights).unwrap().done);
        let begun = Instant::now();
        let known = || {
            let label =
                by("nobody", &["label", "namespace", GUARDED, "portcullis.dev/guard-", "--dry-run=server"]);
            let filter =
                create(&filter("default-of-all", "istio-system", "HTTP_FILTER", Some("why")), "nobody");
            !label.done && !filter.done
        };
        while !known() {
            assert!(begun.elapsed() < PATIENCE, "the policies are not in force");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

/// Every kind, by whoever is not an operator: neither deleted nor changed, and told why. An operator may.
#[test]
fn what_guards_is_changed_and_taken_away_by_operators_alone() {
    in_force();
    for (kind, change, _) in guarded() {
        let patch = ["patch", kind, "p", "-n", GUARDED, "--type=merge", "-p", change, "--dry-run=server"];
        let delete = ["delete", kind, "p", "-n", GUARDED, "--dry-run=server"];
        let no_label =
            r#"{"metadata":{"labels":{"portcullis.dev/guard":null,"app.kubernetes.io/part-of":null}}}"#;
        let unlabel = ["patch", kind, "p", "-n", GUARDED, "--type=merge", "-p", no_label, "--dry-run=server"];
        for (words, may) in [(&patch[..], "change it"), (&delete, "take it away")] {
            let said = by("others", words);
            let told = format!("only who is in the group {OPERATORS} may {may}");
            assert!(!said.done && said.complaints.contains(&told), "{words:?}: {said:?}");
        }
        // Of a plugin another policy may be the first to refuse that.
        let said = by("others", &unlabel);
        assert!(!said.done && said.complaints.contains("ValidatingAdmissionPolicy 'portcullis-"), "{said:?}");
        for words in [&patch[..], &delete] {
            let said = by(OPERATORS, words);
            assert!(said.done, "{words:?}: {said:?}");
        }
        // What decides nothing may be written by whoever may write.
        let note = ["annotate", kind, "p", "-n", GUARDED, "note=a", "--dry-run=server"];
        assert!(by("others", &note).done, "{kind}");
    }
    for words in [
        &["delete", "namespace", GUARDED, "--dry-run=server"][..],
        &["label", "namespace", GUARDED, "portcullis.dev/guard-", "--dry-run=server"],
    ] {
        let said = by("others", words);
        assert!(!said.done && said.complaints.contains("portcullis-guard"), "{words:?}: {said:?}");
        assert!(by(OPERATORS, words).done, "{words:?}");
    }
    assert!(by("others", &["delete", "namespace", "unguarded", "--dry-run=server"]).done);
}

/// A plugin's module that is deleted with all of its kind, which is another call of the API.
#[test]
fn all_of_a_kind_are_not_deleted_at_once_either() {
    in_force();
    let said = by("others", &["delete", "wasmplugins", "--all", "-n", GUARDED, "--dry-run=server"]);
    assert!(!said.done && said.complaints.contains("take it away"), "{said:?}");
}

fn filter(name: &str, namespace: &str, applies_to: &str, reviewed: Option<&str>) -> Value {
    let remove =
        json!({"applyTo": applies_to, "patch": {"operation": "REMOVE"}, "match": {"context": "GATEWAY"}});
    let mut filter = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"configPatches": [remove]}});
    if let Some(reviewed) = reviewed {
        filter["metadata"]["annotations"] = json!({"portcullis.dev/reviewed": reviewed});
    }
    filter
}

fn create(filter: &Value, group: &str) -> Said {
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), filter.to_string()).unwrap();
    by(group, &["create", "--dry-run=server", "-f", file.path().to_str().unwrap()])
}

#[test]
fn an_envoy_filter_beside_the_guard_is_an_operators_and_says_why_it_removes_nothing() {
    in_force();
    for place in
        ["HTTP_FILTER", "NETWORK_FILTER", "LISTENER", "FILTER_CHAIN", "HTTP_ROUTE", "EXTENSION_CONFIG"]
    {
        for namespace in [GUARDED, "istio-system"] {
            let said = create(&filter("f", namespace, place, Some("looked at")), "others");
            assert!(!said.done && said.complaints.contains(&format!("on {place} can take")), "{said:?}");
            assert!(
                said.complaints.contains(&format!("the group {OPERATORS} may write one there")),
                "{said:?}"
            );
            for reason in [None, Some(" ")] {
                let said = create(&filter("f", namespace, place, reason), OPERATORS);
                assert!(
                    !said.done && said.complaints.contains("annotation portcullis.dev/reviewed"),
                    "{said:?}"
                );
            }
            let said = create(&filter("f", namespace, place, Some("removes nothing of ours")), OPERATORS);
            assert!(said.done, "{place} in {namespace}: {said:?}");
        }
        assert!(create(&filter("f", "unguarded", place, None), "others").done, "{place}");
    }
    assert!(create(&filter("f", GUARDED, "CLUSTER", None), "others").done, "clusters are no way past it");
}

/// Nothing that the manifests have of these kinds is left out, and each namespace is one in which it holds.
#[test]
fn everything_of_the_manifests_that_guards_has_the_label() {
    const KINDS: [&str; 8] = [
        "WasmPlugin",
        "TrafficExtension",
        "AuthorizationPolicy",
        "PeerAuthentication",
        "RequestAuthentication",
        "EnvoyFilter",
        "NetworkPolicy",
        "Namespace",
    ];
    for overlay in OVERLAYS.iter().filter(|overlay| overlay.starts_with("overlays/")) {
        let mut seen = 0;
        for resource in built(overlay).resources() {
            let kind = resource["kind"].as_str().unwrap();
            let of_istio = resource["apiVersion"].as_str().unwrap().starts_with("networking.istio.io/");
            if KINDS.contains(&kind) || (kind == "Gateway" && of_istio) {
                let label = &resource["metadata"]["labels"]["portcullis.dev/guard"];
                assert_eq!(label, "true", "{overlay}: {}", kind_and_name(resource));
                seen += 1;
            }
            if kind == "EnvoyFilter" {
                let why = &resource["metadata"]["annotations"]["portcullis.dev/reviewed"];
                assert!(why.is_string(), "{overlay}: {}", kind_and_name(resource));
            }
        }
        assert!(seen > 20, "{overlay}: only {seen}");
    }
}
