//! Signing keys: a change that is asked of two replicas is one change, and each signs by the key that all can verify.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_identity::CredentialKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::common::replicas::Replicas;
use crate::common::{GATEWAY, Reader, Server, text, until};

async fn rotate(server: &Server, purpose: &str) -> (u16, Value) {
    let path = ["/v1/signing-keys/", purpose].concat();
    let answer = server.api(Method::POST, &path).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What each key of a purpose does, as a replica tells it.
async fn states(server: &Server, purpose: &str) -> Vec<(String, String)> {
    let list = server.expect(200, Method::GET, "/v1/signing-keys", None).await;
    let keys = list["signing_keys"].as_array().unwrap().iter().filter(|key| key["purpose"] == purpose);
    keys.map(|key| (text(&key["kid"]), text(&key["state"]))).collect()
}

async fn token(server: &Server, secret: &str) -> String {
    let form = [("grant_type", "client_credentials"), ("client_id", "svc-a"), ("client_secret", secret)];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let call = server.http.post(server.url("platform", "/oauth2/token"));
    let call = call.header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer: Value = call.send().await.unwrap().json().await.unwrap();
    text(&answer["access_token"])
}

fn kid(token: &str) -> String {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    text(&serde_json::from_slice::<Value>(&head).unwrap()["kid"])
}

/// Whether a gateway can verify what a key has signed.
fn knows(gateway: &Reader, kid: &str) -> bool {
    let own = gateway.state.issuers().find(|issuer| issuer.credential == CredentialKind::ServiceToken);
    own.unwrap().jwks.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
}

async fn start(test: &str) -> Replicas {
    Replicas::start_with(test, 3, |config| {
        let fast = json!({"issuer": "https://portcullis.example.com", "audiences": ["portcullis"],
            "publishSeconds": 1, "lifetimeSeconds": 30, "keepSeconds": 60});
        config["serviceTokens"] = fast;
        config["identity"]["publishSeconds"] = json!(1);
    })
    .await
}

#[tokio::test]
async fn a_change_of_keys_asked_of_two_replicas_at_once_is_one_change() {
    let replicas = start("rotation").await;
    let mut gateway = replicas[2].reader("gateway", GATEWAY, "01");
    gateway.sync(&replicas[2]).await;
    let (one, other) = tokio::join!(rotate(&replicas[0], "identity"), rotate(&replicas[1], "identity"));
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409], "{one:?} {other:?}");
    let begun = if one.0 == 202 { one.1 } else { other.1 };
    let new = text(&begun["signing_key"]["kid"]);
    // A worker that polls a replica which was not asked has not got it.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for server in replicas.iter() {
        let list = states(server, "identity").await;
        assert!(list.contains(&(new.clone(), "published".to_owned())) && list.len() == 2, "{list:?}");
    }
    gateway.sync(&replicas[2]).await;
    gateway.poll(&replicas[1], 0).await;
    for server in replicas.iter() {
        until("it signs everywhere", async || {
            states(server, "identity").await.contains(&(new.clone(), "signs".to_owned()))
        })
        .await;
    }
    gateway.sync(&replicas[0]).await;
    assert_eq!(gateway.state.signer().unwrap().key_id.as_str(), new);
    let records = replicas[2].expect(200, Method::GET, "/v1/audit/records?limit=1000", None).await;
    let path = ["/signing-keys/identity/", &new].concat();
    let steps = records["records"].as_array().unwrap().iter().filter(|r| r["path"] == path.as_str()).count();
    assert_eq!(steps, 1, "it began to sign once");
}

#[tokio::test]
async fn no_replica_signs_by_a_key_that_a_worker_of_another_has_not_got() {
    let replicas = start("signs").await;
    let body = json!({"id": "svc-a", "tenant": "acme", "roles": ["reader"]});
    let made = replicas[0].expect(201, Method::POST, "/v1/service-clients", Some(body)).await;
    let secret = text(&made["client_secret"]);
    let mut gateway = replicas[1].reader("gateway", GATEWAY, "01");
    gateway.sync(&replicas[1]).await;
    let old = kid(&token(&replicas[2], &secret).await);
    assert!(knows(&gateway, &old));
    let (status, begun) = rotate(&replicas[2], "service").await;
    assert_eq!(status, 202);
    let new = text(&begun["signing_key"]["kid"]);
    // While the gateway has not got it, nobody signs by it, however long it is published.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        for server in replicas.iter() {
            assert_eq!(kid(&token(server, &secret).await), old);
        }
    }
    until("a gateway that reads gets it, and only then it signs", async || {
        gateway.poll(&replicas[0], 0).await;
        let kid = kid(&token(&replicas[1], &secret).await);
        assert!(knows(&gateway, &kid), "{kid}");
        kid == new
    })
    .await;
    for server in replicas.iter() {
        assert_eq!(kid(&token(server, &secret).await), new, "each by the key that the database says");
    }
}
