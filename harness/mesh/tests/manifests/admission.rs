//! What the API server refuses by the policies of `components/admission`, held against the filter's own parser and the schema
//! that is printed.

use std::time::Instant;

use portcullis_mesh::wait::PATIENCE;
use portcullis_plugin_check as check;
use serde_json::{Value, json};

use crate::apiserver::{kubectl, said_to};
use crate::guard;
use crate::rendered::built;
use crate::schema::{edge, extension, parsed, plugin, sidecar, spoilt};

const PLUGINS: &str = "/apis/extensions.istio.io/v1alpha1/namespaces/default/wasmplugins";
const POLICIES: &str = "/apis/security.istio.io/v1/namespaces/default/authorizationpolicies";

/// The policies as they are rendered, once they are in force.
fn in_force() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let rendered = built("overlays/prod");
        let policies: Vec<String> = rendered
            .resources()
            .iter()
            .filter(|one| {
                let name = one["metadata"]["name"].as_str().unwrap();
                one["apiVersion"] == "admissionregistration.k8s.io/v1" && !guard::POLICIES.contains(&name)
            })
            .map(|one| serde_norway::to_string(one).unwrap())
            .collect();
        assert_eq!(policies.len(), 6);
        let said = kubectl().apply(&policies.join("---\n")).unwrap();
        assert!(said.done && said.complaints.is_empty(), "{}", said.complaints);
        let begun = Instant::now();
        let refused = |collection, resource: &Value, by: &str| {
            said_to(collection, resource).is_err_and(|told| told.contains(by))
        };
        while !(refused(PLUGINS, &plugin(&json!({}), |_| ()), "'portcullis-plugins'")
            && refused(
                PLUGINS,
                &plugin(&edge(), |spec| spec["url"] = json!("oci://a/portcullis:1")),
                "pinned",
            )
            && refused(POLICIES, &policy(&json!({"action": "DENY"})), "denies nothing"))
        {
            assert!(begun.elapsed() < PATIENCE, "the policies are not in force");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
}

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "default"}, "spec": spec})
}

/// Each with a message that names the field: what the schema forbids, which the filter's own parser refuses, too.
#[test]
fn what_the_filter_refuses_is_refused_by_the_api_server() {
    in_force();
    for good in [edge(), sidecar()] {
        assert_eq!(said_to(PLUGINS, &plugin(&good, |_| ())), Ok(()));
        for (path, bad) in spoilt(&check::schema(), &good, "") {
            let told = said_to(PLUGINS, &plugin(&bad, |_| ())).expect_err(&format!("{path}: {bad}"));
            // Of a list, the field that holds it.
            let named = path.rsplit('.').take(2).any(|field| told.contains(field));
            assert!(told.contains("pluginConfig") && named, "{path}: {told}");
        }
    }
}

