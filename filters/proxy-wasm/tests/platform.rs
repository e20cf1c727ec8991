//! The closed list of requests without an identity, and the metadata of the protected resource.

mod world;

use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};

on_both! {
    the_list_is_let_through_untouched_and_without_any_header_of_ours,
    it_is_off_unless_configured,
    nothing_beside_the_list_and_no_cluster_is_let_through,
    the_list_works_in_a_chain_and_without_a_snapshot,
    the_metadata_names_the_resource_that_was_asked_for,
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
        api("GET", "/oauth2/token"),
        api("POST", "/oauth2/jwks"),
        api("POST", "/oauth2/token/"),
        api("POST", "/oauth2//token"),
        api("POST", "/OAUTH2/token"),
        api("POST", "/oauth2/token%2f"),
        api("POST", "/oauth2/token;x"),
        api("POST", "/x/../oauth2/token"),
        api("POST", "/v1/join"),
        api("GET", "/v1/clusters"),
        api("OPTIONS", "/oauth2/token"),
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
    let mut world = world_with(|c| c["resource"] = json!({"url": "https://API.platform.test"}));
    let provider = json!({"name": "as", "issuer": "https://as.test", "audiences": ["a"], "activeSeconds": 1, "inactiveSeconds": 1});
    world.change(put(RecordKind::Introspection, b"as", provider.to_string()));
    let base = "/.well-known/oauth-protected-resource";
    let told = resource(&mut world, api("GET", base));
    let expected = json!({"resource": "https://api.platform.test", "bearer_methods_supported": ["header"],
        "authorization_servers": ["https://as.test", "https://idp.test"]});
    assert_eq!(told, expected);
    let told = resource(&mut world, api("GET", &format!("{base}/clusters/acme-1/mcp?x")));
    assert_eq!(told["resource"], "https://api.platform.test/clusters/acme-1/mcp");
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
    let mut world = world_with(|c| c["resource"] = json!({"url": "https://api.platform.test"}));
    let mcp = |request: Request| request.header("mcp-protocol-version", "2025-06-18");
    assert_eq!(challenge(&mut world, to("acme-1")), "Bearer realm=\"portcullis\"");
    assert_eq!(challenge(&mut world, mcp(to("acme-1"))), format!("Bearer realm=\"portcullis\"{metadata}"));
    let expired = format!("Bearer {}", world::token(|c| c["exp"] = json!(1)));
    let told = challenge(&mut world, mcp(to("acme-1").header("authorization", expired)));
    assert!(told.contains("error=\"invalid_token\"") && told.ends_with(metadata), "{told}");

    let mut always =
        world_with(|c| c["resource"] = json!({"url": "https://api.platform.test", "challenge": "always"}));
    assert!(challenge(&mut always, to("acme-1")).ends_with(metadata));
    // What a client sends cannot break out of the quotes.
    let odd = api("GET", "/a\"b,c=\"d");
    assert_eq!(
        challenge(&mut always, odd),
        "Bearer realm=\"portcullis\", resource_metadata=\"https://api.platform.test/.well-known/oauth-protected-resource\""
    );
    let host = Request::get("/").authority("a\"b.clusters.platform.test");
    assert!(challenge(&mut always, host).contains("\"https://api.platform.test/.well-known"));
}
