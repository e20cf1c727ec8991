//! What stands in the snapshot of each thing, in the form in which filters read it.
//!
//! A store writes these entries with what caused them. Values that are secret lie in its tables as digests alone.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_control_domain::api_key::ApiKey;
use portcullis_control_domain::cluster::Cluster;
use portcullis_control_domain::revocation::reaches_sidecars;
use portcullis_model::policy::IssuerDocument;
use portcullis_protocol::snapshot::{MAX_VALUE, revocation_digest};
use portcullis_protocol::wire::{self, Page, Record, RecordKind, SNAPSHOT_FORMAT};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::Issuers;

/// Values by key, of the entries of one kind.
pub type OfKind = BTreeMap<Vec<u8>, Vec<u8>>;

/// Entries of the snapshot by kind and key.
pub type Entries = Vec<(RecordKind, OfKind)>;

/// An entry that is to be put into the snapshot, or taken out of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Edit {
    /// Its kind.
    pub kind: RecordKind,
    /// Its key.
    pub key: Vec<u8>,
    /// The new value; `None` takes it out.
    pub value: Option<Vec<u8>>,
}

/// Why an entry cannot be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EntryError {
    /// Filters could not read it.
    #[error(
        "the entry {kind:?} {key} has {bytes} bytes, more than the {MAX_VALUE} that filters read; nothing of this change was taken"
    )]
    TooLong {
        /// What it is.
        kind: RecordKind,
        /// Its name.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// It cannot be written down.
    #[error("an entry of the snapshot cannot be written as JSON: {0}")]
    Json(String),
}

impl Edit {
    /// Puts an entry.
    #[must_use]
    pub fn put(kind: RecordKind, key: &[u8], value: Vec<u8>) -> Self {
        Self { kind, key: key.to_vec(), value: Some(value) }
    }

    /// Takes an entry out.
    #[must_use]
    pub fn remove(kind: RecordKind, key: &[u8]) -> Self {
        Self { kind, key: key.to_vec(), value: None }
    }

    /// Whether filters can read it.
    ///
    /// # Errors
    /// [`EntryError::TooLong`].
    pub fn check(&self) -> Result<(), EntryError> {
        match self.value.as_ref().map(Vec::len).filter(|bytes| *bytes > MAX_VALUE) {
            None => Ok(()),
            Some(bytes) => {
                let key = String::from_utf8_lossy(&self.key).into_owned();
                Err(EntryError::TooLong { kind: self.kind, key, bytes })
            }
        }
    }
}

/// What filters get of a cluster.
#[must_use]
pub fn of_cluster(cluster: &Cluster) -> Edit {
    let value = wire::Cluster { tenant: cluster.tenant.to_string(), state: cluster.state.code() };
    Edit::put(RecordKind::Cluster, cluster.id.as_str().as_bytes(), value.encode_to_vec())
}

/// What filters get of an API key, by its digest; nothing of one that is revoked.
#[must_use]
pub fn of_api_key(key: &ApiKey, digest: &[u8; 32]) -> Edit {
    if key.revoked_at_ms.is_some() {
        return Edit::remove(RecordKind::ApiKey, digest);
    }
    let value = wire::ApiKey {
        id: key.id.clone(),
        tenant: key.tenant.to_string(),
        subject: key.subject.clone(),
        source_type: key.source_type.as_str().to_owned(),
        roles: key.roles.clone(),
        scopes: key.scopes.clone(),
        expires_at: key.expires_at_s.unwrap_or(0),
    };
    Edit::put(RecordKind::ApiKey, digest, value.encode_to_vec())
}

/// That something is revoked, or is not any more: by its name to gateways, and to sidecars by the digests of what it is
/// known as there. A sidecar sees no token id of a client, so it gets none. The name comes last: every reader
/// acknowledges it.
#[must_use]
pub fn of_revocation(name: &str, known_as: &BTreeSet<String>, revoked: bool) -> Vec<Edit> {
    let edit = |kind, key: &[u8]| Edit { kind, key: key.to_vec(), value: revoked.then(Vec::new) };
    let told = known_as.iter().filter(|name| reaches_sidecars(name));
    let digests = told.map(|name| edit(RecordKind::RevocationDigest, &revocation_digest(name)));
    digests.chain([edit(RecordKind::Revocation, name.as_bytes())]).collect()
}

/// The digests of revocations that must stand beside their names.
#[must_use]
pub fn revocation_digests<'a>(names: impl IntoIterator<Item = &'a str>, issuers: &Issuers) -> OfKind {
    let told = names.into_iter().filter(|name| reaches_sidecars(name));
    let known_as = told.flat_map(|name| issuers.known_as(name));
    known_as.map(|name| (revocation_digest(&name).to_vec(), Vec::new())).collect()
}

