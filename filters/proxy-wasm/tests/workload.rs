//! The mutual-TLS peer: a fact beside a bearer credential, and a credential where there is no other.

mod world;

use portcullis_protocol::wire::{self, RecordKind};
use portcullis_testhost::{Exchange, Request};
use prost::Message;
use serde_json::{Value, json};

on_both! {
    a_known_peer_is_a_credential_at_the_gateway,
    no_page_of_another_origin_uses_the_certificate_of_a_browser,
    roles_stand_once_whatever_grants_them,
    no_other_peer_is,
    the_peer_is_a_fact_beside_a_token_and_the_cache_tells_peers_apart,
    what_changes_about_a_workload_holds_at_once,
    a_sidecar_takes_the_identity_token_first_and_a_known_peer_without_one,
    a_sidecar_refuses_a_revoked_identity_although_its_token_is_good,
}
use world::{World, config, good, identity_token, plugin, put, sidecar_config, to};

const JOBS: &str = "spiffe://cluster.local/ns/jobs/sa/batch";
const OTHER: &str = "spiffe://cluster.local/ns/jobs/sa/other";

fn edge() -> Value {
    let mut config = config();
    config["workload"] = json!(true);
    config
}

fn sidecar() -> Value {
    let mut config = sidecar_config("acme-1");
    config["workload"] = json!(true);
    config
}

fn world(name: &str, config: &Value) -> World {
    let mut world = World::new(vec![plugin(name, config)]);
    let workloads =
        json!({"workloads": [{"spiffeId": JOBS, "tenant": "acme", "roles": ["writer"], "scopes": ["s"]}]});
    world.change(put(RecordKind::Workloads, b"", workloads.to_string()));
    rules(
        &mut world,
        json!([
            {"name": "jobs", "sourceType": "worker", "when": {"credential": ["workload"], "spiffeId": [JOBS]}},
            {"name": "agents", "sourceType": "mcp_agent", "when": {"credential": ["jwt"], "spiffeId": [OTHER]}},
            {"name": "people", "sourceType": "human", "when": {"clientId": ["web"]}},
        ]),
    );
    world
}

fn rules(world: &mut World, rules: Value) {
    world.change(put(RecordKind::SourceRules, b"", json!({"rules": rules}).to_string()));
}

fn assert_refused(exchange: &Exchange, status: u16, reason: &str) {
    exchange.assert_refused(status);
    exchange.assert_response_header("x-portcullis-reason", reason);
}

fn a_known_peer_is_a_credential_at_the_gateway() {
    let mut world = world("gateway", &edge());
    let exchange = world.host.request(to("acme-1").peer(JOBS));
    exchange
        .assert_status(200)
        .assert_upstream_header("x-portcullis-subject", JOBS)
        .assert_upstream_header("x-portcullis-source-type", "worker")
        .assert_upstream_header("x-portcullis-roles", "writer");
    let header = exchange.assert_forwarded().header("x-portcullis-identity").unwrap().to_owned();
    let caller = world::verifier("acme-1").verify(&header, world::NOW).unwrap();
    assert_eq!((caller.credential.as_str(), caller.subject.as_str()), ("workload", JOBS));
    world.host.request(to("acme-1").peer(JOBS)).assert_status(200);
    assert_refused(&world.host.request(to("globex-1").peer(JOBS)), 404, "cluster_unknown");
    let records = world.records();
    assert_eq!((records[0].credential.as_str(), records[0].subject.as_str()), ("workload", JOBS));
}

/// A browser shows its certificate with whatever a page makes it send, and says where that page comes from.
fn no_page_of_another_origin_uses_the_certificate_of_a_browser() {
    let (own, evil) = ("https://api.platform.test", "https://evil.test");
    let post = || Request::post("/clusters/acme-1/v1").authority("api.platform.test").peer(JOBS);
    let get = || to("acme-1").peer(JOBS);
    let socket = || get().header("upgrade", "websocket");
    for name in ["gateway", "authn"] {
        let mut world = world(name, &edge());
        for refused in [
            post().header("origin", evil),
            post().header("origin", "null"),
            post().header("sec-fetch-site", "cross-site"),
            post().header("sec-fetch-site", "same-site").header("origin", own),
            socket().header("origin", evil),
        ] {
            assert_refused(&world.host.request(refused), 403, "cross_site_refused");
        }
        for good in [
            post(),
            get(),
            socket(),
            post().header("origin", own),
            post().header("sec-fetch-site", "same-origin"),
            get().header("sec-fetch-site", "cross-site"),
        ] {
            world.host.request(good).assert_status(200);
        }
    }
    // What a page could read is asked of the cluster's policy.
    let read = get().header("origin", evil);
    assert_refused(&world("gateway", &edge()).host.request(read), 403, "cross_site_refused");
    let at_sidecar = Request::post("/v1").peer(JOBS).header("origin", evil);
    assert_refused(&world("gateway", &sidecar()).host.request(at_sidecar), 403, "cross_site_refused");
}

