//! The `gateway` plugin at the edge: who is let through, what goes upstream, what is refused and how.

mod world;

use std::time::Duration;

use portcullis_model::decision::ClusterState;
use portcullis_testhost::{Answer, Exchange, Request};
use serde_json::{Value, json};

on_both! {
    a_method_that_sends_back_what_it_got_never_goes_upstream,
    a_person_an_agent_and_a_worker_get_through,
    forged_headers_have_no_effect_in_either_direction,
    a_request_that_nobody_answers_is_refused_with_the_reason,
    credentials_are_refused_with_their_reason,
    two_credentials_are_refused,
    a_cluster_is_reached_only_by_its_tenant_and_only_online,
    selectors_must_agree,
    a_suspended_cluster_is_closed_at_once_and_opened_again,
    a_revoked_subject_is_refused_although_it_was_cached,
    a_cached_identity_ends_with_its_token,
    a_request_waits_for_the_first_snapshot_but_not_for_long,
    what_is_known_is_enforced_until_it_is_stale,
    a_snapshot_that_another_key_signed_is_not_taken,
    odd_headers_do_no_harm,
    a_refusal_speaks_the_clients_protocol,
    a_preflight_is_never_forwarded,
    a_bad_configuration_refuses_everything_and_says_why,
    dry_run_decides_but_lets_everything_on_without_an_identity,
}
use world::{API_KEY, NOW, World, config, good, plugin, sign, to, token, verifier};

fn assert_refused(exchange: &Exchange, status: u16, reason: &str) {
    let seen = exchange.assert_refused(status);
    exchange.assert_response_header("x-portcullis-reason", reason);
    let problem: Value = serde_json::from_str(&seen.text()).expect("problem details");
    assert_eq!((problem["status"].as_u64(), problem["reason"].as_str()), (Some(status.into()), Some(reason)));
    assert_eq!(seen.header("www-authenticate").is_some(), status == 401, "{seen:?}");
    assert_eq!(seen.header("retry-after").is_some(), status == 503, "{seen:?}");
}

fn a_method_that_sends_back_what_it_got_never_goes_upstream() {
    let mut config = config();
    config["platformPaths"] = json!(true);
    let bearer = format!("Bearer {}", token(|_| ()));
    let chain = ["authn", "source-type", "cluster-status", "audit"];
    for plugins in [vec!["gateway"], chain.to_vec()] {
        let mut world = World::new(plugins.iter().map(|name| plugin(name, &config)).collect());
        let methods = ["TRACE", "TRACK", "DEBUG", "CONNECT", "trace", "Track"];
        for method in methods {
            for path in ["/clusters/acme-1/v1", "/v1/identity/jwks"] {
                let request = Request::new(method, path).authority("api.platform.test");
                let exchange = world.host.request(request.header("authorization", &bearer));
                assert_refused(&exchange, 501, "method_refused");
            }
        }
        for method in ["GET", "PUT", "PATCH", "PROPFIND", "TRACES"] {
            let request = Request::new(method, "/clusters/acme-1/v1").authority("api.platform.test");
            world.host.request(request.header("authorization", &bearer)).assert_status(200);
        }
        let records = world.records();
        let refused: Vec<_> = records.iter().filter(|r| r.reason == "method_refused").collect();
        assert_eq!(refused.len(), 2 * methods.len());
        assert!(refused.iter().all(|r| r.decision == "refuse" && r.status == 501 && r.subject.is_empty()));
    }
}

fn a_person_an_agent_and_a_worker_get_through() {
    let mut world = World::gateway();
    let agent = token(|c| c["act"] = json!({"sub": "agent-7"}));
    for (name, value, subject, source) in [
        ("authorization", format!("Bearer {}", token(|_| ())), "ann", "human"),
        ("authorization", format!("Bearer {agent}"), "ann", "mcp_agent"),
        ("x-api-key", API_KEY.to_owned(), "batch", "worker"),
        ("authorization", format!("Bearer {API_KEY}"), "batch", "worker"),
    ] {
        let exchange = world.host.request(to("acme-1").header(name, value));
        let seen = exchange
            .assert_upstream_header("x-portcullis-cluster", "acme-1")
            .assert_upstream_header("x-portcullis-subject", subject)
            .assert_upstream_header("x-portcullis-tenant", "acme")
            .assert_upstream_header("x-portcullis-source-type", source)
            .assert_no_upstream_header("authorization")
            .assert_no_upstream_header("x-api-key")
            .assert_forwarded();
        let header = seen.header("x-portcullis-identity").unwrap().to_owned();
        let caller = verifier("acme-1").verify(&header, NOW).unwrap();
        assert_eq!((caller.subject.as_str(), caller.source_type.as_str()), (subject, source));
        assert_eq!(caller.actors.len(), usize::from(source == "mcp_agent"));
        assert!(verifier("acme-2").verify(&header, NOW).is_err());
        exchange.assert_status(200);
    }
}

