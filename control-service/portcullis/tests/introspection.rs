//! Opaque tokens: what a provider is asked, what a gateway is told, and what nobody ever sees.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use common::{GATEWAY, SIDECAR, Server};
use portcullis_protocol::snapshot::{PageError, verify_introspection};
use portcullis_protocol::wire::{IntrospectionAnswer, IntrospectionRequest};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "s3cret of the service: 100%";

#[derive(Clone, Default)]
struct Provider {
    seen: Arc<Mutex<Vec<(String, String)>>>,
    waiting: Arc<AtomicUsize>,
}

/// Answers by what the token is called.
async fn introspect(
    provider: State<Provider>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, HeaderMap, String) {
    let (status, body) = answer(provider, headers, body).await;
    let rest = (status == StatusCode::TOO_MANY_REQUESTS).then_some(("retry-after", "60"));
    let headers = rest.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    (status, headers.collect(), body)
}

async fn answer(State(provider): State<Provider>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let authorization =
        headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    provider.seen.lock().unwrap().push((authorization, body.clone()));
    let ok = |value: Value| (StatusCode::OK, value.to_string());
    match body.split('&').next().unwrap().trim_start_matches("token=at_") {
        "good" => ok(json!({"active": true, "sub": "ann", "aud": "portcullis", "tenant": "acme"})),
        "bad" => ok(json!({"active": false, "sub": "ann"})),
        "odd" => ok(json!({"active": "yes"})),
        "large" => ok(json!({"active": true, "x": "x".repeat(100_000)})),
        "html" => (StatusCode::OK, "<html>".to_owned()),
        // With a Retry-After.
        "rest" => (StatusCode::TOO_MANY_REQUESTS, String::new()),
        "error" => (StatusCode::INTERNAL_SERVER_ERROR, "at_error is not known".to_owned()),
        _ => {
            provider.waiting.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    }
}

async fn start() -> (Server, Provider) {
    start_with("basic", "port:cullis").await
}

async fn start_with(client_auth: &str, client_id: &str) -> (Server, Provider) {
    let provider = Provider::default();
    let routes = axum::Router::new().route("/introspect", post(introspect)).with_state(provider.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/introspect", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [SECRET, "\n"].concat()).unwrap();
    let server = Server::start_with(|config| {
        config["log"] = json!({"level": "trace"});
        config["introspection"] = json!([{"name": "corporate", "issuer": "https://opaque", "endpoint": endpoint,
            "clientId": client_id, "clientAuth": client_auth, "clientSecretFile": file.path(), "tokenPrefix": "at_",
            "audiences": ["portcullis"], "timeoutMilliseconds": 1500, "maxInFlight": 3, "activeSeconds": 20}]);
    })
    .await;
    (server, provider)
}

fn request(provider: &str, token: &str) -> Vec<u8> {
    request_of(provider, token, &[])
}

fn request_of(provider: &str, token: &str, source: &[u8]) -> Vec<u8> {
    let (provider, token) = (provider.to_owned(), token.to_owned());
    IntrospectionRequest { nonce: vec![7; 16], provider, token, source: source.to_vec() }.encode_to_vec()
}

async fn ask(server: &Server, token: &str) -> Result<IntrospectionAnswer, u16> {
    ask_of(server, token, &[]).await
}

async fn ask_of(server: &Server, token: &str, source: &[u8]) -> Result<IntrospectionAnswer, u16> {
    let body = request_of("corporate", token, source);
    let call = server.mesh(Method::POST, "/mesh/v1/introspect", GATEWAY).body(body);
    let answer = call.send().await.unwrap();
    if answer.status() != 200 {
        return Err(answer.status().as_u16());
    }
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(verify_introspection(&bytes, &server.key, &[8; 16], "corporate"), Err(PageError::Nonce));
    Ok(verify_introspection(&bytes, &server.key, &[7; 16], "corporate").unwrap())
}

#[tokio::test]
async fn a_provider_is_asked_by_the_rfc_and_only_a_clear_answer_counts() {
    use base64::Engine;
    let (server, provider) = start().await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let document = reader.state.introspection_of("at_x").unwrap();
    assert_eq!((document.name.as_str(), document.active_seconds), ("corporate", 20));

    let good = ask(&server, "at_good").await.unwrap();
    assert!(good.active);
    assert_eq!(serde_json::from_slice::<Value>(&good.claims).unwrap()["sub"], "ann");
    let bad = ask(&server, "at_bad").await.unwrap();
    assert!(!bad.active && bad.claims.is_empty(), "nothing is told of an inactive token");
    for failing in ["at_odd", "at_large", "at_html", "at_error"] {
        assert_eq!(ask(&server, failing).await, Err(502), "{failing}");
    }
    let (authorization, body) = provider.seen.lock().unwrap()[0].clone();
    assert_eq!(body, "token=at_good&token_type_hint=access_token");
    let pair =
        base64::engine::general_purpose::STANDARD.decode(authorization.trim_start_matches("Basic ")).unwrap();
    assert_eq!(pair, b"port%3Acullis:s3cret+of+the+service%3A+100%25");

    let metrics =
        server.http.get(server.url("operations", "/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("portcullis_introspections_total{provider=\"corporate\",outcome=\"active\"} 1"));
    assert!(metrics.contains("portcullis_introspections_total{provider=\"corporate\",outcome=\"failed\"} 4"));
    for secret in ["at_good", "at_error", SECRET, "s3cret"] {
        assert!(!server.log().contains(secret) && !metrics.contains(secret), "{secret}");
    }
}

/// Anybody can make up opaque tokens until their provider wants to be left alone; JWTs are sent to it only once they were
/// verified.
#[tokio::test]
async fn what_made_up_tokens_bring_about_is_none_of_the_verified_ones() {
    let (server, provider) = start().await;
    // What makes a JWT of it is its header. The sample answers nothing about it, and is asked all the same.
    let jwt = ["eyJhbGciOiJFUzI1NiJ9", "e30", "AAAA"].join(".");
    assert_eq!(ask(&server, "at_rest").await, Err(502));
    let asked = || provider.seen.lock().unwrap().len();
    assert_eq!((ask(&server, "at_good").await, asked()), (Err(502), 1), "it rests");
    assert_eq!((ask(&server, &jwt).await, asked()), (Err(502), 2), "not for these");
    assert_eq!((ask(&server, "at_good").await, asked()), (Err(502), 2), "nor does that end the rest");
}

#[tokio::test]
async fn a_provider_that_departs_from_the_rfc_is_shown_the_secret_as_it_wants_it() {
    use base64::Engine;
    let (server, provider) = start_with("basic_unencoded", "portcullis").await;
    assert!(ask(&server, "at_good").await.unwrap().active);
    let (authorization, body) = provider.seen.lock().unwrap()[0].clone();
    let pair =
        base64::engine::general_purpose::STANDARD.decode(authorization.trim_start_matches("Basic ")).unwrap();
    assert_eq!(pair, ["portcullis:", SECRET].concat().as_bytes());
    assert!(!body.contains("client_secret"));
    let (server, provider) = start_with("post", "port:cullis").await;
    assert!(ask(&server, "at_good").await.unwrap().active);
    let (authorization, body) = provider.seen.lock().unwrap()[0].clone();
    assert_eq!(authorization, "");
    let wanted = "&client_id=port%3Acullis&client_secret=s3cret+of+the+service%3A+100%25";
    assert!(body.ends_with(wanted), "{body}");
    assert!(!server.log().contains("s3cret"));
}

#[tokio::test]
async fn a_slow_provider_takes_neither_time_nor_place_without_bound() {
    let (server, provider) = start().await;
    let slow = async |source: u8| {
        let begun = std::time::Instant::now();
        (ask_of(&server, "at_slow", &[source; 4]).await, begun.elapsed())
    };
    let under_way = async |n| {
        common::until("they are under way", async || provider.waiting.load(Ordering::SeqCst) == n).await;
    };
    let others = async {
        under_way(2).await;
        // One source has two of three: it gets no third, and another one does.
        let greedy = ask_of(&server, "at_good", &[1; 4]).await;
        let modest = ask_of(&server, "at_good", &[2; 4]).await;
        let third = async {
            under_way(3).await;
            ask_of(&server, "at_good", &[4; 4]).await
        };
        let (last, full) = tokio::join!(slow(3), third);
        (greedy, modest, last, full)
    };
    let (first, second, (greedy, modest, last, full)) = tokio::join!(slow(1), slow(1), others);
    assert_eq!(greedy, Err(503), "a source that has as many as are free");
    assert!(modest.unwrap().active);
    assert_eq!(full, Err(503), "more than maxInFlight");
    for (outcome, took) in [first, second, last] {
        assert_eq!(outcome, Err(502));
        // Its own time-out: the provider never answers.
        assert!(took < common::AT_ONCE, "{took:?}");
    }
    assert!(ask(&server, "at_good").await.unwrap().active, "the places are free again");
}

#[tokio::test]
async fn only_gateways_may_ask_and_only_what_can_be_a_token() {
    let (server, provider) = start().await;
    let call = |principal, body| server.mesh(Method::POST, "/mesh/v1/introspect", principal).body(body);
    for (principal, body, status) in [
        (SIDECAR, request("corporate", "at_good"), 403),
        ("spiffe://cluster.local/ns/x/sa/x", request("corporate", "at_good"), 403),
        (GATEWAY, request("other", "at_good"), 404),
        (GATEWAY, request("corporate", ""), 400),
        (GATEWAY, request("corporate", "a b"), 400),
        (GATEWAY, request("corporate", &"a".repeat(8193)), 400),
        (GATEWAY, request("corporate", &"a".repeat(20_000)), 413),
        (GATEWAY, b"\xff\xff".to_vec(), 400),
        (
            GATEWAY,
            IntrospectionRequest {
                nonce: vec![1],
                ..IntrospectionRequest::decode(&*request("corporate", "a")).unwrap()
            }
            .encode_to_vec(),
            400,
        ),
    ] {
        assert_eq!(call(principal, body).send().await.unwrap().status(), status);
    }
    let url = server.url("mesh", "/mesh/v1/introspect");
    let bare = server.http.post(url).body(request("corporate", "at_good")).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert!(provider.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_provider_that_asks_for_it_is_left_alone_for_a_moment_and_its_outage_is_told_once() {
    let (server, provider) = start().await;
    let asked = || provider.seen.lock().unwrap().len();
    for _ in 0..5 {
        assert_eq!(ask(&server, "at_error").await, Err(502));
    }
    assert_eq!(asked(), 5);
    let told = |text: &str| server.log().matches(text).count();
    assert_eq!(told("tokens cannot be introspected"), 1, "{}", server.log());
    assert!(ask(&server, "at_good").await.unwrap().active);
    server.until_logged("tokens are introspected again").await;
    let begun = std::time::Instant::now();
    assert_eq!(ask(&server, "at_rest").await, Err(502));
    let before = asked();
    assert_eq!(ask(&server, "at_good").await, Err(502), "it said a minute");
    assert_eq!(asked(), before);
    // A minute in which nobody gets through is more than one who sends bad tokens may bring about.
    common::until("it is asked again", async || ask(&server, "at_good").await.is_ok()).await;
    assert!(begun.elapsed() > std::time::Duration::from_millis(4_500), "{:?}", begun.elapsed());
}
