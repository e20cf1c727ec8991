//! The closed list of requests that need no identity, and the metadata of the protected resource.
//!
//! None of them can reach a data cluster: routes to clusters match `x-portcullis-cluster`, which these
//! requests never have.

use portcullis_cluster_status::{Selectors, select};
use portcullis_host::{Host, HostResult, LocalResponse};
use portcullis_model::Reason;
use portcullis_model::config::{PluginConfig, Role};
use portcullis_model::edge::{Resource, TokenPlaces, is_plain_path};
use portcullis_model::state::SnapshotState;
use serde_json::json;

use crate::head::Head;
use crate::refuse::Form;

/// The platform's endpoints that a caller without an identity needs: method and exact path.
const ENDPOINTS: [(&[u8], &[u8]); 4] = [
    // Keys that verify identity tokens and service tokens.
    (b"GET", b"/v1/identity/jwks"),
    (b"GET", b"/oauth2/jwks"),
    // Where the token endpoint is (RFC 8414).
    (b"GET", b"/.well-known/oauth-authorization-server"),
    // Clients prove themselves in the request's body or in Authorization, which the endpoint itself checks.
    (b"POST", b"/oauth2/token"),
];

/// Where metadata is served (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Whether a request is for one of the platform's endpoints of the list and names no cluster.
#[must_use]
pub(crate) fn is_exempt(config: &PluginConfig, head: &Head<'_>) -> bool {
    let listed = |(method, path): &(&[u8], &[u8])| head.method == *method && head.path_only() == *path;
    config.platform_paths
        && config.role == Role::Edge
        && ENDPOINTS.iter().any(listed)
        && head.check().is_ok()
        && select(head.selectors(), &config.domain) == Err(Reason::ClusterMissing)
}

/// The resource identifier that a request asks for metadata about; `None` when it asks for something else.
#[must_use]
pub(crate) fn asked_resource(config: &PluginConfig, head: &Head<'_>) -> Option<String> {
    let resource = config.resource.as_ref()?;
    let path = head.path_only().strip_prefix(WELL_KNOWN.as_bytes())?;
    if !matches!(head.method, b"GET" | b"HEAD") || !is_plain_path(path) || head.check().is_err() {
        return None;
    }
    let path = std::str::from_utf8(path).ok()?.trim_end_matches('/');
    let origin = origin(config, resource, head);
    let path = if path.is_empty() { resource.path.as_str() } else { path };
    within(path, &resource.path).then(|| format!("{origin}{path}"))
}

fn within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The origin that the client used, where it is a cluster's host, for the identifier must be the one that
/// the client knows (RFC 9728 §3.3); else the configured one.
fn origin(config: &PluginConfig, resource: &Resource, head: &Head<'_>) -> String {
    let selectors = Selectors { authority: head.authority, ..Selectors::default() };
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-.:".contains(b);
    let text = std::str::from_utf8(head.authority).ok().filter(|_| head.authority.iter().all(plain));
    match (select(selectors, &config.domain), text) {
        (Ok(_), Some(authority)) => format!("https://{}", authority.to_ascii_lowercase()),
        _ => resource.origin.clone(),
    }
}

/// The URL of the metadata about what a refused request asked for (RFC 9728 §5.1), where it is to be told.
#[must_use]
pub(crate) fn metadata_url(config: &PluginConfig, head: &Head<'_>, form: Form) -> Option<String> {
    let resource = config.resource.as_ref().filter(|r| r.always || form == Form::JsonRpc)?;
    let asked = Some(head.path_only()).filter(|path| is_plain_path(path));
    let path = asked
        .and_then(|path| std::str::from_utf8(path).ok())
        .map(|path| path.trim_end_matches('/'))
        .filter(|path| within(path, &resource.path))
        .unwrap_or(&resource.path);
    Some(format!("{}{WELL_KNOWN}{path}", origin(config, resource, head)))
}

/// Answers with the metadata (RFC 9728 §2). Anybody may read it, from any origin.
///
/// # Errors
/// When the proxy refuses it.
pub(crate) fn send_metadata(
    host: &dyn Host,
    resource: &str,
    snapshot: &SnapshotState,
    places: &TokenPlaces,
) -> HostResult<()> {
    let issuers = snapshot.issuers().map(|document| &document.issuer);
    let providers = snapshot.introspections().map(|document| &document.issuer);
    let mut servers: Vec<&str> = issuers
        .chain(providers)
        .map(|issuer| issuer.as_str())
        .filter(|i| i.starts_with("https://"))
        .collect();
    servers.sort_unstable();
    servers.dedup();
    let methods: &[&str] = if places.query.is_some() { &["header", "query"] } else { &["header"] };
    let body =
        json!({"resource": resource, "authorization_servers": servers, "bearer_methods_supported": methods})
            .to_string();
    let headers: [(&[u8], &[u8]); 3] = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"public, max-age=60"),
        (b"access-control-allow-origin", b"*"),
    ];
    host.send_local_response(&LocalResponse {
        status: 200,
        details: "portcullis_metadata",
        headers: &headers,
        body: body.as_bytes(),
        grpc_status: None,
    })
}
