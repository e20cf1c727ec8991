//! Data clusters join, renew their certificates and come back by them: over real TLS, at a real service.

mod common;
mod enrolment_cases;

use std::time::{Duration, Instant};

use common::replicas::Replicas;
use common::{GATEWAY, SLACK, Server, run_in, stdout, text, until};
use enrolment_cases::agent::{
    Agent, address, client, csr, join_token, listen, pinned, refusal, try_to_join, url,
};
use portcullis_control_domain::enrolment::{JoinSecret, RootPin};
use portcullis_protocol::audit::hex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::CertificateRevocationListDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;

async fn service() -> Server {
    let server = Server::start_with(listen).await;
    server.register("acme").await;
    server
}

#[tokio::test]
async fn a_cluster_joins_renews_and_reports_by_its_certificate() {
    let mut server = service().await;
    let token = join_token(&server, "acme").await;
    let agent = Agent::join(&server, &token).await;
    let enrolled = &agent.enrolled;
    assert_eq!((&enrolled["cluster"], &enrolled["tenant"]), (&json!("acme"), &json!("acme")));
    let (now, renew) =
        (enrolled["not_after_ms"].as_u64().unwrap(), enrolled["renew_after_ms"].as_u64().unwrap());
    assert!(now - 57_600_000 <= renew && renew <= now - 43_200_000, "between a third and a half: {enrolled}");
    let configuration = &enrolled["configuration"];
    let keys = server.expect(200, Method::GET, "/v1/identity/jwks", None).await;
    assert_eq!(configuration["identity"]["keys"], keys);
    assert_eq!(configuration["identity"]["issuer"], "https://portcullis.example.com/identity");
    assert_eq!(configuration["tunnel"]["provider"], "reverse_tunnel");
    let config = server.config();
    let printed = run_in(server.folder.path(), &["snapshot-key", "--config", config.to_str().unwrap()]);
    assert_eq!(configuration["snapshot_key"], stdout(&printed));
    assert_eq!(agent.heartbeat(&server).await, 200);
    assert_eq!(server.state_of("acme").await, "online");
    // The same question is answered when there is something new, or when its time is over.
    let known = agent.call(&server, Method::GET, "/v1/agent/configuration").send().await.unwrap();
    let tag = known.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(known.json::<Value>().await.unwrap(), *configuration);
    let again =
        agent.call(&server, Method::GET, "/v1/agent/configuration?wait=1").header("if-none-match", &tag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    let waiting = agent.call(&server, Method::GET, "/v1/agent/configuration?wait=60");
    let waiting = tokio::spawn(waiting.header("if-none-match", &tag).send());
    server.expect(202, Method::POST, "/v1/signing-keys/identity", None).await;
    let news = waiting.await.unwrap().unwrap().json::<Value>().await.unwrap();
    assert_eq!(news["identity"]["keys"]["keys"].as_array().unwrap().len(), 2, "{news}");

    let renewed = agent.renewed(&server).await;
    assert_ne!(renewed.serial(), agent.serial());
    assert_eq!((agent.heartbeat(&server).await, renewed.heartbeat(&server).await), (200, 200));
    let list = server.expect(200, Method::GET, "/v1/clusters/acme/certificates", None).await;
    let list = list["certificates"].as_array().unwrap();
    let of = |serial: String| list.iter().find(|one| one["serial"] == serial.as_str()).unwrap();
    let token_id = JoinSecret::parse(&token).unwrap().id().to_owned();
    assert_eq!((list.len(), &of(agent.serial())["issued_by"]), (2, &json!(token_id)));
    assert_eq!(of(renewed.serial())["issued_by"], agent.serial());
    server.restart().await;
    assert_eq!(
        renewed.heartbeat(&server).await,
        200,
        "what was issued outlives a restart, and so does the authority"
    );
    let record = server.expect(200, Method::GET, "/v1/audit/records?cluster=acme&limit=1000", None).await;
    let paths: Vec<_> = record["records"].as_array().unwrap().iter().map(|one| text(&one["path"])).collect();
    assert!(paths.contains(&["/v1/agent/join/", &agent.serial()].concat()), "{paths:?}");
    assert!(paths.contains(&["/v1/agent/certificate/", &renewed.serial()].concat()), "{paths:?}");
    let secret = &token[21..85];
    assert!(!server.log().contains(secret) && !record.to_string().contains(secret));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_to_the_same_key_and_to_no_other() {
    let server = service().await;
    let token = join_token(&server, "acme").await;
    let agent = Agent::join(&server, &token).await;
    let (address, plain) = (address(&server), client(address(&server), &agent.root, None));
    let again = try_to_join(address, &plain, &token, &csr(&agent.key, &[])).await;
    assert_eq!(again.json::<Value>().await.unwrap()["serial"], agent.serial());
    let stranger = csr(&KeyPair::generate().unwrap(), &[]);
    let refused = refusal(try_to_join(address, &plain, &token, &stranger).await).await;
    assert_eq!(refused, (410, "join_token_used".to_owned()));
    let path = "/v1/audit/records?reason=join_token_used";
    let records = server.expect(200, Method::GET, path, None).await;
    let record = &records["records"][0];
    assert_eq!((&record["cluster"], &record["tenant"]), (&json!("acme"), &json!("acme")), "{records}");
    assert_eq!(record["key_id"], JoinSecret::parse(&token).unwrap().id());
    // A certificate that was revoked is not given again either.
    server.expect(200, Method::POST, "/v1/clusters/acme/certificates/revoke", None).await;
    let refused = refusal(try_to_join(address, &plain, &token, &csr(&agent.key, &[])).await).await;
    assert_eq!(refused, (410, "join_token_used".to_owned()));
}

/// Many join at once by one token, at any of these services.
async fn race(servers: &[Server]) {
    let token = join_token(&servers[0], "acme").await;
    let pin = JoinSecret::parse(&token).unwrap().pin();
    let mut tries = JoinSet::new();
    for n in 0..50 {
        let address = address(&servers[n % servers.len()]);
        let root = pinned(address, pin).await.unwrap();
        let (token, csr) = (token.clone(), csr(&KeyPair::generate().unwrap(), &[]));
        let client = client(address, &root, None);
        tries.spawn(async move {
            let answer = try_to_join(address, &client, &token, &csr).await;
            (answer.status().as_u16(), answer.text().await.unwrap())
        });
    }
    let outcomes = tries.join_all().await;
    let good: Vec<_> = outcomes.iter().filter(|(status, _)| *status == 200).collect();
    let others = outcomes.iter().filter(|(status, _)| [410, 429].contains(status)).count();
    assert_eq!((good.len(), others), (1, 49), "{outcomes:?}");
    let list = servers[0].expect(200, Method::GET, "/v1/clusters/acme/certificates", None).await;
    assert_eq!(list["certificates"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn of_fifty_that_join_at_once_by_one_token_one_gets_a_certificate() {
    race(&[service().await]).await;
}

#[tokio::test]
async fn so_it_is_at_two_replicas() {
    let replicas = Replicas::start_with("enrolment-race", 2, listen).await;
    replicas[0].register("acme").await;
    race(&replicas).await;
}

#[tokio::test]
async fn a_token_that_has_ended_is_wrong_or_was_mistyped_is_good_for_nothing() {
    let server = service().await;
    let good = join_token(&server, "acme").await;
    let pin = JoinSecret::parse(&good).unwrap().pin();
    let address = address(&server);
    let plain = client(address, &pinned(address, pin).await.unwrap(), None);
    let request = csr(&KeyPair::generate().unwrap(), &[]);
    let ask = async |token: &str| refusal(try_to_join(address, &plain, token, &request).await).await;
    let invalid = (401, "join_token_invalid".to_owned());
    // Of the right form, and made by nobody here; with the id of one that is there; not of the form.
    let strange = JoinSecret::generate(pin);
    assert_eq!(ask(strange.reveal()).await, invalid);
    assert_eq!(ask(&common::forge(&good)).await, invalid);
    assert_eq!(ask(&good[..good.len() - 1]).await, invalid);
    let body = Some(json!({"expires_in_s": 1}));
    let short = server.expect(201, Method::POST, "/v1/clusters/acme/join-tokens", body).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(ask(&text(&short["token"])).await, (410, "join_token_ended".to_owned()));
    let path = ["/v1/join-tokens/", JoinSecret::parse(&good).unwrap().id()].concat();
    server.expect(200, Method::DELETE, &path, None).await;
    let (status, reason) = ask(&good).await;
    assert!([(410, "join_token_ended"), (429, "too_many_refusals")].contains(&(status, &reason)), "{reason}");
    let body = json!({"expires_in_s": 7 * 86_400 + 1});
    server.expect(400, Method::POST, "/v1/clusters/acme/join-tokens", Some(body)).await;
    // Whoever guesses must wait, and a good token never does.
    until("it has to wait", async || ask(strange.reveal()).await == (429, "too_many_refusals".to_owned()))
        .await;
    Agent::join(&server, &join_token(&server, "acme").await).await;
}

#[tokio::test]
async fn a_cluster_has_so_many_join_tokens_and_no_more() {
    let server = service().await;
    for _ in 0..8 {
        join_token(&server, "acme").await;
    }
    let path = "/v1/clusters/acme/join-tokens";
    let many = server.expect(409, Method::POST, path, None).await;
    assert_eq!(many["reason"], "join_tokens_many");
    let list = server.expect(200, Method::GET, path, None).await;
    for token in list["join_tokens"].as_array().unwrap() {
        server.expect(200, Method::DELETE, &["/v1/join-tokens/", &text(&token["id"])].concat(), None).await;
    }
    // Making and revoking by turns fills no database.
    for _ in 8..64 {
        let made = server.expect(201, Method::POST, path, None).await;
        let id = text(&made["join_token"]["id"]);
        server.expect(200, Method::DELETE, &["/v1/join-tokens/", &id].concat(), None).await;
    }
    server.expect(409, Method::POST, path, None).await;
}

#[tokio::test]
async fn a_request_that_is_not_right_uses_up_no_token() {
    let server = service().await;
    let token = join_token(&server, "acme").await;
    let address = address(&server);
    let root = pinned(address, JoinSecret::parse(&token).unwrap().pin()).await.unwrap();
    let plain = client(address, &root, None);
    let key = KeyPair::generate().unwrap();
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    for (csr, wanted) in [
        (csr(&p384, &[]), (400, "request_invalid")),
        (csr(&ed25519, &[]), (400, "request_invalid")),
        (csr(&key, &["globex"]), (400, "request_invalid")),
        ("hello".to_owned(), (400, "request_invalid")),
        ("x".repeat(9_000), (400, "body_invalid")),
        ("x".repeat(100_000), (413, "body_too_large")),
    ] {
        let (status, reason) = refusal(try_to_join(address, &plain, &token, &csr).await).await;
        assert_eq!((status, reason.as_str()), wanted, "{csr:.40}");
    }
    let answer = try_to_join(address, &plain, &token, &csr(&key, &["acme"])).await;
    assert_eq!(answer.status(), 200);
}

/// A certificate of another authority for the name of a cluster.
fn of_another_authority(name: &str, key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = Issuer::new(params, KeyPair::generate().unwrap());
    CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(key, &issuer).unwrap().pem()
}

#[tokio::test]
async fn what_needs_a_certificate_takes_one_of_this_service_and_nothing_else() {
    let server = service().await;
    let agent = Agent::join(&server, &join_token(&server, "acme").await).await;
    let address = address(&server);
    let plain = client(address, &agent.root, None);
    for path in ["/v1/agent/heartbeat", "/v1/agent/certificate"] {
        let answer =
            plain.post(url(address, path)).bearer_auth(&server.admin).json(&json!({})).send().await.unwrap();
        assert_eq!(refusal(answer).await, (401, "certificate_missing".to_owned()));
    }
    let answer = plain.get(url(address, "/v1/agent/configuration")).send().await.unwrap();
    assert_eq!(refusal(answer).await, (401, "certificate_missing".to_owned()));
    // It has the right name, and the wrong issuer: there is no handshake.
    let stranger = KeyPair::generate().unwrap();
    let chain = of_another_authority("acme", &stranger);
    let client = client(address, &agent.root, Some((&chain, &stranger)));
    assert!(client.get(url(address, "/v1/agent/configuration")).send().await.is_err());
    // Nothing of the platform API is here, and nothing of this is there.
    let answer =
        agent.call(&server, Method::GET, "/v1/clusters").bearer_auth(&server.admin).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let there = server.http.post(server.url("platform", "/v1/agent/heartbeat")).send().await.unwrap();
    assert_eq!(there.status(), 404);
    // A pin that names no certificate of the chain tells somebody else's listener.
    assert!(pinned(address, RootPin::of_spki(b"another root")).await.is_none());
}

#[tokio::test]
async fn retiring_a_cluster_ends_its_certificates_and_its_join_tokens() {
    let server = service().await;
    let agent = Agent::join(&server, &join_token(&server, "acme").await).await;
    let waiting = join_token(&server, "acme").await;
    server.expect(200, Method::DELETE, "/v1/clusters/acme", None).await;
    let list = server.expect(200, Method::GET, "/v1/clusters/acme/certificates", None).await;
    assert!(list["certificates"][0]["revoked_at_ms"].is_number(), "{list}");
    let plain = client(address(&server), &agent.root, None);
    let request = csr(&KeyPair::generate().unwrap(), &[]);
    let refused = refusal(try_to_join(address(&server), &plain, &waiting, &request).await).await;
    assert_eq!(refused, (410, "cluster_retired".to_owned()));
    server.expect(410, Method::POST, "/v1/clusters/acme/join-tokens", None).await;
}

#[tokio::test]
async fn of_a_revoked_certificate_no_handshake_succeeds_within_a_second_at_any_replica() {
    let replicas = Replicas::start_with("enrolment-revoked", 2, |config| {
        listen(config);
        config["mesh"]["tunnelGateways"] = json!(["spiffe://cluster.local/ns/portcullis/sa/tunnel-gateway"]);
    })
    .await;
    replicas[0].register("acme").await;
    let agent = Agent::join(&replicas[0], &join_token(&replicas[0], "acme").await).await;
    let other = Agent::join(&replicas[1], &join_token(&replicas[1], "acme").await).await;
    let trust = async |replica: &Server, principal: &str, query: &str| {
        let path = ["/mesh/v1/tunnel/trust", query].concat();
        replica.mesh(Method::GET, &path, principal).send().await.unwrap()
    };
    let gateway = "spiffe://cluster.local/ns/portcullis/sa/tunnel-gateway";
    assert_eq!(trust(&replicas[1], GATEWAY, "").await.status(), 403);
    let before: Value = trust(&replicas[1], gateway, "").await.json().await.unwrap();
    let open = agent.client(&replicas[1]);
    let at = address(&replicas[1]);
    let beat = async || open.post(url(at, "/v1/agent/heartbeat")).json(&json!({})).send().await.unwrap();
    assert_eq!(beat().await.status(), 200);
    let number = before["number"].as_u64().unwrap();
    let path = format!("?after={number}&wait=60");
    let poll = replicas[1].mesh(Method::GET, &["/mesh/v1/tunnel/trust", &path].concat(), gateway);
    let poll = tokio::spawn(poll.send());
    let body = Some(json!({"serial": agent.serial()}));
    let path = "/v1/clusters/acme/certificates/revoke";
    let revoked = replicas[0].expect(200, Method::POST, path, body).await;
    let begun = Instant::now();
    assert_eq!(revoked["certificates"].as_array().unwrap().len(), 1, "{revoked}");
    // The connection that is open: with the very next request.
    assert_eq!(refusal(beat().await).await, (401, "certificate_revoked".to_owned()));
    until("no handshake succeeds", async || {
        let call = agent.call(&replicas[1], Method::GET, "/v1/agent/configuration");
        call.send().await.is_err()
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", begun.elapsed());
    let list: Value = poll.await.unwrap().unwrap().json().await.unwrap();
    let pem = text(&list["revocation_list"]);
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
    let read = CertificateList::from_der(&der).unwrap().tbs_cert_list;
    let serials: Vec<_> =
        read.revoked_certificates.unwrap().iter().map(|one| hex(one.serial_number.as_bytes())).collect();
    assert_eq!(serials, [agent.serial()]);
    assert_eq!(list["trust_bundle"], before["trust_bundle"]);
    // The others are not touched.
    assert_eq!(other.heartbeat(&replicas[0]).await, 200);
    assert_eq!(
        replicas[0].expect(404, Method::POST, path, Some(json!({"serial": "4f".repeat(16)}))).await["reason"],
        "certificate_unknown"
    );
}
