//! The metadata of the protected resource (RFC 9728 §2).

use portcullis_model::edge::TokenLocations;
use portcullis_model::state::SnapshotState;
use serde_json::json;

/// The document that names the authorization servers of a resource.
#[must_use]
pub(crate) fn document(resource: &str, snapshot: &SnapshotState, locations: &TokenLocations) -> String {
    let issuers = snapshot.issuers().map(|document| &document.issuer);
    let providers = snapshot.introspections().map(|document| &document.issuer);
    let mut servers: Vec<&str> = issuers
        .chain(providers)
        .map(|issuer| issuer.as_str())
        .filter(|i| i.starts_with("https://"))
        .collect();
    servers.sort_unstable();
    servers.dedup();
    let methods: &[&str] = if locations.query.is_some() { &["header", "query"] } else { &["header"] };
    json!({"resource": resource, "authorization_servers": servers, "bearer_methods_supported": methods})
        .to_string()
}
