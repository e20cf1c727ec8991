//! Streams that stay open are decided again: what they stand on changes, and they end; what does not concern
//! them leaves them alone.

mod world;

use std::time::Duration;

use portcullis_model::decision::ClusterState;
use portcullis_protocol::wire::{self, AuditRecord, RecordKind};
use portcullis_testhost::{Answer, Exchange, Request};
use serde_json::{Value, json};
use world::{
    API_KEY, ISSUER, NOW, World, api_key_digest, config, good, identity_token, issuer_document, plugin, put,
    sidecar_config, to, token,
};

on_both! {
    an_opaque_token_ends_its_stream_with_its_own_end,
    an_opaque_token_is_asked_about_when_its_provider_changes,
    many_streams_of_one_opaque_token_share_the_answers,
    tokens_of_open_streams_are_bounded,
    a_web_socket_over_http2_is_a_stream_like_any_other,
    a_key_that_takes_anothers_place_ends_its_streams,
    a_stream_ends_when_what_it_stands_on_changes,
    what_does_not_concern_a_stream_leaves_it_alone,
    a_stream_ends_with_its_token,
    a_short_request_leaves_one_record,
    a_request_that_waits_for_its_answer_is_refused_and_not_cut,
    a_stream_of_a_sidecar_outlives_the_identity_token_and_not_a_revocation,
    with_a_stale_snapshot_streams_end_after_the_grace,
    in_dry_run_the_end_is_told_and_does_not_come,
    an_event_stream_is_on_record_at_once,
    an_opaque_token_is_asked_about_again_while_its_stream_is_open,
    a_jwt_that_is_asked_about_is_asked_about_again_while_its_stream_is_open,
}

/// A world whose upstream begins to answer and never ends.
fn streaming(config: &Value) -> World {
    let plugins = vec![plugin("gateway", config)];
    let mut world = World::with(plugins, |builder| builder.without_route_timeout());
    world
        .host
        .set_upstream(Answer::ok().header("content-type", "text/event-stream").body("data: 1\n\n").stall());
    world
}

fn gateway() -> World {
    streaming(&config())
}

/// Opens a stream, and lets a second pass.
fn open(world: &mut World, request: Request) -> Exchange {
    let exchange = world.host.request(request);
    for _ in 0..4 {
        world.settle();
    }
    exchange.assert_status(200);
    assert!(!exchange.is_over(), "{exchange}");
    exchange
}

/// A second, in which what was changed is known and carried out.
fn second(world: &mut World) {
    for _ in 0..4 {
        world.settle();
    }
}

fn of(records: &[AuditRecord]) -> Vec<(String, String, String, u32)> {
    let row = |r: &AuditRecord| (r.decision.clone(), r.stage.clone(), r.reason.clone(), r.status);
    records.iter().map(row).collect()
}

fn row(decision: &str, stage: &str, reason: &str) -> (String, String, String, u32) {
    (decision.to_owned(), stage.to_owned(), reason.to_owned(), 200)
}

