//! The token endpoint: client credentials, token exchange, errors, rotation, revocation.

mod common;
mod oauth_cases;

use std::time::Duration;

use common::{GATEWAY, PATIENCE, Server, text, until};
use jwt_simple::prelude::*;
use portcullis_authn::{KeyRing, PureRust, Verified, is_revoked, jwt};
use portcullis_identity::CredentialKind;
use portcullis_mesh::idp::{now_s, sign};
use portcullis_model::Reason;
use portcullis_model::state::SnapshotState;
use reqwest::{Method, Response};
use serde_json::{Value, json};

const ISSUER: &str = "https://portcullis.example.com";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A service that gives out tokens, and an identity provider of which it has the public key.
async fn start(edit: impl FnOnce(&mut Value)) -> (Server, Ed25519KeyPair) {
    use base64::Engine;
    let idp = Ed25519KeyPair::generate().with_key_id("idp");
    let x = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(idp.public_key().to_bytes());
    let server = Server::start_with(|config| {
        config["serviceTokens"] = json!({"issuer": ISSUER, "audiences": ["portcullis"]});
        config["issuers"][0]["jwks"] =
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "idp", "x": x}]});
        config["sourceRules"] = json!([
            {"name": "services", "sourceType": "worker", "when": {"credential": ["service_token"]}},
            {"name": "people", "sourceType": "human", "when": {"credential": ["jwt"], "delegated": false}},
        ]);
        edit(config);
    })
    .await;
    (server, idp)
}

/// A token of the identity provider for ann.
fn token_of(idp: &Ed25519KeyPair, extra: &Value) -> String {
    let mut claims = json!({"iss": "https://idp.example.com", "aud": "portcullis", "sub": "ann", "tenant": "acme",
        "roles": ["reader", "owner"], "scope": "a b", "iat": now_s(), "exp": now_s() + 100});
    claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    sign(|claims| idp.sign(claims), &claims).unwrap()
}

