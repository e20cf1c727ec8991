//! Three replicas and their database, killed again and again while filters poll and change replicas: what was acknowledged
//! stays, and nobody is led back. `make test-full` does it for five minutes.

mod common;
mod fault_cases;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::replicas::{Replicas, leader};
use common::{PATIENCE, SLACK, run_in, stdout, until};
use fault_cases::{Found, REPLICAS, World};
use serde_json::json;

const LENGTH: Duration = Duration::from_secs(if cfg!(feature = "slow") { 300 } else { 20 });
/// Between two faults.
const PAUSE: Duration = Duration::from_secs(3);
/// When there must be another leader.
const LEADS_WITHIN: Duration = Duration::from_secs(5);
/// A change at one replica reaches those who poll others within this time, on a machine that does nothing else.
const REACHES_WITHIN: Duration = Duration::from_millis(100);

/// What was done to replicas and their database.
#[derive(Debug, Default)]
struct Chaos {
    kills: usize,
    of_leaders: usize,
    outages: u32,
    longest_without_a_leader: Duration,
}

impl Chaos {
    /// Kills one replica after the other, whoever leads each second time, and the database twice.
    async fn reign(replicas: &mut Replicas, world: &World) -> Self {
        let begun = Instant::now();
        let mut chaos = Self::default();
        while begun.elapsed() < LENGTH || chaos.outages < 2 {
            tokio::time::sleep(PAUSE).await;
            if chaos.outages < 2 && begun.elapsed() >= LENGTH * (chaos.outages + 1) / 3 {
                chaos.outages += 1;
                replicas.database.kill().await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                replicas.database.restart().await.unwrap();
                continue;
            }
            let leader = leader(replicas).await.filter(|_| chaos.kills.is_multiple_of(2));
            let victim = leader.unwrap_or(chaos.kills / 2 % replicas.len());
            chaos.kills += 1;
            replicas[victim].kill();
            if leader.is_some() {
                chaos.of_leaders += 1;
                chaos.wait_for_a_leader(replicas).await;
            }
            replicas[victim].restart().await;
            world.moved(victim, replicas[victim].access().clone());
        }
        chaos
    }

    async fn wait_for_a_leader(&mut self, replicas: &Replicas) {
        let begun = Instant::now();
        until("another one leads", async || leader(replicas).await.is_some()).await;
        self.longest_without_a_leader = self.longest_without_a_leader.max(begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_while_replicas_and_their_database_are_killed() {
    // That clusters fall silent, and that those which flap are held back, is other tests'.
    let edit = |config: &mut serde_json::Value| {
        config["clusters"] = json!({"offlineAfterSeconds": 3600, "recoverEverySeconds": 0});
    };
    let mut replicas = Replicas::start_with("faults", REPLICAS, edit).await;
    let world = Arc::new(World::new(replicas.iter().map(|server| server.access().clone())));

    let (took, calls) = fault_cases::rollout(&world, &replicas[0]).await;
    println!(
        "a suspension reached pollers of other replicas after {took}; calls were answered after {calls}"
    );
    // A machine that has other things to do is slow with the call as well, which no other replica has a part in.
    let bound = REACHES_WITHIN.max(calls.p99 * 2);
    assert!(took.p99 <= bound, "{took}; {calls}");

    let pollers = world.poll(10, &replicas[0]);
    let (writers, auditors) = (world.write(3), world.deliver(2));
    let chaos = Chaos::reign(&mut replicas, &world).await;
    world.stop();
    let (mut pollers, writers, delivered) =
        (pollers.join_all().await, writers.join_all().await, auditors.join_all().await);
    for server in replicas.iter() {
        until("every replica is ready", async || server.ready().await.0).await;
    }

    let mut clusters = 0;
    for server in replicas.iter() {
        let found = all_is_there(server, &writers).await;
        delivered.iter().for_each(|delivered| found.has_all_of(delivered));
        for poller in &mut pollers {
            poller.ends_with(server, &found).await;
        }
        clusters = found.clusters();
    }
    let config = replicas[0].config();
    let checked =
        run_in(replicas[0].folder.path(), &["store", "check", "--config", config.to_str().unwrap()]);
    assert!(stdout(&checked).contains("everything fits together"));
    let sum = |of: &dyn Fn(&fault_cases::Writer) -> usize| writers.iter().map(of).sum::<usize>();
    println!(
        "{chaos:?} in {LENGTH:?}: {} changes acknowledged, {} not, {clusters} clusters, {} audit records delivered, \
         {} pages",
        sum(&|writer| writer.acknowledged.len()),
        sum(&|writer| writer.unknown),
        delivered.iter().map(|delivered| delivered.records).sum::<u64>(),
        pollers.iter().map(|poller| poller.pages).sum::<usize>(),
    );
    assert!(sum(&|writer| writer.acknowledged.len()) > 50, "nothing was tried");
    assert!(chaos.outages == 2 && chaos.of_leaders * 3 >= chaos.kills && chaos.of_leaders > 0, "{chaos:?}");
    assert!(chaos.longest_without_a_leader < LEADS_WITHIN + SLACK, "{chaos:?}");
}

/// What a replica has once all that was acknowledged is there: what another one heard while it could not write is written
/// a few seconds later.
async fn all_is_there(server: &common::Server, writers: &[fault_cases::Writer]) -> Found {
    let begun = Instant::now();
    loop {
        let found = Found::at(server).await;
        match writers.iter().try_for_each(|writer| found.holds(writer)) {
            Ok(()) => return found,
            Err(lost) => assert!(begun.elapsed() < PATIENCE, "{lost}"),
        }
    }
}
