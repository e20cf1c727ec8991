//! What the module counts, as the proxy shows it.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::{Metric, Request};
use serde_json::json;

on_both! {
    a_mix_of_requests_gives_exactly_these_counts,
    a_request_costs_no_call_of_the_proxy_for_its_metrics,
    gauges_tell_of_the_snapshot_and_of_records_that_wait,
    dropped_records_are_counted,
    a_plugin_without_a_configuration_counts_what_it_refuses,
    nothing_that_a_caller_or_a_policy_chose_is_in_a_name,
}
use world::{API_KEY, Target, World, config, good, plugin, put, target, to, token};

/// Every counter of the filter that is not zero, by its name in the proxy.
fn counters(world: &World) -> BTreeMap<String, u64> {
    let metrics = world.host.metrics();
    let counter = |(name, metric): (&str, &Metric)| match metric {
        // Native code makes all of them known at its start.
        Metric::Counter(value) if *value > 0 => Some((name.replace("portcullis_filter_", ""), *value)),
        Metric::Counter(_) | Metric::Gauge(_) | Metric::Histogram(_) => None,
    };
    metrics.iter().filter_map(counter).collect()
}

/// How many values a histogram has.
fn values(world: &World, name: &str) -> usize {
    world.host.metrics().histogram(name).len()
}

fn a_mix_of_requests_gives_exactly_these_counts() {
    let mut world = World::gateway();
    for _ in 0..3 {
        world.host.request(good("acme-1")).assert_status(200);
    }
    world.host.request(to("acme-1").header("x-api-key", API_KEY).body("12345")).assert_status(200);
    let agent = token(|claims| claims["act"] = json!({"sub": "svc-agent"}));
    world.host.request(to("acme-1").header("authorization", format!("Bearer {agent}"))).assert_status(200);
    world.host.request(to("acme-1")).assert_status(401);
    world.host.request(good("globex-1")).assert_status(404);
    world.host.request(Request::get("/-/portcullis/ready").authority("x")).assert_status(200);
    world.host.request(Request::get("/").refused_before_plugins(403));
    world.settle();
    let told = counters(&world);
    // The main thread runs the Wasm module as well, and handles no request.
    let engines = if target() == Target::Wasm { 2 } else { 1 };
    let expected = [
        ("decision=.=allow;.;source_type=.=human;.;decisions_total", 3),
        ("decision=.=allow;.;source_type=.=worker;.;decisions_total", 1),
        ("decision=.=allow;.;source_type=.=mcp_agent;.;decisions_total", 1),
        ("decision=.=refuse;.;source_type=.=unknown;.;decisions_total", 1),
        ("decision=.=refuse;.;source_type=.=human;.;decisions_total", 1),
        ("decision=.=exempt;.;source_type=.=unknown;.;decisions_total", 1),
        ("decision=.=none;.;source_type=.=unknown;.;decisions_total", 1),
        ("stage=.=authn;.;reason=.=credential_missing;.;refusals_total", 1),
        ("stage=.=cluster-status;.;reason=.=cluster_unknown;.;refusals_total", 1),
        ("class=.=2xx;.;source_type=.=human;.;responses_total", 3),
        ("class=.=2xx;.;source_type=.=worker;.;responses_total", 1),
        ("class=.=2xx;.;source_type=.=mcp_agent;.;responses_total", 1),
        ("class=.=2xx;.;source_type=.=unknown;.;responses_total", 1),
        ("class=.=4xx;.;source_type=.=unknown;.;responses_total", 2),
        ("class=.=4xx;.;source_type=.=human;.;responses_total", 1),
        ("source_type=.=worker;.;request_bytes_total", 5),
        ("kind=.=snapshot;.;outcome=.=ok;.;calls_total", engines),
        ("kind=.=audit;.;outcome=.=ok;.;calls_total", 1),
        ("identity_cache_hits_total", 3),
        ("identity_cache_misses_total", 3),
        ("worker_starts_total", engines),
    ];
    let expected: BTreeMap<String, u64> = expected.map(|(name, n)| (name.to_owned(), n)).into();
    let (of_bodies, told): (BTreeMap<_, _>, BTreeMap<_, _>) =
        told.into_iter().partition(|(name, _)| name.ends_with("response_bytes_total"));
    assert_eq!(told, expected);
    assert!(of_bodies["source_type=.=human;.;response_bytes_total"] > 3 * 5, "three bodies and a refusal");
    let durations =
        |who: &str| values(&world, &format!("source_type=.={who};.;portcullis_filter_request_duration_ms"));
    assert_eq!(["human", "worker", "mcp_agent", "unknown"].map(durations), [4, 1, 1, 3]);
    assert_eq!(values(&world, "kind=.=audit;.;portcullis_filter_call_duration_ms"), 1);
}