/// What no form tells: names and origins that the filter's own parser does not take. Both say so.
#[test]
fn a_name_that_the_filter_does_not_take_is_refused_by_the_api_server() {
    in_force();
    let with = |place: &str, value: &Value| {
        let mut config = edge();
        *config.pointer_mut(place).unwrap() = value.clone();
        config["browser"]["cors"]["credentials"] = json!(false);
        config
    };
    for (place, bad) in [
        ("/apiKeyHeader", json!("Cookie")),
        ("/tokens/headers/0/name", json!("Authorization")),
        ("/tokens/headers/0/name", json!("x-portcullis-token")),
        ("/tokens/cookie", json!("a b")),
        ("/tokens/cookie", json!("a\"")),
        ("/tokens/query", json!("a=b")),
        ("/browser/cors/methods", json!(["get"])),
        ("/browser/cors/methods", json!(["GET", "TRACE"])),
        ("/browser/cors/headers", json!(["*"])),
        ("/browser/cors/exposedHeaders", json!(["X-Portcullis-Reason"])),
        ("/browser/cors/origins", json!(["app.example.com"])),
        ("/browser/cors/origins", json!(["http://app.example.com"])),
        ("/browser/cors/origins", json!(["https://app.example.com/path"])),
    ] {
        let config = with(place, &bad);
        assert!(!parsed(&config), "the filter takes {place}: {bad}");
        let told = said_to(PLUGINS, &plugin(&config, |_| ())).expect_err(place);
        assert!(told.contains(&place.split('/').take(3).last().unwrap()[..4]), "{place}: {told}");
    }
    for (place, good) in [
        ("/apiKeyHeader", json!("Api-Key")),
        ("/tokens/headers/0/name", json!("X-Forwarded-Access-Token")),
        ("/tokens/cookie", json!("__Host-it's!#$%&*+.^_`|~")),
        ("/tokens/query", json!("access_token~1")),
        ("/browser/cors/methods", json!(["GET", "M-SEARCH"])),
        ("/browser/cors/headers", json!(["Content-Type"])),
        ("/browser/cors/origins", json!(["*"])),
        (
            "/browser/cors/origins",
            json!(["https://*.example.com:8443", "HTTPS://App_1.example.com", "https://a"]),
        ),
        ("/browser/cors/origins", json!(["http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000"])),
    ] {
        let config = with(place, &good);
        assert!(parsed(&config), "the filter refuses {place}: {good}");
        assert_eq!(said_to(PLUGINS, &plugin(&config, |_| ())), Ok(()), "{place}: {good}");
    }
}

/// A client's cookie would be taken for an API key, or what a proxy writes of it for a token. Parser, printed schema and
/// API server have one list.
#[test]
fn a_credential_stands_in_no_header_that_means_something() {
    in_force();
    let schema = jsonschema::validator_for(&check::schema()).unwrap();
    let begun = check::TAKEN_PREFIXES.iter().map(|prefix| format!("{prefix}Key"));
    for name in check::TAKEN.iter().map(|name| name.to_uppercase()).chain(begun) {
        for place in ["/apiKeyHeader", "/tokens/headers/0/name"] {
            let mut config = edge();
            *config.pointer_mut(place).unwrap() = json!(name);
            assert!(!parsed(&config), "the filter takes {place}: {name}");
            assert!(!schema.is_valid(&config), "the schema takes {place}: {name}");
            let told = said_to(PLUGINS, &plugin(&config, |_| ())).expect_err(&name);
            assert!(told.contains("no meaning yet") || told.contains("have no meaning"), "{told}");
        }
    }
    let mut config = edge();
    config["tokens"]["headers"][0]["name"] = json!("X-Forwarded-Access-Token");
    assert!(schema.is_valid(&config));
}

#[test]
fn a_plugin_that_would_let_requests_through_is_refused() {
    in_force();
    let refused = |change: &dyn Fn(&mut Value), told: &str| {
        let said = said_to(PLUGINS, &plugin(&edge(), |spec| change(spec)));
        assert!(said.as_ref().is_err_and(|said| said.contains(told)), "{told}: {said:?}");
    };
    refused(&|spec| spec["failStrategy"] = json!("FAIL_OPEN"), "write FAIL_RELOAD");
    refused(&|spec| drop(spec.as_object_mut().unwrap().remove("priority")), "write priority: 1000");
    refused(&|spec| drop(spec.as_object_mut().unwrap().remove("phase")), "spec.phase: write AUTHN");
    refused(&|spec| spec["phase"] = json!("STATS"), "spec.phase: write AUTHN");
    refused(&|spec| spec["type"] = json!("NETWORK"), "type: NETWORK runs the module on connections");
    refused(
        &|spec| spec["match"] = json!([{"mode": "SERVER"}]),
        "spec.match: at a gateway mode SERVER never",
    );
    refused(&|spec| spec["pluginName"] = json!("gatway"), "\"gatway\" is none; write gateway,");
    refused(&|spec| drop(spec.as_object_mut().unwrap().remove("pluginConfig")), "role: write edge");
    let many =
        said_to(PLUGINS, &plugin(&json!({"mode": "off"}), |spec| spec["failStrategy"] = json!("FAIL_OPEN")));
    let many = many.unwrap_err();
    for part in ["failStrategy", "mode: write", "role: write", "domain: write", "snapshot.key: write"] {
        assert!(many.contains(part), "all at once: {many}");
    }
    let placeholder =
        |config: &mut Value| config["snapshot"]["key"] = json!(["A".repeat(43), "=".into()].concat());
    refused(&|spec| placeholder(&mut spec["pluginConfig"]), "what portcullis snapshot-key prints");
    for url in [
        "oci://registry.test/portcullis:1.0",
        "registry.test/portcullis@sha256:00",
        "https://a.test/portcullis.wasm",
    ] {
        refused(&|spec| spec["url"] = json!(url), "write oci://REGISTRY/NAME@sha256:DIGEST");
    }
    let outwards =
        |mode: &str| said_to(PLUGINS, &plugin(&sidecar(), |spec| spec["match"] = json!([{"mode": mode}])));
    assert!(outwards("CLIENT").is_err_and(|said| said.contains("CLIENT is what that sends")));
    assert_eq!(outwards("SERVER"), Ok(()));
    let mut bare = plugin(&edge(), |_| ());
    bare["metadata"]["labels"] = json!({});
    let said = said_to(PLUGINS, &bare);
    assert!(said.is_err_and(|said| said.contains("write app.kubernetes.io/part-of: portcullis")));
}

