//! Clusters, policy, and what is left after a restart, a failure or a newer version.

use std::time::{Duration, Instant};

use portcullis_control_domain::Refused;
use portcullis_control_domain::caller::Reach;
use portcullis_control_domain::cluster::{
    Administer, ClusterQuery, Heartbeat, NewCluster, Observed, Placement,
};
use portcullis_control_domain::hold::HoldReason;
use portcullis_control_domain::issuer::StoredKeys;
use portcullis_control_domain::signal::SignalValue;
use portcullis_control_store::{Server, Store, StoreError};
use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use portcullis_model::decision::ClusterState;
use portcullis_model::policy::Jwks;
use portcullis_protocol::wire::RecordKind;

use crate::on_both;
use crate::world::{World, action};

on_both! {
    a_clusters_state_is_what_operators_and_heartbeats_say,
    holds_keep_who_made_them_and_why,
    a_refused_job_leaves_nothing_and_hurts_no_other,
    revisions_are_one_order_and_none_is_given_twice,
    everything_is_there_after_a_restart,
    keys_of_issuers_are_kept,
    who_was_not_heard_of_is_told_and_only_the_leader_writes_it_down,
    what_was_heard_before_is_not_the_last_word_for_being_written_late,
}

fn new(id: &str, tenant: &str) -> NewCluster {
    NewCluster {
        id: id.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        placement: Placement::OnPremises,
        region: Some("eu-1".to_owned()),
    }
}

async fn register(store: &Store, id: &str, tenant: &str) -> u64 {
    store.register_cluster(new(id, tenant), action("/v1/clusters")).await.unwrap().2
}

fn heartbeat(id: &str, said: SignalValue) -> Heartbeat {
    Heartbeat { id: id.parse().unwrap(), said, version: Some("1.2".to_owned()) }
}