fn forged_headers_have_no_effect_in_either_direction() {
    let mut world = World::gateway();
    let mut request = good("acme-1");
    for name in [
        "x-portcullis-identity",
        "X-Portcullis-Subject",
        "x_portcullis_tenant",
        "x-portcullis-cluster",
        "x-portcullis-source-type",
        "x-portcullis-anything",
    ] {
        request = request.header(name, "forged");
    }
    let exchange = world.host.request(request);
    let seen = exchange.assert_forwarded();
    assert!(!seen.headers.iter().any(|(_, value)| value == b"forged"), "{seen:?}");
    exchange.assert_upstream_header("x-portcullis-subject", "ann").assert_response_header("x-kept", "yes");
    assert!(exchange.response().unwrap().header("x-portcullis-reason").is_none());
}

/// Envoy's own answer has no reason, and a proxy further on can tell of one only by a header of ours.
fn a_request_that_nobody_answers_is_refused_with_the_reason() {
    let told =
        Answer::status(503).header("x-portcullis-reason", "cluster_unreachable").body("no healthy upstream");
    let chain = ["authn", "source-type", "cluster-status", "audit"];
    for plugins in [vec!["gateway"], chain.to_vec()] {
        let mut world = World::new(plugins.iter().map(|name| plugin(name, &config())).collect());
        for answer in [Answer::reset(), told.clone()] {
            world.host.set_upstream(answer);
            let exchange = world.host.request(good("acme-1"));
            exchange.assert_status(503).assert_response_header("x-portcullis-reason", "cluster_unreachable");
            exchange.assert_response_header("retry-after", "10");
            let problem: Value = serde_json::from_str(&exchange.response().unwrap().text()).unwrap();
            assert_eq!(problem["reason"], "cluster_unreachable");
        }
        let grpc = good("acme-1").header("content-type", "application/grpc");
        let exchange = world.host.request(grpc);
        exchange.assert_status(200).assert_response_header("grpc-status", "14");
        exchange.assert_response_header("x-portcullis-reason", "cluster_unreachable");
        // What a Data API answers by itself is its own.
        world.host.set_upstream(Answer::status(503).header("x-portcullis-reason", "forged").body("busy"));
        let busy = world.host.request(good("acme-1"));
        assert_eq!(busy.assert_status(503).response().unwrap().text(), "busy");
        // One that has served a request cannot have it on record as one that never came.
        world
            .host
            .set_upstream(Answer::ok().header("x-portcullis-reason", "cluster_unreachable").body("done"));
        assert_eq!(world.host.request(good("acme-1")).assert_status(200).response().unwrap().text(), "done");
        let records = world.records();
        let rows: Vec<_> = records
            .iter()
            .map(|r| (r.decision.as_str(), r.stage.as_str(), r.reason.as_str(), r.subject.as_str()))
            .collect();
        let ended = ("end", "cluster-status", "cluster_unreachable", "ann");
        let allowed = ("allow", "", "", "ann");
        assert_eq!(rows, [ended, ended, ended, allowed, allowed], "{plugins:?}");
    }
}

fn credentials_are_refused_with_their_reason() {
    let mut world = World::gateway();
    let bearer = |t: String| ("authorization", format!("Bearer {t}"));
    let mut wrong_signature = token(|_| ());
    let end = wrong_signature.split_off(wrong_signature.len() - 6);
    wrong_signature.push_str(if end == "AAAAAA" { "BBBBBB" } else { "AAAAAA" });
    for ((name, value), status, reason) in [
        (("x-nothing", String::new()), 401, "credential_missing"),
        (bearer(token(|c| c["exp"] = json!(NOW - 600))), 401, "token_expired"),
        (bearer(token(|c| c["nbf"] = json!(NOW + 600))), 401, "token_not_yet_valid"),
        (bearer(token(|c| c["aud"] = json!("other"))), 401, "audience_mismatch"),
        (bearer(token(|c| c["iss"] = json!("https://other"))), 401, "issuer_unknown"),
        (bearer(token(|c| c["tenant"] = Value::Null)), 401, "claim_invalid"),
        (bearer(wrong_signature), 401, "signature_invalid"),
        (
            bearer(sign(json!({"alg": "EdDSA", "kid": "i2"}), &json!({"iss": world::ISSUER}))),
            401,
            "key_unknown",
        ),
        (bearer(sign(json!({"alg": "none"}), &json!({"iss": world::ISSUER}))), 401, "algorithm_not_allowed"),
        (bearer(world::identity_token("acme-1")), 401, "credential_unsupported"),
        (bearer("opaque".into()), 401, "credential_unsupported"),
        (bearer("a.b.c".into()), 401, "credential_malformed"),
        (("authorization", "Basic dTpw".into()), 401, "credential_unsupported"),
        (("authorization", format!("Bearer {}", "a".repeat(9000))), 401, "credential_too_large"),
        (("x-api-key", "pck_0001_wrong".into()), 401, "api_key_unknown"),
        (bearer(token(|c| c["client_id"] = json!("unheard-of"))), 403, "source_type_unknown"),
    ] {
        let exchange = world.host.request(to("acme-1").header(name, &value));
        if exchange.is_paused() {
            assert_eq!(reason, "key_unknown", "only a key may still come");
            world.host.advance(Duration::from_millis(1_100));
        }
        assert_refused(&exchange, status, reason);
    }
}

