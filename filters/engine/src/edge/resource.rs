//! The protected resource (RFC 9728): which one a request asks about, and what a challenge names.

use portcullis_identity::ClusterId;
use portcullis_model::config::PluginConfig;
use portcullis_model::edge::{Resource, is_plain_path};

use crate::head::Head;
use crate::head::cluster::{Selectors, select};
use crate::reply::Form;

/// Where metadata is served (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Whether a request asks for metadata of a resource, as if it had this method.
pub(crate) fn is_about_a_resource(config: &PluginConfig, head: &Head<'_>, method: &[u8]) -> bool {
    config.resource.is_some() && asked_path(config, head, method).is_some()
}

/// A protected resource that a request asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Its identifier.
    pub identifier: String,
    /// What is said of all resources.
    pub resource: &'a Resource,
    /// The cluster that it is a part of, whether there is one of that name or not.
    pub cluster: Option<ClusterId>,
}

/// The resource that a request asks for metadata about; `None` when it asks for something else.
#[must_use]
pub fn asked_resource<'a>(config: &'a PluginConfig, head: &Head<'_>) -> Option<Asked<'a>> {
    let resource = config.resource.as_ref()?;
    let path = asked_path(config, head, head.method)?;
    let identifier = [&*origin(config, resource, head), path].concat();
    let selectors = Selectors { authority: head.authority, path: path.as_bytes(), header: None };
    Some(Asked { identifier, resource, cluster: select(selectors, &config.domain).ok() })
}

/// The path of that resource.
fn asked_path<'a>(config: &'a PluginConfig, head: &Head<'a>, method: &[u8]) -> Option<&'a str> {
    let resource = config.resource.as_ref()?;
    let path = head.path_only().strip_prefix(WELL_KNOWN.as_bytes())?;
    if !matches!(method, b"GET" | b"HEAD") || !is_plain_path(path) || head.check().is_err() {
        return None;
    }
    let path = std::str::from_utf8(path).ok()?;
    let path = if matches!(path, "" | "/") { resource.path.as_str() } else { path };
    within(path, &resource.path).then_some(path)
}

/// The URL of the metadata about what a refused request asked for (RFC 9728 §5.1), where it is to be told.
#[must_use]
pub fn metadata_url(config: &PluginConfig, head: &Head<'_>) -> Option<String> {
    let resource = config.resource.as_ref().filter(|r| r.always || Form::of(head) == Form::JsonRpc)?;
    let asked = Some(head.path_only()).filter(|path| is_plain_path(path));
    let path = asked
        .and_then(|path| std::str::from_utf8(path).ok())
        .filter(|path| within(path, &resource.path))
        .unwrap_or(&resource.path);
    // A slash that is the whole path is left out (RFC 9728 §3.1); any other is a part of the name.
    let path = if path == "/" { "" } else { path };
    Some(format!("{}{WELL_KNOWN}{path}", origin(config, resource, head)))
}

fn within(path: &str, parent: &str) -> bool {
    let parent = parent.strip_suffix('/').unwrap_or(parent);
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
