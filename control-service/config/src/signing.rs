//! Tokens that the service signs or lets sign, and how their keys change.

use std::time::Duration;

use portcullis_control_domain::client::MAX_SERVICE_TOKEN_S;
use portcullis_control_domain::signing::Rotation;
use portcullis_identity::MAX_LIFETIME_S;
use portcullis_identity::ids::IssuerId;
use url::Url;

use super::files;
use super::issuer::audiences;
use super::section::Section;

/// Identity tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// `iss`.
    pub issuer: String,
    /// Lifetime in seconds, 1–60.
    pub lifetime_s: u32,
    /// When their key changes.
    pub rotation: Rotation,
}

/// Service tokens (RFC 6749 §4.4, RFC 8693).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTokens {
    /// `iss`: the URL under which the platform API is reached from outside.
    pub issuer: IssuerId,
    /// The audiences that gateways accept.
    pub audiences: Vec<String>,
    /// Lifetime in seconds unless a client has a shorter one.
    pub lifetime_s: u32,
    /// When their key changes.
    pub rotation: Rotation,
}

const DAY: u32 = 86_400;

fn rotation(section: &mut Section<'_>, every: u32, publish: u32, keep: u32, min_keep: u32) -> Rotation {
    let every = section.number("rotateSeconds", every, 0, 366 * DAY);
    let publish = section.number("publishSeconds", publish, 0, DAY);
    let keep = section.number("keepSeconds", keep, min_keep, DAY);
    if every > 0 && every <= publish {
        section.error("rotateSeconds", "must be longer than publishSeconds, or 0 for never");
    }
    let seconds = |s: u32| Duration::from_secs(s.into());
    Rotation { every: (every > 0).then(|| seconds(every)), publish: seconds(publish), keep: seconds(keep) }
}

pub(crate) fn identity(mut section: Section<'_>) -> Option<IdentityConfig> {
    let issuer = section.required::<String>("issuer", "the `iss` of identity tokens, usually an https URL");
    let lifetime_s = section.number("lifetimeSeconds", MAX_LIFETIME_S, 1, MAX_LIFETIME_S);
    // A gateway may sign with the old key until its snapshot counts as stale, and its last token lives on.
    let rotation = rotation(&mut section, 7 * DAY, 300, 600, lifetime_s);
    section.finish();
    Some(IdentityConfig { issuer: issuer?, lifetime_s, rotation })
}

pub(crate) fn service_tokens(root: &mut Section<'_>) -> Option<ServiceTokens> {
    let given = root.has("serviceTokens");
    let mut section = root.section("serviceTokens");
    if !given {
        return None;
    }
    let issuer: Option<IssuerId> =
        section.required("issuer", "the https URL under which the platform API is reached");
    if let Some(id) = &issuer
        && let Some(url) = files::address(&section, "issuer", id.as_str())
        && !is_plain(&url, id.as_str())
    {
        // RFC 8414 §2.
        section.error("issuer", "must have neither a path nor a query, a fragment or a slash at its end");
    }
    let audiences = audiences(&mut section);
    let lifetime_s = section.number("lifetimeSeconds", 600, 30, MAX_SERVICE_TOKEN_S);
    let rotation = rotation(&mut section, DAY, 60, 1000, lifetime_s);
    section.finish();
    Some(ServiceTokens { issuer: issuer?, audiences: audiences?, lifetime_s, rotation })
}

/// The metadata of an issuer with a path lies elsewhere (RFC 8414 §3.1), where nothing is served.
fn is_plain(url: &Url, text: &str) -> bool {
    url.path() == "/" && url.query().is_none() && url.fragment().is_none() && !text.ends_with('/')
}
