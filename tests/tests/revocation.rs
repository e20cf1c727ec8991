//! How soon a revocation of each kind holds at the gateway and at a sidecar, for credentials that every worker
//! has cached and while requests with them go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis_identity::HEADER;
use portcullis_mesh::http::Request;
use portcullis_mesh::idp::{Algorithm, ISSUER, ISSUER_BEFORE, OPAQUE_PREFIX, claims};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::wait::{self, PATIENCE, Seen};
use portcullis_mesh::{CLIENT_PEOPLE, CLIENT_WORKERS, HOSTED, Mesh, Options, TENANT, Target};
use serde_json::{Value, json};

/// What a revocation may take until it holds.
const BOUND: Duration = Duration::from_secs(1);

/// Clients that send requests one after the other, with a pause: the proxies and the service share the machine
/// with them.
const CLIENTS: usize = 2;
const PAUSE: Duration = Duration::from_millis(3);

/// What each of them sends at least before the revocation, and the refusals in a row after which it holds
/// everywhere.
const BEFORE: usize = 20;
const SETTLED: usize = 64;

/// What a request for a token to act for somebody begins with.
const EXCHANGE: [(&str, &str); 2] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
    ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
];

/// A kind of revocation: what it is called, whose request it ends, and the call that revokes.
struct Kind {
    name: &'static str,
    request: Request,
    method: &'static str,
    path: String,
    body: Option<Value>,
    reason: &'static str,
}

fn by_name(name: &'static str, request: Request, revoked: &str) -> Kind {
    let (method, path) = ("POST", "/v1/revocations".to_owned());
    Kind { name, request, method, path, body: Some(json!({"name": revoked})), reason: "credential_revoked" }
}

/// A person's name in revocations, with a name of their issuer.
fn user(issuer: &str, subject: &str) -> String {
    ["user:", TENANT, " ", issuer, " ", subject].concat()
}

/// One credential for each kind, none of which ends another one.
async fn kinds(mesh: &Mesh) -> Vec<Kind> {
    let admin = mesh.admin().unwrap();
    let to = || mesh.get("/tables").header(SELECTOR, HOSTED);
    let token = |algorithm, subject: &str, extra: Value| {
        to().bearer(&mesh.idp().sign(algorithm, &claims(subject, TENANT, &extra)).unwrap())
    };
    let person = |subject: &str, name: &str, value: &str| {
        token(Algorithm::Rs256, subject, json!({"client_id": CLIENT_PEOPLE, name: value}))
    };
    let key = admin.create_key(TENANT, "nightly-batch", "worker").await.unwrap();
    let secret = admin.create_client("svc-report", TENANT, false).await.unwrap();
    let form =
        [("grant_type", "client_credentials"), ("client_id", "svc-report"), ("client_secret", &secret)];
    let service = admin.request_token(&form).await.unwrap();
    let agent = admin.create_client("svc-acting", TENANT, true).await.unwrap();
    let acted_for =
        claims("acted-for@acme.example", TENANT, &json!({"client_id": CLIENT_PEOPLE, "sid": "s-2"}));
    let acted_for = mesh.idp().sign(Algorithm::Rs256, &acted_for).unwrap();
    let client = [("client_id", "svc-acting"), ("client_secret", agent.as_str())];
    let form = [&EXCHANGE[..], &client, &[("subject_token", acted_for.as_str())]].concat();
    let exchanged = admin.request_token(&form).await.unwrap();
    let opaque = [OPAQUE_PREFIX, "session"].concat();
    let extra = json!({"active": true, "client_id": CLIENT_PEOPLE, "sid": "opaque-session"});
    mesh.idp().served().grant(&opaque, &claims("opaque@acme.example", TENANT, &extra));
    let delete =
        |name, request, path, reason| Kind { name, request, method: "DELETE", path, body: None, reason };
    vec![
        by_name("token id", person("token-id@acme.example", "jti", "t-1"), "jti:t-1"),
        by_name("subject", person("subject@acme.example", "jti", "t-2"), "sub:subject@acme.example"),
        by_name("person", person("person@acme.example", "jti", "t-3"), &user(ISSUER, "person@acme.example")),
        by_name(
            "person, by the name that the issuer had before",
            person("renamed@acme.example", "jti", "t-4"),
            &user(ISSUER_BEFORE, "renamed@acme.example"),
        ),
        by_name(
            "person whose token has that name",
            person("early@acme.example", "iss", ISSUER_BEFORE),
            &user(ISSUER, "early@acme.example"),
        ),
        by_name("session", person("session@acme.example", "sid", "s-1"), "sid:s-1"),
        by_name("session of the person that an agent acts for", to().bearer(&exchanged), "sid:s-2"),
        by_name("session of an opaque token", to().bearer(&opaque), "sid:opaque-session"),
        by_name(
            "client",
            token(Algorithm::Es256, "flow", json!({"client_id": CLIENT_WORKERS})),
            &["client:", CLIENT_WORKERS].concat(),
        ),
        by_name(
            "key of an issuer",
            token(Algorithm::EdDsa, "key@acme.example", json!({"client_id": CLIENT_PEOPLE})),
            "kid:sample-eddsa",
        ),
        delete(
            "API key",
            to().header("x-api-key", &key.key),
            format!("/v1/api-keys/{}", key.id),
            "api_key_unknown",
        ),
        delete(
            "service client",
            to().bearer(&service),
            "/v1/service-clients/svc-report".to_owned(),
            "credential_revoked",
        ),
    ]
}

