//! The plugin's static configuration: `pluginConfig` of the `WasmPlugin` resource.
//!
//! It holds only what is static and nothing secret. What changes comes with the snapshot.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_identity::{ClusterId, SpiffeId};
use portcullis_protocol::scan;

use crate::browser::BrowserRules;
use crate::edge::{self, Resource, TokenLocations};
use crate::errors::{FieldError, FieldErrors};
use crate::header_name::{is_header_name, is_taken};
use crate::platform_host::{self, PlatformHost};
use crate::section::Section;
use crate::strict_json;

/// Where the proxy stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// At the edge: clients present credentials; every inbound `x-portcullis-*` header is removed.
    Edge,
    /// Beside a Data API of this cluster: only `x-portcullis-identity` is kept, and verified.
    Sidecar {
        /// The cluster that this sidecar belongs to: the `aud` that it accepts.
        cluster: ClusterId,
    },
}

/// Whether refusals are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Refuse what is to be refused.
    Enforce,
    /// Decide and record, but let everything on. No identity is forwarded for what would be refused.
    DryRun,
}

impl Mode {
    /// The name in configuration and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::DryRun => "dry-run",
        }
    }
}

/// How the snapshot is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSource {
    /// Envoy's name of the upstream, `outbound|PORT||HOST` in Istio.
    pub upstream: String,
    /// `:authority` of the calls.
    pub authority: String,
    /// Ed25519 public key of the control service.
    pub key: [u8; 32],
    /// Seconds without a completed poll after which decisions are refused; 5–86,400.
    pub stale_after_s: u32,
    /// Seconds that a poll may hang; 1–60.
    pub poll_s: u32,
}

/// Bounds of the audit stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimits {
    /// Records that may wait for acknowledgement in one worker; then new requests are refused.
    pub max_waiting: u32,
    /// Records in one batch, 1–10,000.
    pub batch: u32,
}

/// What is done about requests that last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRules {
    /// Milliseconds after which a request that is still open gets a record of its beginning; 0–3,600,000.
    /// Upgrades, gRPC calls and event streams get theirs at once.
    pub record_after_ms: u32,
    /// Seconds for which open streams go on by a snapshot that is too old for new requests; 0–86,400.
    pub stale_grace_s: u32,
}

/// The checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// Where the proxy stands.
    pub role: Role,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// Clusters are hosts under `clusters.<domain>`.
    pub domain: String,
    /// How the snapshot is fetched.
    pub snapshot: SnapshotSource,
    /// Header that carries an API key, lower case.
    pub api_key_header: String,
    /// Path that answers 200 when this worker can decide, and 503 before. Edge only.
    pub ready_path: String,
    /// Bounds of the audit stage.
    pub audit: AuditLimits,
    /// What is done about requests that last.
    pub streams: StreamRules,
    /// Where bearer tokens are read from. Edge only.
    pub tokens: TokenLocations,
    /// True: the SPIFFE id of the mutual-TLS peer is a fact, and a credential where no other is presented.
    pub workload: bool,
    /// True: the platform's own endpoints of the closed list are let through without an identity. Edge only.
    pub platform_paths: bool,
    /// Hosts of the platform itself, which are let through without an identity to whom they are for. Edge only.
    pub platform_hosts: Vec<PlatformHost>,
    /// What is told of the protected resource. Edge only.
    pub resource: Option<Resource>,
    /// What is said to browsers. Edge only.
    pub browser: Arc<BrowserRules>,
}

impl PluginConfig {
    /// The snapshot view that the role asks for.
    #[must_use]
    pub fn view(&self) -> String {
        match &self.role {
            Role::Edge => "gateway".to_owned(),
            Role::Sidecar { cluster } => format!("public:{cluster}"),
        }
    }
}

/// Reads and checks a `pluginConfig`.
///
/// # Errors
/// Everything that is wrong, at once. Only text that is no JSON object stops at the first.
pub fn parse(json: &[u8]) -> Result<PluginConfig, Vec<FieldError>> {
    let unreadable = |problem: String| {
        vec![FieldError { field: String::new(), problem: format!("cannot be read: {problem}") }]
    };
    let value = strict_json::value(json).map_err(|error| unreadable(error.to_string()))?;
    if !value.is_object() {
        return Err(unreadable("it is no mapping (name: value)".to_owned()));
    }
    let errors = FieldErrors::default();
    let config = read(Section::new("", &value, &errors));
    match (errors.is_empty(), config) {
        (true, Some(config)) => Ok(config),
        _ => Err(errors.into_list()),
    }
}