async fn client(server: &Server, id: &str, extra: Value) -> String {
    let mut body = json!({"id": id, "tenant": "acme", "roles": ["reader", "writer"], "scopes": ["b", "c"]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let made = server.expect(201, Method::POST, "/v1/service-clients", Some(body)).await;
    text(&made["client_secret"])
}

async fn ask(server: &Server, id: &str, secret: &str, form: &[(&str, &str)]) -> Response {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let call = server.http.post(server.url("platform", "/oauth2/token"));
    let call = call.header("content-type", "application/x-www-form-urlencoded").body(body);
    call.basic_auth(id, Some(secret)).send().await.unwrap()
}

async fn good(server: &Server, id: &str, secret: &str, form: &[(&str, &str)]) -> Value {
    let answer = ask(server, id, secret, form).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let (status, body) = (answer.status(), answer.json().await.unwrap());
    assert_eq!(status, 200, "{body}");
    body
}

async fn refused(server: &Server, id: &str, secret: &str, form: &[(&str, &str)]) -> (u16, String) {
    let answer = ask(server, id, secret, form).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let status = answer.status().as_u16();
    (status, text(&answer.json::<Value>().await.unwrap()["error"]))
}

const PLAIN: [(&str, &str); 1] = [("grant_type", "client_credentials")];

/// Judges a token as a gateway does.
async fn judge(server: &Server, token: &str) -> Result<Verified, Reason> {
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(server).await;
    judge_by(&reader.state, token)
}

fn judge_by(state: &SnapshotState, token: &str) -> Result<Verified, Reason> {
    let verified = jwt::verify(token.as_bytes(), state, &KeyRing::default(), &PureRust, now_s())
        .map_err(|why| why.reason)?;
    if is_revoked(&verified.principal, state) { Err(Reason::CredentialRevoked) } else { Ok(verified) }
}

#[tokio::test]
async fn a_service_gets_a_token_that_gateways_accept() {
    let (server, _) = start(|_| {}).await;
    let secret = client(&server, "svc-batch", json!({})).await;
    let answer = good(&server, "svc-batch", &secret, &PLAIN).await;
    assert_eq!((text(&answer["token_type"]), &answer["expires_in"]), ("Bearer".into(), &json!(600)));
    assert_eq!(answer["scope"], "b c");
    let verified = judge(&server, &text(&answer["access_token"])).await.unwrap();
    let principal = &verified.principal;
    assert_eq!(principal.credential, CredentialKind::ServiceToken);
    assert_eq!((principal.subject.as_str(), principal.tenant.as_str()), ("svc-batch", "acme"));
    assert_eq!(principal.client_id.as_ref().unwrap().as_str(), "svc-batch");
    assert_eq!((principal.roles.len(), principal.scopes.len()), (2, 2));
    // The metadata lead to the key that verifies it (RFC 8414).
    let get = async |path: &str| -> Value {
        server.http.get(server.url("platform", path)).send().await.unwrap().json().await.unwrap()
    };
    let metadata = get("/.well-known/oauth-authorization-server").await;
    assert_eq!(
        (text(&metadata["issuer"]), metadata["jwks_uri"].as_str()),
        (ISSUER.into(), Some("https://portcullis.example.com/oauth2/jwks"))
    );
    let key = &get("/oauth2/jwks").await["keys"][0];
    assert_eq!(text(&key["kid"]), principal.key_id.as_ref().unwrap().as_str());
    // Issued tokens are audited with their id, and without themselves.
    let records = server.expect(200, Method::GET, "/v1/audit/records?subject=client:svc-batch", None).await;
    let path = ["/oauth2/token/", principal.token_id.as_deref().unwrap()].concat();
    assert_eq!(records["records"][0]["path"], path);
    assert!(!server.log().contains(&secret));
}

#[tokio::test]
async fn errors_are_those_of_the_rfcs() {
    let (server, idp) = start(|_| {}).await;
    let secret = client(&server, "svc-a", json!({})).await;
    let agent = client(&server, "svc-agent", json!({"may_exchange": true})).await;
    let other = client(&server, "svc-other", json!({"may_exchange": true, "tenant": "globex"})).await;
    let subject = token_of(&idp, &json!({}));
    let expired = token_of(&idp, &json!({"exp": now_s() - 100}));
    let exchange = |token: &'static str| {
        [("grant_type", EXCHANGE), ("subject_token_type", ACCESS_TOKEN), ("subject_token", token)]
    };
    let subject: &'static str = subject.leak();
    let expired: &'static str = expired.leak();
    let with = |name, value| [("grant_type", "client_credentials"), (name, value)];
    for (id, secret, form, wanted) in [
        ("svc-a", &secret, with("scope", "b nope").to_vec(), (400, "invalid_scope")),
        ("svc-a", &secret, with("audience", "nope").to_vec(), (400, "invalid_target")),
        ("svc-a", &secret, vec![("grant_type", "password")], (400, "unsupported_grant_type")),
        ("svc-a", &secret, vec![], (400, "invalid_request")),
        ("svc-a", &secret, with("client_secret", "x").to_vec(), (400, "invalid_request")),
        ("svc-a", &agent, PLAIN.to_vec(), (401, "invalid_client")),
        ("svc-none", &secret, PLAIN.to_vec(), (401, "invalid_client")),
        ("svc-a", &"short".to_owned(), PLAIN.to_vec(), (401, "invalid_client")),
        ("svc-a", &secret, exchange(subject).to_vec(), (400, "unauthorized_client")),
        ("svc-agent", &agent, exchange("garbage").to_vec(), (400, "invalid_grant")),
        ("svc-agent", &agent, exchange(expired).to_vec(), (400, "invalid_grant")),
        ("svc-other", &other, exchange(subject).to_vec(), (400, "invalid_grant")),
    ] {
        let (status, error) = refused(&server, id, secret, &form).await;
        assert_eq!((status, error.as_str()), wanted, "{id} {form:?}");
    }
    let bare = server.http.post(server.url("platform", "/oauth2/token")).send().await.unwrap();
    assert_eq!(bare.status(), 400, "not a form");
    let form = server.http.post(server.url("platform", "/oauth2/token"));
    let form = form
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials");
    let answer = form.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["www-authenticate"].to_str().unwrap()),
        (401, "Basic realm=\"portcullis\"")
    );
}

