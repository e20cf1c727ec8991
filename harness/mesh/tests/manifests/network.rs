//! Who may open a connection to whom.

use portcullis_mesh::paths;
use serde_json::{Value, json};

use crate::rendered::{OVERLAYS, Rendered, Settings, built, kind_and_name};

/// Components that an overlay may add, each with the setting that it asks for: addresses of somebody outside, or an image.
pub(crate) const COMPONENTS: [(&str, &str, &str); 7] = [
    ("overlays/prod", "proxy-protocol", "proxyCidr"),
    ("overlays/prod", "http-proxy-in-front", "proxyCidr"),
    ("overlays/prod", "registry-addresses", "registryCidr"),
    ("overlays/prod", "identity-provider-addresses", "identityProviderCidr"),
    ("overlays/prod", "tunnel-gateway", "envoyImage"),
    ("overlays/prod", "valkey", "valkeyImage"),
    ("data-cluster/on-premises", "platform-addresses", "platformCidr"),
];

/// What is inside wherever it stands: pods, Services, nodes, API server and metadata.
const INSIDE: [&str; 5] =
    ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];

/// An overlay with this component, and an address for its setting.
pub(crate) fn with(component: &str) -> Rendered {
    let (overlay, _, setting) = COMPONENTS.into_iter().find(|(_, name, _)| *name == component).unwrap();
    let settings = Settings::filled(overlay).with_component(component).with(setting, "192.0.2.0/28");
    settings.build().unwrap_or_else(|error| panic!("{component}: {error}"))
}

#[test]
fn a_component_that_asks_for_a_setting_is_not_built_without_it() {
    for (overlay, component, setting) in COMPONENTS {
        let said = Settings::filled(overlay).with_component(component).build().unwrap_err();
        assert!(said.contains(&format!("`data.{setting}` is missing")), "{component}: {said}");
    }
}

/// Whoever comes past a proxy that tells the client's address chooses the address that is recorded.
#[test]
fn past_a_proxy_in_front_nobody_comes_to_the_gateway() {
    for component in ["proxy-protocol", "http-proxy-in-front"] {
        let from = from_outside(&with(component));
        assert_eq!(from, [json!([{"ipBlock": {"cidr": "192.0.2.0/28"}}]), from[0].clone()], "{component}");
    }
}

/// As the page has it for a proxy that is a pod of the same cluster.
#[test]
fn the_documented_patch_names_a_proxy_by_its_labels() {
    let page = std::fs::read_to_string(paths::root().join("docs/install.md")).unwrap();
    let patch = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let settings = Settings::filled("overlays/prod").with_component("http-proxy-in-front");
    let rendered = settings.with("proxyCidr", "192.0.2.0/28").with_patch(patch).build().unwrap();
    for from in from_outside(&rendered) {
        assert_eq!(from.as_array().unwrap().len(), 1, "{from}");
        assert!(from[0]["podSelector"].is_object() && from[0]["namespaceSelector"].is_object(), "{from}");
    }
}

/// From where the ports for clients are open, in each rule that opens one: 443, and 80.
fn from_outside(rendered: &Rendered) -> Vec<Value> {
    let mut rules = ingress_of_the_gateway(rendered);
    rules.retain(|rule| {
        let mut ports = rule["ports"].as_array().unwrap().iter().map(|port| &port["port"]);
        ports.any(|port| *port == 443 || *port == 80)
    });
    assert_eq!(rules.len(), 2, "{rules:?}");
    rules.into_iter().map(|rule| rule["from"].clone()).collect()
}

fn ingress_of_the_gateway(rendered: &Rendered) -> Vec<Value> {
    let gateway = |policy: &&Value| {
        let selector = &policy["spec"]["podSelector"];
        policy["kind"] == "NetworkPolicy"
            && policy["metadata"]["namespace"] == "alfred-platform"
            && (*selector == json!({}) || selector["matchLabels"]["app"] == "api-gateway")
    };
    let policies = rendered.resources().iter().filter(gateway);
    policies.flat_map(|policy| policy["spec"]["ingress"].as_array().cloned().unwrap_or_default()).collect()
}

/// B15, B17: a way to somebody outside, whose addresses nobody knows, is none to the API server or to other pods.
#[test]
fn a_way_to_the_outside_leads_to_nothing_inside() {
    let mut seen = 0;
    for overlay in OVERLAYS {
        let rendered = built(overlay);
        for policy in rendered.resources().iter().filter(|one| one["kind"] == "NetworkPolicy") {
            let name = format!("{overlay}: {}", kind_and_name(policy));
            for rule in policy["spec"]["egress"].as_array().into_iter().flatten() {
                let to = rule["to"].as_array().unwrap_or_else(|| panic!("{name}: to everybody"));
                assert!(!to.is_empty(), "{name}: to everybody");
                for block in to.iter().map(|peer| &peer["ipBlock"]).filter(|block| !block.is_null()) {
                    assert_eq!(
                        block["cidr"] == "0.0.0.0/0",
                        block["except"] == json!(INSIDE),
                        "{name}: {block}"
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 10, "only {seen}");
}

#[test]
fn who_knows_the_addresses_outside_opens_the_way_to_them_alone() {
    for (component, policy) in [
        ("registry-addresses", "allow-api-gateway-registry"),
        ("identity-provider-addresses", "allow-identity-provider"),
        ("platform-addresses", "allow-tunnel-agent"),
    ] {
        let policy = with(component).named("NetworkPolicy", policy);
        let to = &policy["spec"]["egress"][0]["to"];
        assert_eq!(*to, json!([{"ipBlock": {"cidr": "192.0.2.0/28"}}]), "{component}");
    }
}
