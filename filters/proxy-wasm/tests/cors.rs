//! Pages of other origins: preflights, and who may use which answer.

mod world;

use std::time::Duration;

use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::{Answer, Exchange, Request};
use serde_json::{Value, json};
use world::{World, config, good, plugin, put, to};

on_both! {
    a_preflight_is_answered_here_by_the_policy_that_names_its_origin,
    an_answer_says_which_page_may_use_it,
    refusals_can_be_read_by_the_pages_that_are_named,
    what_is_said_of_one_cluster_tells_nobody_that_there_is_that_cluster,
    an_upstream_has_no_say_where_there_is_a_policy,
    nothing_is_said_where_there_is_no_policy,
    the_platforms_own_endpoints_are_open_to_every_page,
    stages_as_plugins_of_their_own_say_the_same,
    a_document_that_cannot_be_read_opens_nothing,
}

const APP: &str = "https://app.example.com";
const ACME: &str = "https://console.acme.example";

fn platform(config: &mut Value) {
    config["browser"] = json!({"cors": {"origins": [APP, "https://*.apps.example.com"],
        "methods": ["GET", "DELETE"], "headers": ["authorization", "x-a"], "exposedHeaders": ["x-kept"],
        "credentials": true, "maxAgeSeconds": 60}});
}

fn world_with(change: impl FnOnce(&mut Value)) -> World {
    let mut config = config();
    change(&mut config);
    World::new(vec![plugin("gateway", &config)])
}

/// A policy of the cluster `acme-1` and one of a cluster that another tenant owns.
fn of_clusters() -> Value {
    let cors = |origin: &str| {
        json!({"cors": {"origins": [origin], "methods": ["PUT"], "headers": ["x-b"], "exposedHeaders": [],
            "credentials": false, "maxAgeSeconds": 5}})
    };
    json!({"resources": [
        {"clusters": ["acme-1"], "browser": cors(ACME)},
        {"clusters": ["globex-1"], "browser": cors("https://globex.example")}]})
}

fn from(origin: &str, request: Request) -> Request {
    request.header("origin", origin)
}

fn preflight(origin: &str, path: &str) -> Request {
    let request = Request::new("OPTIONS", path).authority("api.platform.test");
    from(origin, request).header("access-control-request-method", "DELETE")
}

fn header(exchange: &Exchange, name: &str) -> Option<String> {
    exchange.response().expect("an answer").header(name).map(ToOwned::to_owned)
}

/// What an answer says: Allow-Origin, whether with credentials, and whether caches are told.
fn told(exchange: &Exchange) -> (String, bool, bool) {
    let seen = exchange.response().expect("an answer");
    let vary = seen.headers.iter().filter(|(name, _)| &name[..] == b"vary");
    let vary =
        vary.filter(|(_, value)| value.split(|b| *b == b',').any(|name| name == b"origin")).count() == 1;
    let credentials = seen.header("access-control-allow-credentials") == Some("true");
    (seen.header("access-control-allow-origin").unwrap_or_default().to_owned(), credentials, vary)
}

fn says(origin: &str, credentials: bool) -> (String, bool, bool) {
    (origin.to_owned(), credentials, true)
}

fn contains(exchange: &Exchange, name: &str, part: &str) -> bool {
    header(exchange, name).is_some_and(|value| value.contains(part))
}

fn a_preflight_is_answered_here_by_the_policy_that_names_its_origin() {
    let mut world = world_with(platform);
    for origin in [APP, "https://a.b.apps.example.com"] {
        let exchange = world.host.request(preflight(origin, "/clusters/acme-1/v1/items"));
        exchange.assert_refused(204);
        assert_eq!(told(&exchange), says(origin, true));
        assert_eq!(header(&exchange, "access-control-allow-methods").as_deref(), Some("DELETE, GET"));
        assert_eq!(header(&exchange, "access-control-allow-headers").as_deref(), Some("authorization, x-a"));
        assert_eq!(header(&exchange, "access-control-max-age").as_deref(), Some("60"));
    }
    for origin in
        ["https://apps.example.com", "https://evilapps.example.com", "null", "http://app.example.com"]
    {
        let exchange = world.host.request(preflight(origin, "/clusters/acme-1/v1/items"));
        exchange.assert_refused(403);
        exchange.assert_response_header("x-portcullis-reason", "preflight_refused");
        assert_eq!(told(&exchange), says("", false), "{origin}");
    }
    let records = world.records();
    assert_eq!((records[0].decision.as_str(), records[0].status), ("exempt", 204));
    assert_eq!((records[2].decision.as_str(), records[2].stage.as_str()), ("refuse", "cors"));
}