/// An edit that takes label and name of the module away at once makes it nobody else's, nor does another spelling of the name.
#[test]
fn a_plugin_of_ours_is_known_by_what_it_was() {
    in_force();
    let mut ours = plugin(&edge(), |_| ());
    ours["metadata"]["name"] = json!("known-by-what-it-was");
    let applied = kubectl().apply(&ours.to_string()).unwrap();
    assert!(applied.done, "{}", applied.complaints);
    ours["metadata"]["labels"] = json!({});
    let refused = |plugin: &Value, told: &str| {
        let said = kubectl().dry_run(&plugin.to_string()).unwrap();
        assert!(!said.done && said.complaints.contains(told), "{told}: {}", said.complaints);
    };
    let pinned = |name: &str| json!(format!("oci://registry.test/{name}@sha256:{}", "0".repeat(64)));
    ours["spec"]["url"] = pinned("another");
    refused(&ours, "write app.kubernetes.io/part-of");
    // By either of the two.
    ours["spec"]["url"] = json!("oci://registry.test/another:1");
    refused(&ours, "ValidatingAdmissionPolicy 'portcullis-");
    ours["metadata"]["name"] = json!("another-spelling");
    ours["spec"]["url"] = pinned("Portcullis");
    refused(&ours, "write app.kubernetes.io/part-of");
}

/// The successor of a `WasmPlugin` is held to the same.
#[test]
fn a_traffic_extension_is_refused_for_what_a_plugin_is() {
    in_force();
    let path = PLUGINS.replace("wasmplugins", "trafficextensions");
    assert_eq!(said_to(&path, &extension(|_| ())), Ok(()));
    let refused = |change: &dyn Fn(&mut Value), told: &str| {
        let said = said_to(&path, &extension(|spec| change(spec)));
        assert!(said.as_ref().is_err_and(|said| said.contains(told)), "{told}: {said:?}");
    };
    refused(&|spec| spec["wasm"]["failStrategy"] = json!("FAIL_OPEN"), "write FAIL_RELOAD");
    refused(&|spec| spec["wasm"]["pluginConfig"]["mode"] = json!("off"), "mode: write enforce or dry-run");
    refused(&|spec| spec["wasm"]["type"] = json!("NETWORK"), "type: NETWORK runs the module on connections");
    refused(
        &|spec| spec["match"] = json!([{"mode": "SERVER"}]),
        "spec.match: at a gateway mode SERVER never",
    );
    refused(&|spec| spec["wasm"]["url"] = json!("oci://registry.test/portcullis:1"), "is not pinned");
    refused(&|spec| drop(spec.as_object_mut().unwrap().remove("priority")), "write priority: 1000");
}

