//! The metadata of the protected resource (RFC 9728 §2).

use portcullis_engine::edge::resource::Asked;
use portcullis_identity::ids::Scope;
use portcullis_model::edge::TokenLocations;
use portcullis_model::resources::Resources;
use serde_json::{Value, json};

/// The document that tells clients where to get a token for a resource. All resources are described alike, whether
/// there is a cluster of that name or not; only a cluster whose tenant publishes authorization servers of its own
/// tells that there is that cluster.
#[must_use]
pub(crate) fn document(asked: &Asked<'_>, resources: &Resources, locations: &TokenLocations) -> String {
    let published = asked.cluster.as_ref().and_then(|cluster| resources.of(cluster));
    let published = published.filter(|cluster| !cluster.authorization_servers.is_empty());
    let resource = asked.resource;
    let servers = published.map_or(&resource.authorization_servers, |own| &own.authorization_servers);
    let required = published.map(|own| &own.required_scopes).into_iter().flatten();
    let mut scopes: Vec<&str> = Vec::new();
    for scope in
        resource.scopes_supported.iter().chain(&resource.required_scopes).chain(required).map(Scope::as_str)
    {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let methods: &[&str] = if locations.query.is_some() { &["header", "query"] } else { &["header"] };
    let mut document = json!({"resource": asked.identifier, "bearer_methods_supported": methods});
    // Lists without members are left out (RFC 9728 §3.2).
    for (member, list) in [("authorization_servers", json!(servers)), ("scopes_supported", json!(scopes))] {
        if list != json!([])
            && let Value::Object(members) = &mut document
        {
            members.insert(member.to_owned(), list);
        }
    }
    document.to_string()
}