fn an_answer_says_which_page_may_use_it() {
    let mut world = world_with(platform);
    let exchange = world.host.request(from(APP, good("acme-1")));
    exchange.assert_status(200).assert_forwarded();
    assert_eq!(told(&exchange), says(APP, true));
    let exposed = header(&exchange, "access-control-expose-headers");
    assert_eq!(exposed.as_deref(), Some("retry-after, www-authenticate, x-kept, x-portcullis-reason"));
    let other = world.host.request(from("https://other.example", good("acme-1")));
    other.assert_status(200);
    assert_eq!(told(&other), says("", false), "a page that is not named gets nothing, and bears no refusal");
    let nobody = world.host.request(good("acme-1"));
    assert_eq!(told(&nobody), says("", false), "a cache may not give this answer to a page");
    let mut world = world_with(|c| c["browser"] = json!({"cors": {"origins": ["*"]}}));
    assert_eq!(told(&world.host.request(from(APP, good("acme-1")))), says("*", false));
    assert_eq!(told(&world.host.request(from("null", good("acme-1")))), says("", false));
}

fn refusals_can_be_read_by_the_pages_that_are_named() {
    let mut world = world_with(platform);
    for (status, request) in [
        (401, to("acme-1")),
        (404, good("globex-1")),
        (403, good("acme-suspended")),
        (503, good("acme-offline")),
        (501, Request::new("TRACE", "/").authority("api.platform.test")),
        (400, good("acme-1").header("x-target-cluster", "globex-1")),
    ] {
        let exchange = world.host.request(from(APP, request));
        exchange.assert_refused(status);
        assert_eq!(told(&exchange), says(APP, true), "{status}");
        assert!(contains(&exchange, "access-control-expose-headers", "x-portcullis-reason"));
    }
    let mut config = config();
    platform(&mut config);
    let mut cold = World::cold(vec![plugin("gateway", &config)]);
    let exchange = cold.host.request(from(APP, good("acme-1")));
    cold.host.advance(Duration::from_millis(1_100));
    exchange.assert_refused(503);
    assert_eq!(told(&exchange), says(APP, true), "before there is any policy");
}

fn what_is_said_of_one_cluster_tells_nobody_that_there_is_that_cluster() {
    let mut world = world_with(platform);
    world.change(put(RecordKind::Resources, b"", of_clusters().to_string()));
    let heads = |world: &mut World, request: &dyn Fn(&str) -> Request| -> Vec<String> {
        ["acme-1", "acme-degraded", "globex-1", "no-such"]
            .map(|cluster| {
                let exchange = world.host.request(request(cluster));
                let seen = exchange.response().expect("an answer");
                let mut headers: Vec<String> = seen
                    .headers
                    .iter()
                    .map(|(n, v)| format!("{}: {}", String::from_utf8_lossy(n), String::from_utf8_lossy(v)))
                    .collect();
                headers.sort();
                headers.join("\n")
            })
            .to_vec()
    };
    for origin in [ACME, APP, "https://globex.example", "https://other.example", "null"] {
        let alike = |all: &[String]| all.iter().all(|one| *one == all[0]);
        let all = heads(&mut world, &|cluster| preflight(origin, &format!("/clusters/{cluster}/v1")));
        assert!(alike(&all), "preflights from {origin}: {all:#?}");
        let all = heads(&mut world, &|cluster| from(origin, to(cluster)));
        assert!(alike(&all), "without a credential from {origin}: {all:#?}");
        let all = heads(&mut world, &|cluster| from(origin, good(cluster)));
        assert!(alike(&all[2..]), "another tenant's from {origin}: {all:#?}");
    }
    // Whom the cluster's own policy names is told so, and nobody else.
    let allowed = world.host.request(preflight(ACME, "/clusters/acme-1/v1"));
    assert_eq!(header(&allowed, "access-control-allow-methods").as_deref(), Some("PUT"));
    let mut own = |origin, cluster| {
        let exchange = world.host.request(from(origin, good(cluster)));
        exchange.assert_status(200);
        header(&exchange, "access-control-allow-origin")
    };
    assert_eq!(own(ACME, "acme-1").as_deref(), Some(ACME));
    assert_eq!(own(APP, "acme-1"), None, "its own policy stands in place of the platform's");
    assert_eq!(own(APP, "acme-degraded").as_deref(), Some(APP));
    assert_eq!(own(ACME, "acme-degraded"), None);
    assert_eq!(own("https://globex.example", "acme-1"), None);
}

fn an_upstream_has_no_say_where_there_is_a_policy() {
    let mut config = config();
    platform(&mut config);
    let answer = Answer::ok()
        .header("access-control-allow-origin", "*")
        .header("access-control-allow-credentials", "true")
        .header("access-control-expose-headers", "x-secret")
        .header("vary", "accept");
    let mut world = World::with(vec![plugin("gateway", &config)], |builder| builder.upstream(answer));
    let exchange = world.host.request(from(APP, good("acme-1")));
    assert_eq!(told(&exchange), says(APP, true));
    assert!(!contains(&exchange, "access-control-expose-headers", "x-secret"));
    let exchange = world.host.request(from("https://other.example", good("acme-1")));
    assert_eq!(told(&exchange), says("", false));
    let seen = exchange.response().unwrap();
    let vary = seen.headers.iter().filter(|(name, _)| &name[..] == b"vary");
    assert!(
        vary.into_iter().any(|(_, value)| value.starts_with(b"accept")),
        "what the upstream says of caches stays: {exchange}"
    );
}

