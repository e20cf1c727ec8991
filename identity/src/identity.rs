//! Who is asking, as established from a verified credential.

use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, IssuerId, KeyId, Role, Scope, SpiffeId, Subject, TenantId};

/// What kind of caller a request comes from. Derived from the verified credential alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceType {
    /// A person.
    Human,
    /// A workflow or other unattended service.
    Worker,
    /// An AI agent that speaks MCP, also when it acts for a person.
    McpAgent,
}

impl SourceType {
    /// The name as it stands in headers, tokens and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Worker => "worker",
            Self::McpAgent => "mcp_agent",
        }
    }

    /// Reads the name back; `None` for anything else.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "human" => Some(Self::Human),
            "worker" => Some(Self::Worker),
            "mcp_agent" => Some(Self::McpAgent),
            _ => None,
        }
    }
}

/// By what means a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A JSON Web Token of a configured issuer (RFC 7519).
    Jwt,
    /// An API key made by the control service.
    ApiKey,
    /// An opaque OAuth access token, resolved by introspection (RFC 7662).
    OauthToken,
    /// A short-lived token that the control service issued to a service (RFC 6749 §4.4, RFC 8693).
    ServiceToken,
    /// The SPIFFE identity of the mutual-TLS peer.
    Workload,
    /// The identity token that a Portcullis gateway minted, as a sidecar receives it.
    IdentityToken,
}

impl CredentialKind {
    /// The name as it stands in tokens, rules and audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
            Self::OauthToken => "oauth_token",
            Self::ServiceToken => "service_token",
            Self::Workload => "workload",
            Self::IdentityToken => "identity_token",
        }
    }
}

/// What a verified credential says, before a source type was derived from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// Whom the credential speaks for.
    pub subject: Subject,
    /// The tenant that the subject belongs to.
    pub tenant: TenantId,
    /// Roles that the credential grants.
    pub roles: Vec<Role>,
    /// OAuth scopes that the credential grants.
    pub scopes: Vec<Scope>,
    /// By what means it was proved.
    pub credential: CredentialKind,
    /// Public name of the key that proved it.
    pub key_id: Option<KeyId>,
    /// Who issued the credential, where there is an issuer.
    pub issuer: Option<IssuerId>,
    /// The OAuth client, where the credential names one (`azp` or `client_id`).
    pub client_id: Option<ClientId>,
    /// The mutual-TLS peer, where the proxy's configuration makes it a fact.
    pub spiffe_id: Option<SpiffeId>,
    /// Who acts for the subject, the current actor first (RFC 8693 §4.1 `act`, nested).
    pub actors: Vec<Subject>,
    /// When the credential ends, in seconds since the Unix epoch; `u64::MAX` for one without an end.
    pub expires_at: u64,
    /// The token's `jti` (RFC 7519 §4.1.7), for revocation.
    pub token_id: Option<String>,
    /// The token's `sid` (OpenID Connect Front-Channel Logout §3), for revocation of a session.
    pub session_id: Option<String>,
    /// Further names by which the credential can be revoked: those of the tokens that a service token was
    /// exchanged for (its claim `derived_from`).
    pub derived_from: Vec<String>,
    /// Roles and scopes that the credential names and that are not among [`Self::roles`] and [`Self::scopes`]:
    /// no name of ours, or more than are taken.
    pub omitted: u32,
    /// True when [`Self::roles`] may lack some that the credential grants. A policy that refuses by a role must
    /// mind it.
    pub roles_incomplete: bool,
}

/// A principal with its source type: what is authorised, forwarded and audited.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// What the credential says.
    pub principal: Principal,
    /// What kind of caller this is.
    pub source_type: SourceType,
}