/// A document as filters read it.
///
/// # Errors
/// [`EntryError::Json`].
pub fn json(document: &impl serde::Serialize) -> Result<Vec<u8>, EntryError> {
    serde_json::to_vec(document).map_err(|e| EntryError::Json(e.to_string()))
}

/// What filters get of issuers.
///
/// # Errors
/// [`EntryError::Json`].
pub fn of_issuers(issuers: &[IssuerDocument]) -> Result<OfKind, EntryError> {
    issuers.iter().map(|issuer| Ok((issuer.issuer.as_str().as_bytes().to_vec(), json(issuer)?))).collect()
}

/// Entries as one page of a gateway's view: what a store would have that was never served from.
#[must_use]
pub fn page(entries: Entries) -> Page {
    let record = |kind: RecordKind| {
        move |(key, value): (Vec<u8>, Vec<u8>)| Record { kind: kind.into(), key, value, removed: false }
    };
    let records = entries.into_iter().flat_map(|(kind, of_kind)| of_kind.into_iter().map(record(kind)));
    Page {
        format: SNAPSHOT_FORMAT,
        view: "gateway".to_owned(),
        generation: vec![0; 16],
        revision: 1,
        reset: true,
        records: records.collect(),
        ..Page::default()
    }
}

/// The kinds whose value must not lie readable in a database.
pub const SECRETS: [RecordKind; 3] =
    [RecordKind::IdentitySigner, RecordKind::ApiKeyPepper, RecordKind::IssuerSecret];

/// True for one of [`SECRETS`].
#[must_use]
pub fn is_secret(kind: RecordKind) -> bool {
    SECRETS.contains(&kind)
}

/// What is stored of a value: itself, or its digest when it is secret.
#[must_use]
pub fn stored_form(kind: RecordKind, value: &[u8]) -> Vec<u8> {
    if is_secret(kind) { Sha256::digest(value).to_vec() } else { value.to_vec() }
}

/// What makes the entries of a kind exactly those that are wanted; what is as it should be is left alone. `found`: the
/// stored forms of those that are there.
#[must_use]
pub fn differences(kind: RecordKind, wanted: &OfKind, found: &OfKind) -> Vec<Edit> {
    let differs = |(key, value): &(&Vec<u8>, &Vec<u8>)| found.get(*key) != Some(&stored_form(kind, value));
    let put = wanted.iter().filter(differs).map(|(key, value)| Edit::put(kind, key, value.clone()));
    let gone = found.keys().filter(|key| !wanted.contains_key(*key));
    put.chain(gone.map(|key| Edit::remove(kind, key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_id_is_told_to_gateways_alone() {
        let edits = |name: &str, revoked| of_revocation(name, &BTreeSet::from([name.to_owned()]), revoked);
        let kinds = |name| edits(name, true).iter().map(|e| e.kind).collect::<Vec<_>>();
        assert_eq!(kinds("sub:a"), [RecordKind::RevocationDigest, RecordKind::Revocation]);
        assert_eq!(kinds("jti:a"), [RecordKind::Revocation]);
        assert_eq!(revocation_digests(["sub:a", "jti:a"], &Issuers::default()).len(), 1);
        assert!(edits("sub:a", false).iter().all(|edit| edit.value.is_none()));
    }

    #[test]
    fn only_what_differs_is_edited_also_where_digests_are_stored() {
        let entry = |k: &str, v: &str| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
        let wanted = BTreeMap::from([entry("a", "1"), entry("b", "2")]);
        for kind in [RecordKind::Issuer, RecordKind::IssuerSecret] {
            let stored = |k: &str, v: &str| (k.as_bytes().to_vec(), stored_form(kind, v.as_bytes()));
            let found = BTreeMap::from([stored("a", "1"), stored("b", "1"), stored("c", "1")]);
            let edits = differences(kind, &wanted, &found);
            let seen: Vec<_> = edits.iter().map(|e| (&*e.key, e.value.is_some())).collect();
            assert_eq!(seen, [(&b"b"[..], true), (b"c", false)], "{kind:?}");
        }
    }

    #[test]
    fn an_entry_that_no_filter_could_read_is_told_by_name_and_size() {
        let most = Edit::put(RecordKind::SourceRules, b"", vec![b'x'; MAX_VALUE]);
        assert!(most.check().is_ok());
        let more = Edit::put(RecordKind::SourceRules, b"", vec![b'x'; MAX_VALUE + 1]);
        let told = more.check().unwrap_err().to_string();
        assert!(told.contains("SourceRules") && told.contains("245761 bytes"), "{told}");
    }
}