#[tokio::test]
async fn secrets_rotate_with_an_overlap_and_a_revoked_client_ends_at_once() {
    let (server, _) = start(|_| {}).await;
    let old = client(&server, "svc-a", json!({})).await;
    let token = text(&good(&server, "svc-a", &old, &PLAIN).await["access_token"]);
    let path = "/v1/service-clients/svc-a/rotate";
    let rotated = server.expect(200, Method::POST, path, Some(json!({"overlap_s": 4}))).await;
    let new = text(&rotated["client_secret"]);
    good(&server, "svc-a", &old, &PLAIN).await;
    good(&server, "svc-a", &new, &PLAIN).await;
    until("the old secret ends", async || ask(&server, "svc-a", &old, &PLAIN).await.status() == 401).await;
    good(&server, "svc-a", &new, &PLAIN).await;

    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    assert!(judge_by(&reader.state, &token).is_ok());
    server.expect(200, Method::DELETE, "/v1/service-clients/svc-a", None).await;
    assert_eq!(refused(&server, "svc-a", &new, &PLAIN).await, (401, "invalid_client".to_owned()));
    reader.sync(&server).await;
    assert_eq!(judge_by(&reader.state, &token), Err(Reason::CredentialRevoked));
    let body = json!({"id": "svc-a", "tenant": "acme"});
    server.expect(409, Method::POST, "/v1/service-clients", Some(body)).await;
    server.expect(410, Method::POST, path, None).await;
}

