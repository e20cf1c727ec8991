//! Providers of opaque access tokens (RFC 7662), and workloads whose mutual-TLS identity is a credential.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use portcullis_control_domain::secret::SecretBytes;
use portcullis_identity::ids::{ClientId, IssuerId, Role, Scope, SpiffeId, TenantId};
use portcullis_model::claims::NO_ISSUER;
use portcullis_model::grants::Grants;
use portcullis_model::policy::{
    INTROSPECTION_MS, IntrospectionDocument, MAX_LEEWAY_SECONDS, WorkloadEntry, WorkloadsDocument,
};
use portcullis_protocol::audit::hex;
use portcullis_protocol::secrets::PREFIXES;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::files::{self, Authorities, Remote};
use super::issuer::{audiences, claims, required_claims};
use super::section::Section;

/// Milliseconds that one call may take: the gateway waits, and the answer has to travel.
const MAX_TIMEOUT: u32 = INTROSPECTION_MS - 100;

/// Roles or scopes of one workload at most.
const MAX_GRANTS: usize = 64;

/// How the service proves itself to a provider (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// HTTP Basic, id and secret form-encoded as the standard says.
    #[default]
    Basic,
    /// HTTP Basic, id and secret as they are, for providers that do not decode them.
    BasicUnencoded,
    /// In the body.
    Post,
}

/// A provider, and how the service proves itself to it.
#[derive(Debug, Clone, PartialEq)]
pub struct IntrospectionConfig {
    /// What filters get of it.
    pub document: IntrospectionDocument,
    /// The introspection endpoint.
    pub endpoint: Remote,
    /// The service's client id there.
    pub client_id: ClientId,
    /// The service's secret there.
    pub client_secret: SecretBytes,
    /// How it shows both.
    pub client_auth: ClientAuth,
    /// How long one call may take.
    pub timeout: Duration,
    /// Calls under way at most.
    pub max_in_flight: usize,
}

pub(crate) fn providers(folder: &Path, root: &mut Section<'_>) -> Vec<IntrospectionConfig> {
    let mut known: Vec<IntrospectionConfig> = Vec::new();
    for section in root.list("introspection") {
        let (name, prefix) = (section.name("name"), section.name("tokenPrefix"));
        let Some(read) = provider(folder, section) else { continue };
        let document = &read.document;
        if known.iter().any(|other| other.document.name == document.name) {
            root.error(&name, format!("two providers are named {:?}; names must differ", document.name));
        }
        if known.iter().any(|other| other.document.token_prefix == document.token_prefix) {
            root.error(&prefix, "is that of another provider too, so their tokens cannot be told apart");
        }
        known.push(read);
    }
    known
}

fn provider(folder: &Path, mut section: Section<'_>) -> Option<IntrospectionConfig> {
    let name = own_name(&mut section);
    let issuer = issuer(&mut section);
    let endpoint: Option<String> = section.required("endpoint", "the URL of its introspection endpoint");
    let url = endpoint.and_then(|text| files::address(&section, "endpoint", &text));
    let authorities = files::authorities(folder, &mut section);
    let client_id: Option<ClientId> = section.required("clientId", "the service's own client id there");
    let client_secret = client_secret(folder, &mut section);
    let token_prefix = token_prefix(&mut section);
    let audiences = audiences(&mut section);
    let required_claims = required_claims(&mut section);
    let tenants: Vec<TenantId> = section.filled("tenants").unwrap_or_default();
    let claims = claims(&mut section);
    for error in claims.check(issuer.as_ref(), &tenants) {
        section.error(&["claims.", &error.field].concat(), error.problem);
    }
    let leeway_seconds = section.number("leewaySeconds", 30, 0, MAX_LEEWAY_SECONDS);
    let active_seconds = section.number("activeSeconds", 30, 0, 300);
    let inactive_seconds = section.number("inactiveSeconds", 10, 0, 60);
    let client_auth = client_auth(&mut section, client_id.as_ref());
    let timeout = section.number("timeoutMilliseconds", 1_800, 100, MAX_TIMEOUT);
    let max_in_flight = section.number("maxInFlight", 64, 1, 1024);
    section.finish();
    let mut document = IntrospectionDocument {
        name: name?,
        issuer: issuer?,
        token_prefix,
        audiences: audiences?,
        leeway_seconds,
        claims,
        required_claims,
        tenants,
        config_digest: String::new(),
        active_seconds,
        inactive_seconds,
    };
    let (endpoint, client_id) = (Remote { url: url?, authorities, token_file: None }, client_id?);
    document.config_digest = digest(&document, &endpoint, &client_id);
    Some(IntrospectionConfig {
        document,
        endpoint,
        client_id,
        client_secret: client_secret?,
        client_auth,
        timeout: Duration::from_millis(timeout.into()),
        max_in_flight: usize::try_from(max_in_flight).unwrap_or(64),
    })
}