/// What a plugin has at the edge alone.
const EDGE_FIELDS: [&str; 5] = ["tokens", "platformPaths", "platformHosts", "resource", "browser"];

/// `None` where there is no role; whether anything is wrong is noted.
fn read(mut root: Section<'_>) -> Option<PluginConfig> {
    let role_name = root.text("role");
    let mode = mode(&mut root);
    let role = role(role_name, &mut root);
    let domain =
        root.required("domain", "the platform's domain, for example example.com").to_ascii_lowercase();
    let snapshot = snapshot(root.section("snapshot"));
    let api_key_header = root.text("apiKeyHeader").unwrap_or("x-api-key").to_ascii_lowercase();
    if !is_header_name(&api_key_header) {
        root.error("apiKeyHeader", "is not a header name");
    } else if is_taken(&api_key_header) {
        let problem = format!("{api_key_header} has a meaning already; write a name such as x-api-key");
        root.error("apiKeyHeader", problem);
    }
    let ready_path = root.text("readyPath").unwrap_or("/-/portcullis/ready").to_owned();
    if !ready_path.starts_with('/') {
        root.error("readyPath", "must begin with /");
    }
    let audit = audit(root.section("audit"));
    let streams = streams(root.section("streams"));
    let workload = root.flag("workload");
    let platform_paths = root.flag("platformPaths");
    let platform_hosts = platform_host::platform_hosts(&mut root, &domain);
    if role_name == Some("sidecar") {
        let given = |field: &&str| root.has(field) && (*field != "platformPaths" || platform_paths);
        for field in EDGE_FIELDS.iter().filter(|field| given(field)) {
            root.error(field, "belongs to role edge; remove it");
        }
    }
    let tokens = edge::tokens(root.section("tokens"), &api_key_header);
    let resource = root.given("resource").and_then(edge::resource);
    let browser = BrowserRules::from_section(root.section("browser"));
    root.finish();
    Some(PluginConfig {
        role: role?,
        mode,
        domain,
        snapshot,
        api_key_header,
        ready_path,
        audit,
        streams,
        tokens,
        workload,
        platform_paths,
        platform_hosts,
        resource,
        browser: Arc::new(browser),
    })
}

fn mode(root: &mut Section<'_>) -> Mode {
    match root.text("mode") {
        None | Some("enforce") => Mode::Enforce,
        Some("dry-run") => Mode::DryRun,
        Some(other) => {
            root.error("mode", format!("{other:?} is not a mode; write enforce or dry-run"));
            Mode::Enforce
        }
    }
}

fn role(role: Option<&str>, root: &mut Section<'_>) -> Option<Role> {
    match (role, root.text("cluster")) {
        (Some("edge"), None) => Some(Role::Edge),
        (Some("edge"), Some(_)) => {
            root.error("cluster", "belongs to role sidecar; remove it or set role: sidecar");
            None
        }
        (Some("sidecar"), Some(name)) => ClusterId::new(name)
            .map(|cluster| Role::Sidecar { cluster })
            .map_err(|e| root.error("cluster", e.to_string()))
            .ok(),
        (Some("sidecar"), None) => {
            root.error(
                "cluster",
                "is required with role sidecar: the id of the cluster this proxy stands in",
            );
            None
        }
        (Some(_), _) => {
            root.error("role", "is neither edge nor sidecar");
            None
        }
        (None, _) => {
            root.error("role", "is required: edge or sidecar");
            None
        }
    }
}

