//! The closed list of requests without an identity, and the metadata of the protected resource.

mod world;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};

on_both! {
    the_list_is_let_through_untouched_and_without_any_header_of_ours,
    it_is_off_unless_configured,
    nothing_beside_the_list_and_no_cluster_is_let_through,
    an_endpoint_says_which_method_it_has,
    the_list_works_in_a_chain_and_without_a_snapshot,
    the_metadata_names_the_resource_that_was_asked_for,
    nobody_is_told_of_other_peoples_issuers,
    a_cluster_tells_of_its_own_authorization_servers_where_its_tenant_wants_that,
    a_scope_that_is_missing_is_named,
    an_open_stream_ends_when_a_scope_is_asked_for_that_it_lacks,
    methods_of_the_model_context_protocol_are_recorded,
    a_refusal_of_grpc_web_is_told_in_its_own_encoding,
    a_resource_with_a_path_has_metadata_below_it_only,
    a_challenge_says_what_rfc_6750_and_9728_ask_for,
}
use world::{World, config, plugin, put, to};

const LIST: [(&str, &str); 4] = [
    ("GET", "/v1/identity/jwks"),
    ("GET", "/oauth2/jwks"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("POST", "/oauth2/token"),
];

fn world_with(change: impl FnOnce(&mut Value)) -> World {
    let mut config = config();
    change(&mut config);
    World::new(vec![plugin("gateway", &config)])
}

fn platform() -> World {
    world_with(|c| c["platformPaths"] = json!(true))
}

fn api(method: &str, path: &str) -> Request {
    Request::new(method, path).authority("api.platform.test")
}

fn assert_no_trace_of_ours(exchange: &Exchange) {
    let seen = exchange.assert_forwarded();
    let ours = |name: &[u8]| portcullis_model::config::is_reserved_header(name);
    assert!(!seen.headers.iter().any(|(name, _)| ours(name)), "{exchange}");
}

fn the_list_is_let_through_untouched_and_without_any_header_of_ours() {
    let mut world = platform();
    for (method, path) in LIST {
        let request = api(method, &format!("{path}?a=b"))
            .header("authorization", "Basic Y2xpZW50OnNlY3JldA==")
            .header("x-api-key", "pck_of_somebody")
            .header("x-portcullis-cluster", "acme-1")
            .header("x_portcullis_tenant", "acme");
        let exchange = world.host.request(request);
        exchange
            .assert_status(200)
            .assert_upstream_header("authorization", "Basic Y2xpZW50OnNlY3JldA==")
            .assert_upstream_header("x-api-key", "pck_of_somebody");
        assert_no_trace_of_ours(&exchange);
    }
    let records = world.records();
    assert_eq!(records.len(), LIST.len());
    for record in records {
        assert_eq!(
            (record.decision.as_str(), record.reason.as_str(), record.subject.as_str()),
            ("exempt", "", "")
        );
        assert_eq!(record.cluster, "");
    }
}

fn it_is_off_unless_configured() {
    let mut world = World::gateway();
    for (method, path) in LIST {
        let exchange = world.host.request(api(method, path));
        exchange.assert_refused(401);
    }
}

fn nothing_beside_the_list_and_no_cluster_is_let_through() {
    let mut world = platform();
    let by_host = |method, path| Request::new(method, path).authority("acme-1.clusters.platform.test");
    for request in [
        api("POST", "/oauth2/token/"),
        api("POST", "/oauth2//token"),
        api("POST", "/OAUTH2/token"),
        api("POST", "/oauth2/token%2f"),
        api("POST", "/oauth2/token;x"),
        api("POST", "/x/../oauth2/token"),
        api("POST", "/v1/join"),
        api("GET", "/v1/clusters"),
        by_host("POST", "/oauth2/token"),
        by_host("GET", "/v1/identity/jwks"),
        api("POST", "/oauth2/token").header("x-target-cluster", "acme-1"),
        api("POST", "/clusters/acme-1/oauth2/token"),
    ] {
        world.host.request(request).assert_refused(401);
    }
    let twice = api("POST", "/oauth2/token").header("x-target-cluster", "a").header("x-target-cluster", "a");
    world.host.request(twice).assert_refused(400);
}

fn an_endpoint_says_which_method_it_has() {
    let mut world = platform();
    for (method, path, allow) in [
        ("GET", "/oauth2/token", "POST"),
        ("OPTIONS", "/oauth2/token", "POST"),
        ("POST", "/oauth2/jwks", "GET"),
        ("DELETE", "/v1/identity/jwks", "GET"),
    ] {
        let exchange = world.host.request(api(method, path));
        exchange.assert_refused(405);
        exchange
            .assert_response_header("allow", allow)
            .assert_response_header("x-portcullis-reason", "method_not_allowed");
    }
    // Where the path is a cluster's, or nobody's, it is a request like any other.
    let by_host = Request::get("/oauth2/token").authority("acme-1.clusters.platform.test");
    world.host.request(by_host).assert_refused(401);
    World::gateway().host.request(api("GET", "/oauth2/token")).assert_refused(401);
}

fn the_list_works_in_a_chain_and_without_a_snapshot() {
    let mut config = config();
    config["platformPaths"] = json!(true);
    let plugins = ["authn", "source-type", "cluster-status", "audit"].map(|name| plugin(name, &config));
    let mut world = World::cold(plugins.into());
    let exchange = world.host.request(api("POST", "/oauth2/token").header("x-portcullis-cluster", "acme-1"));
    exchange.assert_status(200);
    assert_no_trace_of_ours(&exchange);
    assert_eq!(world.records()[0].decision, "exempt");
    let mut alone = World::cold(vec![plugin("cluster-status", &config)]);
    alone.settle();
    alone.host.request(api("POST", "/oauth2/token")).assert_refused(401);
}

fn resource(world: &mut World, request: Request) -> Value {
    let exchange = world.host.request(request);
    let seen = exchange.assert_refused(200);
    exchange.assert_response_header("content-type", "application/json");
    serde_json::from_str(&seen.text()).unwrap()
}

fn the_metadata_names_the_resource_that_was_asked_for() {
    let mut world = world_with(|c| {
        c["resource"] = json!({"url": "https://API.platform.test",
            "authorizationServers": ["https://second.test", "https://first.test"],
            "scopesSupported": ["data.read", "data.write"], "requiredScopes": ["data.read", "mcp"]});
    });
    let base = "/.well-known/oauth-protected-resource";
    let told = resource(&mut world, api("GET", base));
    let expected = json!({"resource": "https://api.platform.test", "bearer_methods_supported": ["header"],
        "authorization_servers": ["https://second.test", "https://first.test"],
        "scopes_supported": ["data.read", "data.write", "mcp"]});
    assert_eq!(told, expected);
    for (path, told) in [
        ("/clusters/acme-1/mcp?x", "https://api.platform.test/clusters/acme-1/mcp"),
        ("/clusters/acme-1/mcp/", "https://api.platform.test/clusters/acme-1/mcp/"),
        ("/", "https://api.platform.test"),
    ] {
        assert_eq!(resource(&mut world, api("GET", &format!("{base}{path}")))["resource"], told);
    }
    let by_host = Request::get(&format!("{base}/mcp")).authority("ACME-1.clusters.platform.test:8443");
    assert_eq!(resource(&mut world, by_host)["resource"], "https://acme-1.clusters.platform.test:8443/mcp");
    for request in [
        api("POST", base),
        api("GET", "/.well-known/oauth-protected-resources"),
        api("GET", &format!("{base}/\"x")),
        api("GET", &format!("{base}/{}", "a".repeat(2_000))),
    ] {
        world.host.request(request).assert_refused(401);
    }
    World::gateway().host.request(api("GET", base)).assert_refused(401);
    assert_eq!(world.records()[0].decision, "exempt");
}

fn nobody_is_told_of_other_peoples_issuers() {
    let mut world = world_with(|c| c["resource"] = json!({"url": "https://api.platform.test/"}));
    let provider = json!({"name": "as", "issuer": "https://as.test", "audiences": ["a"], "activeSeconds": 1, "inactiveSeconds": 1});
    world.change(put(RecordKind::Introspection, b"as", provider.to_string()));
    let told = resource(&mut world, api("GET", "/.well-known/oauth-protected-resource"));
    let expected = json!({"resource": "https://api.platform.test/", "bearer_methods_supported": ["header"]});
    assert_eq!(told, expected, "no list is no member (RFC 9728 §3.2)");
}

fn a_cluster_tells_of_its_own_authorization_servers_where_its_tenant_wants_that() {
    let mut world = world_with(|c| {
        c["resource"] =
            json!({"url": "https://api.platform.test", "authorizationServers": ["https://platform.test"]});
    });
    let document = json!({"resources": [
        {"clusters": ["acme-1"], "authorizationServers": ["https://login.acme.test"], "requiredScopes": ["own"]},
        {"clusters": ["globex-1"], "requiredScopes": ["secret.scope"]}]});
    world.change(put(RecordKind::Resources, b"", document.to_string()));
    let base = "/.well-known/oauth-protected-resource";
    let mut told = |cluster: &str| {
        let by_path = resource(&mut world, api("GET", &format!("{base}/clusters/{cluster}/mcp")));
        let host = format!("{cluster}.clusters.platform.test");
        let mut by_host = resource(&mut world, Request::get(base).authority(&host));
        by_host["resource"] = by_path["resource"].clone();
        assert_eq!(by_path, by_host);
        (by_path["authorization_servers"].clone(), by_path["scopes_supported"].clone())
    };
    assert_eq!(told("acme-1"), (json!(["https://login.acme.test"]), json!(["own"])));
    for other in ["globex-1", "acme-degraded", "no-such"] {
        assert_eq!(told(other), (json!(["https://platform.test"]), Value::Null), "{other}");
    }
}

fn a_resource_with_a_path_has_metadata_below_it_only() {
    let mut world = world_with(|c| {
        c["resource"] = json!({"url": "https://api.platform.test/mcp"});
        c["tokens"] = json!({"query": "access_token"});
    });
    let base = "/.well-known/oauth-protected-resource";
    let told = resource(&mut world, api("GET", base));
    assert_eq!(told["resource"], "https://api.platform.test/mcp");
    assert_eq!(told["bearer_methods_supported"], json!(["header", "query"]));
    let told = resource(&mut world, api("GET", &format!("{base}/mcp/a")));
    assert_eq!(told["resource"], "https://api.platform.test/mcp/a");
    world.host.request(api("GET", &format!("{base}/mcpx"))).assert_refused(401);
    world.host.request(api("GET", &format!("{base}/other"))).assert_refused(401);
}

fn challenge(world: &mut World, request: Request) -> String {
    world.host.request(request).assert_refused(401).header("www-authenticate").unwrap().to_owned()
}

fn a_challenge_says_what_rfc_6750_and_9728_ask_for() {
    let metadata = ", resource_metadata=\"https://api.platform.test/.well-known/oauth-protected-resource/clusters/acme-1/v1/items\"";
    let mut world =
        world_with(|c| c["resource"] = json!({"url": "https://api.platform.test", "challenge": "mcp"}));
    let mcp = |request: Request| request.header("mcp-protocol-version", "2025-06-18");
    assert_eq!(challenge(&mut world, to("acme-1")), "Bearer realm=\"portcullis\"");
    assert_eq!(challenge(&mut world, mcp(to("acme-1"))), format!("Bearer realm=\"portcullis\"{metadata}"));
    let newer = to("acme-1").header("mcp-method", "server/discover");
    assert_eq!(challenge(&mut world, newer), format!("Bearer realm=\"portcullis\"{metadata}"));
    let expired = format!("Bearer {}", world::token(|c| c["exp"] = json!(1)));
    let told = challenge(&mut world, mcp(to("acme-1").header("authorization", expired)));
    assert!(told.contains("error=\"invalid_token\"") && told.ends_with(metadata), "{told}");

    // By default every challenge: a client that has not begun yet says nothing of the protocol.
    let mut always = world_with(|c| {
        c["resource"] = json!({"url": "https://api.platform.test/", "requiredScopes": ["a", "b"]});
    });
    let told = challenge(&mut always, to("acme-1"));
    assert_eq!(told, format!("Bearer realm=\"portcullis\", scope=\"a b\"{metadata}"));
    let of = |path: &str| {
        format!("resource_metadata=\"https://api.platform.test/.well-known/oauth-protected-resource{path}\"")
    };
    for (asked, told) in [("/", ""), ("/mcp/", "/mcp/"), ("/mcp", "/mcp"), ("/a\"b,c=\"d", "")] {
        assert!(challenge(&mut always, api("GET", asked)).ends_with(&of(told)), "{asked}");
    }
    // What a client sends cannot break out of the quotes.
    let host = Request::get("/").authority("a\"b.clusters.platform.test");
    assert!(challenge(&mut always, host).contains("\"https://api.platform.test/.well-known"));
}

/// A world that asks for `read` everywhere and for `write` of `acme-1`.
fn asking() -> World {
    let mut world = world_with(|c| {
        c["resource"] = json!({"url": "https://api.platform.test", "requiredScopes": ["read"]});
    });
    let document = json!({"resources": [{"clusters": ["acme-1"], "requiredScopes": ["write", "read"]}]});
    world.change(put(RecordKind::Resources, b"", document.to_string()));
    world
}

fn with_scope(cluster: &str, scope: &str) -> Request {
    to(cluster).header("authorization", format!("Bearer {}", world::token(|c| c["scope"] = json!(scope))))
}

fn a_scope_that_is_missing_is_named() {
    let mut world = asking();
    let exchange = world.host.request(with_scope("acme-1", "read"));
    exchange.assert_refused(403);
    exchange.assert_response_header("x-portcullis-reason", "insufficient_scope");
    let seen = exchange.response().unwrap();
    let told = seen.header("www-authenticate").unwrap();
    let expected = "error=\"insufficient_scope\", error_description=\"The credential lacks a scope that is needed here\", scope=\"read write\", resource_metadata=";
    assert!(told.contains(expected), "{told}");
    world
        .host
        .request(with_scope("acme-1", "read write x"))
        .assert_upstream_header("x-portcullis-scopes", "read write x");
    let scopes = |cluster, scope| with_scope(cluster, scope);
    world.host.request(scopes("acme-degraded", "read")).assert_status(200);
    world.host.request(scopes("acme-degraded", "write")).assert_refused(403);
    // Whoever may not know of a cluster does not learn what it asks for.
    world.host.request(scopes("globex-1", "")).assert_refused(404);
    world.host.request(to("acme-1").header("x-api-key", world::API_KEY)).assert_refused(403);
    world.host.request(to("acme-1")).assert_refused(401);
    assert_eq!(world.records()[0].cluster, "acme-1");
    // A document that cannot be read asks for what nobody knows.
    world.change(put(RecordKind::Resources, b"", "{"));
    world.host.request(scopes("acme-degraded", "read")).assert_refused(503);
    let mut plain = World::gateway();
    plain.host.request(with_scope("acme-1", "read")).assert_status(200);
    plain.host.request(world::good("acme-1")).assert_no_upstream_header("x-portcullis-scopes");
}

fn an_open_stream_ends_when_a_scope_is_asked_for_that_it_lacks() {
    let mut world = World::gateway();
    let mut open = |scope: &str| world.host.request(with_scope("acme-1", scope).stay_open());
    let (poor, rich) = (open("read"), open("read write"));
    world.host.advance(std::time::Duration::from_secs(1));
    world.answer_all();
    let document = json!({"resources": [{"clusters": ["acme-1"], "requiredScopes": ["write"]}]});
    world.change(put(RecordKind::Resources, b"", document.to_string()));
    world.settle();
    assert!(poor.is_over() && !rich.is_over(), "{poor}\n{rich}");
    let ended = world.records().into_iter().find(|record| record.decision == "end").unwrap();
    assert_eq!(ended.reason, "insufficient_scope");
}

fn methods_of_the_model_context_protocol_are_recorded() {
    let mut world = World::gateway();
    let call = |name: &str| world::good("acme-1").header("mcp-method", "tools/call").header("mcp-name", name);
    world.host.request(call("query")).assert_status(200);
    let secret = format!("pck_{}", "a1B2".repeat(8));
    world.host.request(call(&format!("x/{secret}"))).assert_status(200);
    world.host.request(call(&"n".repeat(500))).assert_status(200);
    world.host.request(world::good("acme-1")).assert_status(200);
    let said: Vec<_> = world.records().into_iter().map(|r| (r.mcp_method, r.mcp_name)).collect();
    let call = "tools/call".to_owned();
    assert_eq!(said[0], (call.clone(), "query".to_owned()));
    assert_eq!(said[1], (call.clone(), "x/[secret]".to_owned()));
    assert_eq!(said[2], (call, "n".repeat(128)));
    assert_eq!(said[3], (String::new(), String::new()));
}

fn a_refusal_of_grpc_web_is_told_in_its_own_encoding() {
    let mut world = World::gateway();
    let ask = |content_type: &str| {
        Request::post("/clusters/acme-1/s")
            .authority("api.platform.test")
            .header("content-type", content_type)
    };
    let frame = b"\x80\x00\x00\x00\x37grpc-status:16\r\ngrpc-message:A credential is required\r\n";
    for (sent, told, text) in [
        ("application/grpc-web", "application/grpc-web+proto", false),
        ("application/grpc-web-text+proto", "application/grpc-web-text+proto", true),
    ] {
        let exchange = world.host.request(ask(sent));
        exchange.assert_refused(200);
        exchange
            .assert_response_header("content-type", told)
            .assert_response_header("x-portcullis-reason", "credential_missing");
        let seen = exchange.response().unwrap();
        let body = if text { STANDARD.decode(seen.body.concat()).unwrap() } else { seen.body.concat() };
        assert_eq!(body, frame);
    }
    for other in ["application/grpcx", "application/grpc-webx"] {
        world.host.request(ask(other)).assert_refused(401);
    }
    assert_eq!(world.records()[0].decision, "refuse");
}