#[test]
fn plugins_of_others_are_none_of_our_business() {
    in_force();
    let other = json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"url": "oci://registry.test/another:1", "failStrategy": "FAIL_OPEN", "pluginConfig": {"any": 1}}});
    assert_eq!(said_to(PLUGINS, &other), Ok(()));
}

/// The rules of `portcullis lint` that say what Istio leaves out or never meets.
const SKIPPED: [&str; 2] = ["PL301", "PL403"];

#[test]
fn a_policy_that_istio_would_leave_out_is_refused() {
    in_force();
    let rule = |rule: Value| policy(&json!({"action": "DENY", "rules": [rule]}));
    let to = |operation: Value| rule(json!({"to": [{"operation": operation}]}));
    let from = |source: Value| rule(json!({"from": [{"source": source}]}));
    let when = |key: &str, values: Value| rule(json!({"when": [{"key": key, "values": values}]}));
    for (bad, told) in [
        (policy(&json!({"action": "DENY"})), "denies nothing"),
        (when("request.header[x-a]", json!(["a"])), "request.header[x-a]: no attribute of Istio"),
        (rule(json!({"when": [{"key": "source.ip"}]})), "write values or notValues"),
        (when("source.ip", json!(["10.0.0.0/33"])), "10.0.0.0/33: no address"),
        (from(json!({"ipBlocks": ["10.0.0"]})), "10.0.0: no address"),
        (from(json!({})), "each source must name something"),
        (from(json!({"principals": ["spiffe://a/ns/b/sa/c"]})), "without spiffe://"),
        (from(json!({"notPrincipals": ["a/ns/*/sa/c"]})), "* only at the beginning"),
        (when("source.principal", json!(["spiffe://a/ns/b/sa/c"])), "without spiffe://"),
        (to(json!({})), "each operation must name something"),
        (to(json!({"ports": ["http"]})), "write a number in quotes"),
        (when("destination.port", json!(["0"])), "write a number in quotes"),
        (to(json!({"paths": ["/a/{b}"]})), "a whole segment {*}"),
        (to(json!({"paths": ["admin"]})), "begins with a slash"),
        (to(json!({"methods": ["get"]})), "in capitals"),
        (when("request.headers[x-portcullis-source-type]", json!(["robot"])), "human, worker and mcp_agent"),
    ] {
        let said = said_to(POLICIES, &bad);
        assert!(said.as_ref().is_err_and(|said| said.contains(told)), "{told}: {said:?}");
    }
    for good in [
        policy(&json!({})),
        policy(&json!({"action": "ALLOW"})),
        to(json!({"paths": ["/a/{*}/{**}", "*.png", "/"], "methods": ["GET", "*"], "ports": ["65535"]})),
        from(json!({"ipBlocks": ["10.0.0.0/8", "2001:db8::1"], "notNamespaces": ["a"]})),
        from(json!({"principals": ["*", "a/*", "*/sa/c", "a/ns/b/sa/c"]})),
        when("request.auth.claims[a][b]", json!(["x"])),
        when("experimental.envoy.filters.network.mysql_proxy[db.table]", json!(["x"])),
    ] {
        assert_eq!(said_to(POLICIES, &good), Ok(()), "{good}");
    }
}

/// Our own fixtures: nothing passes the API server that the same rule of `portcullis lint` finds, and the other way round
/// nothing that it passes is refused.
#[test]
fn the_fixtures_of_the_lint_rules_are_refused_and_taken_as_it_finds_them() {
    in_force();
    for rule in SKIPPED {
        for (file, refused) in [("fail.yaml", true), ("pass.yaml", false)] {
            let path = portcullis_mesh::paths::root().join("lint/fixtures").join(rule).join(file);
            let text = std::fs::read_to_string(path).unwrap();
            for resource in crate::rendered::documents(&text) {
                if resource["kind"] == "AuthorizationPolicy" {
                    let mut resource = resource.clone();
                    resource["metadata"]["namespace"] = json!("default");
                    let said = said_to(POLICIES, &resource);
                    assert_eq!(said.is_err(), refused, "{rule}/{file}: {said:?} {resource}");
                }
            }
        }
    }
}