async fn a_clusters_state_is_what_operators_and_heartbeats_say(world: World) {
    let store = world.store().await;
    let (made, token, _) = store.register_cluster(new("a", "acme"), action("/v1/clusters")).await.unwrap();
    assert_eq!(made.state, ClusterState::Pending);
    let twice = store.register_cluster(new("a", "globex"), action("/v1/clusters")).await;
    assert!(matches!(twice, Err(StoreError::Refused(Refused::ClusterExists))), "{twice:?}");
    for (id, tenant) in [("b", "acme"), ("c", "globex")] {
        register(&store, id, tenant).await;
    }
    let seen =
        store.observe(vec![heartbeat("a", SignalValue::Good), heartbeat("gone", SignalValue::Good)]).await;
    assert_eq!(seen.unwrap().clusters.len(), 1, "what is not there is passed over");
    let suspend = |what| store.administer_cluster("a".parse().unwrap(), what, action("/v1/clusters/a"));
    assert_eq!(suspend(Administer::Suspend(None)).await.unwrap().0.state, ClusterState::Suspended);
    store.observe(vec![heartbeat("a", SignalValue::Degraded)]).await.unwrap();
    let a = store.cluster(Reach::Platform, "a".parse().unwrap()).await.unwrap();
    assert_eq!(
        (a.state, a.observed, a.version.as_deref()),
        (ClusterState::Suspended, Observed::Degraded, Some("1.2"))
    );
    assert_eq!(suspend(Administer::Resume).await.unwrap().0.state, ClusterState::Degraded);
    assert_eq!(suspend(Administer::Retire).await.unwrap().0.state, ClusterState::Retired);
    let late = suspend(Administer::Resume).await;
    assert!(matches!(late, Err(StoreError::Refused(Refused::ClusterRetired))), "{late:?}");
    let listed = async |tenant: Option<&str>, state, after: &str, limit| {
        let query = ClusterQuery {
            reach: Reach::Platform,
            tenant: tenant.map(str::to_owned),
            state,
            after: after.to_owned(),
            limit,
        };
        let page = store.clusters(query).await.unwrap();
        (page.items.iter().map(|cluster| cluster.id.to_string()).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(listed(None, None, "", 2).await, (vec!["a".into(), "b".into()], Some("b".into())));
    assert_eq!(listed(None, None, "b", 2).await, (vec!["c".into()], None));
    assert_eq!(listed(Some("globex"), None, "", 9).await.0, ["c"]);
    assert_eq!(listed(Some("acme"), Some(ClusterState::Retired), "", 9).await.0, ["a"]);
    assert_eq!(listed(None, Some(ClusterState::Pending), "", 9).await.0, ["b", "c"]);
    let known = store.known_clusters().await.unwrap();
    assert!(known.iter().any(|k| k.cluster.id.as_str() == "a" && k.token_digest == token.digest()));
    let missing = store.cluster(Reach::Platform, "nothing".parse().unwrap()).await;
    assert!(matches!(missing, Err(StoreError::Refused(Refused::ClusterUnknown))), "{missing:?}");
}

async fn holds_keep_who_made_them_and_why(world: World) {
    let store = world.store().await;
    register(&store, "a", "acme").await;
    let reason = HoldReason::try_from("an incident".to_owned()).unwrap();
    let suspend = Administer::Suspend(Some(reason));
    let made =
        store.administer_cluster("a".parse().unwrap(), suspend, action("/v1/clusters/a")).await.unwrap().0;
    store.close().await;
    drop(store);
    let store = world.store().await;
    let found = store.cluster(Reach::Platform, "a".parse().unwrap()).await.unwrap();
    assert_eq!(found, made);
    let holds = serde_json::to_value(&found.holds).unwrap();
    assert_eq!((&holds[0]["by"]["id"], &holds[0]["reason"]), (&"1".into(), &"an incident".into()));
    let retired =
        store.administer_cluster("a".parse().unwrap(), Administer::Retire, action("/")).await.unwrap().0;
    assert!(retired.holds.is_empty() && retired.state == ClusterState::Retired);
}

/// Its writing waits while another one has the database, as on a busy machine.
async fn what_was_heard_before_is_not_the_last_word_for_being_written_late(world: World) {
    let store = world.store().await;
    register(&store, "a", "acme").await;
    let before = Instant::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.observe(vec![heartbeat("a", SignalValue::Good)]).await.unwrap();
    let (holding, held) = tokio::sync::oneshot::channel();
    let busy = world.sql(move |connection| {
        connection.begin().unwrap();
        holding.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        connection.rollback().unwrap();
    });
    let late = async {
        held.await.unwrap();
        store.note_times(vec![("a".parse().unwrap(), SignalValue::Degraded, before)]).await.unwrap()
    };
    let ((), noted) = tokio::join!(busy, late);
    assert_eq!(noted.clusters, []);
    let a = store.cluster(Reach::Platform, "a".parse().unwrap()).await.unwrap();
    assert_eq!(a.observed, Observed::Online);
    let newer = vec![("a".parse().unwrap(), SignalValue::Degraded, Instant::now())];
    let noted = store.note_times(newer).await.unwrap();
    assert_eq!(noted.clusters.iter().map(|a| a.observed).collect::<Vec<_>>(), [Observed::Degraded]);
}

async fn who_was_not_heard_of_is_told_and_only_the_leader_writes_it_down(world: World) {
    let store = world.store().await;
    let term = store.term().unwrap();
    for id in ["a", "b", "c"] {
        register(&store, id, "acme").await;
    }
    store
        .observe(vec![heartbeat("a", SignalValue::Good), heartbeat("b", SignalValue::Degraded)])
        .await
        .unwrap();
    let ago = |id: &str, reported, seconds| {
        let at = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        (id.parse().unwrap(), reported, at)
    };
    let heard = vec![ago("b", SignalValue::Degraded, 20), ago("gone", SignalValue::Good, 0)];
    let noted = store.note_times(heard).await.unwrap();
    assert_eq!(noted.clusters, [], "an older time than is known changes nothing");
    assert_eq!(store.note_times(Vec::new()).await.unwrap().clusters, []);
    let silent = async |seconds| {
        let silent = store.silent_clusters(Duration::from_secs(seconds), 9).await.unwrap();
        silent.into_iter().map(|silent| silent.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(silent(60).await, Vec::<String>::new());
    assert_eq!(silent(0).await, ["a", "b"], "who was never heard of cannot fall silent");
    let all = store.silent_clusters(Duration::ZERO, 9).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.observe(vec![heartbeat("b", SignalValue::Good)]).await.unwrap();
    let offline = store.fell_silent(term, all).await.unwrap();
    assert_eq!(
        offline.iter().map(|c| (c.id.as_str(), c.state)).collect::<Vec<_>>(),
        [("a", ClusterState::Offline)]
    );
    let state = async |id: &str| store.cluster(Reach::Platform, id.parse().unwrap()).await.unwrap().state;
    assert_eq!((state("a").await, state("b").await), (ClusterState::Offline, ClusterState::Online));
    let seen = store.hub().excerpt(&[RecordKind::Cluster]);
    assert_eq!(seen.revision, store.hub().revision());
}

async fn a_refused_job_leaves_nothing_and_hurts_no_other(world: World) {
    let store = world.store().await;
    register(&store, "a", "acme").await;
    let before = store.audit_status().await.unwrap().total;
    let register = |id: &'static str| store.register_cluster(new(id, "acme"), action("/v1/clusters"));
    let (one, two, three) = tokio::join!(register("b"), register("a"), register("c"));
    assert!(one.is_ok() && three.is_ok(), "{one:?} {three:?}");
    assert!(matches!(two, Err(StoreError::Refused(Refused::ClusterExists))), "{two:?}");
    assert_eq!(store.audit_status().await.unwrap().total, before + 2);
}

async fn revisions_are_one_order_and_none_is_given_twice(world: World) {
    let store = world.store().await;
    let writes = (0..100).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let name = ["jti:", &n.to_string()].concat();
            store.add_revocation(name, String::new(), None, action("/v1/revocations")).await.unwrap().1
        })
    });
    let mut revisions = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        revisions.push(write.await.unwrap());
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 100);
    assert_eq!(store.hub().revision(), *revisions.last().unwrap());
}

