//! Each stage under its own root id: alone, chained at the edge, and at a sidecar.

mod world;

use portcullis_model::decision::ClusterState;
use portcullis_testhost::Request;

on_both! {
    four_plugins_in_a_chain_do_what_gateway_does,
    authn_alone_authenticates_and_forwards_no_cluster,
    at_the_edge_a_later_stage_without_authn_refuses,
    audit_alone_records_and_still_strips_forged_headers,
    a_sidecar_takes_the_forwarded_identity_and_nothing_else,
    what_a_sidecar_records_has_a_hop_of_its_own_and_names_its_own_cluster,
    cluster_status_at_a_sidecar_closes_its_own_cluster,
}
use world::{World, config, good, identity_token, plugin, sidecar_config, to, verifier};

fn chain() -> World {
    World::new(
        ["authn", "source-type", "cluster-status", "audit"]
            .iter()
            .map(|name| plugin(name, &config()))
            .collect(),
    )
}

fn four_plugins_in_a_chain_do_what_gateway_does() {
    let mut world = chain();
    let exchange = world.host.request(good("acme-1").header("x-portcullis-subject", "forged"));
    let seen = exchange
        .assert_upstream_header("x-portcullis-subject", "ann")
        .assert_upstream_header("x-portcullis-source-type", "human")
        .assert_upstream_header("x-portcullis-cluster", "acme-1")
        .assert_no_upstream_header("authorization")
        .assert_forwarded();
    let header = seen.header("x-portcullis-identity").unwrap().to_owned();
    assert!(verifier("acme-1").verify(&header, world::NOW).is_ok());
    world.host.request(to("acme-1")).assert_refused(401);
    world.host.request(good("globex-1")).assert_refused(404);
    let told: Vec<_> = world
        .records()
        .iter()
        .map(|r| (r.hop.clone(), r.decision.clone(), r.stage.clone(), r.reason.clone(), r.subject.clone()))
        .collect();
    let row = |a: &str, b: &str, c: &str, d: &str| {
        ("audit".to_owned(), a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned())
    };
    assert_eq!(
        told,
        [
            row("allow", "", "", "ann"),
            row("refuse", "authn", "credential_missing", ""),
            row("refuse", "cluster-status", "cluster_unknown", "ann"),
        ]
    );
}

fn authn_alone_authenticates_and_forwards_no_cluster() {
    let mut world = World::new(vec![plugin("authn", &config())]);
    world
        .host
        .request(good("nowhere"))
        .assert_status(200)
        .assert_upstream_header("x-portcullis-subject", "ann")
        .assert_no_upstream_header("x-portcullis-cluster")
        .assert_no_upstream_header("x-portcullis-identity");
    world.host.request(to("acme-1")).assert_refused(401);
}

fn at_the_edge_a_later_stage_without_authn_refuses() {
    for name in ["source-type", "cluster-status"] {
        let mut world = World::new(vec![plugin(name, &config())]);
        let exchange =
            world.host.request(good("acme-1").header("x-portcullis-identity", identity_token("acme-1")));
        exchange.assert_refused(401);
        exchange.assert_response_header("x-portcullis-reason", "identity_missing");
    }
}

fn audit_alone_records_and_still_strips_forged_headers() {
    let mut world = World::new(vec![plugin("audit", &config())]);
    let exchange = world.host.request(to("acme-1").header("x-portcullis-subject", "forged"));
    exchange.assert_status(200).assert_no_upstream_header("x-portcullis-subject");
    let records = world.records();
    assert_eq!((records.len(), records[0].decision.as_str(), records[0].status), (1, "none", 200));
}

fn a_sidecar_takes_the_forwarded_identity_and_nothing_else() {
    let stages = ["gateway", "authn", "source-type", "cluster-status"];
    for name in stages {
        let mut world = World::new(vec![plugin(name, &sidecar_config("acme-1"))]);
        let forwarded = |token: String| {
            Request::get("/v1")
                .header("x-portcullis-identity", token)
                .header("x-portcullis-source-type", "worker")
        };
        let exchange = world.host.request(forwarded(identity_token("acme-1")));
        exchange.assert_status(200);
        let seen = exchange.assert_forwarded();
        let source: Vec<_> = seen.headers.iter().filter(|(n, _)| *n == b"x-portcullis-source-type").collect();
        assert!(source.iter().all(|(_, v)| *v == b"human"), "{name}: {source:?}");
        assert!(seen.header("x-portcullis-identity").is_some());
        for (request, reason) in [
            (Request::get("/v1"), "identity_missing"),
            (good("acme-1"), "identity_missing"),
            (forwarded(identity_token("acme-2")), "identity_invalid"),
            (forwarded("x.y.z".into()), "identity_invalid"),
            (forwarded(world::token(|_| ())), "identity_invalid"),
        ] {
            let exchange = world.host.request(request);
            exchange.assert_refused(401);
            exchange.assert_response_header("x-portcullis-reason", reason);
        }
        let twice =
            forwarded(identity_token("acme-1")).header("x-portcullis-identity", identity_token("acme-1"));
        world.host.request(twice).assert_refused(400);
    }
}

