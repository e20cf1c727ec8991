//! Issuers' keys: one replica fetches for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::Json;
use axum::routing::get;
use portcullis_protocol::wire::KeyRefresh;
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::common::replicas::Replicas;
use crate::common::{GATEWAY, Server, public_jwk, until};

const NAME: &str = "https://up.example.com";

/// Waits until one of them says that it leads, and has begun with that.
async fn until_one_leads(replicas: &[Server]) {
    until("one leads, and has begun with that", async || {
        for replica in replicas {
            if replica.ready().await.1.contains("which leads") {
                return true;
            }
        }
        false
    })
    .await;
}

/// An identity provider whose one key is called as often as it was changed; 0 for one that fails.
#[derive(Clone, Default)]
struct Idp {
    key: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Idp {
    /// With the address of its key set.
    async fn start() -> (Self, String) {
        let idp = Self::default();
        let answers = idp.clone();
        let answer = move || {
            answers.asked.fetch_add(1, Ordering::SeqCst);
            let key = answers.key.load(Ordering::SeqCst).to_string();
            std::future::ready(Json(json!({"keys": [public_jwk(&key)]})))
        };
        let routes = axum::Router::new().route("/jwks.json", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (idp, url)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn start(test: &str) -> (Idp, Replicas) {
    let (idp, url) = Idp::start().await;
    let issuers = json!([{"issuer": NAME, "audiences": ["a"], "algorithms": ["EdDSA"], "jwksUri": url}]);
    let replicas = Replicas::start_with(test, 3, |config| {
        config["jwksRefreshSeconds"] = json!(3600);
        config["issuers"] = issuers.clone();
    });
    (idp, replicas.await)
}

async fn refresh(server: &Server, key_id: &str) -> u16 {
    let wish = KeyRefresh { issuer: NAME.to_owned(), key_id: key_id.to_owned() };
    let call = server.mesh(Method::POST, "/mesh/v1/keys/refresh", GATEWAY).body(wish.encode_to_vec());
    call.send().await.unwrap().status().as_u16()
}

async fn issuer(server: &Server) -> Value {
    server.expect(200, Method::GET, "/v1/issuers", None).await["issuers"][0].clone()
}

async fn until_all_tell(replicas: &[Server], key: &str) {
    for server in replicas {
        until("the keys are told everywhere", async || {
            let told = issuer(server).await;
            told["state"] == "fresh" && told["keys"] == json!([key])
        })
        .await;
    }
}

fn leads(server: &Server) -> bool {
    server.log().contains("this replica leads")
}

#[tokio::test]
async fn one_fetch_serves_all_replicas_and_a_wish_is_carried_out_once_whoever_is_asked() {
    let (idp, replicas) = start("issuers").await;
    until_all_tell(&replicas, "0").await;
    assert_eq!(idp.asked(), 1, "three replicas, one fetch");
    idp.key.store(2, Ordering::SeqCst);
    let (a, b, c) =
        tokio::join!(refresh(&replicas[0], "2"), refresh(&replicas[1], "2"), refresh(&replicas[2], "2"));
    assert_eq!([a, b, c], [204; 3]);
    assert_eq!(idp.asked(), 2, "one fetch for all that ask");
    for server in replicas.iter() {
        let mut gateway = server.reader("gateway", GATEWAY, "01");
        gateway.sync(server).await;
        let keys = &gateway.state.issuer(NAME).unwrap().jwks.keys;
        assert_eq!(keys[0].kid.as_deref(), Some("2"), "when it is answered, it is published");
    }
    until_all_tell(&replicas, "2").await;
    // Four at once and then one in five seconds, of which one is used: not so many for each replica.
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..24 {
        let wish = KeyRefresh { issuer: NAME.to_owned(), key_id: format!("made-up-{n}") };
        let call = replicas[n % 3].mesh(Method::POST, "/mesh/v1/keys/refresh", GATEWAY);
        let call = call.body(wish.encode_to_vec()).send();
        tasks.spawn(async move { call.await.unwrap().status().as_u16() });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|status| [204, 429].contains(status)), "{answers:?}");
    let most = 2 + 3 + usize::try_from(begun.elapsed().as_secs() / 5).unwrap() + 1;
    assert!(idp.asked() <= most, "{} of {most}", idp.asked());
    assert_eq!(refresh(&replicas[1], "").await, 204, "a doubt has a bound of its own");
    assert_eq!([refresh(&replicas[0], "").await, refresh(&replicas[2], "").await], [429; 2]);
}

#[tokio::test]
async fn an_issuer_is_asked_no_earlier_for_a_change_of_leaders() {
    let (idp, mut replicas) = start("leaders").await;
    until_all_tell(&replicas, "0").await;
    until("what the leader knows is written down", async || {
        issuer(&replicas[1]).await["fetched"] == 1 && issuer(&replicas[2]).await["fetched"] == 1
    })
    .await;
    assert!(leads(&replicas[0]) && !leads(&replicas[1]) && !leads(&replicas[2]));
    replicas[0].kill();
    let begun = Instant::now();
    idp.key.store(3, Ordering::SeqCst);
    until_one_leads(&replicas[1..]).await;
    println!("another one leads after {:?}", begun.elapsed());
    assert_eq!(idp.asked(), 1, "the next fetch is due in an hour");
    until("filters' wishes have rested for long enough", async || refresh(&replicas[1], "3").await == 204)
        .await;
    assert_eq!((refresh(&replicas[2], "3").await, idp.asked()), (204, 2));
    until_all_tell(&replicas[1..], "3").await;
}

#[tokio::test]
async fn an_issuer_is_asked_no_more_often_for_a_change_of_leaders() {
    let (idp, mut replicas) = start("leaders-wishes").await;
    until_all_tell(&replicas, "0").await;
    let begun = Instant::now();
    for n in 0..6 {
        refresh(&replicas[0], &format!("made-up-{n}")).await;
    }
    let before = idp.asked();
    assert!(before >= 5, "{before}");
    replicas[0].kill();
    until_one_leads(&replicas[1..]).await;
    for n in 6..30 {
        refresh(&replicas[1 + n % 2], &format!("made-up-{n}")).await;
    }
    // The first one at the start; then four at once and one in five seconds, whoever leads.
    let most = 1 + 4 + usize::try_from(begun.elapsed().as_secs() / 5).unwrap();
    assert!(idp.asked() <= most, "{} of {most}, {before} of them before", idp.asked());
}
