//! The hosts of the platform itself: which there are, and what browsers are told at `ui.`.

use serde_json::{Value, json};

use crate::dns::{names, texts};
use crate::holes::nothing_is_found;
use crate::rendered::{Rendered, Settings, built};

const DOMAIN: &str = "alfred-platform.example.com";

fn with_pages() -> Rendered {
    Settings::filled("overlays/prod").with_component("ui").build().unwrap()
}

/// Names of hosts that the plugin at the port for clients lets through.
fn hosts(rendered: &Rendered, plugin: &str) -> Value {
    let config = rendered.named("WasmPlugin", plugin)["spec"]["pluginConfig"].clone();
    config["platformHosts"].as_array().into_iter().flatten().map(|host| host["name"].clone()).collect()
}

/// The names at 443.
fn answered(rendered: &Rendered) -> std::collections::BTreeSet<String> {
    let servers = rendered.named("Gateway", "ingress")["spec"]["servers"].clone();
    let https = servers.as_array().unwrap().iter().find(|one| one["port"]["number"] == 443).unwrap();
    texts(&https["hosts"])
}

/// B32: a host without anybody behind it is none.
#[test]
fn the_platforms_pages_have_a_host_where_they_are_served_and_none_otherwise() {
    let (without, with) = (built("overlays/prod"), with_pages());
    let ui = format!("ui.{DOMAIN}");
    assert_eq!(hosts(without, "portcullis-gateway"), json!(["admin"]));
    assert!(!answered(without).contains(&ui) && without.all("VirtualService", "ui").is_empty());
    assert_eq!(hosts(&with, "portcullis-gateway"), json!(["admin", "ui"]));
    for rendered in [without, &with] {
        assert_eq!(
            hosts(rendered, "portcullis-gateway-mesh"),
            json!([]),
            "callers inside the mesh have none"
        );
        assert_eq!(answered(rendered), names(&rendered.named("Service", "api-gateway")));
        assert!(answered(rendered).contains(&format!("admin.{DOMAIN}")));
    }
    assert!(answered(&with).contains(&ui));
    let certified = texts(&with.named("Certificate", "client-tls")["spec"]["dnsNames"]);
    assert!(answered(&with).is_subset(&certified), "{certified:?}");
    crate::is_taken(&with, "ui");
    nothing_is_found("ui", &with);
}

/// B10.
#[test]
fn browsers_are_told_whom_the_pages_may_ask_and_that_nobody_frames_them() {
    let rendered = Settings::filled("overlays/prod").with_component("ui").with_domain("filled.example.net");
    let rendered = rendered.build().unwrap();
    let set = rendered.named("VirtualService", "ui")["spec"]["http"][0]["headers"]["response"]["set"].clone();
    let policy = set["content-security-policy"].as_str().unwrap();
    for part in [
        "default-src 'self'",
        "connect-src 'self' api.filled.example.net admin.filled.example.net ;",
        "frame-ancestors 'none'",
        "object-src 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !rendered.text().contains("settings."), "{policy}");
    assert_eq!(set["strict-transport-security"], "max-age=31536000");
    assert_eq!(set["x-content-type-options"], "nosniff");
    assert_eq!(set["referrer-policy"], "no-referrer");
    // Whoever serves them is reached by the gateway alone.
    let policy = rendered.named("AuthorizationPolicy", "ui-from-ingress");
    let from = &policy["spec"]["rules"][0]["from"][0]["source"]["principals"];
    assert_eq!(*from, json!(["cluster.local/ns/alfred-platform/sa/ingressgateway"]));
}