async fn everything_is_there_after_a_restart(world: World) {
    let store = world.store().await;
    let revision = register(&store, "a", "acme").await;
    let (generation, excerpt) = (store.hub().generation(), store.hub().excerpt(&[RecordKind::Cluster]));
    store.close().await;
    assert!(!store.is_open());
    let closed = store.add_revocation("sub:x".into(), String::new(), None, action("/")).await;
    assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
    drop(store);
    let store = world.store().await;
    assert_eq!(store.hub().generation(), generation);
    assert!(store.hub().revision() >= revision);
    assert_eq!(store.hub().excerpt(&[RecordKind::Cluster]).records, excerpt.records);
    assert!(register(&store, "b", "acme").await > revision, "no number is used again");
}

async fn keys_of_issuers_are_kept(world: World) {
    let store = world.store().await;
    let kept = |source: &str, at| StoredKeys {
        issuer: "https://idp.example".to_owned(),
        source: source.to_owned(),
        jwks: Jwks::default(),
        fetched_at_ms: at,
    };
    store.keep_keys(kept("https://idp.example/old", 1), true).await.unwrap();
    store.keep_keys(kept("https://idp.example/jwks", 2), false).await.unwrap();
    assert_eq!(store.kept_keys().await.unwrap(), [kept("https://idp.example/jwks", 2)]);
}

#[tokio::test]
async fn a_server_that_was_away_is_used_again_and_nothing_acknowledged_is_lost() {
    let mut server = Postgres::start(&paths::target().join("postgres/away")).await.unwrap();
    let world = World::on(&server, "away").await;
    let store = world.store().await;
    register(&store, "a", "acme").await;
    server.kill().await.unwrap();
    let away = store.register_cluster(new("b", "acme"), action("/v1/clusters")).await;
    assert!(matches!(away, Err(StoreError::Disconnected(_))), "{away:?}");
    let away = store
        .clusters(ClusterQuery {
            reach: Reach::Platform,
            tenant: None,
            state: None,
            after: String::new(),
            limit: 9,
        })
        .await;
    assert!(matches!(away, Err(StoreError::Disconnected(_))), "{away:?}");
    server.restart().await.unwrap();
    register(&store, "c", "acme").await;
    let all = store
        .clusters(ClusterQuery {
            reach: Reach::Platform,
            tenant: None,
            state: None,
            after: String::new(),
            limit: 9,
        })
        .await;
    let ids: Vec<_> = all.unwrap().items.iter().map(|cluster| cluster.id.to_string()).collect();
    assert_eq!(ids, ["a", "c"], "what was refused left nothing");
}

