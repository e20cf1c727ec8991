//! Every request leaves a record, and no record is lost unnoticed.

mod world;

use std::time::Duration;

use portcullis_testhost::{Answer, Request};
use serde_json::json;
use world::{Target, UPSTREAM, World, config, good, plugin, to};

on_both! {
    every_request_leaves_a_record_refusals_included,
    no_secret_is_recorded,
    a_secret_that_a_client_wrote_into_the_path_is_blotted_out,
    a_tunnel_that_was_asked_for_is_recorded_with_its_target,
    records_are_kept_until_they_are_acknowledged,
    when_no_record_can_be_kept_requests_are_refused,
    other_limits_of_a_shared_journal_are_told,
    an_outage_of_the_control_service_is_told_when_it_begins_and_when_it_ends,
}

fn every_request_leaves_a_record_refusals_included() {
    let mut world = World::gateway();
    world
        .host
        .request(good("acme-1").header("x-request-id", "r-1").property("source.address", "192.0.2.7:555"));
    world.host.request(to("acme-1").header("x-request-id", "r-2"));
    world.host.request(good("globex-1"));
    world.host.request(Request::get("/clusters/acme-1/").refused_before_plugins(403));
    let records = world.records();
    let told: Vec<_> = records
        .iter()
        .map(|r| {
            (
                r.sequence,
                r.decision.as_str(),
                r.stage.as_str(),
                r.reason.as_str(),
                r.status,
                r.subject.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "allow", "", "", 200, "ann"),
            (2, "refuse", "authn", "credential_missing", 401, ""),
            (3, "refuse", "cluster-status", "cluster_unknown", 404, "ann"),
            (4, "none", "", "", 403, ""),
        ]
    );
    let first = &records[0];
    assert_eq!(
        (first.request_id.as_str(), first.cluster.as_str(), first.tenant.as_str()),
        ("r-1", "acme-1", "acme")
    );
    assert_eq!((first.method.as_str(), first.path.as_str()), ("GET", "/clusters/acme-1/v1/items"));
    assert_eq!(
        (first.source_type.as_str(), first.credential.as_str(), first.key_id.as_str()),
        ("human", "jwt", "i1")
    );
    assert_eq!(
        (first.proxy.as_str(), first.client_address.as_str(), first.hop.as_str()),
        ("gw-1", "192.0.2.7:555", "gateway")
    );
    assert!(records.iter().all(|r| r.stream == first.stream && r.stream.len() == 16));
}

