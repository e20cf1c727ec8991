//! Hosts of the platform itself: what goes on there, to whom, and that it is never a way to a data cluster.

mod world;

use portcullis_model::config::is_reserved_header;
use portcullis_testhost::{Exchange, Request};
use serde_json::{Value, json};
use world::{World, config, good, plugin, token};

on_both! {
    a_request_goes_on_with_its_own_credential_and_without_any_identity,
    the_host_is_known_in_every_spelling,
    it_is_closed_unless_configured,
    nothing_but_what_is_listed_is_there,
    what_names_a_cluster_has_no_business_at_such_a_host,
    a_data_cluster_of_the_same_name_is_a_data_cluster,
    no_snapshot_is_needed_and_an_old_one_closes_nothing,
    in_a_chain_the_host_is_written_once,
    a_dry_run_opens_no_way_to_what_is_not_there,
    pages_of_other_origins_are_judged_by_the_plugins_own_policy,
    what_the_platform_answers_under_our_name_is_taken_away,
}

const PLACE: &str = "x-portcullis-platform";
const CLIENT: &str = "x-portcullis-client-address";

/// Where the client is.
const ADDRESS: &str = "192.0.2.7:40000";

fn hosts(config: &mut Value) {
    config["platformHosts"] =
        json!([{"name": "admin", "paths": ["/v1/", "/openapi.json"]}, {"name": "ui", "paths": ["/"]}]);
}

fn world_with(change: impl FnOnce(&mut Value)) -> World {
    let mut config = config();
    hosts(&mut config);
    change(&mut config);
    World::new(vec![plugin("gateway", &config)])
}

fn world() -> World {
    world_with(|_| ())
}

fn at(host: &str, path: &str) -> Request {
    Request::get(path).authority(host).property("source.address", ADDRESS)
}

fn admin(path: &str) -> Request {
    at("admin.platform.test", path)
}

/// Of the reserved headers there are two alone: which host it is, and where the client is.
fn assert_placed(exchange: &Exchange, host: &str) {
    let seen = exchange.assert_forwarded();
    let ours = seen.headers.iter().filter(|(name, _)| is_reserved_header(name));
    let found: Vec<_> = ours.map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    let expected = [(PLACE, host), (CLIENT, ADDRESS)].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(found, expected, "{exchange}");
}

fn assert_reason(exchange: &Exchange, status: u16, reason: &str) {
    exchange.assert_refused(status);
    exchange.assert_response_header("x-portcullis-reason", reason);
}

fn a_request_goes_on_with_its_own_credential_and_without_any_identity() {
    let mut world = world();
    // Whatever is presented is for who gets it to judge: more than one thing, too.
    let request = Request::post("/v1/clusters/acme-1/heartbeat?a=b")
        .authority("admin.platform.test")
        .header("authorization", "Bearer pcc_of_a_cluster")
        .header("x-api-key", "pck_of_somebody")
        .header("cookie", "session=s")
        .header("x-portcullis-cluster", "acme-1")
        .header("x-portcullis-identity", world::identity_token("acme-1"))
        .header("x_portcullis_platform", "ui")
        .header("x-portcullis-platform", "ui")
        .header(CLIENT, "192.0.2.1:1")
        .property("source.address", ADDRESS);
    let exchange = world.host.request(request);
    exchange
        .assert_status(200)
        .assert_upstream_header("authorization", "Bearer pcc_of_a_cluster")
        .assert_upstream_header("x-api-key", "pck_of_somebody")
        .assert_upstream_header("cookie", "session=s")
        .assert_upstream_header(":path", "/v1/clusters/acme-1/heartbeat?a=b");
    assert_placed(&exchange, "admin");
    // A token by which somebody may reach clusters is no other here.
    let person = admin("/v1/clusters").header("authorization", format!("Bearer {}", token(|_| ())));
    assert_placed(&world.host.request(person), "admin");
    assert_placed(&world.host.request(at("ui.platform.test", "/")), "ui");
    let records = world.records();
    assert_eq!(records.len(), 3);
    for (record, path) in records.iter().zip(["/v1/clusters/acme-1/heartbeat", "/v1/clusters", "/"]) {
        let told = (record.decision.as_str(), record.reason.as_str(), record.subject.as_str());
        assert_eq!(told, ("platform", "", ""));
        assert_eq!((record.cluster.as_str(), record.path.as_str(), record.status), ("", path, 200));
    }
}

