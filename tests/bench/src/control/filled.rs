//! A store with many clusters and API keys in it, made by the store itself as calls of the platform API would.

use std::sync::Arc;

use portcullis_control_domain::api_key::NewApiKey;
use portcullis_control_domain::audit::AuditEvent;
use portcullis_control_domain::caller::{Caller, CallerCredential, Role};
use portcullis_control_domain::cluster::{Heartbeat, NewCluster, Placement};
use portcullis_control_domain::signal::SignalValue;
use portcullis_control_snapshot::Settings;
use portcullis_control_store::{Database, Location, Store};
use portcullis_identity::SourceType;
use portcullis_identity::ids::ClusterId;
use portcullis_protocol::snapshot::public_key;
use tokio::task::JoinSet;

use super::records::mixed;

/// What every cluster reports of itself.
pub(super) const VERSION: &str = "2026.11.3";
/// Calls under way at a time, so that many share a commit.
const AT_ONCE: usize = 512;
/// Heartbeats written in one go.
const CHUNK: usize = 500;

/// How much is in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) clusters: usize,
    pub(super) keys: usize,
}

/// What is needed to call a service on it.
pub(super) struct Filled {
    /// A token of an administrator.
    pub(super) admin: String,
    /// The key that verifies pages of the snapshot.
    pub(super) key: [u8; 32],
    /// Ids of the clusters and their tokens. All are online.
    pub(super) clusters: Vec<(ClusterId, String)>,
}

type Told<T> = Result<T, String>;

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Makes a store where there is none.
///
/// # Errors
/// What the store says.
pub(super) async fn fill(location: Location, size: Size) -> Told<Filled> {
    let make = move || -> Told<_> {
        let mut database = Database::open_to_serve(&location).map_err(told)?;
        let admin = database.bootstrap_administrator(false, None).map_err(told)?;
        let admin = admin.ok_or("somebody has filled it before")?;
        let (key, pepper) = {
            let secrets = database.secrets();
            (public_key(*secrets.snapshot_seed), Arc::new(secrets.api_key_pepper.clone()))
        };
        let store = Store::start(database, Settings::default()).map_err(told)?;
        Ok((store, admin.reveal().to_owned(), key, pepper))
    };
    let (store, admin, key, pepper) = tokio::task::spawn_blocking(make).await.map_err(told)??;
    let clusters = at_once(size.clusters, |number| register(store.clone(), number)).await?;
    let online = |(id, _): &(ClusterId, String)| Heartbeat {
        id: id.clone(),
        said: SignalValue::Good,
        version: Some(VERSION.to_owned()),
    };
    for chunk in clusters.chunks(CHUNK) {
        store.observe(chunk.iter().map(online).collect()).await.map_err(told)?;
    }
    at_once(size.keys, |number| {
        let (store, pepper) = (store.clone(), Arc::clone(&pepper));
        async move {
            let made = store.create_api_key(api_key(number)?, &pepper, action("/v1/api-keys")).await;
            made.map(drop).map_err(told)
        }
    })
    .await?;
    store.close().await;
    Ok(Filled { admin, key, clusters })
}

/// Makes so many, in the order of their numbers.
async fn at_once<T: Send + 'static, F>(count: usize, make: impl Fn(usize) -> F) -> Told<Vec<T>>
where
    F: Future<Output = Told<T>> + Send + 'static,
{
    let (mut made, mut under_way) = (Vec::with_capacity(count), JoinSet::new());
    for number in 0..count {
        let making = make(number);
        under_way.spawn(async move { (number, making.await) });
        if under_way.len() == AT_ONCE {
            made.extend(under_way.join_next().await);
        }
    }
    while let Some(one) = under_way.join_next().await {
        made.push(one);
    }
    let made = made.into_iter().map(|one| one.map_err(told).and_then(|(number, one)| Ok((number, one?))));
    let mut made = made.collect::<Told<Vec<_>>>()?;
    made.sort_unstable_by_key(|(number, _)| *number);
    Ok(made.into_iter().map(|(_, one)| one).collect())
}

fn action(path: &str) -> AuditEvent {
    let credential = CallerCredential::Token { id: "bench".to_owned() };
    let role = Role::Administrator;
    let caller = Caller { credential, role, expires_at_s: None, voucher: None, made_at_ms: None };
    let (method, path) = ("POST".to_owned(), path.to_owned());
    AuditEvent { method, path, ..AuditEvent::default() }.by(&caller)
}

/// The order of ids has nothing to do with that of numbers, or what is written together would stand together.
async fn register(store: Store, number: usize) -> Told<(ClusterId, String)> {
    let mark = u64::try_from(number).map(mixed).map_err(told)? >> 32;
    let id = ClusterId::new(&format!("c{mark:08x}-{number}")).map_err(told)?;
    let tenant = format!("tenant-{}", number % 1_000).parse().map_err(told)?;
    let region = Some("eu-central-1".to_owned());
    let new = NewCluster { id, tenant, placement: Placement::OnPremises, region };
    let (cluster, token, _) = store.register_cluster(new, action("/v1/clusters")).await.map_err(told)?;
    Ok((cluster.id, token.reveal().to_owned()))
}

fn api_key(number: usize) -> Told<NewApiKey> {
    Ok(NewApiKey {
        tenant: format!("tenant-{}", number % 1_000).parse().map_err(told)?,
        subject: format!("service-{number}").parse().map_err(told)?,
        source_type: SourceType::Worker,
        roles: vec!["reader".parse().map_err(told)?],
        scopes: vec!["tables.read".parse().map_err(told)?],
        expires_at_s: None,
    })
}
