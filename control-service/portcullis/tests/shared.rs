//! What several replicas share beside what is stored for good: it means with three what it means with one.

mod common;
mod shared_cases;

use std::time::{Duration, Instant};

use common::replicas::Replicas;
use common::{GATEWAY, Server, until};
use reqwest::Method;
use serde_json::Value;

async fn workers(server: &Server) -> Vec<Value> {
    let proxies = server.expect(200, Method::GET, "/v1/proxies", None).await;
    proxies["workers"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_change_is_waited_for_at_workers_that_poll_other_replicas() {
    let replicas = Replicas::start("workers", 3).await;
    replicas[0].register("acme").await;
    let mut one = replicas[1].reader("gateway", GATEWAY, "01");
    let mut other = replicas[2].reader("gateway", GATEWAY, "02");
    one.sync(&replicas[1]).await;
    other.sync(&replicas[2]).await;
    for server in replicas.iter() {
        let names: Vec<_> = workers(server).await.iter().map(|w| w["worker"].clone()).collect();
        assert_eq!(names, ["01", "02"], "who has got a page is known to everybody");
    }
    // Whoever does not poll has not got it.
    let changed = replicas[0].expect(200, Method::POST, "/v1/clusters/acme/suspend?wait=1", None).await;
    assert_eq!((&changed["workers"], &changed["acknowledged"]), (&2.into(), &0.into()), "{changed}");
    let suspend = replicas[0].expect(200, Method::POST, "/v1/clusters/acme/resume?wait=30", None);
    let polls = async {
        // One of them changes replicas with each poll.
        for n in 0.. {
            one.poll(&replicas[n % 3], 1).await;
            other.poll(&replicas[2], 1).await;
        }
    };
    let begun = Instant::now();
    let changed = tokio::select! { changed = suspend => changed, () = polls => unreachable!() };
    assert_eq!((&changed["workers"], &changed["acknowledged"]), (&2.into(), &2.into()), "{changed}");
    println!("everywhere after {:?}", begun.elapsed());
    let revision = changed["revision"].as_u64().unwrap();
    for server in replicas.iter() {
        let list = workers(server).await;
        assert_eq!(list.len(), 2, "{list:?}");
        assert!(list.iter().all(|w| w["revision"].as_u64().unwrap() >= revision), "{list:?}");
    }
}

#[tokio::test]
async fn workers_of_a_replica_that_died_count_as_away_and_elsewhere_again_once() {
    let mut replicas = Replicas::start("dead", 2).await;
    let mut gateway = replicas[1].reader("gateway", GATEWAY, "01");
    gateway.sync(&replicas[1]).await;
    let is_polling = async |server: &Server| workers(server).await.iter().any(|w| w["polling"] == true);
    let call = gateway.request(&replicas[1], common::LONG_POLL);
    let poll = tokio::spawn(async move { call.send().await.map(drop) });
    until("the poll is known to the other replica", async || is_polling(&replicas[0]).await).await;
    replicas[1].kill();
    assert!(poll.await.unwrap().is_err());
    until("nobody polls the dead one", async || !is_polling(&replicas[0]).await).await;
    let list = workers(&replicas[0]).await;
    assert_eq!(list.len(), 1, "{list:?}");
    assert!(list[0]["last_seen_ms_ago"].as_u64().unwrap() >= 5_000, "{list:?}");
    gateway.poll(&replicas[0], 0).await;
    let list = workers(&replicas[0]).await;
    assert_eq!(list.len(), 1, "it is one worker: {list:?}");
    assert!(list[0]["last_seen_ms_ago"].as_u64().unwrap() < 5_000, "{list:?}");
}

/// The server forgets unlogged tables when it crashes. Nobody may take a change to be everywhere for that.
#[tokio::test]
async fn a_crash_of_the_database_makes_no_worker_unknown() {
    let mut replicas = Replicas::start("crash", 2).await;
    replicas[0].register("acme").await;
    let mut gateway = replicas[1].reader("gateway", GATEWAY, "01");
    gateway.sync(&replicas[1]).await;
    assert_eq!(workers(&replicas[0]).await.len(), 1);
    replicas.database.kill().await.unwrap();
    replicas.database.restart().await.unwrap();
    until("it is used again", async || {
        let call = replicas[0].api(Method::POST, "/v1/clusters/acme/suspend?wait=0");
        let answer = call.send().await.unwrap();
        if answer.status() != 200 {
            return false;
        }
        let changed: Value = answer.json().await.unwrap();
        assert_eq!(changed["pending"][0]["worker"], "01", "{changed}");
        true
    })
    .await;
}

#[tokio::test]
async fn three_replicas_give_who_guesses_no_more_tries_than_one() {
    let replicas = Replicas::start("guess", 3).await;
    let mut tries = Vec::new();
    for n in 0.. {
        let (server, begun) = (&replicas[n % 3], Instant::now());
        let call = server.http.get(server.url("platform", "/v1/clusters")).bearer_auth("guess");
        match call.send().await.unwrap().status().as_u16() {
            401 => tries.push((begun, Instant::now())),
            429 => {}
            other => panic!("{other}"),
        }
        if tries.len() == 7 {
            break;
        }
    }
    // After the fifth it is one second, after the sixth two.
    let waited = tries[6].1 - tries[4].0;
    assert!(waited >= Duration::from_secs(3), "{tries:?}");
    let list = replicas[1].expect(200, Method::GET, "/v1/audit/records?reason=token_invalid", None).await;
    assert_eq!(list["records"].as_array().unwrap().len(), 7, "a try that must wait leaves no record");
}