fn the_host_is_known_in_every_spelling() {
    let mut world = world();
    for host in
        ["ADMIN.Platform.Test", "admin.platform.test.", "admin.platform.test:8443", "admin.platform.test.:"]
    {
        assert_placed(&world.host.request(at(host, "/v1/clusters")), "admin");
    }
    // What is another host, or none, is a request like any other: it names no cluster and brings no credential.
    for host in [
        "admin.platform.test.evil.test",
        "xadmin.platform.test",
        "a.admin.platform.test",
        "u@admin.platform.test",
        "admin.platform.test:0",
        "admin.platform.test:443:443",
        "admin%2eplatform.test",
        "platform.test",
        "",
    ] {
        world.host.request(at(host, "/v1/clusters")).assert_refused(401);
    }
    let twice = admin("/v1/clusters").header("host", "api.platform.test");
    world.host.request(twice).assert_refused(400);
    let joined = at("admin.platform.test,admin.platform.test", "/v1/clusters");
    assert_reason(&world.host.request(joined.header("authorization", "Bearer x")), 400, "header_invalid");
}

fn it_is_closed_unless_configured() {
    let mut world = World::gateway();
    world.host.request(admin("/v1/clusters").header("authorization", "Bearer pca_x")).assert_refused(401);
    let mut world = world_with(|config| config["platformHosts"] = json!([{"name": "ui", "paths": ["/"]}]));
    world.host.request(admin("/v1/clusters")).assert_refused(401);
}

fn nothing_but_what_is_listed_is_there() {
    let mut world = world();
    for path in [
        "/",
        "/v1",
        "/V1/clusters",
        "/mesh/v1/snapshot",
        "/metrics",
        "/oauth2/token",
        "/.well-known/oauth-protected-resource",
        "/openapi.json/",
        "/v1/../mesh/v1/snapshot",
        "/v1/%2e%2e/metrics",
        "/v1/..%2fmetrics",
        "/v1/..;/metrics",
        "/v1//clusters",
        "/v1/a\\..\\b",
        "//v1/clusters",
    ] {
        assert_reason(&world.host.request(admin(path)), 404, "path_unknown");
    }
    let upgrade = admin("/v1/clusters").header("connection", "upgrade").header("upgrade", "websocket");
    assert_reason(&world.host.request(upgrade), 403, "upgrade_refused");
    for method in ["TRACE", "CONNECT", "debug"] {
        let request = Request::new(method, "/v1/clusters").authority("admin.platform.test");
        assert_reason(&world.host.request(request), 501, "method_refused");
    }
    let records = world.records();
    assert!(
        records.iter().all(|record| (record.decision.as_str(), record.stage.as_str()) == ("refuse", "authn"))
    );
    // The path by which a proxy is asked whether it can decide is there at every host.
    world.host.request(admin("/-/portcullis/ready")).assert_refused(200);
}

fn what_names_a_cluster_has_no_business_at_such_a_host() {
    let mut world = world();
    let bearer = format!("Bearer {}", token(|_| ()));
    for request in [
        admin("/v1/clusters").header("x-target-cluster", "acme-1"),
        admin("/v1/clusters").header("x-target-cluster", "admin"),
        admin("/clusters/acme-1/v1/items"),
        at("ui.platform.test", "/clusters/acme-1/v1/items"),
        at("ui.platform.test:443", "/clusters/"),
    ] {
        let exchange = world.host.request(request.header("authorization", &bearer));
        assert_reason(&exchange, 400, "cluster_ambiguous");
    }
    let twice = admin("/v1/clusters").header("x-target-cluster", "a").header("x-target-cluster", "a");
    assert_reason(&world.host.request(twice), 400, "header_invalid");
}

fn a_data_cluster_of_the_same_name_is_a_data_cluster() {
    let mut world = world();
    world.set_cluster("admin", "acme", portcullis_model::decision::ClusterState::Online);
    let host = "admin.clusters.platform.test";
    world.host.request(at(host, "/v1/clusters")).assert_refused(401);
    let bearer = format!("Bearer {}", token(|_| ()));
    let exchange = world.host.request(at(host, "/v1/clusters").header("authorization", &bearer));
    exchange.assert_status(200).assert_upstream_header("x-portcullis-cluster", "admin");
    exchange
        .assert_no_upstream_header(PLACE)
        .assert_no_upstream_header(CLIENT)
        .assert_no_upstream_header("authorization");
    world.host.request(good("admin")).assert_no_upstream_header(PLACE);
    let forged = good("admin").header(PLACE, "admin");
    world.host.request(forged).assert_status(200).assert_no_upstream_header(PLACE);
}

