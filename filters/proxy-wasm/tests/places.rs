//! Where a token may stand, and what goes upstream of the place where it stood.

mod world;

use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};
use world::{API_KEY, World, config, plugin, token};

on_both! {
    only_the_token_is_taken_out,
    places_that_are_not_configured_are_none,
    two_places_are_two_credentials,
    a_place_with_nothing_in_it_is_a_malformed_credential_and_not_none,
    a_path_selector_takes_no_cookie,
    a_cookie_is_good_for_the_clusters_own_pages_only,
    api_keys_stand_in_headers_only,
    a_token_is_kept_where_that_is_asked_for_and_an_api_key_never,
    no_record_has_the_token_of_a_query,
}

const HOST: &str = "acme-1.clusters.platform.test";

fn world(tokens: Value) -> World {
    let mut config = config();
    config["tokens"] = tokens;
    World::new(vec![plugin("gateway", &config)])
}

fn everywhere() -> Value {
    json!({"headers": [{"name": "X-Token"}, {"name": "x-goog-iap", "prefix": "Bearer "}],
           "cookie": "__Host-session", "query": "access_token"})
}

fn get(path: &str) -> Request {
    Request::get(path).authority(HOST)
}

fn assert_refused(exchange: &Exchange, status: u16, reason: &str) {
    exchange.assert_refused(status);
    exchange.assert_response_header("x-portcullis-reason", reason);
}

fn only_the_token_is_taken_out() {
    let mut world = world(everywhere());
    let token = token(|_| ());
    for (name, value) in [("x-token", token.clone()), ("x-goog-iap", format!("bearer {token}"))] {
        let exchange = world.host.request(get("/v1").header(name, value));
        exchange.assert_status(200).assert_no_upstream_header(name);
    }
    for (cookie, rest) in [
        (format!("a=1; __Host-session={token}; b=\"2\""), Some("a=1; b=\"2\"")),
        (format!("__Host-session={token};a=1"), Some("a=1")),
        (format!("__Host-session={token}"), None),
    ] {
        let exchange = world.host.request(get("/v1").header("cookie", cookie));
        let seen = exchange.assert_status(200).assert_forwarded();
        assert_eq!(seen.header("cookie"), rest);
    }
    for (path, rest) in [
        (format!("/v1?a=%20&access_token={token}&b"), "/v1?a=%20&b"),
        (format!("/v1?access_token={token}"), "/v1"),
        (format!("/v1?%61ccess_token={token}&&c=+"), "/v1?&c=+"),
        (format!("/v1?a=%2e&access_token={}&b=%", token.replace('.', "%2E")), "/v1?a=%2e&b=%"),
        (format!("/v1?access_token=%{:02x}{}", token.as_bytes()[0], &token[1..]), "/v1"),
    ] {
        let exchange = world.host.request(get(&path));
        exchange.assert_status(200).assert_upstream_header(":path", rest);
    }
    // What is no place stays as it is.
    let exchange = world.host.request(
        get("/v1?token=t").header("authorization", format!("Bearer {token}")).header("cookie", "session=x"),
    );
    exchange.assert_upstream_header("cookie", "session=x").assert_upstream_header(":path", "/v1?token=t");
}

fn places_that_are_not_configured_are_none() {
    let mut world = World::gateway();
    let token = token(|_| ());
    for request in [
        get("/v1").header("x-token", &token),
        get("/v1").header("cookie", format!("__Host-session={token}")),
        get(&format!("/v1?access_token={token}")),
    ] {
        assert_refused(&world.host.request(request), 401, "credential_missing");
    }
}

fn two_places_are_two_credentials() {
    let mut world = world(everywhere());
    let token = token(|_| ());
    let bearer = format!("Bearer {token}");
    let cookie = format!("__Host-session={token}");
    let path = format!("/v1?access_token={token}");
    for request in [
        get("/v1").header("authorization", &bearer).header("cookie", &cookie),
        get(&path).header("cookie", &cookie),
        get(&path).header("x-api-key", API_KEY),
        get("/v1").header("x-token", &token).header("x-goog-iap", &bearer),
        get("/v1").header("x-token", &token).header("x-token", &token),
        get("/v1").header("x-token", format!("{token},{token}")),
        get("/v1").header("cookie", format!("{cookie}; {cookie}")),
        get("/v1").header("cookie", &cookie).header("cookie", "a=1"),
        get(&format!("{path}&access_token={token}")),
        get(&format!("{path}&acce%73s_token=x")),
        get(&path).header("x-token", ""),
        get("/v1").header("authorization", "Basic dTpw").header("cookie", &cookie),
    ] {
        let told = format!("{request:?}");
        let exchange = world.host.request(request);
        let joined = exchange.upstream().is_none() && exchange.status() == Some(400);
        assert!(joined, "{told}: {exchange}");
        exchange.assert_response_header("x-portcullis-reason", "credential_ambiguous");
    }
}

