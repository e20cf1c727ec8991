//! A hundred thousand API keys: made, listed, read by a gateway, and there again after a restart.

#![cfg(feature = "slow")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_control_domain::api_key::NewApiKey;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_snapshot::Settings;
use portcullis_control_store::{Database, Location, Store};
use portcullis_identity::SourceType;
use portcullis_identity::ids::{Role, Subject, TenantId};
use reqwest::Method;

use common::{GATEWAY, Server};

const KEYS: usize = 100_000;
/// Keys made at once: they share commits.
const TOGETHER: usize = 500;

async fn make_keys(data: &std::path::Path) {
    let database = Database::open(&Location::folder(data)).unwrap();
    let pepper = Arc::new(database.secrets().api_key_pepper.clone());
    let store = Store::start(database, Settings::default()).unwrap();
    for begin in (0..KEYS).step_by(TOGETHER) {
        let mut jobs = tokio::task::JoinSet::new();
        for n in begin..begin + TOGETHER {
            let (store, pepper) = (store.clone(), Arc::clone(&pepper));
            let new = NewApiKey {
                tenant: TenantId::new(if n % 100 == 0 { "acme" } else { "globex" }).unwrap(),
                subject: Subject::new(&format!("service-{n}")).unwrap(),
                source_type: SourceType::Worker,
                roles: vec![Role::new("reader").unwrap()],
                scopes: Vec::new(),
                expires_at_s: None,
            };
            jobs.spawn(
                async move { store.create_api_key(new, &pepper, AuditEvent::default()).await.unwrap().2 },
            );
        }
        assert_eq!(jobs.join_all().await.len(), TOGETHER);
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_are_served() {
    let mut server = Server::start().await;
    server.signal("TERM");
    assert_eq!(server.exit_code().await, Some(0));
    let begun = Instant::now();
    make_keys(&server.folder.path().join("data")).await;
    println!("made {KEYS} keys in {:?}", begun.elapsed());

    let begun = Instant::now();
    server.restart().await;
    let start = begun.elapsed();
    println!("started with them in {start:?}");

    let begun = Instant::now();
    let (mut after, mut listed) = (String::new(), 0);
    loop {
        let path = ["/v1/api-keys?limit=1000&after=", &after].concat();
        let page = server.expect(200, Method::GET, &path, None).await;
        listed += page["api_keys"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    println!("listed {listed} in {:?}", begun.elapsed());
    let begun = Instant::now();
    let page = server.expect(200, Method::GET, "/v1/api-keys?tenant=acme&limit=1000", None).await;
    let one_tenant = begun.elapsed();
    println!("listed one tenant's thousand in {one_tenant:?}");
    assert_eq!((listed, page["api_keys"].as_array().unwrap().len()), (KEYS, KEYS / 100));

    let begun = Instant::now();
    let mut reader = server.reader("gateway", GATEWAY, "01");
    let pages = reader.sync(&server).await.len();
    println!("a gateway read them in {:?} and {pages} pages", begun.elapsed());
    assert_eq!(reader.state.api_key_count(), KEYS);
    // Bounds that hold in the unoptimised build on two busy cores.
    assert!(
        start < Duration::from_secs(20) && one_tenant < Duration::from_secs(2),
        "{start:?} {one_tenant:?}"
    );
}
