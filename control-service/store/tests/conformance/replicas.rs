//! Several stores on one PostgreSQL, each as a replica of the service has it.

use std::time::{Duration, Instant};

use portcullis_control_domain::Refused;
use portcullis_control_domain::caller::{Authority, Role};
use portcullis_control_domain::cluster::Administer;
use portcullis_control_snapshot::{Ask, Behind, Poll, View};
use portcullis_control_store::{Server, Store, StoreError};
use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use portcullis_model::decision::ClusterState;
use portcullis_protocol::wire::{Page, RecordKind};
use tokio::sync::watch;

use crate::world::{World, action, action_of, new_cluster};

/// What a busy machine may take for what takes milliseconds.
const SOON: Duration = Duration::from_secs(20);

async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn revoke(store: &Store, name: &str) -> u64 {
    store.add_revocation(name.to_owned(), String::new(), None, action("/v1/revocations")).await.unwrap().1
}

fn revocations(store: &Store) -> Page {
    store.hub().excerpt(&[RecordKind::Revocation])
}

async fn poll(store: &Store, revision: u64) -> Result<Vec<u8>, Behind> {
    let generation = store.hub().generation().to_vec();
    let ask = Ask { view: View::Gateway, generation, revision, cursor: Vec::new() };
    let (_going_on, stopping) = watch::channel(false);
    store.hub().poll(Poll { ask, nonce: vec![0; 16], wait: Duration::ZERO }, stopping, || 0).await
}

#[tokio::test]
async fn what_one_replica_writes_all_have_and_no_number_is_given_twice() {
    let world = World::postgres("replicas_write").await;
    let stores = [world.store().await, world.store().await, world.store().await];
    let before = stores[0].audit_status().await.unwrap().total;
    let mut writes = Vec::new();
    for n in 0..90 {
        let store = stores[n % 3].clone();
        writes.push(tokio::spawn(async move { revoke(&store, &["jti:", &n.to_string()].concat()).await }));
    }
    let mut revisions = Vec::new();
    for write in writes {
        revisions.push(write.await.unwrap());
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 90);
    let newest = *revisions.last().unwrap();
    for store in &stores {
        until("every replica has everything", || store.hub().revision() == newest).await;
        assert_eq!(revocations(store).records, revocations(&stores[0]).records);
        assert_eq!(revocations(store).records.len(), 90);
        assert_eq!(store.audit_status().await.unwrap().total, before + 90);
    }
}

/// A revocation that nobody is called for, as only something else than this service would write it.
async fn revoke_in_silence(world: &World, name: &str) {
    let sql = format!(
        "BEGIN;
         UPDATE snapshot_life SET revision = revision + 1;
         INSERT INTO snapshot_entry (kind, key, revision, value)
            SELECT {}, '{name}', revision, '' FROM snapshot_life;
         COMMIT",
        RecordKind::Revocation as i32
    );
    world.sql(move |connection| connection.batch(&sql).unwrap()).await;
}

#[tokio::test]
async fn news_of_another_replica_take_no_look_by_the_clock() {
    let world = World::postgres("replicas_wake").await;
    let (writes, follows) = (world.store().await, world.store().await);
    let has_next = async |before: u64| {
        let begun = Instant::now();
        until("the news are there", || follows.hub().revision() > before).await;
        begun.elapsed()
    };
    let (mut called, mut silent) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let before = follows.hub().revision();
        revoke(&writes, &["jti:", &n.to_string()].concat()).await;
        called.push(has_next(before).await);
        let before = follows.hub().revision();
        revoke_in_silence(&world, &["jti:silent-", &n.to_string()].concat()).await;
        silent.push(has_next(before).await);
    }
    called.sort_unstable();
    silent.sort_unstable();
    // A look by the clock alone comes 50 ms later on average, whatever else the machine does.
    assert!(silent[10].saturating_sub(called[10]) > Duration::from_millis(20), "{called:?} {silent:?}");
}