fn two_credentials_are_refused() {
    let mut world = World::gateway();
    let joined = format!("Bearer {0},Bearer {0}", token(|_| ()));
    for request in [
        good("acme-1").header("x-api-key", API_KEY),
        good("acme-1").header("authorization", format!("Bearer {}", token(|_| ()))),
        to("acme-1").header("authorization", joined),
        to("acme-1").header("x-api-key", API_KEY).header("x-api-key", API_KEY),
    ] {
        assert_refused(&world.host.request(request), 400, "credential_ambiguous");
    }
}

fn a_cluster_is_reached_only_by_its_tenant_and_only_online() {
    let mut world = World::gateway();
    for (cluster, status, reason) in [
        ("globex-1", 404, "cluster_unknown"),
        ("nowhere", 404, "cluster_unknown"),
        ("acme-pending", 503, "cluster_pending"),
        ("acme-offline", 503, "cluster_offline"),
        ("acme-suspended", 403, "cluster_suspended"),
        ("acme-retired", 410, "cluster_retired"),
    ] {
        assert_refused(&world.host.request(good(cluster)), status, reason);
    }
    world.host.request(good("acme-degraded")).assert_status(200);
}

fn selectors_must_agree() {
    let mut world = World::gateway();
    let by_host = |host: &str, path: &str| {
        Request::get(path).authority(host).header("authorization", format!("Bearer {}", token(|_| ())))
    };
    world.host.request(by_host("acme-1.clusters.platform.test", "/v1")).assert_status(200);
    world
        .host
        .request(by_host("api.platform.test", "/v1").header("x-target-cluster", "acme-1"))
        .assert_status(200);
    for request in [
        by_host("acme-1.clusters.platform.test", "/clusters/acme-degraded/"),
        good("acme-1").header("x-target-cluster", "acme-degraded"),
    ] {
        assert_refused(&world.host.request(request), 400, "cluster_ambiguous");
    }
    assert_refused(&world.host.request(by_host("api.platform.test", "/")), 400, "cluster_missing");
    let twice = good("acme-1").header("x-target-cluster", "acme-1").header("x-target-cluster", "acme-1");
    assert_refused(&world.host.request(twice), 400, "header_invalid");
    // Two Host headers, as Envoy joins them: the second must not hide what the first one names.
    let hosts =
        by_host("acme-degraded.clusters.platform.test,other", "/").header("x-target-cluster", "acme-1");
    assert_refused(&world.host.request(hosts), 400, "header_invalid");
}

fn a_suspended_cluster_is_closed_at_once_and_opened_again() {
    let mut world = World::gateway();
    world.host.request(good("acme-1")).assert_status(200);
    world.set_cluster("acme-1", "acme", ClusterState::Suspended);
    assert_refused(&world.host.request(good("acme-1")), 403, "cluster_suspended");
    world.settle();
    world.set_cluster("acme-1", "acme", ClusterState::Online);
    world.host.request(good("acme-1")).assert_status(200);
    world.set_cluster("acme-1", "globex", ClusterState::Online);
    assert_refused(&world.host.request(good("acme-1")), 404, "cluster_unknown");
}

fn a_revoked_subject_is_refused_although_it_was_cached() {
    let mut world = World::gateway();
    world.host.request(good("acme-1")).assert_status(200);
    world.revoke("sub:ann");
    assert_refused(&world.host.request(good("acme-1")), 401, "credential_revoked");
}

fn a_cached_identity_ends_with_its_token() {
    let mut world = World::gateway();
    let request =
        || to("acme-1").header("authorization", format!("Bearer {}", token(|c| c["exp"] = json!(NOW + 40))));
    world.host.request(request()).assert_status(200);
    for _ in 0..12 {
        world.host.advance(Duration::from_secs(6));
        world.answer_all();
    }
    assert_refused(&world.host.request(request()), 401, "token_expired");
}

