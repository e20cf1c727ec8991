//! Watching clusters: who is told what, from where on, and until when.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use common::replicas::Replicas;
use common::{Access, PATIENCE, SLACK, Server, text, until};

/// A watcher of a service.
struct Watcher {
    answer: Response,
    read: String,
    last: String,
}

/// An event: its kind, and what it says.
type Event = (String, Value);

impl Watcher {
    async fn of(access: &Access, last: &str) -> Self {
        let mut call = access.api(Method::GET, "/v1/clusters/watch");
        if !last.is_empty() {
            call = call.header("last-event-id", last);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, read: String::new(), last: last.to_owned() }
    }

    /// A new one, which is told to list the clusters first.
    async fn new(access: &Access) -> Self {
        let mut watcher = Self::of(access, "").await;
        assert_eq!(watcher.next().await, Some(("resync".to_owned(), json!({}))));
        watcher
    }

    /// The next event; `None` when there is none any more.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                if event.starts_with(':') {
                    continue;
                }
                let part = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_else(|| panic!("no {name} in {event}")).to_owned()
                };
                self.last = part("id: ");
                return Some((part("event: "), serde_json::from_str(&part("data: ")).unwrap()));
            }
            let more = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("nothing is told");
            self.read.push_str(std::str::from_utf8(&more.ok()??).unwrap());
        }
    }

    /// The next change: which cluster is how.
    async fn change(&mut self) -> (String, String) {
        let (kind, data) = self.next().await.unwrap();
        assert_eq!(kind, "cluster", "{data}");
        (text(&data["id"]), text(&data["state"]))
    }
}

fn change(id: &str, state: &str) -> (String, String) {
    (id.to_owned(), state.to_owned())
}

async fn caller(server: &Server, role: Value) -> (String, Access) {
    let made = server.expect(201, Method::POST, "/v1/administrators", Some(role)).await;
    (text(&made["administrator"]["id"]), server.by(&text(&made["token"])))
}

async fn register(server: &Server, id: &str, tenant: &str) -> String {
    let body = json!({"id": id, "tenant": tenant, "placement": "on_premises"});
    text(&server.expect(201, Method::POST, "/v1/clusters", Some(body)).await["token"])
}

#[tokio::test]
async fn a_watcher_hears_of_its_own_clusters_and_goes_on_where_it_was() {
    let server = Server::start().await;
    let token = register(&server, "acme-1", "acme").await;
    register(&server, "globex-1", "globex").await;
    let (_, tenant) = caller(&server, json!({"role": "tenant-admin", "tenant": "acme"})).await;
    let owner = json!({"role": "cluster-owner", "tenant": "acme", "cluster": "acme-1"});
    let (_, owner) = caller(&server, owner).await;
    let mut all = Watcher::new(&server).await;
    let mut own = [Watcher::new(&tenant).await, Watcher::new(&owner).await];
    let begun = Instant::now();
    server.expect(200, Method::POST, "/v1/clusters/globex-1/suspend", None).await;
    server.heartbeat("acme-1", &token, None).await;
    assert_eq!(all.change().await, change("globex-1", "suspended"));
    assert_eq!(all.change().await, change("acme-1", "online"));
    for watcher in &mut own {
        assert_eq!(watcher.change().await, change("acme-1", "online"), "another tenant's is not told");
    }
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    let [mut tenant_watcher, _] = own;
    server.expect(200, Method::POST, "/v1/clusters/acme-1/suspend", None).await;
    let (_, data) = tenant_watcher.next().await.unwrap();
    assert_eq!((&data["tenant"], &data["state"]), (&json!("acme"), &json!("suspended")));
    assert!(data["revision"].as_u64().unwrap() > 0 && data.as_object().unwrap().len() == 4, "{data}");

    // What happens meanwhile is told to who comes back, of each cluster the newest state.
    let last = tenant_watcher.last.clone();
    drop(tenant_watcher);
    server.expect(200, Method::POST, "/v1/clusters/acme-1/resume", None).await;
    register(&server, "acme-2", "acme").await;
    server.expect(200, Method::DELETE, "/v1/clusters/acme-1", None).await;
    let mut back = Watcher::of(&tenant, &last).await;
    assert_eq!(back.change().await, change("acme-2", "pending"));
    assert_eq!(back.change().await, change("acme-1", "retired"));

    // Of another life of the store, or of none, nothing is known.
    let (elsewhere, later) = (["00", &last[2..]].concat(), last.replace('-', "-9999"));
    for stranger in [elsewhere.as_str(), &later, "what", "-"] {
        let mut watcher = Watcher::of(&tenant, stranger).await;
        assert_eq!(watcher.next().await.unwrap().0, "resync", "{stranger}");
    }
    let refused = server.api(Method::POST, "/v1/clusters");
    let body = json!({"id": "watch", "tenant": "acme", "placement": "on_premises"});
    assert_eq!(refused.json(&body).send().await.unwrap().status(), 400, "its page would be this call");
}