#[tokio::test]
async fn a_reader_that_is_ahead_is_never_led_back() {
    let world = World::postgres("replicas_ahead").await;
    let store = world.store().await;
    let known = store.hub().revision();
    assert!(poll(&store, known).await.is_ok());
    assert_eq!(poll(&store, known + 1).await, Err(Behind), "another replica told it something newer");
    let (late, ()) = tokio::join!(poll(&store, known + 1), async {
        revoke(&store, "jti:new").await;
    });
    assert!(late.is_ok(), "it is answered as soon as this one has it, too");
}

#[tokio::test]
async fn a_replica_that_is_cut_off_says_so_until_it_follows_again() {
    let server = Postgres::start(&paths::target().join("postgres/cut-off")).await.unwrap();
    let world = World::on(&server, "cut_off").await;
    let store = world.store().await;
    let known = store.hub().revision();
    let waiting = {
        let store = store.clone();
        let generation = store.hub().generation().to_vec();
        tokio::spawn(async move {
            let ask = Ask { view: View::Gateway, generation, revision: known, cursor: Vec::new() };
            let (_going_on, stopping) = watch::channel(false);
            let poll = Poll { ask, nonce: vec![0; 16], wait: Duration::from_secs(60) };
            store.hub().poll(poll, stopping, || 0).await
        })
    };
    assert!(store.check_fresh().is_ok() && store.term().is_some());
    server.pause().unwrap();
    until("it counts as behind", || store.check_fresh().is_err()).await;
    until("it does not take itself for the leader any more", || store.term().is_none()).await;
    assert!(matches!(store.check_fresh(), Err(StoreError::Behind(_))));
    assert_eq!(
        waiting.await.unwrap(),
        Err(Behind),
        "a poll that waits is not answered as if nothing had changed"
    );
    assert_eq!(poll(&store, known).await, Err(Behind));
    server.unpause().unwrap();
    until("it has everything again", || store.check_fresh().is_ok()).await;
    assert!(poll(&store, known).await.is_ok());
}

/// Of what was removed while it was away the database may have forgotten that it was there.
#[tokio::test]
async fn a_replica_that_missed_what_is_forgotten_gets_everything_anew() {
    let world = World::postgres("replicas_forgotten").await;
    let store = world.store().await;
    revoke(&store, "jti:gone").await;
    let known = store.hub().revision();
    let world_url = world.url.clone().unwrap();
    let elsewhere = format!(
        "BEGIN;
         DELETE FROM snapshot_entry WHERE kind = {kind};
         INSERT INTO snapshot_entry (kind, key, revision, value) VALUES ({kind}, 'sub:x', {next}, '');
         UPDATE snapshot_life SET revision = {next}, floor = {floor};
         COMMIT",
        kind = RecordKind::Revocation as i32,
        next = known + 2,
        floor = known + 1,
    );
    let job = move || Server::parse(&world_url).unwrap().connect().unwrap().batch(&elsewhere).unwrap();
    tokio::task::spawn_blocking(job).await.unwrap();
    until("it has the newest", || store.hub().revision() == known + 2).await;
    let names: Vec<_> = revocations(&store).records.into_iter().map(|record| record.key).collect();
    assert_eq!(names, [b"sub:x"]);
    assert!(revoke(&store, "jti:next").await > known + 2);
}

/// Five seconds, and what a busy machine takes.
const MOVES_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn one_leads_and_when_it_leaves_another_does() {
    let world = World::postgres("replicas_lead").await;
    let stores = [world.store().await, world.store().await, world.store().await];
    let leaders = |stores: &[Store]| stores.iter().filter(|store| store.term().is_some()).count();
    let first = stores[0].term().expect("who is there first leads at once");
    assert_eq!(leaders(&stores), 1);
    let named = async || stores[1].leadership().await.unwrap().leader;
    assert_eq!(named().await, stores[0].replica().as_str());
    stores[0].close().await;
    let begun = Instant::now();
    until("another one leads", || leaders(&stores[1..]) == 1).await;
    assert!(begun.elapsed() < MOVES_WITHIN);
    let (leader, next) = stores[1..].iter().find_map(|store| Some((store.replica(), store.term()?))).unwrap();
    assert!(next.epoch() > first.epoch());
    assert_eq!(named().await, leader.as_str());
    let late = stores[1].fell_silent(first, Vec::new()).await;
    assert!(matches!(late, Err(StoreError::Superseded)), "{late:?}");
    let late = stores[2].remove_ended_revocations(first).await;
    assert!(matches!(late, Err(StoreError::Superseded)), "{late:?}");
    stores[2].fell_silent(next, Vec::new()).await.unwrap();
}

