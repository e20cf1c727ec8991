//! The names by which the platform is found: what DNS says of it, what its certificate says, and what it answers to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::rendered::{Rendered, Settings, built};

const NAMED: &str = "external-dns.alpha.kubernetes.io/";

fn annotation(service: &Value, name: &str) -> String {
    service["metadata"]["annotations"][[NAMED, name].concat()].as_str().unwrap_or_default().to_owned()
}

/// The names that external-dns makes lead to this Service.
pub(crate) fn names(service: &Value) -> BTreeSet<String> {
    annotation(service, "hostname").split(',').map(ToOwned::to_owned).collect()
}

pub(crate) fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// B32, B33: DNS has the names that the gateway answers to, and each is in its certificate.
#[test]
fn dns_has_the_names_that_the_gateway_answers_to() {
    for (overlay, domain) in [
        ("overlays/dev", "dev.alfred-platform.example.com"),
        ("overlays/staging", "staging.alfred-platform.example.com"),
        ("overlays/prod", "alfred-platform.example.com"),
    ] {
        let rendered = built(overlay);
        let servers = rendered.named("Gateway", "ingress")["spec"]["servers"].clone();
        let https =
            servers.as_array().unwrap().iter().find(|server| server["port"]["number"] == 443).unwrap();
        let found = names(&rendered.named("Service", "api-gateway"));
        assert_eq!(found, texts(&https["hosts"]), "{overlay}");
        assert!(found.contains(domain) && found.contains(&format!("api.{domain}")), "{overlay}: {found:?}");
        let certified = texts(&rendered.named("Certificate", "client-tls")["spec"]["dnsNames"]);
        assert!(found.is_subset(&certified), "{overlay}: {certified:?}");
    }
}

/// A4: agents find the tunnel gateway by the name in its certificate.
#[test]
fn dns_has_the_name_that_the_tunnel_gateway_proves() {
    let rendered = built("overlays/dev");
    let certified = texts(&rendered.named("Certificate", "tunnel-gateway")["spec"]["dnsNames"]);
    assert_eq!(names(&rendered.named("Service", "tunnels")), certified);
}

fn region(name: &str, role: &str) -> Rendered {
    let settings = Settings::filled("overlays/prod").with_component("dns-failover");
    let settings = settings.with("region", name).with("failoverRole", role);
    settings.with("healthCheck", &format!("check-of-{name}")).build().unwrap()
}

/// B33: records of two regions have the same names, and are told apart by who answers first.
#[test]
fn two_regions_share_their_names_and_one_answers_while_it_is_well() {
    let regions = [region("eu", "PRIMARY"), region("us", "SECONDARY")];
    crate::is_taken(&regions[0], "dns-failover");
    let [first, second] = regions.map(|region| region.named("Service", "api-gateway"));
    assert_eq!(names(&first), names(&second));
    for (service, name, role) in [(&first, "eu", "PRIMARY"), (&second, "us", "SECONDARY")] {
        assert_eq!(annotation(service, "set-identifier"), name);
        assert_eq!(annotation(service, "aws-failover"), role);
        assert_eq!(annotation(service, "aws-health-check-id"), format!("check-of-{name}"));
    }
    for missing in ["region", "failoverRole", "healthCheck"] {
        let mut settings = Settings::filled("overlays/prod").with_component("dns-failover");
        for given in ["region", "failoverRole", "healthCheck"].into_iter().filter(|one| *one != missing) {
            settings = settings.with(given, "x");
        }
        let said = settings.build().unwrap_err();
        assert!(said.contains(&format!("`data.{missing}` is missing")), "{said}");
    }
    // What the health check asks for is let through at 443.
    let policy = built("overlays/prod").named("AuthorizationPolicy", "tagged-callers");
    let ready = &policy["spec"]["rules"][0]["to"][0]["operation"];
    assert!(texts(&ready["paths"]).contains("/-/portcullis/ready") && texts(&ready["ports"]).contains("443"));
}