/// What changes, who is concerned, and with which stage and reason that stream ends.
type Case = (&'static str, fn() -> Request, fn(&mut World), &'static str, &'static str);

fn agent() -> Request {
    to("acme-1").header("authorization", format!("Bearer {}", token(|c| c["sid"] = json!("s-1"))))
}

fn key() -> Request {
    to("acme-1").header("x-api-key", API_KEY)
}

fn issuer_with(change: impl FnOnce(&mut Value)) -> wire::Record {
    let mut document: Value = serde_json::from_slice(&issuer_document().value).unwrap();
    change(&mut document);
    put(RecordKind::Issuer, ISSUER.as_bytes(), document.to_string())
}

fn rules(source_type: &str) -> wire::Record {
    let rules = json!({"rules": [{"name": "all", "sourceType": source_type, "when": {"clientId": ["web"]}}]});
    put(RecordKind::SourceRules, b"", rules.to_string())
}

fn removed(kind: RecordKind, key: &[u8]) -> wire::Record {
    wire::Record { removed: true, ..put(kind, key, vec![]) }
}

const CASES: &[Case] = &[
    (
        "suspend",
        agent,
        |w| w.set_cluster("acme-1", "acme", ClusterState::Suspended),
        "cluster-status",
        "cluster_suspended",
    ),
    (
        "retire",
        agent,
        |w| w.set_cluster("acme-1", "acme", ClusterState::Retired),
        "cluster-status",
        "cluster_retired",
    ),
    (
        "tenancy",
        agent,
        |w| w.set_cluster("acme-1", "globex", ClusterState::Online),
        "cluster-status",
        "cluster_unknown",
    ),
    (
        "removal",
        agent,
        |w| w.change(removed(RecordKind::Cluster, b"acme-1")),
        "cluster-status",
        "cluster_unknown",
    ),
    (
        "an issuer whose tokens are asked about from now on",
        agent,
        |w| {
            with_provider(w, 10, NOW + 600);
            w.change(issuer_with(|d| d["introspection"] = json!("as")));
        },
        "authn",
        "identity_changed",
    ),
    ("session", agent, |w| w.revoke("sid:s-1"), "authn", "credential_revoked"),
    ("subject", agent, |w| w.revoke("sub:ann"), "authn", "credential_revoked"),
    ("signing key", agent, |w| w.revoke("kid:i1"), "authn", "credential_revoked"),
    ("API key", key, |w| w.revoke("kid:0001"), "authn", "credential_revoked"),
    (
        "API key gone",
        key,
        |w| w.change(removed(RecordKind::ApiKey, &api_key_digest(API_KEY))),
        "authn",
        "api_key_unknown",
    ),
    (
        "issuer gone",
        agent,
        |w| w.change(removed(RecordKind::Issuer, ISSUER.as_bytes())),
        "authn",
        "issuer_unknown",
    ),
    (
        "key withdrawn",
        agent,
        |w| w.change(issuer_with(|d| d["jwks"]["keys"] = json!([]))),
        "authn",
        "key_unknown",
    ),
    (
        "audience",
        agent,
        |w| w.change(issuer_with(|d| d["audiences"] = json!(["other"]))),
        "authn",
        "audience_mismatch",
    ),
    (
        "roles",
        agent,
        |w| w.change(issuer_with(|d| d["claims"] = json!({"roles": ["groups"]}))),
        "authn",
        "identity_changed",
    ),
    ("source rules", agent, |w| w.change(rules("worker")), "authn", "identity_changed"),
    (
        "no rule",
        agent,
        |w| w.change(put(RecordKind::SourceRules, b"", r#"{"rules": []}"#)),
        "authn",
        "source_type_unknown",
    ),
];

fn a_stream_ends_when_what_it_stands_on_changes() {
    for (name, request, change, stage, reason) in CASES {
        println!("{name}");
        let mut world = gateway();
        let exchange = open(&mut world, request());
        change(&mut world);
        second(&mut world);
        assert!(exchange.is_over(), "{name}: {exchange}");
        let records = world.records();
        assert_eq!(of(&records), [row("open", "", ""), row("end", stage, reason)], "{name}");
        let [opened, ended] = &records[..] else { unreachable!() };
        assert_eq!((&opened.request_id, &opened.subject), (&ended.request_id, &ended.subject), "{name}");
        assert!(ended.duration_us >= 1_000_000 && ended.response_bytes == 9, "{name}: {ended:?}");
        world.host.assert_no_misuse();
    }
}

fn what_does_not_concern_a_stream_leaves_it_alone() {
    let mut world = gateway();
    let exchange = open(&mut world, agent());
    world.set_cluster("acme-offline", "acme", ClusterState::Suspended);
    world.set_cluster("acme-1", "acme", ClusterState::Degraded);
    world.set_cluster("acme-1", "acme", ClusterState::Offline);
    world.revoke("sub:bob");
    world.revoke("kid:0001");
    world.change(rules("human"));
    // A key that comes beside the one that was used, and a longer list of audiences.
    world.change(issuer_with(|d| d["audiences"] = json!(["portcullis", "other"])));
    second(&mut world);
    assert!(!exchange.is_over(), "{exchange}");
    assert_eq!(of(&world.records()), [row("open", "", "")]);
    world.host.disconnect(&exchange);
    assert_eq!(of(&world.records())[1], row("allow", "", ""), "it ended by itself");
}

fn a_stream_ends_with_its_token() {
    let mut world = gateway();
    let short = token(|claims| claims["exp"] = json!(NOW + 20));
    let ends = open(&mut world, to("acme-1").header("authorization", format!("Bearer {short}")));
    let lasts = open(&mut world, good("acme-1"));
    // The leeway of an issuer belongs to a token's time.
    let now_s = |world: &World| NOW + world.host.elapsed().as_secs();
    while !ends.is_over() && now_s(&world) < NOW + 120 {
        world.settle();
    }
    let ended = now_s(&world);
    let leeway = u64::from(portcullis_model::policy::MAX_LEEWAY_SECONDS);
    assert!((NOW + 20..=NOW + 21 + leeway).contains(&ended), "{} s after its end", ended - NOW - 20);
    assert!(!lasts.is_over());
    assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", "token_expired")));
}

fn a_short_request_leaves_one_record() {
    let mut world = World::gateway();
    world.host.request(good("acme-1")).assert_status(200);
    second(&mut world);
    assert_eq!(of(&world.records()), [row("allow", "", "")]);
}

fn a_request_that_waits_for_its_answer_is_refused_and_not_cut() {
    let mut world = World::gateway();
    world.host.set_upstream(Answer::never());
    let exchange = world.host.request(agent());
    second(&mut world);
    world.set_cluster("acme-1", "acme", ClusterState::Suspended);
    second(&mut world);
    exchange.assert_status(403);
    exchange.assert_response_header("x-portcullis-reason", "cluster_suspended");
}

fn a_stream_of_a_sidecar_outlives_the_identity_token_and_not_a_revocation() {
    let mut world = streaming(&sidecar_config("acme-1"));
    let exchange = open(&mut world, to("acme-1").header("x-portcullis-identity", identity_token("acme-1")));
    for _ in 0..300 {
        world.settle();
    }
    assert!(!exchange.is_over(), "90 s later: {exchange}");
    world.revoke("sub:ann");
    second(&mut world);
    assert!(exchange.is_over(), "{exchange}");
    assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", "credential_revoked")));
}

fn with_a_stale_snapshot_streams_end_after_the_grace() {
    let mut config = config();
    config["snapshot"]["staleAfterSeconds"] = json!(10);
    config["snapshot"]["pollSeconds"] = json!(1);
    config["streams"] = json!({"staleGraceSeconds": 20});
    let mut world = streaming(&config);
    let exchange = open(&mut world, agent());
    // Nobody answers polls any more.
    world.host.advance(Duration::from_secs(25));
    world.host.request(good("acme-1")).assert_status(503);
    assert!(!exchange.is_over(), "within the grace: {exchange}");
    world.host.advance(Duration::from_secs(7));
    assert!(exchange.is_over(), "{exchange}");
}

fn in_dry_run_the_end_is_told_and_does_not_come() {
    let mut config = config();
    config["mode"] = json!("dry-run");
    let mut world = streaming(&config);
    let exchange = open(&mut world, agent());
    world.revoke("sub:ann");
    second(&mut world);
    assert!(!exchange.is_over(), "{exchange}");
    world.host.disconnect(&exchange);
    assert_eq!(of(&world.records())[1], row("end", "authn", "credential_revoked"));
}

fn an_event_stream_is_on_record_at_once() {
    let mut config = config();
    config["streams"] = json!({"recordAfterSeconds": 60});
    let mut world = streaming(&config);
    world.host.request(good("acme-1").header("accept", "text/event-stream"));
    world.host.request(good("acme-1"));
    world.host.advance(Duration::from_millis(50));
    world.answer_all();
    world.host.advance(Duration::from_millis(50));
    world.answer_all();
    assert_eq!(of(&world.api.records), [row("open", "", "")]);
    for _ in 0..210 {
        world.settle();
    }
    assert_eq!(of(&world.api.records), [row("open", "", ""), row("open", "", "")]);
}

fn an_opaque_token_is_asked_about_again_while_its_stream_is_open() {
    let mut world = gateway();
    let document = json!({"name": "as", "issuer": "https://as.test", "tokenPrefix": "op_",
        "audiences": ["portcullis"], "activeSeconds": 10, "inactiveSeconds": 5});
    world.change(put(RecordKind::Introspection, b"as", document.to_string()));
    let claims = json!({"active": true, "sub": "ann", "tenant": "acme", "aud": "portcullis",
        "client_id": "web", "exp": NOW + 600});
    world.api.questions.tokens.insert("op_good".into(), claims);
    let exchange = open(&mut world, to("acme-1").header("authorization", "Bearer op_good"));
    for _ in 0..200 {
        world.settle();
    }
    assert!(!exchange.is_over(), "a minute later: {exchange}");
    world.api.questions.tokens.insert("op_good".into(), json!({"active": false}));
    for _ in 0..40 {
        world.settle();
    }
    assert!(exchange.is_over(), "{exchange}");
    assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", "token_inactive")));
}

fn a_jwt_that_is_asked_about_is_asked_about_again_while_its_stream_is_open() {
    for (told, reason) in [
        (json!({"active": false}), "token_inactive"),
        (json!({"active": true, "roles": ["reader"]}), "identity_changed"),
    ] {
        let mut world = gateway();
        with_provider(&mut world, 10, NOW + 600);
        let mut record = issuer_document();
        let mut document: Value = serde_json::from_slice(&record.value).unwrap();
        document["introspection"] = json!("as");
        record.value = document.to_string().into();
        world.change(record);
        let bearer = token(|_| ());
        world.api.questions.tokens.insert(bearer.clone(), json!({"active": true}));
        let exchange = open(&mut world, to("acme-1").header("authorization", format!("Bearer {bearer}")));
        wait(&mut world, 60);
        assert!(!exchange.is_over(), "a minute later: {exchange}");
        world.api.questions.tokens.insert(bearer, told);
        wait(&mut world, 13);
        assert!(exchange.is_over(), "{exchange}");
        assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", reason)));
    }
}

/// Adds a provider whose answers hold for so long, and a token that it knows.
fn with_provider(world: &mut World, active_s: u32, exp: u64) -> Request {
    let document = json!({"name": "as", "issuer": "https://as.test", "tokenPrefix": "op_", "leewaySeconds": 0,
        "audiences": ["portcullis"], "activeSeconds": active_s, "inactiveSeconds": 5});
    world.change(put(RecordKind::Introspection, b"as", document.to_string()));
    let claims = json!({"active": true, "sub": "ann", "tenant": "acme", "aud": "portcullis",
        "client_id": "web", "exp": exp});
    world.api.questions.tokens.insert("op_good".into(), claims);
    to("acme-1").header("authorization", "Bearer op_good")
}

fn wait(world: &mut World, seconds: usize) {
    (0..seconds * 10 / 3).for_each(|_| world.settle());
}

fn an_opaque_token_ends_its_stream_with_its_own_end() {
    let mut world = gateway();
    let request = with_provider(&mut world, 30, NOW + 45);
    let exchange = open(&mut world, request);
    wait(&mut world, 38);
    assert!(!exchange.is_over(), "{exchange}");
    wait(&mut world, 10);
    assert!(exchange.is_over(), "{exchange}");
    assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", "token_expired")));
}

fn an_opaque_token_is_asked_about_when_its_provider_changes() {
    let mut world = gateway();
    let request = with_provider(&mut world, 300, NOW + 600);
    let exchange = open(&mut world, request);
    world.api.questions.tokens.insert("op_good".into(), json!({"active": false}));
    second(&mut world);
    assert!(!exchange.is_over(), "its answer still holds");
    let document = json!({"name": "as", "issuer": "https://as.test", "tokenPrefix": "op_", "configDigest": "2",
        "audiences": ["portcullis"], "activeSeconds": 300, "inactiveSeconds": 5});
    world.change(put(RecordKind::Introspection, b"as", document.to_string()));
    second(&mut world);
    assert!(exchange.is_over(), "{exchange}");
    assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", "token_inactive")));
}

fn many_streams_of_one_opaque_token_share_the_answers() {
    let mut world = gateway();
    let request = with_provider(&mut world, 0, NOW + 600);
    let streams: Vec<Exchange> = (0..60)
        .map(|_| {
            let exchange = world.host.request(request.clone());
            world.answer_all();
            exchange
        })
        .collect();
    wait(&mut world, 60);
    let over = streams.iter().filter(|exchange| exchange.is_over()).count();
    assert_eq!(over, 0, "{}", streams[0]);
}

/// A token is kept while its stream is open, whatever its provider says of how long its answers hold.
fn tokens_of_open_streams_are_bounded() {
    let mut world = gateway();
    with_provider(&mut world, 0, NOW + 6_000);
    let claims = world.api.questions.tokens["op_good"].clone();
    let open = |world: &mut World, number: usize| {
        let token = format!("op_{number:0>8000}");
        world.api.questions.tokens.insert(token.clone(), claims.clone());
        let exchange = world.host.request(to("acme-1").header("authorization", format!("Bearer {token}")));
        world.answer_all();
        exchange
    };
    // 8 MiB of them.
    let mut streams: Vec<Exchange> = (0..1_048).map(|number| open(&mut world, number)).collect();
    assert!(streams.iter().all(|exchange| !exchange.is_over()));
    let refused = open(&mut world, 1_048);
    refused.assert_refused(503);
    refused.assert_response_header("x-portcullis-reason", "introspection_busy");
    // Who leaves makes room.
    world.host.disconnect(&streams.remove(0));
    open(&mut world, 1_049).assert_status(200);
}

/// Envoy shows it as the upgrade that it stands for; a CONNECT without a protocol stays one.
fn a_web_socket_over_http2_is_a_stream_like_any_other() {
    let mut world = gateway();
    let bearer = format!("Bearer {}", token(|_| ()));
    let path = "/clusters/acme-1/v1/items?secret=s";
    let socket = || Request::extended_connect(path, "websocket").authority("api.platform.test");
    let refused = world.host.request(socket());
    refused.assert_refused(401);
    refused.assert_response_header("x-portcullis-reason", "credential_missing");
    let tunnel = Request::new("CONNECT", "").authority("db.internal:5432").http2();
    let refused = world.host.request(tunnel.header("authorization", &bearer));
    refused.assert_refused(501);
    refused.assert_response_header("x-portcullis-reason", "method_refused");
    world.api.records.clear();
    let exchange = world.host.request(socket().header("authorization", &bearer));
    // The test host's upstream answers once it has the whole request.
    world.host.end_request(&exchange);
    second(&mut world);
    exchange.assert_status(200);
    assert!(!exchange.is_over(), "{exchange}");
    exchange.assert_upstream_header("x-portcullis-subject", "ann");
    assert_eq!(of(&world.records()).last(), Some(&row("open", "", "")), "on record at once");
    world.revoke("sub:ann");
    second(&mut world);
    assert!(exchange.is_over(), "{exchange}");
    assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", "credential_revoked")));
}

fn a_key_that_takes_anothers_place_ends_its_streams() {
    let mut world = gateway();
    let exchange = open(&mut world, agent());
    world.change(issuer_with(|d| {
        d["jwks"]["keys"][0]["x"] = json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    }));
    second(&mut world);
    assert!(exchange.is_over(), "{exchange}");
    assert_eq!(of(&world.records()).last(), Some(&row("end", "authn", "key_unknown")));
}
