//! What a plugin's configuration says of the edge: where tokens are read from, and what is told of the
//! protected resource.

use std::collections::BTreeMap;

use portcullis_identity::ids::Scope;
use serde::Deserialize;
use serde_json::Value;

use crate::errors::FieldErrors;

/// Where bearer tokens are read from, besides `Authorization`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenLocations {
    /// Other headers.
    pub headers: Vec<TokenHeader>,
    /// A cookie.
    pub cookie: Option<String>,
    /// A parameter of the query (RFC 6750 §2.3).
    pub query: Option<String>,
    /// True: a token is forwarded as it came. API keys never are.
    pub keep: bool,
}

impl TokenLocations {
    /// True when tokens are read from `Authorization` alone.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.headers.is_empty() && self.cookie.is_none() && self.query.is_none()
    }
}

/// A header that carries a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHeader {
    /// Its name, lower case.
    pub name: String,
    /// What stands before the token, for example `Bearer `; letters compare without case.
    pub prefix: String,
}

/// What is told of the protected resource (RFC 9728).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Scheme and authority of its identifier, for example `https://api.example.com`.
    pub origin: String,
    /// Path of its identifier as it is written: empty, or beginning with a slash.
    pub path: String,
    /// True: every challenge names the metadata. False: only those to clients of the Model Context Protocol.
    pub always: bool,
    /// Where clients get tokens, in the order in which they should try.
    pub authorization_servers: Vec<String>,
    /// Scopes that clients may ask for.
    pub scopes_supported: Vec<Scope>,
    /// Scopes that every request to a cluster needs.
    pub required_scopes: Vec<Scope>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct RawTokens {
    #[serde(default)]
    headers: Vec<RawHeader>,
    cookie: Option<String>,
    query: Option<String>,
    #[serde(default)]
    keep: bool,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct RawHeader {
    name: Option<String>,
    #[serde(default)]
    prefix: String,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RawResource {
    url: Option<String>,
    challenge: Option<String>,
    #[serde(default, rename = "authorizationServers")]
    authorization_servers: Vec<String>,
    #[serde(default, rename = "scopesSupported")]
    scopes_supported: Vec<String>,
    #[serde(default, rename = "requiredScopes")]
    required_scopes: Vec<String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// The longest list of authorization servers.
const MAX_SERVERS: usize = 16;

/// The longest list of scopes.
const MAX_SCOPES: usize = 64;

/// Headers that mean something else already.
const TAKEN: [&str; 6] =
    ["authorization", "cookie", "host", "x-target-cluster", "x-request-id", "traceparent"];

/// A header name, lower case: letters, digits and `-`.
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Checks `tokens`.
pub(crate) fn tokens(raw: RawTokens, api_key_header: &str, errors: &FieldErrors) -> TokenLocations {
    errors.unknown("tokens.", &raw.unknown, "headers, cookie, query, keep");
    let mut headers: Vec<TokenHeader> = Vec::new();
    for (index, header) in raw.headers.into_iter().enumerate() {
        let field = format!("tokens.headers[{index}]");
        errors.unknown(&format!("{field}."), &header.unknown, "name, prefix");
        let name = header.name.unwrap_or_default().to_ascii_lowercase();
        let field = format!("{field}.name");
        if !is_header_name(&name) {
            errors.add(&field, "is not a header name");
        } else if TAKEN.contains(&name.as_str())
            || name.starts_with("x-portcullis-")
            || name == api_key_header
        {
            errors.add(&field, format!("{name} has a meaning already; Authorization is always read"));
        } else if headers.iter().any(|known| known.name == name) {
            errors.add(&field, format!("{name} is there twice"));
        }
        if !header.prefix.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) || header.prefix.contains(',') {
            errors.add(&field, "has a prefix with a comma or with what is not visible ASCII");
        }
        headers.push(TokenHeader { name, prefix: header.prefix });
    }
    let plain = |name: &str, more: &[u8]| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    // RFC 6265 §4.1.1 and RFC 9110 §5.6.2.
    if raw.cookie.as_deref().is_some_and(|name| !plain(name, b"!#$%&'*+-.^_`|~")) {
        errors.add("tokens.cookie", "is not a cookie's name");
    }
    if raw.query.as_deref().is_some_and(|name| !plain(name, b"-._~")) {
        errors.add("tokens.query", "use letters, digits and '-', '.', '_', '~'");
    }
    TokenLocations { headers, cookie: raw.cookie, query: raw.query, keep: raw.keep }
}

/// Checks `resource`.
pub(crate) fn resource(raw: RawResource, errors: &FieldErrors) -> Option<Resource> {
    let known = "url, challenge, authorizationServers, scopesSupported, requiredScopes";
    errors.unknown("resource.", &raw.unknown, known);
    let always = match raw.challenge.as_deref() {
        None | Some("always") => true,
        Some("mcp") => false,
        Some(other) => {
            errors.add("resource.challenge", format!("{other:?} is not known; write mcp or always"));
            true
        }
    };
    let parsed = raw.url.as_deref().and_then(identifier);
    if parsed.is_none() {
        errors.add("resource.url", "write the https URL of the resource, without query and fragment");
    }
    let servers = authorization_servers(raw.authorization_servers, "resource.authorizationServers", errors);
    let scopes_supported = scopes(raw.scopes_supported, "resource.scopesSupported", errors);
    let required_scopes = scopes(raw.required_scopes, "resource.requiredScopes", errors);
    let resource = |(origin, path)| Resource {
        origin,
        path,
        always,
        authorization_servers: servers,
        scopes_supported,
        required_scopes,
    };
    parsed.map(resource)
}

/// Checks a list of scopes.
fn scopes(list: Vec<String>, field: &str, errors: &FieldErrors) -> Vec<Scope> {
    if list.len() > MAX_SCOPES {
        errors.add(field, "has more than 64 entries");
    }
    let read = |(at, text): (usize, String)| {
        Scope::new(&text).map_err(|e| errors.add(&format!("{field}[{at}]"), e.to_string())).ok()
    };
    list.into_iter().enumerate().filter_map(read).collect()
}

/// Checks a list of authorization servers: issuer identifiers (RFC 8414 §2), in the order in which clients try them.
#[must_use]
pub fn authorization_servers(list: Vec<String>, field: &str, errors: &FieldErrors) -> Vec<String> {
    for (at, server) in list.iter().enumerate() {
        let field = format!("{field}[{at}]");
        if identifier(server).is_none() {
            errors.add(&field, "write the https URL of the issuer, without query and fragment");
        } else if list.iter().take(at).any(|before| before == server) {
            errors.add(&field, "is there twice");
        }
    }
    if list.len() > MAX_SERVERS {
        errors.add(field, "has more than 16 entries");
    }
    list
}

/// Takes a resource identifier (RFC 9728 §1.2) apart.
fn identifier(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("https://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let authority_ok = !authority.is_empty()
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b));
    if !authority_ok || !is_plain_path(path.as_bytes()) {
        return None;
    }
    Some((format!("https://{}", authority.to_ascii_lowercase()), path.to_owned()))
}

/// True for a path of at most 1024 bytes that can stand in a URL and in a quoted header parameter as it is.
#[must_use]
pub fn is_plain_path(path: &[u8]) -> bool {
    path.len() <= 1024
        && (path.is_empty() || path.first() == Some(&b'/'))
        && path.iter().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_tokens(raw: Value) -> (TokenLocations, Vec<String>) {
        let errors = FieldErrors::default();
        let locations = tokens(serde_json::from_value(raw).unwrap(), "x-api-key", &errors);
        (locations, errors.into_fields())
    }

    #[test]
    fn locations_are_read() {
        let (locations, errors) =
            read_tokens(json!({"headers": [{"name": "X-Token"}, {"name": "x-b", "prefix": "Bearer "}],
            "cookie": "__Host-session", "query": "access_token", "keep": true}));
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            (locations.headers[0].name.as_str(), locations.headers[1].prefix.as_str()),
            ("x-token", "Bearer ")
        );
        assert!(locations.keep && !locations.is_usual());
        assert!(read_tokens(json!({})).0.is_usual());
    }

    #[test]
    fn every_mistake_is_told_with_its_field() {
        let (_, errors) = read_tokens(json!({"headers": [{"name": "Authorization"}, {"name": "x-api-key"},
            {"name": "x-portcullis-a"}, {"name": "a b"}, {"nme": "x"}, {"name": "x-t", "prefix": "a,"},
            {"name": "x-t"}, {"name": "Cookie"}], "cookie": "a=b", "query": "a b", "kep": true}));
        for field in ["tokens.kep", "tokens.cookie", "tokens.query", "tokens.headers[4].nme"] {
            assert!(errors.iter().any(|e| e == field), "{field} not in {errors:?}");
        }
        for index in 0..8 {
            let field = format!("tokens.headers[{index}].name");
            assert!(errors.contains(&field), "{field} not in {errors:?}");
        }
    }

    #[test]
    fn a_resource_is_an_https_url() {
        let read = |raw: Value| {
            let errors = FieldErrors::default();
            let resource = resource(serde_json::from_value(raw).unwrap(), &errors);
            (resource, errors.into_fields())
        };
        let (resource, errors) = read(json!({"url": "https://API.example.com:8443/mcp/", "challenge": "mcp",
            "authorizationServers": ["https://b.test/", "https://a.test"], "scopesSupported": ["b", "a"],
            "requiredScopes": ["a"]}));
        let scopes = |names: &[&str]| names.iter().map(|name| Scope::new(name).unwrap()).collect();
        let expected = Resource {
            origin: "https://api.example.com:8443".into(),
            path: "/mcp/".into(),
            always: false,
            authorization_servers: vec!["https://b.test/".into(), "https://a.test".into()],
            scopes_supported: scopes(&["b", "a"]),
            required_scopes: scopes(&["a"]),
        };
        assert_eq!((resource, errors), (Some(expected), vec![]));
        let minimal = read(json!({"url": "https://a.test"})).0.unwrap();
        assert!(minimal.always && minimal.path.is_empty());
        let odd = json!({"url": "https://a.test", "authorizationServers": ["http://a", "https://b?x"],
            "scopesSupported": ["a b"], "requiredScopes": [""]});
        let fields =
            ["authorizationServers[0]", "authorizationServers[1]", "scopesSupported[0]", "requiredScopes[0]"];
        assert_eq!(read(odd).1, fields.map(|field| format!("resource.{field}")));
        for url in ["http://a", "https://", "https://a?b", "https://a#b", "https://a/\"", "https://u@a/", "a"]
        {
            assert_eq!(read(json!({"url": url})).1, ["resource.url"], "{url}");
        }
        assert_eq!(
            read(json!({"url": "https://a", "challenge": "no", "x": 1})).1,
            ["resource.x", "resource.challenge"]
        );
    }
}
