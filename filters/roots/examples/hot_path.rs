//! Requests with one cached credential through the `gateway` stages, with a proxy that costs next to nothing:
//! for `valgrind --tool=callgrind`, which tells what each function costs.
//!
//! `cargo build --release -p portcullis-roots --example hot_path`

use std::error::Error;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_compact::{KeyPair, Seed};
use portcullis_engine::port::{CalloutResponse, StreamKey};
use portcullis_engine::testing::FakeProxy;
use portcullis_engine::{Instance, Plugin, PolicySource, Request, Verdict, Worker, worker};
use portcullis_protocol::audit::{StreamId, unhex};
use portcullis_protocol::snapshot::{public_key, sign_page};
use portcullis_protocol::wire::{Cluster, IdentitySigner, Page, Record, RecordKind, SNAPSHOT_FORMAT};
use prost::Message;
use serde_json::json;

const SEED: [u8; 32] = [1; 32];

fn put(kind: RecordKind, key: &[u8], value: impl Into<Vec<u8>>) -> Record {
    Record { kind: kind.into(), key: key.to_vec(), value: value.into(), removed: false }
}

fn records(issuer: &KeyPair) -> Vec<Record> {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "i1", "x": URL_SAFE_NO_PAD.encode(*issuer.pk)});
    let document = json!({"issuer": "https://idp.test", "audiences": ["portcullis"],
        "algorithms": ["EdDSA"], "jwks": {"keys": [jwk]}});
    let rules = json!({"rules": [{"name": "people", "sourceType": "human", "when": {"clientId": ["web"]}}]});
    let signer = IdentitySigner {
        key_id: "g1".into(),
        seed: [3; 32].to_vec(),
        issuer: "https://platform.test".into(),
        lifetime_s: 60,
    };
    vec![
        put(RecordKind::Issuer, b"https://idp.test", document.to_string()),
        put(RecordKind::SourceRules, b"", rules.to_string()),
        put(RecordKind::Cluster, b"acme-1", Cluster { tenant: "acme".into(), state: 2 }.encode_to_vec()),
        put(RecordKind::IdentitySigner, b"", signer.encode_to_vec()),
    ]
}

fn token(issuer: &KeyPair) -> String {
    let claims = json!({"iss": "https://idp.test", "sub": "ann", "tenant": "acme", "aud": "portcullis",
        "exp": 1_000_000, "iat": 1_000, "client_id": "web", "roles": ["reader", "writer"],
        "padding": "x".repeat(190), "jti": "2b6c1f0e-7d1f-4a55-8a53-2f8f0b4f1c77"});
    let header = json!({"alg": "EdDSA", "kid": "i1"}).to_string();
    let signed = [header, claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = issuer.sk.sign(signed.as_bytes(), None);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(*signature))
}

/// Answers the poll that the worker has sent.
fn answer(proxy: &FakeProxy, worker: &Worker, records: Vec<Record>) -> Result<(), Box<dyn Error>> {
    let call = proxy.calls.take().pop().ok_or("no poll")?;
    let nonce = call.path.split("nonce=").nth(1).and_then(|rest| rest.split('&').next());
    let page = Page {
        format: SNAPSHOT_FORMAT,
        nonce: nonce.and_then(unhex).ok_or("no nonce")?,
        view: "gateway".into(),
        generation: vec![9; 16],
        revision: 1,
        reset: true,
        records,
        ..Page::default()
    };
    let body = sign_page(&page, SEED);
    worker.on_answer(proxy, &CalloutResponse { call: call.id, status: Some(200), body: Some(&body) });
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let requests: u32 = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    let mut proxy = FakeProxy::new();
    proxy.client_address = Some(b"192.0.2.7:40000".to_vec());
    let root = portcullis_roots::root(b"gateway").ok_or("no gateway")?;
    let snapshot = json!({"upstream": "control", "key": STANDARD.encode(public_key(SEED))});
    let config = json!({"role": "edge", "domain": "platform.test", "snapshot": snapshot,
        "audit": {"maxWaiting": 1_000_000}});
    let plugin = Plugin::new(root, config.to_string().as_bytes()).map_err(|errors| format!("{errors:?}"))?;
    let stream = StreamId(worker::random(&proxy).ok_or("no randomness")?);
    let source = PolicySource::new(&proxy, &plugin.config, &stream.0).ok_or("no source")?;
    let worker = Worker::new(&proxy, &plugin.config, stream, Arc::new(source)).ok_or("no worker")?;
    let instance = Instance::new(Arc::new(plugin), 1, Arc::new(worker));
    let issuer = KeyPair::from_seed(Seed::new([4; 32]));
    instance.worker.on_tick(&proxy, 1);
    answer(&proxy, &instance.worker, records(&issuer))?;
    let bearer = format!("Bearer {}", token(&issuer));
    for n in 0..requests {
        proxy.begin(&[
            (":method", "GET"),
            (":path", "/clusters/acme-1/v1/items?secret=s"),
            (":authority", "api.platform.test"),
            (":scheme", "https"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            ("accept", "application/json, text/plain, */*"),
            ("accept-encoding", "gzip, deflate, br"),
            ("authorization", &bearer),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-envoy-external-address", "192.0.2.7"),
            ("x-request-id", "7f1c3b9a-52a4-4c8e-9a55-0f6f3f2f7c11"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]);
        let mut request = Request::new(StreamKey(n.into()), "gateway", Some(instance.clone()));
        if request.on_request_headers(&proxy, true) != Verdict::Continue {
            return Err(format!("refused: {:?}", proxy.reply.borrow()).into());
        }
        let own = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        *proxy.response.borrow_mut() = [(":status", "200"), ("content-length", "5")].map(own).to_vec();
        request.on_response_headers(&proxy, false);
        request.on_end(&proxy);
    }
    Ok(())
}
