//! What stores on one PostgreSQL tell each other beside the order of changes.

use std::collections::HashMap;
use std::time::Duration;

use portcullis_control_snapshot::{Sighting, WorkerChanges};
use portcullis_control_store::{Server, Store, WishState};

use crate::world::World;

fn seen(worker: &str, acknowledged: u64) -> Sighting {
    Sighting {
        principal: "spiffe://cluster.local/ns/a/sa/gateway".to_owned(),
        worker: worker.to_owned(),
        proxy: "router~\0~gateway".to_owned(),
        view: "gateway".to_owned(),
        acknowledged,
        polling: false,
        polled_ago: Duration::from_secs(9),
        silence: Duration::from_secs(7),
        stale_after: Duration::from_secs(300),
    }
}

fn changes(changed: Vec<Sighting>) -> WorkerChanges {
    WorkerChanges { changed, ..WorkerChanges::default() }
}

/// The workers of the other one, by name.
async fn others(store: &Store) -> Vec<Sighting> {
    let others = store.other_workers(HashMap::new()).await.unwrap();
    let mut all: Vec<Sighting> =
        others.values().flat_map(|o| o.sightings.as_ref().unwrap().to_vec()).collect();
    all.sort_by(|a, b| a.worker.cmp(&b.worker));
    all
}

async fn run(world: &World, sql: &'static str) {
    let url = world.url.clone().unwrap();
    let job = move || Server::parse(&url).unwrap().connect().unwrap().batch(sql).unwrap();
    tokio::task::spawn_blocking(job).await.unwrap();
}

#[tokio::test]
async fn a_replica_reads_what_another_knows_of_its_workers_and_only_what_is_new() {
    let world = World::postgres("shared_workers").await;
    let (one, other) = (world.store().await, world.store().await);
    assert!(one.write_workers(changes(vec![seen("01", 7), seen("02", 8)])).await.is_ok());
    assert!(
        one.renew_lease(String::new(), true)
            .await
            .is_ok_and(|(living, is_new)| { living.len() == 1 && living[0].id == *one.replica() && !is_new })
    );
    let all = others(&other).await;
    assert_eq!(all.iter().map(|seen| seen.acknowledged).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(all[0].proxy, "router~\u{fffd}~gateway", "a character that the server's text cannot hold");
    for (told, known) in [(all[0].polled_ago, 9), (all[0].silence, 7)] {
        assert!((known..known + 20).contains(&told.as_secs()), "{told:?}");
    }
    assert_eq!(others(&one).await, [], "its own it has in memory");
    let known = other.other_workers(HashMap::new()).await.unwrap();
    let known = known.into_iter().map(|(id, other)| (id, other.changed)).collect();
    assert!(other.other_workers(known).await.unwrap().values().all(|other| other.sightings.is_none()));
    let gone = vec![(seen("01", 0).principal, "01".to_owned())];
    let next = WorkerChanges { gone, ..changes(vec![seen("02", 9)]) };
    assert!(one.write_workers(next).await.unwrap());
    let all = others(&other).await;
    assert_eq!((all.len(), all[0].acknowledged), (1, 9));
    let anew = WorkerChanges { anew: true, ..changes(vec![seen("03", 1)]) };
    assert!(one.write_workers(anew).await.unwrap());
    assert_eq!(others(&other).await.iter().map(|seen| &*seen.worker).collect::<Vec<_>>(), ["03"]);
    // The server has crashed, and its unlogged tables are empty.
    run(&world, "TRUNCATE replica, worker").await;
    // Whoever says first that it lives has not said yet whom it knows: what it knew before holds on.
    assert!(one.renew_lease(String::new(), false).await.unwrap().1);
    let told = other.other_workers(HashMap::new()).await.unwrap();
    assert!(told.len() == 1 && told.values().all(|one| one.changed == 0 && one.sightings.is_none()));
    assert!(!one.write_workers(changes(Vec::new())).await.unwrap(), "all of it is to be written again");
    let anew = WorkerChanges { anew: true, ..changes(vec![seen("03", 1)]) };
    assert!(one.write_workers(anew).await.unwrap());
    assert_eq!(others(&other).await.iter().map(|seen| &*seen.worker).collect::<Vec<_>>(), ["03"]);
    run(&world, "TRUNCATE replica, worker").await;
    assert!(!one.write_workers(changes(Vec::new())).await.unwrap(), "also where it says so first");
}

#[tokio::test]
async fn what_the_dead_have_left_goes_when_their_workers_can_serve_no_longer() {
    let world = World::postgres("shared_dead").await;
    let (dead, living) = (world.store().await, world.store().await);
    dead.renew_lease(String::new(), false).await.unwrap();
    dead.write_workers(changes(vec![seen("01", 7)])).await.unwrap();
    let (both, is_new) = living.renew_lease(dead.replica().as_str().to_owned(), true).await.unwrap();
    assert!(both.len() == 2 && is_new);
    let (known, _) = dead.renew_lease(String::new(), false).await.unwrap();
    let told = known.iter().find(|replica| replica.id == *living.replica()).unwrap();
    assert_eq!(told.members, dead.replica().as_str());
    run(&world, "UPDATE replica SET seen_at_ms = seen_at_ms - 60000 WHERE members = ''").await;
    let (left, _) = living.renew_lease(String::new(), true).await.unwrap();
    assert_eq!(left.iter().map(|replica| &replica.id).collect::<Vec<_>>(), [living.replica()]);
    assert_eq!(others(&living).await.len(), 1, "it may serve by what it has for 300 s");
    run(
        &world,
        "UPDATE replica SET seen_at_ms = seen_at_ms - 300000 WHERE members = ''
        AND seen_at_ms = (SELECT min(seen_at_ms) FROM replica)",
    )
    .await;
    living.renew_lease("-".to_owned(), true).await.unwrap();
    assert!(living.other_workers(HashMap::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wish_is_carried_out_by_whoever_leads_and_a_former_leader_has_no_last_word() {
    let world = World::postgres("shared_wishes").await;
    let (leader, other) = (world.store().await, world.store().await);
    let id = other.wish("https://idp.example".to_owned(), "k\0".to_owned()).await.unwrap();
    assert_eq!(other.wish_state(id.clone()).await.unwrap(), WishState::Open);
    let open = leader.open_wishes().await.unwrap();
    assert_eq!((open.len(), &open[0].id, &*open[0].issuer), (1, &id, "https://idp.example"));
    leader.grant_wish(id.clone(), "published", 12).await.unwrap();
    assert_eq!(leader.open_wishes().await.unwrap(), []);
    assert_eq!(other.wish_state(id.clone()).await.unwrap(), WishState::Done("published".to_owned(), 12));
    assert_eq!(other.wish_state(id).await.unwrap(), WishState::Gone);
    // Nobody waits for it any more.
    other.wish("https://idp.example".to_owned(), String::new()).await.unwrap();
    run(&world, "UPDATE key_wish SET asked_at_ms = asked_at_ms - 61000").await;
    leader.open_wishes().await.unwrap();
    assert_eq!(leader.open_wishes().await.unwrap(), []);
    let term = leader.term().unwrap();
    assert_eq!(other.leaders_word().await.unwrap(), None);
    leader.tell_others(term, "first".to_owned()).await.unwrap();
    assert_eq!(other.leaders_word().await.unwrap().as_deref(), Some("first"));
    run(&world, "UPDATE leader_word SET epoch = epoch + 1, value = 'later'").await;
    leader.tell_others(term, "late".to_owned()).await.unwrap();
    assert_eq!(other.leaders_word().await.unwrap().as_deref(), Some("later"));
}
