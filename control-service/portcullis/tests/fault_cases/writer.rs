//! Administrators, clusters and filters that write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_protocol::wire::{AuditAck, AuditBatch, AuditRecord};
use prost::Message;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{PAUSE, World};
use crate::common::{GATEWAY, text};

/// What may be so of a cluster: what was acknowledged last, and what was tried after it.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    token: String,
    pub(super) administrative: BTreeSet<&'static str>,
    pub(super) observed: BTreeSet<&'static str>,
}

/// An administrator, and the clusters that it registered.
pub(crate) struct Writer {
    name: usize,
    /// Request ids of what was acknowledged and must be on record.
    pub(crate) acknowledged: Vec<String>,
    /// Calls that may have been carried out, or not.
    pub(crate) unknown: usize,
    pub(super) clusters: BTreeMap<String, Allowed>,
}

impl Writer {
    pub(super) fn new(name: usize) -> Self {
        Self { name, acknowledged: Vec::new(), unknown: 0, clusters: BTreeMap::new() }
    }

    pub(super) async fn work(mut self, world: Arc<World>) -> Self {
        for n in 0.. {
            if !world.goes_on() {
                break;
            }
            match n % 5 {
                0 => self.register(&world, n).await,
                1 | 2 => self.administer(&world, n).await,
                _ => self.heartbeat(&world, n).await,
            }
            tokio::time::sleep(PAUSE).await;
        }
        self
    }

    /// Sends a call; what it answered, if it was carried out for sure.
    async fn call(&mut self, call: RequestBuilder) -> Option<Value> {
        let answer = call.send().await.ok().filter(|answer| answer.status().is_success());
        let body = match answer {
            Some(answer) => answer.json().await.ok(),
            None => None,
        };
        self.unknown += usize::from(body.is_none());
        body
    }

    async fn register(&mut self, world: &World, n: usize) {
        let replica = world.replica(self.name + n);
        let (id, request) = (format!("w{}-{n}", self.name), format!("register-{}-{n}", self.name));
        let body = json!({"id": id, "tenant": "acme", "placement": "on_premises"});
        let call = replica.api(Method::POST, "/v1/clusters").header("x-request-id", &request).json(&body);
        if let Some(made) = self.call(call).await {
            self.acknowledged.push(request);
            let allowed = Allowed {
                token: text(&made["token"]),
                administrative: ["active"].into(),
                observed: ["pending"].into(),
            };
            self.clusters.insert(id, allowed);
        }
    }

    /// One of its clusters.
    fn cluster(&self, n: usize) -> Option<String> {
        self.clusters.keys().nth(n % self.clusters.len().max(1)).cloned()
    }

    async fn administer(&mut self, world: &World, n: usize) {
        let Some(id) = self.cluster(n) else { return };
        let replica = world.replica(self.name + n);
        let (what, wanted) =
            if n.is_multiple_of(2) { ("suspend", "suspended") } else { ("resume", "active") };
        let (path, request) =
            (["/v1/clusters/", &id, "/", what].concat(), format!("{what}-{}-{n}", self.name));
        let done =
            self.call(replica.api(Method::POST, &path).header("x-request-id", &request)).await.is_some();
        let allowed = &mut self.clusters.get_mut(&id).unwrap().administrative;
        if done {
            allowed.clear();
            self.acknowledged.push(request);
        }
        allowed.insert(wanted);
    }

    async fn heartbeat(&mut self, world: &World, n: usize) {
        let Some(id) = self.cluster(n) else { return };
        let replica = world.replica(self.name + n);
        let status = if n.is_multiple_of(2) { "online" } else { "degraded" };
        let token = &self.clusters[&id].token;
        let url = replica.url("platform", &["/v1/clusters/", &id, "/heartbeat"].concat());
        let call = replica.http.post(url).bearer_auth(token).json(&json!({"status": status}));
        let done = self.call(call).await.is_some();
        let allowed = &mut self.clusters.get_mut(&id).unwrap().observed;
        if done {
            allowed.clear();
        }
        allowed.insert(status);
    }
}

/// A filter's audit records: each batch is sent to one replica after the other until it is acknowledged.
pub(crate) struct Delivered {
    pub(super) stream: [u8; 16],
    pub(crate) records: u64,
}

const BATCH: u64 = 20;

impl Delivered {
    pub(super) fn new(n: u8) -> Self {
        Self { stream: [0xa0 + n; 16], records: 0 }
    }

    fn batch(&self) -> Vec<u8> {
        let record = |sequence: u64| AuditRecord {
            stream: self.stream.to_vec(),
            sequence,
            time_ms: 1_700_000_000_000,
            proxy: "router~1".into(),
            hop: "gateway".into(),
            decision: "allow".into(),
            status: 200,
            ..AuditRecord::default()
        };
        let records = (self.records + 1..=self.records + BATCH).map(|n| record(n).encode_to_vec());
        AuditBatch { records: records.collect(), ..AuditBatch::default() }.encode_to_vec()
    }

    pub(super) async fn work(mut self, world: Arc<World>) -> Self {
        for n in 0.. {
            if !world.goes_on() {
                break;
            }
            let call = world.replica(n).mesh(Method::POST, "/mesh/v1/audit", GATEWAY).body(self.batch());
            let answer = call.send().await.ok().filter(|answer| answer.status() == 200);
            if let Some(answer) = answer
                && let Ok(bytes) = answer.bytes().await
            {
                let ack = AuditAck::decode(bytes).unwrap();
                assert_eq!((ack.stored + ack.duplicates, ack.rejected), (BATCH, 0), "{ack:?}");
                self.records += BATCH;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self
    }
}