fn roles_stand_once_whatever_grants_them() {
    let mut world = world("gateway", &edge());
    let names = ["b", "a", "b", "a"];
    let entry = json!({"spiffeId": JOBS, "tenant": "acme", "roles": names, "scopes": names});
    world.change(put(RecordKind::Workloads, b"", json!({"workloads": [entry]}).to_string()));
    let list = || names.map(str::to_owned).to_vec();
    let key = wire::ApiKey {
        id: "0009".into(),
        tenant: "acme".into(),
        subject: "batch".into(),
        source_type: "worker".into(),
        roles: list(),
        scopes: list(),
        ..wire::ApiKey::default()
    };
    world.change(put(RecordKind::ApiKey, &world::api_key_digest("pck_9"), key.encode_to_vec()));
    let token = world::token(|claims| {
        claims["roles"] = json!(names);
        claims["scope"] = json!("b a b a");
    });
    for request in [
        to("acme-1").peer(JOBS),
        to("acme-1").header("x-api-key", "pck_9"),
        to("acme-1").header("authorization", format!("Bearer {token}")),
    ] {
        let exchange = world.host.request(request);
        exchange.assert_upstream_header("x-portcullis-roles", "b,a");
        exchange.assert_upstream_header("x-portcullis-scopes", "b a");
    }
}

fn no_other_peer_is() {
    let mut world = world("gateway", &edge());
    for (peer, reason) in [
        (OTHER, "workload_unknown"),
        ("spiffe://evil.test/ns/jobs/sa/batch", "workload_unknown"),
        ("spiffe://cluster.local/ns/jobs/sa/batch/", "credential_missing"),
        ("spiffe://cluster.local/ns/jobs/sa/batch,spiffe://cluster.local/ns/x/sa/y", "credential_missing"),
        ("https://cluster.local/ns/jobs/sa/batch", "credential_missing"),
        ("", "credential_missing"),
    ] {
        let exchange = world.host.request(to("acme-1").peer(peer));
        assert_refused(&exchange, 401, reason);
        let challenge = exchange.response().unwrap().header("www-authenticate").unwrap().to_owned();
        assert!(!challenge.contains("error"), "no bearer credential was sent: {challenge}");
    }
    assert_refused(&world.host.request(to("acme-1")), 401, "credential_missing");
    let mut off = self::world("gateway", &config());
    assert_refused(&off.host.request(to("acme-1").peer(JOBS)), 401, "credential_missing");
}

fn the_peer_is_a_fact_beside_a_token_and_the_cache_tells_peers_apart() {
    let mut world = world("gateway", &edge());
    for (peer, source) in
        [(None, "human"), (Some(OTHER), "mcp_agent"), (Some(JOBS), "human"), (None, "human")]
    {
        let request = peer.into_iter().fold(good("acme-1"), |request, peer| request.peer(peer));
        let exchange = world.host.request(request);
        exchange.assert_upstream_header("x-portcullis-source-type", source);
        exchange.assert_upstream_header("x-portcullis-subject", "ann");
    }
    // A bad token is refused, whoever the peer is.
    let bad = to("acme-1").header("authorization", "Bearer x").peer(JOBS);
    assert_refused(&world.host.request(bad), 401, "credential_unsupported");
}

fn what_changes_about_a_workload_holds_at_once() {
    let mut world = world("gateway", &edge());
    let request = || to("acme-1").peer(JOBS);
    world.host.request(request()).assert_status(200);
    world.revoke(&format!("sub:{JOBS}"));
    assert_refused(&world.host.request(request()), 401, "credential_revoked");
    let mut world = self::world("gateway", &edge());
    world.host.request(request()).assert_status(200);
    rules(&mut world, json!([]));
    assert_refused(&world.host.request(request()), 403, "source_type_unknown");
    world.change(put(RecordKind::Workloads, b"", json!({"workloads": []}).to_string()));
    assert_refused(&world.host.request(request()), 401, "workload_unknown");
}

fn a_sidecar_takes_the_identity_token_first_and_a_known_peer_without_one() {
    for name in ["gateway", "source-type"] {
        let mut world = world(name, &sidecar());
        let exchange = world.host.request(Request::get("/v1").peer(JOBS));
        exchange.assert_status(200).assert_upstream_header("x-portcullis-source-type", "worker");
        let forwarded =
            Request::get("/v1").peer(JOBS).header("x-portcullis-identity", identity_token("acme-1"));
        let exchange = world.host.request(forwarded);
        exchange.assert_status(200).assert_upstream_header("x-portcullis-source-type", "human");
        assert_refused(&world.host.request(Request::get("/v1").peer(OTHER)), 401, "workload_unknown");
        assert_refused(&world.host.request(Request::get("/v1")), 401, "identity_missing");
        let forged = Request::get("/v1").peer(JOBS).header("x-portcullis-identity", "a.b.c");
        assert_refused(&world.host.request(forged), 401, "identity_invalid");
        rules(&mut world, json!([]));
        assert_refused(&world.host.request(Request::get("/v1").peer(JOBS)), 403, "source_type_unknown");
    }
}

fn a_sidecar_refuses_a_revoked_identity_although_its_token_is_good() {
    let mut identity = portcullis_identity::testing::identity("ann", "acme");
    let principal = &mut identity.principal;
    principal.session_id = Some("s-1".to_owned());
    principal.key_id = Some("k-1".parse().unwrap());
    principal.client_id = Some("svc-agent".parse().unwrap());
    principal.actors = vec!["svc-agent".parse().unwrap()];
    for name in ["sub:ann", "sid:s-1", "kid:k-1", "client:svc-agent", "sub:svc-agent"] {
        let mut world = world("gateway", &sidecar());
        let request = || {
            let token = world::identity_token_of(&identity, "acme-1");
            Request::get("/v1").header("x-portcullis-identity", token)
        };
        world.host.request(request()).assert_status(200);
        world.revoke("sid:another");
        world.host.request(request()).assert_status(200);
        world.revoke(name);
        assert_refused(&world.host.request(request()), 401, "credential_revoked");
    }
}
