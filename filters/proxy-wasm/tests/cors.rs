//! Pages of other origins: preflights, and who may use which answer.

mod world;

use std::time::Duration;

use portcullis_protocol::wire::RecordKind;
use portcullis_testhost::{Answer, Exchange, Request};
use serde_json::{Value, json};
use world::{World, config, good, plugin, put, to, token};

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
    by_a_persons_cookie_no_page_of_another_cluster_reads_what_their_clusters_are,
    whether_there_is_a_cookie_is_told_to_no_page_of_another_cluster,
    a_preflight_by_another_clusters_policy_opens_nothing_to_a_cookie,
    a_cookie_counts_for_the_pages_that_the_clusters_own_policy_names,
    a_stream_by_a_cookie_ends_when_its_page_is_no_longer_named,
    a_preflight_stays_small_whatever_the_policies_are,
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

const GLOBEX: &str = "https://globex.example";

/// Policies with credentials of a cluster of acme, of a suspended one, and of one of globex.
fn with_cookies() -> Value {
    let cors = |origin: &str| {
        json!({"cors": {"origins": [origin], "methods": ["GET"], "headers": ["x-requested-with"],
            "exposedHeaders": [], "credentials": true, "maxAgeSeconds": 600}})
    };
    json!({"resources": [
        {"clusters": ["globex-1"], "browser": cors(GLOBEX)},
        {"clusters": ["acme-degraded"], "browser": cors(ACME), "requiredScopes": ["acme:secret-project"]},
        {"clusters": ["acme-1", "acme-suspended"], "browser": cors(ACME)}]})
}

/// A gateway that takes tokens from a cookie.
fn cookies(change: impl FnOnce(&mut Value)) -> World {
    let mut world = world_with(|config| {
        config["tokens"] = json!({"cookie": "__Host-session"});
        change(config);
    });
    world.change(put(RecordKind::Resources, b"", with_cookies().to_string()));
    world
}

fn at(cluster: &str, origin: &str, request: Request) -> Request {
    let request = request.authority(&format!("{cluster}.clusters.platform.test"));
    from(origin, request).header("sec-fetch-site", "cross-site")
}

/// As a browser sends it for `fetch` with `credentials: "include"`.
fn by_cookie(cluster: &str, origin: &str) -> Request {
    at(cluster, origin, Request::get("/v1")).header("cookie", format!("__Host-session={}", token(|_| ())))
}

/// What a page learns of an answer that its browser got with `credentials: "include"`.
fn learnt(exchange: &Exchange, origin: &str) -> Option<(Option<u16>, Option<String>)> {
    let (allowed, credentials, _) = told(exchange);
    (allowed == origin && credentials).then(|| (exchange.status(), header(exchange, "x-portcullis-reason")))
}

fn by_a_persons_cookie_no_page_of_another_cluster_reads_what_their_clusters_are() {
    let mut world = cookies(|_| ());
    for cluster in ["acme-1", "acme-suspended", "acme-offline", "acme-degraded", "globex-1", "no-such"] {
        let exchange = world.host.request(by_cookie(cluster, GLOBEX));
        assert_eq!(learnt(&exchange, GLOBEX), None, "{cluster}");
    }
    // Another tenant's cluster answers as one that there is not, also to the pages that it names.
    let mut whole = |cluster| {
        let exchange = world.host.request(by_cookie(cluster, GLOBEX));
        exchange.assert_refused(404);
        (told(&exchange), header(&exchange, "x-portcullis-reason"))
    };
    assert_eq!(whole("globex-1"), whole("no-such"));
    // To its own pages a cluster's refusals are told, once it is known to be the caller's.
    for (cluster, told) in [("acme-suspended", "cluster_suspended"), ("acme-degraded", "insufficient_scope")]
    {
        let exchange = world.host.request(by_cookie(cluster, ACME));
        assert_eq!(learnt(&exchange, ACME), Some((Some(403), Some(told.to_owned()))));
    }
    for cluster in ["acme-offline", "globex-1", "no-such"] {
        let exchange = world.host.request(by_cookie(cluster, ACME));
        assert_eq!(learnt(&exchange, ACME), None, "{cluster}");
    }
    // Without cookies they are told as before: `fetch` of a granted origin with a token of its own.
    let exchange = world.host.request(from(GLOBEX, good("acme-suspended")));
    assert_eq!(told(&exchange), says(GLOBEX, false));
}

fn whether_there_is_a_cookie_is_told_to_no_page_of_another_cluster() {
    let mut world = cookies(|_| ());
    let post = || at("acme-1", GLOBEX, Request::new("POST", "/v1")).header("content-type", "text/plain");
    let cookie = format!("__Host-session={}", token(|_| ()));
    for request in [post(), post().header("cookie", &cookie), post().header("cookie", "__Host-session=x")] {
        let exchange = world.host.request(request);
        assert!(exchange.upstream().is_none());
        assert_eq!(learnt(&exchange, GLOBEX), None, "{exchange}");
    }
}

