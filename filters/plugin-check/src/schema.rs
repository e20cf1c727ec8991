//! The JSON Schema of a `pluginConfig`: for editors and CI, and what the admission policy of the manifests is held against.
//!
//! The filter reads field by field and needs no types for that; these say the same for a generator. Tests ask the filter's
//! parser for its fields, their forms and bounds.

use std::collections::BTreeMap;

use portcullis_model::edge::PASSED_ON;
use portcullis_model::header_name::{TAKEN, TAKEN_PREFIXES};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// The JSON Schema of a `pluginConfig`.
#[must_use]
pub fn schema() -> Value {
    // Each section where it belongs, as a reader of the file sees it.
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<PluginConfig>();
    schema.insert("oneOf".to_owned(), roles());
    schema.to_value()
}

/// What belongs to one role alone.
fn roles() -> Value {
    let absent = |fields: &[&str]| fields.iter().map(|f| ((*f).to_owned(), false.into())).collect();
    let mut sidecar: BTreeMap<String, Value> = absent(&["tokens", "platformHosts", "resource", "browser"]);
    sidecar.insert("platformPaths".to_owned(), json!({"const": false}));
    sidecar.insert("role".to_owned(), json!({"const": "sidecar"}));
    let mut edge: BTreeMap<String, serde_json::Value> = absent(&["cluster"]);
    edge.insert("role".to_owned(), json!({"const": "edge"}));
    json!([{"properties": edge}, {"properties": sidecar, "required": ["cluster"]}])
}

/// Names of headers that mean something already, but for these: the filter's own list. Patterns of JSON Schema know no
/// "in any case".
fn taken(but: &[&str]) -> Value {
    let any_case = |name: &str| {
        let letter = |c: char| match c.is_ascii_alphabetic() {
            true => format!("[{}{c}]", c.to_ascii_uppercase()),
            false => c.to_string(),
        };
        name.chars().map(letter).collect::<String>()
    };
    let pattern = |names: &[&str]| names.iter().map(|name| any_case(name)).collect::<Vec<_>>().join("|");
    let mut taken = json!({"type": "string", "pattern": format!("^({})$|^({})", pattern(&TAKEN), pattern(&TAKEN_PREFIXES))});
    if !but.is_empty() {
        taken["not"] = json!({"pattern": format!("^({})$", pattern(but))});
    }
    taken
}

/// `pluginConfig` of a plugin of Portcullis. It holds nothing secret.
#[derive(JsonSchema)]
#[schemars(rename = "pluginConfig", rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct PluginConfig {
    /// Where the proxy stands.
    role: Role,
    /// The cluster that the proxy stands in, with role sidecar: the audience that it accepts.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    cluster: Option<String>,
    /// Whether refusals are carried out; enforce where nothing is written.
    mode: Option<Mode>,
    /// The platform's domain: clusters are hosts under clusters.DOMAIN.
    #[schemars(length(min = 1))]
    domain: String,
    /// How the snapshot is fetched.
    snapshot: Snapshot,
    /// The header that carries an API key; x-api-key where nothing is written.
    #[schemars(regex(pattern = r"^[A-Za-z0-9-]+$"), extend("not" = taken(&[])))]
    api_key_header: Option<String>,
    /// A path that answers 200 on a worker that can decide, and 503 before; at the edge.
    #[schemars(regex(pattern = r"^/"))]
    ready_path: Option<String>,
    /// Bounds of the audit stage.
    audit: Option<Audit>,
    /// What is done about requests that last.
    streams: Option<Streams>,
    /// Whether the certificate of a mutual-TLS peer is a credential.
    workload: Option<bool>,
    /// Whether the platform's own endpoints of the closed list are let through; at the edge.
    platform_paths: Option<bool>,
    /// Hosts of the platform itself, whose requests go on with their credential to whom they are for; at the edge.
    #[schemars(length(max = 16))]
    platform_hosts: Option<Vec<PlatformHost>>,
    /// Where tokens are read from besides Authorization; at the edge.
    tokens: Option<Tokens>,
    /// What is told of the protected resource (RFC 9728); at the edge.
    resource: Option<Resource>,
    /// What is said to browsers; at the edge.
    browser: Option<Browser>,
}

/// Where the proxy stands.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "read by the generator alone")]
enum Role {
    Edge,
    Sidecar,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "read by the generator alone")]
