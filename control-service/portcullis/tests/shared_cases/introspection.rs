//! Introspections under way: the bound is that of all replicas together.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::routing::post;
use portcullis_protocol::wire::IntrospectionRequest;
use prost::Message;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::common::replicas::Replicas;
use crate::common::{GATEWAY, Server};

/// How long a call lasts: the provider never answers.
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// A provider that never answers, and when it was asked.
async fn provider() -> (Arc<Mutex<Vec<Instant>>>, String) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    let answer = move || {
        note.lock().unwrap().push(Instant::now());
        std::future::pending::<String>()
    };
    let routes = axum::Router::new().route("/introspect", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (asked, url)
}

fn ask(server: &Server, n: u8) -> impl Future<Output = u16> + 'static {
    let request = IntrospectionRequest {
        nonce: vec![7; 16],
        provider: "corporate".to_owned(),
        token: format!("at_{n}"),
        source: vec![n; 4],
    };
    let call = server.mesh(Method::POST, "/mesh/v1/introspect", GATEWAY).body(request.encode_to_vec());
    async move { call.send().await.unwrap().status().as_u16() }
}

#[tokio::test]
async fn all_replicas_together_ask_a_provider_no_more_than_one_would() {
    let (asked, endpoint) = provider().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret of the service").unwrap();
    let replicas = Replicas::start_with("introspection", 3, |config| {
        config["introspection"] = json!([{"name": "corporate", "issuer": "https://opaque", "endpoint": endpoint,
            "clientId": "portcullis", "clientSecretFile": file.path(), "tokenPrefix": "at_",
            "audiences": ["portcullis"], "timeoutMilliseconds": TIMEOUT.as_millis(), "maxInFlight": 7}]);
    })
    .await;
    // Each notices the others within a second; until then the first one has the whole, and the others none.
    for server in replicas.iter() {
        server.until_logged("of=3").await;
    }
    // Each from a source of its own, so that no source takes what is free.
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..30 {
        tasks.spawn(ask(&replicas[usize::from(n) % 3], n));
    }
    let statuses = tasks.join_all().await;
    assert!(statuses.iter().all(|status| [502, 503].contains(status)), "{statuses:?}");
    let asked = asked.lock().unwrap();
    // Of those that began within less than a call lasts, all were under way at once.
    let together = |first: &Instant| {
        let since = |at: &Instant| at.saturating_duration_since(*first);
        asked.iter().filter(|at| *at >= first && since(at) < TIMEOUT - Duration::from_millis(300)).count()
    };
    let most = asked.iter().map(together).max().unwrap();
    assert!(most <= 7 && asked.len() >= 7, "{most} of {}: {asked:?}", asked.len());
}