#[tokio::test]
async fn deleting_a_client_or_a_key_never_shortens_a_revocation_and_never_keeps_a_shorter_one() {
    let (server, _) = start(|_| {}).await;
    client(&server, "svc-a", json!({})).await;
    let of_client = "client:svc-a".to_owned();
    let mut by_hand = vec![(of_client.clone(), json!(60))];
    for life in [json!(60), json!(90_000), Value::Null] {
        let id = text(&server.create_key("batch").await["api_key"]["id"]);
        by_hand.push((["kid:", &id].concat(), life));
    }
    for (name, life) in &by_hand {
        let body = json!({"name": name, "note": "by hand", "expires_in_s": life});
        server.expect(201, Method::POST, "/v1/revocations", Some(body)).await;
    }
    server.expect(200, Method::DELETE, "/v1/service-clients/svc-a", None).await;
    for (name, _) in &by_hand[1..] {
        let id = name.strip_prefix("kid:").unwrap();
        server.expect(200, Method::DELETE, &["/v1/api-keys/", id].concat(), None).await;
    }
    let list = server.expect(200, Method::GET, "/v1/revocations", None).await;
    let left = |name: &str, note: &str| {
        let found = list["revocations"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap();
        assert_eq!(found["note"], note);
        found["expires_at_s"].as_u64().map(|end| end - now_s())
    };
    let hour = 3590..=3600;
    let [short, long, endless] = [1, 2, 3].map(|n: usize| by_hand[n].0.as_str());
    assert!(left(short, "by hand").is_some_and(|s| hour.contains(&s)), "{list}");
    assert!(left(long, "by hand").is_some_and(|s| s > 80_000), "{list}");
    assert_eq!(left(endless, "by hand"), None);
    // A deleted client has a revocation of its own, which reaches no other issuer's client of that id.
    assert!(left(&of_client, "by hand").is_some_and(|s| s <= 60), "{list}");
    let own = left("service_client:acme svc-a", "the service client was revoked");
    assert!(own.is_some_and(|s| hour.contains(&s)), "{list}");
    let body = json!({"name": "service_client:acme svc-b"});
    server.expect(400, Method::POST, "/v1/revocations", Some(body)).await;
}

#[tokio::test]
async fn guessing_costs_pauses_and_shuts_nobody_else_out() {
    let (server, _) = start(|_| {}).await;
    let secret = client(&server, "svc-a", json!({})).await;
    let stranger = client(&server, "svc-b", json!({})).await;
    let mut last = 0;
    for _ in 0..8 {
        last = refused(&server, "svc-a", &stranger, &PLAIN).await.0;
    }
    assert_eq!(last, 429);
    assert!(ask(&server, "svc-a", &stranger, &PLAIN).await.headers().contains_key("retry-after"));
    good(&server, "svc-a", &secret, &PLAIN).await;
    // Who knows the secret's name and guesses the rest is slowed down too, and its holder is not.
    let forged = forge(&secret);
    for _ in 0..8 {
        last = refused(&server, "svc-a", &forged, &PLAIN).await.0;
    }
    assert_eq!(last, 429);
    good(&server, "svc-a", &secret, &PLAIN).await;
}

#[tokio::test]
async fn whoever_is_no_client_is_audited_and_cannot_fill_the_log() {
    let (server, _) = start(|_| {}).await;
    let secret = client(&server, "svc-a", json!({})).await;
    let forged = forge(&secret);
    assert_eq!(refused(&server, "svc-a", &forged, &PLAIN).await.0, 401);
    let records = async |query: &str| {
        let path = ["/v1/audit/records?decision=refuse&limit=1000", query].concat();
        server.expect(200, Method::GET, &path, None).await["records"].as_array().unwrap().clone()
    };
    let seen = records("&subject=client:svc-a").await;
    let name = secret.split('_').nth(1).unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    for (member, value) in [
        ("reason", json!("invalid_client")),
        ("status", json!(401)),
        ("stage", json!("token-endpoint")),
        ("credential", json!("client_secret")),
        ("key_id", json!(name)),
        ("path", json!("/oauth2/token")),
    ] {
        assert_eq!(seen[0][member], value, "{member}");
    }
    assert!(!seen[0].to_string().contains(&forged[20..]));
    let mut paused = 0;
    for n in 0..30 {
        let (status, _) = refused(&server, &format!("made-up-{n}"), "x", &PLAIN).await;
        paused += u32::from(status == 429);
    }
    assert!(paused >= 20, "{paused}");
    assert!(records("").await.len() <= 11);
    good(&server, "svc-a", &secret, &PLAIN).await;
}

/// The same name with another secret, and the checksum that fits it.
fn forge(token: &str) -> String {
    let (body, _) = token.rsplit_once('_').unwrap();
    let last = if body.ends_with('0') { "1" } else { "0" };
    let body = [&body[..body.len() - 1], last].concat();
    let sum = portcullis_protocol::audit::hex(&crc32fast::hash(body.as_bytes()).to_be_bytes());
    [body, sum].join("_")
}

#[tokio::test]
async fn the_signing_keys_rotate_by_themselves_and_no_token_is_refused() {
    let (mut server, _) = start(|config| {
        let fast = json!({"rotateSeconds": 3, "publishSeconds": 1, "lifetimeSeconds": 30, "keepSeconds": 30});
        config["serviceTokens"].as_object_mut().unwrap().extend(fast.as_object().unwrap().clone());
        config["identity"].as_object_mut().unwrap().extend(
            json!({"rotateSeconds": 3, "publishSeconds": 1, "keepSeconds": 3, "lifetimeSeconds": 2})
                .as_object()
                .unwrap()
                .clone(),
        );
    })
    .await;
    let secret = client(&server, "svc-a", json!({})).await;
    let mut reader = server.reader("gateway", GATEWAY, "01");
    reader.sync(&server).await;
    let mut kids: Vec<String> = Vec::new();
    let mut signers: Vec<String> = Vec::new();
    let mut tokens = Vec::new();
    let begun = std::time::Instant::now();
    while kids.len() < 3 || signers.len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "{kids:?} {signers:?}");
        let token = text(&good(&server, "svc-a", &secret, &PLAIN).await["access_token"]);
        reader.poll(&server, 0).await;
        let verified = judge_by(&reader.state, &token).unwrap();
        let kid = verified.principal.key_id.unwrap().to_string();
        if kids.last() != Some(&kid) {
            kids.push(kid);
            tokens.push(token);
        }
        // The key that gateways sign with is always one that everybody can verify.
        let signer = reader.state.signer().unwrap();
        let public = portcullis_protocol::snapshot::public_key(signer.seed);
        assert_eq!(reader.state.identity_key(signer.key_id.as_str()), Some(&public));
        if signers.last() != Some(&signer.key_id.to_string()) {
            signers.push(signer.key_id.to_string());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for token in &tokens {
        judge_by(&reader.state, token).unwrap();
    }
    // Old identity keys are gone once their last token has ended.
    until("the first identity key is removed", async || {
        let list = server.expect(200, Method::GET, "/v1/signing-keys", None).await;
        !list.to_string().contains(&signers[0])
    })
    .await;
    // The keys survive a restart.
    let before = server.expect(200, Method::GET, "/v1/signing-keys", None).await;
    let signs = |list: &Value| {
        let keys = list["signing_keys"].as_array().unwrap();
        keys.iter().filter(|k| k["state"] == "signs").count()
    };
    assert_eq!(signs(&before), 2);
    server.restart().await;
    let after = server.expect(200, Method::GET, "/v1/signing-keys", None).await;
    assert_eq!(signs(&after), 2);
    reader.sync(&server).await;
    judge_by(&reader.state, tokens.last().unwrap()).unwrap();
}

#[tokio::test]
async fn a_new_identity_key_waits_for_every_worker() {
    let (server, _) = start(|config| config["identity"]["publishSeconds"] = json!(0)).await;
    let mut slow = server.reader("gateway", GATEWAY, "01");
    slow.sync(&server).await;
    slow.poll(&server, 0).await;
    let begun = server.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
    let kid = text(&begun["signing_key"]["kid"]);
    server.expect(409, Method::POST, "/v1/signing-keys/identity", None).await;
    let state = async || {
        let list = server.expect(200, Method::GET, "/v1/signing-keys", None).await;
        let keys = list["signing_keys"].as_array().unwrap().clone();
        text(&keys.iter().find(|k| k["kid"] == kid.as_str()).unwrap()["state"])
    };
    // What does not happen cannot be waited for: the service would have changed keys in this time.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(state().await, "published", "a worker has not got it");
    slow.sync(&server).await;
    assert!(slow.state.identity_key(&kid).is_some());
    slow.poll(&server, 0).await;
    until("it signs", async || state().await == "signs").await;
    slow.sync(&server).await;
    assert_eq!(slow.state.signer().unwrap().key_id.as_str(), kid);
    assert_eq!(slow.state.issuers().filter(|i| i.credential == CredentialKind::ServiceToken).count(), 1);
}

#[tokio::test]
async fn without_service_tokens_there_is_no_endpoint() {
    let server = Server::start().await;
    for path in ["/oauth2/jwks", "/.well-known/oauth-authorization-server"] {
        assert_eq!(server.http.get(server.url("platform", path)).send().await.unwrap().status(), 404);
    }
    assert_eq!(ask(&server, "svc-a", "x", &PLAIN).await.status(), 404);
    let body = json!({"id": "svc-a", "tenant": "acme"});
    server.expect(404, Method::POST, "/v1/service-clients", Some(body)).await;
}