enum Mode {
    Enforce,
    DryRun,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct Snapshot {
    /// Envoy's name of the control service's mesh API: outbound|PORT||HOST.
    #[schemars(length(min = 1))]
    upstream: String,
    /// The authority of the calls; the host of upstream where nothing is written.
    authority: Option<String>,
    /// The control service's public key: what `portcullis snapshot-key` prints.
    #[schemars(regex(pattern = r"^[A-Za-z0-9+/]{43}=$"))]
    key: String,
    /// Seconds without a completed poll after which every request is refused; 300 where nothing is written.
    #[schemars(range(min = 5, max = 86_400))]
    stale_after_seconds: Option<u32>,
    /// Seconds that a poll may hang, less than staleAfterSeconds.
    #[schemars(range(min = 1, max = 60))]
    poll_seconds: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct Audit {
    /// Records that may wait in one worker; then new requests are refused. 20,000 where nothing is written.
    #[schemars(range(min = 1, max = 1_000_000))]
    max_waiting: Option<u32>,
    /// Records in one delivery; 500 where nothing is written.
    #[schemars(range(min = 1, max = 10_000))]
    batch: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct Streams {
    /// Seconds after which a request that is still open gets a record of its beginning; 1 where nothing is written.
    #[schemars(range(min = 0, max = 3_600))]
    record_after_seconds: Option<u32>,
    /// Seconds for which open streams go on by a snapshot that is too old; 300 where nothing is written.
    #[schemars(range(min = 0, max = 86_400))]
    stale_grace_seconds: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct Tokens {
    /// Further headers that carry a token.
    headers: Option<Vec<TokenHeader>>,
    /// A cookie that carries a token.
    #[schemars(length(min = 1))]
    cookie: Option<String>,
    /// A query parameter that carries a token.
    #[schemars(length(min = 1))]
    query: Option<String>,
    /// Whether tokens are forwarded as they came.
    keep: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct PlatformHost {
    /// The label before the domain: admin for admin.DOMAIN.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    name: String,
    /// What there is: a path, or with a slash at its end everything below it.
    #[schemars(
        length(min = 1, max = 32),
        inner(
            length(max = 256),
            regex(
                pattern = r"^/([A-Za-z0-9._~-]*[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*([A-Za-z0-9._~-]*[A-Za-z0-9_~-][A-Za-z0-9._~-]*)?$"
            )
        )
    )]
    paths: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct TokenHeader {
    /// Its name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9-]+$"), extend("not" = taken(&[PASSED_ON])))]
    name: String,
    /// What stands before the token, such as "Bearer ".
    prefix: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct Resource {
    /// Its https URL, without query and fragment.
    #[schemars(regex(pattern = r#"^https://[A-Za-z0-9.:\[\]-]+(/[^?#"\s]*)?$"#))]
    url: String,
    /// Which 401 names the metadata; always where nothing is written.
    challenge: Option<Challenge>,
    /// Where clients get tokens: https URLs of issuers, in the order in which to try.
    #[schemars(length(max = 16))]
    authorization_servers: Option<Vec<String>>,
    /// Scopes that clients may ask for.
    #[schemars(length(max = 64))]
    scopes_supported: Option<Vec<String>>,
    /// Scopes that every request to a cluster needs.
    #[schemars(length(max = 64))]
    required_scopes: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "read by the generator alone")]
enum Challenge {
    Always,
    Mcp,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct Browser {
    /// What pages of other origins may do.
    cors: Option<Cors>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read by the generator alone")]
struct Cors {
    /// Whose pages may use answers: https://app.example.com, https://*.example.com or *.
    #[schemars(length(max = 64))]
    origins: Option<Vec<String>>,
    /// By which methods; GET, HEAD and POST where nothing is written.
    #[schemars(length(max = 64))]
    methods: Option<Vec<String>>,
    /// With which request headers; authorization and content-type where nothing is written.
    #[schemars(length(max = 64))]
    headers: Option<Vec<String>>,
    /// Response headers that pages may read besides the usual ones.
    #[schemars(length(max = 64))]
    exposed_headers: Option<Vec<String>>,
    /// Whether cookies count for these pages.
    credentials: Option<bool>,
    /// Seconds for which a browser remembers a preflight; 600 where nothing is written.
    #[schemars(range(min = 0, max = 86_400))]
    max_age_seconds: Option<u32>,
}