fn nothing_is_said_where_there_is_no_policy() {
    let mut world = World::gateway();
    let exchange = world.host.request(from(APP, good("acme-1")));
    exchange.assert_status(200);
    assert_eq!(told(&exchange), (String::new(), false, false));
    world.host.request(preflight(APP, "/clusters/acme-1/v1")).assert_refused(403);
    // Nor for a cluster without one where another has one.
    world.change(put(RecordKind::Resources, b"", of_clusters().to_string()));
    let exchange = world.host.request(from(ACME, good("acme-degraded")));
    assert_eq!(told(&exchange), (String::new(), false, false));
}

fn the_platforms_own_endpoints_are_open_to_every_page() {
    let mut config = config();
    platform(&mut config);
    config["platformPaths"] = json!(true);
    config["resource"] = json!({"url": "https://api.platform.test"});
    // Also before there is any policy.
    let mut world = World::cold(vec![plugin("gateway", &config)]);
    let metadata = "/.well-known/oauth-protected-resource";
    for (method, path) in [
        ("GET", "/v1/identity/jwks"),
        ("GET", "/oauth2/jwks"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/oauth2/token"),
        ("GET", metadata),
        ("GET", "/.well-known/oauth-protected-resource/clusters/no-such/mcp"),
    ] {
        for origin in ["https://anybody.example", APP, "null"] {
            let ask = Request::new("OPTIONS", path).authority("api.platform.test");
            let ask = from(origin, ask).header("access-control-request-method", method);
            let exchange = world.host.request(ask);
            exchange.assert_refused(204);
            assert_eq!(told(&exchange), says("*", false), "{path}");
            assert!(contains(&exchange, "access-control-allow-methods", method));
            assert_eq!(
                header(&exchange, "access-control-allow-headers").as_deref(),
                Some("authorization, *")
            );
            if path.starts_with(metadata) {
                continue;
            }
            let answer =
                world.host.request(from(origin, Request::new(method, path).authority("api.platform.test")));
            answer.assert_status(200).assert_forwarded();
            assert_eq!(told(&answer), says("*", false), "{path}");
        }
    }
    world.settle();
    let exchange = world.host.request(from(APP, Request::get(metadata).authority("api.platform.test")));
    exchange.assert_refused(200);
    assert_eq!(told(&exchange), says("*", false));
    for (method, path) in [("DELETE", "/oauth2/token"), ("POST", "/oauth2/jwks")] {
        let ask = Request::new("OPTIONS", path).authority("api.platform.test");
        let ask = from(APP, ask).header("access-control-request-method", method);
        world.host.request(ask).assert_refused(405);
    }
}

fn stages_as_plugins_of_their_own_say_the_same() {
    let mut config = config();
    platform(&mut config);
    let plugins = ["authn", "source-type", "cluster-status", "audit"].map(|name| plugin(name, &config));
    let mut world = World::new(plugins.into());
    world.change(put(RecordKind::Resources, b"", of_clusters().to_string()));
    let mut allowed = |request| {
        let exchange = world.host.request(request);
        let (origin, _, vary) = told(&exchange);
        assert!(vary, "{exchange}");
        (exchange.status().unwrap_or_default(), origin)
    };
    assert_eq!(allowed(preflight(APP, "/clusters/acme-1/")), (204, APP.to_owned()));
    assert_eq!(allowed(preflight("https://x.example", "/clusters/acme-1/")), (403, String::new()));
    assert_eq!(allowed(from(APP, to("acme-1"))), (401, APP.to_owned()));
    assert_eq!(allowed(from(APP, good("no-such"))), (404, APP.to_owned()), "of a plugin behind it");
    assert_eq!(allowed(from(APP, good("acme-degraded"))), (200, APP.to_owned()));
    assert_eq!(allowed(from(ACME, good("acme-1"))), (200, ACME.to_owned()));
    assert_eq!(allowed(from(APP, good("acme-1"))), (200, String::new()));
}

fn a_document_that_cannot_be_read_opens_nothing() {
    let mut world = World::gateway();
    world.change(put(RecordKind::Resources, b"", of_clusters().to_string()));
    world.host.request(preflight(ACME, "/clusters/acme-1/")).assert_refused(204);
    let wide = of_clusters().to_string().replace(ACME, "null");
    world.change(put(RecordKind::Resources, b"", wide));
    world.host.request(preflight(ACME, "/clusters/acme-1/")).assert_refused(403);
}