fn a_place_with_nothing_in_it_is_a_malformed_credential_and_not_none() {
    let mut world = world(everywhere());
    let token = token(|_| ());
    for request in [
        get("/v1").header("x-token", ""),
        get("/v1").header("x-goog-iap", &token),
        get("/v1").header("x-goog-iap", "Bearer"),
        get("/v1").header("cookie", "__Host-session="),
        get("/v1").header("cookie", "a=1; __Host-session"),
        get("/v1?access_token"),
        get("/v1?access_token=&b"),
    ] {
        assert_refused(&world.host.request(request), 401, "credential_malformed");
    }
}

fn a_path_selector_takes_no_cookie() {
    let mut world = world(everywhere());
    let cookie = format!("__Host-session={}", token(|_| ()));
    let by_path =
        Request::get("/clusters/acme-1/v1").authority("api.platform.test").header("cookie", &cookie);
    assert_refused(&world.host.request(by_path), 401, "credential_unsupported");
    let both = get("/clusters/acme-1/v1").header("cookie", &cookie);
    assert_refused(&world.host.request(both), 401, "credential_unsupported");
    world.host.request(get("/v1").header("cookie", &cookie)).assert_status(200);
}

fn a_cookie_is_good_for_the_clusters_own_pages_only() {
    let mut world = world(everywhere());
    let token = token(|_| ());
    let cookie = format!("__Host-session={token}");
    let ask = |method: &str| Request::new(method, "/v1").authority(HOST);
    let own = format!("https://{HOST}");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let with = |more: &[(&'static str, &str)]| {
            let request = ask(method).header("cookie", &cookie);
            more.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        for more in [&[][..], &[("origin", "https://evil.test")], &[("sec-fetch-site", "cross-site")]] {
            assert_refused(&world.host.request(with(more)), 403, "cross_site_refused");
        }
        for more in [&[("origin", own.as_str())][..], &[("sec-fetch-site", "same-origin")]] {
            world.host.request(with(more)).assert_status(200);
        }
        // Nobody's page can make a browser send any of these.
        for (name, value) in [("authorization", format!("Bearer {token}")), ("x-token", token.clone())] {
            world.host.request(ask(method).header(name, value)).assert_status(200);
        }
    }
    let socket = || get("/v1").header("cookie", &cookie).header("upgrade", "websocket");
    assert_refused(&world.host.request(socket()), 403, "cross_site_refused");
    let foreign = socket().header("origin", "https://evil.test");
    assert_refused(&world.host.request(foreign), 403, "cross_site_refused");
    world.host.request(socket().header("origin", &own)).assert_status(200);
    world.host.request(get("/v1").header("cookie", &cookie)).assert_status(200);
}

fn api_keys_stand_in_headers_only() {
    let mut world = world(everywhere());
    let exchange = world.host.request(get("/v1").header("x-token", API_KEY));
    exchange.assert_status(200).assert_no_upstream_header("x-token");
    for request in [
        get("/v1").header("cookie", format!("__Host-session={API_KEY}")),
        get(&format!("/v1?access_token={API_KEY}")),
    ] {
        assert_refused(&world.host.request(request), 401, "credential_unsupported");
    }
}

fn a_token_is_kept_where_that_is_asked_for_and_an_api_key_never() {
    let mut tokens = everywhere();
    tokens["keep"] = json!(true);
    let mut world = world(tokens);
    let token = token(|_| ());
    let bearer = format!("Bearer {token}");
    let cookie = format!("a=1; __Host-session={token}");
    let path = format!("/v1?access_token={token}");
    world
        .host
        .request(get("/v1").header("authorization", &bearer))
        .assert_upstream_header("authorization", &bearer);
    world.host.request(get("/v1").header("x-token", &token)).assert_upstream_header("x-token", &token);
    world.host.request(get("/v1").header("cookie", &cookie)).assert_upstream_header("cookie", &cookie);
    world.host.request(get(&path)).assert_upstream_header(":path", &path);
    for (name, value) in [
        ("x-api-key", API_KEY.to_owned()),
        ("authorization", format!("Bearer {API_KEY}")),
        ("x-token", API_KEY.into()),
    ] {
        let exchange = world.host.request(get("/v1").header(name, value));
        exchange.assert_status(200).assert_no_upstream_header(name);
    }
}

fn no_record_has_the_token_of_a_query() {
    let mut world = world(everywhere());
    world.host.request(get(&format!("/v1?access_token={}", token(|_| ())))).assert_status(200);
    let told = format!("{:?} {:?}", world.records(), world.host.logs());
    assert!(!told.contains("eyJ") && !told.contains("access_token"), "{told}");
}