fn snapshot(mut section: Section<'_>) -> SnapshotSource {
    let upstream = section.required("upstream", "Envoy's name of the control service, outbound|PORT||HOST");
    let host = upstream.rsplit('|').next().unwrap_or_default();
    let authority = section.text("authority").unwrap_or(host).to_owned();
    let text = section.required("key", "the output of `portcullis snapshot-key`");
    let decoded = STANDARD.decode(text).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
    if decoded.is_none() && !text.is_empty() {
        section.error("key", "is not 32 bytes in base64; take the output of `portcullis snapshot-key`");
    }
    let stale_after_s = section.number("staleAfterSeconds", 300, 5, 86_400);
    let poll_s = section.number("pollSeconds", 25.min(stale_after_s / 2), 1, 60);
    if poll_s >= stale_after_s {
        // A poll that hangs for so long would leave an idle gateway stale although all is well.
        section.error("pollSeconds", format!("must be less than staleAfterSeconds ({stale_after_s})"));
    }
    section.finish();
    SnapshotSource {
        authority,
        upstream: upstream.to_owned(),
        key: decoded.unwrap_or_default(),
        stale_after_s,
        poll_s,
    }
}

fn audit(mut section: Section<'_>) -> AuditLimits {
    let limits = AuditLimits {
        max_waiting: section.number("maxWaiting", 20_000, 1, 1_000_000),
        batch: section.number("batch", 500, 1, 10_000),
    };
    section.finish();
    limits
}

fn streams(mut section: Section<'_>) -> StreamRules {
    let rules = StreamRules {
        record_after_ms: section.number("recordAfterSeconds", 1, 0, 3_600).saturating_mul(1_000),
        stale_grace_s: section.number("staleGraceSeconds", 300, 0, 86_400),
    };
    section.finish();
    rules
}

/// True for a header that only Portcullis may set, in any spelling that a later hop might fold into it:
/// `x-portcullis-…` with `_` for `-` and in any case.
#[inline]
#[must_use]
pub fn is_reserved_header(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-portcullis-";
    // Most names differ here already.
    let [b'x' | b'X', b'-' | b'_', b'p' | b'P', ..] = name else { return false };
    // Nearly always in the usual spelling, which is compared at once.
    name.get(..PREFIX.len()).is_some_and(|head| {
        scan::same(head, PREFIX)
            || head.iter().zip(PREFIX).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
    })
}