/// Somebody was told that a change failed whose commit was done, but whose answer was lost.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_reaches_filters() {
    let mut server = Postgres::start(&paths::target().join("postgres/lost")).await.unwrap();
    let world = World::on(&server, "lost").await;
    let store = world.store().await;
    register(&store, "a", "acme").await;
    let revision = store.hub().revision();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let url = server.url("lost");
    let write = move |sql: String| {
        let connection = Server::parse(&url).unwrap().connect().unwrap();
        connection.batch(&sql).unwrap();
    };
    let committed = format!(
        "INSERT INTO snapshot_entry (kind, key, revision, value) VALUES ({}, 'sub:x', {next}, '');
         UPDATE snapshot_life SET revision = {next}",
        RecordKind::Revocation as i32,
        next = revision + 1
    );
    let write = tokio::task::spawn_blocking(move || {
        write(committed);
        write
    });
    let write = write.await.unwrap();
    assert!(register(&store, "b", "acme").await > revision + 1);
    let seen = store.hub().excerpt(&[RecordKind::Revocation]);
    assert!(seen.records.iter().any(|record| record.key == b"sub:x"), "{seen:?}");
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let back = format!("UPDATE snapshot_life SET revision = {revision}");
    tokio::task::spawn_blocking(move || write(back)).await.unwrap();
    let other = store.register_cluster(new("c", "acme"), action("/v1/clusters")).await;
    assert!(matches!(other, Err(StoreError::Unfit(_))), "numbers are not given twice: {other:?}");
}

#[tokio::test]
async fn a_lock_that_was_not_had_in_time_breaks_nothing() {
    let server = Postgres::start(&paths::target().join("postgres/locked")).await.unwrap();
    let world = World::on(&server, "locked").await;
    let store = world.store().await;
    let url = server.url("locked");
    let hold = move || {
        let connection = Server::parse(&url).unwrap().connect().unwrap();
        connection.begin().unwrap();
        connection
    };
    let held = tokio::task::spawn_blocking(hold).await.unwrap();
    let late = store.register_cluster(new("a", "acme"), action("/v1/clusters")).await;
    assert!(matches!(late, Err(StoreError::Server(_))), "{late:?}");
    tokio::task::spawn_blocking(move || drop(held)).await.unwrap();
    register(&store, "b", "acme").await;
}

#[tokio::test]
async fn a_server_that_hangs_holds_nobody_up() {
    let server = Postgres::start(&paths::target().join("postgres/hangs")).await.unwrap();
    let world = World::on(&server, "hangs").await;
    let store = world.store().await;
    register(&store, "a", "acme").await;
    store.cluster(Reach::Platform, "a".parse().unwrap()).await.unwrap();
    server.pause().unwrap();
    let suspend =
        store.administer_cluster("a".parse().unwrap(), Administer::Suspend(None), action("/v1/clusters/a"));
    let (write, read) = tokio::join!(suspend, store.cluster(Reach::Platform, "a".parse().unwrap()));
    server.unpause().unwrap();
    assert!(matches!(write, Err(StoreError::Disconnected(_))), "{write:?}");
    assert!(matches!(read, Err(StoreError::Disconnected(_))), "{read:?}");
    register(&store, "b", "acme").await;
}

#[tokio::test]
async fn a_user_who_may_only_read_is_refused_at_the_start() {
    let server = Postgres::start(&paths::target().join("postgres/reads")).await.unwrap();
    let world = World::on(&server, "reads").await;
    let store = world.store().await;
    store.close().await;
    drop(store);
    let (owner, reader) = (server.url("reads"), server.url("reads").replace("postgres@", "reader@"));
    let grant = move || {
        let connection = Server::parse(&owner).unwrap().connect().unwrap();
        connection
            .batch("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
            .unwrap();
    };
    tokio::task::spawn_blocking(grant).await.unwrap();
    let refused = world.as_user(&reader).try_store().await.map(drop);
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("must own the database"), "{told}");
}