fn no_secret_is_recorded() {
    let mut world = World::gateway();
    world.host.request(good("acme-1"));
    world.host.request(to("acme-1").header("x-api-key", world::API_KEY));
    let told = format!("{:?} {:?}", world.records(), world.host.logs());
    for secret in ["secret", "mesh-token", "eyJ"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

fn a_secret_that_a_client_wrote_into_the_path_is_blotted_out() {
    let mut world = World::gateway();
    for secret in [["pck_", &"01ab".repeat(20)].concat(), world::token(|_| ())] {
        let request = Request::get(&format!("/v1/{secret}/x")).authority("acme-1.data.platform.test");
        world.host.request(request).assert_status(401);
    }
    let paths: Vec<_> = world.records().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/v1/[secret]/x", "/v1/[secret]/x"]);
}

fn a_tunnel_that_was_asked_for_is_recorded_with_its_target() {
    let mut world = World::gateway();
    let pairs = [(&b":method"[..], &b"CONNECT"[..]), (b":authority", b"db.internal:5432")];
    world.host.request(Request::exact(pairs)).assert_status(501);
    assert_eq!(world.records()[0].path, "db.internal:5432");
}

fn records_are_kept_until_they_are_acknowledged() {
    let mut world = World::gateway();
    world.api.acknowledge = false;
    for _ in 0..5 {
        world.host.request(good("acme-1")).assert_status(200);
    }
    assert_eq!(world.records().len(), 0);
    world.api.acknowledge = true;
    for _ in 0..5 {
        world.host.advance(Duration::from_secs(1));
        world.answer_all();
    }
    let numbers: Vec<_> = world.records().iter().map(|r| r.sequence).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

fn when_no_record_can_be_kept_requests_are_refused() {
    let mut config = config();
    config["audit"] = json!({"maxWaiting": 3});
    let mut world = World::new(vec![plugin("gateway", &config)]);
    world.api.acknowledge = false;
    for _ in 0..3 {
        world.host.request(good("acme-1")).assert_status(200);
    }
    let refused = world.host.request(good("acme-1"));
    refused.assert_refused(503);
    refused.assert_response_header("x-portcullis-reason", "audit_backlog");
    world.api.acknowledge = true;
    for _ in 0..10 {
        world.host.advance(Duration::from_secs(1));
        world.answer_all();
    }
    world.host.request(good("acme-1")).assert_status(200);
    assert_eq!(world.records().len(), 5);
}

fn an_outage_of_the_control_service_is_told_when_it_begins_and_when_it_ends() {
    let mut world = World::gateway();
    world.host.request(good("acme-1")).assert_status(200);
    let fail_for = |world: &mut World, seconds: u32| {
        for _ in 0..seconds {
            world.host.advance(Duration::from_secs(1));
            for call in world.host.pending_calls(UPSTREAM) {
                world.host.answer(call.id, Answer::status(503));
            }
        }
    };
    fail_for(&mut world, 3);
    let count = |world: &World, text: &str| {
        world.host.logs().iter().filter(|line| line.to_string().contains(text)).count()
    };
    let told = |world: &World| {
        ["snapshot poll of", "were not acknowledged (status 503)", "are acknowledged after"]
            .map(|text| count(world, text))
    };
    // Each VM polls for itself.
    let polls = told(&world)[0];
    assert!((1..=2).contains(&polls), "{polls}");
    fail_for(&mut world, 30);
    assert_eq!(told(&world), [polls, 1, 0]);
    for _ in 0..6 {
        world.host.advance(Duration::from_secs(1));
        world.answer_all();
    }
    world.revoke("jti:somebody-else's");
    assert_eq!(told(&world), [2 * polls, 1, 1], "the poll says that it is good again");
    assert_eq!(world.records().len(), 1);
}

/// Wasm alone: native code has no trap, and a panic there takes nothing away.
#[test]
fn a_trap_loses_no_record_that_was_written() {
    use portcullis_testhost::{Callback, Fault};
    let mut world = World::new(vec![plugin("gateway", &config()).reloading()]);
    world.settle();
    for _ in 0..30 {
        world.host.advance(Duration::from_millis(50));
        world.answer_all();
    }
    world.api.acknowledge = false;
    for n in 0..3 {
        world.host.request(good("acme-1").header("x-request-id", format!("r-{n}"))).assert_status(200);
    }
    world.host.inject(Fault::trap().during(Callback::RequestHeaders));
    world.host.request(good("acme-1")).assert_status(503);
    world.host.clear_faults();
    world.api.acknowledge = true;
    world.host.advance(Duration::from_secs(2));
    let again = world.host.request(good("acme-1").header("x-request-id", "r-after"));
    world.settle();
    again.assert_status(200);
    for _ in 0..20 {
        world.host.advance(Duration::from_millis(500));
        world.answer_all();
    }
    let told: Vec<_> = world.records().iter().map(|r| r.request_id.clone()).collect();
    for id in ["r-0", "r-1", "r-2", "r-after"] {
        assert_eq!(told.iter().filter(|t| *t == id).count(), 1, "{id} in {told:?}");
    }
}

/// A gateway with a record that was not delivered, whose configuration is replaced by one of another source.
fn replaced() -> World {
    let mut world = World::gateway();
    world.api.acknowledge = false;
    world.host.request(good("acme-1").header("x-request-id", "before")).assert_status(200);
    let mut other = config();
    other["snapshot"]["pollSeconds"] = serde_json::json!(20);
    let filter = plugin("gateway", &other).native(&world::process());
    world.host.replace_native(0, Box::new(filter)).expect("it is accepted");
    world.settle();
    world.settle();
    world
}

/// Native alone: the journal of a Wasm VM outlives its plugins in the proxy's shared data.
#[test]
fn what_a_configuration_that_is_gone_did_not_deliver_is_delivered_by_the_next() {
    world::on(Target::Native, || {
        let mut world = replaced();
        assert!(world.api.records.is_empty(), "nothing was taken yet");
        world.api.acknowledge = true;
        world.host.request(good("acme-1").header("x-request-id", "after")).assert_status(200);
        for _ in 0..10 {
            world.host.advance(Duration::from_secs(1));
            world.answer_all();
        }
        let mut told: Vec<_> = world.records().iter().map(|r| r.request_id.clone()).collect();
        told.sort();
        assert_eq!(told, ["after", "before"]);
    });
}

#[test]
fn what_cannot_be_delivered_for_a_configuration_that_is_gone_is_given_up_and_counted() {
    world::on(Target::Native, || {
        let mut world = replaced();
        for _ in 0..130 {
            world.host.advance(Duration::from_secs(5));
            world.answer_all();
        }
        world.host.assert_logged(
            "1 audit records of a configuration that is gone could not be delivered for 600 s",
        );
        world.settle();
        assert_eq!(world.host.metrics().counter("portcullis_filter_journal_dropped_total"), 1);
    });
}

fn other_limits_of_a_shared_journal_are_told() {
    let mut other = config();
    other["audit"] = serde_json::json!({"maxWaiting": 100});
    let mut world = World::new(vec![plugin("authn", &config()), plugin("audit", &other)]);
    world.settle();
    world.host.assert_logged("pluginConfig.audit: maxWaiting 100 and batch 500 do not hold");
    world.host.assert_logged("that has maxWaiting 20000 and batch 500");
}
