//! What an operator applies to a cluster: every overlay is built with its settings filled in, and held against the schemas of
//! the API server, Istio's own validation and analysis, and the programs that will read it.

mod admission;
#[cfg(feature = "slow")]
mod alert_cases;
mod alerts;
mod apiserver;
mod cluster;
mod dashboards;
mod dns;
mod flows;
mod gateway;
mod grpc;
mod guard;
#[path = "../hello/mod.rs"]
mod hello;
mod holes;
mod hosted;
mod native;
mod network;
mod pages;
mod programs;
#[cfg(feature = "slow")]
mod promtool;
mod rendered;
mod replica;
mod routes;
mod schema;
mod text;
mod tunnel;
mod upstreams;
#[cfg(feature = "slow")]
mod valkey;
mod whole;
mod workloads;

use serde_json::Value;

use rendered::{OVERLAYS, Rendered, Settings, built, tool};

#[test]
fn every_overlay_is_one_that_the_api_server_and_istio_take() {
    for overlay in OVERLAYS {
        is_taken(built(overlay), overlay);
    }
}

/// What an overlay may take in beside what ours have.
#[test]
fn every_component_that_an_overlay_may_add_is_taken_too() {
    for (_, component, _) in network::COMPONENTS {
        is_taken(&network::with(component), component);
    }
}

fn is_taken(rendered: &Rendered, name: &str) {
    let text = rendered.conform().unwrap_or_else(|error| panic!("{name}: {error}"));
    let summary: Value = serde_json::from_str(&text).unwrap();
    let all = rendered.resources().len();
    assert_eq!(summary["summary"]["valid"], all, "{name}, of which none may be skipped: {text}");
    let file = rendered.file();
    for command in [
        &["validate", "-f"][..],
        // That a resource is an EnvoyFilter is known; nothing else is to be warned of.
        &["analyze", "--use-kube=false", "--failure-threshold=Warning", "-S", "IST0151=EnvoyFilter *.*"],
    ] {
        let said = tool(|tools| &tools.istioctl).args(command).arg(file.path()).output().unwrap();
        assert!(said.status.success(), "{name}, istioctl {command:?}: {said:?}");
    }
}

/// The schemas are of use only if they refuse.
#[test]
fn a_field_that_is_misspelt_is_refused_by_the_schemas() {
    let rendered = built("overlays/prod");
    for (right, wrong) in [
        ("terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("renewBeforePercentage", "renewBeforePercent"),
        ("minProtocolVersion", "minimumProtocolVersion"),
        ("policyTypes", "policyType"),
        ("maxUnavailable: 1", "maxUnavailable: true"),
    ] {
        let said = rendered.edited(right, wrong).conform().unwrap_err();
        assert!(said.contains("statusInvalid"), "{wrong}: {said}");
    }
}

#[test]
fn what_is_not_decided_stops_the_build_and_is_named() {
    for overlay in OVERLAYS {
        let undecided = Settings::undecided(overlay);
        assert!(undecided.len() >= 2, "{overlay}: {undecided:?}");
        for key in undecided {
            let said = Settings::filled(overlay).without(&key).build().unwrap_err();
            assert!(said.contains(&format!("`data.{key}` is missing")), "{overlay}: {said}");
        }
    }
}

/// A base has an example wherever an overlay has a setting. None may be left.
#[test]
fn no_example_of_a_setting_is_left_in_what_is_built() {
    for overlay in OVERLAYS {
        let rendered = Settings::filled(overlay).with_domain("filled.example.net").build().unwrap();
        for left in ["settings.", "alfred-platform.example.com", "AAAAAAAA"] {
            let lines: Vec<_> = rendered.text().lines().filter(|line| line.contains(left)).collect();
            assert!(lines.is_empty(), "{overlay}: {lines:#?}");
        }
        assert!(rendered.text().contains("filled.example.net"), "{overlay}");
    }
}
