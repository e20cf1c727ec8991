//! What a replica has in the end.

use std::collections::{BTreeMap, HashMap};

use portcullis_identity::ids::ClusterId;
use portcullis_model::state::SnapshotState;
use portcullis_protocol::audit::hex;
use reqwest::Method;
use serde_json::Value;

use super::{Delivered, Writer};
use crate::common::{Server, text};

/// What a replica tells.
pub(crate) struct Found {
    clusters: BTreeMap<String, Value>,
    /// How often each request is on record.
    requests: HashMap<String, usize>,
    audit: Value,
}

/// All of a list that is answered in parts. `path` has a query.
async fn all(server: &Server, path: &str, list: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut after = Value::Null;
    loop {
        let after_that = match &after {
            Value::Null => String::new(),
            Value::String(after) => ["&after=", after].concat(),
            other => ["&after=", &other.to_string()].concat(),
        };
        let mut page =
            server.expect(200, Method::GET, &[path, "&limit=1000", &after_that].concat(), None).await;
        found.append(page[list].as_array_mut().unwrap());
        after = page["next"].take();
        if after.is_null() {
            return found;
        }
    }
}

impl Found {
    pub(crate) async fn at(server: &Server) -> Self {
        let clusters = all(server, "/v1/clusters?tenant=acme", "clusters").await;
        let clusters = clusters.into_iter().map(|cluster| (text(&cluster["id"]), cluster)).collect();
        let mut requests = HashMap::new();
        for record in all(server, "/v1/audit/records?hop=control", "records").await {
            *requests.entry(text(&record["request_id"])).or_default() += 1;
        }
        let audit = server.expect(200, Method::GET, "/v1/audit/status", None).await;
        Self { clusters, requests, audit }
    }

    pub(crate) fn clusters(&self) -> usize {
        self.clusters.len()
    }

    /// What was acknowledged to somebody is so, and is on record once; or what is not.
    pub(crate) fn holds(&self, writer: &Writer) -> Result<(), String> {
        for (id, allowed) in &writer.clusters {
            let found = self.clusters.get(id).ok_or_else(|| format!("{id} is gone"))?;
            let (administrative, observed) = (text(&found["administrative"]), text(&found["observed"]));
            let is_allowed =
                allowed.administrative.contains(&*administrative) && allowed.observed.contains(&*observed);
            is_allowed.then_some(()).ok_or_else(|| format!("{found} is not {allowed:?}"))?;
        }
        for request in &writer.acknowledged {
            let times = self.requests.get(request).copied().unwrap_or_default();
            (times == 1).then_some(()).ok_or_else(|| format!("{request} is on record {times} times"))?;
        }
        Ok(())
    }

    /// What was delivered is there once, and nothing is missing.
    pub(crate) fn has_all_of(&self, delivered: &Delivered) {
        let streams = self.audit["streams"].as_array().unwrap();
        let stream = streams.iter().find(|stream| stream["stream"] == hex(&delivered.stream)).unwrap();
        // A batch that was not acknowledged may be there as well.
        assert!(stream["stored"].as_u64().unwrap() >= delivered.records, "{stream}");
        assert_eq!((&stream["missing"], &stream["conflicts"]), (&0.into(), &0.into()), "{stream}");
        assert_eq!(self.audit["missing"], 0, "{}", self.audit);
    }

    /// A filter's snapshot says of each cluster what this replica does.
    pub(crate) fn is_what(&self, state: &SnapshotState) {
        assert_eq!(state.cluster_count(), self.clusters.len());
        for (id, cluster) in &self.clusters {
            let known = state.cluster(&ClusterId::new(id).unwrap()).unwrap();
            assert_eq!(cluster["state"], known.state.as_str(), "{cluster}");
        }
    }
}