fn a_request_costs_no_call_of_the_proxy_for_its_metrics() {
    let mut world = World::gateway();
    world.host.request(good("acme-1")).assert_status(200);
    let before = counters(&world);
    assert!(!before.keys().any(|name| name.contains("decisions_total")), "{before:?}");
    world.settle();
    assert!(counters(&world).keys().any(|name| name.contains("decisions_total")));
}

fn gauges_tell_of_the_snapshot_and_of_records_that_wait() {
    let mut world = World::gateway();
    world.api.acknowledge = false;
    for _ in 0..5 {
        world.host.request(good("acme-1")).assert_status(200);
    }
    world.revoke("jti:some");
    for _ in 0..3 {
        world.host.advance(Duration::from_secs(1));
        world.answer_all();
    }
    let gauge = |world: &World, name: &str| world.host.metrics().gauge(&format!("portcullis_filter_{name}"));
    assert_eq!(gauge(&world, "snapshot_revision"), 3);
    assert_eq!(gauge(&world, "journal_records"), 5);
    assert_eq!(gauge(&world, "snapshot_age_seconds"), 2, "written once a second, in whole seconds");
    assert!(counters(&world)["kind=.=audit;.;outcome=.=refused;.;calls_total"] > 0);
    world.api.acknowledge = true;
    for _ in 0..10 {
        world.host.advance(Duration::from_secs(1));
        world.answer_all();
    }
    assert_eq!(gauge(&world, "journal_records"), 0);
}

fn dropped_records_are_counted() {
    let mut config = config();
    config["audit"] = json!({"maxWaiting": 1});
    let mut world = World::new(vec![plugin("gateway", &config)]);
    world.api.acknowledge = false;
    for _ in 0..5 {
        world.host.request(to("acme-1"));
    }
    world.settle();
    let told = counters(&world);
    assert_eq!(told["journal_dropped_total"], 3);
    assert_eq!(told["stage=.=audit;.;reason=.=audit_backlog;.;refusals_total"], 4);
}

fn a_plugin_without_a_configuration_counts_what_it_refuses() {
    let mut world = World::cold(vec![plugin("gateway", &json!({"role": "edge"}))]);
    for _ in 0..2 {
        world.host.request(good("acme-1"));
    }
    assert_eq!(counters(&world)["stage=.=gateway;.;reason=.=misconfigured;.;refusals_total"], 2);
}

fn nothing_that_a_caller_or_a_policy_chose_is_in_a_name() {
    let mut world = World::gateway();
    world.change(put(RecordKind::SourceRules, b"", json!({"rules": []}).to_string()));
    for cluster in ["acme-1", "no-such-cluster-77"] {
        let strange = token(|claims| claims["sub"] = json!("strange-subject"));
        let request = to(cluster).header("authorization", format!("Bearer {strange}"));
        world.host.request(request.header("x-request-id", "strange-id"));
    }
    world.settle();
    let names: Vec<String> = world.host.metrics().iter().map(|(name, _)| name.to_owned()).collect();
    assert!(names.len() > 5, "{names:?}");
    for word in ["strange", "acme", "cluster-77", "idp", "ann"] {
        assert!(!names.iter().any(|name| name.contains(word)), "{word} in {names:?}");
    }
}