fn a_preflight_by_another_clusters_policy_opens_nothing_to_a_cookie() {
    let mut world = cookies(|_| ());
    let ask = at("acme-1", GLOBEX, Request::new("OPTIONS", "/v1"))
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "x-requested-with");
    let exchange = world.host.request(ask);
    exchange.assert_refused(204);
    assert_eq!(
        told(&exchange),
        says(GLOBEX, true),
        "by the policies of all clusters, whichever is asked about"
    );
    for method in ["GET", "HEAD", "OPTIONS"] {
        for page in [GLOBEX, "https://evil.example", "null"] {
            let cookie = format!("__Host-session={}", token(|_| ()));
            let request = at("acme-1", page, Request::new(method, "/v1/delete")).header("cookie", cookie);
            let exchange = world.host.request(request.header("x-requested-with", "XMLHttpRequest"));
            exchange.assert_refused(403);
            exchange.assert_response_header("x-portcullis-reason", "cross_site_refused");
            assert_eq!(learnt(&exchange, page), None);
        }
    }
    // A token that the page itself has is nothing that a browser adds by itself.
    world.host.request(from(GLOBEX, good("acme-1"))).assert_status(200);
}

fn a_cookie_counts_for_the_pages_that_the_clusters_own_policy_names() {
    let mut world = cookies(platform);
    let mut status = |cluster, page| {
        let exchange = world.host.request(by_cookie(cluster, page));
        let seen = (exchange.status().unwrap_or_default(), learnt(&exchange, page).is_some());
        assert_eq!(exchange.upstream().is_some(), seen.0 == 200);
        seen
    };
    assert_eq!(status("acme-1", ACME), (200, true));
    assert_eq!(status("acme-1", APP), (403, false), "its own policy stands in place of the platform's");
    assert_eq!(
        status("acme-1", "https://acme-1.clusters.platform.test"),
        (403, false),
        "not by its own page"
    );
    let own = Request::get("/v1").authority("acme-1.clusters.platform.test");
    let own = own.header("cookie", format!("__Host-session={}", token(|_| ())));
    world.host.request(own.header("origin", "https://acme-1.clusters.platform.test")).assert_status(200);
    // Without a policy of its own the platform's counts; one without credentials names nobody here.
    world.change(put(RecordKind::Resources, b"", of_clusters().to_string()));
    let mut status = |cluster, page| world.host.request(by_cookie(cluster, page)).status();
    assert_eq!(status("acme-degraded", APP), Some(200));
    assert_eq!(status("acme-degraded", ACME), Some(403));
    assert_eq!(status("acme-1", ACME), Some(403));
}

fn a_stream_by_a_cookie_ends_when_its_page_is_no_longer_named() {
    let mut config = config();
    config["tokens"] = json!({"cookie": "__Host-session"});
    let mut world = World::with(vec![plugin("gateway", &config)], |host| host.without_route_timeout());
    world.change(put(RecordKind::Resources, b"", with_cookies().to_string()));
    world
        .host
        .set_upstream(Answer::ok().header("content-type", "text/event-stream").body("data: 1\n\n").stall());
    let stream = world.host.request(by_cookie("acme-1", ACME));
    let bearer = world.host.request(from(ACME, good("acme-1")));
    (0..20).for_each(|_| world.settle());
    assert!(!stream.is_over() && !bearer.is_over());
    let other = with_cookies().to_string().replace(ACME, "https://new.acme.example");
    world.change(put(RecordKind::Resources, b"", other));
    (0..20).for_each(|_| world.settle());
    assert!(stream.is_over() && !bearer.is_over());
}

fn a_preflight_stays_small_whatever_the_policies_are() {
    let list = |prefix: &str, n: usize| (0..64).map(|i| format!("{prefix}-{n}-{i}")).collect::<Vec<_>>();
    let entries: Vec<Value> = (0..48)
        .map(|n| {
            json!({"clusters": [format!("c-{n}")], "browser": {"cors": {"origins": [APP], "methods": ["GET"],
                "headers": list("x-a-header-of-mine", n), "exposedHeaders": list("x-an-answer", n),
                "credentials": false, "maxAgeSeconds": 5}}})
        })
        .collect();
    let mut world = World::gateway();
    world.change(put(RecordKind::Resources, b"", json!({"resources": entries}).to_string()));
    for request in [preflight(APP, "/"), from(APP, to("acme-1"))] {
        let exchange = world.host.request(request);
        assert_eq!(told(&exchange), says(APP, false));
        let seen = exchange.response().expect("an answer");
        let size = seen.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        assert!(size < 4_096, "{size}");
    }
}