fn own_name(section: &mut Section<'_>) -> Option<String> {
    let name: Option<String> = section.required("name", "a short name for metrics and audit records");
    if name.as_deref().is_some_and(|n| !is_name(n)) {
        section.error("name", "use 1 to 63 characters of a-z, 0-9 and '-'");
    }
    name
}

fn issuer(section: &mut Section<'_>) -> Option<IssuerId> {
    let issuer: Option<IssuerId> = section.required("issuer", "what source rules call the provider");
    if issuer.as_ref().is_some_and(|issuer| issuer.as_str() == NO_ISSUER) {
        section.error("issuer", "'-' stands for credentials that have no issuer; write the provider's URL");
    }
    if issuer.as_ref().is_some_and(|issuer| issuer.as_str().contains(['{', '}'])) {
        section.error("issuer", "a provider is one: no braces here; only `issuers` can be templates");
    }
    issuer
}

fn client_secret(folder: &Path, section: &mut Section<'_>) -> Option<SecretBytes> {
    if !section.has("clientSecretFile") {
        section.error("clientSecretFile", "is required: a file with the service's own secret there");
    }
    let secret = files::secret(folder, section, "clientSecretFile");
    let is_text = |s: &SecretBytes| !s.reveal().is_empty() && std::str::from_utf8(s.reveal()).is_ok();
    if secret.as_ref().is_some_and(|secret| !is_text(secret)) {
        section.error("clientSecretFile", "must hold a text");
    }
    secret
}

fn token_prefix(section: &mut Section<'_>) -> String {
    let prefix: String = section.optional("tokenPrefix").unwrap_or_default();
    if prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
        section.error("tokenPrefix", "must be at most 64 visible ASCII characters");
    }
    if PREFIXES.iter().any(|own| prefix.starts_with(own)) {
        section.error("tokenPrefix", "pck_, pca_, pcc_ and pcs_ begin secrets of this service");
    }
    prefix
}

fn client_auth(section: &mut Section<'_>, client_id: Option<&ClientId>) -> ClientAuth {
    let auth: ClientAuth = section.optional("clientAuth").unwrap_or_default();
    let with_colon =
        auth == ClientAuth::BasicUnencoded && client_id.is_some_and(|id| id.as_str().contains(':'));
    if with_colon {
        // RFC 7617 §2: the first colon ends the id.
        section.error("clientAuth", "basic_unencoded cannot carry a clientId with a colon");
    }
    auth
}

/// Names a configuration. The secret is left out: with it, whoever reads the snapshot could try guesses.
fn digest(document: &IntrospectionDocument, endpoint: &Remote, client_id: &ClientId) -> String {
    let authorities = endpoint.authorities.as_ref().map(Authorities::pem).unwrap_or_default();
    // A document of this type always serialises; none of the parts can run into the next.
    let document = serde_json::to_vec(document).unwrap_or_default();
    let parts =
        [document.as_slice(), endpoint.url.as_str().as_bytes(), client_id.as_str().as_bytes(), authorities];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        hasher.update(b"\0");
    }
    hex(&hasher.finalize())
}

fn is_name(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(sound)
}

pub(crate) fn workloads(root: &mut Section<'_>) -> WorkloadsDocument {
    let mut seen = HashSet::new();
    let mut workloads = Vec::new();
    for mut section in root.list("workloads") {
        let spiffe_id: Option<SpiffeId> = section.required("spiffeId", "the URI in its certificate");
        let tenant: Option<TenantId> = section.required("tenant", "the tenant that it belongs to");
        let roles: Grants<Role> = section.optional("roles").unwrap_or_default();
        let scopes: Grants<Scope> = section.optional("scopes").unwrap_or_default();
        if roles.len() > MAX_GRANTS || scopes.len() > MAX_GRANTS {
            section.error("roles", "at most 64 roles and 64 scopes");
        }
        if spiffe_id.as_ref().is_some_and(|id| !seen.insert(id.clone())) {
            section.error("spiffeId", "is listed twice");
        }
        section.finish();
        if let (Some(spiffe_id), Some(tenant)) = (spiffe_id, tenant) {
            workloads.push(WorkloadEntry { spiffe_id, tenant, roles, scopes });
        }
    }
    WorkloadsDocument { workloads }
}
