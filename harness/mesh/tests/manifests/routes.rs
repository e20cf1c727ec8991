//! The route of a hosted cluster, as `overlays/dev` has it, in a real gateway.

use portcullis_mesh::http::Request;
use portcullis_mesh::wait::{self, Seen};
use portcullis_mesh::{HOSTED, Mesh, Options};
use serde_json::{Value, json};

use crate::hosted::{Hosted, placed};

/// How many connections of a version of HTTP the sidecar of the cluster has taken, besides those to its admin page.
async fn connections(mesh: &Mesh, version: &str) -> u64 {
    let filter = format!("/stats?filter=inbound.*downstream_cx_{version}_total");
    let page = Request::get(mesh.plan().hosted_admin(), &filter).send().await.unwrap().text();
    let values = page.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
    values.sum()
}

/// B23, and why a WebSocket comes otherwise: over HTTP/2 the sidecar would end the connection with all that is on it.
async fn by_http2_but_for_web_sockets(mesh: &Mesh) {
    let before = connections(mesh, "http1").await;
    assert!(connections(mesh, "http2").await > 0, "requests come over HTTP/2");
    let socket = placed(mesh).at("/socket").header("connection", "upgrade").header("upgrade", "websocket");
    let answer = socket.send().await.unwrap();
    assert_eq!(answer.status, 101, "{}", answer.text());
    assert_eq!(connections(mesh, "http1").await, before + 1, "a WebSocket comes over HTTP/1.1");
}

/// Whether a manifest says it or leaves it to the mesh.
async fn no_route_repeats_what_was_sent(mesh: &Mesh) {
    let page = Request::get(mesh.plan().ingress_admin(), "/config_dump?resource=dynamic_route_configs");
    let mut found = Vec::new();
    retried_on(&page.send().await.unwrap().json(), &mut found);
    // Those of the cluster, of the one on premises, and of the platform's own endpoints.
    assert!(found.len() >= 8, "{found:?}");
    for conditions in found {
        assert_eq!(conditions, "connect-failure,refused-stream,reset-before-request");
    }
}

fn retried_on(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| retried_on(item, found)),
        Value::Object(fields) => {
            found.extend(
                fields.get("retry_policy").map(|policy| policy["retry_on"].as_str().unwrap().to_owned()),
            );
            fields.values().for_each(|field| retried_on(field, found));
        }
        _ => {}
    }
}

/// B6, B11.
#[tokio::test]
async fn a_hosted_cluster_is_reached_by_the_version_that_is_asked_for() {
    let options = Options { plugins: false, private_manifests: true, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    // Its one replica is of version 1.
    let version = json!([{"op": "add", "path": "/spec/endpoints/0/labels/version", "value": "v1"}]);
    Hosted::of_the_overlay().apply(&mesh, &version).await;
    let plain = placed(&mesh);
    let second = plain.clone().header("x-api-version", "2");
    wait::in_a_row("the route by version", &mesh.log("ingressgateway"), async || {
        let status = second.send().await?.status;
        Ok(if status == 503 { Seen::Done(()) } else { Seen::NotYet(status.to_string()) })
    })
    .await
    .unwrap();
    for request in [
        plain.clone(),
        plain.clone().header("accept", "text/event-stream"),
        plain.clone().header("content-type", "application/grpc"),
        plain.clone().header("x-api-version", "1"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status, &answer.json()["cluster"]), (200, &HOSTED.into()), "{}", answer.text());
    }
    let stream = second.clone().header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(stream.status, 503, "of version 2 there is no replica: {}", stream.text());
    by_http2_but_for_web_sockets(&mesh).await;
    no_route_repeats_what_was_sent(&mesh).await;
    mesh.stop().await;
}