fn no_snapshot_is_needed_and_an_old_one_closes_nothing() {
    let mut config = config();
    hosts(&mut config);
    let mut world = World::cold(vec![plugin("gateway", &config)]);
    assert_placed(&world.host.request(admin("/v1/clusters")), "admin");
    world.settle();
    world.host.advance(std::time::Duration::from_secs(400));
    world.host.request(good("acme-1")).assert_refused(503);
    assert_placed(&world.host.request(admin("/v1/clusters/acme-1/suspend")), "admin");
}

fn in_a_chain_the_host_is_written_once() {
    let mut config = config();
    hosts(&mut config);
    let chain = |names: &[&'static str]| names.iter().map(|name| plugin(name, &config)).collect();
    let mut world = World::new(chain(&["authn", "source-type", "cluster-status", "audit"]));
    let forged = admin("/v1/clusters").header("x-portcullis-cluster", "acme-1");
    assert_placed(&world.host.request(forged), "admin");
    assert_eq!(world.records()[0].decision, "platform");
    assert_reason(&world.host.request(admin("/metrics")), 404, "path_unknown");
    // Who looks at the cluster alone lets nobody to the platform.
    let mut alone = World::new(chain(&["cluster-status"]));
    alone.host.request(admin("/v1/clusters")).assert_refused(401);
}

fn a_dry_run_opens_no_way_to_what_is_not_there() {
    let mut world = world_with(|config| config["mode"] = json!("dry-run"));
    let forged = |path| admin(path).header(PLACE, "admin").header("x-portcullis-cluster", "acme-1");
    let exchange = world.host.request(forged("/metrics"));
    exchange
        .assert_status(200)
        .assert_no_upstream_header(PLACE)
        .assert_no_upstream_header("x-portcullis-cluster");
    assert_placed(&world.host.request(forged("/v1/clusters")), "admin");
    assert_eq!(world.records()[0].reason, "path_unknown");
}

fn pages_of_other_origins_are_judged_by_the_plugins_own_policy() {
    let cors = |origin: &str| json!({"cors": {"origins": [origin], "methods": ["DELETE"], "headers": [], "exposedHeaders": [], "credentials": true, "maxAgeSeconds": 5}});
    let (console, tenants) = ("https://console.platform.test", "https://console.acme.example");
    let of_cluster = json!({"resources": [{"clusters": ["acme-1"], "browser": cors(tenants)}]});
    let document = world::put(portcullis_protocol::wire::RecordKind::Resources, b"", of_cluster.to_string());
    let mut world = world_with(|config| config["browser"] = cors(console));
    world.change(document.clone());
    let preflight = |origin: &str, host: &str| {
        let asked = Request::new("OPTIONS", "/v1/clusters").authority(host).header("origin", origin);
        asked.header("access-control-request-method", "DELETE")
    };
    let granted = |exchange: &Exchange| {
        let seen = exchange.response().expect("an answer");
        seen.header("access-control-allow-origin").unwrap_or_default().to_owned()
    };
    let answer = world.host.request(preflight(console, "admin.platform.test"));
    answer.assert_refused(204);
    assert_eq!(granted(&answer), console);
    // A tenant's policy is about its own cluster.
    assert_reason(&world.host.request(preflight(tenants, "admin.platform.test")), 403, "preflight_refused");
    world.host.request(preflight(tenants, "acme-1.clusters.platform.test")).assert_refused(204);
    for (origin, told) in [(console, console), (tenants, "")] {
        let exchange = world.host.request(admin("/v1/clusters").header("origin", origin));
        exchange.assert_status(200);
        assert_eq!(granted(&exchange), told);
    }
    let mut without = world_with(|_| ());
    without.change(document);
    assert_reason(&without.host.request(preflight(tenants, "ui.platform.test")), 403, "preflight_refused");
}

fn what_the_platform_answers_under_our_name_is_taken_away() {
    let mut world = world();
    let exchange = world.host.request(admin("/v1/clusters"));
    exchange.assert_response_header("x-kept", "yes");
    assert_eq!(exchange.response().unwrap().header("x-portcullis-reason"), None);
}
