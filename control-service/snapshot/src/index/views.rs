//! What of the snapshot a view shows.

use std::ops::Bound;

use portcullis_identity::CredentialKind;
use portcullis_identity::ids::ClusterId;
use portcullis_model::policy::{SourceRulesDocument, WorkloadsDocument};
use portcullis_protocol::wire::{self, Record, RecordKind};
use prost::Message;

use super::SnapshotIndex;
use super::entry::{Entry, EntryKey, plain, visible};
use crate::View;

impl SnapshotIndex {
    /// The changes that a view sees, in the order of their revisions.
    pub(super) fn changes(&self, view: &View, after: u64) -> Box<dyn Iterator<Item = (u64, &EntryKey)> + '_> {
        let newer = (Bound::Excluded(after), Bound::Unbounded);
        match view {
            View::Gateway => {
                let seen = |(_, key): &(&u64, &EntryKey)| visible(&View::Gateway, key);
                Box::new(self.by_revision.range(newer).filter(seen).map(|(r, k)| (*r, k)))
            }
            View::Public(cluster) => {
                let own = self
                    .entries
                    .get_key_value(&EntryKey::of_cluster(cluster))
                    .map(|(key, entry)| (entry.revision, key));
                let mut found: Vec<_> = self
                    .public_by_revision
                    .range(newer)
                    .map(|(revision, key)| (*revision, key))
                    .chain(own.filter(|(revision, _)| *revision > after))
                    .collect();
                found.extend(self.workloads_with_cluster(cluster, after));
                found.sort_unstable();
                Box::new(found.into_iter())
            }
        }
    }

    /// A sidecar that was there before its cluster was registered has got no workloads: they come along
    /// with the cluster.
    fn workloads_with_cluster(&self, cluster: &ClusterId, after: u64) -> Option<(u64, &EntryKey)> {
        let own = EntryKey::of_cluster(cluster);
        let changed = self.entries.get(&own).map(|entry| entry.revision).filter(|r| *r > after)?;
        let (key, entry) = self.of_kind(RecordKind::Workloads as i32).next()?;
        let has_some = || {
            let document = entry.value.as_deref().unwrap_or_default();
            workloads_of(&self.tenant_of(cluster), document) != workloads_of("", document)
        };
        (entry.revision <= after && has_some()).then_some((changed, key))
    }

    /// An entry as a view holds it. Of the workloads a sidecar gets those of its cluster's tenant: nobody
    /// else may reach the cluster, and other tenants' workloads are none of its business. Of the source rules it
    /// gets those that workloads can fit: the others name other tenants' providers and clients.
    pub(super) fn record(&self, view: &View, key: &EntryKey, entry: &Entry) -> Record {
        let mut record = plain(key, entry);
        let View::Public(cluster) = view else { return record };
        match RecordKind::try_from(key.kind) {
            Ok(_) if record.removed => {}
            Ok(RecordKind::Workloads) => {
                record.value = workloads_of(&self.tenant_of(cluster), &record.value);
            }
            Ok(RecordKind::SourceRules) => record.value = rules_for_workloads(&record.value),
            _ => {}
        }
        record
    }

    fn tenant_of(&self, cluster: &ClusterId) -> String {
        let own = EntryKey::of_cluster(cluster);
        let value = self.entries.get(&own).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        wire::Cluster::decode(value).map(|c| c.tenant).unwrap_or_default()
    }
}

/// The workloads of one tenant. What cannot be read is left out as a whole.
fn workloads_of(tenant: &str, document: &[u8]) -> Vec<u8> {
    let read = serde_json::from_slice::<WorkloadsDocument>(document);
    let mut document = read.unwrap_or_default();
    document.workloads.retain(|workload| workload.tenant.as_str() == tenant);
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The rules that a workload can fit, in their order: the first that fits is the same as among all of them.
fn rules_for_workloads(document: &[u8]) -> Vec<u8> {
    let mut document = serde_json::from_slice::<SourceRulesDocument>(document).unwrap_or_default();
    document.rules.retain(|rule| {
        let when = &rule.when;
        let of_a_token = when.issuer.is_some()
            || when.client_id.is_some()
            || when.claims.is_some()
            || when.delegated == Some(true);
        let kinds = when.credential.as_ref();
        !of_a_token && kinds.is_none_or(|kinds| kinds.contains(&CredentialKind::Workload))
    });
    serde_json::to_vec(&document).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_gets_the_rules_that_workloads_can_fit() {
        let rule = |name: &str, when: serde_json::Value| serde_json::json!({"name": name, "sourceType": "worker", "when": when});
        let document = serde_json::json!({"rules": [
            rule("provider", serde_json::json!({"issuer": ["https://globex.example"]})),
            rule("client", serde_json::json!({"clientId": ["globex-web"]})),
            rule("tokens", serde_json::json!({"credential": ["jwt"]})),
            rule("delegated", serde_json::json!({"delegated": true})),
            rule("jobs", serde_json::json!({"credential": ["jwt", "workload"], "delegated": false})),
            rule("all", serde_json::json!({})),
        ]});
        let cut = rules_for_workloads(document.to_string().as_bytes());
        let left: SourceRulesDocument = serde_json::from_slice(&cut).unwrap();
        assert_eq!(left.rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["jobs", "all"]);
        assert_eq!(rules_for_workloads(b"no JSON"), br#"{"rules":[]}"#);
    }
}