#[tokio::test]
async fn who_may_not_watch_any_more_hears_nothing_more() {
    let server = Server::start().await;
    register(&server, "acme-1", "acme").await;
    let role = json!({"role": "tenant-admin", "tenant": "acme"});
    let (id, revoked) = caller(&server, role.clone()).await;
    let mut short = role.clone();
    short["expires_in_s"] = json!(2);
    let (_, short) = caller(&server, short).await;
    let (_, stays) = caller(&server, role).await;
    let mut stays = Watcher::new(&stays).await;
    let (mut revoked, mut short) = (Watcher::new(&revoked).await, Watcher::new(&short).await);
    let begun = Instant::now();
    server.expect(200, Method::DELETE, &["/v1/administrators/", &id].concat(), None).await;
    assert_eq!(revoked.next().await, None);
    assert_eq!(short.next().await, None, "its token has ended");
    assert!(begun.elapsed() < Duration::from_secs(4) + SLACK, "{:?}", begun.elapsed());
    server.expect(200, Method::POST, "/v1/clusters/acme-1/suspend", None).await;
    assert_eq!(stays.change().await, change("acme-1", "suspended"));
}

#[tokio::test]
async fn a_tenant_has_so_many_watchers_and_takes_no_other_ones_place() {
    let server = Server::start().await;
    let (_, tenant) = caller(&server, json!({"role": "tenant-admin", "tenant": "acme"})).await;
    let (_, other) = caller(&server, json!({"role": "tenant-admin", "tenant": "globex"})).await;
    let mut watchers = Vec::new();
    for _ in 0..8 {
        watchers.push(Watcher::new(&tenant).await);
    }
    let refused = tenant.api(Method::GET, "/v1/clusters/watch").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json::<Value>().await.unwrap()["reason"], "share_taken");
    for access in [&other, server.access()] {
        Watcher::new(access).await;
    }
    watchers.pop();
    until("there is a place again", async || {
        let answer = tenant.api(Method::GET, "/v1/clusters/watch").send().await.unwrap();
        answer.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_watcher_goes_on_at_another_replica() {
    let replicas = Replicas::start("watched", 2).await;
    let token = text(&replicas[0].register("acme").await["token"]);
    let mut watcher = Watcher::new(&replicas[1]).await;
    replicas[0].heartbeat("acme", &token, None).await;
    assert_eq!(watcher.change().await, change("acme", "online"));
    let last = watcher.last.clone();
    replicas[1].expect(200, Method::POST, "/v1/clusters/acme/suspend", None).await;
    let mut elsewhere = Watcher::of(&replicas[0], &last).await;
    assert_eq!(elsewhere.change().await, change("acme", "suspended"));
}

#[tokio::test]
async fn the_command_prints_states_and_changes_over_a_restart() {
    let mut server = Server::start().await;
    register(&server, "acme-1", "acme").await;
    let mut command = common::portcullis();
    command.args(["clusters", "watch"]).env("PORTCULLIS_TOKEN", &server.admin);
    command.env("PORTCULLIS_SERVER", server.url("platform", "")).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || while lines.next().is_some_and(|line| tell.send(line.unwrap()).is_ok()) {});
    assert_eq!(told.recv().await.unwrap(), "acme-1  acme  pending");
    server.expect(200, Method::POST, "/v1/clusters/acme-1/suspend", None).await;
    assert_eq!(told.recv().await.unwrap(), "acme-1  acme  suspended");
    // It has the port that it had.
    let config = std::fs::read_to_string(server.config()).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["listeners"]["platform"] = json!(server.url("platform", "").trim_start_matches("http://"));
    std::fs::write(server.config(), config.to_string()).unwrap();
    server.restart().await;
    server.expect(200, Method::DELETE, "/v1/clusters/acme-1", None).await;
    assert_eq!(told.recv().await.unwrap(), "acme-1  acme  retired");
    child.kill().unwrap();
    child.wait().unwrap();
}