/// The lock is the server's to give: a leader whose connection it ended has lost it, though it may not know.
#[tokio::test]
async fn what_a_leader_writes_that_was_cut_off_is_refused() {
    let world = World::postgres("replicas_fence").await;
    let (first, second) = (world.store().await, world.store().await);
    let term = first.term().unwrap();
    let url = world.url.clone().unwrap();
    let cut_off = move || {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND objid = 1467513783 AND granted AND database =
                (SELECT oid FROM pg_database WHERE datname = current_database())";
        Server::parse(&url).unwrap().connect().unwrap().batch(sql).unwrap();
    };
    tokio::task::spawn_blocking(cut_off).await.unwrap();
    let newer = |store: &Store| store.term().is_some_and(|now| now.epoch() > term.epoch());
    until("somebody leads anew", || newer(&first) || newer(&second)).await;
    let late = first.publish_settings(term).await;
    assert!(matches!(late, Err(StoreError::Superseded)), "{late:?}");
    until("one leads", || newer(&first) != newer(&second)).await;
}

/// Does what a role wants at one replica; the sides that hold the cluster afterwards, if it was done.
async fn administer(store: &Store, role: Role, what: Administer) -> Result<Vec<Authority>, StoreError> {
    let id = "held".parse().unwrap();
    let (cluster, _) = store.administer_cluster(id, what, action_of(role, "/v1/clusters/held")).await?;
    let closed = cluster.state == ClusterState::Suspended;
    assert_eq!(closed, !cluster.suspended_by.is_empty(), "it is open when nobody holds it, and never before");
    Ok(cluster.suspended_by)
}

#[tokio::test]
async fn holds_that_are_made_and_lifted_at_once_are_all_counted() {
    let world = World::postgres("replicas_hold").await;
    let stores = [world.store().await, world.store().await, world.store().await];
    stores[0].register_cluster(new_cluster("held", "acme"), action("/v1/clusters")).await.unwrap();
    let owner = || Role::ClusterOwner("acme".parse().unwrap(), "held".parse().unwrap());
    let tenant = || Role::TenantAdmin("acme".parse().unwrap());
    let (suspend, resume) = (|| Administer::Suspend(None), || Administer::Resume);
    for round in 0..20 {
        let [a, b, c] = [0, 1, 2].map(|at| &stores[(round + at) % 3]);
        let made = tokio::join!(
            administer(a, owner(), suspend()),
            administer(b, tenant(), suspend()),
            administer(c, Role::Operator, suspend()),
        );
        let most = [made.0, made.1, made.2].map(|sides| sides.unwrap().len()).into_iter().max();
        assert_eq!(most, Some(3), "the last one sees all");
        let lifted = tokio::join!(administer(c, owner(), resume()), administer(a, tenant(), resume()));
        let least = [lifted.0, lifted.1].map(|sides| sides.unwrap().len()).into_iter().min();
        assert_eq!(least, Some(1));
        let (opened, closed) =
            tokio::join!(administer(b, Role::Administrator, resume()), administer(a, owner(), suspend()));
        assert!(opened.is_ok() && closed.is_ok());
        let others = administer(c, Role::Operator, resume()).await;
        assert!(matches!(others, Err(StoreError::Refused(Refused::HeldBelow))), "{others:?}");
        assert_eq!(administer(b, owner(), resume()).await.unwrap(), []);
    }
}
