//! What a plugin's configuration says of the edge: where tokens are read from, and what is told of the
//! protected resource.

use portcullis_identity::ids::Scope;

use crate::errors::FieldErrors;
use crate::header_name::{is_header_name, is_taken};
use crate::section::Section;

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

/// The longest list of authorization servers.
const MAX_SERVERS: usize = 16;

/// The longest list of scopes.
const MAX_SCOPES: usize = 64;

/// Where OAuth2 Proxy passes an access token on; nothing else writes or reads it.
pub const PASSED_ON: &str = "x-forwarded-access-token";

/// Reads `tokens`.
pub(crate) fn tokens(mut section: Section<'_>, api_key_header: &str) -> TokenLocations {
    let mut headers: Vec<TokenHeader> = Vec::new();
    for header in section.list("headers") {
        let header = token_header(header, api_key_header, &headers);
        headers.push(header);
    }
    let plain = |name: &str, more: &[u8]| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    // RFC 6265 §4.1.1 and RFC 9110 §5.6.2.
    let cookie = section.text("cookie");
    if cookie.is_some_and(|name| !plain(name, b"!#$%&'*+-.^_`|~")) {
        section.error("cookie", "is not a cookie's name");
    }
    let query = section.text("query");
    if query.is_some_and(|name| !plain(name, b"-._~")) {
        section.error("query", "use letters, digits and '-', '.', '_', '~'");
    }
    let keep = section.flag("keep");
    section.finish();
    TokenLocations { headers, cookie: cookie.map(str::to_owned), query: query.map(str::to_owned), keep }
}

fn token_header(mut section: Section<'_>, api_key_header: &str, before: &[TokenHeader]) -> TokenHeader {
    let name = section.text("name").unwrap_or_default().to_ascii_lowercase();
    if !is_header_name(&name) {
        section.error("name", "is not a header name");
    } else if (is_taken(&name) && name != PASSED_ON) || name == api_key_header {
        section.error("name", format!("{name} has a meaning already; Authorization is always read"));
    } else if before.iter().any(|known| known.name == name) {
        section.error("name", format!("{name} is there twice"));
    }
    let prefix = section.text("prefix").unwrap_or_default().to_owned();
    if !prefix.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) || prefix.contains(',') {
        section.error("name", "has a prefix with a comma or with what is not visible ASCII");
    }
    section.finish();
    TokenHeader { name, prefix }
}

/// Reads `resource`.
pub(crate) fn resource(mut section: Section<'_>) -> Option<Resource> {
    let parsed = section.text("url").and_then(identifier);
    if parsed.is_none() {
        section.error("url", "write the https URL of the resource, without query and fragment");
    }
    let always = match section.text("challenge") {
        None | Some("always") => true,
        Some("mcp") => false,
        Some(other) => {
            section.error("challenge", format!("{other:?} is not known; write mcp or always"));
            true
        }
    };
    let servers = section.texts("authorizationServers").unwrap_or_default();
    let servers = authorization_servers(servers, &section.name("authorizationServers"), section.errors());
    let scopes_supported = scopes("scopesSupported", &mut section);
    let required_scopes = scopes("requiredScopes", &mut section);
    section.finish();
    let (origin, path) = parsed?;
    Some(Resource { origin, path, always, authorization_servers: servers, scopes_supported, required_scopes })
}

/// Reads a list of scopes.
fn scopes(field: &'static str, section: &mut Section<'_>) -> Vec<Scope> {
    let list = section.texts(field).unwrap_or_default();
    if list.len() > MAX_SCOPES {
        section.error(field, "has more than 64 entries");
    }
    let read = |(at, text): (usize, &String)| {
        Scope::new(text).map_err(|e| section.error(&format!("{field}[{at}]"), e.to_string())).ok()
    };
    list.iter().enumerate().filter_map(read).collect()
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
    use serde_json::{Value, json};

    fn read_tokens(raw: Value) -> (TokenLocations, Vec<String>) {
        let errors = FieldErrors::default();
        let locations = tokens(Section::new("tokens", &raw, &errors), "x-api-key");
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
            let resource = resource(Section::new("resource", &raw, &errors));
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
            ["resource.challenge", "resource.x"]
        );
    }
}
