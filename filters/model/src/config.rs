//! The plugin's static configuration: `pluginConfig` of the `WasmPlugin` resource.
//!
//! It holds only what is static and nothing secret. What changes comes with the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_identity::{ClusterId, SpiffeId};
use serde::Deserialize;
use serde_json::Value;

use crate::browser::{BrowserRules, RawBrowser};
use crate::edge::{self, RawResource, RawTokens, Resource, TokenLocations, is_header_name};
use crate::errors::{FieldError, FieldErrors};

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

#[derive(Debug, Deserialize)]
struct Raw {
    role: Option<String>,
    mode: Option<String>,
    cluster: Option<String>,
    domain: Option<String>,
    snapshot: Option<RawSnapshot>,
    #[serde(rename = "apiKeyHeader")]
    api_key_header: Option<String>,
    #[serde(rename = "readyPath")]
    ready_path: Option<String>,
    audit: Option<RawAudit>,
    streams: Option<RawStreams>,
    tokens: Option<RawTokens>,
    #[serde(default)]
    workload: bool,
    #[serde(default, rename = "platformPaths")]
    platform_paths: bool,
    resource: Option<RawResource>,
    browser: Option<RawBrowser>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSnapshot {
    upstream: Option<String>,
    authority: Option<String>,
    key: Option<String>,
    stale_after_seconds: Option<f64>,
    poll_seconds: Option<f64>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAudit {
    max_waiting: Option<f64>,
    batch: Option<f64>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStreams {
    record_after_seconds: Option<f64>,
    stale_grace_seconds: Option<f64>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// The fields that there are.
const KNOWN: &str = "role, mode, cluster, domain, snapshot, apiKeyHeader, readyPath, audit, streams, tokens, \
                     workload, platformPaths, resource, browser";

/// Reads and checks a `pluginConfig`.
///
/// # Errors
/// Everything that is wrong, at once. Only text that is not JSON of the right shape stops at the first.
pub fn parse(json: &[u8]) -> Result<PluginConfig, Vec<FieldError>> {
    let raw: Raw = serde_json::from_slice(json)
        .map_err(|e| vec![FieldError { field: String::new(), problem: format!("cannot be read: {e}") }])?;
    let errors = FieldErrors::default();
    errors.unknown("", &raw.unknown, KNOWN);
    let role = role(raw.role.as_deref(), raw.cluster.as_deref(), &errors);
    if raw.role.as_deref() == Some("sidecar") {
        let edge_only = [
            ("tokens", raw.tokens.is_some()),
            ("platformPaths", raw.platform_paths),
            ("resource", raw.resource.is_some()),
            ("browser", raw.browser.is_some()),
        ];
        for (field, _) in edge_only.into_iter().filter(|(_, given)| *given) {
            errors.add(field, "belongs to role edge; remove it");
        }
    }
    let mode = match raw.mode.as_deref() {
        None | Some("enforce") => Mode::Enforce,
        Some("dry-run") => Mode::DryRun,
        Some(other) => {
            errors.add("mode", format!("{other:?} is not a mode; write enforce or dry-run"));
            Mode::Enforce
        }
    };
    let domain = errors.required("domain", raw.domain, "the platform's domain, for example example.com");
    let snapshot = snapshot(raw.snapshot.unwrap_or_default(), &errors);
    let audit_raw = raw.audit.unwrap_or_default();
    errors.unknown("audit.", &audit_raw.unknown, "maxWaiting, batch");
    let audit = AuditLimits {
        max_waiting: errors.number("audit.maxWaiting", audit_raw.max_waiting, 20_000, 1, 1_000_000),
        batch: errors.number("audit.batch", audit_raw.batch, 500, 1, 10_000),
    };
    let streams = streams(raw.streams.unwrap_or_default(), &errors);
    let api_key_header = raw.api_key_header.unwrap_or_else(|| "x-api-key".to_owned()).to_ascii_lowercase();
    if !is_header_name(&api_key_header) {
        errors.add("apiKeyHeader", "is not a header name");
    }
    if api_key_header.starts_with("x-portcullis-") || api_key_header == "authorization" {
        errors.add("apiKeyHeader", "must be neither authorization nor one of the x-portcullis- headers");
    }
    let ready_path = raw.ready_path.unwrap_or_else(|| "/-/portcullis/ready".to_owned());
    if !ready_path.starts_with('/') {
        errors.add("readyPath", "must begin with /");
    }
    let tokens = edge::tokens(raw.tokens.unwrap_or_default(), &api_key_header, &errors);
    let resource = raw.resource.and_then(|raw| edge::resource(raw, &errors));
    let browser = BrowserRules::read(raw.browser.unwrap_or_default(), "browser", &errors);
    match (errors.is_empty(), role) {
        (true, Some(role)) => Ok(PluginConfig {
            role,
            mode,
            domain: domain.to_ascii_lowercase(),
            snapshot,
            api_key_header,
            ready_path,
            audit,
            streams,
            tokens,
            workload: raw.workload,
            platform_paths: raw.platform_paths,
            resource,
            browser: Arc::new(browser),
        }),
        _ => Err(errors.into_list()),
    }
}

fn role(role: Option<&str>, cluster: Option<&str>, errors: &FieldErrors) -> Option<Role> {
    match (role, cluster) {
        (Some("edge"), None) => Some(Role::Edge),
        (Some("edge"), Some(_)) => {
            errors.add("cluster", "belongs to role sidecar; remove it or set role: sidecar");
            None
        }
        (Some("sidecar"), Some(name)) => ClusterId::new(name)
            .map(|cluster| Role::Sidecar { cluster })
            .map_err(|e| errors.add("cluster", e.to_string()))
            .ok(),
        (Some("sidecar"), None) => {
            errors
                .add("cluster", "is required with role sidecar: the id of the cluster this proxy stands in");
            None
        }
        (Some(_), _) => {
            errors.add("role", "is neither edge nor sidecar");
            None
        }
        (None, _) => {
            errors.add("role", "is required: edge or sidecar");
            None
        }
    }
}

fn snapshot(raw: RawSnapshot, errors: &FieldErrors) -> SnapshotSource {
    errors.unknown("snapshot.", &raw.unknown, "upstream, authority, key, staleAfterSeconds, pollSeconds");
    let upstream = errors.required(
        "snapshot.upstream",
        raw.upstream,
        "Envoy's name of the control service, outbound|PORT||HOST",
    );
    let host = upstream.rsplit('|').next().unwrap_or_default().to_owned();
    let text = errors.required("snapshot.key", raw.key, "the output of `portcullis snapshot-key`");
    let decoded = STANDARD.decode(&text).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
    if decoded.is_none() && !text.is_empty() {
        errors.add("snapshot.key", "is not 32 bytes in base64; take the output of `portcullis snapshot-key`");
    }
    let stale_after_s = errors.number("snapshot.staleAfterSeconds", raw.stale_after_seconds, 300, 5, 86_400);
    let poll_s = errors.number("snapshot.pollSeconds", raw.poll_seconds, 25.min(stale_after_s / 2), 1, 60);
    if poll_s >= stale_after_s {
        // A poll that hangs for so long would leave an idle gateway stale although all is well.
        errors.add("snapshot.pollSeconds", format!("must be less than staleAfterSeconds ({stale_after_s})"));
    }
    SnapshotSource {
        authority: raw.authority.unwrap_or(host),
        upstream,
        key: decoded.unwrap_or_default(),
        stale_after_s,
        poll_s,
    }
}

fn streams(raw: RawStreams, errors: &FieldErrors) -> StreamRules {
    errors.unknown("streams.", &raw.unknown, "recordAfterSeconds, staleGraceSeconds");
    let record_after_s = errors.number("streams.recordAfterSeconds", raw.record_after_seconds, 1, 0, 3_600);
    StreamRules {
        record_after_ms: record_after_s.saturating_mul(1_000),
        stale_grace_s: errors.number("streams.staleGraceSeconds", raw.stale_grace_seconds, 300, 0, 86_400),
    }
}

/// True for a header that only Portcullis may set, in any spelling that a later hop might fold into it:
/// `x-portcullis-…` with `_` for `-` and in any case.
#[must_use]
pub fn is_reserved_header(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-portcullis-";
    // Most names differ here already.
    let [b'x' | b'X', b'-' | b'_', b'p' | b'P', ..] = name else { return false };
    name.get(..PREFIX.len()).is_some_and(|head| {
        head.iter().zip(PREFIX).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
    })
}

/// The SPIFFE id of a mutual-TLS peer, from Envoy's `connection.uri_san_peer_certificate`.
#[must_use]
pub fn peer_spiffe_id(uri_san: &[u8]) -> Option<SpiffeId> {
    std::str::from_utf8(uri_san).ok().and_then(|text| SpiffeId::new(text).ok())
}

#[cfg(test)]
mod tests {
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
        config["resource"] = serde_json::json!({"url": "https://api.example.com"});
        config["workload"] = true.into();
        let edge = parse(config.to_string().as_bytes()).unwrap();
        assert!(edge.workload && edge.platform_paths && edge.resource.is_some());
        config["role"] = "sidecar".into();
        config["cluster"] = "acme-1".into();
        let errors = parse(config.to_string().as_bytes()).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["tokens", "platformPaths", "resource"]);
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
