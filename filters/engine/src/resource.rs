//! The protected resource (RFC 9728): which one a request asks about, and what a challenge names.

use portcullis_model::config::PluginConfig;
use portcullis_model::edge::{Resource, is_plain_path};

use crate::cluster::{Selectors, select};
use crate::head::Head;
use crate::reply::Form;

/// Where metadata is served (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The resource identifier that a request asks for metadata about; `None` when it asks for something else.
#[must_use]
pub fn asked_resource(config: &PluginConfig, head: &Head<'_>) -> Option<String> {
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

/// The URL of the metadata about what a refused request asked for (RFC 9728 §5.1), where it is to be told.
#[must_use]
pub fn metadata_url(config: &PluginConfig, head: &Head<'_>) -> Option<String> {
    let resource = config.resource.as_ref().filter(|r| r.always || Form::of(head) == Form::JsonRpc)?;
    let asked = Some(head.path_only()).filter(|path| is_plain_path(path));
    let path = asked
        .and_then(|path| std::str::from_utf8(path).ok())
        .map(|path| path.trim_end_matches('/'))
        .filter(|path| within(path, &resource.path))
        .unwrap_or(&resource.path);
    Some(format!("{}{WELL_KNOWN}{path}", origin(config, resource, head)))
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