/// The SPIFFE id of a mutual-TLS peer, from Envoy's `connection.uri_san_peer_certificate`.
#[inline]
#[must_use]
pub fn peer_spiffe_id(uri_san: &[u8]) -> Option<SpiffeId> {
    std::str::from_utf8(uri_san).ok().and_then(|text| SpiffeId::new(text).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn good() -> Value {
        serde_json::json!({"role": "edge", "domain": "Example.com",
            "snapshot": {"upstream": "outbound|9700||control.local", "key": KEY, "staleAfterSeconds": 300.0}})
    }

    #[test]
    fn a_minimal_edge_configuration_has_defaults() {
        let config = parse(good().to_string().as_bytes()).unwrap();
        assert_eq!(config.role, Role::Edge);
        assert_eq!(config.mode, Mode::Enforce);
        assert_eq!(config.domain, "example.com");
        assert_eq!(config.snapshot.authority, "control.local");
        assert_eq!(config.snapshot.stale_after_s, 300);
        assert_eq!(config.view(), "gateway");
    }

    #[test]
    fn all_errors_come_at_once() {
        let bad = serde_json::json!({"role": "sidecar", "mode": "audit", "tokn": 1,
            "snapshot": {"key": "short", "staleAfterSeconds": 1, "pol": 2}, "audit": {"batch": 0.5}});
        let errors = parse(bad.to_string().as_bytes()).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
        for field in [
            "tokn",
            "cluster",
            "mode",
            "domain",
            "snapshot.pol",
            "snapshot.upstream",
            "snapshot.key",
            "snapshot.staleAfterSeconds",
            "audit.batch",
        ] {
            assert!(fields.contains(&field), "{field} not in {fields:?}");
        }
        for (config, problem) in [("{\"role\": \"egde\"}", "is neither"), ("{}", "is required")] {
            let errors = parse(config.as_bytes()).unwrap_err();
            assert!(errors.iter().any(|e| e.field == "role" && e.problem.starts_with(problem)), "{errors:?}");
        }
    }

    #[test]
    fn a_poll_ends_before_the_snapshot_is_stale() {
        let mut config = good();
        config["snapshot"]["staleAfterSeconds"] = 10.into();
        assert_eq!(parse(config.to_string().as_bytes()).unwrap().snapshot.poll_s, 5);
        config["snapshot"]["pollSeconds"] = 10.into();
        assert_eq!(parse(config.to_string().as_bytes()).unwrap_err()[0].field, "snapshot.pollSeconds");
    }

    #[test]
    fn what_belongs_to_the_edge_is_an_error_at_a_sidecar() {
        let mut config = good();
        config["tokens"] = serde_json::json!({"cookie": "session"});
        config["platformPaths"] = true.into();
        config["platformHosts"] = json!([{"name": "admin", "paths": ["/v1/"]}]);
        config["resource"] = serde_json::json!({"url": "https://api.example.com"});
        config["workload"] = true.into();
        let edge = parse(config.to_string().as_bytes()).unwrap();
        assert!(edge.workload && edge.platform_paths && edge.resource.is_some());
        assert_eq!(edge.platform_hosts[0].host, "admin.example.com");
        config["role"] = "sidecar".into();
        config["cluster"] = "acme-1".into();
        let errors = parse(config.to_string().as_bytes()).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["tokens", "platformPaths", "platformHosts", "resource"]);
    }

    #[test]
    fn fields_of_the_wrong_form_are_told_with_all_else_that_is_wrong() {
        let mut config = good();
        for (field, value) in [
            ("mode", json!(1)),
            ("workload", json!("yes")),
            ("tokens", json!([])),
            ("audit", json!({"batch": "many"})),
            ("snapshot", json!({"upstream": 1, "key": KEY})),
            ("resource", json!({"url": "https://a.test", "requiredScopes": ["a", 1]})),
            ("browser", json!({"cors": {"origins": "*"}})),
            ("domian", json!("x")),
        ] {
            config[field] = value;
        }
        let errors = parse(config.to_string().as_bytes()).unwrap_err();
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "mode: must be a text",
                "snapshot.upstream: must be a text",
                "audit.batch: \"many\" is not a whole number from 1 to 10000",
                "workload: must be true or false",
                "tokens: must be a mapping (name: value)",
                "resource.requiredScopes: must be a list of texts",
                "browser.cors.origins: must be a list of texts",
                "domian: there is no such field; known are role, mode, cluster, domain, snapshot, apiKeyHeader, \
             readyPath, audit, streams, workload, platformPaths, platformHosts, tokens, resource, browser",
            ]
        );
    }

    #[test]
    fn an_api_key_stands_in_no_header_that_means_something() {
        let with = |name: &str| {
            let mut config = good();
            config["apiKeyHeader"] = name.into();
            parse(config.to_string().as_bytes())
        };
        for name in crate::header_name::TAKEN {
            assert_eq!(with(&name.to_uppercase()).unwrap_err()[0].field, "apiKeyHeader", "{name}");
        }
        for prefix in crate::header_name::TAKEN_PREFIXES {
            assert_eq!(with(&format!("{prefix}key")).unwrap_err()[0].field, "apiKeyHeader", "{prefix}");
        }
        for name in [":authority", ":path", "x key", ""] {
            assert!(with(name).is_err(), "{name}");
        }
        assert_eq!(with("X-Key").unwrap().api_key_header, "x-key");
    }

    #[test]
    fn a_field_that_stands_twice_is_an_error() {
        let twice = good().to_string().replacen('{', "{\"role\":\"edge\",", 1);
        assert!(parse(twice.as_bytes()).unwrap_err()[0].to_string().contains("twice"));
    }

    #[test]
    fn text_that_is_not_json_is_an_error() {
        assert!(parse(b"role: edge").unwrap_err()[0].to_string().contains("cannot be read"));
        assert!(parse(b"").is_err());
    }

    #[test]
    fn reserved_headers_are_known_in_every_spelling() {
        for name in
            ["x-portcullis-identity", "X-Portcullis-Identity", "x_portcullis_identity", "x-portcullis_x"]
        {
            assert!(is_reserved_header(name.as_bytes()), "{name}");
        }
        for name in ["x-portculli", "x-portcullis", "x-forwarded-for", "y-x-portcullis-a"] {
            assert!(!is_reserved_header(name.as_bytes()), "{name}");
        }
    }
}