/// Sends the request until it was refused often enough; when each began, and whether it was let through.
async fn go_on(request: Request, reason: &'static str, passed: Arc<AtomicUsize>) -> Vec<(Instant, bool)> {
    let (begun, mut seen, mut refused_in_a_row) = (Instant::now(), Vec::new(), 0);
    while refused_in_a_row < SETTLED {
        assert!(begun.elapsed() < PATIENCE, "it is let through for ever");
        let begun = Instant::now();
        let answer = request.send().await.unwrap();
        let lets = answer.status == 200;
        assert!(
            lets || (answer.status, answer.header("x-portcullis-reason")) == (401, reason),
            "{} {}",
            answer.status,
            answer.text()
        );
        refused_in_a_row = if lets { 0 } else { refused_in_a_row + 1 };
        passed.fetch_add(usize::from(lets), Ordering::Relaxed);
        seen.push((begun, lets));
        tokio::time::sleep(PAUSE).await;
    }
    seen
}

/// From the administrator's call to the last request that began later and was let through.
async fn measure(mesh: &Mesh, kind: Kind) -> Duration {
    // Every worker has to have met the credential, and the snapshot that it is good by.
    wait::in_a_row(kind.name, mesh.run_dir(), async || {
        let answer = kind.request.send().await?;
        Ok(if answer.status == 200 { Seen::Done(()) } else { Seen::NotYet(answer.text()) })
    })
    .await
    .unwrap();
    let passed: [Arc<AtomicUsize>; CLIENTS] = Default::default();
    let start = |passed| tokio::spawn(go_on(kind.request.clone(), kind.reason, Arc::clone(passed)));
    let clients: Vec<_> = passed.iter().map(start).collect();
    wait::until("traffic of every client", mesh.run_dir(), async || {
        let ready = passed.iter().all(|passed| passed.load(Ordering::Relaxed) >= BEFORE);
        Ok(if ready { Seen::Done(()) } else { Seen::NotYet(format!("{passed:?} passed")) })
    })
    .await
    .unwrap();
    let called = Instant::now();
    let method = kind.method.parse().unwrap();
    mesh.admin().unwrap().call(method, &kind.path, kind.body.as_ref()).await.unwrap();
    let mut seen = Vec::new();
    for client in clients {
        seen.extend(client.await.unwrap());
    }
    let (before, after): (Vec<_>, Vec<_>) = seen.into_iter().partition(|(begun, _)| *begun < called);
    assert!(before.iter().all(|(_, passed)| *passed) && before.len() >= CLIENTS, "{}", kind.name);
    let last = after.iter().filter(|(_, passed)| *passed).map(|(begun, _)| *begun).max();
    last.map_or(Duration::ZERO, |last| last.duration_since(called))
}

/// Somebody whose identity token the gateway has minted already, and what revokes them. The request goes to the
/// sidecar alone, so that no refusal of the gateway hides that of the sidecar.
async fn at_sidecar(mesh: &Mesh, name: &'static str, subject: &str, extra: Value, revoked: &str) -> Kind {
    let mut all = json!({"client_id": CLIENT_PEOPLE});
    all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let token = mesh.idp().sign(Algorithm::Rs256, &claims(subject, TENANT, &all)).unwrap();
    let through_gateway = mesh.get("/tables").header(SELECTOR, HOSTED).bearer(&token);
    let identity = mesh.identity_token(&through_gateway).await.unwrap();
    by_name(name, mesh.at_sidecar().unwrap().header(HEADER, identity), revoked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_revocation_holds_within_a_second() {
    all_hold_within_a_second(Target::Wasm).await;
}

#[cfg(feature = "slow")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_revocation_holds_within_a_second_at_a_native_gateway() {
    all_hold_within_a_second(Target::Native).await;
}

async fn all_hold_within_a_second(gateway: Target) {
    let options = Options { private_manifests: true, gateway, ..Options::default() };
    let mesh = Mesh::start(options, &mut |line| eprintln!("{line}")).await.unwrap();
    let mut took = Vec::new();
    for kind in kinds(&mesh).await {
        let name = kind.name;
        took.push((name, measure(&mesh, kind).await));
    }
    mesh.guard_sidecar().await.unwrap();
    for (name, subject, extra, revoked) in [
        (
            "subject, at a sidecar",
            "sidecar-1@acme.example",
            json!({}),
            "sub:sidecar-1@acme.example".to_owned(),
        ),
        ("session, at a sidecar", "sidecar-2@acme.example", json!({"sid": "s-9"}), "sid:s-9".to_owned()),
        ("person, at a sidecar", "sidecar-3@acme.example", json!({}), user(ISSUER, "sidecar-3@acme.example")),
        (
            "person, at a sidecar, by the name that the issuer had before",
            "sidecar-4@acme.example",
            json!({}),
            user(ISSUER_BEFORE, "sidecar-4@acme.example"),
        ),
    ] {
        let kind = at_sidecar(&mesh, name, subject, extra, &revoked).await;
        took.push((name, measure(&mesh, kind).await));
    }
    mesh.stop().await;
    for (name, took) in &took {
        println!("{name}: last request let through {} ms after the call", took.as_millis());
    }
    let late: Vec<_> = took.iter().filter(|(_, took)| *took >= BOUND).collect();
    assert!(late.is_empty(), "later than a second: {late:?}");
}
