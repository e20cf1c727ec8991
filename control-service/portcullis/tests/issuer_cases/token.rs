//! Key sets that are not open to everybody: a token from a file goes with the call.

use std::sync::Mutex;

use axum::http::HeaderMap;

use super::super::*;

const SECRET: &str = "a-projected-token-of-the-tests";

/// What a key set and its discovery document were asked with; the document may name another server's keys.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, headers: &HeaderMap) -> bool {
        let text = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        self.0.lock().unwrap().push(text.clone());
        text == format!("Bearer {SECRET}")
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

async fn serve(keys_at: Option<String>, open: bool) -> (String, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({"issuer": origin, "jwks_uri": keys_at.unwrap_or_else(|| format!("{origin}/keys"))});
    let (keys, discovery) = (seen.clone(), seen.clone());
    let key = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "1"}]});
    let routes = axum::Router::new()
        .route(
            "/keys",
            get(move |headers: HeaderMap| {
                let good = keys.note(&headers) || open;
                let status = if good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                std::future::ready((status, axum::Json(key.clone())))
            }),
        )
        .route(
            "/.well-known/openid-configuration",
            get(move |headers: HeaderMap| {
                discovery.note(&headers);
                std::future::ready(axum::Json(document.clone()))
            }),
        );
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (origin, seen)
}

#[tokio::test]
async fn a_token_goes_to_the_named_server_alone_and_is_read_anew_each_time() {
    let (elsewhere, elsewhere_seen) = serve(None, true).await;
    let (guarded, seen) = serve(None, false).await;
    let (leading, leading_seen) = serve(Some(format!("{elsewhere}/keys")), false).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "an-older-token\n").unwrap();
    let issuer = |name: &str, source: Value| {
        let mut issuer =
            json!({"issuer": name, "audiences": ["a"], "algorithms": ["EdDSA"], "bearerTokenFile": &file});
        issuer.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        issuer
    };
    let issuers = json!([
        issuer(NAME, json!({"jwksUri": format!("{guarded}/keys")})),
        issuer(&leading, json!({"discovery": true})),
    ]);
    let server = start(1, issuers).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    // With a token that the server does not take there are no keys; with the next one there are.
    server.until_logged("answered 401").await;
    assert_eq!(kids(&reader, NAME), Vec::<String>::new());
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    until_kids(&server, &mut reader, NAME, &["1"]).await;
    until_kids(&server, &mut reader, &leading, &["1"]).await;
    assert!(seen.all().iter().all(|header| header.starts_with("Bearer ")));
    assert!(leading_seen.all().iter().all(|header| header.starts_with("Bearer ")));
    assert!(elsewhere_seen.all().iter().all(String::is_empty), "another server than the one that was named");
    std::fs::remove_file(&file).unwrap();
    server.until_logged("bearerTokenFile cannot be read").await;
    std::fs::write(&file, "two\nlines").unwrap();
    server.until_logged("bearerTokenFile holds no token").await;
    let log = server.log();
    assert!(!log.contains(SECRET) && !log.contains("an-older-token"), "{log}");
}