fn a_request_waits_for_the_first_snapshot_but_not_for_long() {
    let mut world = World::cold(vec![plugin("gateway", &config())]);
    let waits = world.host.request(good("acme-1"));
    waits.assert_paused();
    world.host.advance(Duration::from_millis(300));
    waits.assert_paused();
    world.answer_all();
    world.settle();
    waits.assert_status(200);

    let mut world = World::cold(vec![plugin("gateway", &config())]);
    let waits = world.host.request(good("acme-1"));
    world.host.advance(Duration::from_millis(1100));
    assert_refused(&waits, 503, "snapshot_missing");
    world.host.request(Request::get("/-/portcullis/ready")).assert_status(503);
    world.answer_all();
    world.settle();
    world.host.request(Request::get("/-/portcullis/ready")).assert_status(200);
    world.host.request(good("acme-1")).assert_status(200);
}

fn what_is_known_is_enforced_until_it_is_stale() {
    let mut config = config();
    config["snapshot"]["staleAfterSeconds"] = json!(10);
    let mut world = World::new(vec![plugin("gateway", &config)]);
    world.host.advance(Duration::from_secs(9));
    world.host.request(good("acme-1")).assert_status(200);
    assert_refused(&world.host.request(good("acme-suspended")), 403, "cluster_suspended");
    world.host.advance(Duration::from_secs(2));
    assert_refused(&world.host.request(good("acme-1")), 503, "snapshot_stale");
    world.host.request(Request::get("/-/portcullis/ready")).assert_status(503);
}

fn a_snapshot_that_another_key_signed_is_not_taken() {
    let mut world = World::cold(vec![plugin("gateway", &config())]);
    world.api.signing_seed = [77; 32];
    world.host.advance(Duration::from_millis(100));
    world.answer_all();
    world.host.advance(Duration::from_millis(1200));
    world.host.assert_logged("not signed by the configured key");
    let refused = world.host.request(good("acme-1"));
    world.host.advance(Duration::from_millis(1200));
    assert_refused(&refused, 503, "snapshot_missing");
}

fn odd_headers_do_no_harm() {
    let mut world = World::gateway();
    let odd = good("acme-1")
        .header("x-raw", [0xff, 0xfe])
        .header("x-raw", [0x80])
        .header("x-long", vec![b'a'; 60_000]);
    world.host.request(odd).assert_status(200);
    let bad = to("acme-1").header("authorization", [b"Bearer ".as_slice(), &[0xff, 0x80]].concat());
    assert_refused(&world.host.request(bad), 401, "credential_malformed");
    let bad = good("acme-1").header("x-target-cluster", [0xff]);
    assert_refused(&world.host.request(bad), 400, "cluster_ambiguous");
}

fn a_refusal_speaks_the_clients_protocol() {
    let mut world = World::gateway();
    let grpc = Request::post("/svc/Call").header("content-type", "application/grpc").header("te", "trailers");
    let exchange = world.host.request(grpc);
    exchange.assert_status(200).assert_response_header("grpc-status", "16");
    let mcp = Request::post("/clusters/acme-1/mcp").header("mcp-protocol-version", "2025-06-18");
    let seen = world.host.request(mcp).assert_refused(401);
    let body: Value = serde_json::from_str(&seen.text()).unwrap();
    assert_eq!(
        (&body["jsonrpc"], &body["error"]["data"]["reason"]),
        (&json!("2.0"), &json!("credential_missing"))
    );
}

fn a_preflight_is_never_forwarded() {
    let mut world = World::gateway();
    let preflight = Request::new("OPTIONS", "/clusters/acme-1/")
        .header("origin", "https://evil.test")
        .header("access-control-request-method", "PUT");
    assert_refused(&world.host.request(preflight), 403, "preflight_refused");
}

fn a_bad_configuration_refuses_everything_and_says_why() {
    for (bad, said) in [
        (json!({"role": "edge"}), "pluginConfig.domain: is required"),
        (json!({"role": "edge", "tokn": 1}), "pluginConfig.tokn: there is no such field"),
    ] {
        let mut world = World::cold(vec![plugin("gateway", &bad)]);
        world.host.assert_logged(said);
        assert_refused(&world.host.request(good("acme-1")), 503, "misconfigured");
        assert_refused(&world.host.request(Request::get("/-/portcullis/ready")), 503, "misconfigured");
    }
    let mut world = World::cold(vec![plugin("gateway", &config()).without_token()]);
    world.host.assert_logged("PORTCULLIS_MESH_TOKEN is not set");
    assert_refused(&world.host.request(good("acme-1")), 503, "misconfigured");
}

fn dry_run_decides_but_lets_everything_on_without_an_identity() {
    let mut config = config();
    config["mode"] = json!("dry-run");
    let mut world = World::new(vec![plugin("gateway", &config)]);
    let exchange = world.host.request(to("acme-1").header("x-portcullis-subject", "forged"));
    exchange.assert_status(200).assert_no_upstream_header("x-portcullis-subject");
    let records = world.records();
    assert_eq!((records[0].decision.as_str(), records[0].mode.as_str()), ("refuse", "dry-run"));
}