fn what_a_sidecar_records_has_a_hop_of_its_own_and_names_its_own_cluster() {
    let mut world = World::new(vec![plugin("gateway", &sidecar_config("acme-1"))]);
    for token in [identity_token("acme-1"), identity_token("acme-2")] {
        world.host.request(Request::get("/v1").header("x-portcullis-identity", token));
    }
    world.host.request(Request::get("/v1"));
    let records = world.records();
    let seen: Vec<_> =
        records.iter().map(|r| (r.hop.as_str(), r.cluster.as_str(), r.tenant.as_str())).collect();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|(hop, ..)| *hop == "sidecar"), "{seen:?}");
    assert!(
        seen.iter().all(|(_, cluster, tenant)| {
            ["acme-1", ""].contains(cluster) && ["acme", ""].contains(tenant)
        }),
        "{seen:?}"
    );
}

fn cluster_status_at_a_sidecar_closes_its_own_cluster() {
    let mut world = World::new(vec![plugin("cluster-status", &sidecar_config("acme-1"))]);
    let request = || Request::get("/v1").header("x-portcullis-identity", identity_token("acme-1"));
    world.host.request(request()).assert_status(200);
    world.set_cluster("acme-1", "acme", ClusterState::Suspended);
    world.host.request(request()).assert_refused(403);
    world.set_cluster("acme-1", "globex", ClusterState::Online);
    world.host.request(request()).assert_refused(404);
}

/// Wasm alone: native code has no trap.
#[test]
fn a_trap_refuses_and_the_next_request_is_served_again() {
    use portcullis_testhost::{Callback, Fault};
    let guarded = plugin("gateway", &config()).reloading();
    let mut world = World::new(vec![guarded]);
    world.host.request(good("acme-1")).assert_status(200);
    world.host.inject(Fault::trap().during(Callback::RequestHeaders));
    world.host.request(good("acme-1")).assert_status(503);
    world.host.clear_faults();
    world.host.advance(std::time::Duration::from_secs(2));
    let again = world.host.request(good("acme-1"));
    world.settle();
    again.assert_status(200);
}

/// Wasm alone: faults are injected into calls of the Proxy-Wasm ABI.
#[test]
fn a_host_that_fails_never_opens_the_gate() {
    use portcullis_testhost::{Callback, Fault, Status};
    for call in ["proxy_get_header_map_pairs", "proxy_add_header_map_value", "proxy_remove_header_map_value"]
    {
        let mut world = World::gateway();
        let fault = Fault::status(Status::InternalFailure).on(call).during(Callback::RequestHeaders);
        world.host.inject(fault.always());
        let exchange = world.host.request(good("acme-1").header("x-portcullis-subject", "forged"));
        assert!(exchange.upstream().is_none(), "{call}: {exchange}");
        assert_ne!(exchange.status(), Some(200), "{call}");
    }
}

/// Wasm alone: as above.
#[test]
fn a_response_that_cannot_be_cleaned_is_withheld() {
    use portcullis_testhost::{Callback, Fault, Status};
    for call in ["proxy_get_header_map_pairs", "proxy_remove_header_map_value"] {
        let mut world = World::gateway();
        let fault = Fault::status(Status::InternalFailure).on(call).during(Callback::ResponseHeaders);
        world.host.inject(fault.always());
        let exchange = world.host.request(good("acme-1"));
        assert!(exchange.upstream().is_some(), "{call}: {exchange}");
        exchange.assert_status(503).assert_response_header("x-portcullis-reason", "internal");
        world.host.clear_faults();
        world.settle();
        let record = world.api.records.last().expect("a record");
        assert_eq!((record.decision.as_str(), record.reason.as_str()), ("refuse", "internal"), "{call}");
    }
}
