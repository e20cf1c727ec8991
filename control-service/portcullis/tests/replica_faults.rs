//! Three replicas and their database, killed again and again while filters poll and change replicas: what was acknowledged
//! stays, and nobody is led back. `make test-full` does it for five minutes.

mod common;
mod fault_cases;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::replicas::Replicas;
use fault_cases::World;
use serde_json::json;

const LENGTH: Duration = Duration::from_secs(if cfg!(feature = "slow") { 300 } else { 20 });
/// Between two faults.
const PAUSE: Duration = Duration::from_secs(3);
/// A change at one replica reaches those who poll others within this time, on a machine that does nothing else.
const REACHES_WITHIN: Duration = Duration::from_millis(100);

/// Kills one replica after the other, and the database twice.
async fn chaos(replicas: &mut Replicas, world: &World) -> (u32, u32) {
    let begun = Instant::now();
    let (mut kills, mut outages) = (0, 0);
    while begun.elapsed() < LENGTH || outages < 2 {
        tokio::time::sleep(PAUSE).await;
        if outages < 2 && begun.elapsed() >= LENGTH * (outages + 1) / 3 {
            outages += 1;
            replicas.database.kill().await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            replicas.database.restart().await.unwrap();
            continue;
        }
        let victim = usize::try_from(kills).unwrap() % replicas.len();
        kills += 1;
        replicas[victim].restart().await;
        world.moved(victim, replicas[victim].access().clone());
    }
    (kills, outages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_while_replicas_and_their_database_are_killed() {
    // That clusters fall silent is another test's.
    let edit = |config: &mut serde_json::Value| config["clusters"] = json!({"offlineAfterSeconds": 3600});
    let mut replicas = Replicas::start_with("faults", 3, edit).await;
    let world = Arc::new(World::new(replicas.iter().map(|server| server.access().clone())));

    let took = fault_cases::rollout(&world, &replicas[0]).await;
    println!("a suspension reached pollers of other replicas after: {took}");
    let bound = if cfg!(feature = "slow") { REACHES_WITHIN } else { REACHES_WITHIN * 20 };
    assert!(took.p99 <= bound, "{took}");

    let pollers = world.poll(10, &replicas[0]);
    let (writers, auditors) = (world.write(3), world.deliver(2));
    let (kills, outages) = chaos(&mut replicas, &world).await;
    assert_eq!(outages, 2);
    world.stop();
    let (mut pollers, writers, delivered) =
        (pollers.join_all().await, writers.join_all().await, auditors.join_all().await);
    for server in replicas.iter() {
        common::until("every replica is ready", async || world.is_ready(server).await).await;
    }

    // What a replica heard while it could not write is written by then.
    tokio::time::sleep(Duration::from_secs(6)).await;

    let mut clusters = 0;
    for server in replicas.iter() {
        let found = fault_cases::Found::at(server).await;
        writers.iter().for_each(|writer| found.holds(writer));
        delivered.iter().for_each(|delivered| found.has_all_of(delivered));
        for poller in &mut pollers {
            poller.ends_with(server, &found).await;
        }
        clusters = found.clusters();
    }
    let sum = |of: &dyn Fn(&fault_cases::Writer) -> usize| writers.iter().map(of).sum::<usize>();
    println!(
        "{kills} kills of replicas and {outages} of the database in {LENGTH:?}: {} changes acknowledged, {} not, \
         {clusters} clusters, {} audit records delivered, {} pages, {} of them resyncs",
        sum(&|writer| writer.acknowledged.len()),
        sum(&|writer| writer.unknown),
        delivered.iter().map(|delivered| delivered.records).sum::<u64>(),
        pollers.iter().map(|poller| poller.pages).sum::<usize>(),
        pollers.iter().map(|poller| poller.resyncs).sum::<usize>(),
    );
    assert!(sum(&|writer| writer.acknowledged.len()) > 50, "nothing was tried");
}
